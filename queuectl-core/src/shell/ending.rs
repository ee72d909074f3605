//! Ends a process group: when which signal is due, and how it is sent without ever reaching a
//! stranger.

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};

use super::processes::{self, Process, Stat};
use crate::clock::BootTime;

/// How long what a command left behind may take to end by itself. A `tee` at the end of a pipe has
/// its last lines to write; a server has been left on purpose, and will not use the time.
const COURTESY: Duration = Duration::from_millis(100);

/// How long after KILL a group is given up: its processes hang in the kernel.
const PATIENCE: Duration = Duration::from_secs(1);

/// The way down: TERM, and KILL when the grace is over. Decides; sends nothing itself.
#[derive(Debug)]
pub(super) struct Ladder {
    grace: Duration,
    term_at: Option<BootTime>,
    kill_at: Option<BootTime>,
    termed: bool,
    killed_at: Option<BootTime>,
}

impl Ladder {
    pub(super) fn new(grace: Duration) -> Self {
        Ladder { grace, term_at: None, kill_at: None, termed: false, killed_at: None }
    }

    /// The group has to stop.
    pub(super) fn stop(&mut self, now: BootTime) {
        self.plan(now, now + self.grace);
    }

    /// The group has to be gone at once.
    pub(super) fn kill(&mut self, now: BootTime) {
        self.plan(now, now);
    }

    /// The command is over, and left something in its group.
    pub(super) fn clear(&mut self, now: BootTime) {
        self.plan(now + COURTESY.min(self.grace / 2), now + self.grace);
    }

    /// A later plan never puts off an earlier one.
    fn plan(&mut self, term_at: BootTime, kill_at: BootTime) {
        let sooner = |old: Option<BootTime>, new| Some(old.map_or(new, |old| old.min(new)));
        self.term_at = sooner(self.term_at, term_at);
        self.kill_at = sooner(self.kill_at, kill_at);
    }

    /// The signal to send now, if one is due. Each is given out once.
    pub(super) fn due(&mut self, now: BootTime) -> Option<Signal> {
        let reached = |at: Option<BootTime>| at.is_some_and(|at| at <= now);
        if self.killed_at.is_none() && reached(self.kill_at) {
            self.killed_at = Some(now);
            return Some(Signal::KILL);
        }
        if !self.termed && self.killed_at.is_none() && reached(self.term_at) {
            self.termed = true;
            return Some(Signal::TERM);
        }
        None
    }

    /// How long until something is due.
    pub(super) fn next(&self, now: BootTime) -> Option<Duration> {
        let at = match self.killed_at {
            Some(killed_at) => Some(killed_at + PATIENCE),
            None if self.termed => self.kill_at,
            None => self.term_at.min(self.kill_at).or(self.kill_at),
        };
        at.map(|at| at.since(now))
    }

    /// Whether KILL was sent.
    pub(super) fn killed(&self) -> bool {
        self.killed_at.is_some()
    }

    /// Whether KILL was sent so long ago that it will not work any more.
    pub(super) fn exhausted(&self, now: BootTime) -> bool {
        self.killed_at.is_some_and(|killed_at| killed_at + PATIENCE <= now)
    }
}

/// The process group of an attempt.
#[derive(Debug)]
pub(super) struct Group {
    id: Pid,
    session: i32,
    /// When its leader started, in clock ticks: no member is older.
    since: u64,
}

impl Group {
    /// The group that `leader` leads. The leader must not have been waited for.
    pub(super) fn led_by(leader: Pid) -> io::Result<Self> {
        // In a container whose first process was started from outside, session and group are 0:
        // `getsid` and `getpgrp` of rustix panic at that, /proc does not.
        let (own_group, session) =
            Stat::of(rustix::process::getpid()).map_or((0, 0), |own| (own.group, own.session));
        if leader.is_init() || leader.as_raw_nonzero().get() == own_group {
            return Err(io::Error::other(format!("{leader:?} is not the group of an attempt")));
        }
        let since = Stat::of(leader).map_or(0, |stat| stat.started);
        Ok(Group { id: leader, session, since })
    }

    /// Sends a signal to every member. Only while the leader has not been waited for: until then
    /// its number, which is the group's, cannot be given to another process.
    pub(super) fn signal_led(&self, signal: Signal) {
        // It fails only if nobody is left.
        let _ = rustix::process::kill_process_group(self.id, signal);
        if signal == Signal::TERM {
            // A stopped process acts on TERM only when it is continued.
            let _ = rustix::process::kill_process_group(self.id, Signal::CONT);
        }
    }

    /// Sends a signal to every member after the leader is gone. The group's number stays taken as
    /// long as the group has a member, and numbers are given out in a circle. So it is enough that
    /// a member is seen right before, by its group, session and age.
    pub(super) fn signal_orphaned(&self, signal: Signal) {
        if self.member().is_some() {
            self.signal_led(signal);
        }
    }

    /// Whether the group is empty after its leader is gone, as far as one call tells. Zombies that
    /// nobody waits for count as members here.
    fn is_vacant(&self) -> bool {
        // As the first process of a container, this one is the parent of all orphans.
        while let Ok(Some(_)) = rustix::process::waitpgid(self.id, WaitOptions::NOHANG) {}
        rustix::process::test_kill_process_group(self.id) == Err(Errno::SRCH)
    }

    /// A member that still runs, after the leader is gone.
    pub(super) fn member(&self) -> Option<Member> {
        if self.is_vacant() {
            return None;
        }
        let pid = processes::pids().find(|&pid| self.has(pid))?;
        Some(match Process::hold(pid, |pid| self.has(pid)) {
            Ok(Some(process)) => Member::Held(process),
            // It ended meanwhile, or there are no pidfds: the caller looks again soon.
            Ok(None) | Err(_) => Member::Seen,
        })
    }

    /// Whether a process is a living member.
    pub(super) fn has(&self, pid: Pid) -> bool {
        Stat::of(pid).is_some_and(|stat| {
            stat.lives()
                && stat.group == self.id.as_raw_nonzero().get()
                && stat.session == self.session
                && stat.started >= self.since
        })
    }
}

/// A living member of a group.
#[derive(Debug)]
pub(super) enum Member {
    /// Its end can be waited for.
    Held(Process),
    /// It was there a moment ago.
    Seen,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> BootTime {
        BootTime::from_millis(millis)
    }

    const GRACE: Duration = Duration::from_secs(2);

    #[test]
    fn term_then_kill_when_the_grace_is_over() {
        let mut ladder = Ladder::new(GRACE);
        assert_eq!(ladder.due(at(0)), None);
        assert_eq!(ladder.next(at(0)), None);
        ladder.stop(at(10));
        assert_eq!(ladder.due(at(10)), Some(Signal::TERM));
        assert_eq!(ladder.due(at(2009)), None);
        assert_eq!(ladder.next(at(2009)), Some(Duration::from_millis(1)));
        assert_eq!(ladder.due(at(2010)), Some(Signal::KILL));
        assert_eq!(ladder.due(at(2010)), None);
        assert!(!ladder.exhausted(at(3009)));
        assert!(ladder.exhausted(at(3010)));
    }

    #[test]
    fn a_lost_lease_overtakes_the_grace() {
        let mut ladder = Ladder::new(GRACE);
        ladder.stop(at(0));
        assert_eq!(ladder.due(at(0)), Some(Signal::TERM));
        ladder.kill(at(5));
        assert_eq!(ladder.due(at(5)), Some(Signal::KILL));
        let mut ladder = Ladder::new(GRACE);
        ladder.kill(at(0));
        assert_eq!(ladder.due(at(0)), Some(Signal::KILL));
        assert_eq!(ladder.due(at(9)), None);
    }

    #[test]
    fn what_is_left_behind_gets_a_moment_and_never_more_than_the_grace() {
        let mut ladder = Ladder::new(GRACE);
        ladder.clear(at(0));
        assert_eq!(ladder.next(at(0)), Some(COURTESY));
        assert_eq!(ladder.due(at(100)), Some(Signal::TERM));
        assert_eq!(ladder.due(at(2000)), Some(Signal::KILL));

        let mut ladder = Ladder::new(GRACE);
        ladder.stop(at(0));
        assert_eq!(ladder.due(at(0)), Some(Signal::TERM));
        ladder.clear(at(1500));
        assert_eq!(ladder.due(at(1999)), None);
        assert_eq!(ladder.due(at(2000)), Some(Signal::KILL));

        let mut ladder = Ladder::new(Duration::ZERO);
        ladder.clear(at(0));
        assert_eq!(ladder.due(at(0)), Some(Signal::KILL));
    }

    #[test]
    fn the_own_group_and_init_are_never_a_target() {
        assert!(Group::led_by(Pid::INIT).is_err());
        let own_group = Stat::of(rustix::process::getpid()).unwrap().group;
        if let Some(own_group) = Pid::from_raw(own_group) {
            assert!(Group::led_by(own_group).is_err());
        }
    }
}
