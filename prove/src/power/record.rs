//! Writes down what traced processes do to the files of a store, and what they acknowledge.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use queuectl_core::State;

use super::expect::{Ack, Ask, Marker};
use super::history::{Event, History, Node, ROOT};
use super::script::{Script, Step};
use crate::tracer::{Call, Ended, Entry, Exit, Hook, Kind, Program, Tracee};

/// The name of the file into which jobs write that they run. It stands beside the store's folder.
pub(super) const WITNESS: &str = "witness";

/// A hook that records, and starts the steps of a script one after the other.
pub(super) struct Recorder {
    pub(super) history: History,
    /// Calls that it does not know how to record: the images would not be true.
    pub(super) unknown: Vec<String>,
    /// The folder whose files are recorded.
    root: PathBuf,
    script: Script,
    /// What each program was started for, and which lane goes on when it ends; all begin after the
    /// one without a lane.
    running: Vec<(Step, Option<usize>)>,
    /// What each program has printed and not yet ended a line of, on its two outputs.
    lines: HashMap<(usize, bool), String>,
    /// Files and folders by their number in the file system.
    nodes: HashMap<u64, Node>,
    next: Node,
    /// What was there, and when, before a call that is under way, by thread.
    before: HashMap<i32, Before>,
}

#[derive(Debug, Default)]
struct Before {
    /// How many events there were.
    events: usize,
    /// The file, if there was one.
    inode: Option<u64>,
    /// Where a write goes that does not say.
    position: Option<u64>,
    /// What is to be written. Afterwards the program may be ending, and its memory cannot be read.
    data: Option<Vec<u8>>,
}

impl Recorder {
    /// Records what is done in `root` while `script` runs; gives the programs to begin with.
    pub(super) fn new(root: &Path, script: Script) -> (Self, Vec<Program>) {
        let mut recorder = Recorder {
            history: History::default(),
            unknown: Vec::new(),
            root: root.to_owned(),
            script,
            running: Vec::new(),
            lines: HashMap::new(),
            nodes: HashMap::new(),
            next: ROOT + 1,
            before: HashMap::new(),
        };
        recorder.history.folders.insert(ROOT);
        recorder.nodes.extend(inode(root).map(|inode| (inode, ROOT)));
        let first = match recorder.script.prelude.take() {
            Some(step) => vec![recorder.begin(step, None)],
            None => recorder.all_lanes(),
        };
        (recorder, first)
    }

    fn all_lanes(&mut self) -> Vec<Program> {
        (0..self.script.lanes.len()).filter_map(|lane| self.next_of(lane)).collect()
    }

    /// The next step of a lane.
    fn next_of(&mut self, lane: usize) -> Option<Program> {
        let step = self.script.lanes[lane].pop_front()?;
        Some(self.begin(step, Some(lane)))
    }

    fn begin(&mut self, step: Step, lane: Option<usize>) -> Program {
        for ask in &step.asks {
            self.history.events.push(Event::Ask(ask.clone()));
        }
        let program = step.program.clone();
        self.running.push((step, lane));
        program
    }

    /// Whether a file is part of what a crash image is made of. Not the index of the log, which
    /// SQLite makes anew, and not what says nothing after a restart.
    fn is_recorded(&self, path: &Path) -> bool {
        let Ok(inside) = path.strip_prefix(&self.root) else {
            return false;
        };
        !inside.iter().any(|name| {
            let name = name.to_string_lossy();
            name.ends_with("-shm") || name.ends_with("-workers") || name.ends_with("-logs")
        })
    }

    fn node(&mut self, inode: u64) -> Node {
        let next = &mut self.next;
        *self.nodes.entry(inode).or_insert_with(|| {
            *next += 1;
            *next - 1
        })
    }

    /// The folder and the name that a path is.
    fn place(&mut self, path: &Path) -> Option<(Node, String)> {
        let folder = inode(path.parent()?)?;
        Some((self.node(folder), path.file_name()?.to_string_lossy().into_owned()))
    }

    fn push(&mut self, event: Event) {
        self.history.events.push(event);
    }

    fn record(&mut self, tracee: &Tracee, call: &Call, result: i64) -> Option<()> {
        let before = self.before.remove(&tracee.id())?;
        if result < 0 {
            return None;
        }
        let path = tracee.path(call)?;
        match call.kind {
            Kind::Open if call.creates() || call.truncates() => {
                let now = inode(&path)?;
                if before.inode.is_none() {
                    // The file system may give the number of a deleted file again.
                    self.nodes.remove(&now);
                    let node = self.node(now);
                    let (folder, name) = self.place(&path)?;
                    self.push(Event::Names(vec![(folder, name, Some(node))]));
                } else if call.truncates() {
                    let node = self.node(now);
                    self.push(Event::Truncate { node, len: 0 });
                }
            }
            Kind::Write => {
                let node = self.node(before.inode?);
                let at = call.offset().or(before.position)? as usize;
                match before.data {
                    Some(mut data) => {
                        data.truncate(result as usize);
                        self.push(Event::Write { node, at, data });
                    }
                    None => self.unknown.push(format!("{} on {}", call.name(), path.display())),
                }
            }
            Kind::Truncate => {
                let node = self.node(before.inode?);
                self.push(Event::Truncate { node, len: call.length() as usize });
            }
            Kind::Sync => {
                let node = self.node(before.inode?);
                self.push(Event::Sync { node, upto: before.events });
            }
            Kind::MakeDir => {
                let now = inode(&path)?;
                self.nodes.remove(&now);
                let node = self.node(now);
                self.history.folders.insert(node);
                let (folder, name) = self.place(&path)?;
                self.push(Event::Names(vec![(folder, name, Some(node))]));
            }
            Kind::Unlink | Kind::RemoveDir => {
                let (folder, name) = self.place(&path)?;
                self.push(Event::Names(vec![(folder, name, None)]));
            }
            Kind::Rename | Kind::Link => {
                let to = tracee.second_path(call)?;
                let node = self.node(before.inode?);
                let (from_folder, from) = self.place(&path)?;
                let (to_folder, to) = self.place(&to)?;
                let mut changes = vec![(to_folder, to, Some(node))];
                if call.kind == Kind::Rename {
                    changes.push((from_folder, from, None));
                }
                self.push(Event::Names(changes));
            }
            Kind::Other => self.unknown.push(format!("{} on {}", call.name(), path.display())),
            _ => {}
        }
        Some(())
    }

    /// Takes what a program prints for what it says. Told before the write has happened: from then on
    /// somebody may have read it.
    fn hear(&mut self, tracee: &Tracee, call: &Call, path: &Path) {
        let Some(data) = tracee.data(call, call.size() as usize) else {
            return;
        };
        if path.file_name().is_some_and(|name| name == WITNESS) {
            for id in String::from_utf8_lossy(&data).lines() {
                self.push(Event::Ack(Ack::Ran(id.trim().to_owned())));
            }
            return;
        }
        let Some((step, _)) = self.running.get(tracee.program) else {
            return;
        };
        let is_stdout = path == step.program.stdout;
        if !is_stdout && path != step.program.stderr {
            return;
        }
        let kept = self.lines.entry((tracee.program, is_stdout)).or_default();
        kept.push_str(&String::from_utf8_lossy(&data));
        let mut said = Vec::new();
        while let Some(end) = kept.find('\n') {
            said.push(kept.drain(..=end).collect::<String>());
        }
        for line in said {
            let step = &mut self.running[tracee.program].0;
            if let Some(event) = understand(line.trim_end(), &mut step.markers) {
                self.history.events.push(event);
            }
        }
    }
}

impl Hook for Recorder {
    fn wants(&self, kind: Kind) -> bool {
        !matches!(
            kind,
            Kind::Read | Kind::Lock | Kind::Flock | Kind::Map | Kind::Clone | Kind::Mode
        )
    }

    fn entry(&mut self, tracee: &Tracee, call: &Call) -> Entry {
        if call.kind == Kind::Open && !call.creates() && !call.truncates() {
            return Entry::Go;
        }
        let Some(path) = tracee.path(call) else {
            return Entry::Go;
        };
        if call.kind == Kind::Write {
            self.hear(tracee, call, &path);
        }
        if self.is_recorded(&path) {
            let inode = match call.fd() {
                Some(fd) => std::fs::metadata(tracee.fd_link(fd)).ok().map(|file| file.ino()),
                None => inode(&path),
            };
            let position = match (call.kind, call.offset(), call.fd()) {
                (Kind::Write, None, Some(fd)) => tracee.fd_position(fd),
                _ => None,
            };
            let is_write = call.kind == Kind::Write && call.is_plain_write();
            let data = is_write.then(|| tracee.data(call, call.size() as usize)).flatten();
            let before = Before { events: self.history.events.len(), inode, position, data };
            self.before.insert(tracee.id(), before);
        }
        Entry::Go
    }

    fn exit(&mut self, tracee: &Tracee, call: &Call, result: i64) -> Exit {
        self.record(tracee, call, result);
        Exit::Go
    }

    fn ended(&mut self, program: usize, ended: Ended) -> Vec<Program> {
        let (step, lane) = &self.running[program];
        let lane = *lane;
        if ended == Ended::Exited(0) {
            let done: Vec<_> = step.done.iter().cloned().map(Event::Ack).collect();
            self.history.events.extend(done);
        }
        match lane {
            Some(lane) => self.next_of(lane).into_iter().collect(),
            None => self.all_lanes(),
        }
    }
}

fn inode(path: &Path) -> Option<u64> {
    std::fs::symlink_metadata(path).ok().map(|file| file.ino())
}

/// What a line says: of the program `queuectl`, or of an actor, which speaks like it.
fn understand(line: &str, markers: &mut std::vec::IntoIter<Marker>) -> Option<Event> {
    let words: Vec<&str> = line.split(' ').collect();
    let own = |id: &str| id.to_owned();
    let ack = match words.as_slice() {
        ["asks", rest @ ..] => {
            let asked: Vec<Marker> = rest.iter().filter_map(|word| word.parse().ok()).collect();
            *markers = asked.clone().into_iter();
            return Some(Event::Ask(Ask::Enqueue(asked)));
        }
        ["deletes", id] => return Some(Event::Ask(Ask::Purge(vec![own(id)]))),
        ["deleted", id] if id.parse::<u64>().is_err() => Ack::Purged(vec![own(id)]),
        ["enqueued", id] => Ack::Enqueued(own(id), markers.next()),
        ["exists", "already:", id] => {
            markers.next();
            Ack::Enqueued(own(id), None)
        }
        ["cancelled", id] => Ack::Cancelled(own(id)),
        ["cancelling", id, ..] => Ack::Cancelling(own(id).trim_end_matches(':').to_owned()),
        [id, "will", "run", "again"] => Ack::Retried(own(id)),
        [_, worker, id, "started", ..] if worker.starts_with('w') => Ack::Started(own(id)),
        [_, worker, id, state, "after", ..] if worker.starts_with('w') => {
            Ack::Settled(own(id), state.parse::<State>().ok()?)
        }
        _ => return None,
    };
    Some(Event::Ack(ack))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_prints_is_understood() {
        let mut markers = vec![7, 8].into_iter();
        let mut said = |line| format!("{:?}", understand(line, &mut markers));
        assert_eq!(said("enqueued q1"), r#"Some(Ack(Enqueued("q1", Some(7))))"#);
        assert_eq!(said("exists already: q1"), r#"Some(Ack(Enqueued("q1", None)))"#);
        let cancelling = "cancelling q1: its worker has been told to stop it";
        assert_eq!(said(cancelling), r#"Some(Ack(Cancelling("q1")))"#);
        assert_eq!(said("c1 will run again"), r#"Some(Ack(Retried("c1")))"#);
        let line = "2026-11-22T08:57:39.204Z w1 q1 started (attempt 1 of 4)";
        assert_eq!(said(line), r#"Some(Ack(Started("q1")))"#);
        let line = "2026-11-22T08:57:39.232Z w1 q1 completed after 20ms";
        assert_eq!(said(line), r#"Some(Ack(Settled("q1", Completed)))"#);
        assert_eq!(said("deleted 1 job"), "None");
        assert_eq!(said("2026-11-22T08:57:39Z stopping when running jobs have ended"), "None");
        assert_eq!(said("asks 3 4"), "Some(Ask(Enqueue([3, 4])))");
    }
}
