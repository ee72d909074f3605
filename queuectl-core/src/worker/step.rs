//! What a worker does next.
//!
//! [`Steps`] is everything a worker process knows, and nothing that it does: it is told what has
//! happened and at what time, and names one [`Action`]. It never sleeps, spawns, reads a clock or
//! calls the store, so a simulator can drive the very code that runs in production, in any order
//! and at any time. `threads` carries the actions out for real.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::action::{Action, Notice, Settled, Summary};
use super::held::{Held, Holding};
use super::pace::Pace;
use super::trouble::{Call, Trouble};
use super::verdict::{outcome, settlement};
use crate::clock::{BootTime, Timestamp};
use crate::handler::{Finished, StopCause};
use crate::id::{Lease, Name, WorkerKey};
use crate::job::{Claimed, Json};
use crate::settings::Settings;
use crate::state::State;
use crate::store::{
    Exchanged, LaneCounts, Orders, Progress, QueueInfo, Queues, Rescued, Settlement, StopMode,
    StoreError, Ticked, Verdict,
};

/// How often a worker looks for dead ones, for ticks of schedules, and for work that nobody told it of.
const TICK: Duration = Duration::from_secs(1);
/// How soon after a change the worker asks again whether it is to cancel or to stop.
const ORDERS_PAUSE: Duration = Duration::from_millis(50);
/// When nothing has moved for so long, jobs that are held in advance are given back.
const SLOW: Duration = Duration::from_millis(100);

/// How a worker process is to work.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many workers.
    pub workers: usize,
    /// How long a lease lasts.
    pub lease: Duration,
    /// End when nothing is left to do.
    pub drain: bool,
}

/// A worker process between two steps.
#[derive(Debug)]
pub struct Steps {
    plan: Plan,
    settings: Settings,
    configured: bool,
    workers: Vec<WorkerKey>,
    /// When the leases were last extended: the time before that call, so that they never seem to
    /// last longer than they do.
    renewed_at: BootTime,
    held: Holding,

    // What has been decided and not yet been done.
    settle: Vec<Settlement>,
    start: Vec<Arc<Claimed>>,
    raise: Vec<(Lease, StopCause)>,
    notes: BTreeMap<Lease, Json>,
    tell: Vec<Notice>,
    recall: bool,
    reconcile: bool,
    expire: bool,
    prune: bool,
    /// The last prune has deleted something, so there may be more.
    prune_more: bool,
    tick: bool,
    count: bool,

    /// Nothing more is to be claimed for the time being.
    held_back: bool,
    /// There may be something to claim.
    hungry: bool,
    /// There will be when an attempt has ended: a limit was reached.
    limited: bool,
    /// Something has changed since the worker asked what is wanted of it.
    changed: bool,
    pace: Pace,
    /// When attempts were last settled or claimed.
    moved_at: BootTime,
    next_due: Option<BootTime>,
    /// When a schedule ticks next.
    schedule_due: Option<BootTime>,
    ordered_at: Option<BootTime>,
    ticked_at: Option<BootTime>,
    trouble: Trouble,
    pause_until: Option<BootTime>,
    stop: Option<(StopMode, BootTime)>,
    fatal: Option<StoreError>,
    ended: bool,
    summary: Summary,
}

impl Steps {
    /// A worker process that has done nothing yet.
    pub fn new(plan: Plan, now: BootTime) -> Self {
        Steps {
            plan,
            settings: Settings::default(),
            configured: false,
            workers: Vec::new(),
            renewed_at: now,
            held: Holding::default(),
            settle: Vec::new(),
            start: Vec::new(),
            raise: Vec::new(),
            notes: BTreeMap::new(),
            tell: Vec::new(),
            recall: false,
            reconcile: false,
            expire: false,
            prune: false,
            prune_more: false,
            tick: false,
            count: false,
            held_back: false,
            hungry: true,
            limited: false,
            changed: false,
            pace: Pace::new(),
            moved_at: now,
            next_due: None,
            schedule_due: None,
            ordered_at: None,
            ticked_at: None,
            trouble: Trouble::default(),
            pause_until: None,
            stop: None,
            fatal: None,
            ended: false,
            summary: Summary::default(),
        }
    }

    /// What to do at time `now`.
    pub fn next(&mut self, now: BootTime) -> Action {
        if !self.tell.is_empty() {
            return Action::Tell(std::mem::take(&mut self.tell));
        }
        if self.ended {
            return Action::End;
        }
        self.fence(now);
        self.hurry(now);
        self.share(now);
        if !self.raise.is_empty() {
            return Action::Raise(std::mem::take(&mut self.raise));
        }
        if std::mem::take(&mut self.recall) {
            return Action::Recall;
        }
        if !self.start.is_empty() {
            return Action::Start(std::mem::take(&mut self.start));
        }
        if self.fatal.is_some() {
            return self.wind_up_without_store(now);
        }
        let paused = self.pause_until.is_some_and(|until| now < until);
        if !paused && let Some(call) = self.next_call(now) {
            return call;
        }
        Action::Wait(self.next_time(now))
    }

    /// The next call of the store, if one is due.
    fn next_call(&mut self, now: BootTime) -> Option<Action> {
        if !self.configured {
            return Some(Action::Configure);
        }
        if self.stop.is_none() && self.workers.len() < self.plan.workers {
            return Some(Action::Register(self.plan.workers - self.workers.len()));
        }
        if !self.workers.is_empty() && now >= self.renew_due() {
            return Some(Action::Renew(self.workers.clone()));
        }
        if self.reconcile {
            return Some(Action::Reconcile(self.workers.clone()));
        }
        if self.orders_due().is_some_and(|due| now >= due) {
            self.changed = false;
            self.ordered_at = Some(now);
            return Some(Action::Orders(self.workers.clone()));
        }
        if self.ticked_at.is_none_or(|ticked| now >= ticked + TICK) {
            self.ticked_at = Some(now);
            self.hungry = true;
            self.changed = true;
            self.expire = true;
            self.prune = true;
            self.tick = true;
            return Some(Action::Rescue);
        }
        if std::mem::take(&mut self.expire) && self.stop.is_none() {
            return Some(Action::Expire);
        }
        // Once in a while whatever was said of the next one: a schedule may be new, and the wall clock may
        // have been set. Who is about to end leaves the ticks to others.
        let due = self.schedule_due.is_some_and(|due| now >= due);
        if (std::mem::take(&mut self.tick) || due) && self.stop.is_none() {
            self.schedule_due = None;
            return Some(Action::Tick);
        }
        let prunes = !self.settings.keeps_all() && self.stop.is_none();
        if std::mem::take(&mut self.prune) && prunes {
            return Some(Action::Prune);
        }
        if !self.notes.is_empty() {
            let notes = std::mem::take(&mut self.notes);
            let notes = notes.into_iter().map(|(lease, value)| Progress { lease, value });
            return Some(Action::Note(notes.collect()));
        }
        if self.next_due.is_some_and(|due| now >= due) {
            self.next_due = None;
            self.hungry = true;
        }
        // Once after each claim that found nothing, before the next: wakes may come all the time.
        if self.count && self.stop.is_none() && self.held.is_empty() {
            self.count = false;
            return Some(Action::Count);
        }
        let claim = if self.hungry { self.wants() } else { Vec::new() };
        if !self.settle.is_empty() || !claim.is_empty() {
            let mut settle = std::mem::take(&mut self.settle);
            settle.sort_by_key(|settlement| settlement.lease);
            return Some(Action::Exchange { settle, claim });
        }
        if self.stop.is_some() && self.held.is_empty() {
            return Some(Action::Deregister(self.workers.clone()));
        }
        None
    }

    /// A store that is gone for good can be told nothing: what runs is left to end by itself.
    fn wind_up_without_store(&mut self, now: BootTime) -> Action {
        self.held.forget_finished();
        if self.held.is_empty() {
            self.ended = true;
            return Action::End;
        }
        Action::Wait(now + TICK)
    }

    /// A worker that cannot renew tells its attempts to end before its lease does: after that,
    /// another worker may run them.
    fn fence(&mut self, now: BootTime) {
        if now >= self.fence_time() {
            self.raise_all(&StopCause::LeaseLost, |_| true);
            // What has been claimed but not begun cannot be told: it must not begin.
            self.recall |= !self.start.is_empty();
        }
    }

    /// When the attempts have to be told to end, unless the leases are renewed before.
    pub fn fence_time(&self) -> BootTime {
        self.renewed_at + (self.plan.lease - self.plan.lease / 6)
    }

    /// When the time to finish is over, whatever still runs is told to end.
    fn hurry(&mut self, now: BootTime) {
        match self.stop {
            Some((StopMode::Grace, since)) if now >= since + self.settings.grace => {
                self.stop = Some((StopMode::Now, since));
            }
            Some((StopMode::Now, _)) => {}
            _ => return,
        }
        if matches!(self.stop, Some((StopMode::Now, _))) {
            self.raise_all(&StopCause::Shutdown, |held| held.told.is_none());
        }
    }

    /// Jobs that are held in advance while those before them take long are given back, so that
    /// others may run them.
    fn share(&mut self, now: BootTime) {
        if self.pace.holds() > 1 && !self.held.is_empty() && now >= self.moved_at + SLOW {
            self.pace.stalled();
            self.recall = true;
        }
    }

    fn raise_all(&mut self, cause: &StopCause, which: impl Fn(&Held) -> bool) {
        for (lease, held) in self.held.all_running() {
            if held.told.as_ref() != Some(cause) && which(held) {
                held.told = Some(cause.clone());
                self.raise.push((lease, cause.clone()));
            }
        }
    }

    fn renew_due(&self) -> BootTime {
        self.renewed_at + self.plan.lease / 3
    }

    fn orders_due(&self) -> Option<BootTime> {
        let due = self.ordered_at.map_or(BootTime::from_millis(0), |at| at + ORDERS_PAUSE);
        (self.changed && !self.workers.is_empty()).then_some(due)
    }

    /// How many jobs each worker can take: it is asked for when half of what it holds is done.
    fn wants(&self) -> Vec<(WorkerKey, usize)> {
        if self.stop.is_some() || self.held_back {
            return Vec::new();
        }
        let want = |worker| {
            let holds = self.held.unfinished_of(worker);
            if holds <= self.pace.holds() / 2 { self.pace.holds() - holds } else { 0 }
        };
        let wants = self.workers.iter().map(|&worker| (worker, want(worker)));
        wants.filter(|(_, want)| *want > 0).collect()
    }

    /// When there is something to do that nobody will tell of.
    fn next_time(&self, now: BootTime) -> BootTime {
        if let Some(until) = self.pause_until
            && now < until
        {
            let fence = if self.held.is_empty() { until } else { self.fence_time() };
            // A fence that has been passed has been seen to.
            return if fence > now { until.min(fence) } else { until };
        }
        let hurry = match self.stop {
            Some((StopMode::Grace, since)) => Some(since + self.settings.grace),
            _ => None,
        };
        let tick = self.ticked_at.map_or(now, |ticked| ticked + TICK);
        let due = self.next_due.filter(|_| !self.wants().is_empty());
        let share = (self.pace.holds() > 1 && !self.held.is_empty()).then(|| self.moved_at + SLOW);
        let renew = (!self.workers.is_empty()).then(|| self.renew_due());
        let schedule = self.schedule_due.filter(|_| self.stop.is_none());
        let times = [Some(tick), renew, self.orders_due(), due, hurry, share, schedule];
        times.into_iter().flatten().min().unwrap_or(tick)
    }

    /// The answer to [`Action::Register`]; `asked_at` is the time before the call.
    pub fn registered(
        &mut self,
        asked_at: BootTime,
        now: BootTime,
        answer: Result<Vec<WorkerKey>, StoreError>,
    ) {
        if let Some(workers) = self.answered(Call::Register, now, answer) {
            if self.workers.is_empty() {
                self.renewed_at = asked_at;
            }
            self.workers.extend(workers);
            self.hungry = true;
        }
    }

    /// The answer to [`Action::Configure`].
    pub fn configured(&mut self, now: BootTime, answer: Result<Settings, StoreError>) {
        if let Some(settings) = self.answered(Call::Configure, now, answer) {
            self.settings = settings;
            self.configured = true;
        }
    }

    /// The answer to [`Action::Renew`]; `asked_at` is the time before the call.
    pub fn renewed(
        &mut self,
        asked_at: BootTime,
        now: BootTime,
        answer: Result<Orders, StoreError>,
    ) {
        if let Some(orders) = self.answered(Call::Renew, now, answer) {
            self.renewed_at = asked_at;
            // A setting that has been changed holds from the next renewal on.
            self.configured = false;
            self.obey(now, orders);
        }
    }

    /// The answer to [`Action::Orders`].
    pub fn ordered(&mut self, now: BootTime, answer: Result<Orders, StoreError>) {
        if let Some(orders) = self.answered(Call::Orders, now, answer) {
            self.obey(now, orders);
        }
    }

    fn obey(&mut self, now: BootTime, orders: Orders) {
        if !orders.lost.is_empty() {
            self.workers.retain(|worker| !orders.lost.contains(worker));
            let lost = |held: &Held| orders.lost.contains(&held.job.worker);
            self.raise_all(&StopCause::LeaseLost, lost);
        }
        for (lease, reason) in orders.cancel {
            if let Some(held) = self.held.running(lease)
                && held.told.is_none()
            {
                let cause = StopCause::Cancelled(reason);
                held.told = Some(cause.clone());
                self.raise.push((lease, cause));
            }
        }
        // One process has one end: its workers stop together, as hard as the hardest wish.
        if let Some(mode) = orders.stop.into_iter().map(|(_, mode)| mode).max() {
            self.stop(now, mode);
        }
    }

    /// The answer to [`Action::Rescue`].
    pub fn rescued(&mut self, now: BootTime, answer: Result<Vec<Rescued>, StoreError>) {
        if let Some(rescued) = self.answered(Call::Rescue, now, answer) {
            self.tell.extend(rescued.into_iter().map(Notice::Rescued));
        }
    }

    /// The answer to [`Action::Expire`].
    pub fn expired(&mut self, now: BootTime, answer: Result<u64, StoreError>) {
        self.answered(Call::Expire, now, answer);
    }

    /// The answer to [`Action::Prune`].
    pub fn pruned(&mut self, now: BootTime, answer: Result<u64, StoreError>) {
        self.prune_more = self.answered(Call::Prune, now, answer).is_some_and(|pruned| pruned > 0);
    }

    /// The answer to [`Action::Tick`].
    pub fn ticked(&mut self, now: BootTime, answer: Result<Ticked, StoreError>) {
        if let Some(ticked) = self.answered(Call::Tick, now, answer) {
            self.schedule_due = ticked.next_due.map(|due| now + due);
            self.hungry |= !ticked.ticks.is_empty();
        }
    }

    /// The answer to [`Action::Note`].
    pub fn noted(&mut self, now: BootTime, answer: Result<Vec<Lease>, StoreError>) {
        // A lease that was lost is found out when its attempt is settled.
        self.answered(Call::Note, now, answer);
    }

    /// The answer to [`Action::Count`]: how many jobs are left that this process may have to run.
    pub fn counted(&mut self, now: BootTime, answer: Result<u64, StoreError>) {
        if self.answered(Call::Count, now, answer) == Some(0) {
            self.stop(now, StopMode::Finish);
        }
    }

    /// The answer to [`Action::Exchange`], with the settlements that it had.
    pub fn exchanged(
        &mut self,
        now: BootTime,
        settle: Vec<Settlement>,
        wanted: usize,
        answer: Result<Exchanged, StoreError>,
    ) {
        let exchanged = match answer {
            Ok(exchanged) => exchanged,
            Err(error) => {
                // All of it will be said again. What was claimed, if it was, is not known here.
                self.settle.extend(settle);
                self.reconcile = true;
                self.failed(Call::Exchange, now, error);
                return;
            }
        };
        self.trouble.succeeded(Call::Exchange);
        // Where jobs end faster than once a second can delete them, the two take turns.
        self.prune |= !settle.is_empty() && std::mem::take(&mut self.prune_more);
        if !settle.is_empty() || !exchanged.claimed.is_empty() {
            self.moved_at = now;
        }
        for settlement in settle {
            let lost = exchanged.refused.contains(&settlement.lease);
            self.settled(settlement, lost);
        }
        if wanted > 0 {
            let full = exchanged.claimed.len() >= wanted;
            self.hungry = full;
            self.limited = exchanged.limited;
            if full {
                self.pace.more();
            }
            self.next_due = exchanged.next_due.map(|due| now + due);
            // If more may be found at once, nobody can say yet how many are left.
            let more = exchanged.next_due.is_some_and(|due| due.is_zero());
            self.count = self.plan.drain && exchanged.claimed.is_empty() && !more;
        }
        for job in exchanged.claimed {
            let job = Arc::new(job);
            self.held.claimed(Arc::clone(&job));
            self.start.push(job);
        }
    }

    fn settled(&mut self, settlement: Settlement, lost: bool) {
        let Some(held) = self.held.remove(settlement.lease) else {
            return;
        };
        if lost {
            self.summary.lost += 1;
            self.tell.push(Notice::LeaseLost(held.job.id.clone()));
            return;
        }
        let (state, retry_in) = outcome(&held.job, &settlement.verdict);
        match state {
            State::Completed => self.summary.completed += 1,
            State::Failed => self.summary.failed += 1,
            State::Dead => self.summary.dead += 1,
            State::Cancelled => self.summary.cancelled += 1,
            _ => self.summary.released += 1,
        }
        if settlement.verdict == Verdict::Release && settlement.report.is_none() {
            // It never began, so nobody has heard of it.
            return;
        }
        let report = settlement.report;
        let settled = Settled { job: held.job, state, retry_in, took: held.took, report };
        self.tell.push(Notice::Settled(settled));
    }

    /// The answer to [`Action::Reconcile`]: everything that the store says is held.
    pub fn reconciled(
        &mut self,
        now: BootTime,
        wall: Timestamp,
        answer: Result<Vec<Lease>, StoreError>,
    ) {
        let Some(leases) = self.answered(Call::Reconcile, now, answer) else {
            return;
        };
        self.reconcile = false;
        let settling: Vec<Lease> = self.settle.iter().map(|settlement| settlement.lease).collect();
        for lease in leases.into_iter().filter(|&lease| !self.held.contains(lease)) {
            if !settling.contains(&lease) {
                // Claimed by a call whose answer never came: nobody runs it.
                self.settle.push(given_back(lease, wall, true));
            }
        }
    }

    /// The answer to [`Action::Deregister`].
    pub fn deregistered(&mut self, now: BootTime, answer: Result<(), StoreError>) {
        if self.answered(Call::Deregister, now, answer).is_some() {
            self.workers.clear();
            self.ended = true;
        }
    }

    /// The answer to [`Action::Recall`]: the attempts that will not begin. Nor will those that were
    /// claimed by the last exchange and have not been handed out: a stop, a lost lease or a slow job
    /// that became known during that call holds for them too.
    pub fn recalled(&mut self, wall: Timestamp, leases: &[Lease]) {
        let unstarted = std::mem::take(&mut self.start);
        for lease in unstarted.iter().map(|job| &job.lease).chain(leases) {
            self.unbegun(wall, *lease);
        }
    }

    /// An attempt that was to begin has not, because it was told to end before.
    pub fn unbegun(&mut self, wall: Timestamp, lease: Lease) {
        if let Some(held) = self.held.finish(lease) {
            self.settle.push(given_back(lease, wall, held.job.lost_from.is_some()));
        }
    }

    /// An attempt has ended. `random` in `[0, 1)` decides the jitter of its backoff.
    pub fn finished(
        &mut self,
        lease: Lease,
        finished: Finished,
        started_at: Timestamp,
        took: Duration,
        random: f64,
    ) {
        let Some(held) = self.held.finish(lease) else {
            return;
        };
        held.took = took;
        self.hungry |= self.limited;
        self.recall |= self.pace.took(took);
        self.settle.push(settlement(&held.job, finished, started_at, &self.settings, random));
    }

    /// A running attempt says how far it is.
    pub fn progressed(&mut self, lease: Lease, value: Json) {
        if self.held.running(lease).is_some() {
            self.notes.insert(lease, value);
        }
    }

    /// Whether the worker is to claim nothing more for the time being.
    pub fn hold(&mut self, back: bool) {
        self.held_back = back;
    }

    /// Something in the store has changed.
    pub fn woken(&mut self) {
        self.hungry = true;
        self.changed = true;
    }

    /// The worker is to stop; a harder way overrules a softer one.
    pub fn stop(&mut self, now: BootTime, mode: StopMode) {
        if self.stop.is_some_and(|(known, _)| known >= mode) {
            return;
        }
        self.stop = Some((mode, now));
        self.recall = true;
        self.tell.push(Notice::Stopping(mode));
    }

    /// What the worker has done so far.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// The workers that are registered.
    pub fn workers(&self) -> &[WorkerKey] {
        &self.workers
    }

    /// Why the worker has given up, if it has.
    pub fn into_error(self) -> Option<StoreError> {
        self.fatal
    }

    fn answered<T>(
        &mut self,
        call: Call,
        now: BootTime,
        answer: Result<T, StoreError>,
    ) -> Option<T> {
        match answer {
            Ok(value) => {
                self.trouble.succeeded(call);
                Some(value)
            }
            Err(error) => {
                self.failed(call, now, error);
                None
            }
        }
    }

    fn failed(&mut self, call: Call, now: BootTime, error: StoreError) {
        let hopeless = matches!(error, StoreError::Replaced(_) | StoreError::ReadOnly(_));
        // Told to stop, with nothing that runs, and the leases over: whoever comes next sees to what
        // could not be written. Without this a full disk would keep the process for ever.
        let over = self.stop.is_some()
            && self.held.all_finished()
            && now >= self.renewed_at + self.plan.lease;
        // After a lease of failures, what this worker holds is others' to run.
        let pause = self.trouble.failed(call, error.is_transient(), now, self.plan.lease);
        match pause {
            Some(pause) if !hopeless && !over => {
                self.pause_until = Some(now + pause);
                self.tell.push(Notice::StoreFailed(error));
            }
            _ => {
                self.stop(now, StopMode::Finish);
                self.fatal = Some(error);
            }
        }
    }
}

/// How many jobs a worker of these kinds and queues may have to run yet: waiting for their time or
/// for a retry, and those that others run and may lose. Not what nobody can run as things stand.
pub fn left(kinds: &[Name], serves: &Queues, queues: &[QueueInfo], counts: &[LaneCounts]) -> u64 {
    let paused = |name: &Name| queues.iter().any(|queue| queue.paused && queue.name == *name);
    let served = counts.iter().filter(|lane| {
        kinds.contains(&lane.kind) && serves.include(&lane.queue) && !paused(&lane.queue)
    });
    let states = [State::Pending, State::Failed, State::Processing];
    served.flat_map(|lane| states.map(|state| lane.of(state))).sum()
}

/// An attempt that never began, given back; what it was to clean up is still there.
fn given_back(lease: Lease, at: Timestamp, leftovers: bool) -> Settlement {
    Settlement { lease, verdict: Verdict::Release, started_at: at, report: None, leftovers }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{JobId, JobKey, Name, Token};

    const LEASE: Duration = Duration::from_secs(3);

    fn at(millis: i64) -> BootTime {
        BootTime::from_millis(millis)
    }

    /// A process of one worker that is about to make its first claim.
    fn hungry() -> Steps {
        let mut steps = Steps::new(Plan { workers: 1, lease: LEASE, drain: false }, at(0));
        steps.configured(at(0), Ok(Settings::default()));
        steps.registered(at(0), at(0), Ok(vec![WorkerKey(1)]));
        assert!(matches!(steps.next(at(0)), Action::Rescue));
        steps.rescued(at(0), Ok(Vec::new()));
        while !matches!(steps.next(at(0)), Action::Exchange { .. }) {
            steps.ordered(at(0), Ok(Orders::default()));
        }
        steps
    }

    /// The store counted from when it was asked. A worker that counts from the answer believes in a
    /// lease that has ended, and goes on with jobs that others run.
    #[test]
    fn a_lease_counts_from_before_the_call_that_extended_it() {
        let mut steps = hungry();
        let believed = LEASE - LEASE / 6;
        assert_eq!(steps.fence_time(), at(0) + believed);
        steps.renewed(at(1_000), at(2_900), Ok(Orders::default()));
        assert_eq!(steps.fence_time(), at(1_000) + believed);
    }

    fn claims_one(steps: &mut Steps, now: BootTime) -> Lease {
        let lease = Lease { key: JobKey(1), token: Token(1) };
        let name = Name::new("k").unwrap();
        let (id, payload) = (JobId::Auto(lease.key), Json::parse("null").unwrap());
        let job = Claimed::new(lease, WorkerKey(1), id, name.clone(), name, payload);
        let claimed = Exchanged { claimed: vec![job], ..Exchanged::default() };
        steps.exchanged(now, Vec::new(), 1, Ok(claimed));
        lease
    }

    /// Carries out what needs no store until a call of the store is due; panics at a start.
    fn gives_back(steps: &mut Steps, now: BootTime) -> Vec<Lease> {
        for _ in 0..20 {
            match steps.next(now) {
                Action::Start(_) => panic!("an attempt began that is to end"),
                Action::Recall => steps.recalled(Timestamp::from_millis(0), &[]),
                Action::Renew(_) => steps.renewed(now, now, Ok(Orders::default())),
                Action::Configure => steps.configured(now, Ok(Settings::default())),
                Action::Rescue => steps.rescued(now, Ok(Vec::new())),
                Action::Orders(_) => steps.ordered(now, Ok(Orders::default())),
                Action::Exchange { settle, .. } => {
                    return settle.into_iter().map(|settlement| settlement.lease).collect();
                }
                Action::Wait(_) => break,
                _ => {}
            }
        }
        panic!("the job is not given back")
    }

    /// Once a second would be too seldom where more jobs end than one call deletes: the file would grow.
    #[test]
    fn what_has_outlived_its_retention_is_deleted_as_fast_as_jobs_end() {
        let mut steps = hungry();
        let settings = Settings { retention_completed_count: Some(9), ..Settings::default() };
        steps.configured(at(0), Ok(settings));
        let lease = claims_one(&mut steps, at(0));
        steps.pruned(at(0), Ok(500));
        assert!(!matches!(steps.next(at(0)), Action::Prune), "it is the turn of jobs");
        let ended = |steps: &mut Steps| {
            let (verdict, started_at) = (Verdict::Release, Timestamp::from_millis(0));
            let settled = Settlement { lease, verdict, started_at, report: None, leftovers: false };
            steps.exchanged(at(0), vec![settled], 1, Ok(Exchanged::default()));
            (0..9).any(|_| matches!(steps.next(at(0)), Action::Prune))
        };
        assert!(ended(&mut steps));
        steps.pruned(at(0), Ok(0));
        assert!(!ended(&mut steps), "nothing is left");
    }

    #[test]
    fn the_next_tick_of_a_schedule_wakes_the_worker() {
        let mut steps = hungry();
        steps.exchanged(at(0), Vec::new(), 1, Ok(Exchanged::default()));
        let next = Some(Duration::from_millis(300));
        steps.ticked(at(0), Ok(Ticked { ticks: Vec::new(), next_due: next }));
        assert!(matches!(steps.next(at(0)), Action::Wait(until) if until == at(300)));
        assert!(matches!(steps.next(at(299)), Action::Wait(_)));
        assert!(matches!(steps.next(at(300)), Action::Tick));
        steps.ticked(at(300), Ok(Ticked::default()));
        // The wall clock may have been set, and a schedule may be new.
        assert!(matches!(steps.next(at(300)), Action::Wait(until) if until == at(1_000)));
        assert!(matches!(steps.next(at(1_000)), Action::Renew(_)));
        steps.renewed(at(1_000), at(1_000), Ok(Orders::default()));
        steps.configured(at(1_000), Ok(Settings::default()));
        let mut calls = std::iter::from_fn(|| Some(steps.next(at(1_000)))).take(5);
        assert!(calls.any(|call| matches!(call, Action::Tick)));
        // Who stops leaves them to others.
        steps.ticked(at(1_000), Ok(Ticked { ticks: Vec::new(), next_due: next }));
        steps.stop(at(1_000), StopMode::Finish);
        let mut calls = std::iter::from_fn(|| Some(steps.next(at(2_000)))).take(20);
        assert!(!calls.any(|call| matches!(call, Action::Tick)));
    }

    #[test]
    fn what_a_claim_brings_after_the_order_to_stop_does_not_begin() {
        for mode in [StopMode::Finish, StopMode::Grace, StopMode::Now] {
            let mut steps = hungry();
            let lease = claims_one(&mut steps, at(1));
            // It came while the claim was under way.
            steps.stop(at(1), mode);
            assert_eq!(gives_back(&mut steps, at(1)), [lease], "{mode:?}");
        }
    }

    #[test]
    fn a_store_that_stays_full_does_not_keep_a_worker_that_is_to_stop() {
        let mut steps = hungry();
        steps.stop(at(1), StopMode::Grace);
        let full = || StoreError::Full("no room".into());
        let mut now = at(1);
        for _ in 0..1000 {
            match steps.next(now) {
                Action::Renew(_) => steps.renewed(now, now, Err(full())),
                Action::Deregister(_) => steps.deregistered(now, Err(full())),
                Action::Rescue => steps.rescued(now, Ok(Vec::new())),
                Action::Orders(_) => steps.ordered(now, Ok(Orders::default())),
                Action::Recall => steps.recalled(Timestamp::from_millis(0), &[]),
                Action::Wait(until) => now = until,
                Action::End => {
                    assert!(now >= at(0) + LEASE, "it gave up while it held its leases");
                    assert!(matches!(steps.into_error(), Some(StoreError::Full(_))));
                    return;
                }
                _ => {}
            }
        }
        panic!("still there at {now:?}")
    }

    /// What the store says of its leases can be read, but nothing can be written.
    #[test]
    fn a_worker_whose_exchanges_fail_for_a_lease_gives_up() {
        let mut steps = hungry();
        let mut now = at(1);
        let damaged = || StoreError::Corrupt("a damaged page".into());
        for _ in 0..10_000 {
            match steps.next(now) {
                Action::Exchange { settle, .. } => {
                    steps.exchanged(now, settle, 1, Err(damaged()));
                }
                Action::Reconcile(_) => {
                    let wall = Timestamp::from_millis(0);
                    steps.reconciled(now, wall, Ok(Vec::new()));
                }
                Action::Renew(_) => steps.renewed(now, now, Ok(Orders::default())),
                Action::Configure => steps.configured(now, Ok(Settings::default())),
                Action::Rescue => steps.rescued(now, Ok(Vec::new())),
                Action::Orders(_) => steps.ordered(now, Ok(Orders::default())),
                Action::Recall => steps.recalled(Timestamp::from_millis(0), &[]),
                Action::Wait(until) => now = until,
                Action::End => {
                    assert!(now >= at(1) + LEASE && now < at(1) + 2 * LEASE, "{now:?}");
                    assert!(matches!(steps.into_error(), Some(StoreError::Corrupt(_))));
                    return;
                }
                _ => {}
            }
        }
        panic!("still there at {now:?}")
    }

    /// Found by the simulator: the time to renew was over, and there was nobody to renew for.
    #[test]
    fn a_worker_that_was_declared_lost_while_it_stops_waits_for_its_attempt() {
        let mut steps = hungry();
        claims_one(&mut steps, at(1));
        assert!(matches!(steps.next(at(1)), Action::Start(_)));
        steps.stop(at(1), StopMode::Finish);
        let late = at(60_000);
        let lost = || Orders { lost: vec![WorkerKey(1)], ..Orders::default() };
        for _ in 0..20 {
            match steps.next(late) {
                Action::Renew(_) => steps.renewed(late, late, Ok(lost())),
                Action::Configure => steps.configured(late, Ok(Settings::default())),
                Action::Recall => steps.recalled(Timestamp::from_millis(0), &[]),
                Action::Rescue => steps.rescued(late, Ok(Vec::new())),
                Action::Wait(until) => return assert!(until > late, "it spins"),
                _ => {}
            }
        }
        panic!("it never waits")
    }

    #[test]
    fn what_a_claim_brings_after_the_lease_does_not_begin() {
        let mut steps = hungry();
        // The process was suspended right after the commit.
        let late = at(60_000);
        let lease = claims_one(&mut steps, late);
        assert_eq!(gives_back(&mut steps, late), [lease]);
    }
}
