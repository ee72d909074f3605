//! The commands that are tried: on which store, what they lead to, and what they say when it is done.

/// A command of `queuectl`, and what must come of it.
#[derive(Debug)]
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    /// What makes the store it is tried on, one command after the other; none is made without any.
    pub(crate) before: &'static [&'static [&'static str]],
    pub(crate) args: &'static [&'static str],
    pub(crate) stdin: &'static str,
    /// Once it has printed this, on either output, the goal is reached for good. Empty: it changes
    /// nothing.
    pub(crate) told: &'static str,
    /// Questions to the store and their answers when it is done.
    pub(crate) goal: &'static [(&'static str, i64)],
    /// Questions that have one of two answers at any moment: before and after.
    pub(crate) either: &'static [(&'static str, [i64; 2])],
    /// How it may end when it is said again, done or not.
    pub(crate) again: &'static [i32],
    /// It goes on by itself when the store fails for a while.
    pub(crate) persistent: bool,
}

/// A store with a job in every state that matters, in queues of their own.
const FURNISHED: &[&[&str]] = &[
    LOGS,
    &["enqueue", "--id", "dead", "-r", "0", "--queue", "broken", "exit 3"],
    &["enqueue", "--id", "deader", "-r", "0", "--queue", "broken", "exit 4"],
    &["worker", "start", "--drain", "--queue", "broken"],
    BYSTANDER,
    WAITS,
    &["enqueue", "--id", "ready", "--queue", "work", "--unique-key", "mine", RUNS],
];

/// A store with a dead worker that held a job.
const BEREFT: &[&[&str]] = &[
    LOGS,
    BYSTANDER,
    WAITS,
    &["enqueue", "--id", "ready", "--queue", "work", KILLS],
    &["worker", "start", "--drain", "--queue", "work"],
];

/// All that happens is held against the event log.
const LOGS: &[&str] = &["config", "set", "event-log", "on"];

const BYSTANDER: &[&str] =
    &["enqueue", "--id", "bystander", "--queue", "aside", "--delay", "9h", "true"];
const WAITS: &[&str] =
    &["enqueue", "--id", "waits", "--queue", "aside", "--after", "bystander", "true"];

/// A job that leaves a line each time it runs. Its worker's home is the folder of the trial.
const RUNS: &str = "echo ran >> $HOME/witness";
/// The same, but the first time it kills its worker instead.
const KILLS: &str = "mkdir $HOME/once && kill -9 $PPID && sleep 9; echo ran >> $HOME/witness";

const PLAIN: Verb = Verb {
    name: "",
    before: FURNISHED,
    args: &[],
    stdin: "",
    told: "",
    goal: &[],
    either: &[],
    again: &[0],
    persistent: false,
};

/// What holds on a furnished store whatever happens: nobody touches the jobs that stand aside.
pub(crate) const ALWAYS: [(&str, i64); 2] = [
    ("SELECT count(*) FROM queuectl_job WHERE name = 'bystander' AND state = 0", 1),
    ("SELECT count(*) FROM queuectl_job WHERE name = 'waits' AND state = 1", 1),
];

pub(crate) const VERBS: &[Verb] = &[
    Verb {
        name: "first enqueue",
        before: &[],
        args: &["enqueue", "--id", "new", "true"],
        told: "enqueued new",
        goal: &[("SELECT count(*) FROM queuectl_job WHERE name = 'new'", 1)],
        again: &[0, 4],
        ..PLAIN
    },
    Verb {
        name: "enqueue",
        args: &["enqueue", "--id", "new", "true"],
        told: "enqueued new",
        goal: &[("SELECT count(*) FROM queuectl_job WHERE name = 'new'", 1)],
        again: &[0, 4],
        ..PLAIN
    },
    Verb {
        name: "enqueue by key",
        args: &["enqueue", "--unique-key", "key", "true"],
        told: "enqueued q",
        goal: &[("SELECT count(*) FROM queuectl_job WHERE unique_key = 'key'", 1)],
        ..PLAIN
    },
    Verb {
        name: "enqueue many",
        args: &["enqueue", "-"],
        stdin: "{\"command\":\"true\",\"unique_key\":\"k1\"}\n\
                {\"command\":\"true\",\"unique_key\":\"k2\",\"queue\":\"other\"}\n\
                {\"command\":\"true\",\"unique_key\":\"k3\",\"delay\":\"1h\"}\n",
        told: "enqueued q",
        goal: &[
            ("SELECT count(*) FROM queuectl_job WHERE unique_key LIKE 'k_'", 3),
            ("SELECT count(DISTINCT unique_key) FROM queuectl_job WHERE unique_key LIKE 'k_'", 3),
        ],
        either: &[("SELECT count(*) FROM queuectl_job WHERE unique_key LIKE 'k_'", [0, 3])],
        ..PLAIN
    },
    Verb { name: "list", args: &["list", "--json"], ..PLAIN },
    Verb { name: "show", args: &["show", "dead"], ..PLAIN },
    Verb { name: "status", args: &["status"], ..PLAIN },
    Verb { name: "logs", args: &["logs", "dead"], ..PLAIN },
    Verb {
        name: "cancel",
        args: &["cancel", "ready"],
        told: "cancelled ready",
        goal: &[("SELECT state FROM queuectl_job WHERE name = 'ready'", 6)],
        either: &[("SELECT state FROM queuectl_job WHERE name = 'ready'", [0, 6])],
        again: &[0, 4],
        ..PLAIN
    },
    Verb {
        name: "retry",
        args: &["retry", "dead", "deader"],
        told: "dead will run again",
        goal: &[("SELECT count(*) FROM queuectl_job WHERE name LIKE 'dead%' AND state = 0", 2)],
        either: &[(
            "SELECT count(*) FROM queuectl_job WHERE name LIKE 'dead%' AND state = 0",
            [0, 2],
        )],
        again: &[0, 4],
        ..PLAIN
    },
    Verb {
        name: "dlq retry",
        args: &["dlq", "retry", "--all"],
        told: "dead will run again",
        goal: &[("SELECT count(*) FROM queuectl_job WHERE name LIKE 'dead%' AND state = 0", 2)],
        ..PLAIN
    },
    Verb {
        name: "dlq purge",
        args: &["dlq", "purge", "dead", "deader"],
        told: "deleted 2",
        goal: &[
            ("SELECT count(*) FROM queuectl_job WHERE name LIKE 'dead%'", 0),
            ("SELECT count(*) FROM queuectl_attempt", 0),
        ],
        either: &[("SELECT count(*) FROM queuectl_job WHERE name LIKE 'dead%'", [0, 2])],
        again: &[0, 3],
        ..PLAIN
    },
    Verb {
        name: "queue pause",
        args: &["queue", "pause", "work", "new"],
        told: "paused new",
        goal: &[("SELECT sum(paused) FROM queuectl_queue WHERE name IN ('work', 'new')", 2)],
        ..PLAIN
    },
    Verb {
        name: "queue resume",
        args: &["queue", "resume", "work"],
        told: "resumed work",
        goal: &[("SELECT paused FROM queuectl_queue WHERE name = 'work'", 0)],
        ..PLAIN
    },
    Verb {
        name: "config set",
        args: &["config", "set", "max-retries", "7"],
        told: "max-retries = 7",
        goal: &[("SELECT count(*) FROM queuectl_setting WHERE name = 'max-retries'", 1)],
        ..PLAIN
    },
    Verb {
        name: "config set event-log",
        args: &["config", "set", "event-log", "off"],
        told: "event-log = off",
        goal: &[("SELECT count(*) FROM queuectl_event", 0)],
        ..PLAIN
    },
    Verb {
        name: "worker",
        args: &["worker", "start", "--drain", "--queue", "work"],
        told: "ready completed after",
        goal: &[("SELECT state FROM queuectl_job WHERE name = 'ready'", 3)],
        persistent: true,
        ..PLAIN
    },
    Verb {
        name: "worker after a death",
        before: BEREFT,
        args: &["worker", "start", "--drain", "--queue", "work"],
        told: "ready completed after",
        goal: &[
            ("SELECT state FROM queuectl_job WHERE name = 'ready'", 3),
            ("SELECT token > 1 FROM queuectl_job WHERE name = 'ready'", 1),
        ],
        persistent: true,
        ..PLAIN
    },
    Verb {
        name: "worker stop",
        args: &["worker", "stop"],
        // There is none: it says so, whatever the exit code for that is.
        again: &[0, 3],
        ..PLAIN
    },
    Verb {
        name: "run",
        args: &["run", "echo hello"],
        told: "completed in",
        goal: &[("SELECT count(*) > 0 FROM queuectl_job WHERE state = 3", 1)],
        persistent: true,
        ..PLAIN
    },
];
