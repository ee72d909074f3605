//! When a job may run: two clocks, one of which may be set, and restarts of the machine.

use std::time::Duration;

use queuectl_core::store::{Registration, Verdict};
use queuectl_core::{Start, State, Timestamp};

use super::trial::{LEASE, Trial, id, job, named, of_kind, secs};
use crate::dice::Dice;

const TEN_YEARS_MS: i64 = 10 * 365 * 86_400 * 1000;
const MILLI: Duration = Duration::from_millis(1);

pub fn a_delayed_job_waits(t: &mut Trial) {
    let id = t.enqueue(job().delay(secs(90)));
    assert_eq!(t.job(&id).run_at, t.now() + secs(90));
    let worker = t.worker();
    t.claim_none(worker);
    t.advance(secs(90) - MILLI);
    t.claim_none(worker);
    assert_eq!(t.state(&id), State::Pending);
    t.advance(MILLI);
    assert_eq!(t.claim_one(worker).id, id);
}

pub fn a_job_of_a_moment_waits_for_it(t: &mut Trial) {
    let moment = t.now() + secs(90);
    let id = t.enqueue(job().run_at(moment));
    assert_eq!(t.job(&id).run_at, moment);
    let worker = t.worker();
    t.advance(secs(90) - MILLI);
    t.claim_none(worker);
    t.advance(MILLI);
    assert_eq!(t.claim_one(worker).id, id);
}

pub fn what_is_due_already_runs_at_once(t: &mut Trial) {
    let past = Timestamp::from_millis(t.now().as_millis() - TEN_YEARS_MS);
    t.add_all(&[
        named("past").run_at(past),
        named("now").run_at(t.now()),
        named("no-delay").delay(secs(0)),
    ]);
    assert_eq!(t.job(&id("past")).run_at, past);
    assert_eq!(t.claim_ids(t.worker(), 9), ["past", "now", "no-delay"]);
}

pub fn a_wall_step_neither_delays_nor_hastens_a_delay(t: &mut Trial) {
    for step in [TEN_YEARS_MS, -TEN_YEARS_MS] {
        let worker = t.worker();
        let failed = t.enqueue(named(&format!("failed{step}")));
        t.fail(&t.claim_one(worker), secs(60));
        let snoozed = t.enqueue(named(&format!("snoozed{step}")));
        t.end(&t.claim_one(worker), Verdict::Snooze { wake_in: secs(60) });
        let delayed = t.enqueue(named(&format!("delayed{step}")).delay(secs(60)));
        t.clock().step_wall(step);
        let done = t.exchange(&[], &[(worker, 9)]);
        assert_eq!(done.claimed, [], "after a step by {step}");
        assert_eq!(done.next_due, Some(secs(60)));
        t.advance(secs(59));
        t.claim_none(worker);
        t.advance(secs(1));
        let ids: Vec<_> = t.claim(worker, 9).into_iter().map(|job| job.id).collect();
        assert_eq!(ids, [failed, snoozed, delayed], "after a step by {step}");
    }
}

pub fn a_moment_follows_the_wall_clock(t: &mut Trial) {
    let worker = t.worker();
    t.enqueue(named("a").run_at(t.now() + secs(3600)));
    t.clock().step_wall(3_599_000);
    let done = t.exchange(&[], &[(worker, 9)]);
    assert_eq!((done.claimed, done.next_due), (vec![], Some(secs(1))));
    t.clock().step_wall(1000);
    assert_eq!(t.claim_ids(worker, 9), ["a"], "the clock was set to the moment");

    t.enqueue(named("b").run_at(t.now() + secs(10)));
    t.clock().step_wall(-3_600_000);
    t.advance(secs(3600));
    t.claim_none(t.worker());
    t.advance(secs(10));
    assert_eq!(t.claim_ids(t.worker(), 9), ["b"]);
}

/// Any claim makes due jobs claimable; that nobody wanted the job then, or that its queue was paused,
/// does not matter.
pub fn once_due_a_job_stays_due(t: &mut Trial) {
    let worker = t.worker();
    t.add_all(&[
        named("moment").run_at(t.now() + secs(10)),
        of_kind("other").id("other").unwrap().run_at(t.now() + secs(10)),
        named("enqueued-due").run_at(t.now()),
        named("delayed").delay(secs(10)),
    ]);
    t.advance(secs(10));
    t.claim_from(worker, &["elsewhere"]);
    t.clock().step_wall(-TEN_YEARS_MS);
    assert_eq!(t.claim_ids(worker, 9), ["moment", "other", "enqueued-due", "delayed"]);
}

pub fn what_is_due_when_it_is_enqueued_stays_due(t: &mut Trial) {
    t.add_all(&[named("now"), named("moment").run_at(t.now())]);
    t.clock().step_wall(-TEN_YEARS_MS);
    assert_eq!(t.claim_ids(t.worker(), 9), ["now", "moment"]);
}

/// The boot clock of the new boot says nothing of delays that began under the old one. What is left
/// is the wall time at which they were expected to end.
pub fn after_a_restart_a_delay_ends_when_it_was_expected_to(t: &mut Trial) {
    let worker = t.worker();
    t.enqueue(named("failed"));
    t.fail(&t.claim_one(worker), secs(60));
    t.enqueue(named("snoozed"));
    t.end(&t.claim_one(worker), Verdict::Snooze { wake_in: secs(60) });
    t.enqueue(named("delayed").delay(secs(60)));
    t.enqueue(named("moment").run_at(t.now() + secs(60)));
    t.advance(secs(10));
    t.clock().reboot();
    let worker = t.worker();
    let done = t.exchange(&[], &[(worker, 9)]);
    assert_eq!((done.claimed, done.next_due), (vec![], Some(secs(50))));
    t.advance(secs(49));
    t.claim_none(worker);
    t.advance(secs(1));
    assert_eq!(t.claim_ids(worker, 9), ["failed", "snoozed", "delayed", "moment"]);
}

/// A boot clock that happens to show a later time than the old one must not end an old delay.
pub fn delays_of_two_boots_are_told_apart(t: &mut Trial) {
    let worker = t.worker();
    t.enqueue(named("old").delay(secs(7200)));
    t.clock().reboot();
    t.enqueue(named("new").delay(secs(100)));
    t.clock().step_wall(-3_600_000);
    t.advance(secs(100));
    let worker_now = t.worker();
    assert_eq!(t.claim_ids(worker_now, 9), ["new"], "by the boot clock");
    t.claim_none(worker);
    // The old one has become a matter of the wall clock, which was set back by an hour.
    t.advance(secs(7200 + 3600 - 100 - 1));
    t.claim_none(t.worker());
    t.advance(secs(1));
    assert_eq!(t.claim_ids(t.worker(), 9), ["old"]);
}

pub fn a_delay_that_ended_while_the_machine_was_off_is_over(t: &mut Trial) {
    t.enqueue(named("delayed").delay(secs(3600)));
    t.clock().step_wall(86_400_000);
    t.clock().reboot();
    assert_eq!(t.claim_ids(t.worker(), 9), ["delayed"]);
}

pub fn what_was_due_before_a_restart_is_due_after_it(t: &mut Trial) {
    t.enqueue(named("delayed").delay(secs(10)));
    t.enqueue(named("now"));
    t.advance(secs(10));
    t.exchange(&[], &[(t.worker(), 0)]);
    t.clock().reboot();
    t.clock().step_wall(-TEN_YEARS_MS);
    assert_eq!(t.claim_ids(t.worker(), 9), ["delayed", "now"]);
}

pub fn a_released_or_rescued_job_does_not_wait_for_its_old_delay(t: &mut Trial) {
    let worker = t.worker();
    t.enqueue(job().delay(secs(10)));
    t.advance(secs(10));
    t.end(&t.claim_one(worker), Verdict::Release);
    t.clock().step_wall(-TEN_YEARS_MS);
    t.claim_one(worker);
    t.lose_workers();
    t.clock().step_wall(-TEN_YEARS_MS);
    t.claim_one(t.worker());
}

/// The longest times that can be said neither wrap around nor fail.
pub fn endless_delays_are_endless(t: &mut Trial) {
    let worker = t.worker();
    t.enqueue(named("failed"));
    t.fail(&t.claim_one(worker), Duration::MAX);
    t.enqueue(named("snoozed"));
    t.end(&t.claim_one(worker), Verdict::Snooze { wake_in: Duration::MAX });
    t.enqueue(named("delayed").delay(Duration::MAX));
    t.enqueue(named("moment").run_at(Timestamp::MAX));
    for job in super::trial::all_jobs(t.store().as_ref()) {
        assert_eq!(job.run_at, Timestamp::MAX, "{}", job.id);
    }
    t.claim_none(worker);
    t.advance(100 * LEASE);
    let done = t.exchange(&[], &[(worker, 9)]);
    assert_eq!(done.claimed, []);
    assert!(done.next_due.is_some_and(|due| due > secs(86_400 * 365 * 1000)));
}

pub fn an_endless_lease_is_endless(t: &mut Trial) {
    let endless = Registration { workers: 1, lease: Duration::MAX, log: None };
    let worker = t.store().register(&endless).unwrap()[0];
    t.enqueue(job());
    t.claim_one(worker);
    t.advance(secs(86_400 * 365 * 100));
    assert_eq!(t.rescue(), []);
    t.store().renew(&[worker], Duration::MAX).unwrap();
    t.advance(secs(86_400 * 365 * 100));
    assert_eq!(t.rescue(), []);
}

/// Many jobs with delays by chance, and a wall clock that is set at every step: each is claimed at the
/// first claim at or after its moment, and none before.
pub fn no_job_starts_early_and_none_late(t: &mut Trial) {
    let mut dice = Dice(7);
    let started = t.clock();
    let mut passed = 0;
    let mut expected = Vec::new();
    for number in 0..60 {
        let delay = dice.roll(100_000);
        t.enqueue(named(&format!("job-{number}")).delay(Duration::from_millis(delay)));
        expected.push((delay, format!("job-{number}")));
    }
    let worker = t.worker();
    while passed <= 100_000 {
        let due: Vec<_> = expected
            .iter()
            .filter(|(delay, _)| *delay <= passed)
            .map(|(_, id)| id.clone())
            .collect();
        expected.retain(|(delay, _)| *delay > passed);
        assert_eq!(t.claim_ids(worker, 100), due, "after {passed} ms");
        let next = expected.iter().map(|(delay, _)| *delay).min();
        let told = t.exchange(&[], &[(worker, 0)]).next_due;
        assert_eq!(told, next.map(|next| Duration::from_millis(next - passed)));
        let step = 1 + dice.roll(4000);
        started.advance(Duration::from_millis(step));
        started.step_wall(dice.roll(1 << 40) as i64 - (1 << 39));
        passed += step;
    }
    assert_eq!(expected, []);
}

pub fn a_retry_by_hand_ends_a_delay_for_good(t: &mut Trial) {
    let id = t.enqueue(job());
    t.fail(&t.claim_one(t.worker()), secs(600));
    t.retry(&id);
    t.clock().step_wall(-TEN_YEARS_MS);
    assert_eq!(t.claim_one(t.worker()).id, id);
}

pub fn the_delay_of_a_fresh_job_is_forgotten_with_its_generation(t: &mut Trial) {
    let mut new = named("once");
    new.start = Start::At(t.now() + secs(86_400));
    t.enqueue(new);
    t.cancel(&id("once"));
    t.retry(&id("once"));
    assert_eq!(t.claim_ids(t.worker(), 9), ["once"], "runs again now");
}
