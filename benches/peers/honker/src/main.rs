//! honker: a table, functions in SQL, a watcher for changes; the loop that works is the program's own.

use std::time::Duration;

use honker::{Database, EnqueueOpts, Queue, QueueOpts};
use peer_protocol::{BATCH, Clock, Payload, Phase, Result, Task, pause, say_latencies, task};

const WORKER: &str = "worker";

fn main() -> Result<()> {
    let task = task(|| {
        format!(
            "honker 0.5.0, SQLite {}, `synchronous` set on each connection",
            rusqlite::version()
        )
    })?;
    let database = open(&task)?;
    let queue = database.queue("noop", QueueOpts::default());
    let expected = match task.phase {
        Phase::EnqueueOne => {
            let payloads = payloads(task.jobs);
            let clock = Clock::start();
            for payload in &payloads {
                queue.enqueue(payload, EnqueueOpts::default())?;
            }
            clock.say_rate(task.jobs);
            task.jobs
        }
        Phase::EnqueueMany => {
            let payloads = payloads(task.jobs);
            let clock = Clock::start();
            fill(&database, &queue, &payloads)?;
            clock.say_rate(task.jobs);
            task.jobs
        }
        Phase::Work => {
            fill(&database, &queue, &payloads(task.jobs))?;
            let clock = Clock::start();
            work(&queue, task.jobs)?;
            clock.say_rate(task.jobs);
            0
        }
        Phase::Pickup => {
            say_latencies(pickup(&task, &queue)?);
            0
        }
    };
    let left: i64 = database.with_conn(|connection| {
        connection.query_row("SELECT count(*) FROM _honker_live", [], |row| row.get(0))
    })?;
    if left != expected as i64 {
        return Err(format!("{left} jobs are left, not {expected}").into());
    }
    Ok(())
}

fn open(task: &Task) -> Result<Database> {
    let database = Database::open(&task.file)?;
    database.with_conn(|connection| -> rusqlite::Result<()> {
        connection.pragma_update(None, "synchronous", task.synchronous)?;
        let journal: String =
            connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        assert_eq!(journal, "wal");
        Ok(())
    })?;
    Ok(database)
}

fn payloads(count: usize) -> Vec<Payload> {
    (0..count).map(|number| Payload::new(number, Duration::ZERO)).collect()
}

fn fill(database: &Database, queue: &Queue, payloads: &[Payload]) -> Result<()> {
    for batch in payloads.chunks(BATCH) {
        let transaction = database.transaction()?;
        for payload in batch {
            queue.enqueue_tx(&transaction, payload, EnqueueOpts::default())?;
        }
        transaction.commit()?;
    }
    Ok(())
}

/// Claims, decodes and acknowledges, 128 at a time: the batch at which its own figures are best.
fn work(queue: &Queue, jobs: usize) -> Result<()> {
    let mut done = 0;
    while done < jobs {
        let claimed = queue.claim_batch(WORKER, 128)?;
        let mut ids = Vec::with_capacity(claimed.len());
        for job in &claimed {
            std::hint::black_box(job.payload_as::<Payload>()?);
            ids.push(job.id);
        }
        if claimed.is_empty() || queue.ack_batch(&ids, WORKER)? != ids.len() as i64 {
            return Err("jobs are lost".into());
        }
        done += ids.len();
    }
    Ok(())
}

/// Enqueued by one connection, waited for by another one.
fn pickup(task: &Task, queue: &Queue) -> Result<Vec<f64>> {
    let clock = Clock::start();
    let waiting = open(task)?.queue("noop", QueueOpts::default());
    let jobs = task.jobs;
    let worker = std::thread::spawn(move || -> Result<Vec<f64>> {
        let waker = waiting.claim_waker();
        let mut latencies = Vec::new();
        while latencies.len() < jobs {
            let job = waker.next(WORKER)?.ok_or("the watcher is gone")?;
            latencies.push(clock.since(&job.payload_as::<Payload>()?));
            job.ack()?;
        }
        Ok(latencies)
    });
    for number in 0..task.jobs {
        std::thread::sleep(pause(number));
        queue.enqueue(&Payload::new(number, clock.elapsed()), EnqueueOpts::default())?;
    }
    worker.join().map_err(|_| "the worker panicked")?
}
