//! Ending attempts: by their workers' verdicts, or because their workers died.

use std::fmt::Write;
use std::time::Duration;

use rusqlite::{CachedStatement, OptionalExtension, params};

use super::aside;
use super::dead;
use super::dependents;
use super::event::Entry;
use super::expiry;
use super::group;
use super::line;
use super::row;
use super::transaction::Tx;
use super::unique;
use crate::attempt::{Captured, Cause, Report};
use crate::clock::Timestamp;
use crate::event::Change;
use crate::id::{JobKey, Lease, Token, WorkerKey};
use crate::job::Json;
use crate::state::{Event, State, transition};
use crate::store::{Remark, Rescued, Settlement, StoreError, Verdict};

/// Applies the settlements; gives the leases that are no longer held.
pub(super) fn settle(
    tx: &mut Tx<'_>,
    settlements: &[Settlement],
) -> Result<Vec<Lease>, StoreError> {
    let mut refused = Vec::new();
    let mut complete = Complete::prepare(tx)?;
    for run in settlements.chunk_by(is_alike) {
        match run {
            [one] if !matches!(one.verdict, Verdict::Complete { .. }) => {
                if !end(tx, one)? {
                    refused.push(one.lease);
                }
            }
            _ => complete.run(tx, run, &mut refused)?,
        }
    }
    Ok(refused)
}

/// Whether one statement can settle both: neighbours that were claimed together and have nothing more
/// to say than that they succeeded.
fn is_alike(settlement: &Settlement, next: &Settlement) -> bool {
    let bare = |settlement: &Settlement| {
        settlement.verdict == Verdict::Complete { result: None }
            && !settlement.leftovers
            && settlement.report.as_deref().is_none_or(Report::is_bare_success)
    };
    next.lease.key.0 == settlement.lease.key.0 + 1
        && next.lease.token == settlement.lease.token
        && next.started_at == settlement.started_at
        && bare(settlement)
        && bare(next)
}

/// The shortest way, because most attempts take it: a few statements for neighbours that are alike.
struct Complete<'a> {
    held: CachedStatement<'a>,
    mark: CachedStatement<'a>,
    free: CachedStatement<'a>,
    parents: CachedStatement<'a>,
}

/// Neighbours that one worker holds.
struct Stretch {
    first: JobKey,
    last: JobKey,
    worker: WorkerKey,
}

impl<'a> Complete<'a> {
    fn prepare(tx: &Tx<'a>) -> Result<Self, StoreError> {
        let held = tx.prepare(
            "SELECT key, lane, worker, grp FROM queuectl_lease
             WHERE key BETWEEN ?1 AND ?2 AND token = ?3 ORDER BY key",
        )?;
        // OR FAIL: see `insert.rs`.
        let mark = tx.prepare(
            "UPDATE OR FAIL queuectl_job NOT INDEXED
             SET state = 3, token = ?3, attempts = attempts + 1, worker = ?4, started_at = ?5,
                 finished_at = ?6, updated_at = ?6, result = ?7,
                 lost_from = iif(?8, ifnull(lost_from, ?3), NULL)
             WHERE key BETWEEN ?1 AND ?2",
        )?;
        let free = tx.prepare("DELETE FROM queuectl_lease WHERE key BETWEEN ?1 AND ?2")?;
        let parents = tx.prepare(
            "SELECT DISTINCT parent FROM queuectl_dependency WHERE parent BETWEEN ?1 AND ?2",
        )?;
        Ok(Complete { held, mark, free, parents })
    }

    /// Settles neighbours that are alike, or a single attempt.
    fn run(
        &mut self,
        tx: &mut Tx<'_>,
        run: &[Settlement],
        refused: &mut Vec<Lease>,
    ) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            return Ok(());
        };
        let mut unheld = run.iter().map(|settlement| settlement.lease);
        let mut stretches: Vec<Stretch> = Vec::new();
        let mut groups: Vec<i64> = Vec::new();
        let token = first.lease.token;
        let mut held = self.held.query((first.lease.key.0, last.lease.key.0, token.0))?;
        while let Some(row) = held.next()? {
            let (key, worker) = (JobKey(row.get(0)?), WorkerKey(row.get(2)?));
            refused.extend(unheld.by_ref().take_while(|lease| lease.key != key));
            tx.moved(row.get(1)?, State::Processing, State::Completed, || {
                Entry::under(Lease { key, token }, worker, Change::Completed)
            });
            groups.extend(row.get::<_, Option<i64>>(3)?);
            match stretches.last_mut() {
                Some(stretch) if (stretch.last.0 + 1, stretch.worker) == (key.0, worker) => {
                    stretch.last = key;
                }
                _ => stretches.push(Stretch { first: key, last: key, worker }),
            }
        }
        drop(held);
        refused.extend(unheld);
        for stretch in stretches {
            self.mark(tx, &stretch, first)?;
        }
        groups.into_iter().try_for_each(|group| group::ended(tx, group))
    }

    /// Settles a stretch of what is held, all of it as `settlement` says.
    fn mark(
        &mut self,
        tx: &mut Tx<'_>,
        stretch: &Stretch,
        settlement: &Settlement,
    ) -> Result<(), StoreError> {
        let Settlement { lease, started_at, leftovers, .. } = *settlement;
        let Verdict::Complete { result } = &settlement.verdict else {
            return Ok(());
        };
        let (first, last) = (stretch.first.0, stretch.last.0);
        self.mark.execute(params![
            first,
            last,
            lease.token.0,
            stretch.worker.0,
            started_at.as_millis(),
            tx.now.as_millis(),
            result.as_ref().map(Json::as_str),
            leftovers,
        ])?;
        self.free.execute((first, last))?;
        // Only an attempt that was settled by itself has more to say.
        let report = settlement.report.as_deref();
        if let Some(report) = report.filter(|report| !report.is_bare_success()) {
            let number = tx
                .prepare("SELECT attempts FROM queuectl_job WHERE key = ?1")?
                .query_row([lease.key.0], |row| row.get(0))?;
            record(tx, &Ended { lease, number, started_at }, stretch.worker, report)?;
        }
        if leftovers {
            note_leftovers(tx, lease.key, NOBODY)?;
        }
        let parents = self
            .parents
            .query_map((first, last), |row| row.get(0).map(JobKey))?
            .collect::<Result<Vec<_>, _>>()?;
        parents.into_iter().try_for_each(|parent| dependents::ended(tx, parent, State::Completed))
    }
}

/// A processing job, as far as ending its attempt needs it.
struct Held {
    lane: i64,
    group: Option<i64>,
    worker: WorkerKey,
    /// Those that have ended, and this one.
    attempts: u32,
    max_attempts: u32,
    started_at: Timestamp,
    lost_from: Option<Token>,
    /// Why it is to be cancelled, if it is.
    cancel_reason: Option<String>,
    last_error: Option<String>,
    /// It can expire while it waits.
    expires: bool,
    /// In which states it holds its unique key, if it has one.
    unique_states: Option<i64>,
}

fn held(tx: &Tx<'_>, Lease { key, token }: Lease) -> Result<Option<Held>, StoreError> {
    let held = tx
        .prepare(
            "SELECT lease.lane, lease.worker, attempts + 1, max_attempts, lease.started_at, lost_from,
                    lease.cancel_reason, last_error, expires_at IS NOT NULL, lease.grp,
                    unique_states
             FROM queuectl_lease AS lease CROSS JOIN queuectl_job AS job USING (key)
             WHERE lease.key = ?1 AND lease.token = ?2",
        )?
        .query_row((key.0, token.0), |row| {
            Ok(Held {
                lane: row.get(0)?,
                worker: WorkerKey(row.get(1)?),
                attempts: row.get(2)?,
                max_attempts: row.get(3)?,
                started_at: row::timestamp(row, 4)?,
                lost_from: row.get::<_, Option<i64>>(5)?.map(Token),
                cancel_reason: row.get(6)?,
                last_error: row.get(7)?,
                expires: row.get(8)?,
                group: row.get(9)?,
                unique_states: row.get(10)?,
            })
        })
        .optional()?;
    Ok(held)
}

/// Where an attempt that did not complete leaves its job.
struct Ending {
    event: Event,
    /// The attempt is given back.
    refund: bool,
    /// How long the job then waits.
    delay: Duration,
}

impl Ending {
    fn now(event: Event) -> Self {
        Ending { event, refund: false, delay: Duration::ZERO }
    }
}

fn end(tx: &mut Tx<'_>, settlement: &Settlement) -> Result<bool, StoreError> {
    let Some(held) = held(tx, settlement.lease)? else {
        return Ok(false);
    };
    let refund = matches!(settlement.verdict, Verdict::Snooze { .. } | Verdict::Release);
    let ending = match &settlement.verdict {
        _ if held.cancel_reason.is_some() => Ending { refund, ..Ending::now(Event::Cancel) },
        Verdict::Fail { .. } if held.attempts >= held.max_attempts => Ending::now(Event::Exhaust),
        Verdict::Fail { retry_in } => Ending { delay: *retry_in, ..Ending::now(Event::Fail) },
        Verdict::Die => Ending::now(Event::Exhaust),
        Verdict::Snooze { wake_in } => {
            Ending { event: Event::Snooze, refund: true, delay: *wake_in }
        }
        Verdict::Release => Ending { refund: true, ..Ending::now(Event::Release) },
        Verdict::Cancel => Ending::now(Event::Cancel),
        Verdict::Complete { .. } => Ending::now(Event::Complete),
    };
    let fallback;
    let report = match settlement.report.as_deref() {
        Some(report) => Some(report),
        // It never began.
        None if settlement.verdict == Verdict::Release => None,
        None => {
            fallback = Report::new(match ending.event {
                Event::Snooze => Cause::Snoozed,
                Event::Release => Cause::Interrupted,
                Event::Cancel => Cause::Cancelled,
                _ => Cause::Failed,
            });
            Some(&fallback)
        }
    };
    let leftovers = settlement.leftovers;
    finish(tx, settlement.lease, &held, &ending, settlement.started_at, report, leftovers)?;
    Ok(true)
}

/// Gives back a job whose attempt never began.
pub(super) fn never_began(tx: &mut Tx<'_>, lease: Lease) -> Result<(), StoreError> {
    if let Some(Held { started_at, lost_from, .. }) = held(tx, lease)? {
        let (verdict, leftovers) = (Verdict::Release, lost_from.is_some());
        end(tx, &Settlement { lease, verdict, started_at, report: None, leftovers })?;
    }
    Ok(())
}

/// Ends the attempt of a worker that died.
pub(super) fn lose(
    tx: &mut Tx<'_>,
    lease: Lease,
    worker: WorkerKey,
) -> Result<Option<Rescued>, StoreError> {
    let Some(held) = held(tx, lease)? else {
        return Ok(None);
    };
    let kind = tx.kind_of(held.lane)?;
    let cap = match aside::max_crashes(tx, lease.key)? {
        Some(own) => own,
        None => {
            let of_kind = tx.catalogue.policy(&kind).and_then(|policy| policy.max_crashes);
            of_kind.unwrap_or(tx.catalogue.settings().max_crashes).get()
        }
    };
    let poisonous =
        held.cancel_reason.is_none() && crashes(tx, lease.key, held.attempts, cap)? >= cap;
    let ending = if held.cancel_reason.is_some() {
        Ending::now(Event::Cancel)
    } else if poisonous || held.attempts >= held.max_attempts {
        Ending::now(Event::Exhaust)
    } else {
        Ending::now(Event::LoseLease)
    };
    let mut text = "the worker died, or could not renew its lease in time".to_owned();
    if poisonous {
        let _ = write!(text, "; attempts lost in a row: {cap}, which is max-crashes");
    }
    let report = Report::failure(Cause::LeaseLost, text);
    let state = finish(tx, lease, &held, &ending, held.started_at, Some(&report), true)?;
    let lost_from = held.lost_from.unwrap_or(lease.token);
    Ok(Some(Rescued { lease, worker, kind, lost_from, state }))
}

/// How many attempts of this generation have been lost in a row, the `number`th and last among them; no
/// more than `cap` are looked for. Lost attempts stay spent, so the row is over with the first attempt of
/// the generation.
fn crashes(tx: &Tx<'_>, job: JobKey, mut number: u32, cap: u32) -> Result<u32, StoreError> {
    let mut history = tx
        .prepare("SELECT cause, number FROM queuectl_attempt WHERE job = ?1 ORDER BY token DESC")?;
    let mut rows = history.query([job.0])?;
    let mut crashes = 1;
    while number > 1
        && crashes < cap
        && let Some(row) = rows.next()?
    {
        match row::cause(row, 0)? {
            Cause::LeaseLost => (crashes, number) = (crashes + 1, row.get(1)?),
            // What its worker gave back when it stopped says nothing about the job.
            Cause::Interrupted => {}
            _ => break,
        }
    }
    Ok(crashes)
}

/// Gives a job back that its worker will not run: the attempt does not count.
pub(super) fn release(tx: &mut Tx<'_>, lease: Lease) -> Result<(), StoreError> {
    let Some(held) = held(tx, lease)? else {
        return Ok(());
    };
    let event = if held.cancel_reason.is_some() { Event::Cancel } else { Event::Release };
    let ending = Ending { refund: true, ..Ending::now(event) };
    // What an earlier attempt may have left is still to be seen to.
    let leftovers = held.lost_from.is_some();
    let report = Report::new(Cause::Interrupted);
    finish(tx, lease, &held, &ending, held.started_at, Some(&report), leftovers).map(drop)
}

fn finish(
    tx: &mut Tx<'_>,
    lease: Lease,
    held: &Held,
    ending: &Ending,
    started_at: Timestamp,
    report: Option<&Report>,
    leftovers: bool,
) -> Result<State, StoreError> {
    let state = transition(State::Processing, ending.event)
        .map_err(|refused| StoreError::Other(refused.into()))?;
    let delayed = matches!(ending.event, Event::Fail | Event::Snooze);
    let waits = ending.delay > Duration::ZERO;
    let run_boot = waits.then(|| (tx.boot + ending.delay).as_millis());
    let lost_from = leftovers.then(|| held.lost_from.unwrap_or(lease.token).0);
    let error = report.and_then(|report| report.error.as_deref());
    let last_error = match report.map(|report| report.cause) {
        None | Some(Cause::Snoozed | Cause::Interrupted | Cause::Cancelled | Cause::Succeeded) => {
            held.last_error.as_deref()
        }
        Some(_) => error,
    };
    let cancel_reason = held.cancel_reason.as_deref().or(error);
    tx.execute("DELETE FROM queuectl_lease WHERE key = ?1", [lease.key.0])?;
    if let Some(states) = held.unique_states.filter(|_| !state.is_terminal()) {
        unique::comes_back(tx, lease.key, states, state)?;
    }
    tx.execute(
        "UPDATE queuectl_job
         SET state = ?2, run_at = ifnull(?3, run_at), run_boot = ?4, token = ?5, attempts = ?6,
             worker = ?7, started_at = ?8, finished_at = ?9, updated_at = ?10, lost_from = ?11,
             last_error = ?12, cancel_reason = iif(?2 = 6, ?13, NULL)
         WHERE key = ?1",
        params![
            lease.key.0,
            row::code(state),
            // Only a delay gives a new time; what may run at once keeps its own.
            delayed.then(|| (tx.now + ending.delay).as_millis()),
            run_boot,
            lease.token.0,
            held.attempts - u32::from(ending.refund),
            held.worker.0,
            started_at.as_millis(),
            state.is_terminal().then_some(tx.now.as_millis()),
            tx.now.as_millis(),
            lost_from,
            last_error,
            cancel_reason,
        ],
    )?;
    match waits {
        _ if state.is_terminal() => {}
        true => line::make_due(tx, lease.key)?,
        false => line::make_ready(tx, lease.key)?,
    }
    if held.expires && !state.is_terminal() {
        expiry::note(tx, lease.key)?;
    }
    if let Some(group) = held.group {
        group::ended(tx, group)?;
    }
    tx.moved(held.lane, State::Processing, state, || Entry {
        cause: report.map(|report| report.cause),
        reason: cancel_reason.filter(|_| state == State::Cancelled).map(str::to_owned),
        ..Entry::under(lease, held.worker, Change::by(ending.event))
    });
    if state.is_terminal() && leftovers {
        note_leftovers(tx, lease.key, NOBODY)?;
    }
    let attempt = Ended { lease, number: held.attempts, started_at };
    if let Some(report) = report.filter(|_| state == State::Dead) {
        dead::enter(tx, lease.key, held.lane, report)?;
    }
    if let Some(report) = report {
        record(tx, &attempt, held.worker, report)?;
    }
    if state.is_terminal() {
        dependents::ended(tx, lease.key, state)?;
    }
    Ok(state)
}

/// Cancels a job that nobody holds, from the state in which it waits, because `event` has happened to it.
pub(super) fn end_waiting(
    tx: &mut Tx<'_>,
    key: JobKey,
    state: State,
    event: Event,
    remark: &Remark<'_>,
) -> Result<(), StoreError> {
    let next = transition(state, event).map_err(|refused| StoreError::Corrupt(refused.into()))?;
    line::leave(tx, key)?;
    expiry::forget(tx, key)?;
    let lane = tx
        .prepare(
            "UPDATE queuectl_job
             SET state = ?2, run_boot = NULL, cancel_reason = ?3, finished_at = ?4, updated_at = ?4
             WHERE key = ?1 RETURNING lane",
        )?
        .query_row((key.0, row::code(next), remark.text, tx.now.as_millis()), |row| row.get(0))?;
    tx.moved(lane, state, next, || Entry {
        reason: Some(remark.text.to_owned()),
        by: remark.by.map(str::to_owned),
        ..Entry::of(key, Change::by(event))
    });
    note_leftovers(tx, key, NOBODY)
}

/// Nobody will claim a job that has ended, so nobody would hear of what its attempts have left. It is
/// noted for the next rescue, unless somebody is to see to it already: the cleaner.
pub(super) fn note_leftovers(tx: &Tx<'_>, job: JobKey, cleaner: &str) -> Result<(), StoreError> {
    tx.execute(
        "INSERT OR REPLACE INTO queuectl_leftover
             (job, token, lost_from, kind, worker, state, cleaner)
         SELECT job.key, job.token, job.lost_from, lane.kind, ifnull(job.worker, 0), job.state, ?2
         FROM queuectl_job AS job JOIN queuectl_lane AS lane ON lane.lane = job.lane
         WHERE job.key = ?1 AND job.lost_from IS NOT NULL",
        (job.0, cleaner),
    )?;
    Ok(())
}

/// The cleaner of what nobody has taken on.
pub(super) const NOBODY: &str = "";

/// Which attempt a record is about.
struct Ended {
    lease: Lease,
    number: u32,
    started_at: Timestamp,
}

fn record(
    tx: &Tx<'_>,
    attempt: &Ended,
    worker: WorkerKey,
    report: &Report,
) -> Result<(), StoreError> {
    let Lease { key, token } = attempt.lease;
    tx.execute(
        "INSERT OR REPLACE INTO queuectl_attempt
             (job, token, number, worker, started_at, finished_at, cause, error, exit_code, signal)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            key.0,
            token.0,
            attempt.number,
            worker.0,
            attempt.started_at.as_millis(),
            tx.now.as_millis(),
            report.cause.as_str(),
            report.error,
            report.exit_code,
            report.signal,
        ],
    )?;
    for (stream, output) in [(1, &report.stdout), (2, &report.stderr)] {
        if *output != Captured::default() {
            tx.execute(
                "INSERT INTO queuectl_output (job, token, stream, total, incomplete, head, tail)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    key.0,
                    token.0,
                    stream,
                    i64::try_from(output.total).unwrap_or(i64::MAX),
                    output.incomplete,
                    output.head,
                    output.tail,
                ],
            )?;
        }
    }
    Ok(())
}
