//! Weights of queues: changing them, and whose turn it is among jobs of one priority.
//!
//! Stride scheduling: whoever is furthest behind is next, and comes on by the stride of its weight. How far
//! each queue has come is in its row, so all processes take turns together.

use std::collections::VecDeque;

use rusqlite::Connection;

use super::catalogue::Lane;
use super::row;
use super::transaction::Tx;
use crate::id::Name;
use crate::limits::Weight;
use crate::store::StoreError;

/// Where all are set back, long before the numbers end.
const FAR: i64 = 1 << 62;

pub(super) fn change(
    tx: &mut Tx<'_>,
    queue: &Name,
    weight: Option<Weight>,
) -> Result<(), StoreError> {
    let number = tx.queue_of(queue)?.number;
    tx.execute(
        "UPDATE queuectl_queue SET weight = ?2, pass = (SELECT turn FROM queuectl_meta)
         WHERE queue = ?1",
        (number, weight.map(Weight::get)),
    )?;
    tx.raise_epoch()?;
    tx.reload_catalogue()
}

/// Whether a queue has a weight; a read.
pub(super) fn is_any(connection: &Connection) -> Result<bool, StoreError> {
    let mut weighed =
        connection.prepare_cached("SELECT 1 FROM queuectl_queue WHERE weight IS NOT NULL")?;
    Ok(weighed.exists([])?)
}

/// Jobs of several queues, each with what it takes to find whose turn it is.
pub(super) struct Turns {
    turn: i64,
    queues: Vec<Standing>,
    now: i64,
    aging: Option<i64>,
}

/// A queue that has jobs to give.
struct Standing {
    queue: i64,
    stride: i64,
    pass: i64,
    /// It was given a job.
    moved: bool,
    /// The ranks of its jobs, in order, and their places in the order without weights.
    jobs: VecDeque<(i64, usize)>,
}

impl Turns {
    pub(super) fn of(tx: &Tx<'_>) -> Result<Self, StoreError> {
        let turn = tx.prepare("SELECT turn FROM queuectl_meta")?.query_row([], |row| row.get(0))?;
        let aging = tx.catalogue.settings().aging.map(row::millis);
        Ok(Turns { turn, queues: Vec::new(), now: tx.now.as_millis(), aging })
    }

    /// Adds a job, which without weights would come behind those that were added before.
    pub(super) fn add(
        &mut self,
        tx: &Tx<'_>,
        lane: &Lane,
        rank: i64,
        place: usize,
    ) -> Result<(), StoreError> {
        if let Some(standing) = self.queues.iter_mut().find(|one| one.queue == lane.number) {
            standing.jobs.push_back((rank, place));
            return Ok(());
        }
        let pass = tx
            .prepare("SELECT pass FROM queuectl_queue WHERE queue = ?1")?
            .query_row([lane.number], |row| row.get(0))?;
        self.queues.push(Standing {
            queue: lane.number,
            stride: lane.weight.unwrap_or_default().stride(),
            pass,
            moved: false,
            jobs: VecDeque::from([(rank, place)]),
        });
        Ok(())
    }

    /// The place of the job whose turn it is. That it is given is to be said.
    pub(super) fn next(&mut self) -> Option<usize> {
        let (turn, now, aging) = (self.turn, self.now, self.aging);
        // The priority, or with ageing how many steps of it have passed, the highest first.
        let level = |rank: i64| aging.map_or(rank, |aging| -(now - rank).div_euclid(aging));
        let waiting = self.queues.iter_mut().filter_map(|one| {
            let &(rank, place) = one.jobs.front()?;
            Some(((level(rank), one.pass.max(turn), place), one))
        });
        let (_, next) = waiting.min_by_key(|(order, _)| *order)?;
        next.jobs.pop_front().map(|(_, place)| place)
    }

    /// A job of the queue is given.
    pub(super) fn given(&mut self, queue: i64) {
        if let Some(one) = self.queues.iter_mut().find(|one| one.queue == queue) {
            self.turn = one.pass.max(self.turn);
            (one.pass, one.moved) = (self.turn + one.stride, true);
        }
    }

    /// Writes down how far each has come.
    pub(super) fn note(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        let moved: Vec<_> = self.queues.iter().filter(|one| one.moved).collect();
        if moved.is_empty() {
            return Ok(());
        }
        let mut come = tx.prepare("UPDATE queuectl_queue SET pass = ?2 WHERE queue = ?1")?;
        for Standing { queue, pass, .. } in moved {
            come.execute((queue, pass))?;
        }
        let turn = if self.turn < FAR {
            self.turn
        } else {
            tx.execute("UPDATE queuectl_queue SET pass = max(pass - ?1, 0)", [self.turn])?;
            0
        };
        tx.execute("UPDATE queuectl_meta SET turn = ?1", [turn])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::job::NewJob;
    use crate::sqlite::{SqliteOptions, SqliteStore};
    use crate::store::{ClaimRequest, Queues, Registration, Store};

    /// After so many claims that the numbers would end, all go on from where they stand.
    #[test]
    fn turns_go_on_when_the_numbers_have_gone_far() {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteOptions { create: true, ..SqliteOptions::default() };
        let store = SqliteStore::open(folder.path().join("queue.db"), options).unwrap();
        let [a, b] = ["a", "b"].map(|queue| Name::new(queue).unwrap());
        for queue in [&a, &b] {
            let job = NewJob::new("k", &()).unwrap().queue(queue.as_str()).unwrap();
            store.enqueue(&vec![job; 40]).unwrap();
        }
        store.weigh(&b, Weight::new(3).ok()).unwrap();
        let file = Connection::open(store.path()).unwrap();
        file.execute("UPDATE queuectl_meta SET turn = ?1", [FAR - 1]).unwrap();
        let stand = "UPDATE queuectl_queue SET pass = ?1 + (name = 'b')";
        file.execute(stand, [FAR - 1]).unwrap();
        let lease = Duration::from_secs(30);
        let workers = store.register(&Registration { workers: 1, lease, log: None }).unwrap();
        let request = ClaimRequest {
            workers: &[(workers[0], 1)],
            queues: &Queues::All,
            kinds: &[Name::new("k").unwrap()],
        };
        let mut given = Vec::new();
        for _ in 0..20 {
            given.extend(store.exchange(&[], Some(&request)).unwrap().claimed);
        }
        let of_a = given.iter().filter(|job| job.queue == a).count();
        assert_eq!((of_a, given.len()), (5, 20));
        let turn: i64 =
            file.query_row("SELECT turn FROM queuectl_meta", [], |row| row.get(0)).unwrap();
        assert!(turn < FAR / 2, "{turn}");
    }
}
