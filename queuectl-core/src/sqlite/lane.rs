//! Queues and lanes as a transaction makes them: by their first use.

use rusqlite::OptionalExtension;

use super::catalogue::Lane;
use super::row;
use super::transaction::Tx;
use crate::id::Name;
use crate::limits::{QueueLimits, Weight};
use crate::state::State;
use crate::store::StoreError;

/// A queue as it stands in its row.
pub(super) struct Queue {
    pub(super) number: i64,
    pub(super) paused: bool,
    pub(super) limits: QueueLimits,
    pub(super) weight: Option<Weight>,
}

impl Tx<'_> {
    /// The lane of a queue and kind, made if it is new.
    pub(super) fn lane_of(&mut self, queue: &Name, kind: &Name) -> Result<i64, StoreError> {
        if let Some(lane) = self.catalogue.lane(queue, kind) {
            return Ok(lane);
        }
        let Queue { number, paused, limits, weight } = self.queue_of(queue)?;
        self.execute(
            "INSERT INTO queuectl_lane (queue, kind) VALUES (?1, ?2)",
            (number, kind.as_str()),
        )?;
        let lane = self.last_key();
        for state in State::ALL {
            self.execute(
                "INSERT INTO queuectl_count (lane, state, n) VALUES (?1, ?2, 0)",
                (lane, row::code(state)),
            )?;
        }
        let (queue, kind) = (queue.clone(), kind.clone());
        self.catalogue.add(Lane { lane, number, queue, kind, paused, limits, weight });
        self.raise_epoch()?;
        Ok(lane)
    }

    /// The kind of the jobs of a lane.
    pub(super) fn kind_of(&self, lane: i64) -> Result<Name, StoreError> {
        let lane = self.catalogue.lanes().iter().find(|one| one.lane == lane);
        lane.map(|lane| lane.kind.clone()).ok_or_else(StoreError::abandoned)
    }

    /// A queue, made if it is new.
    pub(super) fn queue_of(&mut self, queue: &Name) -> Result<Queue, StoreError> {
        let found = self
            .prepare(
                "SELECT queue, paused, concurrency, per_key, rate_starts, rate_period_ms, weight
                 FROM queuectl_queue WHERE name = ?1",
            )?
            .query_row([queue.as_str()], |row| {
                let limits = row::limits(row, 2)?;
                let weight = row::optional_weight(row, 6)?;
                Ok(Queue { number: row.get(0)?, paused: row.get(1)?, limits, weight })
            })
            .optional()?;
        if let Some(found) = found {
            return Ok(found);
        }
        self.execute("INSERT INTO queuectl_queue (name) VALUES (?1)", [queue.as_str()])?;
        let (number, limits) = (self.last_key(), QueueLimits::default());
        Ok(Queue { number, paused: false, limits, weight: None })
    }

    /// Tells every process that its copy of the catalogue is old. This transaction's own copy holds
    /// the change already, or is forgotten by whoever changed more than it says.
    pub(super) fn raise_epoch(&mut self) -> Result<(), StoreError> {
        let epoch = self
            .prepare("UPDATE queuectl_meta SET epoch = epoch + 1 RETURNING epoch")?
            .query_row([], |row| row.get(0))?;
        self.catalogue.raised(epoch);
        Ok(())
    }
}
