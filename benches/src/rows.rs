//! The jobs that both sides are given: one payload of about 100 bytes, made before the clock runs.

use std::time::Duration;

use queuectl_core::{Json, Name, NewJob};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::door::Moment;

/// The kind of every job.
pub(crate) const KIND: &str = "noop";

/// The most jobs that one call enqueues while a file is filled.
pub(crate) const BATCH: usize = 1000;

/// What a handler is given.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Payload {
    /// Which job it is.
    pub(crate) number: u64,
    /// Whom to write to: stands for the few short texts that payloads mostly are.
    pub(crate) to: String,
    /// About what.
    pub(crate) subject: String,
}

impl Payload {
    pub(crate) fn new(number: usize) -> Self {
        Payload {
            number: number as u64,
            to: format!("someone-{number:08}@example.org"),
            subject: "Your order has been shipped today".to_owned(),
        }
    }
}

/// Jobs for our side.
pub(crate) fn jobs(count: usize) -> Result<Vec<NewJob>> {
    let kind = Name::new(KIND)?;
    (0..count)
        .map(|number| {
            let payload = Json::of(&Payload::new(number))?;
            Ok(NewJob::from_json(kind.clone(), payload))
        })
        .collect()
}

/// A job whose payload says when it was meant to be enqueued: what its handler times itself by.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// By the boot clock.
    pub(crate) at_nanos: u64,
    /// What stands in every payload.
    #[serde(flatten)]
    payload: Payload,
}

impl Sent {
    pub(crate) fn job(number: usize, at: Moment) -> Result<NewJob> {
        let sent = Sent { at_nanos: at.as_nanos(), payload: Payload::new(number) };
        Ok(NewJob::new(KIND, &sent)?)
    }

    /// The time since then.
    pub(crate) fn elapsed(&self) -> Duration {
        Moment::from_nanos(self.at_nanos).elapsed()
    }
}

/// A row for the floor.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// Its id, such as a hand-written queue makes them: 26 characters that sort by age. Random ids
    /// would cost the floor more, so these make the harder comparison.
    pub(crate) id: String,
    /// The same text as on our side.
    pub(crate) payload: String,
}

/// Rows for the floor.
pub(crate) fn rows(count: usize) -> Result<Vec<Row>> {
    (0..count)
        .map(|number| {
            Ok(Row {
                id: format!("01JD{number:022}"),
                payload: Json::of(&Payload::new(number))?.as_str().to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_about_a_hundred_bytes_on_both_sides() {
        let rows = rows(2).unwrap();
        assert!((90..=120).contains(&rows[1].payload.len()));
        assert_eq!(jobs(2).unwrap()[1].payload.as_str(), rows[1].payload);
        assert_eq!(rows[1].id.len(), 26);
    }
}
