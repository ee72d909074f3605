//! A copy of the workspace in which bugs are planted, one at a time. The workspace itself is only
//! read.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::bugs::Bug;

/// The copy, and where it is built. Both stay, so that the next run builds only what has changed.
pub(super) struct Garden {
    pub(super) folder: PathBuf,
    pub(super) target: PathBuf,
    /// Where the suites make their stores. What they leave there stays until the next run.
    pub(super) evidence: PathBuf,
}

impl Garden {
    /// Brings the copy up to date.
    pub(super) fn new(source: &Path) -> io::Result<Self> {
        let home = source.join("target/sabotage");
        let [folder, target, evidence] =
            ["workspace", "target", "evidence"].map(|name| home.join(name));
        copy(source, &folder)?;
        match fs::remove_dir_all(&evidence) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir(&evidence)?,
        }
        Ok(Garden { folder, target, evidence })
    }

    /// Plants a bug; gives what it replaces, for [`restore`](Self::restore). The workspace is not
    /// looked at again: somebody may work on it meanwhile.
    pub(super) fn plant(&self, bug: &Bug) -> io::Result<BTreeMap<&'static str, String>> {
        let mut before = BTreeMap::new();
        for (path, text) in planted(&self.folder, bug)? {
            before.insert(path, fs::read_to_string(self.folder.join(path))?);
            fs::write(self.folder.join(path), text)?;
        }
        Ok(before)
    }

    pub(super) fn restore(&self, before: &BTreeMap<&'static str, String>) -> io::Result<()> {
        before.iter().try_for_each(|(path, text)| fs::write(self.folder.join(path), text))
    }
}

/// The files that a bug changes, as it leaves them. An error if a text that it looks for is not
/// there exactly once: the source has moved on, and the bug has to follow.
pub(super) fn planted(source: &Path, bug: &Bug) -> io::Result<BTreeMap<&'static str, String>> {
    let mut files = BTreeMap::new();
    for &(path, find, replace) in bug.edits {
        let text = match files.remove(path) {
            Some(text) => text,
            None => fs::read_to_string(source.join(path))?,
        };
        let count = text.matches(find).count();
        if count != 1 {
            return Err(io::Error::other(format!(
                "{}: {path} has {count} times, and not once:\n{find}",
                bug.name
            )));
        }
        files.insert(path, text.replacen(find, replace, 1));
    }
    Ok(files)
}

/// Copies what is built; a file that is the same already keeps its time, so that it is not built
/// again. What is no longer in the source goes.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let skipped = |name: &std::ffi::OsStr| {
        name == "target" || name.to_str().is_some_and(|name| name.starts_with(".git"))
    };
    for entry in fs::read_dir(from)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if skipped(&name) {
            continue;
        }
        let copied = to.join(&name);
        if path.is_dir() {
            copy(&path, &copied)?;
        } else if path.is_file() {
            let bytes = fs::read(&path)?;
            if fs::read(&copied).ok().as_ref() != Some(&bytes) {
                fs::write(&copied, bytes)?;
            }
        }
    }
    for entry in fs::read_dir(to)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if !from.join(&name).exists() && name != "Cargo.lock" {
            if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
    }
    Ok(())
}
