//! The program `queuectl` beside this one. Both must be what the sources make: a proof of an older
//! one would prove nothing, and look the same.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The program. It is looked at once, so that nobody who edits a source ends a proof of some hours.
pub(crate) fn queuectl() -> io::Result<PathBuf> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOUND
        .get_or_init(|| look().map_err(|error| error.to_string()))
        .clone()
        .map_err(io::Error::other)
}

fn look() -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    // The tests of this program stand one folder below.
    let folders = own.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join("queuectl")).find(|path| path.is_file());
    let path = found.ok_or_else(|| {
        let own = own.display();
        io::Error::other(format!("there is no queuectl beside {own}; build queuectl-cli as well"))
    })?;
    // This one has the library within it, which may be old as well.
    for program in [&own, &path] {
        let name = program.display();
        match newer_source(program) {
            Ok(None) => {}
            Ok(Some(source)) => {
                let source = source.display();
                let what = format!("{name} is older than {source}; build prove and queuectl-cli");
                return Err(io::Error::other(what));
            }
            Err(error) => say!("{name} may be old: nothing says what it was made of: {error}"),
        }
    }
    Ok(path)
}

/// A source of a program that has changed since it was built. Which they are, cargo has written down
/// beside it, as a rule of make: `program: source source`.
fn newer_source(program: &Path) -> io::Result<Option<PathBuf>> {
    let built = fs::metadata(program)?.modified()?;
    let rule = fs::read_to_string(program.with_extension("d"))?;
    let (_, sources) = rule.split_once(": ").ok_or(io::ErrorKind::InvalidData)?;
    // A blank within a name has a backslash before it.
    let sources = sources.replace("\\ ", "\0");
    let mut sources = sources.split_whitespace().map(|name| PathBuf::from(name.replace('\0', " ")));
    // One that is gone was named by another, which has changed.
    let is_newer = |source: &PathBuf| {
        fs::metadata(source).and_then(|source| source.modified()).is_ok_and(|at| at > built)
    };
    Ok(sources.find(is_newer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_program_is_old_when_a_source_is_newer() {
        let folder = tempfile::tempdir().unwrap();
        let [program, one, two] = ["program", "one.rs", "the other.rs"].map(|name| {
            let path = folder.path().join(name);
            fs::write(&path, "").unwrap();
            path
        });
        assert!(newer_source(&program).is_err(), "nobody knows");
        let named = |path: &Path| path.display().to_string().replace(' ', "\\ ");
        let rule = format!("{}: {} {}\n", named(&program), named(&one), named(&two));
        fs::write(program.with_extension("d"), rule).unwrap();
        let at = |path: &Path, seconds| {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        };
        at(&program, 10);
        at(&one, 9);
        at(&two, 10);
        assert_eq!(newer_source(&program).unwrap(), None);
        at(&two, 11);
        assert_eq!(newer_source(&program).unwrap(), Some(two));
    }
}
