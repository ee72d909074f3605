//! Policies of kinds: what they say, when it holds, and what goes before and after them.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use queuectl_core::store::Verdict;
use queuectl_core::{
    Cause, Missed, NewJob, Overlap, Policy, Rule, Schedule, Setting, Settings, Spec, State,
};

use super::trial::{Trial, id, job, name, named, of_kind, secs};

fn rule(t: &Trial, kind: &str, rule: Rule) -> Policy {
    t.store().change_policy(&name(kind), &[rule]).expect("changing a policy")
}

/// The retries of a job that is enqueued.
fn retries(t: &Trial, job: NewJob) -> u32 {
    t.job(&t.enqueue(job)).max_attempts - 1
}

pub fn a_job_is_given_the_retries_of_its_kind_when_it_is_enqueued(t: &mut Trial) {
    let before = t.enqueue(named("before"));
    rule(t, "work", Rule::MaxRetries(Some(7)));
    assert_eq!(t.job(&before).max_attempts, 4, "what is there keeps what it was given");
    assert_eq!(retries(t, job()), 7);
    assert_eq!(retries(t, job().queue("mail").unwrap()), 7, "in every queue");
    assert_eq!(retries(t, job().id("single").unwrap()), 7, "in whatever way it is added");
    assert_eq!(retries(t, job().delay(secs(9))), 7);
    assert_eq!(retries(t, job().max_retries(0)), 0, "what it says itself goes first");
    assert_eq!(retries(t, of_kind("other")), 3);
    t.store().change_setting(Setting::MaxRetries, Some("1")).unwrap();
    assert_eq!((retries(t, job()), retries(t, of_kind("other"))), (7, 1));
    rule(t, "work", Rule::MaxRetries(None));
    assert_eq!(retries(t, job()), 1, "the settings stand behind");
}

pub fn what_a_schedule_enqueues_is_given_the_retries_of_its_kind(t: &mut Trial) {
    rule(t, "work", Rule::MaxRetries(Some(7)));
    let schedule = Schedule::new("beat", Spec::every(secs(60)).unwrap(), job()).unwrap();
    let schedule = schedule.missed(Missed::One).overlap(Overlap::Allow);
    t.store().put_schedule(&schedule).unwrap();
    let made = t.store().run_schedule(&name("beat")).unwrap();
    assert_eq!(t.job(&made.id).max_attempts, 8);
}

/// Who lowers the time limit of a kind wants it to hold for what waits already.
pub fn what_waits_is_claimed_with_the_time_limit_and_the_delays_of_its_kind(t: &mut Trial) {
    t.add_all(&[named("a"), named("b"), named("own").timeout(secs(9))]);
    t.enqueue(of_kind("other").id("other").unwrap());
    let worker = t.worker();
    let before = t.claim_one(worker);
    assert_eq!((before.timeout, before.backoff), (None, None), "it is left to the settings");
    let backoff = || Some("constant:7s".parse().unwrap());
    rule(t, "work", Rule::Timeout(Some(secs(20))));
    rule(t, "work", Rule::Backoff(backoff()));
    let claimed = t.claim(worker, 9);
    let given: Vec<_> = claimed.iter().map(|job| (job.timeout, job.backoff.clone())).collect();
    let expected = [(Some(secs(20)), backoff()), (Some(secs(9)), backoff()), (None, None)];
    assert_eq!(given, expected);
    assert_eq!((t.job(&id("b")).timeout, t.job(&id("b")).backoff), (None, None), "its own");
    for rule in [Rule::Timeout(Some(secs(5))), Rule::Backoff(None)] {
        self::rule(t, "work", rule);
    }
    t.fail(&claimed[0], secs(0));
    let again = t.claim_one(worker);
    assert_eq!((again.timeout, again.backoff), (Some(secs(5)), None), "each attempt anew");
}

pub fn a_kind_says_how_many_workers_its_jobs_may_lose(t: &mut Trial) {
    t.enqueue(named("kind").max_retries(9));
    t.enqueue(named("own").max_retries(9).max_crashes(3).unwrap());
    t.enqueue(of_kind("other").id("other").unwrap().max_retries(9));
    let lose = |t: &Trial| {
        t.claim(t.worker(), 9);
        t.lose_workers();
    };
    lose(t);
    rule(t, "work", Rule::MaxCrashes(NonZeroU32::new(2)));
    lose(t);
    let states = ["kind", "own", "other"].map(|job| t.state(&id(job)));
    assert_eq!(states, [State::Dead, State::Pending, State::Pending]);
    assert!(t.job(&id("kind")).last_error.unwrap().contains("in a row: 2"));
    lose(t);
    assert_eq!(t.state(&id("own")), State::Dead);
    assert_eq!(t.causes(&id("own")), [Some(Cause::LeaseLost); 3]);
}

pub fn rules_are_changed_one_by_one_and_shown(t: &mut Trial) {
    let store = t.store();
    assert_eq!(store.policies().unwrap(), BTreeMap::new());
    let both = [Rule::MaxRetries(Some(5)), Rule::Timeout(Some(secs(120)))];
    let mut expected = Policy::default();
    (expected.max_retries, expected.timeout) = (Some(5), Some(secs(120)));
    assert_eq!(store.change_policy(&name("email"), &both).unwrap(), expected);
    let more = [
        Rule::MaxCrashes(NonZeroU32::new(2)),
        Rule::Backoff(Some("linear:10s;cap=1m".parse().unwrap())),
        Rule::Timeout(None),
    ];
    expected.timeout = None;
    (expected.max_crashes, expected.backoff) =
        (NonZeroU32::new(2), Some("linear:10s;cap=1m".parse().unwrap()));
    assert_eq!(store.change_policy(&name("email"), &more).unwrap(), expected);
    assert_eq!(store.change_policy(&name("email"), &[]).unwrap(), expected, "nothing changes");
    rule(t, "other", Rule::MaxRetries(Some(0)));
    let kinds: Vec<_> = store.policies().unwrap().into_iter().collect();
    let mut never = Policy::default();
    never.max_retries = Some(0);
    assert_eq!(kinds, [(name("email"), expected), (name("other"), never)]);
    rule(t, "other", Rule::MaxRetries(None));
    assert_eq!(store.policies().unwrap().len(), 1, "what has no rule is not shown");
    assert_eq!(store.settings().unwrap().get(Setting::MaxRetries), {
        Settings::default().get(Setting::MaxRetries)
    });
}

pub fn a_policy_holds_for_every_handle_at_once(t: &mut Trial) {
    let [here, there] = t.two_handles();
    here.enqueue(&[job()]).unwrap();
    there.enqueue(&[job()]).unwrap();
    here.change_policy(&name("work"), &[Rule::MaxRetries(Some(9))]).unwrap();
    here.change_policy(&name("work"), &[Rule::Timeout(Some(secs(1)))]).unwrap();
    let added = there.enqueue(&[job()]).unwrap().remove(0);
    assert_eq!(t.job(&added.id).max_attempts, 10);
    assert_eq!(there.policies().unwrap(), here.policies().unwrap());
    let claimed = t.claim(t.worker(), 9);
    assert!(claimed.iter().all(|job| job.timeout == Some(secs(1))));
    t.end(&claimed[0], Verdict::Complete { result: None });
}

pub fn a_policy_is_kept_when_the_store_is_opened_again(t: &mut Trial) {
    let policy = rule(t, "work", Rule::Backoff(Some("table:1s,5s".parse().unwrap())));
    if t.reopen() {
        assert_eq!(t.store().policies().unwrap(), BTreeMap::from([(name("work"), policy)]));
    }
}
