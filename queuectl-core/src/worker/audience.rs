//! Tells the observer, on a thread of its own.
//!
//! An observer that writes to a pipe nobody reads blocks for as long as it likes. It must not take
//! with it the thread that renews the leases: the jobs would be given to others while they still run
//! here. So events wait in a line, and while that line is long the worker claims nothing more; what
//! it holds goes on as ever.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;

use super::action::Notice;
use super::{Observer, WorkerEvent};
use crate::attempt::{Cause, Report};
use crate::id::{JobId, Name, WorkerKey};
use crate::job::Claimed;
use crate::store::StoreError;

/// How many events may wait before the worker waits for them.
const BEHIND: usize = 4096;

/// Where events go. Without an observer, nowhere.
#[derive(Clone, Default)]
pub(super) struct Audience(Option<Line>);

#[derive(Clone)]
struct Line {
    events: Sender<Event>,
    waiting: Arc<AtomicUsize>,
}

/// Something to tell, as it happens.
pub(super) enum Told<'a> {
    Started(&'a Claimed),
    Notice(Notice),
}

/// The same, on its way.
enum Event {
    Started { worker: WorkerKey, id: JobId, kind: Name, attempt: u32, max_attempts: u32 },
    Notice(Notice),
}

impl Audience {
    /// The line to an observer, and the thread at its other end.
    pub(super) fn listen(
        observer: Option<Observer>,
    ) -> Result<(Audience, Option<JoinHandle<()>>), StoreError> {
        let Some(observer) = observer else {
            return Ok((Audience(None), None));
        };
        let (events, received) = channel();
        let line = Line { events, waiting: Arc::default() };
        let waiting = Arc::clone(&line.waiting);
        let listening = std::thread::Builder::new()
            .name("queuectl-tell".into())
            .spawn(move || deliver(&observer, &received, &waiting))
            .map_err(|error| StoreError::Other(error.into()))?;
        Ok((Audience(Some(line)), Some(listening)))
    }

    pub(super) fn tell(&self, told: Told<'_>) {
        let Some(line) = &self.0 else {
            return;
        };
        line.waiting.fetch_add(1, Ordering::Relaxed);
        // The thread at the other end lives as long as this one does.
        let _ = line.events.send(match told {
            Told::Started(job) => Event::Started {
                worker: job.worker,
                id: job.id.clone(),
                kind: job.kind.clone(),
                attempt: job.attempt,
                max_attempts: job.max_attempts,
            },
            Told::Notice(notice) => Event::Notice(notice),
        });
    }

    /// Whether so much has not been told yet that no more should happen.
    pub(super) fn is_behind(&self) -> bool {
        self.0.as_ref().is_some_and(|line| line.waiting.load(Ordering::Relaxed) > BEHIND)
    }
}

fn deliver(observer: &Observer, events: &Receiver<Event>, waiting: &AtomicUsize) {
    while let Ok(event) = events.recv() {
        // An observer that panics at one event may still want the next.
        let _ = catch_unwind(AssertUnwindSafe(|| observer(&show(&event))));
        waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The report of whoever has nothing more to say.
static SUCCEEDED: LazyLock<Report> = LazyLock::new(|| Report::new(Cause::Succeeded));

fn show(event: &Event) -> WorkerEvent<'_> {
    match event {
        Event::Started { worker, id, kind, attempt, max_attempts } => WorkerEvent::Started {
            worker: *worker,
            id,
            kind,
            attempt: *attempt,
            max_attempts: *max_attempts,
        },
        Event::Notice(Notice::Settled(settled)) => WorkerEvent::Settled {
            worker: settled.job.worker,
            id: &settled.job.id,
            attempt: settled.job.attempt,
            max_attempts: settled.job.max_attempts,
            state: settled.state,
            retry_in: settled.retry_in,
            took: settled.took,
            report: settled.report.as_deref().unwrap_or(&SUCCEEDED),
        },
        Event::Notice(Notice::LeaseLost(id)) => WorkerEvent::LeaseLost { id },
        Event::Notice(Notice::Rescued(rescued)) => {
            WorkerEvent::Rescued { worker: rescued.worker, state: rescued.state }
        }
        Event::Notice(Notice::StoreFailed(error)) => WorkerEvent::StoreFailed { error },
        Event::Notice(Notice::Stopping(mode)) => WorkerEvent::Stopping { mode: *mode },
    }
}
