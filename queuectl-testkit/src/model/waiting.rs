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
    fn parent(&self, job: &Job, parent: u32, on: Condition) -> Parent {
        use Condition::{End, Failure, Success};
        match (self.jobs[&parent].state, on) {
            (State::Completed, Success | End) => Parent::Met,
            (State::Completed, Failure) => Parent::Lost,
            (State::Dead | State::Cancelled, Failure | End) => Parent::Met,
            (State::Dead | State::Cancelled, Success) if job.otherwise != Otherwise::Wait => {
                Parent::Lost
            }
            _ => Parent::Open,
        }
    }

    fn parents(&self, job: &Job) -> Vec<(u32, Condition, Parent)> {
        let parents = job.waits_for.iter();
        parents.map(|(&parent, &on)| (parent, on, self.parent(job, parent, on))).collect()
    }

    /// The parents that may still end as a blocked job waits for.
    pub(super) fn still_waits_for(&self, job: &Job) -> Vec<(u32, Condition)> {
        let parents = self.parents(job).into_iter();
        parents.filter(|one| one.2 == Parent::Open).map(|(parent, on, _)| (parent, on)).collect()
    }

    /// Whether a job is given up by one that waits for it or others.
    pub(super) fn is_lost_for_somebody(&self, parent: u32) -> bool {
        self.jobs.values().filter(|job| job.state == State::Blocked).any(|job| {
            let on = job.waits_for.get(&parent);
            on.is_some_and(|on| self.parent(job, parent, *on) == Parent::Lost)
        })
    }

    /// Does what the ends of jobs have decided for those that wait for them.
    pub(super) fn see_to_dependents(&mut self) {
        let blocked = |world: &World| -> Vec<u32> {
            let blocked = world.jobs.iter().filter(|(_, job)| job.state == State::Blocked);
            blocked.map(|(number, _)| *number).collect()
        };
        while blocked(self).into_iter().any(|number| self.see_to(number)) {}
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
        let retried = |one: &(u32, _, _)| {
            one.2 == Parent::Open
                && matches!(self.jobs[&one.0].state, State::Dead | State::Cancelled)
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
        } else if ends {
            job.reason = Some(Reason::ParentEnded);
            job.end(State::Cancelled, wall);
            self.events.insert("a job cancelled by a parent's end");
        } else {
            // What has once been met stays so, and so does what did not matter. Where any one is
            // enough, a retry makes a parent count again.
            for (parent, _, what) in &parents {
                if counts(*what) && needs == Needs::All {
                    job.waits_for.remove(parent);
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
