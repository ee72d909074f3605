//! Under which conditions a job waits for others, and what becomes of it when they end otherwise.

use queuectl_core::store::Verdict;
use queuectl_core::{After, Condition, Needs, NewJob, Otherwise, State};

use super::dependencies::{after, waits_for};
use super::trial::{Trial, all_jobs, id, named, secs};

/// A child of the parent `parent`, with these terms.
fn child(name: &str, on: Condition, otherwise: Otherwise) -> NewJob {
    let new = named(name).priority(-1).otherwise(otherwise);
    match on {
        Condition::Success => new.after(id("parent")),
        Condition::Failure => new.after_failure(id("parent")),
        Condition::End => new.after_end(id("parent")),
    }
}

/// One for each condition and policy, named after both, and how each should stand once the parent has
/// ended so.
fn family(end: State) -> Vec<(NewJob, State)> {
    let fate = |on, otherwise| match (on, end, otherwise) {
        (Condition::End, ..) | (Condition::Success, State::Completed, _) => State::Pending,
        (Condition::Failure, State::Dead | State::Cancelled, _) => State::Pending,
        (_, _, Otherwise::Run) => State::Pending,
        (Condition::Success, _, Otherwise::Wait) => State::Blocked,
        _ => State::Cancelled,
    };
    let mut family = Vec::new();
    for on in Condition::ALL {
        for otherwise in Otherwise::ALL {
            let name = format!("{on}-{otherwise}");
            family.push((child(&name, on, otherwise), fate(on, otherwise)));
        }
    }
    family
}

#[track_caller]
fn check_family(t: &Trial, end: State) {
    for (new, fate) in family(end) {
        let name = new.id.unwrap();
        let kept = t.job(&name);
        assert_eq!(kept.state, fate, "{name} when its parent is {end}");
        if fate == State::Cancelled {
            assert_eq!((kept.finished_at, kept.attempts), (Some(t.now()), 0));
            let reason = kept.cancel_reason.unwrap();
            assert!(reason.contains("parent"), "{reason:?} names the parent");
        }
    }
}

/// Whichever way a job ends, what waits for it is told in the same call.
pub fn each_end_of_a_parent_moves_its_dependents_at_once(t: &mut Trial) {
    type Way = fn(&Trial, queuectl_core::WorkerKey);
    let ways: [(State, Way); 10] = [
        (State::Completed, |t, worker| t.complete(&t.claim_one(worker))),
        (State::Dead, |t, worker| t.end(&t.claim_one(worker), Verdict::Die)),
        (State::Dead, |t, worker| t.fail(&t.claim_one(worker), secs(1))),
        (State::Cancelled, |t, worker| t.end(&t.claim_one(worker), Verdict::Cancel)),
        (State::Cancelled, |t, _| t.cancel(&id("parent"))),
        (State::Cancelled, |t, _| {
            t.advance(secs(2_000_000));
            assert_eq!(t.store().expire().unwrap(), 1);
        }),
        (State::Cancelled, |t, worker| {
            let claimed = t.claim_one(worker);
            t.cancel(&id("parent"));
            t.end(&claimed, Verdict::Release);
        }),
        (State::Cancelled, |t, worker| {
            t.claim_one(worker);
            t.cancel(&id("parent"));
            t.store().deregister(&[worker]).unwrap();
        }),
        (State::Dead, |t, worker| {
            t.claim_one(worker);
            t.lose_workers();
        }),
        (State::Cancelled, |t, worker| {
            t.claim_one(worker);
            t.cancel(&id("parent"));
            t.lose_workers();
        }),
    ];
    for (end, way) in ways {
        let worker = t.worker();
        t.enqueue(named("parent").max_retries(0).expires_in(secs(1_000_000)));
        let jobs: Vec<_> = family(end).into_iter().map(|(new, _)| new).collect();
        t.add_all(&jobs);
        assert!(jobs.iter().all(|job| t.state(job.id.as_ref().unwrap()) == State::Blocked));
        way(t, worker);
        assert_eq!(t.state(&id("parent")), end);
        check_family(t, end);
        clear(t);
    }
}

/// Cancels and deletes all there is.
pub(super) fn clear(t: &Trial) {
    let lives = |job: &queuectl_core::Job| !job.state.is_terminal();
    while let Some(job) = all_jobs(t.store().as_ref()).into_iter().find(lives) {
        t.cancel(&job.id);
    }
    let ids: Vec<_> = all_jobs(t.store().as_ref()).into_iter().map(|job| job.id).collect();
    t.store().purge(&ids).unwrap();
}

/// It makes no difference whether the parent ends before its dependents are enqueued, or after.
pub fn a_parent_that_has_ended_decides_at_once(t: &mut Trial) {
    for end in [State::Completed, State::Dead, State::Cancelled] {
        t.job_in(end, named("parent"));
        let jobs: Vec<_> = family(end).into_iter().map(|(new, _)| new).collect();
        assert!(t.add_all(&jobs).iter().all(|one| one.created));
        check_family(t, end);
        let worker = t.worker();
        let free = family(end).iter().filter(|(_, fate)| *fate == State::Pending).count();
        assert_eq!(t.claim(worker, 100).len(), free);
        t.lose_workers();
        clear(t);
    }
}

pub fn any_one_of_several_parents_is_enough(t: &mut Trial) {
    t.add_all(&[
        named("a"),
        named("b"),
        after("child", &["a", "b"]).needs(Needs::Any),
        named("mixed").needs(Needs::Any).after(id("a")).after_failure(id("b")).priority(-2),
    ]);
    let worker = t.worker();
    let held = t.claim(worker, 2);
    t.end(&held[1], Verdict::Die);
    assert_eq!(t.state(&id("child")), State::Blocked);
    assert_eq!(t.state(&id("mixed")), State::Pending);
    t.complete(&held[0]);
    assert_eq!(t.claim_ids(worker, 9), ["child", "mixed"]);
    t.retry(&id("b"));
    assert_eq!(t.claim_ids(worker, 9), ["b"], "it frees nobody twice");
}

pub fn one_parent_that_has_ended_well_is_enough(t: &mut Trial) {
    t.job_in(State::Completed, named("done"));
    t.job_in(State::Dead, named("dead"));
    t.enqueue(named("open").queue("elsewhere").unwrap());
    let any = |name: &str, parents: &[&str]| {
        after(name, parents).needs(Needs::Any).otherwise(Otherwise::Cancel)
    };
    t.enqueue(any("free", &["dead", "open", "done"]));
    t.enqueue(any("waits", &["dead", "open"]));
    t.enqueue(any("vain", &["dead"]));
    t.enqueue(any("runs", &["dead"]).otherwise(Otherwise::Run));
    assert_eq!(t.state(&id("free")), State::Pending);
    assert_eq!(
        (t.state(&id("waits")), waits_for(t, "waits")),
        (State::Blocked, vec!["open".to_owned()])
    );
    assert_eq!(t.state(&id("vain")), State::Cancelled);
    assert_eq!(t.state(&id("runs")), State::Pending);
}

/// As long as one of them may still end well, nothing is in vain.
pub fn the_last_of_several_parents_decides_when_none_has_ended_well(t: &mut Trial) {
    for (otherwise, fate) in [
        (Otherwise::Wait, State::Blocked),
        (Otherwise::Cancel, State::Cancelled),
        (Otherwise::Run, State::Pending),
    ] {
        t.add_all(&[named("a"), named("b")]);
        t.enqueue(after("child", &["a", "b"]).needs(Needs::Any).otherwise(otherwise));
        t.cancel(&id("a"));
        assert_eq!(t.state(&id("child")), State::Blocked);
        t.cancel(&id("b"));
        assert_eq!(t.state(&id("child")), fate);
        if fate == State::Cancelled {
            let reason = t.job(&id("child")).cancel_reason.unwrap();
            assert!(reason.contains("job b"), "{reason:?} names the last");
        }
        clear(t);
    }
}

/// A parent that had ended otherwise and is run again may end well after all.
pub fn a_parent_that_is_run_again_counts_again(t: &mut Trial) {
    t.add_all(&[named("a"), named("b")]);
    t.enqueue(after("child", &["a", "b"]).needs(Needs::Any).otherwise(Otherwise::Cancel));
    t.cancel(&id("a"));
    assert_eq!(waits_for(t, "child"), ["b"]);
    t.retry(&id("a"));
    assert_eq!(waits_for(t, "child"), ["a", "b"]);
    t.cancel(&id("b"));
    assert_eq!(t.state(&id("child")), State::Blocked);
    t.cancel(&id("a"));
    assert_eq!(t.state(&id("child")), State::Cancelled);
    t.retry(&id("a"));
    let worker = t.worker();
    t.complete(&t.claim_one(worker));
    assert_eq!(t.state(&id("child")), State::Cancelled, "what has ended stays so");
}

pub fn deleting_one_of_several_parents_leaves_the_others(t: &mut Trial) {
    t.add_all(&[named("a"), named("b")]);
    t.enqueue(after("any", &["a", "b"]).needs(Needs::Any));
    t.enqueue(after("all", &["a", "b"]));
    t.cancel(&id("a"));
    t.purge(&id("a"));
    assert_eq!((t.state(&id("any")), waits_for(t, "any")), (State::Blocked, vec!["b".to_owned()]));
    assert_eq!(t.state(&id("all")), State::Cancelled);
    t.cancel(&id("b"));
    t.purge(&id("b"));
    assert_eq!(t.state(&id("any")), State::Cancelled);
}

pub fn where_all_are_needed_one_that_ends_otherwise_does_not_stop_a_job_that_runs_anyway(
    t: &mut Trial,
) {
    t.add_all(&[named("a"), named("b")]);
    t.enqueue(after("child", &["a", "b"]).otherwise(Otherwise::Run));
    t.cancel(&id("a"));
    assert_eq!(
        (t.state(&id("child")), waits_for(t, "child")),
        (State::Blocked, vec!["b".to_owned()])
    );
    let worker = t.worker();
    t.complete(&t.claim_one(worker));
    assert_eq!(t.claim_ids(worker, 9), ["child"]);
}

/// A job that is cancelled because of its parent has ended as well: those that wait for it are told,
/// each by its own policy, in the same call.
pub fn what_is_cancelled_with_its_parent_moves_its_own_dependents(t: &mut Trial) {
    let cancel = |new: NewJob| new.otherwise(Otherwise::Cancel);
    t.add_all(&[
        named("a"),
        cancel(after("b", &["a"])),
        cancel(after("c", &["b"])),
        after("waits", &["c"]),
        after("runs", &["c"]).otherwise(Otherwise::Run),
        named("tidy").after_failure(id("c")),
        cancel(named("praise").after(id("tidy"))),
    ]);
    let worker = t.worker();
    t.end(&t.claim_one(worker), Verdict::Die);
    for (job, reason) in [("b", "job a"), ("c", "job b")] {
        let kept = t.job(&id(job));
        assert_eq!(kept.state, State::Cancelled);
        assert!(kept.cancel_reason.unwrap().contains(reason));
    }
    assert_eq!(t.state(&id("waits")), State::Blocked);
    assert_eq!(t.state(&id("praise")), State::Blocked);
    assert_eq!(t.claim_ids(worker, 9), ["tidy", "runs"]);
    let dead =
        t.store().counts().unwrap().iter().map(|lane| lane.of(State::Cancelled)).sum::<u64>();
    assert_eq!(dead, 2);
}

pub fn a_long_chain_is_cancelled_with_its_head(t: &mut Trial) {
    let id_of = |number: usize| format!("link-{number}");
    let link = |number: usize| match number {
        0 => named(&id_of(0)),
        _ => after(&id_of(number), &[&id_of(number - 1)]).otherwise(Otherwise::Cancel),
    };
    let chain: Vec<_> = (0..300).map(link).collect();
    t.add_all(&chain);
    t.cancel(&id("link-0"));
    let jobs = all_jobs(t.store().as_ref());
    assert!(jobs.iter().all(|job| job.state == State::Cancelled));
}

/// What is named together is cancelled for the reason that was given, also where the end of the one
/// would have cancelled the other.
pub fn a_parent_and_its_child_can_be_cancelled_together(t: &mut Trial) {
    t.add_all(&[named("a"), after("b", &["a"]).otherwise(Otherwise::Cancel)]);
    let answers = t.store().cancel(&[id("a"), id("b")], &"both".into()).unwrap();
    assert_eq!(answers, [queuectl_core::store::Cancelled::Now; 2]);
    assert_eq!(t.job(&id("b")).cancel_reason.as_deref(), Some("both"));
    t.add_all(&[named("c"), named("d").after_failure(id("c"))]);
    t.store().cancel(&[id("d"), id("c")], &"both".into()).unwrap();
    assert_eq!(t.state(&id("d")), State::Cancelled);
}

pub fn a_parent_named_twice_counts_as_it_was_named_first(t: &mut Trial) {
    t.enqueue(named("parent"));
    t.enqueue(named("child").after(id("parent")).after_failure(id("parent")));
    assert_eq!(t.job(&id("child")).waits_for, [After::from(id("parent"))]);
    t.cancel(&id("parent"));
    assert_eq!(t.state(&id("child")), State::Blocked);
}

pub fn a_blocked_job_shows_what_it_waits_for_and_how(t: &mut Trial) {
    t.add_all(&[named("a"), named("b")]);
    let terms = |job: &queuectl_core::Job| (job.needs, job.otherwise);
    let new = named("child").after_failure(id("a")).after_end(id("b"));
    t.enqueue(new.needs(Needs::Any).otherwise(Otherwise::Cancel));
    let kept = t.job(&id("child"));
    let expected = [
        After { job: id("a"), on: Condition::Failure },
        After { job: id("b"), on: Condition::End },
    ];
    assert_eq!(kept.waits_for, expected);
    assert_eq!(terms(&kept), (Needs::Any, Otherwise::Cancel));
    assert_eq!(all_jobs(t.store().as_ref())[2], kept);
    t.cancel(&id("b"));
    let kept = t.job(&id("child"));
    assert_eq!((kept.state, kept.waits_for.len()), (State::Pending, 0));
    assert_eq!(terms(&kept), (Needs::All, Otherwise::Wait), "it waits for nothing");
}

/// Those that wait longest would be claimed first.
pub fn a_graph_runs_in_order(t: &mut Trial) {
    let layer = |depth: usize, width: usize| {
        let job = move |number: usize| {
            let new = named(&format!("n{depth}-{number}")).priority(depth as i16);
            let parents =
                (0..width.min(depth * width)).filter(move |other| (other + number) % 3 < 2);
            parents.fold(new, |new, other| new.after(id(&format!("n{}-{other}", depth - 1))))
        };
        (0..width).map(job).collect::<Vec<_>>()
    };
    for depth in 0..5 {
        t.add_all(&layer(depth, 6));
    }
    let worker = t.worker();
    let mut ran: Vec<String> = Vec::new();
    loop {
        let held = t.claim(worker, 4);
        if held.is_empty() {
            break;
        }
        for job in &held {
            ran.push(job.id.to_string());
            t.complete(job);
        }
    }
    assert_eq!(ran.len(), 30);
    let place = |name: &str| ran.iter().position(|one| one == name).unwrap();
    for depth in 1..5 {
        for job in layer(depth, 6) {
            let at = place(&job.id.as_ref().unwrap().to_string());
            assert!(job.after.iter().all(|parent| place(&parent.job.to_string()) < at));
        }
    }
}

/// What expires together is cancelled for that reason, also where the end of the one would have
/// cancelled the other; and what was cancelled expires no more.
pub fn a_parent_and_its_child_may_expire_together(t: &mut Trial) {
    let brief = |new: NewJob| new.expires_in(secs(10));
    t.add_all(&[
        brief(named("a")),
        brief(after("b", &["a"])).otherwise(Otherwise::Cancel),
        after("c", &["b"]).expires_in(secs(20)).otherwise(Otherwise::Cancel),
    ]);
    t.advance(secs(15));
    assert_eq!(t.store().expire().unwrap(), 2);
    assert!(t.job(&id("b")).cancel_reason.unwrap().starts_with("expired"));
    assert!(t.job(&id("c")).cancel_reason.unwrap().contains("job b"));
    t.advance(secs(15));
    assert_eq!(t.store().expire().unwrap(), 0);
}

/// A claim that comes to a job that has expired ends it, and may free another that has a moment to wait
/// for. The SQLite store had looked before when the next one is due, and its worker would have slept on.
pub fn a_claim_knows_when_what_it_has_freed_is_due(t: &mut Trial) {
    t.add_all(&[
        named("a").expires_in(secs(10)),
        named("soon").after_failure(id("a")).delay(secs(30)),
        named("later").delay(secs(60)),
    ]);
    let worker = t.worker();
    t.advance(secs(20));
    let done = t.exchange(&[], &[(worker, 9)]);
    assert_eq!((done.claimed.len(), done.next_due), (0, Some(secs(10))));
    t.advance(secs(10));
    assert_eq!(t.claim_ids(worker, 9), ["soon"]);
}

/// The reference store put back the job that had expired, and not what was cancelled with it.
pub fn a_refused_enqueue_takes_back_all_that_it_has_ended(t: &mut Trial) {
    t.add_all(&[
        named("a").unique_key("key").unwrap().expires_in(secs(10)),
        after("b", &["a"]).otherwise(Otherwise::Cancel),
    ]);
    t.advance(secs(20));
    let before = t.snapshot();
    let again = named("c").unique_key("key").unwrap();
    t.enqueue_err(&[again.clone(), named("d").after(id("nobody"))]);
    assert_eq!(t.snapshot(), before);
    t.enqueue(again);
    assert_eq!(t.state(&id("b")), State::Cancelled);
}
