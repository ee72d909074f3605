//! What a worker costs that waits: processor time and memory, of the real `queuectl`.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use queuectl_core::{Durability, State, Store};

use crate::door::{Moment, pass};
use crate::measure::Bed;
use crate::process::{Process, queuectl};
use crate::{Result, door, ours, shell};

/// Starts a worker, lets it run as many commands as the bed has jobs, and then has it wait for `watch`
/// while nothing happens. Gives the part of a core that it used meanwhile, in percent, and its
/// resident memory in MiB.
pub(crate) fn waiting(bed: &Bed, watch: Duration) -> Result<[f64; 2]> {
    let store = ours::create(bed)?;
    let worker = start(bed)?;
    shell::fill(&store, bed.jobs)?;
    wait_until_completed(&store, bed.jobs)?;
    // What it does after its last job is done soon, but for what it looks at once a second.
    pass(Duration::from_millis(1_100));
    let (before, began) = (worker.cpu_time()?, Moment::now());
    pass(watch);
    let (used, passed) = (worker.cpu_time()? - before, began.elapsed());
    let memory = mebibytes(worker.resident()?);
    worker.terminate()?;
    worker.end()?;
    ours::check(&store, State::Completed, bed.jobs)?;
    Ok([100.0 * used.as_secs_f64() / passed.as_secs_f64(), memory])
}

/// The resident memory of a worker, in MiB, when it has run a hundred of the commands that wait. The
/// bed's jobs are those.
pub(crate) fn with_backlog(bed: &Bed) -> Result<f64> {
    shell::fill(&ours::open(&bed.file(), Durability::Off)?, bed.jobs)?;
    let store = ours::create(bed)?;
    let worker = start(bed)?;
    wait_until_completed(&store, bed.jobs.min(100))?;
    let memory = mebibytes(worker.resident()?);
    worker.terminate()?;
    worker.end()?;
    let (completed, pending) =
        (ours::count(&store, State::Completed)?, ours::count(&store, State::Pending)?);
    if completed + pending != bed.jobs as u64 {
        return Err(format!("{completed} completed and {pending} pending: some are lost").into());
    }
    Ok(memory)
}

fn start(bed: &Bed) -> Result<Process> {
    let mut command = door::companion(&queuectl()?);
    command.arg("--store").arg(bed.file()).args(["worker", "start"]);
    command.stderr(std::process::Stdio::null());
    Process::start(&mut command)
}

/// Waits until at least so many jobs have completed.
fn wait_until_completed(store: &dyn Store, jobs: usize) -> Result<()> {
    let (tell, told) = channel();
    let waker = move || {
        // Fails only when nobody waits any more.
        let _ = tell.send(());
    };
    let _watch = store.watch(Arc::new(waker))?;
    while ours::count(store, State::Completed)? < jobs as u64 {
        // A change that was missed is found a second later.
        let _ = told.recv_timeout(Duration::from_secs(1));
    }
    Ok(())
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
