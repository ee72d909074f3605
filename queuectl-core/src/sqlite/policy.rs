//! The policies of kinds: as they stand in their rows, and changing them.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::row;
use super::transaction::Tx;
use crate::id::Name;
use crate::policy::{Policy, Rule};
use crate::store::StoreError;

pub(super) fn change(tx: &mut Tx<'_>, kind: &Name, rules: &[Rule]) -> Result<Policy, StoreError> {
    let mut policy = tx.catalogue.policy(kind).cloned().unwrap_or_default();
    rules.iter().for_each(|rule| policy.set(rule.clone()));
    if policy == Policy::default() {
        tx.execute("DELETE FROM queuectl_policy WHERE kind = ?1", [kind.as_str()])?;
    } else {
        tx.execute(
            "INSERT OR REPLACE INTO queuectl_policy
                 (kind, max_retries, max_crashes, timeout_ms, backoff)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                kind.as_str(),
                policy.max_retries,
                policy.max_crashes.map(u32::from),
                policy.timeout.map(row::millis),
                policy.backoff.as_ref().map(ToString::to_string),
            ],
        )?;
    }
    tx.raise_epoch()?;
    tx.reload_catalogue()?;
    Ok(tx.catalogue.policy(kind).cloned().unwrap_or_default())
}

/// All of them. A backoff that this version does not understand is left to the settings rather than
/// making the store unusable.
pub(super) fn read(connection: &Connection) -> Result<BTreeMap<Name, Policy>, StoreError> {
    let mut policies = connection.prepare_cached(
        "SELECT kind, max_retries, max_crashes, timeout_ms, backoff FROM queuectl_policy",
    )?;
    let policies = policies.query_map([], |row| {
        let policy = Policy {
            max_retries: row.get(1)?,
            max_crashes: row::optional_number(row, 2)?,
            timeout: row::optional_duration(row, 3)?,
            backoff: row::optional_backoff(row, 4).unwrap_or_default(),
        };
        Ok((row::name(row, 0)?, policy))
    })?;
    Ok(policies.collect::<Result<_, _>>()?)
}
