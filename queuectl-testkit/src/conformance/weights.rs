//! Weights of queues: what share each is given, in the long run and at every moment, and what goes before
//! that.

use std::num::NonZeroU32;

use queuectl_core::store::{QueueInfo, Queues, Verdict};
use queuectl_core::{Claimed, Limit, NewJob, Setting, Weight};

use super::trial::{Trial, claim_from, id, job, name, named, of_kind, register, secs, settlement};

fn weigh(t: &Trial, queue: &str, weight: u32) {
    let weight = Weight::new(weight).expect("a weight");
    t.store().weigh(&name(queue), Some(weight)).expect("weighing a queue");
}

fn of(queue: &str) -> NewJob {
    job().queue(queue).expect("a queue")
}

fn queues(claimed: &[Claimed]) -> Vec<String> {
    claimed.iter().map(|job| job.queue.to_string()).collect()
}

/// Many jobs of each of these queues, one queue after the other.
fn fill(t: &Trial, queues: &[(&str, u32)], jobs: usize) {
    for (queue, weight) in queues {
        t.add_all(&vec![of(queue); jobs]);
        weigh(t, queue, *weight);
    }
}

/// In every stretch of what was given, each queue has its share, or a few jobs more or fewer.
#[track_caller]
fn assert_shared(given: &[String], weights: &[(&str, u32)]) {
    const OFF: i64 = 3;
    let all: i64 = weights.iter().map(|(_, weight)| i64::from(*weight)).sum();
    for (queue, weight) in weights {
        for from in 0..given.len() {
            let mut own = 0;
            for (length, other) in (1..).zip(&given[from..]) {
                own += i64::from(other == queue);
                let off = own * all - length * i64::from(*weight);
                assert!(off.abs() <= OFF * all, "{queue}: {own} of {length} from {from} on");
            }
        }
    }
}

const WEIGHTS: [(&str, u32); 3] = [("flood", 1), ("mail", 5), ("small", 3)];

pub fn claims_of_one_job_are_shared_in_proportion_to_the_weights(t: &mut Trial) {
    fill(t, &WEIGHTS, 300);
    let worker = t.worker();
    let given: Vec<String> = (0..450).flat_map(|_| queues(&t.claim(worker, 1))).collect();
    assert_shared(&given, &WEIGHTS);
}

pub fn claims_of_many_jobs_are_shared_as_well(t: &mut Trial) {
    fill(t, &WEIGHTS, 300);
    let workers = t.workers(3);
    let mut given = Vec::new();
    for wanted in [100, 1, 7, 100, 100, 42] {
        let wants: Vec<_> = workers.iter().zip([wanted, 0, 1]).collect();
        let wants: Vec<_> = wants.iter().map(|(worker, wanted)| (**worker, *wanted)).collect();
        given.extend(queues(&t.exchange(&[], &wants).claimed));
    }
    assert_eq!(given.len(), 350 + 6);
    assert_shared(&given, &WEIGHTS);
}

pub fn all_processes_take_turns_together(t: &mut Trial) {
    fill(t, &WEIGHTS, 300);
    let handles = t.two_handles();
    let workers = handles.each_ref().map(|store| register(store.as_ref(), 1)[0]);
    let mut given = Vec::new();
    for (round, wanted) in [1, 5, 2, 20, 3].into_iter().cycle().take(60).enumerate() {
        let store = handles[round % 2].as_ref();
        let wants = [(workers[round % 2], wanted)];
        let claimed = claim_from(store, &[], &wants, &Queues::All).claimed;
        // What ends in between takes no turn.
        let end =
            |one: &Claimed| settlement(one.lease, Verdict::Complete { result: None }, t.now());
        assert_eq!(t.settle(&claimed.iter().map(end).collect::<Vec<_>>()), []);
        given.extend(queues(&claimed));
    }
    assert_shared(&given[..450.min(given.len())], &WEIGHTS);
}

/// The whole backlog stands before the one job.
pub fn a_flooded_queue_does_not_starve_a_small_one(t: &mut Trial) {
    t.add_all(&vec![of("flood"); 500]);
    weigh(t, "elsewhere", 7);
    let worker = t.worker();
    t.claim(worker, 9);
    t.enqueue(of("small"));
    assert!(
        queues(&t.claim(worker, 2)).contains(&"small".to_owned()),
        "one has a weight, all share"
    );
}

pub fn the_order_holds_within_a_queue_and_its_kinds(t: &mut Trial) {
    weigh(t, "default", 2);
    let other = |text: &str| of_kind("other").id(text).unwrap();
    t.add_all(&[named("a"), other("b"), named("c"), other("d").priority(-1), named("e")]);
    t.enqueue(named("z").queue("mail").unwrap());
    let given = t.claim_ids(t.worker(), 9);
    let own: Vec<_> = given.iter().filter(|id| *id != "z").collect();
    assert_eq!(own, ["a", "b", "c", "e", "d"]);
}

pub fn priority_goes_before_weights(t: &mut Trial) {
    fill(t, &[("mail", 9), ("rare", 1)], 5);
    t.add_all(&vec![of("rare").priority(1); 3]);
    let given = queues(&t.claim(t.worker(), 13));
    assert_eq!(given[..3], ["rare", "rare", "rare"]);
    assert_eq!(given[3..8], ["mail", "mail", "mail", "mail", "mail"], "theirs has been given");
}

pub fn a_queue_that_was_empty_does_not_make_up_for_it(t: &mut Trial) {
    fill(t, &[("busy", 1)], 300);
    weigh(t, "late", 1);
    let worker = t.worker();
    t.claim(worker, 100);
    t.add_all(&vec![of("late"); 100]);
    assert_shared(&queues(&t.claim(worker, 60)), &[("busy", 1), ("late", 1)]);
}

pub fn a_queue_that_may_give_nothing_leaves_its_turns_to_the_others(t: &mut Trial) {
    fill(t, &[("paused", 9), ("limited", 9), ("free", 1), ("slow", 1)], 200);
    t.store().pause(&name("paused"), true).unwrap();
    t.store().limit(&name("limited"), &[Limit::Concurrency(NonZeroU32::new(1))]).unwrap();
    let worker = t.worker();
    let mut given = queues(&t.claim(worker, 101));
    assert_eq!(given.iter().filter(|queue| *queue == "limited").count(), 1);
    given.retain(|queue| queue != "limited");
    assert_shared(&given, &[("free", 1), ("slow", 1)]);
    t.store().pause(&name("paused"), false).unwrap();
    let given = queues(&t.claim(worker, 110));
    assert_shared(&given, &[("paused", 9), ("free", 1), ("slow", 1)]);
}

pub fn a_job_that_has_expired_takes_no_turn(t: &mut Trial) {
    t.add_all(&vec![of("old").expires_in(secs(5)); 50]);
    fill(t, &[("old", 1), ("new", 1)], 50);
    t.advance(secs(9));
    assert_shared(&queues(&t.claim(t.worker(), 60)), &[("old", 1), ("new", 1)]);
}

/// Of two jobs that wait within one step of the ageing, neither is more urgent.
pub fn with_ageing_those_share_that_count_as_one_priority(t: &mut Trial) {
    t.store().change_setting(Setting::Aging, Some("100s")).unwrap();
    let aged = |queue: &str| of(queue).priority(1);
    t.add_all(&vec![aged("first"); 40]);
    t.advance(secs(10));
    t.add_all(&vec![aged("second"); 40]);
    t.add_all(&vec![of("second"); 9]);
    weigh(t, "second", 3);
    t.advance(secs(10));
    let given = queues(&t.claim(t.worker(), 40));
    assert_shared(&given, &[("first", 1), ("second", 3)]);
    t.advance(secs(85));
    t.enqueue(named("new").queue("second").unwrap());
    let given = t.claim(t.worker(), 99);
    let place = |queue: &str| given.iter().rposition(|job| job.queue.as_str() == queue).unwrap();
    assert!(place("first") < place("second"), "a step further on");
    assert_eq!(given.last().unwrap().id, id("new"));
}

pub fn without_a_weight_the_order_is_that_of_enqueueing(t: &mut Trial) {
    weigh(t, "b", 9);
    t.add_all(&[of("a"), of("a"), of("b"), of("b"), of("a")]);
    t.store().weigh(&name("b"), None).unwrap();
    assert_eq!(queues(&t.claim(t.worker(), 9)), ["a", "a", "b", "b", "a"]);
}

pub fn a_weight_is_shown_kept_and_changed_at_once(t: &mut Trial) {
    weigh(t, "mail", 5);
    let shown = |weight| {
        let limits = Default::default();
        [QueueInfo { name: name("mail"), paused: false, limits, weight }]
    };
    assert_eq!(t.store().queues().unwrap(), shown(Weight::new(5).ok()));
    t.store().weigh(&name("mail"), None).unwrap();
    assert_eq!(t.store().queues().unwrap(), shown(None));
    fill(t, &[("mail", 9), ("other", 1)], 90);
    let worker = t.worker();
    assert_shared(&queues(&t.claim(worker, 30)), &[("mail", 9), ("other", 1)]);
    weigh(t, "mail", 1);
    assert_shared(&queues(&t.claim(worker, 60)), &[("mail", 1), ("other", 1)]);
    if t.reopen() {
        assert_eq!(t.store().queues().unwrap()[0].weight, Weight::new(1).ok());
    }
}
