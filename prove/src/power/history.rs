//! What processes did to the files of a store, in order, and what they acknowledged; and what a disk
//! may have of it when the power fails.
//!
//! The disk is the meanest that keeps its word: of what was not synced, anything may be missing, in
//! any order and across files, a write may be torn between two sectors, and a name is not there
//! before its folder was synced. What was synced stays, and so do the bytes beside a torn write.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

use super::expect::{Ack, Ask};

/// A file or a folder, whatever its name is at a time.
pub(super) type Node = usize;

/// The folder that was there before anything began.
pub(super) const ROOT: Node = 0;

const SECTOR: usize = 512;

/// One thing that happened.
#[derive(Debug)]
pub(super) enum Event {
    /// Names that begin to lead to something, or to nothing, in one step: folder, name, node.
    Names(Vec<(Node, String, Option<Node>)>),
    Write {
        node: Node,
        at: usize,
        data: Vec<u8>,
    },
    Truncate {
        node: Node,
        len: usize,
    },
    /// Everything about the node that had happened before this many events is on the disk.
    Sync {
        node: Node,
        upto: usize,
    },
    /// A process was asked to do something; from now on it may be found done.
    Ask(Ask),
    /// It was said to be done; from now on it must be.
    Ack(Ack),
}

/// Everything that happened.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) events: Vec<Event>,
    /// Which nodes are folders.
    pub(super) folders: HashSet<Node>,
}

/// How much of what was not synced is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Survival {
    Nothing,
    Everything,
    /// Each write, truncation and name with the same chance.
    Some,
    /// The same, and the newest writes sector by sector.
    Torn,
}

/// The files of a crash image.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Image {
    pub(super) folders: Vec<PathBuf>,
    pub(super) files: Vec<(PathBuf, Vec<u8>)>,
}

/// What is on the disk for sure, and what only may be, at one moment of a history.
#[derive(Debug, Default)]
pub(super) struct Disk {
    files: HashMap<Node, Contents>,
    names: BTreeMap<(Node, String), Node>,
    /// The numbers of the events that changed names and are not on the disk for sure.
    pending: Vec<usize>,
}

#[derive(Debug, Default, Clone)]
struct Contents {
    bytes: Vec<u8>,
    pending: Vec<usize>,
}

impl Disk {
    /// Lets event number `index` of a history happen.
    pub(super) fn apply(&mut self, history: &History, index: usize) {
        match &history.events[index] {
            Event::Names(_) => self.pending.push(index),
            Event::Write { node, .. } | Event::Truncate { node, .. } => {
                self.files.entry(*node).or_default().pending.push(index);
            }
            Event::Sync { node, upto } if history.folders.contains(node) => {
                let all = std::mem::take(&mut self.pending);
                for index in all {
                    let Event::Names(changes) = &history.events[index] else { continue };
                    if index < *upto && changes.iter().any(|(folder, ..)| folder == node) {
                        rename(&mut self.names, changes);
                    } else {
                        self.pending.push(index);
                    }
                }
            }
            Event::Sync { node, upto } => {
                let contents = self.files.entry(*node).or_default();
                for index in std::mem::take(&mut contents.pending) {
                    if index < *upto {
                        change(&mut contents.bytes, &history.events[index]);
                    } else {
                        contents.pending.push(index);
                    }
                }
            }
            Event::Ask(_) | Event::Ack(_) => {}
        }
    }

    /// What a crash now may leave.
    pub(super) fn crash(
        &self,
        history: &History,
        survival: Survival,
        rng: &mut fastrand::Rng,
    ) -> Image {
        let chance = [0.1, 0.5, 0.9][rng.usize(0..3)];
        let mut survives = |_: usize| match survival {
            Survival::Nothing => false,
            Survival::Everything => true,
            Survival::Some | Survival::Torn => rng.f64() < chance,
        };
        let mut names = self.names.clone();
        for &index in &self.pending {
            if let (Event::Names(changes), true) = (&history.events[index], survives(index)) {
                rename(&mut names, changes);
            }
        }
        let mut image = Image::default();
        for (path, node) in reachable(&names) {
            if history.folders.contains(&node) {
                image.folders.push(path);
                continue;
            }
            let contents = self.files.get(&node).cloned().unwrap_or_default();
            let bytes = left_of(contents, history, survival, chance, rng);
            image.files.push((path, bytes));
        }
        image
    }
}

/// What may be left of a file.
fn left_of(
    contents: Contents,
    history: &History,
    survival: Survival,
    chance: f64,
    rng: &mut fastrand::Rng,
) -> Vec<u8> {
    /// How many of a file's newest writes may be torn.
    const TORN_MAX: usize = 6;
    let Contents { mut bytes, pending } = contents;
    let synced_len = bytes.len();
    let newest = pending.len().saturating_sub(TORN_MAX);
    let mut longest = synced_len;
    for (place, &index) in pending.iter().enumerate() {
        let event = &history.events[index];
        if let Event::Write { at, data, .. } = event {
            longest = longest.max(at + data.len());
        }
        match survival {
            Survival::Nothing => {}
            Survival::Everything => change(&mut bytes, event),
            Survival::Torn if place >= newest => tear(&mut bytes, event, rng),
            Survival::Some | Survival::Torn if rng.f64() < chance => change(&mut bytes, event),
            Survival::Some | Survival::Torn => {}
        }
    }
    // The length is written apart from the contents: it may be ahead of them, or behind.
    if matches!(survival, Survival::Some | Survival::Torn) && !pending.is_empty() {
        match rng.usize(0..6) {
            0 => bytes.resize(longest.max(bytes.len()), 0),
            1 if bytes.len() > synced_len => bytes.truncate(synced_len),
            _ => {}
        }
    }
    bytes
}

/// Lets some of the sectors of a write arrive.
fn tear(bytes: &mut Vec<u8>, event: &Event, rng: &mut fastrand::Rng) {
    let Event::Write { at, data, .. } = event else {
        if rng.bool() {
            change(bytes, event);
        }
        return;
    };
    let mut from = 0;
    while from < data.len() {
        let sector_end = ((at + from) / SECTOR + 1) * SECTOR - at;
        let to = sector_end.min(data.len());
        if rng.bool() {
            write(bytes, at + from, &data[from..to]);
        }
        from = to;
    }
}

fn change(bytes: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Write { at, data, .. } => write(bytes, *at, data),
        Event::Truncate { len, .. } => bytes.resize(*len, 0),
        _ => {}
    }
}

fn write(bytes: &mut Vec<u8>, at: usize, data: &[u8]) {
    if bytes.len() < at + data.len() {
        bytes.resize(at + data.len(), 0);
    }
    bytes[at..at + data.len()].copy_from_slice(data);
}

fn rename(names: &mut BTreeMap<(Node, String), Node>, changes: &[(Node, String, Option<Node>)]) {
    for (folder, name, node) in changes {
        match node {
            Some(node) => names.insert((*folder, name.clone()), *node),
            None => names.remove(&(*folder, name.clone())),
        };
    }
}

/// Every path that leads to something, folders before what is in them.
fn reachable(names: &BTreeMap<(Node, String), Node>) -> Vec<(PathBuf, Node)> {
    let mut found: Vec<(PathBuf, Node)> = Vec::new();
    let mut open = vec![(PathBuf::new(), ROOT)];
    while let Some((path, folder)) = open.pop() {
        let inside = names.range((folder, String::new())..(folder + 1, String::new()));
        for ((_, name), node) in inside {
            found.push((path.join(name), *node));
            open.push((path.join(name), *node));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: Node = 1;

    fn history(events: Vec<Event>) -> History {
        History { events, folders: HashSet::from([ROOT]) }
    }

    fn named() -> Event {
        Event::Names(vec![(ROOT, "f".into(), Some(FILE))])
    }

    fn wrote(at: usize, data: &[u8]) -> Event {
        Event::Write { node: FILE, at, data: data.to_vec() }
    }

    fn images(history: &History, survival: Survival) -> HashSet<Vec<(PathBuf, Vec<u8>)>> {
        let mut disk = Disk::default();
        for index in 0..history.events.len() {
            disk.apply(history, index);
        }
        let mut rng = fastrand::Rng::with_seed(1);
        (0..500).map(|_| disk.crash(history, survival, &mut rng).files).collect()
    }

    #[test]
    fn what_was_synced_is_in_every_image() {
        let events = vec![
            named(),
            wrote(0, b"old"),
            Event::Sync { node: FILE, upto: 2 },
            Event::Sync { node: ROOT, upto: 3 },
            wrote(3, b"new"),
        ];
        let history = history(events);
        for survival in [Survival::Nothing, Survival::Everything, Survival::Some, Survival::Torn] {
            for image in images(&history, survival) {
                assert!(image[0].1.starts_with(b"old"), "{survival:?}: {image:?}");
            }
        }
        assert_eq!(images(&history, Survival::Nothing).len(), 1);
        assert!(images(&history, Survival::Some).len() >= 3);
    }

    #[test]
    fn a_name_needs_its_folder_to_be_synced() {
        let events = vec![named(), wrote(0, b"x"), Event::Sync { node: FILE, upto: 2 }];
        let seen = images(&history(events), Survival::Some);
        assert!(seen.contains(&Vec::new()), "{seen:?}");
    }

    #[test]
    fn a_write_that_began_before_the_sync_but_ended_after_is_not_synced_by_it() {
        let events = vec![
            named(),
            wrote(0, b"x"),
            Event::Sync { node: ROOT, upto: 2 },
            Event::Sync { node: FILE, upto: 1 },
        ];
        let seen = images(&history(events), Survival::Nothing);
        assert!(seen.contains(&vec![("f".into(), Vec::new())]), "{seen:?}");
    }

    #[test]
    fn a_torn_write_is_torn_between_sectors_only() {
        let mut events = vec![named(), wrote(0, &[1; 100]), Event::Sync { node: FILE, upto: 2 }];
        events.push(Event::Sync { node: ROOT, upto: 3 });
        events.push(wrote(100, &[2; 1000]));
        let seen = images(&history(events), Survival::Torn);
        let torn = |bytes: &Vec<u8>| bytes.len() > 512 && bytes[100] != bytes[512];
        assert!(seen.iter().any(|image| torn(&image[0].1)));
        for image in &seen {
            let bytes = &image[0].1;
            assert!(bytes[..100] == [1; 100]);
            let same = |range: &[u8]| range.iter().all(|byte| *byte == range[0]);
            let end = bytes.len().min(512);
            assert!(bytes.len() <= 100 || same(&bytes[100..end]));
        }
    }
}
