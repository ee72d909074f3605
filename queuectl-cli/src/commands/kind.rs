//! `kind`: shows and changes what holds for the jobs of a kind.

use std::num::NonZeroU32;
use std::time::Duration;

use queuectl_core::store::Store;
use queuectl_core::{InvalidBackoff, Name, Policy, Rule};
use serde::Serialize;

use super::name;
use crate::args::Kind;
use crate::error::CliError;
use crate::exit::Exit;
use crate::input::when;
use crate::output::json::SchemaVersion;
use crate::output::table::{Column, Table};
use crate::output::time::duration;
use crate::session::Session;

#[derive(Serialize)]
struct Document {
    schema_version: SchemaVersion,
    kinds: Vec<KindView>,
}

#[derive(Serialize)]
struct KindView {
    kind: String,
    max_retries: Option<u32>,
    max_crashes: Option<NonZeroU32>,
    timeout_seconds: Option<f64>,
    backoff: Option<String>,
}

impl KindView {
    fn of(kind: &Name, policy: &Policy) -> Self {
        KindView {
            kind: kind.to_string(),
            max_retries: policy.max_retries,
            max_crashes: policy.max_crashes,
            timeout_seconds: policy.timeout.map(|timeout| timeout.as_secs_f64()),
            backoff: policy.backoff.as_ref().map(ToString::to_string),
        }
    }
}

pub(crate) fn run(session: &Session, args: &Kind) -> Result<Exit, CliError> {
    match args {
        Kind::List => list(session),
        Kind::Set { kind, retries, max_crashes, timeout, backoff } => {
            let backoff = backoff.as_deref().map(str::parse).transpose();
            let backoff = backoff
                .map_err(|error: InvalidBackoff| CliError::usage(format!("--backoff: {error}")))?;
            let timeout = timeout.as_deref().map(when::duration).transpose()?;
            if timeout == Some(Duration::ZERO) {
                return Err(CliError::usage("timeout is 0: no job of the kind could ever run"));
            }
            let rules = [
                retries.map(|retries| Rule::MaxRetries(Some(retries))),
                max_crashes.map(|crashes| Rule::MaxCrashes(NonZeroU32::new(crashes))),
                timeout.map(|timeout| Rule::Timeout(Some(timeout))),
                backoff.map(|backoff| Rule::Backoff(Some(backoff))),
            ];
            set(session, &name("kind", kind)?, &rules.into_iter().flatten().collect::<Vec<_>>())
        }
        Kind::Unset { kind, retries, max_crashes, timeout, backoff } => {
            let rules = [
                (*retries, Rule::MaxRetries(None)),
                (*max_crashes, Rule::MaxCrashes(None)),
                (*timeout, Rule::Timeout(None)),
                (*backoff, Rule::Backoff(None)),
            ];
            let all = rules.iter().all(|(named, _)| !named);
            let rules = rules.into_iter().filter(|(named, _)| all || *named);
            unset(session, &name("kind", kind)?, &rules.map(|(_, rule)| rule).collect::<Vec<_>>())
        }
    }
}

fn list(session: &Session) -> Result<Exit, CliError> {
    let policies = session.store_path()?.open()?.policies()?;
    if session.ui.json {
        let kinds = policies.iter().map(|(kind, policy)| KindView::of(kind, policy)).collect();
        session.ui.document(&Document { schema_version: SchemaVersion, kinds })?;
    } else if policies.is_empty() {
        session.ui.note("nothing is said of any kind: queuectl kind set KIND --retries 5");
    } else {
        let mut table = Table::new([
            Column::text("KIND"),
            Column::text("RETRIES"),
            Column::text("MAX CRASHES"),
            Column::text("TIME LIMIT"),
            Column::text("BACKOFF"),
        ]);
        for (kind, policy) in &policies {
            let number = |number: Option<u32>| number.map_or("-".to_owned(), |n| n.to_string());
            table.row(vec![
                kind.to_string().into(),
                number(policy.max_retries).into(),
                number(policy.max_crashes.map(u32::from)).into(),
                policy.timeout.map_or("-".to_owned(), duration).into(),
                policy.backoff.as_ref().map_or("-".to_owned(), ToString::to_string).into(),
            ]);
        }
        session.ui.print(table.render(session.ui.width, session.ui.colour))?;
    }
    Ok(Exit::DONE)
}

fn set(session: &Session, kind: &Name, rules: &[Rule]) -> Result<Exit, CliError> {
    if rules.is_empty() {
        return Err(CliError::usage("there is nothing to set")
            .hint(format!("queuectl kind set {kind} --retries 5 --timeout 2m")));
    }
    let store = session.store_path()?.open_or_create()?;
    let policy = store.change_policy(kind, rules)?;
    if store.counts()?.iter().all(|lane| lane.kind != *kind) {
        session.ui.tell(format_args!("there has been no job of the kind {kind} yet"));
    }
    changed(session, kind, &policy)
}

fn unset(session: &Session, kind: &Name, rules: &[Rule]) -> Result<Exit, CliError> {
    let store = session.store_path()?.open()?;
    if !store.policies()?.contains_key(kind) {
        return Err(CliError::new(Exit::NOT_FOUND, format!("nothing is said of the kind {kind}"))
            .hint("queuectl kind list"));
    }
    changed(session, kind, &store.change_policy(kind, rules)?)
}

fn changed(session: &Session, kind: &Name, policy: &Policy) -> Result<Exit, CliError> {
    if session.ui.json {
        return list(session);
    }
    session.ui.line(format!("{kind}: {}", in_words(policy)))?;
    Ok(Exit::DONE)
}

/// What is said of a kind, for a person.
fn in_words(policy: &Policy) -> String {
    let parts = [
        policy.max_retries.map(|retries| format!("retries {retries}")),
        policy.max_crashes.map(|crashes| format!("max crashes {crashes}")),
        policy.timeout.map(|timeout| format!("time limit {}", duration(timeout))),
        policy.backoff.as_ref().map(|backoff| format!("backoff {backoff}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "as the settings say".to_owned() } else { parts.join(", ") }
}
