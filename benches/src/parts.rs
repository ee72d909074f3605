//! The parts of this program that run as processes of their own, by name. What each does stands beside
//! the measure that needs it.

use std::fmt::Display;
use std::io::{BufRead, Write, stdin, stdout};
use std::path::Path;

use queuectl_core::Durability;

use crate::{Result, command, crowd, pickup};

/// A part.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    /// A worker that says how long each job took to reach it.
    Pickup,
    /// The same with bare SQL.
    FloorPickup,
    /// A worker that empties the queue, and says what that was like.
    Drain,
    /// Commits one row and ends.
    CommitOne,
}

impl Part {
    const ALL: [(&str, Part); 4] = [
        ("pickup", Part::Pickup),
        ("floor-pickup", Part::FloorPickup),
        ("drain", Part::Drain),
        ("commit-one", Part::CommitOne),
    ];

    /// The words that start it on a file.
    pub(crate) fn words(self, file: &Path, durability: Durability) -> [&str; 3] {
        let (name, _) = Part::ALL[self as usize];
        let file = file.to_str().expect("nobody names a folder for benchmarks without UTF-8");
        [name, file, durability.as_str()]
    }
}

/// Runs the part that these words name.
///
/// # Errors
///
/// If there is none, or it fails.
pub fn run(words: &[String]) -> Result<()> {
    let [name, file, durability] = words else {
        return Err("a part takes its name, a file and a durability".into());
    };
    let file = Path::new(file);
    let known = [Durability::Full, Durability::Normal, Durability::Off];
    let durability = known.into_iter().find(|level| level.as_str() == durability);
    let durability = durability.ok_or("there is no such durability")?;
    let part = Part::ALL.iter().find(|(known, _)| known == name);
    match part.ok_or("there is no such part")?.1 {
        Part::Pickup => pickup::part(file, durability),
        Part::FloorPickup => pickup::floor_part(file, durability),
        Part::Drain => crowd::part(file, durability),
        Part::CommitOne => command::part(file, durability),
    }
}

/// Says a line to whoever started this part. Nobody may be listening any more: then it ends soon.
pub(crate) fn say(line: impl Display) {
    let mut stdout = stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// The lines that are said to this part, until there are no more.
pub(crate) fn heard() -> impl Iterator<Item = std::io::Result<String>> {
    stdin().lock().lines()
}

/// Waits until nothing more is to be heard.
pub(crate) fn hear_no_more() {
    heard().for_each(drop);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_found_by_the_words_that_start_it() {
        for (place, (name, part)) in Part::ALL.into_iter().enumerate() {
            assert_eq!(part as usize, place);
            let words = part.words(Path::new("queue.db"), Durability::Normal);
            assert_eq!(words, [name, "queue.db", "normal"]);
        }
        assert!(run(&["unheard-of".into(), "queue.db".into(), "full".into()]).is_err());
        assert!(run(&["pickup".into()]).is_err());
    }
}
