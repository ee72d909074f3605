//! What nobody thought of: hundreds of calls by chance, on the store and on the reference, which
//! must agree after each of them. The chances are the same in every run.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use queuectl_core::store::{Queues, StopMode, Verdict};
use queuectl_core::{Cause, JobId, NewJob, Setting, State, Timestamp};

use super::trial::{Trial, all_jobs, json, name, named, of_kind, secs};
use super::twins::{Settle, Twins};
use crate::dice::Dice;

const STEPS: usize = 600;

pub fn a_store_is_like_the_reference_1(t: &mut Trial) {
    live(t, 1);
}

pub fn a_store_is_like_the_reference_2(t: &mut Trial) {
    live(t, 2);
}

pub fn a_store_is_like_the_reference_3(t: &mut Trial) {
    live(t, 3);
}

pub fn a_store_is_like_the_reference_4(t: &mut Trial) {
    live(t, 4);
}

fn live(t: &Trial, seed: u64) {
    let mut life = Life {
        t,
        dice: Dice(seed),
        twins: Twins::new(t),
        ids: Vec::new(),
        workers: 0,
        this_boot: 0,
        claimed_at: Vec::new(),
        retried: HashSet::new(),
        seen: BTreeSet::new(),
    };
    for step in 0..STEPS {
        life.step();
        let thorough = step % 20 == 19;
        life.twins.compare(thorough);
        if thorough {
            life.check_accounts();
        }
    }
    // A run that never comes near what is difficult shows nothing.
    let wanted = [
        "pending",
        "blocked",
        "processing",
        "completed",
        "failed",
        "dead",
        "cancelled",
        "succeeded",
        "lease_lost",
        "interrupted",
        "snoozed",
        "a refused lease",
        "leftovers",
        "a retry by hand",
    ];
    let missed: Vec<_> = wanted.into_iter().filter(|what| !life.seen.contains(*what)).collect();
    assert_eq!(missed, [""; 0], "the chances are too poor");
}

/// A store, its twin, and what has happened so far.
struct Life<'a> {
    t: &'a Trial,
    dice: Dice,
    twins: Twins,
    /// Every id that was ever asked for.
    ids: Vec<JobId>,
    /// How many workers were registered.
    workers: usize,
    /// The first of them that belongs to this boot: the others are dead beyond doubt.
    this_boot: usize,
    /// When each lease was given.
    claimed_at: Vec<Timestamp>,
    /// The jobs whose attempts were counted anew, or whose ids were used anew.
    retried: HashSet<JobId>,
    /// What has come about.
    seen: BTreeSet<String>,
}

impl Life<'_> {
    fn step(&mut self) {
        match self.dice.roll(100) {
            0..20 => self.enqueue(),
            20..28 => self.register(),
            28..30 => self.deregister(),
            30..60 => self.exchange(),
            60..66 => self.renew(),
            66..76 => self.pass_time(),
            76..80 => {
                self.twins.both("rescue".to_owned(), |twin| twin.rescue());
            }
            80..84 => {
                let ids = self.some_ids();
                self.twins.both(format!("cancel {ids:?}"), |twin| twin.cancel(&ids)).ok();
            }
            84..88 => self.retry(),
            88..91 => self.purge(),
            91..93 => self.retain(),
            93..96 => self.pause(),
            96..98 => self.progress(),
            _ => self.stop(),
        }
    }

    fn enqueue(&mut self) {
        let count = 1 + self.dice.roll(3);
        let jobs: Vec<NewJob> = (0..count).map(|_| self.new_job()).collect();
        let text = format!("enqueue {jobs:?}");
        self.twins.both(text, |twin| twin.enqueue(&jobs)).ok();
    }

    fn new_job(&mut self) -> NewJob {
        let kind = ["work", "work", "other", "never"][self.dice.roll(4) as usize];
        let mut new = of_kind(kind).priority(self.dice.roll(3) as i16 - 1);
        if self.dice.roll(15) == 0 && !self.ids.is_empty() {
            // Taken already, or free again by now.
            let id = self.some_id();
            self.retried.insert(id.clone());
            new.id = Some(id);
        } else {
            new.id = named(&format!("job-{}", self.ids.len())).id;
            self.ids.extend(new.id.clone());
        }
        if self.dice.roll(3) == 0 {
            new.queue = name("mail");
        }
        if self.dice.roll(4) > 0 {
            new.max_retries = Some(self.dice.roll(3) as u32);
        }
        if self.dice.roll(4) == 0 {
            new.unique_key = Some(format!("key {}", self.dice.roll(4)));
        }
        match self.dice.roll(6) {
            0 => new = new.delay(self.some_time()),
            1 => new = new.run_at(self.t.now() + self.some_time()),
            _ => {}
        }
        for _ in 0..self.dice.roll(6).saturating_sub(3) {
            new = new.after(self.some_id());
        }
        new
    }

    fn some_id(&mut self) -> JobId {
        // The newest are the most interesting; most of the others have ended.
        let back = 1 + self.dice.roll(12) as usize;
        let index = self.ids.len().checked_sub(back);
        index.map_or_else(|| "nobody".parse().unwrap(), |index| self.ids[index].clone())
    }

    fn some_ids(&mut self) -> Vec<JobId> {
        let mut ids = vec![self.some_id()];
        let other = self.some_id();
        if self.dice.roll(3) == 0 && other != ids[0] {
            ids.push(other);
        }
        ids
    }

    fn some_time(&mut self) -> Duration {
        Duration::from_millis(self.dice.roll(20_000))
    }

    fn register(&mut self) {
        let lease = secs(10 + self.dice.roll(60));
        self.twins.both(format!("register for {lease:?}"), |twin| twin.register(lease));
        self.workers += 1;
    }

    /// A worker that can be alive.
    fn some_worker(&mut self) -> Option<usize> {
        let count = (self.workers - self.this_boot).min(5) as u64;
        (count > 0).then(|| self.workers - 1 - self.dice.roll(count) as usize)
    }

    fn deregister(&mut self) {
        if let Some(worker) = self.some_worker() {
            self.twins.both(format!("deregister {worker}"), |twin| twin.deregister(&[worker]));
        }
    }

    fn exchange(&mut self) {
        let settle: Vec<Settle> = (0..self.dice.roll(4)).filter_map(|_| self.some_end()).collect();
        let mut wanted = Vec::new();
        for _ in 0..1 + self.dice.roll(2) {
            if let Some(worker) = self.some_worker()
                && wanted.iter().all(|&(other, _)| other != worker)
            {
                wanted.push((worker, self.dice.roll(4) as usize));
            }
        }
        let queues = match self.dice.roll(4) {
            0 => Queues::Only(vec![name("mail")]),
            _ => Queues::All,
        };
        let text = format!("settle {settle:?}, claim {wanted:?} of {queues:?}");
        let (refused, claimed, _) =
            self.twins.both(text, |twin| twin.exchange(&settle, &wanted, &queues));
        if !refused.is_empty() {
            self.seen.insert("a refused lease".to_owned());
        }
        if claimed.iter().any(|job| job.contains("left Some")) {
            self.seen.insert("leftovers".to_owned());
        }
        self.claimed_at.resize(self.twins.lease_count(), self.t.now());
    }

    /// One of the newest leases, held or not.
    fn some_lease(&mut self) -> Option<usize> {
        let back = 1 + self.dice.roll(6) as usize;
        self.twins.lease_count().checked_sub(back)
    }

    fn some_end(&mut self) -> Option<Settle> {
        let lease = self.some_lease()?;
        let delay = self.some_time();
        let verdict = match self.dice.roll(13) {
            0..4 => Verdict::Complete { result: (self.dice.roll(2) == 0).then(|| json("[1]")) },
            4..9 => Verdict::Fail { retry_in: delay },
            9..11 => Verdict::Snooze { wake_in: delay },
            11 => Verdict::Release,
            _ if self.dice.roll(2) == 0 => Verdict::Die,
            _ => Verdict::Cancel,
        };
        Some(Settle {
            lease,
            verdict,
            started_at: self.claimed_at[lease],
            leftovers: self.dice.roll(4) == 0,
        })
    }

    fn renew(&mut self) {
        let renew = (self.dice.roll(2) == 0).then(|| secs(10 + self.dice.roll(60)));
        if let Some(worker) = self.some_worker() {
            let other = self.some_worker().unwrap_or(worker);
            let workers = if other == worker { vec![worker] } else { vec![worker, other] };
            let text = format!("orders of {workers:?}, renewing for {renew:?}");
            self.twins.both(text, |twin| twin.orders(&workers, renew));
        }
    }

    fn pass_time(&mut self) {
        let clock = self.t.clock();
        match self.dice.roll(12) {
            0 => {
                let step = self.dice.roll(200_000) as i64 - 100_000;
                clock.step_wall(step);
                self.twins.note(format!("the wall clock is set by {step} ms"));
            }
            1 => {
                clock.reboot();
                self.this_boot = self.workers;
                self.twins.note("the machine is restarted".to_owned());
            }
            _ => {
                let passed = self.some_time();
                clock.advance(passed);
                self.twins.note(format!("{passed:?} pass"));
            }
        }
    }

    /// Mostly one that can be retried: there are few of them among the newest.
    fn retry(&mut self) {
        let mut ids = self.some_ids();
        let fitting: Vec<_> = all_jobs(self.twins.tested())
            .into_iter()
            .filter(|job| job.state.is_terminal() || job.state == State::Failed)
            .collect();
        if self.dice.roll(4) > 0 && !fitting.is_empty() {
            ids = vec![fitting[self.dice.roll(fitting.len() as u64) as usize].id.clone()];
        }
        self.retried.extend(ids.iter().cloned());
        let done = self.twins.both(format!("retry {ids:?}"), |twin| twin.retry(&ids));
        if done.is_ok() {
            self.seen.insert("a retry by hand".to_owned());
        }
    }

    fn purge(&mut self) {
        let ids = self.some_ids();
        self.twins.both(format!("purge {ids:?}"), |twin| twin.purge(&ids)).ok();
    }

    fn retain(&mut self) {
        let setting = [Setting::RetentionCompleted, Setting::RetentionDead, Setting::MaxRetries]
            [self.dice.roll(3) as usize];
        let value = ["never", "5", "30"][self.dice.roll(3) as usize];
        let value = if setting == Setting::MaxRetries { "1" } else { value };
        self.twins.both(format!("set {setting} to {value}"), |twin| {
            twin.change_setting(setting, value);
        });
        self.twins.both("prune".to_owned(), |twin| twin.prune());
    }

    fn pause(&mut self) {
        let queue = name(["default", "mail"][self.dice.roll(2) as usize]);
        let paused = self.dice.roll(3) == 0;
        self.twins.both(format!("pause {queue}: {paused}"), |twin| twin.pause(&queue, paused));
    }

    fn progress(&mut self) {
        if let Some(lease) = self.some_lease() {
            let value = json(&self.dice.roll(100).to_string());
            self.twins
                .both(format!("progress of lease {lease}"), |twin| twin.progress(lease, &value));
        }
    }

    fn stop(&mut self) {
        if let Some(worker) = self.some_worker() {
            let mode =
                [StopMode::Finish, StopMode::Grace, StopMode::Now][self.dice.roll(3) as usize];
            self.twins
                .both(format!("stop {worker}: {mode:?}"), |twin| twin.stop(worker, mode))
                .ok();
        }
    }

    /// What must hold of the store by itself, so that a mistake which the reference shares is found
    /// all the same.
    fn check_accounts(&mut self) {
        let store = self.twins.tested();
        let workers = store.workers().unwrap();
        let mut living_keys = HashSet::new();
        for job in all_jobs(store) {
            let attempts = store.attempts(job.key).unwrap();
            self.seen.insert(job.state.to_string());
            let causes: Vec<_> = attempts
                .iter()
                .map(|attempt| attempt.report.as_ref().map(|report| report.cause))
                .collect();
            self.seen.extend(causes.iter().flatten().map(Cause::to_string));
            // Claims that never began leave no record, so numbers may be missing.
            let numbers: Vec<_> = attempts.iter().map(|one| one.token.0).collect();
            assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
            assert!(numbers.last().is_none_or(|last| *last <= job.token.0), "{numbers:?}");
            assert!(job.attempts <= job.max_attempts, "{job:?}");
            let running = causes.iter().filter(|cause| cause.is_none()).count();
            assert_eq!(running, usize::from(job.state == State::Processing));
            let holders =
                workers.iter().filter(|worker| worker.running.iter().any(|(id, _)| *id == job.id));
            assert_eq!(holders.count(), running, "one holder, and registered: {job:?}");
            assert_eq!(job.finished_at.is_some(), job.state.is_terminal());
            if let Some(key) = &job.unique_key
                && !job.state.is_terminal()
            {
                assert!(living_keys.insert(key.clone()), "two living jobs have {key}");
            }
            if self.retried.contains(&job.id) {
                continue;
            }
            // Within one generation: every claim is spent unless it was given back, and an execution
            // after the first follows one that did not succeed.
            let given_back = [Some(Cause::Interrupted), Some(Cause::Snoozed)];
            let spent = causes.iter().filter(|cause| !given_back.contains(cause)).count();
            if job.cancel_reason.is_none() {
                assert_eq!(job.attempts as usize, spent, "{job:?} {causes:?}");
            }
            let successes = causes.iter().filter(|cause| **cause == Some(Cause::Succeeded));
            assert_eq!(successes.count(), usize::from(job.state == State::Completed));
            if job.state == State::Dead {
                assert!(!attempts.is_empty(), "nothing dies untried");
            }
        }
    }
}
