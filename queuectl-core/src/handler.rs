//! What runs a job: a handler, what it is told, and what it answers.
//!
//! Most handlers are closures or functions over a typed payload, registered in [`Handlers`]. What
//! needs more, as the runner of shell commands does, implements [`Handler`].

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::attempt::{Cause, Report};
use crate::clock::{BootTime, Clock};
use crate::id::{InvalidName, JobKey, Name, Token};
use crate::job::{Claimed, InvalidJob, Json};
use crate::store::BoxError;

/// How an attempt ended, in the handler's words.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// Done.
    Done,
    /// Done, with a result that others can read.
    DoneWith(Json),
    /// Failed; run again after the job's backoff, if an attempt is left.
    Retry(BoxError),
    /// Failed; run again after this delay instead, if an attempt is left.
    RetryAfter(BoxError, Duration),
    /// Not now: run again after this delay. Spends no attempt.
    Snooze(Duration),
    /// Failed, and no retry can mend it.
    Dead(BoxError),
    /// Not wanted any more.
    Cancel(String),
}

impl Outcome {
    /// Done, with the JSON of a value as the result.
    ///
    /// # Errors
    ///
    /// If the value cannot be written as JSON within the limit.
    pub fn done_with<T: serde::Serialize + ?Sized>(value: &T) -> Result<Self, InvalidJob> {
        Json::of(value).map(Outcome::DoneWith)
    }
}

impl From<()> for Outcome {
    fn from((): ()) -> Self {
        Outcome::Done
    }
}

/// An attempt's end as a [`Handler`] gives it: what becomes of the job, and what is recorded.
#[derive(Debug)]
pub struct Finished {
    /// What becomes of the job.
    pub outcome: Outcome,
    /// What is recorded of the attempt.
    pub report: Report,
    /// The request to stop that ended the attempt, if one did. What becomes of an attempt that
    /// failed because it was told to end is the worker's to say.
    pub stopped: Option<StopCause>,
    /// Something that the attempt started could not be ended.
    pub leftovers: bool,
}

impl Finished {
    /// The end of an attempt, recorded as its outcome says.
    pub fn of(outcome: Outcome) -> Self {
        let report = match &outcome {
            Outcome::Done | Outcome::DoneWith(_) => Report::new(Cause::Succeeded),
            Outcome::Retry(error) | Outcome::RetryAfter(error, _) | Outcome::Dead(error) => {
                Report::failure(Cause::Failed, chain(error.as_ref()))
            }
            Outcome::Snooze(_) => Report::new(Cause::Snoozed),
            Outcome::Cancel(reason) => Report::failure(Cause::Cancelled, reason.clone()),
        };
        Finished { outcome, report, stopped: None, leftovers: false }
    }
}

/// An error and its sources in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}

/// Runs the jobs of one kind.
///
/// # Contract
///
/// `run` is called on a thread that lives as long as the worker, for one attempt at a time per
/// thread, for several at once on several threads. It may block. It should end soon after
/// [`Context::stop_requested`] says so; until it returns, the worker holds the job and renews its
/// lease. A panic is caught and recorded as [`Cause::Panicked`].
pub trait Handler: Send + Sync {
    /// Runs one attempt.
    fn run(&self, job: &Claimed, context: &Context) -> Finished;

    /// Ends whatever earlier attempts of a job (tokens `from` up to but not `before`) left behind
    /// when their workers died. Called before [`Handler::run`] when there were such attempts. The
    /// attempt does not begin if this fails.
    ///
    /// # Errors
    ///
    /// If something is left that could not be ended.
    fn clean_up(&self, job: JobKey, from: Token, before: Token) -> Result<(), BoxError> {
        let _ = (job, from, before);
        Ok(())
    }
}

/// Which handler runs which kind.
///
/// ```
/// use queuectl_core::{Context, Handlers};
///
/// #[derive(serde::Deserialize)]
/// struct Email {
///     to: String,
/// }
///
/// let handlers = Handlers::new().on("email", |email: Email, _: &Context| {
///     if email.to.contains('@') { Ok(()) } else { Err("not an address") }
/// })?;
/// assert_eq!(handlers.kinds().count(), 1);
/// # Ok::<(), queuectl_core::InvalidName>(())
/// ```
#[derive(Default, Clone)]
pub struct Handlers(HashMap<Name, Arc<dyn Handler>>);

impl Handlers {
    /// No handlers yet.
    pub fn new() -> Self {
        Handlers::default()
    }

    /// Runs jobs of `kind` with a function of the typed payload and the context. It answers with
    /// `Ok(())`, with `Ok(outcome)`, or with any error, which is a failure to be retried.
    ///
    /// A payload that does not decode never reaches the function: the job is dead, with the cause
    /// [`Cause::Undecodable`] and its payload kept.
    ///
    /// # Errors
    ///
    /// [`InvalidName`] if `kind` is not a name. A second handler of one kind replaces the first.
    pub fn on<P, O, E, F>(self, kind: &str, function: F) -> Result<Self, InvalidName>
    where
        P: DeserializeOwned + 'static,
        O: Into<Outcome> + 'static,
        E: Into<BoxError> + 'static,
        F: Fn(P, &Context) -> Result<O, E> + Send + Sync + 'static,
    {
        let typed = Typed { function, payload: std::marker::PhantomData::<fn(P) -> Result<O, E>> };
        self.with(kind, Arc::new(typed))
    }

    /// Runs jobs of `kind` with a [`Handler`].
    ///
    /// # Errors
    ///
    /// [`InvalidName`] if `kind` is not a name. A second handler of one kind replaces the first.
    pub fn with(mut self, kind: &str, handler: Arc<dyn Handler>) -> Result<Self, InvalidName> {
        self.0.insert(Name::new(kind)?, handler);
        Ok(self)
    }

    /// The handler of a kind.
    pub fn get(&self, kind: &Name) -> Option<&Arc<dyn Handler>> {
        self.0.get(kind)
    }

    /// The kinds that have a handler, in no particular order.
    pub fn kinds(&self) -> impl Iterator<Item = &Name> {
        self.0.keys()
    }

    /// Runs one attempt of a claimed job: cleans up after lost attempts, decodes, runs, catches
    /// panics. This is all that happens to a job between its claim and its settlement.
    pub fn execute(&self, job: &Claimed, context: &Context) -> Finished {
        let Some(handler) = self.0.get(&job.kind) else {
            // A worker claims only kinds it has handlers for; giving the job back is all that can
            // be done about one that it was handed all the same.
            return Finished {
                outcome: Outcome::Snooze(Duration::ZERO),
                report: Report::failure(Cause::Interrupted, "the worker has no handler for it"),
                stopped: None,
                leftovers: job.lost_from.is_some(),
            };
        };
        let caught = catch_unwind(AssertUnwindSafe(|| {
            if let Some(from) = job.lost_from
                && let Err(error) = handler.clean_up(job.lease.key, from, job.lease.token)
            {
                let text = format!("what an earlier attempt left could not be ended: {error}");
                return Finished { leftovers: true, ..Finished::of(Outcome::Retry(text.into())) };
            }
            handler.run(job, context)
        }));
        caught.unwrap_or_else(|panic| {
            let text = panic_text(panic.as_ref());
            let report = Report::failure(Cause::Panicked, &text);
            Finished {
                outcome: Outcome::Retry(text.into()),
                report,
                stopped: None,
                leftovers: job.lost_from.is_some(),
            }
        })
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a value that is not text");
    format!("the handler panicked: {text}")
}

struct Typed<F, P> {
    function: F,
    payload: std::marker::PhantomData<P>,
}

impl<P, O, E, F> Handler for Typed<F, fn(P) -> Result<O, E>>
where
    P: DeserializeOwned + 'static,
    O: Into<Outcome> + 'static,
    E: Into<BoxError> + 'static,
    F: Fn(P, &Context) -> Result<O, E> + Send + Sync + 'static,
{
    fn run(&self, job: &Claimed, context: &Context) -> Finished {
        let payload = match job.payload.decode::<P>() {
            Ok(payload) => payload,
            Err(error) => {
                let text = format!("the payload is not what the handler takes: {error}");
                let report = Report::failure(Cause::Undecodable, &text);
                return Finished { report, ..Finished::of(Outcome::Dead(text.into())) };
            }
        };
        match (self.function)(payload, context) {
            Ok(outcome) => Finished::of(outcome.into()),
            Err(error) => Finished {
                stopped: context.stop_requested(),
                ..Finished::of(Outcome::Retry(error.into()))
            },
        }
    }
}

/// Why a running attempt should end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopCause {
    /// It has run into its time limit.
    TimedOut,
    /// The job was cancelled; the reason is given.
    Cancelled(String),
    /// The worker is being stopped, and the time to finish is over.
    Shutdown,
    /// The worker has lost the job, or is about to: nothing that the attempt does counts any more.
    LeaseLost,
}

/// Tells one running attempt to end. The worker raises it; the handler reads it through its
/// [`Context`].
#[derive(Default)]
pub struct StopSignal {
    raised: Mutex<Raised>,
    changed: Condvar,
}

#[derive(Default)]
struct Raised {
    cause: Option<StopCause>,
    /// When the lease has to be taken for lost, unless it is extended before.
    fence: Option<BootTime>,
    alarms: Vec<Box<dyn FnOnce() + Send>>,
}

impl StopSignal {
    /// Raises the signal. The first cause stands, but for [`StopCause::LeaseLost`], which overrules
    /// all others.
    pub fn raise(&self, cause: StopCause) {
        let mut raised = self.lock();
        if raised.cause.is_none() || cause == StopCause::LeaseLost {
            raised.cause = Some(cause);
        }
        let alarms = std::mem::take(&mut raised.alarms);
        drop(raised);
        self.changed.notify_all();
        for alarm in alarms {
            alarm();
        }
    }

    /// Sets the time from which on the lease is taken for lost. Whoever was suspended finds out by the
    /// clock, before anybody is awake to [raise](Self::raise) the signal.
    pub fn set_fence(&self, time: BootTime) {
        self.lock().fence = Some(time);
    }

    /// Raises the signal if the time of the fence is over.
    fn check_fence(&self, now: BootTime) {
        if self.lock().fence.is_some_and(|fence| fence <= now) {
            self.raise(StopCause::LeaseLost);
        }
    }

    /// Why the attempt should end, if it should.
    pub fn cause(&self) -> Option<StopCause> {
        self.lock().cause.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Raised> {
        self.raised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StopSignal").field(&self.cause()).finish()
    }
}

/// Where an attempt's progress goes.
pub type ProgressSink = Box<dyn Fn(Json) + Send + Sync>;

/// What a handler is told about the attempt it runs, and how it talks back.
pub struct Context {
    clock: Arc<dyn Clock>,
    deadline: Option<BootTime>,
    stop: Arc<StopSignal>,
    progress: ProgressSink,
    attempt: u32,
    max_attempts: u32,
}

impl Context {
    /// The context of one attempt of `job`, which may take as long as `limit` from now.
    pub fn new(
        clock: Arc<dyn Clock>,
        job: &Claimed,
        limit: Option<Duration>,
        stop: Arc<StopSignal>,
        progress: ProgressSink,
    ) -> Self {
        let deadline = limit.map(|limit| clock.boot() + limit);
        let (attempt, max_attempts) = (job.attempt, job.max_attempts);
        Context { clock, deadline, stop, progress, attempt, max_attempts }
    }

    /// Which attempt this is, from 1 on.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether the job is dead if this attempt fails.
    pub fn is_last_attempt(&self) -> bool {
        self.attempt >= self.max_attempts
    }

    /// How long the attempt may still run; `None` is without limit. Zero when the time is over.
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.since(self.clock.boot()))
    }

    /// Why the attempt should end now, if it should. A handler that runs for long asks this often,
    /// and returns an error when it is told to end: the queue knows what to make of it.
    pub fn stop_requested(&self) -> Option<StopCause> {
        self.stop.check_fence(self.clock.boot());
        let timed_out = || (self.time_left()? == Duration::ZERO).then_some(StopCause::TimedOut);
        self.stop.cause().or_else(timed_out)
    }

    /// Waits until the attempt should end, at most for `timeout`: a sleep that ends when it must.
    pub fn wait_for_stop(&self, timeout: Duration) -> Option<StopCause> {
        let timeout = self.time_left().map_or(timeout, |left| left.min(timeout));
        let raised = self.stop.lock();
        let waited =
            self.stop.changed.wait_timeout_while(raised, timeout, |raised| raised.cause.is_none());
        drop(waited);
        self.stop_requested()
    }

    /// Calls `alarm` when the attempt is told to end (not when its time is over: a handler that
    /// waits for something else knows [`Context::time_left`]). At once, if it was told already.
    pub fn on_stop(&self, alarm: impl FnOnce() + Send + 'static) {
        let mut raised = self.stop.lock();
        if raised.cause.is_some() {
            drop(raised);
            alarm();
        } else {
            raised.alarms.push(Box::new(alarm));
        }
    }

    /// Says how far the attempt is. Whoever looks at the job sees the newest value, within about a
    /// second.
    ///
    /// # Errors
    ///
    /// If the value cannot be written as JSON within the limit.
    pub fn progress<T: serde::Serialize + ?Sized>(&self, value: &T) -> Result<(), InvalidJob> {
        (self.progress)(Json::of(value)?);
        Ok(())
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("attempt", &self.attempt)
            .field("max_attempts", &self.max_attempts)
            .field("deadline", &self.deadline)
            .field("stop", &self.stop)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::id::{JobId, Lease, WorkerKey};

    fn claimed(kind: &str, payload: &str) -> Claimed {
        Claimed::new(
            Lease { key: JobKey(1), token: Token(1) },
            WorkerKey(1),
            JobId::Auto(JobKey(1)),
            Name::new("default").unwrap(),
            Name::new(kind).unwrap(),
            Json::parse(payload).unwrap(),
        )
    }

    fn context(job: &Claimed, clock: Arc<ManualClock>, stop: &Arc<StopSignal>) -> Context {
        let limit = Some(Duration::from_secs(10));
        Context::new(clock, job, limit, Arc::clone(stop), Box::new(drop))
    }

    fn run(handlers: Handlers, payload: &str) -> Finished {
        let job = claimed("k", payload);
        let stop = Arc::default();
        handlers.execute(&job, &context(&job, Arc::new(ManualClock::new()), &stop))
    }

    #[test]
    fn each_way_to_end_is_recorded_as_itself() {
        let ok = Handlers::new().on("k", |n: u32, _: &Context| Outcome::done_with(&(n + 1)));
        let finished = run(ok.unwrap(), "1");
        assert!(matches!(finished.outcome, Outcome::DoneWith(result) if result.as_str() == "2"));

        let fails = Handlers::new()
            .on("k", |(): (), _: &Context| Err::<(), _>(std::io::Error::other("no route")));
        let finished = run(fails.unwrap(), "null");
        assert_eq!(finished.report, Report::failure(Cause::Failed, "no route"));

        let panics = Handlers::new().on("k", |(): (), _: &Context| -> Result<(), String> {
            panic!("index {} is out of reach", 7)
        });
        let finished = run(panics.unwrap(), "null");
        assert_eq!(finished.report.cause, Cause::Panicked);
        assert!(finished.report.error.unwrap().contains("index 7 is out of reach"));

        let typed = Handlers::new().on("k", |_: u32, _: &Context| Ok::<(), String>(()));
        let finished = run(typed.unwrap(), "\"text\"");
        assert_eq!(finished.report.cause, Cause::Undecodable);
        assert!(matches!(finished.outcome, Outcome::Dead(_)));
    }

    #[test]
    fn an_attempt_does_not_begin_while_leftovers_of_a_lost_one_live() {
        struct Stubborn;
        impl Handler for Stubborn {
            fn run(&self, _: &Claimed, _: &Context) -> Finished {
                panic!("must not run");
            }
            fn clean_up(&self, _: JobKey, from: Token, before: Token) -> Result<(), BoxError> {
                assert_eq!((from, before), (Token(1), Token(3)));
                Err("process 7 will not die".into())
            }
        }
        let handlers = Handlers::new().with("k", Arc::new(Stubborn)).unwrap();
        let mut job = claimed("k", "null");
        job.lease.token = Token(3);
        job.lost_from = Some(Token(1));
        let stop = Arc::default();
        let finished = handlers.execute(&job, &context(&job, Arc::default(), &stop));
        assert!(finished.leftovers);
        assert!(finished.report.error.unwrap().contains("process 7 will not die"));
    }

    #[test]
    fn the_end_of_the_time_limit_is_a_reason_to_stop() {
        let (clock, stop) = (Arc::new(ManualClock::new()), Arc::default());
        let context = context(&claimed("k", "null"), Arc::clone(&clock), &stop);
        assert_eq!(context.stop_requested(), None);
        clock.advance(Duration::from_secs(9));
        assert_eq!(context.time_left(), Some(Duration::from_secs(1)));
        clock.advance(Duration::from_secs(1));
        assert_eq!(context.stop_requested(), Some(StopCause::TimedOut));
        stop.raise(StopCause::Shutdown);
        assert_eq!(context.wait_for_stop(Duration::from_secs(60)), Some(StopCause::Shutdown));
        stop.raise(StopCause::LeaseLost);
        assert_eq!(context.stop_requested(), Some(StopCause::LeaseLost));
    }

    #[test]
    fn alarms_ring_once_also_when_the_signal_was_raised_before() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let stop = Arc::default();
        let context = context(&claimed("k", "null"), Arc::default(), &stop);
        let rung = Arc::new(AtomicU32::new(0));
        let ring = |rung: &Arc<AtomicU32>| {
            let rung = Arc::clone(rung);
            move || {
                rung.fetch_add(1, Ordering::SeqCst);
            }
        };
        context.on_stop(ring(&rung));
        stop.raise(StopCause::Shutdown);
        stop.raise(StopCause::Shutdown);
        context.on_stop(ring(&rung));
        assert_eq!(rung.load(Ordering::SeqCst), 2);
    }
}
