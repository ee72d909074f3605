//! Weights of queues, and whose turn it is.

use queuectl_core::{JobKey, Name, Weight};

use super::data::{Data, Now};

impl Data {
    pub(super) fn weigh(&mut self, queue: &Name, weight: Option<Weight>) {
        let queue = self.queues.entry(queue.clone()).or_default();
        (queue.weight, queue.pass) = (weight, self.turn);
    }

    fn shares(&self) -> bool {
        self.queues.values().any(|queue| queue.weight.is_some())
    }

    /// Which of the jobs that fit is next: they are in order.
    pub(super) fn next(&self, fitting: &[(i128, JobKey)], now: &Now) -> Option<usize> {
        if !self.shares() {
            return (!fitting.is_empty()).then_some(0);
        }
        let level = |rank: i128| match self.settings.aging {
            None => rank,
            Some(aging) => {
                let waited = i128::from(now.wall.as_millis()) - rank;
                -waited.div_euclid(aging.as_millis() as i128)
            }
        };
        let place = |&(index, &(rank, key)): &(usize, &(i128, JobKey))| {
            let queue = self.queues.get(&self.jobs[&key].job.queue);
            let pass = queue.map_or(0, |queue| queue.pass);
            (level(rank), pass.max(self.turn), index)
        };
        fitting.iter().enumerate().min_by_key(place).map(|(index, _)| index)
    }

    /// A job of the queue was given to somebody.
    pub(super) fn given(&mut self, queue: &Name) {
        if self.shares()
            && let Some(queue) = self.queues.get_mut(queue)
        {
            self.turn = self.turn.max(queue.pass);
            queue.pass = self.turn + queue.weight.unwrap_or_default().stride();
        }
    }
}
