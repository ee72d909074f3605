//! What `/proc` tells about processes: their group and age, the mark of their attempt, the locks
//! they hold. Whatever is read may be gone a moment later; callers that act on it hold a pidfd and
//! ask again.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::ENV_LEASE;
use crate::id::{JobKey, Token};

/// The value of the variable that marks the processes of an attempt.
pub(super) fn mark(store: &str, JobKey(key): JobKey, Token(token): Token) -> String {
    format!("{store}:{key}:{token}")
}

/// A process, held by a descriptor: what is sent to it cannot reach another one that got its number
/// after it ended.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: Pid,
    fd: OwnedFd,
}

impl Process {
    /// The process of that number, if there is one and it passes `test` now that it is held.
    ///
    /// # Errors
    ///
    /// If it cannot be held: for want of descriptors, or on kernels before 5.3.
    pub(super) fn hold(pid: Pid, test: impl FnOnce(Pid) -> bool) -> io::Result<Option<Self>> {
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => Ok(test(pid).then_some(Process { pid, fd })),
            Err(Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Kills it. It may have ended already, or be another user's.
    pub(super) fn kill(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.fd, Signal::KILL);
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Every process there is.
pub(super) fn pids() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
}

/// The fields of `/proc/<pid>/stat` that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) state: u8,
    pub(super) group: i32,
    pub(super) session: i32,
    /// In clock ticks after boot.
    pub(super) started: u64,
    /// It has memory, but no environment in it, not even an empty one. So it is in the middle of
    /// `exec`; unless this user may not look into it, for then the field is hidden.
    in_exec: bool,
}

impl Stat {
    pub(super) fn of(pid: Pid) -> Option<Self> {
        // The kernel makes the whole text for each read: one that is large enough for it is one call.
        let mut text = [0; 2048];
        let mut file = fs::File::open(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        let len = file.read(&mut text).ok()?;
        Self::parse(&text[..len])
    }

    /// The second field is the program's name in parentheses, which may contain anything, also
    /// spaces, newlines and parentheses: what follows the last parenthesis is plain.
    fn parse(text: &[u8]) -> Option<Self> {
        let end = text.iter().rposition(|&byte| byte == b')')?;
        let rest = std::str::from_utf8(&text[end + 1..]).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let group = fields.nth(1)?.parse().ok()?;
        let session = fields.next()?.parse().ok()?;
        let started = fields.nth(15)?.parse().ok()?;
        let memory = fields.next()?;
        let environment_end = fields.nth(27)?;
        Some(Stat {
            state,
            group,
            session,
            started,
            in_exec: memory != "0" && environment_end == "0",
        })
    }

    /// Whether it still runs. A zombie does not: it waits to be waited for, for ever if its parent
    /// does not care.
    pub(super) fn lives(&self) -> bool {
        !matches!(self.state, b'Z' | b'X')
    }
}

/// What the environment that a process started with says of a job's attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// It belongs to the attempt with this token.
    Of(Token),
    /// It belongs to none, or to another user.
    Absent,
    /// It is just becoming another program, and has no environment until it is.
    Unsettled,
}

impl Mark {
    /// The mark of a process, for one job of one store.
    pub(super) fn of(pid: Pid, store: &str, key: JobKey) -> Self {
        let Ok(environment) = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())) else {
            return Mark::Absent;
        };
        match token_in(&environment, store, key) {
            Some(token) => Mark::Of(token),
            None if environment.is_empty() && Stat::of(pid).is_some_and(|stat| stat.in_exec) => {
                Mark::Unsettled
            }
            None => Mark::Absent,
        }
    }
}

fn token_in(environment: &[u8], store: &str, JobKey(key): JobKey) -> Option<Token> {
    let prefix = format!("{ENV_LEASE}={store}:{key}:");
    environment.split(|&byte| byte == 0).find_map(|variable| {
        let token = variable.strip_prefix(prefix.as_bytes())?;
        Some(Token(std::str::from_utf8(token).ok()?.parse().ok()?))
    })
}

/// Whether a process holds an exclusive lock on `file` that it did not take itself: it inherited
/// the descriptor from the one that did.
pub(super) fn inherited_lock(pid: Pid, file: &fs::Metadata) -> bool {
    let base = format!("/proc/{}", pid.as_raw_nonzero());
    let Ok(descriptors) = fs::read_dir(format!("{base}/fd")) else {
        return false;
    };
    descriptors.flatten().any(|descriptor| {
        let same = fs::metadata(descriptor.path())
            .is_ok_and(|other| (other.dev(), other.ino()) == (file.dev(), file.ino()));
        let number = descriptor.file_name();
        same && fs::read_to_string(format!("{base}/fdinfo/{}", number.display()))
            .is_ok_and(|info| names_foreign_lock(&info, pid))
    })
}

/// A line of `fdinfo` about a lock reads
/// `lock: 1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF`, with the pid that took it.
fn names_foreign_lock(info: &str, pid: Pid) -> bool {
    let pid = pid.as_raw_nonzero().to_string();
    info.lines().any(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        matches!(fields[..], ["lock:", _, "FLOCK", _, "WRITE", taker, ..] if taker != pid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_does_not_confuse_the_fields() {
        let head = "42 (a) S 9 9 (b\n) R 1 77 78 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 5555";
        let line = |memory, environment_end| {
            let between = "1 ".repeat(27);
            let text = format!("{head} {memory} {between}{environment_end} 0\n");
            Stat::parse(text.as_bytes()).unwrap()
        };
        let stat = line(4096, 0x7ffe);
        assert_eq!((stat.state, stat.group, stat.session), (b'R', 77, 78));
        assert_eq!(stat.started, 5555);
        assert!(!stat.in_exec);
        assert!(line(4096, 0).in_exec);
        // A thread of the kernel, or a zombie.
        assert!(!line(0, 0).in_exec);
        assert_eq!(Stat::parse(b"42 (a"), None);
    }

    #[test]
    fn this_process_is_found_and_lives() {
        let me = rustix::process::getpid();
        assert!(pids().any(|pid| pid == me));
        let stat = Stat::of(me).unwrap();
        assert!(stat.lives() && !stat.in_exec);
    }

    #[test]
    fn only_the_mark_of_that_store_and_job_counts() {
        let token = |environment: &str| token_in(environment.as_bytes(), "a:b", JobKey(4));
        assert_eq!(token("A=1\0QUEUECTL_LEASE=a:b:4:17\0B=2\0"), Some(Token(17)));
        assert_eq!(token("QUEUECTL_LEASE=a:b:44:17\0"), None);
        assert_eq!(token("QUEUECTL_LEASE=a:4:17\0"), None);
        assert_eq!(token("XQUEUECTL_LEASE=a:b:4:17\0"), None);
        assert_eq!(token("QUEUECTL_LEASE=a:b:4:17x\0"), None);
        assert_eq!(token("A=\nQUEUECTL_LEASE=a:b:4:17\0"), None);
        assert_eq!(
            token(&format!("{ENV_LEASE}={}\0", mark("a:b", JobKey(4), Token(1)))),
            Some(Token(1))
        );
    }

    #[test]
    fn whoever_took_the_lock_itself_is_not_a_leftover() {
        let info = "pos:\t0\nflags:\t02\nlock:\t1: FLOCK  ADVISORY  WRITE 17 fe:00:5678 0 EOF\n";
        let pid = |number| Pid::from_raw(number).unwrap();
        assert!(names_foreign_lock(info, pid(18)));
        assert!(!names_foreign_lock(info, pid(17)));
        assert!(!names_foreign_lock(&info.replace("WRITE", "READ"), pid(18)));
        assert!(!names_foreign_lock("pos:\t0\n", pid(18)));
    }
}
