//! apalis-sqlite: one process, a pool of one connection, the worker of apalis.
//!
//! Its set-up asks for `synchronous = OFF` on whichever connection runs it; there is but one, and it is
//! set right afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use apalis::prelude::*;
use apalis_sqlite::{Config, SqlitePool, SqlitePoolOptions, SqliteStorage};
use peer_protocol::{BATCH, Clock, Payload, Phase, Result, Task, pause, say_latencies, task};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

#[tokio::main]
async fn main() -> Result<()> {
    let sqlite: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(&SqlitePool::connect("sqlite::memory:").await?)
        .await?;
    let task = task(|| {
        format!("apalis-sqlite 1.0.0, SQLite {sqlite}, `synchronous` set after its set-up")
    })?;
    let url = format!("sqlite://{}?mode=rwc", task.file.display());
    let pool = SqlitePoolOptions::new().max_connections(1).connect(&url).await?;
    SqliteStorage::setup(&pool).await?;
    sqlx::query(match task.synchronous {
        "FULL" => "PRAGMA synchronous = FULL",
        _ => "PRAGMA synchronous = NORMAL",
    })
    .execute(&pool)
    .await?;
    run(&task, &pool).await
}

async fn run(task: &Task, pool: &SqlitePool) -> Result<()> {
    let mut storage =
        SqliteStorage::new(pool).with_config(Config::default().queue("noop").batch_size(100));
    let payloads: Vec<Payload> =
        (0..task.jobs).map(|number| Payload::new(number, Duration::ZERO)).collect();
    let clock = Clock::start();
    match task.phase {
        Phase::EnqueueOne => {
            for payload in payloads {
                storage.push(payload).await?;
            }
            clock.say_rate(task.jobs);
            wait_for(pool, "Pending", task.jobs).await
        }
        Phase::EnqueueMany => {
            fill(&mut storage, payloads).await?;
            clock.say_rate(task.jobs);
            wait_for(pool, "Pending", task.jobs).await
        }
        Phase::Work => {
            fill(&mut storage, payloads).await?;
            let clock = Clock::start();
            let mut ran = start(storage, clock, task.jobs);
            while ran.recv().await.ok_or("the worker is gone")?.0 < task.jobs {}
            clock.say_rate(task.jobs);
            wait_for(pool, "Done", task.jobs).await
        }
        Phase::Pickup => {
            let mut started = start(storage.clone(), clock, 1);
            let mut latencies = Vec::new();
            for number in 0..task.jobs {
                tokio::time::sleep(pause(number)).await;
                storage.push(Payload::new(number, clock.elapsed())).await?;
                latencies.push(started.recv().await.ok_or("the worker is gone")?.1);
            }
            say_latencies(latencies);
            wait_for(pool, "Done", task.jobs).await
        }
    }
}

async fn fill(storage: &mut SqliteStorage<Payload>, payloads: Vec<Payload>) -> Result<()> {
    for batch in payloads.chunks(BATCH) {
        storage.push_bulk(batch.to_vec()).await?;
    }
    Ok(())
}

#[derive(Clone)]
struct Shared {
    clock: Clock,
    ran: Arc<AtomicUsize>,
    /// Only each so-manieth run is told.
    each: usize,
    tell: UnboundedSender<(usize, f64)>,
}

/// Starts a worker; gives what it tells: how many jobs have run, and how long the newest took to reach
/// it.
fn start(
    storage: SqliteStorage<Payload>,
    clock: Clock,
    each: usize,
) -> UnboundedReceiver<(usize, f64)> {
    let (tell, told) = unbounded_channel();
    let shared = Shared { clock, ran: Arc::default(), each, tell };
    tokio::spawn(async move {
        // By default an idle worker sleeps until its heartbeat, for thirty seconds; polled each
        // millisecond, it does so now and then.
        let strategy = Strategy::new().interval(Duration::from_millis(20));
        let worker = WorkerBuilder::new("worker")
            .backend(storage.poll_with_strategy(strategy))
            .data(shared)
            .concurrency(100)
            .build(handle);
        worker.run().await
    });
    told
}

async fn handle(payload: Payload, shared: Data<Shared>) -> std::result::Result<(), BoxDynError> {
    let latency = shared.clock.since(&payload);
    let ran = shared.ran.fetch_add(1, Ordering::Relaxed) + 1;
    if ran % shared.each == 0 {
        // Nobody listens any more when all has been told.
        let _ = shared.tell.send((ran, latency));
    }
    Ok(())
}

/// Waits until so many jobs are in a state, and none in another.
async fn wait_for(pool: &SqlitePool, status: &str, jobs: usize) -> Result<()> {
    for _ in 0..30_000 {
        let (all, there): (i64, i64) =
            sqlx::query_as("SELECT count(*), count(*) FILTER (WHERE status = ?1) FROM Jobs")
                .bind(status)
                .fetch_one(pool)
                .await?;
        if (all, there) == (jobs as i64, jobs as i64) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Err(format!("not all of {jobs} jobs are {status}").into())
}
