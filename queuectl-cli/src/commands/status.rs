//! `status`: how many jobs there are, and what the workers do.

use queuectl_core::store::{LaneCounts, QueueInfo, Queues, Store, WorkerInfo};
use queuectl_core::{Name, QueueLimits, State, Weight};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::count;
use super::worker::list::workers_table;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Paint;
use crate::output::json::{SchemaVersion, WorkerView};
use crate::output::table::{Cell, Column, Table};
use crate::session::Session;

/// The number of jobs in each state.
pub(super) struct Counts(pub(super) [u64; State::ALL.len()]);

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(State::ALL.len()))?;
        for (state, number) in State::ALL.iter().zip(self.0) {
            map.serialize_entry(state.as_str(), &number)?;
        }
        map.end()
    }
}

/// A queue, and the number of its jobs in each state.
pub(super) struct QueueCounts {
    pub(super) name: Name,
    pub(super) paused: bool,
    pub(super) limits: QueueLimits,
    pub(super) weight: Option<Weight>,
    pub(super) by_state: [u64; State::ALL.len()],
}

/// The queues by name, with what all their kinds of jobs add up to.
pub(super) fn by_queue(lanes: &[LaneCounts], queues: &[QueueInfo]) -> Vec<QueueCounts> {
    let mut sums: Vec<QueueCounts> = queues
        .iter()
        .map(|queue| QueueCounts {
            name: queue.name.clone(),
            paused: queue.paused,
            limits: queue.limits,
            weight: queue.weight,
            by_state: Default::default(),
        })
        .collect();
    for lane in lanes {
        let index = match sums.iter().position(|sum| sum.name == lane.queue) {
            Some(index) => index,
            None => {
                sums.push(QueueCounts {
                    name: lane.queue.clone(),
                    paused: false,
                    limits: QueueLimits::default(),
                    weight: None,
                    by_state: Default::default(),
                });
                sums.len() - 1
            }
        };
        for (sum, number) in sums[index].by_state.iter_mut().zip(lane.by_state) {
            *sum += number;
        }
    }
    sums.sort_by(|a, b| a.name.cmp(&b.name));
    sums
}

impl QueueCounts {
    /// How many jobs may still run.
    fn alive(&self) -> u64 {
        State::ALL
            .iter()
            .zip(self.by_state)
            .filter(|(state, _)| !state.is_terminal())
            .map(|(_, number)| number)
            .sum()
    }

    fn of(&self, state: State) -> u64 {
        let index = State::ALL.iter().position(|other| *other == state);
        index.map_or(0, |index| self.by_state[index])
    }
}

/// The queues, with those of runs that are over added up to one: each run has a queue of its own.
pub(super) fn fold_ended_runs(queues: Vec<QueueCounts>) -> Vec<QueueCounts> {
    let (ended, mut kept): (Vec<_>, Vec<_>) = queues
        .into_iter()
        .partition(|queue| !Queues::All.include(&queue.name) && queue.alive() == 0);
    if !ended.is_empty() {
        let mut by_state = [0; State::ALL.len()];
        for queue in &ended {
            for (sum, number) in by_state.iter_mut().zip(queue.by_state) {
                *sum += number;
            }
        }
        kept.push(QueueCounts {
            name: Name::new("run:...").expect("dots belong to names"),
            paused: false,
            limits: QueueLimits::default(),
            weight: None,
            by_state,
        });
    }
    kept
}

/// A table of the queues, with a column for each of the states.
pub(super) fn counts_table(queues: &[QueueCounts], states: &[State]) -> Table {
    let mut columns = vec![Column::long("QUEUE")];
    columns.extend(states.iter().map(|state| {
        Column::number(match state {
            State::Pending => "PENDING",
            State::Blocked => "BLOCKED",
            State::Processing => "PROCESSING",
            State::Completed => "COMPLETED",
            State::Failed => "FAILED",
            State::Dead => "DEAD",
            State::Cancelled => "CANCELLED",
        })
    }));
    let mut table = Table::new(columns);
    for queue in queues {
        let name = match queue.paused {
            true => format!("{} (paused)", queue.name),
            false => queue.name.to_string(),
        };
        let mut row: Vec<Cell> = vec![name.into()];
        for state in states {
            let number = queue.of(*state);
            let paint = if number == 0 { Paint::Faint } else { Paint::of(*state) };
            row.push(Cell(number.to_string(), paint));
        }
        table.row(row);
    }
    table
}

#[derive(Serialize)]
struct Document {
    schema_version: SchemaVersion,
    store: String,
    jobs: Counts,
    queues: Vec<QueueView>,
    workers: Vec<WorkerView>,
}

#[derive(Serialize)]
struct QueueView {
    name: String,
    paused: bool,
    jobs: Counts,
}

pub(crate) fn run(session: &Session) -> Result<Exit, CliError> {
    let path = session.store_path()?;
    let store = path.open()?;
    let queues = by_queue(&store.counts()?, &store.queues()?);
    let mut workers = store.workers()?;
    workers.retain(|worker| !worker.dead);
    let mut total = [0; State::ALL.len()];
    for queue in &queues {
        for (sum, number) in total.iter_mut().zip(queue.by_state) {
            *sum += number;
        }
    }
    let now = session.now();
    if session.ui.json {
        session.ui.document(&Document {
            schema_version: SchemaVersion,
            store: path.file().to_string_lossy().into_owned(),
            jobs: Counts(total),
            queues: queues
                .iter()
                .map(|queue| QueueView {
                    name: queue.name.to_string(),
                    paused: queue.paused,
                    jobs: Counts(queue.by_state),
                })
                .collect(),
            workers: workers.iter().map(|worker| WorkerView::of(worker, now)).collect(),
        })?;
        return Ok(Exit::DONE);
    }

    let hints = hints(&queues, &workers);
    let queues = fold_ended_runs(queues);
    let mut text = String::new();
    for (state, number) in State::ALL.iter().zip(total) {
        let paint = if number == 0 { Paint::Faint } else { Paint::of(*state) };
        let line = paint.on(session.ui.colour, &format!("{state:<12}{number:>8}"));
        text.push_str(&line);
        text.push('\n');
    }
    if queues.len() > 1 || queues.iter().any(|queue| queue.paused) {
        text.push('\n');
        let used: Vec<State> = State::ALL
            .into_iter()
            .zip(total)
            .filter(|(_, number)| *number > 0)
            .map(|(state, _)| state)
            .collect();
        let table = counts_table(&queues, &used);
        text.push_str(&table.render(session.ui.width, session.ui.colour));
    }
    text.push('\n');
    if workers.is_empty() {
        text.push_str("no workers\n");
    } else {
        let what = |id: &queuectl_core::JobId| super::list::what_of(&store, id);
        let table = workers_table(&workers, now, &what);
        text.push_str(&table.render(session.ui.width, session.ui.colour));
    }
    session.ui.print(text)?;
    for hint in hints {
        session.ui.note(hint);
    }
    Ok(Exit::DONE)
}

/// What to type next.
fn hints(queues: &[QueueCounts], workers: &[WorkerInfo]) -> Vec<String> {
    let mut hints = Vec::new();
    if queues.iter().all(|queue| queue.by_state.iter().all(|number| *number == 0)) {
        hints.push("there are no jobs yet: queuectl enqueue 'echo hello'".to_owned());
    }
    if workers.is_empty() {
        let (private, open): (Vec<_>, Vec<_>) = queues
            .iter()
            .filter(|queue| queue.alive() > 0)
            .partition(|queue| !Queues::All.include(&queue.name));
        if !open.is_empty() {
            hints
                .push("nothing will run until there is a worker: queuectl worker start".to_owned());
        }
        hints.extend(private.iter().map(|queue| {
            let name = &queue.name;
            format!("a run was not finished: queuectl worker start --queue {name} --drain")
        }));
    }
    let dead: u64 = queues.iter().map(|queue| queue.of(State::Dead)).sum();
    if dead > 0 {
        let jobs = count(usize::try_from(dead).unwrap_or(usize::MAX), "job");
        hints.push(format!("{jobs} failed for good: queuectl dlq list"));
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_add_up_to_their_queue() {
        let lane = |queue: &str, kind: &str, by_state| LaneCounts {
            queue: Name::new(queue).unwrap(),
            kind: Name::new(kind).unwrap(),
            by_state,
        };
        let queues = [QueueInfo {
            name: Name::new("mail").unwrap(),
            paused: true,
            limits: QueueLimits::default(),
            weight: None,
        }];
        let lanes = [
            lane("mail", "a", [1, 0, 0, 0, 0, 0, 2]),
            lane("default", "a", [0, 0, 0, 5, 0, 0, 0]),
            lane("mail", "b", [2, 0, 0, 0, 0, 0, 0]),
        ];
        let sums = by_queue(&lanes, &queues);
        assert_eq!(sums[0].name.as_str(), "default");
        assert_eq!(sums[1].by_state, [3, 0, 0, 0, 0, 0, 2]);
        assert!(sums[1].paused && !sums[0].paused);
    }

    fn queue(name: &str, by_state: [u64; 7]) -> QueueCounts {
        let limits = QueueLimits::default();
        QueueCounts {
            name: Name::new(name).unwrap(),
            paused: false,
            limits,
            weight: None,
            by_state,
        }
    }

    #[test]
    fn what_to_type_next_depends_on_how_things_stand() {
        let said = |name, by_state| hints(&[queue(name, by_state)], &[]).join("; ");
        assert!(hints(&[], &[])[0].contains("enqueue"));
        assert!(said("default", [1, 0, 0, 0, 0, 0, 0]).contains("worker start"));
        assert!(said("run:1", [1, 0, 0, 0, 0, 0, 0]).contains("--queue run:1 --drain"));
        assert!(said("default", [0, 0, 0, 0, 0, 2, 0]).contains("2 jobs failed for good"));
        assert_eq!(said("default", [0, 0, 0, 9, 0, 0, 0]), "");
    }

    #[test]
    fn runs_that_are_over_take_one_line() {
        let folded = fold_ended_runs(vec![
            queue("default", [0, 0, 0, 1, 0, 0, 0]),
            queue("run:1", [0, 0, 0, 2, 0, 0, 0]),
            queue("run:2", [0, 0, 0, 3, 0, 1, 0]),
            queue("run:3", [1, 0, 0, 0, 0, 0, 0]),
        ]);
        let names: Vec<&str> = folded.iter().map(|queue| queue.name.as_str()).collect();
        assert_eq!(names, ["default", "run:3", "run:..."]);
        assert_eq!(folded[2].by_state, [0, 0, 0, 5, 0, 1, 0]);
    }
}
