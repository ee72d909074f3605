//! Two that want different things at the same moment: there is one order, and both are told of it.
//! The races of enqueueing, claiming and rescuing stand with those.

use std::sync::Barrier;
use std::thread;

use queuectl_core::store::{Cancelled, Queues, StopMode, Verdict};
use queuectl_core::{Event, State, Store, StoreError};

use super::trial::{
    LEASE, Trial, all_jobs, claim_from, job, kinds, name, named, register, secs, settlement,
};

const ROUNDS: usize = 30;

/// Does both at once; gives what each of them answers.
fn race<A: Send, B: Send>(
    first: impl FnOnce() -> A + Send,
    second: impl FnOnce() -> B + Send,
) -> (A, B) {
    let start = Barrier::new(2);
    thread::scope(|scope| {
        let first = scope.spawn(|| {
            start.wait();
            first()
        });
        let second = scope.spawn(|| {
            start.wait();
            second()
        });
        (first.join().unwrap(), second.join().unwrap())
    })
}

pub fn a_completion_and_a_cancel_happen_in_one_order(t: &mut Trial) {
    let [store, other] = t.two_handles();
    for _ in 0..ROUNDS {
        let id = t.enqueue(job());
        let claimed = t.claim_one(t.worker());
        let done = [settlement(claimed.lease, Verdict::Complete { result: None }, t.now())];
        let (settled, cancelled) = race(
            || store.exchange(&done, None).unwrap(),
            || other.cancel(std::slice::from_ref(&id), &"raced".into()),
        );
        assert_eq!(settled.refused, [], "completion is never too late for a cancel");
        match cancelled {
            Ok(answer) => assert_eq!(answer, [Cancelled::Requested]),
            Err(StoreError::WrongState { refused, .. }) => {
                assert_eq!((refused.state, refused.event), (State::Completed, Event::Cancel));
            }
            Err(error) => panic!("{error:?}"),
        }
        assert_eq!(t.state(&id), State::Completed);
    }
}

/// The worker was thought dead and has something to say after all. Either it is heard, or its job is
/// freed; never both.
pub fn a_settlement_and_a_rescue_happen_in_one_order(t: &mut Trial) {
    let [store, other] = t.two_handles();
    for _ in 0..ROUNDS {
        let id = t.enqueue(job());
        let claimed = t.claim_one(t.worker());
        t.advance(LEASE + secs(1));
        let done = [settlement(claimed.lease, Verdict::Complete { result: None }, t.now())];
        let (settled, rescued) =
            race(|| store.exchange(&done, None).unwrap(), || other.rescue(&kinds()).unwrap());
        if rescued.iter().all(|one| one.lease != claimed.lease) {
            assert_eq!(settled.refused, []);
            assert_eq!(t.state(&id), State::Completed);
        } else {
            assert_eq!(settled.refused, [claimed.lease]);
            assert_eq!(t.state(&id), State::Pending);
            // It has left something, which the next rescue tells of.
            t.cancel(&id);
        }
        assert_eq!(t.attempts(&id).len(), 1);
    }
}

/// The new holder and the old one settle at the same moment.
pub fn a_stale_holder_never_beats_the_new_one(t: &mut Trial) {
    let [store, other] = t.two_handles();
    for _ in 0..ROUNDS {
        let id = t.enqueue(job());
        let old = t.claim_one(t.worker());
        t.lose_workers();
        let new = t.claim_one(t.worker());
        let late = [settlement(old.lease, Verdict::Die, t.now())];
        let done = [settlement(new.lease, Verdict::Complete { result: None }, t.now())];
        let (late, done) =
            race(|| store.exchange(&late, None).unwrap(), || other.exchange(&done, None).unwrap());
        assert_eq!((late.refused, done.refused), (vec![old.lease], vec![]));
        assert_eq!(t.state(&id), State::Completed);
    }
}

pub fn a_dead_job_is_retried_by_one_of_many(t: &mut Trial) {
    let handles = t.two_handles();
    for _ in 0..5 {
        let id = t.job_in(State::Dead, job());
        let start = Barrier::new(8);
        let retried = thread::scope(|scope| {
            let retry = |number: usize| {
                let (store, id, start) = (&handles[number % 2], &id, &start);
                move || {
                    start.wait();
                    match store.retry(std::slice::from_ref(id)) {
                        Ok(()) => 1,
                        Err(StoreError::WrongState { .. }) => 0,
                        Err(error) => panic!("{error:?}"),
                    }
                }
            };
            let all: Vec<_> = (0..8).map(|number| scope.spawn(retry(number))).collect();
            all.into_iter().map(|one| one.join().unwrap()).sum::<usize>()
        });
        assert_eq!(retried, 1, "one new generation");
        assert_eq!(t.claim(t.worker(), 9).len(), 1);
    }
}

pub fn a_retry_and_a_purge_happen_in_one_order(t: &mut Trial) {
    let [store, other] = t.two_handles();
    for round in 0..ROUNDS {
        let id = t.job_in(State::Dead, named(&format!("job-{round}")));
        let ids = std::slice::from_ref(&id);
        let (retried, purged) = race(|| store.retry(ids), || other.purge(ids));
        match (retried, purged) {
            (Ok(()), Err(StoreError::StillLives { .. })) => {
                assert_eq!(t.state(&id), State::Pending);
                t.cancel(&id);
            }
            (Err(StoreError::NotFound(_)), Ok(())) => {
                assert_eq!(t.store().job(&id).unwrap(), None);
            }
            both => panic!("{both:?}"),
        }
    }
}

/// A parent completes while a child is enqueued. The child either still sees it open and is freed by
/// the completion, or sees it completed; in no case does it wait for ever.
pub fn a_completion_and_an_enqueue_of_a_child_happen_in_one_order(t: &mut Trial) {
    let [store, other] = t.two_handles();
    for _ in 0..ROUNDS {
        let parent = t.enqueue(job());
        let claimed = t.claim_one(t.worker());
        let done = [settlement(claimed.lease, Verdict::Complete { result: None }, t.now())];
        let (settled, added) = race(
            || store.exchange(&done, None).unwrap(),
            || other.enqueue(&[job().after(parent.clone())]).unwrap(),
        );
        assert_eq!(settled.refused, []);
        assert_eq!(t.state(&added[0].id), State::Pending);
        t.cancel(&added[0].id);
    }
}

pub fn no_claim_after_a_stop_acts_against_it(t: &mut Trial) {
    let [store, other] = t.two_handles();
    t.add_all(&vec![job(); ROUNDS]);
    for _ in 0..ROUNDS {
        let worker = register(store.as_ref(), 1)[0];
        other.stop(&[worker], StopMode::Finish).unwrap();
        let done = claim_from(store.as_ref(), &[], &[(worker, 1)], &Queues::All);
        assert_eq!(done.claimed, []);
    }
}

/// Batches come in while others look: what they see is a number of whole batches.
pub fn nobody_sees_half_a_batch(t: &mut Trial) {
    let [store, other] = t.two_handles();
    let looks = |store: &dyn Store| {
        let listed = all_jobs(store).len();
        let counts = store.counts().unwrap();
        let counted: u64 = counts.iter().map(|lane| lane.of(State::Pending)).sum();
        (listed, counted)
    };
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..40 {
                store.enqueue(&vec![job(); 25]).unwrap();
            }
        });
        while !writer.is_finished() {
            let (listed, counted) = looks(other.as_ref());
            assert_eq!((listed % 25, counted % 25), (0, 0));
        }
        writer.join().unwrap();
    });
    assert_eq!(looks(other.as_ref()), (1000, 1000));
}

/// Everything at once, on two handles. Afterwards the counts are what a recount gives, and nothing is
/// lost.
pub fn counts_equal_recounts_after_a_riot(t: &mut Trial) {
    let handles = t.two_handles();
    let now = t.now();
    thread::scope(|scope| {
        for number in 0..6_usize {
            let store = handles[number % 2].as_ref();
            scope.spawn(move || {
                let worker = register(store, 1)[0];
                for round in 0..20 {
                    let queue = ["default", "mail"][(number + round) % 2];
                    let new = job().queue(queue).unwrap().max_retries(1);
                    let added = store.enqueue(&[new.clone(), new]).unwrap();
                    let held = claim_from(store, &[], &[(worker, 2)], &Queues::All).claimed;
                    let verdicts = [Verdict::Complete { result: None }, Verdict::Die];
                    let settle: Vec<_> = held
                        .iter()
                        .zip(verdicts.iter().cycle().skip(round))
                        .map(|(job, verdict)| settlement(job.lease, verdict.clone(), now))
                        .collect();
                    assert_eq!(store.exchange(&settle, None).unwrap().refused, []);
                    // Somebody else may have been faster in each of these.
                    let _ = store.cancel(std::slice::from_ref(&added[0].id), &"riot".into());
                    let _ = store.retry(std::slice::from_ref(&added[1].id));
                    store.pause(&name(queue), round % 3 == 0).unwrap();
                }
            });
        }
    });
    let jobs = all_jobs(t.store().as_ref());
    assert_eq!(jobs.len(), 6 * 20 * 2);
    for lane in t.store().counts().unwrap() {
        for state in State::ALL {
            let counted = jobs
                .iter()
                .filter(|job| (&job.queue, &job.kind) == (&lane.queue, &lane.kind))
                .filter(|job| job.state == state)
                .count();
            assert_eq!(lane.of(state), counted as u64, "{state} of {}", lane.queue);
        }
    }
}
