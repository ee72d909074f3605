//! Looking: queries, counts, queues; that looking changes nothing; and hearing of changes.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};

use queuectl_core::store::{JobQuery, Sort, Verdict, Waker};
use queuectl_core::{JobId, JobKey, State};

use super::trial::{Trial, all_jobs, id, job, name, named, of_kind, secs};

fn found(t: &Trial, query: &JobQuery) -> Vec<String> {
    let jobs = t.store().jobs(query).unwrap();
    jobs.iter().map(|job| job.id.to_string()).collect()
}

/// The ids of what fits, oldest first.
fn fitting(t: &Trial, query: JobQuery) -> Vec<String> {
    found(t, &JobQuery { ascending: true, ..query })
}

fn any() -> JobQuery {
    JobQuery::default()
}

pub fn a_job_is_found_by_its_id(t: &mut Trial) {
    let automatic = t.add(job());
    let chosen = t.add(named("chosen"));
    assert_eq!(t.job(&automatic.id).key, automatic.key);
    assert_eq!(t.job(&id("chosen")).key, chosen.key);
    let store = t.store();
    for missing in [id("Chosen"), id("nobody"), JobId::Auto(JobKey(99_999))] {
        assert_eq!(store.job(&missing).unwrap(), None);
    }
    assert_eq!(store.attempts(JobKey(99_999)).unwrap(), []);
}

pub fn without_conditions_the_newest_hundred_are_given(t: &mut Trial) {
    assert_eq!(t.store().jobs(&any()).unwrap(), []);
    let added = t.add_all(&vec![job(); 120]);
    let newest: Vec<_> = added.iter().rev().take(100).map(|one| one.id.to_string()).collect();
    assert_eq!(found(t, &any()), newest);
}

pub fn a_listed_job_is_the_whole_job(t: &mut Trial) {
    let parent = t.enqueue(named("parent"));
    t.enqueue(named("child").after(parent).tag("x").unwrap().unique_key("k").unwrap());
    t.job_in(State::Dead, named("dead").queue("q").unwrap());
    for listed in t.store().jobs(&any()).unwrap() {
        assert_eq!(listed, t.job(&listed.id));
    }
}

pub fn jobs_are_found_by_state(t: &mut Trial) {
    for state in State::ALL {
        t.job_in(state, named(state.as_str()).queue(state.as_str()).unwrap());
    }
    t.cancel(&t.store().jobs(&JobQuery { kind: Some(name("never")), ..any() }).unwrap()[0].id);
    for state in State::ALL.into_iter().filter(|state| *state != State::Cancelled) {
        let query = JobQuery { states: vec![state], ..any() };
        assert_eq!(fitting(t, query), [state.as_str()]);
    }
    let query = JobQuery { states: vec![State::Dead, State::Failed, State::Pending], ..any() };
    assert_eq!(fitting(t, query), ["pending", "failed", "dead"]);
}

pub fn jobs_are_found_by_queue_kind_and_tag(t: &mut Trial) {
    t.add_all(&[
        named("a").queue("mail").unwrap().tag("red").unwrap(),
        of_kind("other").id("b").unwrap().queue("mail").unwrap(),
        of_kind("other").id("c").unwrap().tag("red").unwrap().tag("blue").unwrap(),
        named("d").tag("redder").unwrap(),
    ]);
    let queue = |text| JobQuery { queue: Some(name(text)), ..any() };
    let kind = |text| JobQuery { kind: Some(name(text)), ..any() };
    let tag = |text| JobQuery { tag: Some(name(text)), ..any() };
    assert_eq!(fitting(t, queue("mail")), ["a", "b"]);
    assert_eq!(fitting(t, queue("Mail")), [""; 0]);
    assert_eq!(fitting(t, kind("other")), ["b", "c"]);
    assert_eq!(fitting(t, tag("red")), ["a", "c"]);
    assert_eq!(fitting(t, tag("blue")), ["c"]);
    assert_eq!(fitting(t, JobQuery { kind: Some(name("other")), ..queue("mail") }), ["b"]);
    assert_eq!(fitting(t, JobQuery { kind: Some(name("other")), ..tag("red") }), ["c"]);
    let all = JobQuery { states: vec![State::Pending], ..tag("red") };
    assert_eq!(fitting(t, JobQuery { queue: Some(name("mail")), ..all.clone() }), ["a"]);
    assert_eq!(fitting(t, JobQuery { states: vec![State::Dead], ..all }), [""; 0]);
}

pub fn jobs_are_found_by_the_time_of_their_creation(t: &mut Trial) {
    let mut moments = Vec::new();
    for text in ["a", "b", "c"] {
        t.enqueue(named(text));
        moments.push(t.now());
        t.advance(secs(10));
    }
    let before = |moment| JobQuery { created_before: Some(moment), ..any() };
    let after = |moment| JobQuery { created_after: Some(moment), ..any() };
    assert_eq!(fitting(t, before(moments[1])), ["a"], "the moment itself is not before it");
    assert_eq!(fitting(t, after(moments[1])), ["b", "c"], "and counts as after it");
    let between = JobQuery { created_before: Some(moments[2]), ..after(moments[1]) };
    assert_eq!(fitting(t, between), ["b"]);
}

pub fn jobs_are_sorted_as_asked(t: &mut Trial) {
    t.enqueue(named("a").priority(5).delay(secs(300)));
    t.advance(secs(1));
    t.enqueue(named("b").priority(-5).delay(secs(100)));
    t.advance(secs(1));
    t.enqueue(named("c").priority(0).queue("now").unwrap());
    t.advance(secs(1));
    let worker = t.worker();
    for _ in 0..2 {
        t.fail(&t.claim_one(worker), secs(0));
    }
    t.advance(secs(100));
    let held = t.claim_from(worker, &["default"]);
    t.end(&held[0], Verdict::Fail { retry_in: secs(100) });
    // Attempts: a 0, b 1, c 2. Last change: a, c, b. Run at: c, b, a.
    let orders = [
        (Sort::Created, ["c", "b", "a"]),
        (Sort::Updated, ["b", "c", "a"]),
        (Sort::RunAt, ["a", "b", "c"]),
        (Sort::Priority, ["a", "c", "b"]),
        (Sort::Attempts, ["c", "b", "a"]),
    ];
    for (sort, mut expected) in orders {
        assert_eq!(found(t, &JobQuery { sort, ..any() }), expected, "{sort:?}");
        let first = JobQuery { sort, limit: 1, ..any() };
        assert_eq!(found(t, &first), expected[..1], "{sort:?}");
        expected.reverse();
        assert_eq!(fitting(t, JobQuery { sort, ..any() }), expected, "{sort:?}");
    }
}

pub fn no_more_are_given_than_the_limit(t: &mut Trial) {
    t.add_all(&[named("a"), named("b"), named("c")]);
    for (limit, expected) in [(0, vec![]), (2, vec!["c", "b"]), (usize::MAX, vec!["c", "b", "a"])] {
        assert_eq!(found(t, &JobQuery { limit, ..any() }), expected);
    }
}

/// Page after page shows each job that was there once, also when jobs come and go meanwhile.
pub fn pages_follow_one_another(t: &mut Trial) {
    for ascending in [false, true] {
        let added = t.add_all(&vec![job().tag("paged").unwrap(); 25]);
        let mut expected: Vec<_> = added.iter().map(|one| one.key).collect();
        let mut query = JobQuery { limit: 7, ascending, tag: Some(name("paged")), ..any() };
        let mut seen = Vec::new();
        for page in 0.. {
            let jobs = t.store().jobs(&query).unwrap();
            let Some(last) = jobs.last() else { break };
            assert!(page < 10, "the pages go round in a circle");
            query.from = Some(last.key);
            seen.extend(jobs.iter().map(|job| job.key));
            if page == 1 {
                // The last one seen disappears: the next page begins after it all the same.
                t.cancel(&last.id);
                t.purge(&last.id);
                if !ascending {
                    t.enqueue(job().tag("paged").unwrap());
                }
            }
        }
        if !ascending {
            expected.reverse();
        }
        assert_eq!(seen, expected);
        for job in all_jobs(t.store().as_ref()) {
            t.cancel(&job.id);
            t.purge(&job.id);
        }
    }
}

/// The order of creation is the order of enqueueing, whatever the wall clock showed.
pub fn the_order_of_creation_does_not_follow_the_wall_clock(t: &mut Trial) {
    t.enqueue(named("first"));
    t.clock().step_wall(-86_400_000);
    t.enqueue(named("second"));
    assert_eq!(fitting(t, any()), ["first", "second"]);
}

pub fn counts_are_kept_by_queue_and_kind(t: &mut Trial) {
    assert!(t.store().counts().unwrap().iter().all(|lane| lane.by_state == [0; 7]));
    t.add_all(&[job(), job(), of_kind("other"), job().queue("mail").unwrap()]);
    t.claim_one(t.worker());
    let counts = t.store().counts().unwrap();
    let lane = |queue: &str, kind: &str| {
        let mut fitting =
            counts.iter().filter(|lane| lane.queue.as_str() == queue && lane.kind.as_str() == kind);
        let lane = fitting.next().expect("the lane has jobs");
        assert!(fitting.next().is_none(), "a lane is listed once");
        lane
    };
    assert_eq!(lane("default", "work").of(State::Pending), 1);
    assert_eq!(lane("default", "work").of(State::Processing), 1);
    assert_eq!(lane("default", "other").of(State::Pending), 1);
    assert_eq!(lane("mail", "work").of(State::Pending), 1);
    let total: u64 = counts.iter().flat_map(|lane| lane.by_state).sum();
    assert_eq!(total, 4);
}

pub fn counts_follow_a_job_through_its_states(t: &mut Trial) {
    for state in State::ALL {
        let queue = format!("queue-{state}");
        t.job_in(state, job().queue(&queue).unwrap());
        let counts = t.store().counts().unwrap();
        let lane = counts.iter().find(|lane| lane.queue.as_str() == queue).unwrap();
        for other in State::ALL {
            assert_eq!(lane.of(other), u64::from(other == state), "{other} of a {state} job");
        }
    }
}

/// A job that was not added, because another has its unique key, makes no queue.
pub fn a_queue_is_used_by_what_is_added_to_it(t: &mut Trial) {
    t.enqueue(named("a").unique_key("k").unwrap());
    let other = named("b").queue("mail").unwrap().unique_key("k").unwrap();
    assert!(!t.add(other).created);
    let queues = t.store().queues().unwrap();
    assert_eq!(queues.iter().map(|queue| queue.name.as_str()).collect::<Vec<_>>(), ["default"]);
}

pub fn queues_that_were_used_are_listed(t: &mut Trial) {
    let store = t.store();
    t.enqueue(named("a").queue("mail").unwrap());
    store.pause(&name("night"), true).unwrap();
    t.cancel(&id("a"));
    t.purge(&id("a"));
    let listed = |t: &Trial| {
        let mut queues: Vec<_> = t
            .store()
            .queues()
            .unwrap()
            .into_iter()
            .map(|queue| (queue.name.to_string(), queue.paused))
            .collect();
        queues.sort();
        queues
    };
    let expect = |mail, night| vec![("mail".to_owned(), mail), ("night".to_owned(), night)];
    assert_eq!(listed(t), expect(false, true));
    store.pause(&name("mail"), true).unwrap();
    store.pause(&name("night"), false).unwrap();
    assert_eq!(listed(t), expect(true, false));
    t.enqueue(job().queue("mail").unwrap());
    assert_eq!(listed(t), expect(true, false), "enqueueing does not resume");
}

/// Neither due jobs nor dead workers nor outlived jobs are touched by whoever only looks.
pub fn reads_change_nothing(t: &mut Trial) {
    let store = t.store();
    store.change_setting(queuectl_core::Setting::RetentionDead, Some("1h")).unwrap();
    for state in State::ALL {
        t.job_in(state, job().queue(state.as_str()).unwrap());
    }
    t.enqueue(job().delay(secs(10)));
    let workers: Vec<_> = store.workers().unwrap().iter().map(|worker| worker.key).collect();
    let held = store.held(&workers).unwrap();
    t.advance(secs(1_000_000));
    let before = (t.snapshot(), store.counts().unwrap(), store.queues().unwrap());
    for _ in 0..2 {
        store.settings().unwrap();
        store.orders(&workers).unwrap();
        assert_eq!(store.held(&workers).unwrap(), held);
        assert_eq!(store.workers().unwrap().len(), workers.len());
        for job in store.jobs(&any()).unwrap() {
            store.job(&job.id).unwrap();
            store.attempts(job.key).unwrap();
        }
        let after = (t.snapshot(), store.counts().unwrap(), store.queues().unwrap());
        assert_eq!(after, before);
    }
    assert_eq!(held.len(), 1);
    assert_eq!(t.rescue().len(), 1, "the dead worker was still there to be found");
}

pub fn what_one_handle_has_done_the_other_sees(t: &mut Trial) {
    let Some(other) = t.another_handle() else {
        return;
    };
    let mine = t.enqueue(named("mine"));
    assert_eq!(other.job(&mine).unwrap(), Some(t.job(&mine)));
    let theirs = other.enqueue(&[named("theirs")]).unwrap().remove(0);
    assert!(theirs.key > t.job(&mine).key);
    assert_eq!(t.job(&theirs.id).key, theirs.key);
    other.enqueue(&[named("mine")]).unwrap_err();
    let claimed = t.claim(t.worker(), 2);
    assert_eq!(claimed.len(), 2);
    t.complete(&claimed[1]);
    other.cancel(&[mine], &"from over there".into()).unwrap();
    assert_eq!(t.store().orders(&[claimed[0].worker]).unwrap().cancel.len(), 1);
    assert_eq!(all_jobs(other.as_ref()), all_jobs(t.store().as_ref()));
    assert_eq!(other.counts().unwrap(), t.store().counts().unwrap());
}

/// How long a change may take to be noticed before the case gives up. Nothing waits so long unless the
/// store has failed.
const PATIENCE: std::time::Duration = secs(30);

/// A waker that says `word` to whoever listens. That nobody does any more is no matter.
fn telling<T: Copy + Send + Sync + 'static>(sender: Sender<T>, word: T) -> Waker {
    let sender = Mutex::new(sender);
    Arc::new(move || {
        let _ = sender.lock().unwrap().send(word);
    })
}

pub fn a_watch_is_called_after_a_change(t: &mut Trial) {
    let handles = t.two_handles();
    let (sender, called) = mpsc::channel();
    let watch = t.store().watch(telling(sender, ())).unwrap();
    for store in &handles {
        // What was still under way from before does not count as an answer to this change.
        while called.try_recv().is_ok() {}
        store.enqueue(&[job()]).unwrap();
        assert_eq!(called.recv_timeout(PATIENCE), Ok(()));
    }
    drop(watch);
    // The waker is let go of: after what it may still have said, there is nobody who could call.
    let end = loop {
        if let Err(error) = called.recv_timeout(PATIENCE) {
            break error;
        }
    };
    assert_eq!(end, RecvTimeoutError::Disconnected);
    handles[0].enqueue(&[job()]).unwrap();
}

pub fn every_watch_is_called(t: &mut Trial) {
    let (sender, called) = mpsc::channel();
    let watches: Vec<_> =
        (0..3).map(|number| t.store().watch(telling(sender.clone(), number)).unwrap()).collect();
    t.enqueue(job());
    let mut missing = vec![0, 1, 2];
    while !missing.is_empty() {
        let number = called.recv_timeout(PATIENCE).expect("every watch is called");
        missing.retain(|&other| other != number);
    }
    drop(watches);
}
