//! What every transaction needs to know and few change: queues, lanes, policies, settings, the boot id.
//!
//! A copy is kept in memory and is good as long as `queuectl_meta.epoch` has not moved. The epoch is
//! read in each transaction, so a change by another process holds for the very next one.

use std::collections::{BTreeMap, HashMap};

use rusqlite::Connection;

use super::unfinished::{self, Unfinished};
use super::{expiry, limit, line, policy, row, schedule, weight};
use crate::clock::BootId;
use crate::id::Name;
use crate::limits::{QueueLimits, Weight};
use crate::policy::Policy;
use crate::settings::{Setting, Settings};
use crate::store::StoreError;

#[derive(Debug, Default)]
pub(super) struct Catalogue {
    epoch: Option<i64>,
    boot_id: Option<BootId>,
    lanes: Vec<Lane>,
    by_name: HashMap<(Name, Name), usize>,
    policies: BTreeMap<Name, Policy>,
    /// A queue has a weight.
    weighed: bool,
    settings: Settings,
    unfinished: Unfinished,
}

/// The jobs of one queue and one kind, with what holds for the queue.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    pub(super) lane: i64,
    pub(super) number: i64,
    pub(super) queue: Name,
    pub(super) kind: Name,
    pub(super) paused: bool,
    pub(super) limits: QueueLimits,
    pub(super) weight: Option<Weight>,
}

impl Catalogue {
    /// Reads everything again if another process has changed something, and starts anew after a
    /// restart of the machine.
    pub(super) fn refresh(
        &mut self,
        connection: &Connection,
        boot_id: &BootId,
    ) -> Result<(), StoreError> {
        let mut meta = connection.prepare_cached("SELECT epoch, boot_id FROM queuectl_meta")?;
        let (epoch, known_boot): (i64, String) =
            meta.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if known_boot != boot_id.as_str() {
            after_boot(connection, boot_id)?;
            limit::after_boot(connection)?;
        }
        if self.epoch != Some(epoch) {
            self.reload(connection)?;
        }
        self.boot_id = Some(boot_id.clone());
        Ok(())
    }

    pub(super) fn reload(&mut self, connection: &Connection) -> Result<(), StoreError> {
        self.epoch = None;
        self.lanes = read_lanes(connection)?;
        self.by_name = self
            .lanes
            .iter()
            .enumerate()
            .map(|(index, lane)| ((lane.queue.clone(), lane.kind.clone()), index))
            .collect();
        self.policies = policy::read(connection)?;
        self.weighed = weight::is_any(connection)?;
        self.settings = read_settings(connection)?;
        self.unfinished = unfinished::read(connection)?;
        let epoch =
            connection.query_row("SELECT epoch FROM queuectl_meta", [], |row| row.get(0))?;
        self.epoch = Some(epoch);
        Ok(())
    }

    /// The number of a lane that there is.
    pub(super) fn lane(&self, queue: &Name, kind: &Name) -> Option<i64> {
        // Nearly every job is of one of the first lanes; a map of two names costs two hashes.
        let fits = |lane: &&Lane| lane.queue == *queue && lane.kind == *kind;
        if let Some(lane) = self.lanes.iter().take(4).find(fits) {
            return Some(lane.lane);
        }
        let index = self.by_name.get(&(queue.clone(), kind.clone()))?;
        self.lanes.get(*index).map(|lane| lane.lane)
    }

    pub(super) fn weighed(&self) -> bool {
        self.weighed
    }

    /// The policy of a kind, if it has one.
    pub(super) fn policy(&self, kind: &Name) -> Option<&Policy> {
        // Mostly there is none of any kind.
        if self.policies.is_empty() { None } else { self.policies.get(kind) }
    }

    /// Adds a lane that this transaction has made.
    pub(super) fn add(&mut self, lane: Lane) {
        self.by_name.insert((lane.queue.clone(), lane.kind.clone()), self.lanes.len());
        self.lanes.push(lane);
    }

    /// This transaction has raised the epoch, and the copy has all that it changed.
    pub(super) fn raised(&mut self, epoch: i64) {
        self.epoch = Some(epoch);
    }

    /// Which state of the catalogue this is; `None` if it has to be read again.
    pub(super) fn epoch(&self) -> Option<i64> {
        self.epoch
    }

    /// The copy is good no longer.
    pub(super) fn forget(&mut self) {
        self.epoch = None;
    }

    pub(super) fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What earlier transactions have left to be done.
    pub(super) fn unfinished(&self) -> Unfinished {
        self.unfinished
    }

    pub(super) fn boot_id(&self) -> &str {
        self.boot_id.as_ref().map_or("", BootId::as_str)
    }
}

/// The boot clock has begun again: delays that it measured fall back to the wall clock. Leases carry
/// the boot id of their worker and are dead by it.
fn after_boot(connection: &Connection, boot_id: &BootId) -> Result<(), StoreError> {
    line::after_boot(connection)?;
    expiry::after_boot(connection)?;
    schedule::after_boot(connection)?;
    // By index: among ten million completed jobs there is nothing to look for.
    connection.execute(
        "UPDATE queuectl_job INDEXED BY queuectl_job_notable SET run_boot = NULL
         WHERE (state = 1 OR state > 3) AND state = 1 AND run_boot > 0",
        [],
    )?;
    connection.execute("UPDATE queuectl_meta SET boot_id = ?1", [boot_id.as_str()])?;
    Ok(())
}

fn read_lanes(connection: &Connection) -> Result<Vec<Lane>, StoreError> {
    let mut lanes = connection.prepare_cached(
        "SELECT lane, queue, queuectl_queue.name, kind, paused, concurrency, per_key, rate_starts,
                rate_period_ms, weight
         FROM queuectl_lane JOIN queuectl_queue USING (queue) ORDER BY lane",
    )?;
    let lanes = lanes.query_map([], |row| {
        Ok(Lane {
            lane: row.get(0)?,
            number: row.get(1)?,
            queue: row::name(row, 2)?,
            kind: row::name(row, 3)?,
            paused: row.get(4)?,
            limits: row::limits(row, 5)?,
            weight: row::optional_weight(row, 9)?,
        })
    })?;
    Ok(lanes.collect::<Result<_, _>>()?)
}

/// The settings of a store. A value that this version does not understand is left at its default
/// rather than making the store unusable.
pub(super) fn read_settings(connection: &Connection) -> Result<Settings, StoreError> {
    let mut stored = connection.prepare_cached("SELECT name, value FROM queuectl_setting")?;
    let mut rows = stored.query([])?;
    let mut settings = Settings::default();
    while let Some(row) = rows.next()? {
        let (name, value): (String, String) = (row.get(0)?, row.get(1)?);
        if let Ok(setting) = name.parse::<Setting>() {
            let _ = settings.set(setting, &value);
        }
    }
    Ok(settings)
}
