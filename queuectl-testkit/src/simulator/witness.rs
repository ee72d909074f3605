//! Who runs what, seen from outside of every store: it believes nobody's records.

use std::collections::{BTreeMap, HashMap, HashSet};

use queuectl_core::{Claimed, JobKey, Name, Token};

use super::tally::Tally;

/// What runs, and what has been left running.
#[derive(Debug, Default)]
pub(super) struct Witness {
    running: BTreeMap<JobKey, Vec<Execution>>,
    /// What attempts have left that nobody has ended yet.
    orphans: HashMap<JobKey, Vec<Token>>,
    /// Orphans of attempts that have ended and said so: the job's next claim hears of them.
    told: HashSet<(JobKey, Token)>,
    newest: HashMap<JobKey, Token>,
    paused: HashSet<Name>,
}

/// One execution of a job.
#[derive(Debug)]
struct Execution {
    process: usize,
    token: Token,
    /// Its process is stopped, and cannot tell it that its time is over.
    stopped: bool,
    /// Its process was stopped until others may have begun the job.
    stale: bool,
    /// A handler that does not listen when it is told to end. Nothing can be promised of it, but that
    /// its result does not count.
    deaf: bool,
}

impl Witness {
    /// A claim was answered, or would have been, had its process lived.
    pub(super) fn claimed(&mut self, job: &Claimed, kinds: &[Name]) {
        let Claimed { lease, id, .. } = job;
        assert!(
            self.newest.insert(lease.key, lease.token).is_none_or(|last| last < lease.token),
            "{id} was claimed twice with token {}",
            lease.token.0
        );
        assert!(job.attempt >= 1 && job.attempt <= job.max_attempts, "{id}: one attempt too many");
        assert!(!self.paused.contains(&job.queue), "{id} was claimed from a paused queue");
        assert!(kinds.contains(&job.kind), "{id} was claimed by a worker that cannot run it");
    }

    /// An order to pause or to resume was acknowledged.
    pub(super) fn paused(&mut self, queue: &Name, paused: bool) {
        if paused {
            self.paused.insert(queue.clone());
        } else {
            self.paused.remove(queue);
        }
    }

    /// It is not known whether an order about this queue was carried out.
    pub(super) fn unsure_of(&mut self, queue: &Name) {
        self.paused.remove(queue);
    }

    /// An attempt begins, after what is named to it of earlier ones has been ended.
    pub(super) fn begins(&mut self, process: usize, job: &Claimed, deaf: bool, tally: &mut Tally) {
        let key = job.lease.key;
        if let Some(orphans) = self.orphans.remove(&key) {
            for orphan in orphans {
                assert!(
                    job.lost_from.is_some_and(|from| from <= orphan),
                    "{} begins with token {} while something of token {} is left, and is told of \
                     {:?} only",
                    job.id,
                    job.lease.token.0,
                    orphan.0,
                    job.lost_from
                );
                tally.count("an orphan ended before the next attempt");
            }
        }
        let running = self.running.entry(key).or_default();
        for other in running.iter() {
            assert!(
                other.stopped || other.stale || other.deaf,
                "{} runs twice at once: with token {} in process {}, and now with token {} in \
                 process {process}",
                job.id,
                other.token.0,
                other.process,
                job.lease.token.0
            );
        }
        let token = job.lease.token;
        running.push(Execution { process, token, stopped: false, stale: false, deaf });
    }

    /// An attempt has ended; what it left runs on.
    pub(super) fn ends(&mut self, process: usize, job: &Claimed, leaves: bool) {
        if leaves {
            self.told.insert((job.lease.key, job.lease.token));
        }
        self.leaves(process, job, leaves);
    }

    /// An attempt has died with its process; what it left runs on.
    pub(super) fn dies(&mut self, process: usize, job: &Claimed, leaves: bool) {
        self.leaves(process, job, leaves);
    }

    fn leaves(&mut self, process: usize, job: &Claimed, leaves: bool) {
        let ended = self.remove(process, job.lease.key, job.lease.token);
        // Whoever runs the job by now has ended the leftovers of a stale attempt before.
        let counts = |one: Execution| !one.stopped && !one.stale && !one.deaf;
        if leaves && ended.is_some_and(counts) {
            self.orphans.entry(job.lease.key).or_default().push(job.lease.token);
        }
    }

    fn remove(&mut self, process: usize, key: JobKey, token: Token) -> Option<Execution> {
        let running = self.running.get_mut(&key)?;
        let index = running.iter().position(|one| (one.process, one.token) == (process, token))?;
        let ended = running.swap_remove(index);
        if running.is_empty() {
            self.running.remove(&key);
        }
        Some(ended)
    }

    /// A whole process is stopped.
    pub(super) fn stopped(&mut self, process: usize) {
        for execution in self.of(process) {
            execution.stopped = true;
        }
    }

    /// It goes on, in time or after others may have begun what it runs. Time that was lost once is not
    /// made up for by going on in time after another stop.
    pub(super) fn goes_on(&mut self, process: usize, in_time: bool) {
        for execution in self.of(process) {
            execution.stopped = false;
            execution.stale |= !in_time;
        }
    }

    fn of(&mut self, process: usize) -> impl Iterator<Item = &mut Execution> {
        self.running.values_mut().flatten().filter(move |one| one.process == process)
    }

    /// A rescuer ends what the attempts of a job have left that will not run again.
    pub(super) fn cleaned(&mut self, key: JobKey, from: Token, up_to: Token) {
        if let Some(orphans) = self.orphans.get_mut(&key) {
            orphans.retain(|&orphan| orphan < from || orphan > up_to);
            if orphans.is_empty() {
                self.orphans.remove(&key);
            }
        }
    }

    /// What dead workers have left of jobs that are over, and that nobody has ended.
    pub(super) fn forgotten(&self) -> Vec<(JobKey, Token)> {
        let left = self.orphans.iter().flat_map(|(key, all)| all.iter().map(|one| (*key, *one)));
        left.filter(|one| !self.told.contains(one)).collect()
    }

    /// The machine was restarted: nothing runs.
    pub(super) fn restarted(&mut self) {
        self.running.clear();
        self.orphans.clear();
    }
}
