//! Which steps come next, and with what chances: the model knows which leases are held and which
//! jobs could be retried, so that the stories do not spend their time on what is refused.
//!
//! Whatever a story names that is not there any more, because a step was taken out of it, is unknown
//! to the store and to the model alike. So steps can be taken out freely; only no number may be given
//! twice.

use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use proptest_state_machine::ReferenceStateMachine;
use queuectl_core::store::StopMode;
use queuectl_core::{Condition, Needs, OnConflict, Otherwise, Rule, Setting, State, UniqueScope};

use super::dead::GAP;
use super::step::{
    BATCHES, Claim, End, Expiry, Id, KINDS, Name, New, QUEUES, Remedy, Start, Step, Verdict, Who,
};
use super::world::{Abilities, Batch, Job, World};

const TWO: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

/// The stories that there are.
pub(super) struct Stories;

impl ReferenceStateMachine for Stories {
    type State = World;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<World> {
        Just(World::new(Abilities::ALL)).boxed()
    }

    fn transitions(world: &World) -> BoxedStrategy<Step> {
        let jobs = some_job(world);
        let named = || prop::collection::vec(jobs.clone(), 1..=2);
        // The first is what a step becomes when it can be done without.
        let mut steps = vec![
            (14, pass_time()),
            (22, enqueue(world, prop::option::weighted(0.3, 0..3u8).boxed())),
            (5, register(world)),
            (5, who().prop_map(Step::Rescue).boxed()),
            (5, (who(), named(), 0..4u8).prop_map(|(w, j, r)| Step::Cancel(w, j, r)).boxed()),
            (2, (who(), named()).prop_map(|(who, jobs)| Step::Retry(who, jobs)).boxed()),
            (2, (who(), named()).prop_map(|(who, jobs)| Step::Purge(who, jobs)).boxed()),
            (
                2,
                (who(), jobs.clone(), 0..9u8)
                    .prop_map(|(w, j, text)| Step::Note(w, j, text))
                    .boxed(),
            ),
            (2, edit(jobs.clone())),
            (4, who().prop_map(Step::Prune).boxed()),
            (3, close_batch(world)),
            (
                1,
                (who(), 0..BATCHES.len(), 0..4u8)
                    .prop_map(|(w, b, r)| Step::CancelBatch(w, b, r))
                    .boxed(),
            ),
            (4, who().prop_map(Step::Expire).boxed()),
            (4, change()),
            (2, policy()),
            (
                3,
                (who(), 0..QUEUES.len(), prop::bool::weighted(0.4))
                    .prop_map(|(who, queue, paused)| Step::Pause(who, queue, paused))
                    .boxed(),
            ),
            (2, Just(Step::Die).boxed()),
            (1, Just(Step::Reopen).boxed()),
        ];
        let in_states = |fits: fn(State) -> bool| {
            let jobs = world.jobs.iter().filter(|(_, job)| fits(job.state));
            let jobs: Vec<u32> = jobs.map(|(number, _)| *number).collect();
            (!jobs.is_empty()).then(|| prop::collection::vec(select(jobs), 1..=2))
        };
        if let Some(jobs) = in_states(|state| state.is_terminal() || state == State::Failed) {
            steps.push((4, (who(), jobs).prop_map(|(who, jobs)| Step::Retry(who, jobs)).boxed()));
        }
        let dead = world.jobs.iter().filter(|(_, job)| job.state == State::Dead);
        let dead: Vec<u32> = dead.map(|(number, _)| *number).collect();
        if !dead.is_empty() {
            steps.push((3, edit(select(dead.clone()).boxed())));
            let taken = |job: &u32| {
                let unique = world.jobs[job].unique;
                let lives = |other: &Job| other.unique == unique && !other.state.is_terminal();
                unique.is_some() && world.jobs.values().any(lives)
            };
            if dead.iter().any(taken) {
                let again = who().prop_map(|who| Step::Sweep(who, None, Remedy::Retry(None)));
                steps.push((15, again.boxed()));
            }
            steps.push((6, sweep(select(dead).boxed())));
        }
        if let Some(jobs) = in_states(|state| matches!(state, State::Dead | State::Cancelled)) {
            steps.push((3, (who(), jobs).prop_map(|(who, jobs)| Step::Purge(who, jobs)).boxed()));
        }
        if let Some(jobs) = in_states(|state| state == State::Processing) {
            let cancel = (who(), jobs, 0..4u8);
            steps.push((4, cancel.prop_map(|(w, j, r)| Step::Cancel(w, j, r)).boxed()));
        }
        if let Some(parents) = parents_of_blocked(world, |state| !state.is_terminal()) {
            let cancel = (who(), parents, 0..4u8);
            steps.push((3, cancel.prop_map(|(w, j, r)| Step::Cancel(w, j, r)).boxed()));
        }
        if let Some(parents) = parents_of_blocked(world, State::is_terminal) {
            let again = (who(), parents.clone());
            steps.push((2, again.prop_map(|(who, jobs)| Step::Retry(who, jobs)).boxed()));
            let purge = (who(), parents);
            steps.push((1, purge.prop_map(|(who, jobs)| Step::Purge(who, jobs)).boxed()));
        }
        // What has expired is seldom: most of what waits is claimed before.
        let late = || world.jobs.values().filter(|job| world.has_expired(job));
        if late().any(|job| job.state == State::Failed) {
            steps.push((30, who().prop_map(Step::Expire).boxed()));
        } else if world.jobs.values().any(|job| job.state == State::Failed && job.expiry.is_some())
        {
            steps.push((25, seconds(5..20).prop_map(Step::Pass).boxed()));
        }
        let keys: Vec<u8> = late().filter_map(|job| job.unique).collect();
        if !keys.is_empty() {
            steps.push((20, enqueue(world, select(keys).prop_map(Some).boxed())));
        }
        // Nor is it often that somebody takes a key before the job that had it comes back.
        let freed = world.jobs.values().filter(|job| {
            job.state == State::Dead || (job.gave_up && job.state == State::Processing)
        });
        let keys: Vec<u8> = freed.filter_map(|job| job.unique).collect();
        if !keys.is_empty() {
            steps.push((10, enqueue(world, select(keys).prop_map(Some).boxed())));
        }
        let lost: Vec<u32> =
            world.jobs.keys().copied().filter(|job| world.is_lost_for_somebody(*job)).collect();
        if !lost.is_empty() {
            let again = (who(), select(lost));
            steps.push((12, again.prop_map(|(who, job)| Step::Retry(who, vec![job])).boxed()));
        }
        if let Some(lease) = some_lease(world) {
            let notes = prop::collection::vec((lease.clone(), 0..9u8), 1..=2);
            steps.push((3, (who(), notes).prop_map(|(w, n)| Step::Progress(w, n)).boxed()));
        }
        // A worker of an earlier boot does not call any more.
        let alive = world.workers.iter().filter(|(_, worker)| worker.boots == world.boots);
        let alive: Vec<u32> = alive.map(|(number, _)| *number).collect();
        let marked = world.jobs.values().filter(|job| job.reason.is_some());
        let told: Vec<u32> =
            marked.filter_map(|job| job.worker).filter(|worker| alive.contains(worker)).collect();
        if !told.is_empty() {
            let leave = (who(), select(told));
            steps.push((2, leave.prop_map(|(who, one)| Step::Deregister(who, vec![one])).boxed()));
        }
        if !alive.is_empty() {
            let worker = select(alive);
            let workers = prop::sample::subsequence(vec![0, 1], 1..=2)
                .prop_flat_map({
                    let worker = worker.clone();
                    move |some| prop::collection::vec(worker.clone(), some.len())
                })
                .prop_map(distinct)
                .boxed();
            steps.extend(work(world, &worker.boxed(), &workers));
        }
        prop::strategy::Union::new_weighted(steps).boxed()
    }

    fn preconditions(world: &World, step: &Step) -> bool {
        match step {
            Step::Enqueue(_, jobs) | Step::CloseBatch(_, _, jobs) => {
                jobs.iter().all(|job| job.job >= world.next_job)
            }
            Step::Register(_, worker, _) => *worker >= world.next_worker,
            _ => true,
        }
    }

    fn apply(mut world: World, step: &Step) -> World {
        world.take(step);
        world
    }
}

fn work(
    world: &World,
    worker: &BoxedStrategy<u32>,
    workers: &BoxedStrategy<Vec<u32>>,
) -> Vec<(u32, BoxedStrategy<Step>)> {
    let claim = (prop::collection::vec((worker.clone(), 0..4usize), 1..=2), some_queues())
        .prop_map(|(mut workers, only)| {
            workers.sort_unstable_by_key(|(worker, _)| *worker);
            workers.dedup_by_key(|(worker, _)| *worker);
            Claim { workers, only }
        });
    let claim = prop::option::weighted(0.9, claim);
    let ends = match some_lease(world) {
        Some(lease) => prop::collection::vec(end(lease), 0..4).boxed(),
        None => Just(Vec::new()).boxed(),
    };
    vec![
        (34, (who(), ends, claim).prop_map(|(w, ends, c)| Step::Exchange(w, ends, c)).boxed()),
        (
            4,
            (who(), workers.clone(), seconds(10..70))
                .prop_map(|(who, workers, lease)| Step::Renew(who, workers, lease))
                .boxed(),
        ),
        (3, (who(), workers.clone()).prop_map(|(w, workers)| Step::Orders(w, workers)).boxed()),
        (2, (who(), workers.clone()).prop_map(|(w, workers)| Step::Deregister(w, workers)).boxed()),
        (
            2,
            (who(), workers.clone(), select(&[StopMode::Finish, StopMode::Grace, StopMode::Now]))
                .prop_map(|(who, workers, mode)| Step::Stop(who, workers, mode))
                .boxed(),
        ),
    ]
}

fn edit(job: BoxedStrategy<u32>) -> BoxedStrategy<Step> {
    (who(), job, 0..9u8, 0..9u8)
        .prop_map(|(w, job, new, text)| Step::RetryWith(w, job, new, text))
        .boxed()
}

fn sweep(like: BoxedStrategy<u32>) -> BoxedStrategy<Step> {
    let remedy = select(&[Remedy::Retry(None), Remedy::Retry(Some(GAP)), Remedy::Purge]);
    (who(), prop::option::of(like), remedy)
        .prop_map(|(who, like, remedy)| Step::Sweep(who, like, remedy))
        .boxed()
}

fn who() -> BoxedStrategy<Who> {
    prop_oneof![2 => Just(Who::Main), 1 => Just(Who::Other)].boxed()
}

fn distinct(mut workers: Vec<u32>) -> Vec<u32> {
    workers.sort_unstable();
    workers.dedup();
    workers
}

fn seconds(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> + Clone {
    range.prop_map(Duration::from_secs)
}

/// Times that meet each other now and then.
fn some_time() -> impl Strategy<Value = Duration> + Clone {
    prop_oneof![
        1 => Just(Duration::ZERO),
        3 => seconds(1..20),
        2 => (0..20_000u64).prop_map(Duration::from_millis),
    ]
}

/// Jobs in some states that others wait for.
fn parents_of_blocked(world: &World, fits: fn(State) -> bool) -> Option<BoxedStrategy<Vec<u32>>> {
    let blocked = world.jobs.values().filter(|job| job.state == State::Blocked);
    let parents = blocked.flat_map(|job| job.waits_for.keys().copied());
    let parents: Vec<u32> =
        parents.filter(|one| world.jobs.get(one).is_some_and(|job| fits(job.state))).collect();
    (!parents.is_empty()).then(|| prop::collection::vec(select(parents), 1..=2).boxed())
}

/// The newest are the most interesting; most of the others have ended.
fn some_job(world: &World) -> BoxedStrategy<u32> {
    (world.next_job.saturating_sub(10)..world.next_job.max(1)).boxed()
}

fn some_queues() -> impl Strategy<Value = Option<Vec<usize>>> {
    let some = prop::sample::subsequence((0..QUEUES.len()).collect::<Vec<_>>(), 1..QUEUES.len());
    prop::option::weighted(0.3, some)
}

/// A lease that is held, mostly, or one that was or will be.
fn some_lease(world: &World) -> Option<BoxedStrategy<Name>> {
    let held: Vec<Name> = world
        .jobs
        .iter()
        .filter(|(_, job)| job.state == State::Processing)
        .map(|(number, job)| job.lease(*number))
        .collect();
    let any: Vec<Name> = world
        .ids
        .keys()
        .rev()
        .take(10)
        .map(|&job| {
            let token = world.jobs.get(&job).map_or(1, |job| job.token);
            Name { job, token }
        })
        .collect();
    if any.is_empty() {
        return None;
    }
    let stale = (select(any), -1..=1i64)
        .prop_map(|(lease, by)| Name { token: (lease.token + by).max(0), ..lease });
    Some(if held.is_empty() {
        stale.boxed()
    } else {
        prop_oneof![5 => select(held), 1 => stale].boxed()
    })
}

fn end(lease: BoxedStrategy<Name>) -> impl Strategy<Value = End> {
    let verdict = prop_oneof![
        4 => prop::option::of(0..9u8).prop_map(Verdict::Complete),
        4 => some_time().prop_map(Verdict::Fail),
        2 => some_time().prop_map(Verdict::Snooze),
        2 => Just(Verdict::Release),
        1 => Just(Verdict::Die),
        1 => Just(Verdict::Cancel),
    ];
    (lease, verdict, any::<bool>(), prop::bool::weighted(0.2))
        .prop_map(|(lease, verdict, said, leftovers)| End { lease, verdict, said, leftovers })
}

fn register(world: &World) -> BoxedStrategy<Step> {
    let worker = world.next_worker;
    (who(), seconds(10..70)).prop_map(move |(w, lease)| Step::Register(w, worker, lease)).boxed()
}

fn enqueue(world: &World, unique: BoxedStrategy<Option<u8>>) -> BoxedStrategy<Step> {
    let first = world.next_job;
    // Now and then what stands earlier in the call, or the job itself.
    let there: Vec<u32> = world.jobs.keys().rev().take(8).copied().chain([first]).collect();
    let parent = prop_oneof![9 => select(there), 1 => first.saturating_sub(8)..first + 3];
    let start = prop_oneof![
        4 => Just(Start::Now),
        1 => some_time().prop_map(Start::In),
        1 => (-5_000..20_000i64).prop_map(Start::At),
    ];
    let expiry =
        prop_oneof![some_time().prop_map(Expiry::In), (-2_000..20_000i64).prop_map(Expiry::At),];
    let condition = prop_oneof![
        3 => Just(Condition::Success),
        2 => Just(Condition::Failure),
        1 => Just(Condition::End),
    ];
    let batch = (
        prop::option::weighted(0.2, 0..BATCHES.len()),
        prop::collection::vec((0..BATCHES.len(), condition.clone()), 0..=1),
    );
    // Mostly what can be done.
    let all = |what: fn(&Batch) -> bool| -> Vec<bool> {
        (0..BATCHES.len()).map(|batch| world.batches.get(&batch).is_some_and(what)).collect()
    };
    let closed = all(|batch| batch.closed_at.is_some());
    let ended = all(|batch| batch.finished_at.is_some());
    let batch = batch.prop_map(move |(batch, mut after): (Option<usize>, Vec<_>)| {
        after.retain(|(batch, _)| closed[*batch] || first.is_multiple_of(11));
        (batch.filter(|batch| !ended[*batch] || first.is_multiple_of(7)), after)
    });
    let otherwise = prop_oneof![
        2 => Just(Otherwise::Wait),
        2 => Just(Otherwise::Cancel),
        1 => Just(Otherwise::Run),
    ];
    let id = prop_oneof![
        6 => Just(Id::Auto),
        6 => Just(Id::Own),
        1 => some_job(world).prop_map(Id::Of),
    ];
    let job = (
        id,
        prop_oneof![5 => Just(0), 2 => Just(1), 1 => Just(2)],
        prop_oneof![5 => Just(0), 2 => Just(1), 1 => Just(KINDS.len() - 1)],
        -1..=1i16,
        (
            prop::option::weighted(0.75, 0..3u32),
            prop::option::weighted(0.2, select(&[NonZeroU32::MIN, TWO])),
        ),
        (unique, some_scope(), select(&OnConflict::ALL), 0..9u8),
        (start, prop::option::weighted(0.25, expiry)),
        prop_oneof![
            2 => Just(Vec::new()),
            1 => prop::collection::vec((parent, condition), 1..=3),
        ],
        (prop_oneof![Just(Needs::All), Just(Needs::Any)], otherwise, batch),
    );
    (who(), prop::collection::vec(job, 1..=3))
        .prop_map(move |(who, jobs)| {
            let jobs = (first..).zip(jobs).map(|(job, parts)| {
                let (id, queue, kind, priority, retries, unique, times, after, terms) = parts;
                let (unique, scope, on_conflict, payload) = unique;
                let (needs, otherwise, (batch, after_batches)) = terms;
                let (retries, crashes) = retries;
                New {
                    job,
                    id,
                    queue,
                    kind,
                    priority,
                    retries,
                    crashes,
                    unique,
                    scope,
                    on_conflict,
                    payload,
                    start: times.0,
                    expiry: times.1,
                    after,
                    after_batches,
                    batch,
                    needs,
                    otherwise,
                }
            });
            Step::Enqueue(who, jobs.collect())
        })
        .boxed()
}

fn some_scope() -> impl Strategy<Value = UniqueScope> {
    prop_oneof![
        2 => Just(UniqueScope::Living),
        1 => some_time().prop_map(UniqueScope::For),
        2 => prop::sample::subsequence(State::ALL.to_vec(), 0..4)
            .prop_map(|states| UniqueScope::While(states.into_iter().collect())),
    ]
}

/// Closes a batch, with what an enqueue would add: the first in it, the others to wait for it.
fn close_batch(world: &World) -> BoxedStrategy<Step> {
    let add = enqueue(world, prop::option::weighted(0.1, 0..3u8).boxed());
    let on = select(&Condition::ALL);
    (0..BATCHES.len(), add, 0..=2usize, on)
        .prop_map(|(batch, add, members, on)| match add {
            Step::Enqueue(who, mut jobs) => {
                for (index, job) in jobs.iter_mut().enumerate() {
                    (job.batch, job.after_batches) = match index < members {
                        true => (Some(batch), Vec::new()),
                        false => (None, vec![(batch, on)]),
                    };
                }
                Step::CloseBatch(who, batch, jobs)
            }
            other => other,
        })
        .boxed()
}

fn pass_time() -> BoxedStrategy<Step> {
    prop_oneof![
        10 => some_time().prop_map(Step::Pass),
        2 => seconds(20..90).prop_map(Step::Pass),
        2 => (-100_000..100_000i64).prop_map(Step::SetWall),
        1 => Just(Step::Reboot),
    ]
    .boxed()
}

fn policy() -> BoxedStrategy<Step> {
    let rule = prop_oneof![
        prop::option::of(0..3u32).prop_map(Rule::MaxRetries),
        select(&[None, Some(TWO)]).prop_map(Rule::MaxCrashes),
        prop::option::of(seconds(1..9)).prop_map(Rule::Timeout),
    ];
    (who(), 0..2usize, rule).prop_map(|(who, kind, rule)| Step::Policy(who, kind, rule)).boxed()
}

fn change() -> BoxedStrategy<Step> {
    let retention = select(&[Setting::RetentionCompleted, Setting::RetentionDead]);
    let keep = select(&[Some("never"), Some("5s"), Some("30s"), None]);
    let retries = select(&[Some("0"), Some("1"), None]);
    prop_oneof![
        (who(), retention, keep).prop_map(|(who, what, value)| Step::Change(who, what, value)),
        (who(), select(&[Some("0"), Some("1"), None])).prop_map(|(who, keep)| Step::Change(
            who,
            Setting::RetentionDeadCount,
            keep
        )),
        (who(), retries).prop_map(|(who, value)| Step::Change(who, Setting::MaxRetries, value)),
        (who(), select(&[Some("2"), None])).prop_map(|(who, value)| Step::Change(
            who,
            Setting::MaxCrashes,
            value
        )),
    ]
    .boxed()
}
