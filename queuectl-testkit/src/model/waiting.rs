//! The model's dependencies: after each end of a job, whatever its parents have decided of a blocked
//! job happens, until nothing more does.

use queuectl_core::{Condition, Needs, Otherwise, State};

use super::seen::Reason;
use super::world::{Due, Job, World};

/// What a parent means for a job that waits for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parent {
    /// It has ended as the job waits for.
    Met,
    /// It may still.
    Open,
    /// It has not, and is given up.
    Lost,
}

impl World {
    fn parent(job: &Job, state: State, on: Condition) -> Parent {
        use Condition::{End, Failure, Success};
        match (state, on) {
            (State::Completed, Success | End) => Parent::Met,
            (State::Completed, Failure) => Parent::Lost,
            (State::Dead | State::Cancelled, Failure | End) => Parent::Met,
            (State::Dead | State::Cancelled, Success) if job.otherwise != Otherwise::Wait => {
                Parent::Lost
            }
            _ => Parent::Open,
        }
    }

    /// Its parents: jobs by their numbers, and batches.
    fn parents(&self, job: &Job) -> Vec<(Result<u32, usize>, Condition, Parent)> {
        let jobs = job.waits_for.iter().map(|(&parent, &on)| {
            (Ok(parent), on, World::parent(job, self.jobs[&parent].state, on))
        });
        let batches = job.waits_for_batches.iter().map(|(&batch, &on)| {
            (Err(batch), on, World::parent(job, self.state_of_batch(batch), on))
        });
        jobs.chain(batches).collect()
    }

    pub(super) fn still_waits_for_batches(&self, job: &Job) -> Vec<(usize, Condition)> {
        let parents = self.parents(job).into_iter();
        let open = parents.filter(|one| one.2 == Parent::Open);
        open.filter_map(|(parent, on, _)| Some((parent.err()?, on))).collect()
    }

    /// The parents that may still end as a blocked job waits for.
    pub(super) fn still_waits_for(&self, job: &Job) -> Vec<(u32, Condition)> {
        let parents = self.parents(job).into_iter();
        let open = parents.filter(|one| one.2 == Parent::Open);
        open.filter_map(|(parent, on, _)| Some((parent.ok()?, on))).collect()
    }

    /// Whether a job is given up by one that waits for it or others.
    pub(super) fn is_lost_for_somebody(&self, parent: u32) -> bool {
        self.jobs.values().filter(|job| job.state == State::Blocked).any(|job| {
            let on = job.waits_for.get(&parent);
            let state = self.jobs[&parent].state;
            on.is_some_and(|on| World::parent(job, state, *on) == Parent::Lost)
        })
    }

    /// Does what the ends of jobs have decided for those that wait for them.
    pub(super) fn see_to_dependents(&mut self) {
        let blocked = |world: &World| -> Vec<u32> {
            let blocked = world.jobs.iter().filter(|(_, job)| job.state == State::Blocked);
            blocked.map(|(number, _)| *number).collect()
        };
        self.batches_end();
        while blocked(self).into_iter().any(|number| self.see_to(number)) {
            self.batches_end();
        }
    }

    /// Whether a blocked job is blocked no more.
    fn see_to(&mut self, number: u32) -> bool {
        let job = &self.jobs[&number];
        let (needs, runs) = (job.needs, job.otherwise == Otherwise::Run);
        let parents = self.parents(job);
        let has = |wanted| parents.iter().any(|one| one.2 == wanted);
        let all_lost = parents.iter().all(|one| one.2 == Parent::Lost);
        let counts = |what| what == Parent::Met || (what == Parent::Lost && runs);
        let (free, ends) = match needs {
            Needs::All => (parents.iter().all(|one| counts(one.2)), has(Parent::Lost) && !runs),
            Needs::Any => (has(Parent::Met) || (all_lost && runs), all_lost && !runs),
        };
        let waits = self.wait(job).is_some();
        let wall = self.wall;
        if free {
            self.events.insert("an unblocked job");
            if parents.iter().any(|one| one.1 == Condition::Failure && one.2 == Parent::Met) {
                self.events.insert("a job freed by a parent's failure");
            }
            if needs == Needs::Any && has(Parent::Open) {
                self.events.insert("a job freed by one of several");
            }
            if has(Parent::Lost) && runs {
                self.events.insert("a job that ran all the same");
            }
        }
        let retried = |one: &(Result<u32, usize>, _, _)| {
            one.2 == Parent::Open
                && one.0.is_ok_and(|job| {
                    matches!(self.jobs[&job].state, State::Dead | State::Cancelled)
                })
        };
        if parents.iter().any(retried) && !free && !ends {
            self.events.insert("a job that waits for a retry");
        }
        let Some(job) = self.jobs.get_mut(&number) else {
            return false;
        };
        if free {
            job.state = State::Pending;
            job.due = if waits { job.due } else { Due::Reached };
            job.waits_for.clear();
            job.waits_for_batches.clear();
        } else if ends {
            job.reason = Some(Reason::ParentEnded);
            job.end(State::Cancelled, wall);
            self.events.insert("a job cancelled by a parent's end");
        } else {
            // What has once been met stays so, and so does what did not matter. Where any one is
            // enough, a retry makes a parent count again.
            for (parent, _, what) in &parents {
                if counts(*what) && needs == Needs::All {
                    match parent {
                        Ok(parent) => drop(job.waits_for.remove(parent)),
                        Err(batch) => drop(job.waits_for_batches.remove(batch)),
                    }
                }
            }
        }
        free || ends
    }

    /// What waits for a job that is gone has only the others left, if any one of them is enough.
    pub(super) fn parent_deleted(&mut self, deleted: u32) {
        let waiting: Vec<u32> = self
            .jobs
            .iter_mut()
            .filter_map(|(number, job)| job.waits_for.remove(&deleted).map(|_| *number))
            .collect();
        self.wait_for_the_others(waiting);
    }

    /// Of what these jobs waited for, something was deleted.
    pub(super) fn wait_for_the_others(&mut self, waiting: Vec<u32>) {
        for number in waiting {
            let job = &self.jobs[&number];
            let lost = self.parents(job).iter().all(|one| one.2 == Parent::Lost);
            let wall = self.wall;
            if let Some(job) =
                self.jobs.get_mut(&number).filter(|job| job.needs == Needs::All || lost)
            {
                job.reason = Some(Reason::ParentDeleted);
                job.end(State::Cancelled, wall);
                self.events.insert("a parent that was deleted");
            }
        }
        self.see_to_dependents();
    }
}
