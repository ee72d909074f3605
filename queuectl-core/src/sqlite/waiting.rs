//! What a job that is added has to wait for.

use std::collections::HashSet;

use super::batch;
use super::cancelling;
use super::dependents::{self, End, Terms};
use super::enqueue::find;
use super::transaction::Tx;
use crate::dependency::{After, AfterBatch, Condition, Needs, Otherwise, Outlook};
use crate::id::JobKey;
use crate::job::NewJob;
use crate::state::State;
use crate::store::StoreError;

/// What a new job has to wait for.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) parents: Vec<(JobKey, Terms)>,
    /// How many of them may still end as the job waits for.
    pub(super) blockers: i64,
    /// They have ended otherwise, and the job is cancelled for this reason.
    pub(super) in_vain: Option<String>,
}

impl Waiting {
    pub(super) fn of(tx: &mut Tx<'_>, job: &NewJob) -> Result<Self, StoreError> {
        if job.after.is_empty() && job.after_batches.is_empty() {
            return Ok(Waiting::default());
        }
        let NewJob { needs, otherwise, .. } = *job;
        let mut seen = HashSet::new();
        let (mut waiting, mut met, mut lost) = (Waiting::default(), false, None);
        for (key, on, state) in parents(tx, job)? {
            if !seen.insert(key) {
                continue;
            }
            let outlook = Outlook::of(on, otherwise, state);
            match outlook {
                Outlook::Met => met = true,
                Outlook::Open => waiting.blockers += 1,
                Outlook::Lost => lost = lost.or(Some((key, state))),
            }
            if outlook == Outlook::Open || (outlook == Outlook::Lost && needs == Needs::Any) {
                let lost = outlook == Outlook::Lost;
                waiting.parents.push((key, Terms { on, needs, otherwise, lost }));
            }
        }
        let waits = waiting.blockers > 0;
        match (needs, lost) {
            (Needs::Any, _) if met => Ok(Waiting::default()),
            (Needs::Any, Some(_)) if waits => Ok(waiting),
            (Needs::Any, Some(_)) if otherwise == Otherwise::Run => Ok(Waiting::default()),
            (Needs::All, Some(_)) if otherwise == Otherwise::Run => Ok(waiting),
            (_, Some((parent, state))) => {
                let in_vain = Some(dependents::reason(tx, parent, End::In(state), None)?);
                Ok(Waiting { in_vain, ..Waiting::default() })
            }
            (_, None) => Ok(waiting),
        }
    }
}

/// What a new job names to wait for: how it should end, and how it stands.
fn parents(tx: &mut Tx<'_>, job: &NewJob) -> Result<Vec<(JobKey, Condition, State)>, StoreError> {
    let mut parents = Vec::with_capacity(job.after.len() + job.after_batches.len());
    for After { job: id, on } in &job.after {
        let Some((key, state)) = find(tx, id)? else {
            let itself = job.id.as_ref() == Some(id);
            let missing = if itself { StoreError::Cycle } else { StoreError::NotFound };
            return Err(missing(id.clone()));
        };
        parents.push((key, *on, cancelling::see_to(tx, key, state)?));
    }
    for AfterBatch { batch, on } in &job.after_batches {
        let (key, state) = batch::to_wait_for(tx, batch)?;
        parents.push((key, *on, state));
    }
    Ok(parents)
}
