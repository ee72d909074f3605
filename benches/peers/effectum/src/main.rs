//! effectum: one process, one thread that writes, its own worker.
//!
//! It asks for WAL by a name that SQLite does not know, and for `synchronous = NORMAL`. A file that is
//! in WAL stays so, so the file is made first; and for FULL, SQLite is told to pass over what is
//! asked of `synchronous`: then it stays what it is by default.

mod full;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use effectum::{Error, Job, JobRunner, Queue, RunningJob, Worker};
use peer_protocol::{BATCH, Clock, Payload, Phase, Result, Task, pause, say_latencies, task};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const KIND: &str = "noop";

#[tokio::main]
async fn main() -> Result<()> {
    let task = task(|| {
        let sqlite = rusqlite::version();
        format!("effectum 0.7.0, SQLite {sqlite}, WAL made beforehand, `synchronous` enforced")
    })?;
    if task.synchronous == "FULL" {
        full::pass_over_synchronous()?;
    }
    rusqlite::Connection::open(&task.file)?.pragma_update_and_check(
        None,
        "journal_mode",
        "WAL",
        |_| Ok(()),
    )?;
    let queue = Queue::new(&task.file).await?;
    let expected = run(&task, &queue).await?;
    while queue.num_active_jobs().await?.running > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    queue.close(Duration::from_secs(10)).await?;
    let left = rusqlite::Connection::open(&task.file)?.query_row(
        "SELECT count(*) FROM active_jobs",
        [],
        |row| row.get::<_, usize>(0),
    )?;
    if left != expected {
        return Err(format!("{left} jobs are left, not {expected}").into());
    }
    Ok(())
}

/// Gives how many jobs are left.
async fn run(task: &Task, queue: &Queue) -> Result<usize> {
    let clock = Clock::start();
    match task.phase {
        Phase::EnqueueOne => {
            let jobs = jobs(task.jobs)?;
            let clock = Clock::start();
            for job in jobs {
                queue.add_job(job).await?;
            }
            clock.say_rate(task.jobs);
            Ok(task.jobs)
        }
        Phase::EnqueueMany => {
            let jobs = jobs(task.jobs)?;
            let clock = Clock::start();
            fill(queue, jobs).await?;
            clock.say_rate(task.jobs);
            Ok(task.jobs)
        }
        Phase::Work => {
            fill(queue, jobs(task.jobs)?).await?;
            let clock = Clock::start();
            let (worker, mut all_ran) = worker(queue, clock, task.jobs).await?;
            while all_ran.recv().await.ok_or("the worker is gone")?.0 < task.jobs {}
            clock.say_rate(task.jobs);
            worker.unregister(Some(Duration::from_secs(10))).await?;
            Ok(0)
        }
        Phase::Pickup => {
            let (worker, mut started) = worker(queue, clock, 1).await?;
            let mut latencies = Vec::new();
            for number in 0..task.jobs {
                tokio::time::sleep(pause(number)).await;
                let payload = Payload::new(number, clock.elapsed());
                queue.add_job(Job::builder(KIND).json_payload(&payload)?.build()).await?;
                latencies.push(started.recv().await.ok_or("the worker is gone")?.1);
            }
            say_latencies(latencies);
            worker.unregister(Some(Duration::from_secs(10))).await?;
            Ok(0)
        }
    }
}

fn jobs(count: usize) -> Result<Vec<Job>> {
    (0..count)
        .map(|number| {
            let payload = Payload::new(number, Duration::ZERO);
            Ok(Job::builder(KIND).json_payload(&payload)?.build())
        })
        .collect()
}

async fn fill(queue: &Queue, jobs: Vec<Job>) -> Result<()> {
    let mut jobs = jobs.into_iter();
    loop {
        let batch: Vec<Job> = jobs.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            return Ok(());
        }
        queue.add_jobs(batch).await?;
    }
}

/// What handlers know.
#[derive(Debug)]
struct Shared {
    clock: Clock,
    ran: AtomicUsize,
    /// Only each so-manieth run is told.
    each: usize,
    tell: UnboundedSender<(usize, f64)>,
}

/// A worker, and what it tells: how many jobs have run, and how long the newest took to reach it.
async fn worker(
    queue: &Queue,
    clock: Clock,
    each: usize,
) -> Result<(Worker, UnboundedReceiver<(usize, f64)>)> {
    let (tell, told) = unbounded_channel();
    let shared = Arc::new(Shared { clock, ran: AtomicUsize::new(0), each, tell });
    let worker = Worker::builder(queue, shared)
        .max_concurrency(1024)
        .min_concurrency(512)
        .jobs([JobRunner::builder(KIND, handle).autoheartbeat(false).build()])
        .build()
        .await?;
    Ok((worker, told))
}

async fn handle(job: RunningJob, shared: Arc<Shared>) -> std::result::Result<(), Error> {
    let payload: Payload = job.json_payload()?;
    let latency = shared.clock.since(&payload);
    let ran = shared.ran.fetch_add(1, Ordering::Relaxed) + 1;
    if ran % shared.each == 0 {
        // Nobody listens any more when all has been told.
        let _ = shared.tell.send((ran, latency));
    }
    Ok(())
}
