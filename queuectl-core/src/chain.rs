//! Jobs that run one after the other.

use crate::dependency::Otherwise;
use crate::id::JobId;
use crate::job::{InvalidJob, NewJob};

/// Jobs of which each runs after the success of the one before it. To be enqueued in one call, so that
/// there are all of them or none.
///
/// ```
/// use queuectl_core::{Chain, NewJob, Otherwise, SqliteOptions, SqliteStore, State, Store};
///
/// # let folder = tempfile::tempdir()?;
/// # let options = SqliteOptions { create: true, ..SqliteOptions::default() };
/// # let store = SqliteStore::open(folder.path().join("queue.db"), options)?;
/// let chain = Chain::new("release-7")
///     .then(NewJob::new("build", &())?)
///     .then(NewJob::new("test", &())?)
///     .then(NewJob::new("publish", &())?)
///     .otherwise(Otherwise::Cancel);
/// let added = store.enqueue(&chain.into_jobs()?)?;
///
/// assert_eq!(added[1].id.to_string(), "release-7.2");
/// let test = store.job(&added[1].id)?.expect("it is there");
/// assert_eq!((test.state, &test.waits_for[0].job), (State::Blocked, &added[0].id));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Chain {
    id: String,
    jobs: Vec<NewJob>,
    otherwise: Option<Otherwise>,
}

impl Chain {
    /// A chain of this id, without jobs. Its jobs have the ids `id.1`, `id.2` and so on, but for those
    /// that have one already.
    pub fn new(id: impl Into<String>) -> Self {
        Chain { id: id.into(), jobs: Vec::new(), otherwise: None }
    }

    /// Adds a job at the end. Whatever else it waits for it waits for as well.
    #[must_use]
    pub fn then(mut self, job: NewJob) -> Self {
        self.jobs.push(job);
        self
    }

    /// Says for each of them but the first what becomes of it if the one before it fails. Without it,
    /// each does as it says itself.
    #[must_use]
    pub fn otherwise(mut self, otherwise: Otherwise) -> Self {
        self.otherwise = Some(otherwise);
        self
    }

    /// The jobs, in their order.
    ///
    /// # Errors
    ///
    /// [`InvalidJob::Name`] if the chain's id makes no ids.
    pub fn into_jobs(self) -> Result<Vec<NewJob>, InvalidJob> {
        let mut jobs = Vec::with_capacity(self.jobs.len());
        let mut last: Option<JobId> = None;
        for (number, mut job) in (1..).zip(self.jobs) {
            if job.id.is_none() {
                job = job.id(&format!("{}.{number}", self.id))?;
            }
            let before = std::mem::replace(&mut last, job.id.clone());
            if let Some(before) = before {
                job = job.after(before);
                job.otherwise = self.otherwise.unwrap_or(job.otherwise);
            }
            jobs.push(job);
        }
        Ok(jobs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dependency::After;

    #[test]
    fn each_link_waits_for_the_one_before_it() {
        let job = || NewJob::new("k", &()).unwrap();
        let id = |text: &str| text.parse::<JobId>().unwrap();
        let own = job().id("own").unwrap().after_end(id("other"));
        let chain = Chain::new("c").then(job()).then(own).then(job()).into_jobs().unwrap();
        let ids: Vec<_> = chain.iter().map(|job| job.id.clone().unwrap()).collect();
        assert_eq!(ids, ["c.1", "own", "c.3"].map(id));
        assert_eq!(chain[0].after, []);
        assert_eq!(chain[1].after[1], After::from(id("c.1")), "beside what it waits for itself");
        assert_eq!(chain[2].after, [After::from(id("own"))]);
        assert!(Chain::new("no spaces").then(job()).into_jobs().is_err());
        assert_eq!(Chain::new("").into_jobs().unwrap(), []);
    }
}
