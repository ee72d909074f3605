//! Queues and lanes as a transaction makes them: by their first use.

use rusqlite::OptionalExtension;

use super::catalogue::Lane;
use super::row;
use super::transaction::Tx;
use crate::id::Name;
use crate::state::State;
use crate::store::StoreError;

impl Tx<'_> {
    /// The lane of a queue and kind, made if it is new.
    pub(super) fn lane_of(&mut self, queue: &Name, kind: &Name) -> Result<i64, StoreError> {
        if let Some(lane) = self.catalogue.lane(queue, kind) {
            return Ok(lane);
        }
        let (number, paused) = self.queue_of(queue)?;
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
        self.catalogue.add(Lane { lane, queue: queue.clone(), kind: kind.clone(), paused });
        self.raise_epoch()?;
        Ok(lane)
    }

    /// The number of a queue, made if it is new, and whether it is paused.
    pub(super) fn queue_of(&mut self, queue: &Name) -> Result<(i64, bool), StoreError> {
        let found = self
            .prepare("SELECT queue, paused FROM queuectl_queue WHERE name = ?1")?
            .query_row([queue.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        if let Some(found) = found {
            return Ok(found);
        }
        self.execute("INSERT INTO queuectl_queue (name) VALUES (?1)", [queue.as_str()])?;
        Ok((self.last_key(), false))
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
