//! Commands: a worker that runs them from the queue, and `xargs`, which forgets them if it dies.

use std::io::Write;
use std::process::Stdio;

use queuectl_core::shell::{Program, ShellJob};
use queuectl_core::{NewJob, State, Store};

use crate::measure::Bed;
use crate::process::{queuectl_on, run};
use crate::rows::BATCH;
use crate::{Result, door, ours};

/// A worker as a person starts it, two at a time, from its start to its end.
pub(crate) fn work(bed: &Bed) -> Result<f64> {
    let store = ours::create(bed)?;
    fill(&store, bed.jobs)?;
    // The durability is the store's own setting, as `queuectl` finds it.
    store.change_setting("durability".parse()?, Some(bed.durability.as_str()))?;
    let rate = bed.time(|| {
        let worker = ["worker", "start", "--count", "2", "--drain"];
        run(queuectl_on(&bed.file())?.args(worker))
    })?;
    ours::check(&store, State::Completed, bed.jobs)?;
    Ok(rate)
}

/// The same commands from a list, two at a time.
pub(crate) fn xargs(bed: &Bed) -> Result<f64> {
    drop(ours::create(bed)?);
    let list: String = (0..bed.jobs).map(|number| format!("{number}\n")).collect();
    bed.time(|| {
        let mut command = door::program("xargs");
        command.args(["-P2", "-n1", "sh", "-c", "true"]).stdin(Stdio::piped());
        let mut xargs = command.stdout(Stdio::null()).spawn()?;
        // Dropped at the end of the statement: so xargs learns that there are no more.
        xargs.stdin.take().ok_or("no input")?.write_all(list.as_bytes())?;
        let status = xargs.wait()?;
        if !status.success() {
            return Err(format!("xargs ended with {status}").into());
        }
        Ok(())
    })
}

/// Enqueues so many commands.
pub(crate) fn fill(store: &dyn Store, count: usize) -> Result<()> {
    let job: NewJob = ShellJob::new(Program::Command("true".into())).into_job()?;
    let mut left = count;
    while left > 0 {
        let batch = vec![job.clone(); left.min(BATCH)];
        store.enqueue(&batch)?;
        left -= batch.len();
    }
    Ok(())
}
