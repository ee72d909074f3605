//! What is left of a storm: the history as the witness saw it, the file, the processes, the leftovers.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fs;
use std::path::Path;

use queuectl_core::store::{JobQuery, Sort, Store};
use queuectl_core::{
    Attempt, Clock, Job, JobId, Lease, SqliteOptions, SqliteStore, State, SystemClock, Timestamp,
};
use queuectl_testkit::history::{
    Answer, Call, Counted, End, Execution, History, Moment, ProcessId, Request, check,
};
use queuectl_testkit::replay::Replay;
use rusqlite::{Connection, OpenFlags};

use super::arena::Arena;
use super::ledger;
use super::task::WITNESS;
use crate::scoreboard::{Score, count};
use crate::witness::process::{marked, zombies};
use crate::witness::{self, Label, Phase, Record};

/// What a storm has shown.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) violations: Vec<String>,
    pub(crate) killed: u64,
    counted: Counted,
    at_once: u64,
    stops: u64,
    sightings: u64,
    torn: u64,
}

impl Verdict {
    pub(crate) fn add(&mut self, other: &Verdict) {
        self.killed += other.killed;
        self.counted.add(&other.counted);
        self.at_once += other.at_once;
        self.stops += other.stops;
        self.sightings += other.sightings;
        self.torn += other.torn;
    }

    pub(crate) fn show(&self, score: &mut Score) {
        let counted = &self.counted;
        score.figure("kills", count(self.killed));
        score.figure("times all at once", count(self.at_once));
        score.figure("stopped beyond the lease", count(self.stops));
        score.figure("calls", count(counted.calls));
        score.figure("acknowledged", count(counted.acknowledged));
        score.figure("recovered", count(counted.recovered));
        score.figure("executions", count(counted.executions));
        let again: u64 = counted.again.values().sum();
        let causes: Vec<String> = counted
            .again
            .iter()
            .map(|(explanation, number)| format!("{explanation} {}", count(*number)))
            .collect();
        score.figure("explained re-runs", format!("{} ({})", count(again), causes.join(", ")));
        score.figure("stale starts", count(counted.stale));
        score.figure("sightings", count(self.sightings));
        score.figure("torn records", count(self.torn));
    }
}

pub(crate) fn of(arena: &Arena, drained: bool) -> Result<Verdict, Box<dyn Error>> {
    let mut violations = Vec::new();
    if !drained {
        violations.push("the store was not drained in time".to_owned());
    }
    let seen = arena.take_seen();
    violations.extend(seen.strange);
    let (records, torn) = witness::read(&arena.witness())?;
    let (jobs, now) = final_state(&arena.store())?;
    let mut calls = seen.calls;
    calls.extend(ledgers(&arena.folder)?);
    identify(&mut calls, &records, &jobs);
    let history = History {
        calls,
        executions: executions(&records),
        faults: seen.faults,
        sightings: seen.sightings,
        end: End { jobs, paused: Vec::new(), now, drained: true, retention: false },
    };
    let findings = check(&history);
    violations.extend(findings.violations.iter().map(ToString::to_string));
    violations.extend(file(&arena.store())?);
    violations.extend(log(&arena.store())?);
    violations.extend(processes(arena));
    violations.extend(leftovers(&arena.store(), &history.end.jobs)?);
    Ok(Verdict {
        violations,
        killed: arena.killed(),
        counted: findings.counted,
        at_once: seen.at_once,
        stops: seen.stops,
        sightings: history.sightings.len() as u64,
        torn: torn as u64,
    })
}

type FinalState = (Vec<(Job, Vec<Attempt>)>, Timestamp);

fn final_state(path: &Path) -> Result<FinalState, Box<dyn Error>> {
    let store = SqliteStore::open(path, SqliteOptions::default())?;
    let now = SystemClock.now();
    let query = JobQuery { sort: Sort::Created, limit: usize::MAX >> 1, ..JobQuery::default() };
    let jobs = store.jobs(&query)?.into_iter().map(|job| {
        let attempts = store.attempts(job.key)?;
        Ok((job, attempts))
    });
    let jobs = jobs.collect::<Result<Vec<_>, queuectl_core::StoreError>>()?;
    Ok((jobs, now))
}

fn ledgers(folder: &Path) -> Result<Vec<Call>, Box<dyn Error>> {
    let mut calls = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_stem().is_some_and(|stem| stem == "ledger") {
            calls.extend(ledger::calls(&ledger::read(&path)?)?);
        }
    }
    Ok(calls)
}

/// Gives the jobs that enqueuers were never told the ids of the ids that they have: by their labels,
/// which the store and the witness know. One label may have come to several jobs, if its call was made
/// again after the first of them had ended.
fn identify(calls: &mut [Call], records: &[Record], jobs: &[(Job, Vec<Attempt>)]) {
    let mut found: HashMap<u64, BTreeMap<i64, JobId>> = HashMap::new();
    for record in records {
        let Label { number, chosen } = record.label;
        if !chosen {
            let id = record.label.id(record.lease.key);
            found.entry(number).or_default().insert(record.lease.key.0, id);
        }
    }
    for (job, _) in jobs.iter().filter(|(job, _)| matches!(job.id, JobId::Auto(_))) {
        if let Some(number) = job.tags.iter().find_map(|tag| super::task::label_of(tag.as_str())) {
            found.entry(number).or_default().insert(job.key.0, job.id.clone());
        }
    }
    calls.sort_by_key(|call| call.asked_at);
    let mut given: HashMap<u64, usize> = HashMap::new();
    for call in calls {
        let Request::Enqueue(asked) = &mut call.request else { continue };
        for asked in asked {
            let placeholder = asked.id.as_ref().map(ToString::to_string);
            let Some(number) = placeholder.as_deref().and_then(super::task::label_of) else {
                continue;
            };
            let ids = found.get(&number);
            let next = given.entry(number).or_default();
            let id = ids.and_then(|ids| ids.values().nth(*next).or(ids.values().next_back()));
            if call.answer != Answer::Refused {
                *next += 1;
            }
            asked.id = id.cloned();
        }
    }
}

/// The executions, put together from their records.
fn executions(records: &[Record]) -> Vec<Execution> {
    let mut claimed: HashMap<(Lease, u64), Moment> = HashMap::new();
    let mut running: HashMap<(Lease, u64, u32), usize> = HashMap::new();
    let mut executions: Vec<Execution> = Vec::new();
    for record in records {
        let Record { lease, holder, pid, at, .. } = *record;
        match record.phase {
            Phase::Claimed => {
                claimed.insert((lease, holder), at);
            }
            Phase::Started => {
                let claim_asked_at = claimed.get(&(lease, holder)).copied();
                // Handlers run in their worker's own process, which tells of its claims; a command is
                // a process by itself.
                let process = match claim_asked_at {
                    Some(_) => ProcessId(holder),
                    None => ProcessId(1 << 48 | executions.len() as u64),
                };
                running.insert((lease, holder, pid), executions.len());
                executions.push(Execution {
                    id: record.label.id(lease.key),
                    lease,
                    holder: ProcessId(holder),
                    process,
                    claim_asked_at,
                    started_at: at,
                    ended: None,
                });
            }
            Phase::Ended(how) => {
                if let Some(&index) = running.get(&(lease, holder, pid)) {
                    executions[index].ended = Some((at, how));
                }
            }
        }
    }
    executions
}

/// The event log was on from the beginning: it must be the story of every job, and end as the store is.
fn log(path: &Path) -> Result<Option<String>, Box<dyn Error>> {
    let store = SqliteStore::open(path, SqliteOptions::default())?;
    let mut replay = Replay::after(0);
    let agrees = replay.catch_up(&store).and_then(|_| replay.compare(&store));
    let known = store.jobs(&JobQuery { limit: usize::MAX >> 1, ..JobQuery::default() })?;
    let untold = known.iter().filter(|job| !replay.knows(job.key)).count();
    Ok(match agrees {
        Err(wrong) => Some(format!("the event log: {wrong}")),
        Ok(()) if untold > 0 => Some(format!("the event log knows nothing of {untold} jobs")),
        Ok(()) => None,
    })
}

/// The file by itself, read without the library.
fn file(path: &Path) -> Result<Vec<String>, rusqlite::Error> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let column = |sql: &str| -> Result<Vec<String>, rusqlite::Error> {
        connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
    };
    let mut wrong = Vec::new();
    let integrity = column("PRAGMA integrity_check")?;
    if integrity != ["ok"] {
        wrong.push(format!("integrity_check: {integrity:?}"));
    }
    let dangling = column("SELECT \"table\" FROM pragma_foreign_key_check")?;
    if !dangling.is_empty() {
        wrong.push(format!("foreign keys that lead nowhere, in {dangling:?}"));
    }
    for (what, sql) in [
        (
            "counters that are not what a count gives",
            "SELECT 'lane ' || lane || ' state ' || state || ': ' || sum(n) FROM (
                 SELECT lane, state, n FROM queuectl_count
                 UNION ALL SELECT lane, iif(key IN (SELECT key FROM queuectl_lease), 2, state), -1
                 FROM queuectl_job
             ) GROUP BY lane, state HAVING sum(n) <> 0",
        ),
        (
            "attempts of no job",
            "SELECT job || '' FROM queuectl_attempt WHERE job NOT IN (SELECT key FROM queuectl_job)",
        ),
        (
            "outputs of no attempt",
            "SELECT job || '-' || token FROM queuectl_output
             WHERE (job, token) NOT IN (SELECT job, token FROM queuectl_attempt)",
        ),
        (
            "dependencies between no jobs",
            "SELECT parent || '-' || child FROM queuectl_dependency
             WHERE parent > 0 AND parent NOT IN (SELECT key FROM queuectl_job)
                OR child > 0 AND child NOT IN (SELECT key FROM queuectl_job)",
        ),
        (
            "blocked jobs that wait for another number of jobs than they say",
            "SELECT key || '' FROM queuectl_job AS job WHERE state = 1 AND blockers <>
                 (SELECT count(*) FROM queuectl_dependency WHERE child = job.key AND NOT lost)",
        ),
        ("workers that are gone", "SELECT worker || '' FROM queuectl_worker"),
    ] {
        let rows = column(sql)?;
        if !rows.is_empty() {
            wrong.push(format!("{what}: {}", rows[..rows.len().min(10)].join(", ")));
        }
    }
    Ok(wrong)
}

/// Nothing that the storm started lives, and nothing was not waited for.
fn processes(arena: &Arena) -> Vec<String> {
    let mark = format!("{WITNESS}={}", arena.witness().display());
    let mut wrong = Vec::new();
    let living = end_all_marked(&mark);
    if !living.is_empty() {
        let first = &living[..living.len().min(10)];
        wrong.push(format!(
            "{} processes of the storm live on: {}",
            living.len(),
            first.join("; ")
        ));
    }
    let zombies = zombies();
    if !zombies.is_empty() {
        wrong.push(format!("{} children were not waited for", zombies.len()));
    }
    wrong
}

/// What lives on is told, and then ended: the machine is not to be left with it.
fn end_all_marked(mark: &str) -> Vec<String> {
    let describe = |&pid: &u32| {
        let read = |file| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let words = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        let environment = String::from_utf8_lossy(&read("environ")).into_owned();
        let lease = environment.split('\0').find(|variable| variable.starts_with("QUEUECTL_LEASE"));
        format!("{pid} {words}{}", lease.unwrap_or("that is no job"))
    };
    let living: Vec<String> = marked(mark).iter().map(describe).collect();
    crate::witness::process::kill_marked(mark);
    living
}

/// No lock of an attempt is left: whoever ended the attempt, or what it left, deletes it.
fn leftovers(store: &Path, jobs: &[(Job, Vec<Attempt>)]) -> Result<Vec<String>, std::io::Error> {
    let mut folder = store.to_owned().into_os_string();
    folder.push("-logs");
    let mut wrong = Vec::new();
    let states: HashMap<String, State> =
        jobs.iter().map(|(job, _)| (job.key.0.to_string(), job.state)).collect();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some((key, _)) = name.split_once('-').filter(|_| name.ends_with(".lock")) {
            let state = states.get(key).map_or_else(|| "gone".to_owned(), ToString::to_string);
            wrong.push(format!("{name} of a job that is {state}"));
        }
    }
    let number = wrong.len();
    wrong.truncate(10);
    Ok(if number == 0 {
        Vec::new()
    } else {
        vec![format!("{number} locks of attempts are left: {}", wrong.join(", "))]
    })
}
