//! What the figures were measured on: they mean nothing without it.

use std::fmt;
use std::fs::{File, read_to_string};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use queuectl_core::{Clock, SystemClock};

use crate::door;
use crate::figures::Spread;

/// The machine, the versions and the state of both.
#[derive(Debug)]
pub struct Machine {
    /// Today, UTC: `2026-01-31`.
    pub date: String,
    /// The short hash of the commit, or `dirty` if the work tree differs from it.
    pub commit: String,
    cpu: String,
    cores: usize,
    kernel: String,
    sqlite: &'static str,
    rustc: String,
    file_system: String,
    sync: Option<Duration>,
    load: String,
}

impl Machine {
    /// Looks at the machine; `dir` is where the files will be.
    pub fn look(dir: &Path) -> Self {
        let trimmed = |path| read_to_string(path).map_or("unknown".into(), |s| s.trim().to_owned());
        Machine {
            date: SystemClock.now().to_string()[..10].to_owned(),
            commit: commit(),
            cpu: cpu().unwrap_or_else(|| "unknown".into()),
            cores: std::thread::available_parallelism().map_or(0, |n| n.get()),
            kernel: trimmed("/proc/sys/kernel/osrelease"),
            sqlite: rusqlite::version(),
            rustc: door::first_line_of("rustc", &["--version"]).unwrap_or("unknown".into()),
            file_system: file_system(dir).unwrap_or_else(|| "unknown".into()),
            sync: sync_time(dir).ok(),
            load: load(),
        }
    }

    /// Whether what is synced to this file system is gone after a power cut all the same.
    pub fn forgets(&self) -> bool {
        matches!(self.file_system.as_str(), "tmpfs" | "ramfs")
    }

    /// Whether something else was running when the benchmark began.
    pub fn is_busy(&self) -> bool {
        let newest = self.load.split(' ').next().and_then(|n| n.parse().ok());
        newest.is_some_and(|load: f64| load > self.cores as f64 / 4.0)
    }
}

/// Shows the machine as a Markdown list.
impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "- date: {}, commit: {}", self.date, self.commit)?;
        writeln!(f, "- machine: {}, {} cores", self.cpu, self.cores)?;
        writeln!(f, "- kernel: Linux {}", self.kernel)?;
        writeln!(f, "- SQLite {}, {}", self.sqlite, self.rustc)?;
        write!(f, "- files on: {}", self.file_system)?;
        if let Some(sync) = self.sync {
            write!(f, ", fdatasync of 4 KiB takes {} µs", sync.as_micros())?;
        }
        writeln!(f)?;
        if self.forgets() {
            writeln!(f, "- **{} keeps nothing: `full` means nothing here**", self.file_system)?;
        }
        write!(f, "- load average at the start: {}", self.load)?;
        if self.is_busy() {
            write!(f, " (the machine was not quiet)")?;
        }
        Ok(())
    }
}

/// The load averages of the last 1, 5 and 15 minutes.
pub fn load() -> String {
    let text = read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn commit() -> String {
    let folder = env!("CARGO_MANIFEST_DIR");
    let git =
        |arguments: &[&str]| door::first_line_of("git", &[&["-C", folder], arguments].concat());
    let Some(hash) = git(&["rev-parse", "--short", "HEAD"]) else {
        return "unknown".into();
    };
    match git(&["status", "--porcelain"]) {
        Some(changes) if changes.is_empty() => hash,
        _ => "dirty".into(),
    }
}

fn cpu() -> Option<String> {
    let text = read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The name of the file system that `dir` is on: that of the longest mount point above it.
fn file_system(dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    let mounts = read_to_string("/proc/self/mounts").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (point, kind) = (fields.nth(1)?, fields.next()?);
        dir.starts_with(point).then_some((point.len(), kind))
    });
    // Of two mounts at one point, the later hides the earlier, and `max_by_key` takes the last.
    mounts.max_by_key(|(len, _)| *len).map(|(_, kind)| kind.to_owned())
}

/// What one sync costs here, at best all that `full` adds to a commit.
fn sync_time(dir: &Path) -> std::io::Result<Duration> {
    let mut file: File = tempfile::tempfile_in(dir)?;
    let mut times = Vec::new();
    for _ in 0..32 {
        let (done, took) = door::timed(|| {
            file.write_all(&[7; 4096])?;
            file.sync_data()
        });
        done?;
        times.push(took.as_secs_f64());
    }
    Ok(Duration::from_secs_f64(Spread::of(times).median))
}
