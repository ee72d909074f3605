//! Looks at the directory and the program before a process is made: after a failed `exec` a missing
//! directory and a missing program are the same number.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::spawn::Failure;

/// Where programs are when `PATH` is not set.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Checks that a command can be run in `directory`.
pub(super) fn directory(directory: &Path) -> Result<(), Failure> {
    let shown = directory.display();
    match directory.metadata() {
        Ok(metadata) if !metadata.is_dir() => {
            Err(Failure::permanent(format!("{shown} is not a directory")))
        }
        Ok(_) if rustix::fs::access(directory, Access::EXEC_OK).is_err() => {
            Err(Failure::permanent(format!("the directory {shown} may not be entered")))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(unreachable(&format!("the directory {shown}"), &error)),
    }
}

/// The path of a program as `exec` takes it. `path` is the variable of the environment that the
/// command will have, `cwd` the directory that it will run in.
pub(super) fn program(
    name: &str,
    path: Option<&OsStr>,
    cwd: Option<&Path>,
) -> Result<PathBuf, Failure> {
    let within = |path: &Path| cwd.map_or_else(|| path.to_owned(), |cwd| cwd.join(path));
    if name.contains('/') {
        // Run by the name it was given, which a script sees as its `$0`.
        return executable(&within(Path::new(name))).map(|()| name.into());
    }
    let path = path.unwrap_or(OsStr::new(DEFAULT_PATH));
    let mut refused = None;
    for folder in std::env::split_paths(path) {
        // An empty entry is the current directory. The `.` keeps the slash that `exec` needs.
        let candidate = within(&Path::new(".").join(folder)).join(name);
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            // As a shell does: what cannot be run is passed over, and told only if nothing else is
            // found further on.
            Err(failure) if candidate.exists() => refused = refused.or(Some(failure)),
            Err(_) => {}
        }
    }
    Err(refused.unwrap_or_else(|| {
        Failure::permanent(format!("the program {name:?} is not in PATH ({path:?})"))
    }))
}

fn executable(path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => {
            Err(Failure::permanent(format!("{shown} is a directory, not a program")))
        }
        Ok(_) if rustix::fs::access(path, Access::EXEC_OK).is_err() => {
            Err(Failure::permanent(format!("{shown} is not executable")))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(unreachable(&format!("the program {shown}"), &error)),
    }
}

fn unreachable(what: &str, error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::NotFound => Failure::permanent(format!("{what} does not exist")),
        ErrorKind::NotADirectory | ErrorKind::PermissionDenied | ErrorKind::InvalidFilename => {
            Failure::permanent(format!("{what} cannot be reached: {error}"))
        }
        // A file server that is away, for example.
        _ => Failure::retryable(format!("{what} cannot be reached: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    fn file(path: &Path, mode: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_first_executable_in_path_is_taken() {
        let home = tempfile::tempdir().unwrap();
        file(&home.path().join("a/tool"), 0o600);
        file(&home.path().join("b/tool"), 0o700);
        fs::create_dir_all(home.path().join("c/tool")).unwrap();
        let path = |names: &[&str]| {
            std::env::join_paths(names.iter().map(|name| home.path().join(name))).unwrap()
        };
        let find = |names: &[&str]| program("tool", Some(&path(names)), None);
        assert_eq!(find(&["none", "c", "a", "b"]).unwrap(), home.path().join("b/tool"));
        let text = find(&["none", "a"]).unwrap_err().to_string();
        assert!(text.contains("a/tool is not executable"), "{text}");
        let text = find(&["none"]).unwrap_err().to_string();
        assert!(text.contains("\"tool\" is not in PATH"), "{text}");
    }

    #[test]
    fn relative_names_are_meant_from_the_directory_of_the_job() {
        let home = tempfile::tempdir().unwrap();
        file(&home.path().join("bin/tool"), 0o700);
        let cwd = Some(home.path());
        let found = program("./bin/tool", None, cwd).unwrap();
        assert_eq!(found, Path::new("./bin/tool"));
        let found = program("tool", Some(OsStr::new("bin")), cwd).unwrap();
        assert_eq!(
            found.canonicalize().unwrap(),
            home.path().join("bin/tool").canonicalize().unwrap()
        );
        assert!(program("tool", Some(OsStr::new("/none:")), cwd).is_err());
    }
}
