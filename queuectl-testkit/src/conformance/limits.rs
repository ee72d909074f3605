//! Limits of queues: how many jobs run at a time, in all and of one key, and how many start in a period.
//! And ageing, which is why none waits for ever.

use std::num::NonZeroU32;
use std::time::Duration;

use queuectl_core::store::{QueueInfo, Verdict};
use queuectl_core::{Claimed, JobId, Limit, NewJob, QueueLimits, Rate, Setting, State};

use super::trial::{Trial, job, name, named, of_kind, register, secs, settlement};
use crate::dice::Dice;

fn at_most(number: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(number)
}

fn rate(text: &str) -> Limit {
    Limit::Rate(Some(text.parse().expect("a rate")))
}

/// Limits the queue of the jobs that say nothing of theirs.
fn limit(t: &Trial, limit: Limit) -> QueueLimits {
    t.store().limit(&name("default"), &[limit]).expect("limiting a queue")
}

fn keyed(key: &str) -> NewJob {
    job().concurrency_key(key).expect("a key")
}

fn named_of(id: &str, key: &str) -> NewJob {
    named(id).concurrency_key(key).expect("a key")
}

fn ids(claimed: &[Claimed]) -> Vec<String> {
    claimed.iter().map(|job| job.id.to_string()).collect()
}

pub fn no_more_jobs_of_a_queue_run_than_its_limit(t: &mut Trial) {
    limit(t, Limit::Concurrency(at_most(2)));
    t.add_all(&vec![job(); 5]);
    let [here, there] = t.two_handles();
    let mut workers = register(here.as_ref(), 2);
    workers.extend(register(there.as_ref(), 2));
    let wants: Vec<_> = workers.iter().map(|&worker| (worker, 2)).collect();
    let first = t.exchange(&[], &wants).claimed;
    assert_eq!(first.len(), 2);
    assert_eq!(t.exchange(&[], &wants).claimed, []);
    let done = settlement(first[0].lease, Verdict::Complete { result: None }, t.now());
    let next = t.exchange(&[done], &wants).claimed;
    assert_eq!(next.len(), 1, "whatever ends in a call leaves room to its claims");
}

/// A worker that held the whole limit in advance would keep it from the others, and run them one by one.
pub fn a_worker_holds_one_job_of_a_limited_queue(t: &mut Trial) {
    limit(t, Limit::Concurrency(at_most(3)));
    t.add_all(&[named("a"), named("b"), named("c"), named("d")]);
    t.enqueue(named("elsewhere").queue("other").unwrap());
    let workers = t.workers(2);
    let first = t.exchange(&[], &[(workers[0], 9), (workers[1], 1)]);
    assert_eq!(ids(&first.claimed), ["a", "b", "elsewhere"]);
    assert!(first.limited);
    assert_eq!(first.claimed[2].worker, workers[0]);
    t.claim_none(workers[0]);
    t.complete(&first.claimed[0]);
    assert_eq!(t.claim_ids(workers[0], 9), ["c"]);
}

pub fn every_end_of_an_attempt_leaves_its_place_to_another(t: &mut Trial) {
    limit(t, Limit::Concurrency(at_most(1)));
    let worker = t.worker();
    let ends = [
        Verdict::Complete { result: None },
        Verdict::Fail { retry_in: secs(9) },
        Verdict::Die,
        Verdict::Snooze { wake_in: secs(9) },
        Verdict::Release,
        Verdict::Cancel,
    ];
    for end in ends {
        let queued = t.add_all(&[keyed("k"), keyed("k")]);
        let first = t.claim_one(worker);
        t.claim_none(t.worker());
        t.end(&first, end.clone());
        let second = t.claim_one(worker);
        t.complete(&second);
        for id in queued.into_iter().map(|one| one.id).filter(|id| !t.state(id).is_terminal()) {
            t.cancel(&id);
        }
    }
}

pub fn jobs_of_a_dead_worker_count_until_they_are_freed(t: &mut Trial) {
    limit(t, Limit::Concurrency(at_most(1)));
    t.add_all(&[named_of("a", "k"), named_of("b", "k")]);
    t.claim_one(t.worker());
    t.advance(super::trial::LEASE + secs(1));
    t.claim_none(t.worker());
    t.rescue();
    assert_eq!(t.claim_ids(t.worker(), 9), ["a"]);
}

pub fn a_limit_that_is_lowered_ends_nothing(t: &mut Trial) {
    t.add_all(&vec![job(); 5]);
    let worker = t.worker();
    let running = t.claim(worker, 3);
    limit(t, Limit::Concurrency(at_most(9)));
    t.claim_none(worker);
    limit(t, Limit::Concurrency(at_most(2)));
    t.claim_none(t.worker());
    t.complete(&running[0]);
    t.claim_none(t.worker());
    t.complete(&running[1]);
    let another = t.claim(t.worker(), 9);
    assert_eq!(another.len(), 1, "one of before the limit still runs");
    limit(t, Limit::Concurrency(None));
    assert_eq!(t.claim(t.worker(), 9).len(), 1);
}

pub fn a_limit_concerns_its_own_queue(t: &mut Trial) {
    limit(t, Limit::Concurrency(at_most(1)));
    limit(t, rate("1/1h"));
    t.add_all(&[
        job(),
        of_kind("other"),
        job().queue("free").unwrap(),
        job().queue("free").unwrap(),
    ]);
    let claimed = t.claim(t.worker(), 9);
    let queues: Vec<_> = claimed.iter().map(|job| job.queue.as_str()).collect();
    assert_eq!(queues, ["default", "free", "free"]);
}

pub fn limits_are_changed_one_by_one_and_shown(t: &mut Trial) {
    let both = [Limit::Concurrency(at_most(4)), rate("5/1m")];
    let changed = t.store().limit(&name("mail"), &both).unwrap();
    let mut expected = QueueLimits::default();
    expected.concurrency = at_most(4);
    expected.rate = Some(Rate::new(NonZeroU32::new(5).unwrap(), secs(60)).unwrap());
    assert_eq!(changed, expected);
    let changed = t.store().limit(&name("mail"), &[Limit::Concurrency(None)]).unwrap();
    expected.concurrency = None;
    assert_eq!(changed, expected);
    t.store().limit(&name("mail"), &[Limit::PerKey(at_most(2))]).unwrap();
    expected.per_key = at_most(2);
    let shown = QueueInfo { name: name("mail"), paused: false, limits: expected, weight: None };
    assert_eq!(t.store().queues().unwrap(), [shown]);
}

pub fn of_one_key_one_job_runs_at_a_time(t: &mut Trial) {
    t.add_all(&[keyed("a"), keyed("a"), keyed("b"), job()]);
    t.enqueue(keyed("a").queue("other").unwrap());
    let worker = t.worker();
    let first = t.claim(worker, 9);
    assert_eq!(first.len(), 4, "one of each key and queue, and the one without a key");
    t.claim_none(worker);
    t.complete(&first[0]);
    assert_eq!(t.claim(worker, 9).len(), 1);
}

pub fn a_key_counts_over_the_kinds_of_its_queue(t: &mut Trial) {
    t.add_all(&[keyed("a"), of_kind("other").concurrency_key("a").unwrap()]);
    let [here, there] = t.workers(2)[..] else { unreachable!("two were asked for") };
    let first = t.claim_one(here);
    t.claim_none(there);
    t.complete(&first);
    t.claim_one(there);
}

pub fn more_of_a_key_run_where_the_queue_allows_it(t: &mut Trial) {
    t.add_all(&vec![keyed("a"); 9]);
    let worker = t.worker();
    assert_eq!(t.claim(worker, 9).len(), 1);
    limit(t, Limit::PerKey(at_most(4)));
    let three = t.claim(worker, 9);
    assert_eq!(three.len(), 3);
    limit(t, Limit::PerKey(at_most(2)));
    t.complete(&three[0]);
    t.complete(&three[1]);
    t.claim_none(worker);
    t.complete(&three[2]);
    assert_eq!(t.claim(worker, 9).len(), 1);
    limit(t, Limit::PerKey(None));
    t.claim_none(worker);
}

pub fn the_first_of_a_key_goes_first_whenever_it_came(t: &mut Trial) {
    t.add_all(&[
        named_of("low", "a").priority(-1),
        named_of("second", "a"),
        named_of("third", "a"),
    ]);
    t.enqueue(named_of("first", "a").priority(1));
    let worker = t.worker();
    for expected in ["first", "second", "third", "low"] {
        let next = t.claim_one(worker);
        assert_eq!(next.id.to_string(), expected);
        t.claim_none(worker);
        t.complete(&next);
    }
}

/// In whatever way a job that stands first leaves, the next of its key moves up.
pub fn a_place_that_is_left_is_taken_by_the_next_of_the_key(t: &mut Trial) {
    let worker = t.worker();
    for name in ["cancelled", "purged"] {
        t.enqueue(named_of(name, name));
        t.enqueue(named_of(&format!("after-{name}"), name));
        t.cancel(&name.parse::<JobId>().unwrap());
    }
    t.purge(&"purged".parse().unwrap());
    assert_eq!(t.claim_ids(worker, 9), ["after-cancelled", "after-purged"]);
    let waiting = t.enqueue(named_of("waits", "cancelled").delay(secs(5)));
    t.advance(secs(6));
    t.claim_none(worker);
    t.cancel(&waiting);
    t.retry(&waiting);
    t.claim_none(worker);
    assert_eq!(t.lose_workers().len(), 2);
    // Each stands where it was enqueued.
    assert_eq!(t.claim_ids(t.worker(), 9), ["after-cancelled", "after-purged"]);
}

/// What a job frees by expiring once took the place of one that was being given out by the same claim,
/// which then stood among what is ready while it ran, and after it had ended.
pub fn what_is_freed_by_a_claim_leaves_alone_what_it_gives_out(t: &mut Trial) {
    t.enqueue(named("expires").expires_in(secs(5)));
    let freed = named_of("freed", "k").after_failure("expires".parse().unwrap());
    t.add_all(&[freed, named_of("given", "k")]);
    t.advance(secs(6));
    let worker = t.worker();
    let given = t.claim_one(worker);
    assert_eq!(given.id.to_string(), "given");
    assert_eq!(t.state(&"expires".parse().unwrap()), State::Cancelled);
    t.claim_none(worker);
    t.fail(&given, secs(60));
    assert_eq!(t.claim_ids(worker, 9), ["freed"]);
    t.lose_workers();
    t.store().limit(&name("default"), &[Limit::PerKey(at_most(9))]).unwrap();
    assert_eq!(t.claim_ids(t.worker(), 9), ["freed", "given"]);
}

/// A customer with a great backlog holds up nobody else, and is himself served all the time.
pub fn a_long_line_of_one_key_holds_up_no_other(t: &mut Trial) {
    t.add_all(&vec![keyed("greedy"); 2_000]);
    t.enqueue(named_of("modest", "modest"));
    t.enqueue(named("plain"));
    assert_eq!(t.claim(t.worker(), 9).len(), 3);
}

/// By chance, and against a recount.
pub fn limits_hold_through_a_riot(t: &mut Trial) {
    limit(t, Limit::PerKey(at_most(2)));
    t.store().limit(&name("narrow"), &[Limit::Concurrency(at_most(3))]).unwrap();
    let mut dice = Dice(7);
    let workers = t.workers(5);
    let mut held: Vec<Claimed> = Vec::new();
    for _ in 0..400 {
        let key = dice.pick(&["a", "b", "c"]);
        let priority = dice.roll(3) as i16;
        let new = match dice.roll(3) {
            0 => job().queue("narrow").unwrap(),
            _ => keyed(key).priority(priority).delay(secs(dice.roll(2) * 5)),
        };
        let id = t.enqueue(new);
        if dice.once_in(5) {
            t.cancel(&id);
        }
        t.advance(secs(dice.roll(2)));
        let worker = dice.pick(&workers);
        held.extend(t.claim(worker, dice.index(4)));
        while held.len() > 3 + dice.index(6) {
            let one = held.swap_remove(dice.index(held.len()));
            match dice.roll(4) {
                0 => t.fail(&one, secs(dice.roll(3))),
                1 => t.end(&one, Verdict::Release),
                _ => t.complete(&one),
            }
        }
        let of = |queue: &str| held.iter().filter(|job| job.queue.as_str() == queue).count();
        assert!(of("narrow") <= 3);
        for key in ["a", "b", "c"] {
            let same = |one: &&Claimed| t.job(&one.id).concurrency_key.as_deref() == Some(key);
            assert!(held.iter().filter(same).count() <= 2);
        }
    }
    // In the end all of them have run: nobody was forgotten behind a limit.
    for _ in 0..2_000 {
        held.drain(..).for_each(|one| t.complete(&one));
        t.advance(secs(5));
        held.extend(workers.iter().flat_map(|&worker| t.claim(worker, 1)));
        if held.is_empty() {
            break;
        }
    }
    let counts = t.store().counts().unwrap();
    let left = |state| counts.iter().map(|lane| lane.of(state)).sum::<u64>();
    assert_eq!([State::Pending, State::Failed, State::Processing].map(left), [0, 0, 0]);
}

pub fn no_more_jobs_start_in_a_period_than_the_rate(t: &mut Trial) {
    limit(t, rate("3/1m"));
    t.add_all(&vec![job(); 9]);
    let worker = t.worker();
    let first = t.exchange(&[], &[(worker, 2)]);
    assert_eq!((first.claimed.len(), first.next_due), (2, None));
    let second = t.exchange(&[], &[(worker, 9)]);
    assert_eq!(second.claimed.len(), 1);
    assert!(second.limited);
    let next = second.next_due.expect("the worker is told when to come again");
    let step = t.store().queues().unwrap()[0].limits.rate.unwrap().step();
    assert!((secs(60)..=secs(60) + step).contains(&next), "{next:?}");
    // What ends gives no start back.
    second.claimed.iter().for_each(|one| t.complete(one));
    t.advance(next - Duration::from_millis(1));
    t.claim_none(worker);
    t.advance(Duration::from_millis(1));
    assert_eq!(t.claim(worker, 9).len(), 3);
    t.claim_none(worker);
}

pub fn in_no_window_of_a_period_start_more(t: &mut Trial) {
    limit(t, rate("10/1s"));
    t.add_all(&vec![job(); 300]);
    let worker = t.worker();
    let mut dice = Dice(3);
    let mut starts = Vec::new();
    while starts.len() < 300 {
        t.advance(Duration::from_millis(dice.roll(120)));
        let now = t.now().as_millis();
        let claimed = t.claim(worker, dice.index(12));
        claimed.iter().for_each(|one| t.complete(one));
        starts.extend(claimed.iter().map(|_| now));
    }
    let fastest = starts.windows(11).map(|eleven| eleven[10] - eleven[0]).min().unwrap();
    assert!(fastest > 1000, "eleven within {fastest} ms");
    assert!(starts[299] - starts[0] < 40_000, "far slower than the rate allows");
}

pub fn a_rate_does_not_depend_on_the_wall_clock(t: &mut Trial) {
    limit(t, rate("1/1m"));
    t.add_all(&vec![job(); 3]);
    let worker = t.worker();
    for step in [7_200_000, -14_400_000] {
        t.claim_one(worker);
        t.clock().step_wall(step);
        t.claim_none(worker);
        t.advance(secs(59));
        t.claim_none(worker);
        t.advance(secs(3));
    }
    t.claim_one(worker);
}

pub fn a_rate_that_is_lifted_lets_all_start(t: &mut Trial) {
    limit(t, rate("1/1h"));
    t.add_all(&vec![job(); 3]);
    let worker = t.worker();
    t.claim_one(worker);
    t.claim_none(worker);
    limit(t, Limit::Rate(None));
    assert_eq!(t.claim(worker, 9).len(), 2);
}

pub fn waiting_raises_a_priority_where_it_is_asked_for(t: &mut Trial) {
    t.store().change_setting(Setting::Aging, Some("1m")).unwrap();
    t.enqueue(named("low").priority(-5));
    t.advance(secs(240));
    t.enqueue(named("normal"));
    t.advance(secs(70));
    t.enqueue(named("late"));
    t.enqueue(named("high").priority(9));
    assert_eq!(t.claim_ids(t.worker(), 9), ["high", "normal", "low", "late"]);
}

/// Jobs that were added together have waited for as long as their own times say.
pub fn ageing_counts_from_when_each_could_run(t: &mut Trial) {
    let an_hour_ago = t.now();
    t.advance(secs(3600));
    t.add_all(&[named("now"), named("since-an-hour").run_at(an_hour_ago), named("now-too")]);
    t.store().change_setting(Setting::Aging, Some("1m")).unwrap();
    assert_eq!(t.claim_ids(t.worker(), 9), ["since-an-hour", "now", "now-too"]);
}

pub fn ageing_holds_for_what_waits_already_and_ends_as_it_began(t: &mut Trial) {
    t.add_all(&[named("old-low").priority(-5), named_of("old-keyed", "k").priority(-5)]);
    t.advance(secs(3600));
    t.add_all(&[named_of("new-keyed", "k"), named("new")]);
    let worker = t.worker();
    let order = |t: &Trial| {
        let all = t.claim(worker, 9);
        let order = ids(&all);
        all.iter().for_each(|one| t.end(one, Verdict::Release));
        order
    };
    assert_eq!(order(t), ["new-keyed", "new", "old-low"]);
    t.store().change_setting(Setting::Aging, Some("1m")).unwrap();
    assert_eq!(order(t), ["old-low", "old-keyed", "new"]);
    t.store().change_setting(Setting::Aging, None).unwrap();
    assert_eq!(order(t), ["new-keyed", "new", "old-low"]);
    t.store().change_setting(Setting::Aging, Some("never")).unwrap();
    let waiting = ["old-low", "old-keyed", "new-keyed", "new"].map(|id| id.parse().unwrap());
    waiting.iter().for_each(|id| t.cancel(id));
    t.claim_none(worker);
}
