//! Carries out what [`step`](super::step) decides: the one file that owns threads and waiting.
//!
//! One thread steps, and alone talks to the store; each worker has a thread that runs handlers. They
//! meet at a line of jobs to begin and at an inbox of news. Handlers that are async would be a second
//! way to carry out `Start`, beside the line; nothing else would change.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::WorkerOptions;
use super::action::{Action, Summary};
use super::audience::{Audience, Told};
use super::fence::Fence;
use super::step::{Plan, Steps, left};
use crate::clock::{BootTime, Clock, Timestamp};
use crate::handler::{Context, Finished, Handlers, StopCause, StopSignal};
use crate::id::{Lease, Name, Token, WorkerKey};
use crate::job::{Claimed, Json};
use crate::random;
use crate::store::{
    ClaimRequest, Queues, Registration, Rescued, StopMode, Store, StoreError, Waker,
};

/// The longest wait without looking at the clock: time passes on the boot clock also while the
/// machine sleeps and no condition variable counts.
pub(super) const LOOK_UP: Duration = Duration::from_secs(1);

/// After how many looks for dead workers it is tried again to end what one of them left.
const CLEAN_AGAIN: u32 = 10;

/// News for the stepping thread.
#[derive(Default)]
pub(super) struct Inbox {
    news: Mutex<News>,
    arrived: Condvar,
}

#[derive(Default)]
struct News {
    finished: Vec<Ended>,
    unbegun: Vec<Lease>,
    progress: Vec<(Lease, Json)>,
    changed: bool,
    stop: Option<StopMode>,
}

impl News {
    fn is_empty(&self) -> bool {
        self.finished.is_empty()
            && self.unbegun.is_empty()
            && self.progress.is_empty()
            && !self.changed
            && self.stop.is_none()
    }
}

/// An attempt that a handler has ended.
struct Ended {
    lease: Lease,
    finished: Finished,
    started_at: Timestamp,
    took: Duration,
}

impl Inbox {
    pub(super) fn stop(&self, mode: StopMode) {
        self.put(|news| news.stop = news.stop.max(Some(mode)));
    }

    fn put(&self, change: impl FnOnce(&mut News)) {
        let mut news = lock(&self.news);
        let waiting = news.is_empty();
        change(&mut news);
        drop(news);
        // Whoever reads takes everything, so it has to be woken for the first piece only.
        if waiting {
            self.arrived.notify_one();
        }
    }

    fn take(&self) -> News {
        std::mem::take(&mut lock(&self.news))
    }

    fn wait(&self, timeout: Duration) -> News {
        let news = lock(&self.news);
        let waited = self.arrived.wait_timeout_while(news, timeout, |news| news.is_empty());
        let (mut news, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut news)
    }
}

/// The jobs that are to begin, in order.
#[derive(Default)]
struct Line {
    jobs: Mutex<Jobs>,
    arrived: Condvar,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<(Arc<Claimed>, Arc<StopSignal>)>,
    closed: bool,
}

impl Line {
    fn next(&self) -> Option<(Arc<Claimed>, Arc<StopSignal>)> {
        let mut jobs = lock(&self.jobs);
        loop {
            if let Some(job) = jobs.waiting.pop_front() {
                return Some(job);
            }
            if jobs.closed {
                return None;
            }
            jobs = self.arrived.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn close(&self) {
        lock(&self.jobs).closed = true;
        self.arrived.notify_all();
    }
}

/// A worker process that runs.
pub(super) struct Running {
    keys: Vec<WorkerKey>,
    inbox: Arc<Inbox>,
    stepping: Option<JoinHandle<Result<Summary, StoreError>>>,
    listening: Option<JoinHandle<()>>,
}

impl Running {
    pub(super) fn start(
        store: Arc<dyn Store>,
        handlers: Handlers,
        options: WorkerOptions,
    ) -> Result<Self, StoreError> {
        let plan =
            Plan { workers: options.workers.max(1), lease: options.lease, drain: options.drain };
        let inbox = Arc::new(Inbox::default());
        let (audience, listening) = Audience::listen(options.observer.clone())?;
        let mut stepper =
            Stepper::new(store, handlers, options, plan, Arc::clone(&inbox), audience);
        // The first registration happens here, so that whoever starts a worker knows that it lives.
        stepper.register()?;
        let keys = stepper.steps.workers().to_vec();
        let spawned =
            std::thread::Builder::new().name("queuectl-worker".into()).spawn(move || stepper.run());
        let stepping = spawned.map_err(|error| StoreError::Other(error.into()))?;
        Ok(Running { keys, inbox, stepping: Some(stepping), listening })
    }

    pub(super) fn keys(&self) -> &[WorkerKey] {
        &self.keys
    }

    pub(super) fn inbox(&self) -> Arc<Inbox> {
        Arc::clone(&self.inbox)
    }

    /// Waits for the end; the second time there is nothing to wait for.
    pub(super) fn join(&mut self) -> Result<Summary, StoreError> {
        let Some(stepping) = self.stepping.take() else {
            return Ok(Summary::default());
        };
        let ended = stepping.join();
        // Whoever waits for the worker has heard all that there was to tell.
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// The stepping thread.
struct Stepper {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    audience: Audience,
    queues: Queues,
    kinds: Vec<Name>,
    registration: Registration,
    steps: Steps,
    inbox: Arc<Inbox>,
    line: Arc<Line>,
    fence: Arc<Fence>,
    runner: Runner,
    /// How often the worker has looked for dead ones.
    rescues: u32,
    /// Threads that end what lost attempts have left.
    cleaning: Vec<JoinHandle<()>>,
}

impl Stepper {
    fn new(
        store: Arc<dyn Store>,
        handlers: Handlers,
        options: WorkerOptions,
        plan: Plan,
        inbox: Arc<Inbox>,
        audience: Audience,
    ) -> Self {
        let line = Arc::new(Line::default());
        let registration =
            Registration { workers: plan.workers, lease: plan.lease, log: options.log };
        let kinds = handlers.kinds().cloned().collect();
        let runner = Runner {
            store: Arc::clone(&store),
            handlers: Arc::new(handlers),
            clock: Arc::clone(&options.clock),
            audience: audience.clone(),
            inbox: Arc::clone(&inbox),
            line: Arc::clone(&line),
            uncleaned: Arc::default(),
            default_limit: Arc::default(),
        };
        Stepper {
            steps: Steps::new(plan, options.clock.boot()),
            store,
            clock: options.clock,
            audience,
            queues: options.queues,
            kinds,
            registration,
            inbox,
            line,
            fence: Arc::default(),
            runner,
            rescues: 0,
            cleaning: Vec::new(),
        }
    }

    fn register(&mut self) -> Result<(), StoreError> {
        let asked_at = self.clock.boot();
        let settings = self.store.settings()?;
        *lock(&self.runner.default_limit) = settings.worker_timeout;
        self.steps.configured(asked_at, Ok(settings));
        let workers = self.store.register(&self.registration)?;
        self.steps.registered(asked_at, self.clock.boot(), Ok(workers));
        self.fence.move_to(self.steps.fence_time());
        Ok(())
    }

    fn run(mut self) -> Result<Summary, StoreError> {
        let waker: Waker = {
            let inbox = Arc::clone(&self.inbox);
            Arc::new(move || inbox.put(|news| news.changed = true))
        };
        // Without a watch the worker still looks once in a tick.
        let watch = self.store.watch(waker);
        let mut runners = Vec::new();
        let mut no_thread = None;
        for _ in 0..self.registration.workers {
            match self.runner.clone().spawn() {
                Ok(runner) => runners.push(runner),
                Err(error) => no_thread = Some(error),
            }
        }
        if no_thread.is_some() {
            // Jobs would be claimed for workers that have no thread to run them.
            self.steps.stop(self.clock.boot(), StopMode::Finish);
        }
        let (fence, clock) = (Arc::clone(&self.fence), Arc::clone(&self.clock));
        // Without the thread, the steps still look between two calls of the store.
        let standing = std::thread::Builder::new()
            .name("queuectl-fence".into())
            .spawn(move || fence.stand(&*clock));
        while self.step() {}
        drop(watch);
        self.line.close();
        self.fence.close();
        if let Ok(standing) = standing {
            let _ = standing.join();
        }
        for thread in runners.into_iter().chain(self.cleaning) {
            // A handler's panic is caught where it happens; a thread has no other way to fail.
            let _ = thread.join();
        }
        let summary = self.steps.summary();
        let no_thread = no_thread.map(|error| StoreError::Other(error.into()));
        self.steps.into_error().or(no_thread).map_or(Ok(summary), Err)
    }

    /// One step; `false` after the last.
    fn step(&mut self) -> bool {
        let news = self.inbox.take();
        self.read(news);
        self.steps.hold(self.audience.is_behind());
        let now = self.clock.boot();
        match self.steps.next(now) {
            Action::End => return false,
            Action::Wait(until) => {
                let news = self.inbox.wait(until.since(self.clock.boot()).min(LOOK_UP));
                self.read(news);
            }
            Action::Tell(notices) => {
                for notice in notices {
                    self.audience.tell(Told::Notice(notice));
                }
            }
            Action::Start(jobs) => self.start(jobs),
            Action::Recall => self.recall(),
            Action::Raise(causes) => {
                for (lease, cause) in causes {
                    if let Some(signal) = self.fence.signal(lease) {
                        signal.raise(cause);
                    }
                }
            }
            call => self.call(call, now),
        }
        true
    }

    fn read(&mut self, news: News) {
        if news.changed {
            self.steps.woken();
        }
        if let Some(mode) = news.stop {
            self.steps.stop(self.clock.boot(), mode);
        }
        for (lease, value) in news.progress {
            self.steps.progressed(lease, value);
        }
        let ended = news.finished.iter().map(|ended| ended.lease);
        self.fence.release(ended.chain(news.unbegun.iter().copied()));
        for lease in news.unbegun {
            self.steps.unbegun(self.clock.now(), lease);
        }
        for Ended { lease, finished, started_at, took } in news.finished {
            self.steps.finished(lease, finished, started_at, took, random::unit());
        }
    }

    /// A call of the store, and its answer.
    fn call(&mut self, call: Action, asked_at: BootTime) {
        let store = Arc::clone(&self.store);
        let now = || self.clock.boot();
        match call {
            Action::Register(workers) => {
                let registration = Registration { workers, ..self.registration.clone() };
                let answer = store.register(&registration);
                self.steps.registered(asked_at, now(), answer);
                self.fence.move_to(self.steps.fence_time());
            }
            Action::Configure => {
                let answer = store.settings();
                if let Ok(settings) = &answer {
                    *lock(&self.runner.default_limit) = settings.worker_timeout;
                }
                self.steps.configured(now(), answer);
            }
            Action::Renew(workers) => {
                let answer = store.renew(&workers, self.registration.lease);
                self.steps.renewed(asked_at, now(), answer);
                self.fence.move_to(self.steps.fence_time());
            }
            Action::Orders(workers) => {
                let answer = store.orders(&workers);
                self.steps.ordered(now(), answer);
            }
            Action::Rescue => {
                let answer = store.rescue(&self.kinds);
                if let Ok(rescued) = &answer {
                    self.cleaning.retain(|cleaning| !cleaning.is_finished());
                    let mut left: Vec<Rescued> =
                        rescued.iter().filter(|one| one.state.is_terminal()).cloned().collect();
                    self.rescues += 1;
                    if self.rescues.is_multiple_of(CLEAN_AGAIN) {
                        left.append(&mut lock(&self.runner.uncleaned));
                    }
                    left.retain(|one| self.kinds.contains(&one.kind));
                    self.cleaning.extend(self.runner.clean_up(left));
                }
                self.steps.rescued(now(), answer);
            }
            Action::Expire => {
                let answer = store.expire();
                self.steps.expired(now(), answer);
            }
            Action::Prune => {
                let answer = store.prune();
                self.steps.pruned(now(), answer);
            }
            Action::Tick => {
                let answer = store.tick();
                self.steps.ticked(now(), answer);
            }
            Action::Reconcile(workers) => {
                let answer = store.held(&workers);
                self.steps.reconciled(now(), self.clock.now(), answer);
            }
            Action::Exchange { settle, claim } => {
                let request =
                    ClaimRequest { workers: &claim, queues: &self.queues, kinds: &self.kinds };
                let answer = store.exchange(&settle, (!claim.is_empty()).then_some(&request));
                let wanted = claim.iter().map(|(_, wanted)| wanted).sum();
                self.steps.exchanged(now(), settle, wanted, answer);
            }
            Action::Note(notes) => {
                let answer = store.progress(&notes);
                self.steps.noted(now(), answer);
            }
            Action::Count => {
                let left = store.queues().and_then(|queues| {
                    Ok(left(&self.kinds, &self.queues, &queues, &store.counts()?))
                });
                self.steps.counted(now(), left);
            }
            Action::Deregister(workers) => {
                let answer = store.deregister(&workers);
                self.steps.deregistered(now(), answer);
            }
            _ => {}
        }
    }

    fn start(&mut self, jobs: Vec<Arc<Claimed>>) {
        let many = jobs.len() > 1;
        let signals = self.fence.guard(jobs.iter().map(|job| job.lease));
        lock(&self.line.jobs).waiting.extend(jobs.into_iter().zip(signals));
        if many {
            self.line.arrived.notify_all();
        } else {
            self.line.arrived.notify_one();
        }
    }

    fn recall(&mut self) {
        let waiting = std::mem::take(&mut lock(&self.line.jobs).waiting);
        let leases: Vec<Lease> = waiting.iter().map(|(job, _)| job.lease).collect();
        self.fence.release(leases.iter().copied());
        self.steps.recalled(self.clock.now(), &leases);
    }
}

/// A thread that runs handlers. It lives as long as the worker: what it starts may be tied to it.
#[derive(Clone)]
struct Runner {
    store: Arc<dyn Store>,
    handlers: Arc<Handlers>,
    clock: Arc<dyn Clock>,
    audience: Audience,
    inbox: Arc<Inbox>,
    line: Arc<Line>,
    /// What dead workers left, and could not be ended yet.
    uncleaned: Arc<Mutex<Vec<Rescued>>>,
    /// The time limit of jobs that have none of their own.
    default_limit: Arc<Mutex<Option<Duration>>>,
}

impl Runner {
    fn spawn(self) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("queuectl-run".into()).spawn(move || {
            while let Some((job, signal)) = self.line.next() {
                self.run(&job, signal);
            }
        })
    }

    /// Ends what the lost attempts of jobs left that will not run again: nobody else will come to it.
    /// On a thread of its own, for it may take seconds, and the leases have to be renewed meanwhile.
    /// What will not end, or finds no thread, is tried again later; and by others when this process
    /// is gone.
    fn clean_up(&self, left: Vec<Rescued>) -> Option<JoinHandle<()>> {
        if left.is_empty() {
            return None;
        }
        let (this, again) = (self.clone(), left.clone());
        let cleaning = std::thread::Builder::new()
            .name("queuectl-clean".into())
            .spawn(move || left.into_iter().for_each(|one| this.clean_up_one(one)));
        if cleaning.is_err() {
            lock(&self.uncleaned).extend(again);
        }
        cleaning.ok()
    }

    fn clean_up_one(&self, left: Rescued) {
        let Some(handler) = self.handlers.get(&left.kind) else {
            return;
        };
        let before = Token(left.lease.token.0 + 1);
        let cleaned = catch_unwind(AssertUnwindSafe(|| {
            handler.clean_up(left.lease.key, left.lost_from, before)
        }));
        let told = matches!(cleaned, Ok(Ok(()))) && self.store.cleaned(&[left.lease]).is_ok();
        if !told {
            lock(&self.uncleaned).push(left);
        }
    }

    fn run(&self, job: &Claimed, signal: Arc<StopSignal>) {
        let (inbox, lease) = (Arc::clone(&self.inbox), job.lease);
        let progress = Box::new(move |value| inbox.put(|news| news.progress.push((lease, value))));
        let limit = job.timeout.or_else(|| *lock(&self.default_limit));
        let (started_at, began) = (self.clock.now(), self.clock.boot());
        let context = Context::new(Arc::clone(&self.clock), job, limit, signal, progress);
        let told = context.stop_requested();
        // One whose time is over before it has begun has spent its attempt.
        if told.is_some_and(|cause| cause != StopCause::TimedOut) {
            // It was told to end while it stood in line. If its lease is lost, another worker may
            // be running it by now.
            self.inbox.put(|news| news.unbegun.push(job.lease));
            return;
        }
        self.store.begin(job.lease);
        self.audience.tell(Told::Started(job));
        let finished = self.handlers.execute(job, &context);
        let took = self.clock.boot().since(began);
        self.inbox.put(|news| news.finished.push(Ended { lease, finished, started_at, took }));
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
