//! What a job that is added has to wait for.

use std::collections::HashSet;

use super::dependents::{self, Terms};
use super::enqueue::find;
use super::transaction::Tx;
use crate::dependency::{Needs, Otherwise, Outlook};
use crate::id::JobKey;
use crate::job::NewJob;
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
    pub(super) fn of(tx: &Tx<'_>, job: &NewJob) -> Result<Self, StoreError> {
        let NewJob { needs, otherwise, .. } = *job;
        let mut seen = HashSet::with_capacity(job.after.len());
        let (mut waiting, mut met, mut lost) = (Waiting::default(), false, None);
        for after in &job.after {
            let Some((key, state)) = find(tx, &after.job)? else {
                let itself = job.id.as_ref() == Some(&after.job);
                let missing = if itself { StoreError::Cycle } else { StoreError::NotFound };
                return Err(missing(after.job.clone()));
            };
            if !seen.insert(key) {
                continue;
            }
            let outlook = Outlook::of(after.on, otherwise, state);
            match outlook {
                Outlook::Met => met = true,
                Outlook::Open => waiting.blockers += 1,
                Outlook::Lost => lost = lost.or(Some((&after.job, state))),
            }
            if outlook == Outlook::Open || (outlook == Outlook::Lost && needs == Needs::Any) {
                let lost = outlook == Outlook::Lost;
                waiting.parents.push((key, Terms { on: after.on, needs, otherwise, lost }));
            }
        }
        let waits = waiting.blockers > 0;
        match (needs, lost) {
            (Needs::Any, _) if met => Ok(Waiting::default()),
            (Needs::Any, Some(_)) if waits => Ok(waiting),
            (Needs::Any, Some(_)) if otherwise == Otherwise::Run => Ok(Waiting::default()),
            (Needs::All, Some(_)) if otherwise == Otherwise::Run => Ok(waiting),
            (_, Some((parent, state))) => {
                let in_vain = Some(dependents::reason(parent, Some(state)));
                Ok(Waiting { in_vain, ..Waiting::default() })
            }
            (_, None) => Ok(waiting),
        }
    }
}
