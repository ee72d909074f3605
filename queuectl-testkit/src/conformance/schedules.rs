//! Schedules: each tick is attended to once, and as its schedule says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use queuectl_core::schedule::{HISTORY_LEN_MAX, ON_TIME, ScheduleInfo, TickOutcome, TickRecord};
use queuectl_core::{
    JobId, Missed, NewJob, OnConflict, Overlap, Schedule, Spec, Start, State, Store, StoreError,
    Timestamp,
};

use super::trial::{Trial, all_jobs, job, json, name, secs};
use crate::dice::Dice;

const MILLI: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY_MS: i64 = 86_400_000;

/// Every minute, beginning with the next full one.
fn minutely() -> Schedule {
    Schedule::new("minutely", Spec::cron("* * * * *", "UTC").unwrap(), job()).unwrap()
}

/// The same, but for this.
fn but(change: impl FnOnce(&mut Schedule)) -> Schedule {
    let mut schedule = minutely();
    change(&mut schedule);
    schedule
}

fn called(text: &str) -> Schedule {
    but(|schedule| schedule.name = name(text))
}

fn ticking(spec: Spec) -> Schedule {
    but(|schedule| schedule.spec = spec)
}

fn every(seconds: u64) -> Schedule {
    ticking(Spec::every(secs(seconds)).unwrap())
}

fn put(t: &Trial, schedule: &Schedule) -> bool {
    t.store().put_schedule(schedule).unwrap()
}

fn info(t: &Trial, schedule: &Schedule) -> ScheduleInfo {
    let mut all = t.store().schedules().unwrap();
    all.retain(|one| one.schedule.name == schedule.name);
    all.remove(0)
}

fn tick(t: &Trial) -> Vec<TickRecord> {
    t.store().tick().unwrap().ticks.into_iter().map(|(_, record)| record).collect()
}

/// The outcomes of ticks, in a word each.
fn outcomes(ticks: &[TickRecord]) -> Vec<&'static str> {
    ticks.iter().map(|record| record.outcome.as_str()).collect()
}

/// Lets time pass until the moment, and 10 ms more, as it takes a worker to wake up.
fn pass_until(t: &Trial, moment: Timestamp) {
    t.advance(moment.since(t.now()) + 10 * MILLI);
}

fn made(record: &TickRecord) -> JobId {
    record.outcome.job().expect("it made a job").clone()
}

pub fn a_schedule_is_kept_as_it_was_put(t: &mut Trial) {
    let mut job = NewJob::from_json(name("work"), json("{\"a\" :  1.0, \"b\":[ ]} "))
        .queue("mail")
        .unwrap()
        .priority(-3)
        .delay(secs(5))
        .expires_in(secs(50))
        .max_retries(7)
        .timeout(secs(9))
        .backoff("constant:30s".parse().unwrap())
        .unique_key("one at a time")
        .unwrap()
        .tag("nightly")
        .unwrap();
    let specs = [
        Spec::cron("*/5 9-17 * * MON-FRI", "Europe/Berlin").unwrap(),
        Spec::every(Duration::from_millis(1_500)).unwrap(),
    ];
    for (number, spec) in specs.into_iter().enumerate() {
        for missed in [Missed::Skip, Missed::One, Missed::All(12)] {
            job = match missed {
                Missed::Skip => job.unique_for(secs(60)),
                Missed::One => job.unique_while([State::Dead]).on_conflict(OnConflict::Replace),
                Missed::All(_) => job.unique_while([]).on_conflict(OnConflict::ReplaceAndMove),
            };
            for overlap in [Overlap::Allow, Overlap::Skip, Overlap::QueueOne] {
                let schedule = Schedule::new(&format!("s{number}"), spec.clone(), job.clone())
                    .unwrap()
                    .missed(missed)
                    .overlap(overlap)
                    .paused(number == 1);
                put(t, &schedule);
                assert_eq!(info(t, &schedule).schedule, schedule);
                job.start = Start::Now;
            }
        }
    }
}

pub fn schedules_are_listed_by_name(t: &mut Trial) {
    for of in ["b", "a", "B", "a-1"] {
        assert!(put(t, &called(of)));
    }
    let all = t.store().schedules().unwrap();
    let names: Vec<&str> = all.iter().map(|one| one.schedule.name.as_str()).collect();
    assert_eq!(names, ["B", "a", "a-1", "b"]);
}

pub fn a_tick_makes_a_job_when_its_time_has_come(t: &mut Trial) {
    put(t, &minutely());
    let next = info(t, &minutely()).next.expect("it ticks again");
    assert_eq!(next.to_string(), "2023-11-14T22:14:00.000Z");
    let wait = next.since(t.now());
    let idle = t.store().tick().unwrap();
    assert_eq!((idle.ticks, idle.next_due), (vec![], Some(wait)));
    t.advance(wait - MILLI);
    assert_eq!(t.store().tick().unwrap().next_due, Some(MILLI));
    t.advance(MILLI);
    let ticked = t.store().tick().unwrap();
    assert_eq!(ticked.next_due, Some(MINUTE));
    let [(of, record)] = ticked.ticks.as_slice() else { panic!("{ticked:?}") };
    assert_eq!((of, record.tick, record.at), (&name("minutely"), next, next));
    assert_eq!(t.claim_one(t.worker()).id, made(record));
    assert_eq!(info(t, &minutely()).last.as_ref(), Some(record));
    assert_eq!(t.store().ticks(&name("minutely")).unwrap(), std::slice::from_ref(record));
}

pub fn a_tick_enqueues_the_job_that_was_put(t: &mut Trial) {
    let new = job().queue("mail").unwrap().priority(3).max_retries(8).delay(secs(20));
    put(t, &but(|schedule| schedule.job = new.clone()));
    t.advance(MINUTE);
    let job = t.job(&made(&tick(t)[0]));
    assert_eq!((job.queue, job.kind, job.payload), (new.queue, new.kind, new.payload));
    assert_eq!((job.priority, job.max_attempts, job.state), (3, 9, State::Pending));
    assert_eq!(job.run_at, t.now() + secs(20));
}

pub fn each_tick_is_attended_to_once(t: &mut Trial) {
    put(t, &minutely());
    let Some(other) = t.another_handle() else { return };
    for _ in 0..5 {
        t.advance(MINUTE);
        assert_eq!(tick(t).len(), 1);
        assert_eq!(other.tick().unwrap().ticks, []);
        assert_eq!(tick(t), []);
    }
    assert_eq!(all_jobs(t.store().as_ref()).len(), 5);
}

pub fn a_step_backwards_brings_no_tick_back(t: &mut Trial) {
    put(t, &minutely());
    t.advance(MINUTE);
    let [first] = tick(t).try_into().expect("one tick");
    t.clock().step_wall(-3 * DAY_MS);
    assert_eq!(tick(t), []);
    t.advance(MINUTE);
    assert_eq!(tick(t), []);
    t.clock().step_wall(3 * DAY_MS);
    let [second] = tick(t).try_into().expect("one tick");
    assert!(second.tick > first.tick);
}

pub fn racing_schedulers_attend_to_each_tick_once(t: &mut Trial) {
    const ROUNDS: usize = 10;
    let handles = t.two_handles();
    put(t, &minutely());
    for number in 0..20 {
        put(t, &called(&format!("s{number}")).missed(Missed::All(3)));
    }
    for round in 0..ROUNDS {
        t.advance(2 * MINUTE);
        let told: usize = std::thread::scope(|scope| {
            let racing: Vec<_> = (0..4)
                .map(|number| {
                    let store = Arc::clone(&handles[number % 2]);
                    scope.spawn(move || {
                        let ticked = store.tick().unwrap();
                        let jobs =
                            ticked.ticks.iter().filter(|(_, one)| one.outcome.job().is_some());
                        jobs.count()
                    })
                })
                .collect();
            racing.into_iter().map(|one| one.join().unwrap()).sum()
        });
        assert_eq!(told, 1 + 20 * 2, "round {round}");
    }
    assert_eq!(all_jobs(t.store().as_ref()).len(), ROUNDS * 41);
}

pub fn missed_ticks_are_skipped(t: &mut Trial) {
    put(t, &minutely().missed(Missed::Skip));
    let first = info(t, &minutely()).next.unwrap();
    // A worker that is a little late has not missed it.
    t.advance(first.since(t.now()) + ON_TIME - MILLI);
    assert_eq!(outcomes(&tick(t)), ["enqueued"]);
    t.advance(5 * MINUTE);
    let ticks = tick(t);
    assert_eq!(outcomes(&ticks), ["missed", "enqueued"]);
    assert_eq!(ticks[0].tick, first + MINUTE);
    assert_eq!(ticks[0].outcome, TickOutcome::Missed { until: first + 4 * MINUTE });
    assert_eq!(ticks[1].tick, first + 5 * MINUTE);
    let hourly = Spec::cron("@hourly", "UTC").unwrap();
    put(t, &ticking(hourly).missed(Missed::Skip));
    t.advance(100 * MINUTE);
    assert_eq!(outcomes(&tick(t)), ["missed"]);
}

pub fn one_missed_tick_is_made_up_for(t: &mut Trial) {
    put(t, &minutely());
    let first = info(t, &minutely()).next.unwrap();
    t.advance(secs(86_400 * 365));
    let ticks = tick(t);
    assert_eq!(outcomes(&ticks), ["missed", "enqueued"]);
    assert_eq!(ticks[0].tick, first);
    assert!(t.now().since(ticks[1].tick) < MINUTE);
    // However late it is.
    let yearly = Spec::cron("@yearly", "UTC").unwrap();
    put(t, &ticking(yearly));
    t.advance(secs(86_400 * 365 + 86_400 * 100));
    assert_eq!(outcomes(&tick(t)), ["missed", "enqueued"]);
}

pub fn missed_ticks_are_made_up_for_up_to_a_number(t: &mut Trial) {
    put(t, &minutely().missed(Missed::All(3)));
    let first = info(t, &minutely()).next.unwrap();
    pass_until(t, first + MINUTE);
    let ticks = tick(t);
    assert_eq!(ticks.iter().map(|one| one.tick).collect::<Vec<_>>(), [first, first + MINUTE]);
    pass_until(t, first + 7 * MINUTE);
    let ticks = tick(t);
    assert_eq!(outcomes(&ticks), ["missed", "enqueued", "enqueued", "enqueued"]);
    assert_eq!(ticks[0].outcome, TickOutcome::Missed { until: first + 4 * MINUTE });
    let made_up: Vec<_> = ticks[1..].iter().map(|one| one.tick).collect();
    assert_eq!(made_up, [5, 6, 7].map(|minute| first + minute * MINUTE));
    // Oldest first.
    let keys: Vec<_> = ticks[1..].iter().map(|one| t.job(&made(one)).key).collect();
    assert!(keys.is_sorted());
}

pub fn jobs_of_a_schedule_may_overlap(t: &mut Trial) {
    put(t, &minutely());
    for _ in 0..3 {
        t.advance(MINUTE);
        assert_eq!(outcomes(&tick(t)), ["enqueued"]);
    }
}

pub fn no_job_is_made_while_the_last_one_lives(t: &mut Trial) {
    put(t, &minutely().overlap(Overlap::Skip));
    let worker = t.worker();
    let next = |t: &Trial| {
        t.advance(MINUTE);
        outcomes(&tick(t))
    };
    assert_eq!(next(t), ["enqueued"]);
    // It waits, it runs, it waits for a retry: it lives.
    assert_eq!(next(t), ["overlapped"]);
    let claimed = t.claim_one(worker);
    assert_eq!(next(t), ["overlapped"]);
    t.fail(&claimed, secs(1));
    assert_eq!(next(t), ["overlapped"]);
    t.complete(&t.claim_one(worker));
    assert_eq!(next(t), ["enqueued"]);
    t.end(&t.claim_one(worker), queuectl_core::store::Verdict::Die);
    assert_eq!(next(t), ["enqueued"]);
    // Gone is ended.
    let claimed = t.claim_one(worker);
    t.complete(&claimed);
    t.purge(&claimed.id);
    assert_eq!(next(t), ["enqueued"]);
}

pub fn one_tick_waits_until_the_last_job_has_ended(t: &mut Trial) {
    put(t, &minutely().overlap(Overlap::QueueOne));
    let worker = t.worker();
    t.advance(MINUTE);
    assert_eq!(outcomes(&tick(t)), ["enqueued"]);
    let claimed = t.claim_one(worker);
    t.advance(MINUTE);
    let waits = tick(t);
    assert_eq!(outcomes(&waits), ["waits"]);
    assert_eq!(info(t, &minutely()).waiting, Some(waits[0].tick));
    t.advance(MINUTE);
    assert_eq!(outcomes(&tick(t)), ["overlapped"]);
    t.claim_none(worker);
    t.complete(&claimed);
    let ticks = tick(t);
    assert_eq!(outcomes(&ticks), ["enqueued"]);
    assert_eq!(ticks[0].tick, waits[0].tick);
    assert_eq!(info(t, &minutely()).waiting, None);
    assert_eq!(t.claim_one(worker).id, made(&ticks[0]));
    assert_eq!(tick(t), []);
}

pub fn an_interval_is_measured_on_the_boot_clock(t: &mut Trial) {
    let every = self::every(90);
    put(t, &every);
    t.advance(secs(90) - MILLI);
    t.clock().step_wall(DAY_MS);
    assert_eq!(tick(t), []);
    t.advance(MILLI);
    assert_eq!(outcomes(&tick(t)), ["enqueued"]);
    t.clock().step_wall(-5 * DAY_MS);
    assert_eq!(t.store().tick().unwrap().next_due, Some(secs(90)));
    t.advance(secs(95));
    assert_eq!(outcomes(&tick(t)), ["enqueued"]);
    // It keeps its beat, however late somebody looked.
    assert_eq!(t.store().tick().unwrap().next_due, Some(secs(85)));
}

pub fn after_a_restart_an_interval_ends_when_it_was_expected_to(t: &mut Trial) {
    let every = self::every(90);
    put(t, &every);
    t.advance(secs(30));
    t.clock().reboot();
    assert_eq!(t.store().tick().unwrap().next_due, Some(secs(60)));
    t.advance(secs(61));
    assert_eq!(outcomes(&tick(t)), ["enqueued"]);
    // And is measured from then on.
    t.clock().step_wall(DAY_MS);
    assert_eq!(t.store().tick().unwrap().next_due, Some(secs(89)));
}

pub fn a_replaced_schedule_goes_on(t: &mut Trial) {
    assert!(put(t, &minutely()));
    let created_at = t.now();
    t.advance(MINUTE);
    tick(t);
    let before = info(t, &minutely());
    t.advance(secs(10));
    assert!(!put(t, &minutely().overlap(Overlap::Skip)));
    let after = info(t, &minutely());
    assert_eq!((after.next, &after.last), (before.next, &before.last));
    assert_eq!((after.created_at, after.updated_at), (created_at, t.now()));
    assert_eq!(after.schedule.overlap, Overlap::Skip);
    // The beat of an interval is not begun anew either.
    let every = self::every(90);
    put(t, &every);
    t.advance(secs(50));
    put(t, &every);
    assert_eq!(t.store().tick().unwrap().next_due, Some(secs(40)));
}

pub fn another_spec_begins_after_the_last_tick(t: &mut Trial) {
    put(t, &minutely());
    t.advance(MINUTE);
    let [last] = tick(t).try_into().expect("one tick");
    t.clock().step_wall(-DAY_MS);
    let other = ticking(Spec::cron("*/1 * * * *", "UTC").unwrap());
    put(t, &other);
    assert_eq!(info(t, &other).next, Some(last.tick + MINUTE));
    assert_eq!(info(t, &other).last, Some(last));
}

pub fn a_paused_schedule_passes_over_its_ticks(t: &mut Trial) {
    let store = t.store();
    put(t, &minutely().missed(Missed::All(100)));
    store.pause_schedule(&name("minutely"), true).unwrap();
    assert_eq!(info(t, &minutely()).next, None);
    t.advance(10 * MINUTE);
    let ticked = store.tick().unwrap();
    assert_eq!((ticked.ticks, ticked.next_due), (vec![], None));
    // To replace it does not wake it.
    put(t, &minutely().missed(Missed::All(100)));
    assert!(info(t, &minutely()).schedule.paused);
    store.pause_schedule(&name("minutely"), false).unwrap();
    assert_eq!(tick(t), []);
    t.advance(MINUTE);
    assert_eq!(tick(t).len(), 1);
    // Nothing happens to one that does not rest.
    let next = info(t, &minutely()).next;
    store.pause_schedule(&name("minutely"), false).unwrap();
    assert_eq!(info(t, &minutely()).next, next);
    put(t, &called("from-the-beginning").paused(true));
    t.advance(MINUTE);
    assert_eq!(tick(t).len(), 1);
}

pub fn a_schedule_is_run_by_hand(t: &mut Trial) {
    let store = t.store();
    put(t, &minutely().overlap(Overlap::Skip));
    let next = info(t, &minutely()).next;
    for paused in [false, true] {
        store.pause_schedule(&name("minutely"), paused).unwrap();
        let made = store.run_schedule(&name("minutely")).unwrap();
        assert!(made.created);
        let last = info(t, &minutely()).last.unwrap();
        assert_eq!((last.tick, last.outcome), (t.now(), TickOutcome::ByHand(made.id)));
    }
    store.pause_schedule(&name("minutely"), false).unwrap();
    assert_eq!(info(t, &minutely()).next, next);
    // For its ticks, it is the job that was made last.
    t.advance(MINUTE);
    assert_eq!(outcomes(&tick(t)), ["overlapped"]);
}

pub fn the_job_that_has_the_unique_key_is_told(t: &mut Trial) {
    let keyed = job().unique_key("one").unwrap();
    let living = t.enqueue(keyed.clone());
    put(t, &but(|schedule| schedule.job = keyed));
    t.advance(MINUTE);
    assert_eq!(tick(t)[0].outcome, TickOutcome::Exists(living.clone()));
    let again = t.store().run_schedule(&name("minutely")).unwrap();
    assert_eq!((again.id, again.created), (living, false));
}

pub fn a_removed_schedule_is_gone_and_its_jobs_are_not(t: &mut Trial) {
    put(t, &minutely());
    t.advance(MINUTE);
    let job = made(&tick(t)[0]);
    t.store().remove_schedule(&name("minutely")).unwrap();
    t.advance(MINUTE);
    assert_eq!(tick(t), []);
    assert_eq!(t.store().schedules().unwrap(), []);
    assert_eq!(t.store().ticks(&name("minutely")).unwrap(), []);
    assert_eq!(t.state(&job), State::Pending);
    // One of the same name is another one.
    assert!(put(t, &minutely()));
    assert_eq!(info(t, &minutely()).last, None);
}

pub fn commands_on_schedules_that_are_not_there_are_refused(t: &mut Trial) {
    let (store, nobody) = (t.store(), name("nobody"));
    let refused = [
        store.remove_schedule(&nobody),
        store.pause_schedule(&nobody, true),
        store.run_schedule(&nobody).map(drop),
    ];
    for refused in refused {
        assert!(matches!(refused, Err(StoreError::NoSchedule(of)) if of == nobody));
    }
    assert_eq!(store.ticks(&nobody).unwrap(), []);
}

pub fn the_history_is_bounded(t: &mut Trial) {
    put(t, &minutely().missed(Missed::All(1000)));
    t.advance(250 * MINUTE);
    assert_eq!(tick(t).len(), 250);
    let history = t.store().ticks(&name("minutely")).unwrap();
    assert_eq!(history.len(), HISTORY_LEN_MAX);
    assert!(history.is_sorted_by_key(|one| std::cmp::Reverse(one.tick)));
    assert!(t.now().since(history[0].tick) < MINUTE);
}

pub fn many_schedules_that_are_due_are_all_attended_to(t: &mut Trial) {
    for number in 0..200 {
        put(t, &called(&format!("s{number}")));
    }
    t.advance(MINUTE);
    let mut told = 0;
    for _ in 0..200 {
        let ticked = t.store().tick().unwrap();
        told += ticked.ticks.len();
        if ticked.next_due != Some(Duration::ZERO) {
            break;
        }
    }
    assert_eq!(told, 200);
}

pub fn schedules_are_there_after_reopening(t: &mut Trial) {
    put(t, &minutely());
    t.advance(MINUTE);
    tick(t);
    let before = t.store().schedules().unwrap();
    if t.reopen() {
        assert_eq!(t.store().schedules().unwrap(), before);
        assert_eq!(tick(t), []);
    }
}

/// Years in which four processes look, die and come back, the wall clock is set to and fro, and clocks
/// are put forward and back. Each tick is enqueued once, or not, as its schedule says. What it says is
/// found here by walking through all ticks.
pub fn four_schedulers_through_years(t: &mut Trial) {
    let spec = |expression, zone| Spec::cron(expression, zone).unwrap();
    let specs = [
        ("each", spec("0 * * * *", "Europe/Berlin"), Missed::All(300)),
        ("night", spec("30 2 * * *", "America/New_York"), Missed::All(7)),
        ("hours", spec("15 1,2,3 * * *", "Europe/Berlin"), Missed::One),
        ("days", spec("0 0 * * *", "America/Santiago"), Missed::Skip),
        ("half", spec("*/15 2 * * *", "Australia/Lord_Howe"), Missed::All(3)),
        ("work", spec("0 9 * * MON-FRI", "Asia/Kathmandu"), Missed::One),
    ];
    let mut handles: Vec<Option<Arc<dyn Store>>> = (0..4).map(|_| t.another_handle()).collect();
    if handles.iter().any(Option::is_none) {
        return;
    }
    for (of, spec, missed) in &specs {
        put(t, &Schedule::new(of, spec.clone(), job()).unwrap().missed(*missed));
    }
    // The newest tick that each has attended to; none is before the beginning.
    let mut done: BTreeMap<&str, Timestamp> = specs.iter().map(|one| (one.0, t.now())).collect();
    let mut dice = Dice(21);
    let (mut steps_back, mut made) = (0, 0);
    let end = t.now() + secs(2 * 365 * 86_400);
    while t.now() < end {
        match dice.roll(40) {
            0 => {
                t.clock().step_wall(-(dice.roll(3 * DAY_MS as u64) as i64));
                steps_back += 1;
            }
            1 => t.clock().step_wall(dice.roll(20 * DAY_MS as u64) as i64),
            2 => t.advance(secs(dice.roll(10 * 86_400))),
            3..8 => t.advance(secs(dice.roll(86_400))),
            8..12 => {
                let one = dice.index(4);
                handles[one] = None;
                handles[one] = t.another_handle();
            }
            _ => t.advance(secs(dice.roll(4 * 3_600))),
        }
        let looking = 1 + dice.index(4);
        let first = dice.index(4);
        let mut told: BTreeMap<&str, Vec<Timestamp>> = BTreeMap::new();
        for number in 0..looking {
            let store = handles[(first + number) % 4].as_ref().expect("a process");
            for (of, record) in store.tick().unwrap().ticks {
                let (of, ..) = specs.iter().find(|one| one.0 == of.as_str()).expect("ours");
                if record.outcome.job().is_some() {
                    told.entry(of).or_default().push(record.tick);
                }
            }
        }
        for (of, spec, missed) in &specs {
            let since = done.get_mut(of).expect("a schedule");
            let mut due = Vec::new();
            let mut newest = *since;
            // Most often one or none.
            for asked in [1, 8, 64].into_iter().chain(std::iter::repeat(64)) {
                let mut some = spec.upcoming(newest, asked);
                let known = some.len();
                some.retain(|tick| *tick <= t.now());
                newest = some.last().copied().unwrap_or(newest);
                due.extend_from_slice(&some);
                if some.len() < known {
                    break;
                }
            }
            *since = newest;
            let keep = match missed {
                Missed::Skip if t.now().since(newest) > ON_TIME => 0,
                Missed::Skip | Missed::One => 1,
                Missed::All(most) => *most as usize,
            };
            due.drain(..due.len().saturating_sub(keep));
            made += due.len();
            assert_eq!(told.remove(of).unwrap_or_default(), due, "{of} at {}", t.now());
        }
        assert!(told.is_empty(), "{told:?}");
    }
    assert!(steps_back > 10 && made > 10_000, "{steps_back} steps back, {made} ticks");
    assert_eq!(all_jobs(t.store().as_ref()).len(), made);
}
