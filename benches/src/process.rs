//! Other processes: parts of this program that run by themselves, and `queuectl`.
//!
//! A part is this very program, started again with the word `part`. It tells what it has to tell line
//! by line on its standard output, and ends when its standard input does: so none outlives the
//! benchmark, and nobody sleeps to wait for another one.

use std::fs::{read_dir, read_to_string};
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::Result;
use crate::door;

/// The word that makes this program run a part of itself.
pub const PART: &str = "part";

/// This program, also when a newer one has been built in its place since it was started.
pub(crate) const OWN: &str = "/proc/self/exe";

/// A running process.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts a part of this program.
    pub(crate) fn part(words: &[&str]) -> Result<Self> {
        let mut command = door::companion(Path::new(OWN));
        command.arg(PART).args(words);
        Process::start(&mut command)
    }

    /// Starts a program whose standard input and output are ours to use.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        Ok(Process { input: child.stdin.take(), output, child })
    }

    /// Waits for the next line that it says.
    pub(crate) fn hear(&mut self) -> Result<String> {
        Ok(self.output.next().ok_or("a process ended too soon")??)
    }

    /// Waits for a line of so many numbers.
    pub(crate) fn hear_numbers<T: FromStr, const N: usize>(&mut self) -> Result<[T; N]> {
        numbers(&self.hear()?)
    }

    /// Says a line to it.
    pub(crate) fn say(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().ok_or("its input is closed")?;
        Ok(writeln!(input, "{line}")?)
    }

    /// Tells it that it will hear no more: a part takes that as the wish that it ends.
    pub(crate) fn hush(&mut self) {
        self.input = None;
    }

    /// Asks it to end, as a person would.
    pub(crate) fn terminate(&self) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        Ok(rustix::process::kill_process(pid, Signal::TERM)?)
    }

    /// Waits for its end, which must be a success.
    pub(crate) fn end(mut self) -> Result<()> {
        self.hush();
        let status = self.child.wait()?;
        if !status.success() {
            return Err(format!("a process ended with {status}").into());
        }
        Ok(())
    }

    /// How long its threads have run on any core.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        let mut all = Duration::ZERO;
        for thread in read_dir(format!("/proc/{}/task", self.child.id()))? {
            // In nanoseconds; what `stat` tells is counted in hundredths of a second, more than a
            // worker that waits uses in ten.
            let text = read_to_string(thread?.path().join("schedstat"))?;
            let [ran, _, _] = numbers(&text)?;
            all += Duration::from_nanos(ran);
        }
        Ok(all)
    }

    /// How much of it is in memory, in bytes, with what it shares with others.
    pub(crate) fn resident(&self) -> Result<u64> {
        let text = read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(kibibytes.ok_or("no VmRSS")?.trim().parse::<u64>()? * 1024)
    }
}

/// A benchmark that fails leaves nothing running.
impl Drop for Process {
    fn drop(&mut self) {
        // Both do nothing if it has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// So many numbers, with spaces between them.
pub(crate) fn numbers<T: FromStr, const N: usize>(line: &str) -> Result<[T; N]> {
    let all: Option<Vec<T>> = line.split_whitespace().map(|word| word.parse().ok()).collect();
    all.and_then(|all| all.try_into().ok())
        .ok_or_else(|| format!("{line:?} is not {N} numbers").into())
}

/// The `queuectl` beside this program.
pub(crate) fn queuectl() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    // Benchmarks stand in a folder of their own below it.
    let folders = here.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join("queuectl")).find(|path| path.is_file());
    found.ok_or_else(|| {
        let folder = here.parent().unwrap_or(&here).display();
        format!("no queuectl above {folder}: cargo build --release -p queuectl-cli").into()
    })
}

/// `queuectl` on a store, saying nothing.
pub(crate) fn queuectl_on(store: &Path) -> Result<Command> {
    let mut command = door::program(queuectl()?);
    command.arg("--store").arg(store).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command)
}

/// Runs a program to its end, which must be a success.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    if !status.success() {
        return Err(format!("{command:?} ended with {status}").into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_just_as_many_numbers_as_were_asked_for() {
        assert_eq!(numbers::<f64, 2>("1 2.5\n").unwrap(), [1.0, 2.5]);
        assert!(numbers::<u64, 1>("1 2").is_err());
        assert!(numbers::<u64, 2>("1 two").is_err());
    }
}
