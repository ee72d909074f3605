//! The contract between the queue and whatever keeps its jobs.
//!
//! Everything that runs jobs, shows them or changes them talks to a [`Store`] and to nothing
//! below it. The docs of the trait are the contract: what must hold for every store, what may
//! differ, and what is not promised. `queuectl-testkit` has a test for each sentence.

use std::any::Any;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::attempt::{Attempt, Report};
use crate::clock::Timestamp;
#[cfg(doc)]
use crate::dependency::{Condition, Needs, Otherwise, Outlook};
use crate::event::JobEvent;
use crate::failure::Failure;
use crate::id::{CHOSEN_KEY_MAX, Fingerprint, JobId, JobKey, Lease, Name, Token, WorkerKey};
use crate::job::{BATCH_LEN_MAX, Claimed, Job, Json, NewJob, Note};
use crate::limits::{Limit, QueueLimits, Rate, Weight};
use crate::policy::{Policy, Rule};
use crate::schedule::{Schedule, ScheduleInfo, TickRecord};
use crate::settings::{InvalidSetting, Setting, Settings};
use crate::state::{RefusedTransition, State};

/// Keeps jobs, and decides every race about them.
///
/// # Contract
///
/// *Atomic.* Each writing call is one transaction: it happens wholly or not at all, and an error
/// other than [`StoreError::Unknown`] means that it did not happen.
///
/// *Durable.* A writing call that returned `Ok` survives whatever the store's
/// [`Durability`](crate::Durability) promises. No call returns `Ok` before that.
///
/// *Linear.* The writing calls of all processes happen in one order, and each sees all those before
/// it. After [`pause`](Store::pause), [`cancel`](Store::cancel), the first
/// [`cancel_batch`](Store::cancel_batch) and [`stop`](Store::stop) have returned, no later claim acts against them; nor after [`limit`](Store::limit) has, beyond the limits.
///
/// *Fenced.* Whatever concerns an attempt carries its [`Lease`], and takes effect only while the
/// job is processing under that very token. Otherwise it changes nothing and the lease is named in
/// the answer; the rest of the call takes effect all the same.
///
/// *One holder.* A job has at most one holder at a time. A holder keeps its jobs while it renews in
/// time, measured on the boot clock; no step of the wall clock ends a lease.
///
/// *Repeatable.* A call whose outcome is unknown may be made again: enqueueing with an id, or an
/// idempotency key that is still held, makes one job, settling twice settles once, and claims that were made unknown to
/// the worker are found by [`held`](Store::held).
///
/// # Dependencies
///
/// A job that waits for others, its parents, is freed when each of them has ended under its
/// [`Condition`], or when any one has, as its [`Needs`] say. What is freed by the end of a parent is not
/// taken back. A parent that ends otherwise is *lost* as [`Outlook::of`] says, which knows the job's
/// policy, its [`Otherwise`]. Where all are needed, the first that is lost decides; where any one is
/// enough, the last. Under [`Otherwise::Run`] the job then goes on as if that one had ended well, under
/// the other policies it is cancelled for a reason that names a lost parent. Where any one is enough, a
/// lost parent that is [retried](Store::retry) counts again. A parent that is named twice counts once, as
/// it was named first.
///
/// A closed [batch](NewJob::batch) is a parent as well: it ends with the last of its jobs, as if it had
/// completed if all of them have, and as if it were dead otherwise. It lives again when one of its jobs is
/// retried, and is deleted with the last of them when it has ended.
///
/// Dependents are told in the call in which a job ends, whichever call that is; so are those of a job
/// that is cancelled thereby. What that costs grows with their number, so one call tells a bounded number
/// of them, and the others are told by the next calls that claim or [`go on`](Store::go_on). Until then they are
/// blocked. They hear of each end of a parent in its turn, also if that is retried or deleted meanwhile; who
/// begins to wait after the end sees how the parent stands. The batch of a job counts it at once.
///
/// # Reading
///
/// *Reads change nothing*, and hold no more than one short query open.
///
/// What may differ: how soon a change is noticed by [`watch`](Store::watch), whether the death of a
/// worker is known before its lease ends, and the order of jobs that are equal in priority and were
/// enqueued by calls that overlapped.
///
/// Not promised: that a read sees what another process committed a moment ago and has not yet
/// acknowledged, or that two reads see one state.
pub trait Store: Send + Sync + fmt::Debug {
    /// Adds jobs, all or none, and says for each whether it is new.
    ///
    /// A job starts as [`State::Blocked`] if it has to wait for its `after` jobs (see
    /// [Dependencies](Store#dependencies)), otherwise as [`State::Pending`]; as [`State::Cancelled`] if
    /// they have ended already in a way that leaves it nothing to wait for. Among jobs of one priority in
    /// one queue, those enqueued earlier, and earlier in the call, are claimed first.
    ///
    /// A job whose `unique_key` another holds, in the store or earlier in the call, is not added, nor
    /// the other to the new one's batch; the answer gives the other's id. How long a job holds its key is said by its own
    /// [`UniqueScope`](crate::UniqueScope): by default while it lives. For a period it does so from its
    /// enqueueing on, also when it has ended, but not when it was cancelled. In a set of states, it
    /// gives the key up when it leaves them; if it comes back to one because an attempt ended or it
    /// was [retried](Store::retry), it takes the key again, unless another has it by then. The new
    /// job's [`OnConflict`](crate::OnConflict) says what becomes of the one that holds the key: while
    /// that waits for its first attempt, and if both are of one kind, it may get the payload and the
    /// times of the new one. The key is looked at before the id, so that repeating a call is answered
    /// also for a job that has both.
    ///
    /// A delay counts from here on, also for a job that is blocked meanwhile. Once a claim has found a
    /// waiting job due it stays due, wherever the wall clock goes; so does one that is due when it is
    /// enqueued, or when it is freed by the jobs that it waited for.
    ///
    /// A job with an [`Expiry`](crate::Expiry) has expired when that is reached while it waits:
    /// pending, blocked, or failed with a retry to come. Nothing expires while an attempt is held;
    /// a job that is given back, or fails, later than that has expired then. A job that has expired
    /// does not answer for its `unique_key` any more: it is cancelled, and the new one added, unless a
    /// cancelled job holds that key as well.
    ///
    /// # Errors
    ///
    /// [`StoreError::DuplicateId`] if a chosen id is taken, [`StoreError::NumberGiven`] if it has the
    /// form of an automatic id and is not above all of them, [`StoreError::NumberOutOfRange`] if it is
    /// above [`CHOSEN_KEY_MAX`], [`StoreError::NotFound`] if an `after`
    /// job does not exist, [`StoreError::NoBatch`] or [`StoreError::BatchOpen`] for a batch that cannot be
    /// waited for, [`StoreError::BatchEnded`] for one that takes no more jobs,
    /// [`StoreError::BatchClosed`] for one that does not take this, [`StoreError::Cycle`] if a job is to
    /// wait for itself,
    /// [`StoreError::BatchTooLarge`] beyond [`BATCH_LEN_MAX`] jobs.
    fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>, StoreError>;

    /// Settles what has finished and claims what comes next, in one transaction: the heart of the
    /// queue. Either part may be empty.
    ///
    /// *Settling* applies each verdict under its lease; leases that are no longer held come back in
    /// [`Exchanged::refused`]. A failed attempt without an attempt left ends the job as dead whatever
    /// delay was asked for. A job whose cancellation was requested is cancelled by every verdict but
    /// [`Verdict::Complete`], which is stronger and takes the request back. A report that says more
    /// than "succeeded" becomes part of the attempt history. A job that ends moves its dependents
    /// before the claim. Settlements in the order of their jobs' numbers are applied fastest.
    ///
    /// *Claiming* first makes due jobs claimable, then gives each worker at most as many jobs as it
    /// asks for, by priority, then in order of enqueueing (or where queues have
    /// [weights](Store::weigh), by turns), from queues that are not paused, of the
    /// kinds that are named, within the queues' [limits](Store::limit). With the setting
    /// [`Aging`](Setting::Aging) a waiting job's priority counts as one higher for each so much time that
    /// has passed since it could run by the wall clock; of those that are equal then, the one that could
    /// run earlier is claimed first. Each claim spends one attempt and raises the token by one, in the same
    /// transaction. A worker that is not registered, was declared lost, or was told to stop is given
    /// nothing. A job that has expired is not given to anybody: one whose turn it is is cancelled as
    /// by [`expire`](Store::expire), and the next one given instead.
    fn exchange(
        &self,
        settle: &[Settlement],
        claim: Option<&ClaimRequest<'_>>,
    ) -> Result<Exchanged, StoreError>;

    /// Registers the workers of this process, each with a lease of its own, and proves to other
    /// processes on this host that they live, for as long as this store is not dropped.
    fn register(&self, request: &Registration) -> Result<Vec<WorkerKey>, StoreError>;

    /// Extends the leases of the workers to `lease` from now, and tells what is wanted of them.
    /// A worker that was declared lost stays lost. One whose lease has ended, but which nobody has
    /// declared lost, goes on; after a restart of the machine none does.
    fn renew(&self, workers: &[WorkerKey], lease: Duration) -> Result<Orders, StoreError>;

    /// What is wanted of the workers; a read.
    fn orders(&self, workers: &[WorkerKey]) -> Result<Orders, StoreError>;

    /// The leases that the workers hold. After an [`exchange`](Store::exchange) of unknown outcome
    /// this shows what was claimed; a read.
    fn held(&self, workers: &[WorkerKey]) -> Result<Vec<Lease>, StoreError>;

    /// Ends the registration of workers that hold nothing any more. What they still hold is
    /// released as by [`Verdict::Release`], but for what earlier attempts may have left running: that
    /// is told to the next claim as before. Workers that are not registered are passed over.
    fn deregister(&self, workers: &[WorkerKey]) -> Result<(), StoreError>;

    /// Notes that an attempt is about to begin: if its worker dies, that attempt counts, and one that
    /// was only held does not. Costs no transaction, and is not refused: whether the attempt is still
    /// the worker's own is found out when it is settled.
    fn begin(&self, lease: Lease);

    /// Finds workers that are dead (their process is gone, their lease has ended, or the machine has
    /// been restarted since) and frees their jobs: each becomes claimable at once, or dead if that was
    /// its last attempt or the last that may be [lost in a row](NewJob::max_crashes), or cancelled if that
    /// was requested. The error of a job that has lost too many says so. The lost attempt stays spent and becomes
    /// part of the history. Says what was freed. What the attempts of a job that will run again left
    /// is ended by whoever claims it; of one that will not, by whoever names its kind among the `kinds`
    /// that he can clean up after, and then says that it is [`cleaned`](Store::cleaned). If his process
    /// is gone before he has said so, a later call tells it again. So are jobs told that have ended
    /// otherwise while something of them was left: settled with
    /// [`leftovers`](Settlement::leftovers), or cancelled after their worker had died.
    ///
    /// Where it is known that a worker's process is gone, and that it had not noted that an attempt
    /// [begins](Store::begin), the job is given back as by [`Verdict::Release`] without a report, and
    /// is not among what is said: a job that kills its worker costs those that only stood behind it no
    /// attempt.
    fn rescue(&self, kinds: &[Name]) -> Result<Vec<Rescued>, StoreError>;

    /// Says that what these lost attempts left has been ended: of jobs that will not run again, for
    /// [`rescue`](Store::rescue) has told it. Others are passed over.
    fn cleaned(&self, leases: &[Lease]) -> Result<(), StoreError>;

    /// Records what running attempts say of their progress; returns the leases that are no longer
    /// held.
    fn progress(&self, notes: &[Progress]) -> Result<Vec<Lease>, StoreError>;

    /// Closes a [batch](NewJob::batch), so that it ends with the last of its jobs, and adds the jobs
    /// `then` in the same transaction: the last of the batch itself, or what is to wait for it. A batch
    /// that there is not is made; one without a job has completed at once, and is deleted.
    ///
    /// From then on the batch takes jobs until it has ended, so that one of its jobs can add others while
    /// it runs; but none that waits for a job of no batch or another, or for a batch: that one might wait
    /// for this batch.
    ///
    /// # Errors
    ///
    /// [`StoreError::BatchClosed`] if it is closed already, so that what follows a batch is added once;
    /// and those of [`enqueue`](Store::enqueue).
    fn close_batch(&self, batch: &Name, then: &[NewJob]) -> Result<Vec<Enqueued>, StoreError>;

    /// Cancels each job that a batch has and that has not ended, as [`cancel`](Store::cancel) does. The batch
    /// itself goes on: it is open still, or ends with the last of them.
    ///
    /// Short: one call comes to a bounded number of jobs, and says how to go on. But as soon as the first
    /// one has returned, all are as good as cancelled: none of them is claimed any more, and whoever
    /// cancels, retries, purges or notes something about one, waits for it or wants its unique key, finds it
    /// cancelled. What is added to the batch after that, or retried, is not among them. If nobody goes on
    /// with it, those who claim or [`expire`](Store::expire) do. A job that runs is asked to stop when its turn
    /// comes. Until then the reads show the jobs as they were. A job that another one of them keeps waiting may be
    /// cancelled for that reason before its turn comes. Of several cancellings the first one's remark stands.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoBatch`].
    fn cancel_batch(&self, batch: &Name, remark: &Remark<'_>)
    -> Result<BatchCancelled, StoreError>;

    /// Goes on with the cancelling of a batch: [`BatchCancelled::finish`] does until all is done. If somebody
    /// else has finished it, nothing is left to do.
    fn keep_cancelling(&self, cancelling: &Cancelling) -> Result<BatchCancelled, StoreError>;

    /// Goes on with what earlier calls have left to be done, because each is short:
    /// [dependents](Store#dependencies) that are to be told, and the rest of a batch that was
    /// [cancelled](Store::cancel_batch). Says whether there was any; short as well, so that there may be more.
    /// Nobody has to call this: every [`exchange`](Store::exchange) that claims and every
    /// [`expire`](Store::expire) do the same. It is for those who want to see it done where nobody works.
    fn go_on(&self) -> Result<bool, StoreError>;

    /// How far a batch has come, or `None`. Kept, not counted: the cost does not grow with the batch.
    fn batch(&self, name: &Name) -> Result<Option<BatchInfo>, StoreError>;

    /// The newest batches, newest first.
    fn batches(&self, limit: usize) -> Result<Vec<BatchInfo>, StoreError>;

    /// Cancels jobs, all or none. A job that runs is marked, and its worker told; it becomes
    /// [`State::Cancelled`] when the worker has stopped it, unless it completes first. The remark says why,
    /// and who it was: it is shown with the job while it is cancelled, or to be. Of several requests the
    /// first one's remark stands. A job that is named twice is meant once. All of them are
    /// cancelled before their dependents are told.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], or [`StoreError::WrongState`] if a job is in a terminal state.
    fn cancel(&self, jobs: &[JobId], remark: &Remark<'_>) -> Result<Vec<Cancelled>, StoreError>;

    /// Runs jobs again now, all or none: a failed one without waiting for its delay, one in a
    /// terminal state as a new generation, with its attempts counted from zero, and without the
    /// result, progress and cancellation of the old one. The history stays. A job that was cancelled
    /// while it was blocked waits no more; a dependent that its parent's end has freed or cancelled is
    /// not touched. A job that could expire does so no more: whoever runs it again has said that it is
    /// worth running. A job that is named twice is meant once.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], [`StoreError::WrongState`], or [`StoreError::UniqueKeyTaken`] if the
    /// job is in a terminal state and another holds its idempotency key by now.
    fn retry(&self, jobs: &[JobId]) -> Result<(), StoreError>;

    /// Runs a job again as [`retry`](Store::retry) does, with another payload. The old one is kept in a
    /// [`Note`] with the remark, which may be empty.
    ///
    /// # Errors
    ///
    /// Those of [`retry`](Store::retry).
    fn retry_with(
        &self,
        job: &JobId,
        payload: &Json,
        remark: &Remark<'_>,
    ) -> Result<(), StoreError>;

    /// Deletes jobs in terminal states with their history, all or none. A job that is blocked by one
    /// of them would wait for ever; it is cancelled, for a reason that names the deleted job, unless any
    /// one of its parents is enough and another is left. A job that is named twice is meant once.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], or [`StoreError::StillLives`] if a job is not in a terminal state.
    fn purge(&self, jobs: &[JobId]) -> Result<(), StoreError>;

    /// Retries or purges dead jobs, as [`retry`](Store::retry) and [`purge`](Store::purge) do: those that a
    /// [`Sweep`] is about, in the order in which they died. Short: one call comes to a bounded number of
    /// jobs, and says how to go on. What dies after the first call is not among them, unless the wall clock
    /// was set back. At a [rate](Sweep::rate), each job waits for its turn, as by a delay. A job that cannot
    /// run again because another holds its unique key is passed over.
    fn sweep(&self, sweep: &Sweep) -> Result<Swept, StoreError>;

    /// Notes something about a job, in whatever state it is. Notes are kept until the job is deleted.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`].
    fn note(&self, job: &JobId, remark: &Remark<'_>) -> Result<(), StoreError>;

    /// Deletes some of the jobs that have outlived the store's retention settings, as
    /// [`purge`](Store::purge) does; says how many. Of those that are more than are to be kept, the dead
    /// go in the order in which they died, the others in about that in which they were enqueued.
    /// A job that holds its unique key for a period is kept until that is over. A batch that nobody has closed
    /// goes if it has no job left and is older than completed jobs are kept.
    /// Short: one call looks at a bounded number of jobs, and goes on where the last one ended.
    fn prune(&self) -> Result<u64, StoreError>;

    /// Cancels some of the jobs that have expired, for a reason that begins with "expired" and names
    /// the moment; says how many. What was left of earlier attempts, and those who wait for the jobs,
    /// see what they see of any cancelled job. Short: one call cancels a bounded number of jobs; what
    /// is left is never claimed. Goes on with what else is left as well, as [`go_on`](Store::go_on) does.
    fn expire(&self) -> Result<u64, StoreError>;

    /// Stops or resumes claiming from a queue. The queue need not have jobs yet.
    fn pause(&self, queue: &Name, paused: bool) -> Result<(), StoreError>;

    /// Changes limits of a queue, which need not have jobs yet, all at once; gives the new limits. What
    /// is running goes on, also where it is more than the new limits allow.
    ///
    /// Of a queue with a [concurrency limit](QueueLimits::concurrency), no more jobs are processing at a
    /// time, and a worker that holds one of them is given none more: what may run is not kept by one that
    /// is busy. The same holds for the jobs of a queue with one
    /// [concurrency key](NewJob::concurrency_key) and [`per_key`](QueueLimits::per_key), but for the
    /// second half. In any period of a queue's [rate](QueueLimits::rate), measured on the boot clock, no
    /// more of its jobs are claimed. Each claim counts, also one that is given back before it has begun;
    /// after a restart of the machine as if it had been at its start. A rate that is taken away forgets
    /// what has started. A limit that is reached holds up no job that it does not concern.
    ///
    /// The place of a job that a dead worker held is free when [`rescue`](Store::rescue) has freed the
    /// job. What its attempt may have left running is ended before that job runs again, and maybe not
    /// before another one of the queue or key does.
    fn limit(&self, queue: &Name, limits: &[Limit]) -> Result<QueueLimits, StoreError>;

    /// Gives a queue, which need not have jobs yet, a weight; `None` takes it away.
    ///
    /// Where a queue has a weight, all share: of jobs of the same priority that a claim could give, it gives
    /// those of several queues in proportion to their weights, where a queue without one has 1, and those of
    /// one queue in order. With [`Aging`](Setting::Aging), priorities are the same that count as the same
    /// whole number by now. Priority goes first, and what a queue is given by it counts as well.
    ///
    /// Next is always the queue that is furthest behind, and of those that are level, the one whose job
    /// would come first without weights. With each job a queue comes on by the [stride](Weight::stride) of
    /// its weight, from where it stands, or from where the last one that was given a job stood if that is
    /// further on: so a queue that had nothing to give does not make up for it. A queue whose weight is
    /// changed stands there, too. As long as no queue has a weight, nobody counts.
    ///
    /// ```
    /// # use queuectl_core::store::{ClaimRequest, Queues, Registration};
    /// # use queuectl_core::{Name, NewJob, SqliteOptions, SqliteStore, Store, Weight};
    /// # use std::time::Duration;
    /// # let folder = tempfile::tempdir()?;
    /// # let options = SqliteOptions { create: true, ..SqliteOptions::default() };
    /// # let store = SqliteStore::open(folder.path().join("queue.db"), options)?;
    /// let job = |queue| NewJob::new("k", &())?.queue(queue);
    /// for queue in ["import", "import", "import", "import", "mail", "mail", "mail"] {
    ///     store.enqueue(&[job(queue)?])?;
    /// }
    /// store.weigh(&Name::new("mail")?, Some(Weight::new(2)?))?;
    /// # let lease = Duration::from_secs(30);
    /// # let workers = store.register(&Registration { workers: 1, lease, log: None })?;
    /// # let (workers, kinds) = ([(workers[0], 6)], [Name::new("k")?]);
    /// # let claim = ClaimRequest { workers: &workers, queues: &Queues::All, kinds: &kinds };
    /// let claimed = store.exchange(&[], Some(&claim))?.claimed;
    /// let order: Vec<&str> = claimed.iter().map(|job| job.queue.as_str()).collect();
    /// assert_eq!(order, ["import", "mail", "mail", "import", "mail", "import"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn weigh(&self, queue: &Name, weight: Option<Weight>) -> Result<(), StoreError>;

    /// Changes rules of a kind, of which there need not be jobs yet, all at once; gives the new policy.
    ///
    /// A job's own values go before those of its kind, and these before the store's settings. A job is given
    /// its retries when it is enqueued, also by a schedule, and keeps them. The time limit and the delays
    /// hold for each attempt that is claimed from now on, also of a job that waits already; an attempt that
    /// was claimed before keeps what it was given. How many attempts in a row may be lost is looked up when
    /// one is.
    fn change_policy(&self, kind: &Name, rules: &[Rule]) -> Result<Policy, StoreError>;

    /// The policies of the kinds that have a rule.
    fn policies(&self) -> Result<BTreeMap<Name, Policy>, StoreError>;

    /// Asks workers to stop, all or none. They are told by their next [`orders`](Store::orders). Of
    /// several orders the strongest stands.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoWorker`] if one of them is not registered.
    fn stop(&self, workers: &[WorkerKey], mode: StopMode) -> Result<(), StoreError>;

    /// Puts a schedule into the store, in place of the one of that name if there is one; says whether it
    /// is new.
    ///
    /// A new schedule ticks for the first time after now. One that is replaced by one of the same
    /// [`Spec`](crate::Spec) goes on as if nothing had happened; by one of another it ticks next after
    /// now and after the newest tick that was attended to, by the new spec. Either way its history is
    /// kept, and it rests if it rested.
    fn put_schedule(&self, schedule: &Schedule) -> Result<bool, StoreError>;

    /// The schedules, in the order of their names.
    fn schedules(&self) -> Result<Vec<ScheduleInfo>, StoreError>;

    /// Deletes a schedule with its history. The jobs that it has made stay.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoSchedule`].
    fn remove_schedule(&self, name: &Name) -> Result<(), StoreError>;

    /// Lets a schedule rest, or go on. It passes over the ticks of the time in which it rests, and nobody
    /// makes up for them.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoSchedule`].
    fn pause_schedule(&self, name: &Name, paused: bool) -> Result<(), StoreError>;

    /// Makes a schedule's job now, whether or not it rests and whatever lives of it. Its ticks come as
    /// before; for them, this is the job that it has made last. After an unknown outcome, the history
    /// tells whether it was made.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoSchedule`].
    fn run_schedule(&self, name: &Name) -> Result<Enqueued, StoreError>;

    /// Attends to ticks that are due, and says when the next one will be. To be called by everyone, as
    /// often as they like: each tick of a schedule is attended to once, in the transaction that moves
    /// the schedule to its next tick, and a step of the wall clock backwards brings none of them back.
    ///
    /// What was missed is made up for as the schedule's [`Missed`](crate::Missed) says, oldest first; what
    /// comes while the job that it made last still lives is done as its [`Overlap`](crate::Overlap) says.
    /// A job is added as by [`enqueue`](Store::enqueue). Whatever comes of a tick is told in the schedule's
    /// history. Short: one call attends to a bounded number of schedules; if more are due, the next tick is
    /// said to be now.
    fn tick(&self) -> Result<Ticked, StoreError>;

    /// The history of a schedule, newest first: the last
    /// [`HISTORY_LEN_MAX`](crate::schedule::HISTORY_LEN_MAX) entries. None if there is no such schedule.
    fn ticks(&self, name: &Name) -> Result<Vec<TickRecord>, StoreError>;

    /// The settings.
    fn settings(&self) -> Result<Settings, StoreError>;

    /// Changes a setting, or with `None` returns it to its default; gives the new settings.
    ///
    /// # Errors
    ///
    /// [`StoreError::Setting`] for a value that the setting does not take.
    fn change_setting(&self, setting: Setting, value: Option<&str>)
    -> Result<Settings, StoreError>;

    /// One job, or `None`.
    fn job(&self, id: &JobId) -> Result<Option<Job>, StoreError>;

    /// The jobs that fit, in the order asked for.
    fn jobs(&self, query: &JobQuery) -> Result<Vec<Job>, StoreError>;

    /// Every attempt of a job over all its generations, oldest first, with what was kept of its
    /// output: also those that were given back, those that succeeded and had nothing to say, and the
    /// one that runs. None if there is no such job.
    fn attempts(&self, job: JobKey) -> Result<Vec<Attempt>, StoreError>;

    /// What was noted about a job, oldest first. None if there is no such job.
    fn notes(&self, job: JobKey) -> Result<Vec<Note>, StoreError>;

    /// In which ways the dead jobs have failed, at most so many, those with the most jobs first. Kept, not
    /// counted: the cost grows with the number of ways, not of jobs.
    fn failures(&self, limit: usize) -> Result<Vec<FailureGroup>, StoreError>;

    /// How many jobs each queue and kind has in each state. Kept, not counted: the cost does not grow
    /// with the number of jobs.
    fn counts(&self) -> Result<Vec<LaneCounts>, StoreError>;

    /// The queues that have been used: enqueued to, whether or not the jobs are still there, paused,
    /// limited, or weighed.
    fn queues(&self) -> Result<Vec<QueueInfo>, StoreError>;

    /// The registered workers, live or not yet known to be dead.
    fn workers(&self) -> Result<Vec<WorkerInfo>, StoreError>;

    /// The entries of the event log with numbers above `after`, oldest first, at most so many. None while
    /// the setting [`EventLog`](Setting::EventLog) is off.
    ///
    /// While it is on, whatever changes a job's state adds one entry for each change, in the transaction of
    /// the change: a call that fails adds none. Entries are numbered in the order in which the calls were
    /// committed, from 1 on and without a gap, over the life of the store; those of one call that are about one
    /// job stand in the order in which that happened to it. So whoever asks for what comes after the last
    /// number that he has seen misses nothing that is there; if the first number that he is given then is not
    /// the next, those between are forgotten.
    ///
    /// *What an entry tells.* A job is [`Added`](crate::Change::Added) in the state in which it starts; one
    /// that has nothing to wait for any more as blocked, before it is cancelled. The state that each entry
    /// says the job has left is the one that the entry before about the same job, if that is there, says it
    /// is in since; the last one says the state that it has. What begins or ends an attempt, and each request
    /// to cancel one, says which; what ends one without success, why. What cancels a job, and each such
    /// request, says the reason; and who it was, where that was said in this very call.
    ///
    /// *What is kept.* The newest entries, as many as [`EventLogCount`](Setting::EventLogCount) says, and at most
    /// some thousand more. The log begins when the setting is turned on: jobs that were there before have no
    /// entry until something happens to them. When it is turned off, all entries are forgotten; the
    /// numbers go on.
    fn events(&self, after: u64, limit: usize) -> Result<Vec<JobEvent>, StoreError>;

    /// The number of the entry that was added to the event log last, whether or not it is still there; 0 if
    /// there was none. What comes after it is what happens from now on.
    fn last_event(&self) -> Result<u64, StoreError>;

    /// Calls `waker` soon after anything in the store has changed, by whichever process, until the
    /// answer is dropped. Calls may be spurious and may stand for several changes; a caller that
    /// must not miss one looks itself from time to time.
    fn watch(&self, waker: Waker) -> Result<Watch, StoreError>;
}

/// Called when a store has changed. Must not block or call the store.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// Keeps a [`Waker`] registered until it is dropped.
#[must_use = "dropping a watch ends it"]
pub struct Watch(#[expect(dead_code, reason = "held for its drop")] Box<dyn Any + Send>);

impl Watch {
    /// A watch that ends when `guard` is dropped.
    pub fn new(guard: impl Any + Send) -> Self {
        Watch(Box::new(guard))
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

/// The answer to one enqueued job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enqueued {
    /// The id of the job that there is now.
    pub id: JobId,
    /// Its number.
    pub key: JobKey,
    /// Whether this call made it; otherwise another job holds the idempotency key.
    pub created: bool,
    /// Whether this call changed the job that holds the key: its payload, its time or both. If it is
    /// neither created nor changed, that job was kept as it was.
    pub changed: bool,
}

/// What a worker has to say about an attempt that it held.
#[derive(Debug, Clone, PartialEq)]
pub struct Settlement {
    /// The attempt.
    pub lease: Lease,
    /// What becomes of the job.
    pub verdict: Verdict,
    /// When the handler began.
    pub started_at: Timestamp,
    /// What is to be recorded; `None` is a success that has nothing more to say.
    pub report: Option<Box<Report>>,
    /// Something that this or an earlier attempt started could not be ended. It must be, before the
    /// next one begins: the next claim says so.
    pub leftovers: bool,
}

/// What becomes of a job at the end of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It is done.
    Complete {
        /// What the handler returned, if anything.
        result: Option<Json>,
    },
    /// It failed, and runs again after the delay if an attempt is left; otherwise it is dead.
    Fail {
        /// The delay, measured on the boot clock.
        retry_in: Duration,
    },
    /// It failed and no retry can mend it: it is dead.
    Die,
    /// It runs again after the delay; the attempt is given back.
    Snooze {
        /// The delay, measured on the boot clock.
        wake_in: Duration,
    },
    /// It did not run, or was interrupted: it may run again at once; the attempt is given back.
    /// Without a report the attempt never began, and leaves no record.
    Release,
    /// It is cancelled.
    Cancel,
}

/// Who wants how many jobs, and which.
#[derive(Debug, Clone, Copy)]
pub struct ClaimRequest<'a> {
    /// How many jobs each worker wants.
    pub workers: &'a [(WorkerKey, usize)],
    /// From which queues.
    pub queues: &'a Queues,
    /// The kinds that the workers have handlers for.
    pub kinds: &'a [Name],
}

/// Which queues a worker serves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Queues {
    /// Every queue, also those that are first used later, but for the private queues
    /// (see [`PRIVATE_QUEUE_PREFIX`]).
    #[default]
    All,
    /// These only.
    Only(Vec<Name>),
}

/// Queues whose names begin so are served only by workers that name them.
pub const PRIVATE_QUEUE_PREFIX: &str = "run:";

impl Queues {
    /// Whether a worker of these queues serves `queue`.
    pub fn include(&self, queue: &Name) -> bool {
        match self {
            Queues::All => !queue.as_str().starts_with(PRIVATE_QUEUE_PREFIX),
            Queues::Only(queues) => queues.contains(queue),
        }
    }
}

/// What [`Store::exchange`] did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Exchanged {
    /// The settlements that took no effect: their leases are lost.
    pub refused: Vec<Lease>,
    /// The jobs that are now held, in the order in which they are to run.
    pub claimed: Vec<Claimed>,
    /// If a claim was asked for: when the next waiting job of any queue and kind becomes due, if one
    /// waits, or a queue's rate allows the next start.
    pub next_due: Option<Duration>,
    /// A limit has kept a job back, which may be claimed when an attempt has ended.
    pub limited: bool,
}

/// What [`Store::tick`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ticked {
    /// What came of the ticks, in the order of their schedules' names, and of time.
    pub ticks: Vec<(Name, TickRecord)>,
    /// When the next tick of any schedule comes, if one does.
    pub next_due: Option<Duration>,
}

/// The workers of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// How many.
    pub workers: usize,
    /// How long their leases last without renewal.
    pub lease: Duration,
    /// Where the process writes its own log, if it does.
    pub log: Option<PathBuf>,
}

/// What is wanted of workers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Orders {
    /// Workers that were declared lost, or are not registered: whatever they still run belongs to
    /// others by now.
    pub lost: Vec<WorkerKey>,
    /// Attempts that are to be cancelled, and why.
    pub cancel: Vec<(Lease, String)>,
    /// Workers that are to stop, and how.
    pub stop: Vec<(WorkerKey, StopMode)>,
}

/// How a worker is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopMode {
    /// Claim nothing more, let running jobs finish however long they take.
    Finish,
    /// Claim nothing more, let running jobs finish within the `grace` setting, then interrupt them.
    Grace,
    /// Interrupt running jobs at once.
    Now,
}

/// A job that was freed from a dead worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rescued {
    /// The lease that was lost.
    pub lease: Lease,
    /// The worker that held it, as far as it is known.
    pub worker: WorkerKey,
    /// The job's kind: whose handler knows how to end what was left.
    pub kind: Name,
    /// The first token whose attempt may have left something running.
    pub lost_from: Token,
    /// Where the job stands now.
    pub state: State,
}

/// What a running attempt says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// The attempt.
    pub lease: Lease,
    /// Anything, as JSON.
    pub value: Json,
}

/// What [`Store::cancel`] did to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It is cancelled.
    Now,
    /// It runs; its worker has been told to stop it.
    Requested,
}

/// How far the cancelling of a batch has come, since it began.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchCancelled {
    /// How many jobs are cancelled, by whoever came to them.
    pub cancelled: u64,
    /// How many ran, and their workers have been told to stop them.
    pub asked: u64,
    /// How to go on; `None` if all of it is done.
    pub next: Option<Cancelling>,
}

impl BatchCancelled {
    /// Calls [`Store::keep_cancelling`] until all is done; gives the numbers of all.
    ///
    /// ```
    /// use queuectl_core::{Name, NewJob, SqliteOptions, SqliteStore, Store};
    /// # let folder = tempfile::tempdir()?;
    /// # let options = SqliteOptions { create: true, ..SqliteOptions::default() };
    /// # let store = SqliteStore::open(folder.path().join("queue.db"), options)?;
    /// let book = Name::new("book")?;
    /// store.enqueue(&vec![NewJob::new("print", &1)?.batch("book")?; 2_500])?;
    /// let done = store.cancel_batch(&book, &"no paper".into())?.finish(&store)?;
    /// assert_eq!((done.cancelled, done.asked), (2_500, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the store. The batch is cancelled all the same, and whoever claims goes on with it.
    pub fn finish(mut self, store: &dyn Store) -> Result<Self, StoreError> {
        while let Some(cancelling) = self.next.take() {
            self = store.keep_cancelling(&cancelling)?;
        }
        Ok(self)
    }
}

/// The cancelling of a batch that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancelling {
    /// Which batch.
    pub batch: Name,
    /// Which of all cancellings: a number of the store's own.
    pub number: i64,
    /// How many jobs of the batch had been cancelled with it, and asked to stop, before.
    pub before: (u64, u64),
}

/// What somebody says of a job, and who.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Remark<'a> {
    /// What.
    pub text: &'a str,
    /// Who, in words of the caller: a store takes them as they are.
    pub by: Option<&'a str>,
}

impl<'a> From<&'a str> for Remark<'a> {
    /// By nobody in particular.
    fn from(text: &'a str) -> Self {
        Remark { text, by: None }
    }
}

/// The dead jobs that failed in one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureGroup {
    /// In which way.
    pub failure: Failure,
    /// How many they are.
    pub count: u64,
    /// When the first of those that are there died.
    pub oldest_at: Timestamp,
    /// When the newest did.
    pub newest_at: Timestamp,
    /// The one that died last: its record says more than the group's.
    pub exemplar: JobId,
}

/// Which dead jobs [`Store::sweep`] comes to, and what it does to them.
///
/// ```
/// use queuectl_core::store::Sweep;
/// # use queuectl_core::{SqliteOptions, SqliteStore, Store};
/// # let folder = tempfile::tempdir()?;
/// # let options = SqliteOptions { create: true, ..SqliteOptions::default() };
/// # let store = SqliteStore::open(folder.path().join("queue.db"), options)?;
///
/// // The service is back. All that failed as the most have runs again, ten a second.
/// if let Some(most) = store.failures(1)?.first() {
///     let sweep = Sweep::retry().alike(most.failure.fingerprint()).rate("10/s".parse()?);
///     let swept = sweep.run(&store)?;
///     println!("{} jobs run again", swept.done);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    /// What is done.
    pub remedy: Remedy,
    /// To those that failed in this way; `None` is in any.
    pub alike: Option<Fingerprint>,
    /// To those that had died by then; `None` is by the first call.
    pub until: Option<Timestamp>,
    /// To those that come after this one, by when they died and by number: where the last call ended.
    pub from: Option<(Timestamp, JobKey)>,
    /// How many jobs the calls before have seen to: the turns that they have taken of a rate.
    pub turns: u64,
}

/// What a [`Sweep`] does to dead jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// They run again: now, or so many in a period.
    Retry(Option<Rate>),
    /// They are deleted.
    Purge,
}

/// What [`Store::sweep`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Swept {
    /// To how many jobs it was done.
    pub done: u64,
    /// How many were passed over.
    pub kept: u64,
    /// How to go on; `None` if there is nothing left to do.
    pub next: Option<Sweep>,
}

impl Sweep {
    /// All dead jobs run again.
    pub fn retry() -> Self {
        Sweep::of(Remedy::Retry(None))
    }

    /// All dead jobs are deleted.
    pub fn purge() -> Self {
        Sweep::of(Remedy::Purge)
    }

    fn of(remedy: Remedy) -> Self {
        Sweep { remedy, alike: None, until: None, from: None, turns: 0 }
    }

    /// Only those that failed in this way.
    #[must_use]
    pub fn alike(mut self, failure: Fingerprint) -> Self {
        self.alike = Some(failure);
        self
    }

    /// Only those that had died by then.
    #[must_use]
    pub fn until(mut self, moment: Timestamp) -> Self {
        self.until = Some(moment);
        self
    }

    /// Those that run again do so one after the other, as many in each period as this says, so that a
    /// service that has just come back is not flooded. Nobody has to wait for that. Deletes nothing more
    /// slowly.
    #[must_use]
    pub fn rate(mut self, rate: Rate) -> Self {
        if let Remedy::Retry(at) = &mut self.remedy {
            *at = Some(rate);
        }
        self
    }

    /// How long the `n`th of the jobs that a call retries waits, from 0 on.
    pub fn wait(&self, n: u64) -> Duration {
        let Remedy::Retry(Some(rate)) = self.remedy else {
            return Duration::ZERO;
        };
        let turn = u128::from(self.turns + n);
        let millis = turn * rate.period().as_millis() / u128::from(rate.starts().get());
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    /// Calls [`Store::sweep`] until nothing is left to do; gives how many jobs there were in all.
    ///
    /// # Errors
    ///
    /// Those of the store. What was done before stays done, and another sweep does the rest.
    pub fn run(self, store: &dyn Store) -> Result<Swept, StoreError> {
        let mut all = Swept { next: Some(self), ..Swept::default() };
        while let Some(sweep) = all.next.take() {
            let Swept { done, kept, next } = store.sweep(&sweep)?;
            all = Swept { done: all.done + done, kept: all.kept + kept, next };
        }
        Ok(all)
    }
}

/// Which jobs [`Store::jobs`] is to give, and in which order. The default is every job, newest
/// first, at most 100.
#[derive(Debug, Clone, PartialEq)]
pub struct JobQuery {
    /// In one of these states; empty is any.
    pub states: Vec<State>,
    /// Of this queue.
    pub queue: Option<Name>,
    /// Of this kind.
    pub kind: Option<Name>,
    /// With this label.
    pub tag: Option<Name>,
    /// Dead, and failed in this way.
    pub failure: Option<Fingerprint>,
    /// Created before this moment.
    pub created_before: Option<Timestamp>,
    /// Created at or after this moment.
    pub created_after: Option<Timestamp>,
    /// The order.
    pub sort: Sort,
    /// The other way round: greatest, or newest, last.
    pub ascending: bool,
    /// How many at most.
    pub limit: usize,
    /// Only jobs that stand after this one in an order by [`Sort::Created`]: the last job of the
    /// page before.
    pub from: Option<JobKey>,
}

impl Default for JobQuery {
    fn default() -> Self {
        JobQuery {
            states: Vec::new(),
            queue: None,
            kind: None,
            tag: None,
            failure: None,
            created_before: None,
            created_after: None,
            sort: Sort::Created,
            ascending: false,
            limit: 100,
            from: None,
        }
    }
}

/// What to order jobs by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    /// When they were enqueued.
    #[default]
    Created,
    /// When their records last changed.
    Updated,
    /// From when on they may run.
    RunAt,
    /// Their priority.
    Priority,
    /// How many attempts they have had.
    Attempts,
}

/// How many jobs a queue has of a kind, in each state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneCounts {
    /// The queue.
    pub queue: Name,
    /// The kind.
    pub kind: Name,
    /// The number in each state, in the order of [`State::ALL`].
    pub by_state: [u64; State::ALL.len()],
}

impl LaneCounts {
    /// The number in one state.
    pub fn of(&self, state: State) -> u64 {
        State::ALL.iter().position(|&s| s == state).map_or(0, |index| self.by_state[index])
    }
}

/// How far a batch has come. A job that was deleted counts as it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchInfo {
    /// Its name.
    pub name: Name,
    /// When it got its first job.
    pub created_at: Timestamp,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// When it had ended: it was closed, and the last of its jobs had. Nothing again while a job of it is
    /// run once more.
    pub finished_at: Option<Timestamp>,
    /// How many jobs it has.
    pub total: u64,
    /// How many of them have completed.
    pub completed: u64,
    /// How many are dead.
    pub dead: u64,
    /// How many are cancelled.
    pub cancelled: u64,
}

impl BatchInfo {
    /// How many of its jobs have not ended.
    pub fn left(&self) -> u64 {
        self.total.saturating_sub(self.completed + self.dead + self.cancelled)
    }

    /// How it stands: the state that those who wait for it see. [`State::Completed`] or [`State::Dead`]
    /// once it has ended, otherwise [`State::Pending`].
    pub fn state(&self) -> State {
        match (self.finished_at, self.dead + self.cancelled) {
            (None, _) => State::Pending,
            (Some(_), 0) => State::Completed,
            (Some(_), _) => State::Dead,
        }
    }
}

/// A queue that has been used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueInfo {
    /// Its name.
    pub name: Name,
    /// Whether claiming from it is stopped.
    pub paused: bool,
    /// What limits it.
    pub limits: QueueLimits,
    /// Its [weight](Store::weigh), if it has one.
    pub weight: Option<Weight>,
}

/// A registered worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerInfo {
    /// Its number.
    pub key: WorkerKey,
    /// The identity of its process, shared by the workers of one process.
    pub process: String,
    /// The process id.
    pub pid: u32,
    /// The host it runs on.
    pub host: String,
    /// When it was registered.
    pub started_at: Timestamp,
    /// How long its lease still lasts.
    pub lease_left: Duration,
    /// Whether its process is known to be gone.
    pub dead: bool,
    /// How it was told to stop, if it was.
    pub stopping: Option<StopMode>,
    /// Where its process writes its log.
    pub log: Option<PathBuf>,
    /// The jobs it holds, and since when.
    pub running: Vec<(JobId, Timestamp)>,
}

/// What went wrong in a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no such job.
    #[error("there is no job {0}")]
    NotFound(JobId),
    /// There is no such worker.
    #[error("there is no worker {0}")]
    NoWorker(WorkerKey),
    /// There is no such schedule.
    #[error("there is no schedule {0}")]
    NoSchedule(Name),
    /// The chosen id is taken.
    #[error("there is a job {0} already")]
    DuplicateId(JobId),
    /// The chosen id has the form of those that the store gives, and is not above all of them: it was
    /// another job's once, or might have been.
    #[error("{0} is not free: the numbers up to the newest job's are never given again")]
    NumberGiven(JobId),
    /// The chosen id has the form of those that the store gives, and is not a number that can be
    /// chosen: it would leave the store few numbers to give, or none.
    #[error("{0} cannot be chosen: the numbers to choose from are q1 to q{CHOSEN_KEY_MAX}")]
    NumberOutOfRange(JobId),
    /// The job is in a state in which this cannot happen.
    #[error("job {id}: {refused}")]
    WrongState {
        /// The job.
        id: JobId,
        /// What was refused, and in which state.
        #[source]
        refused: RefusedTransition,
    },
    /// Only jobs in terminal states can be deleted.
    #[error("job {id} is {state}; only completed, dead and cancelled jobs can be deleted")]
    StillLives {
        /// The job.
        id: JobId,
        /// Its state.
        state: State,
    },
    /// Another job holds the job's idempotency key.
    #[error("job {id} cannot run again: job {by} holds the same unique key")]
    UniqueKeyTaken {
        /// The job.
        id: JobId,
        /// The one that holds it.
        by: JobId,
    },
    /// The jobs wait for each other, or one for itself.
    #[error("job {0} would wait for itself")]
    Cycle(JobId),
    /// There is no such batch.
    #[error("there is no batch {0}")]
    NoBatch(Name),
    /// Only a closed batch can be waited for: one that is open might get jobs that wait for the waiting
    /// one.
    #[error("the batch {0} is not closed; only then can a job wait for it")]
    BatchOpen(Name),
    /// The batch is closed once, and takes no more jobs but such as wait for none but its own.
    #[error(
        "the batch {0} is closed: it is not closed again, and its jobs wait for no others than its own"
    )]
    BatchClosed(Name),
    /// The batch takes no more jobs.
    #[error("the batch {0} has ended")]
    BatchEnded(Name),
    /// More than [`BATCH_LEN_MAX`] jobs.
    #[error("{len} jobs in one call; the limit is {BATCH_LEN_MAX}")]
    BatchTooLarge {
        /// How many.
        len: usize,
    },
    /// The setting does not take this value.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// Another process kept the store busy for too long. Trying again helps.
    #[error("the store is busy: another process has been writing for too long")]
    Busy(#[source] BoxError),
    /// There is no room to write. Trying again helps once there is.
    #[error("the disk is full")]
    Full(#[source] BoxError),
    /// The store cannot be written to.
    #[error("the store is read-only")]
    ReadOnly(#[source] BoxError),
    /// What was opened is no longer what stands at its place: deleted, moved or replaced.
    #[error("the store at {} was deleted, moved or replaced while it was in use", .0.display())]
    Replaced(PathBuf),
    /// The store is damaged.
    #[error("the store is damaged")]
    Corrupt(#[source] BoxError),
    /// The write may have happened, or not: the commit itself failed. Making the same call again is
    /// safe.
    #[error("it is not known whether the write happened")]
    Unknown(#[source] BoxError),
    /// Anything else below the store.
    #[error("the store failed")]
    Other(#[source] BoxError),
}

/// An error of some layer below, kept as the source.
pub type BoxError = Box<dyn Error + Send + Sync>;

impl StoreError {
    /// Whether the same call may succeed later without anyone mending anything by hand.
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Busy(_) | StoreError::Full(_) | StoreError::Unknown(_))
    }
}
