//! The command line as it is typed: names, forms and help texts, and nothing that is done with them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, ColorChoice, Parser, Subcommand};
use queuectl_core::{Condition, Needs, Otherwise};

use crate::input::job_spec::{CRASHES_MAX, RETRIES_MAX};

/// A durable job queue for the command line
#[derive(Debug, Parser)]
#[command(
    name = "queuectl",
    version,
    about,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  queuectl run --retries 2 'echo hello' 'exit 3'    run commands and see how
  queuectl enqueue 'echo hello'                     leave one for a worker
  queuectl worker start --count 4                   run what is enqueued
  queuectl status                                   see how things stand

Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 conflict,
5 the store cannot be used. `run` and `wait` end as the job did."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What holds for every command.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// The store: a file, or sqlite:PATH [default: the user's own]
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        env = "QUEUECTL_STORE",
        value_name = "PATH",
        hide_env_values = true
    )]
    pub(crate) store: Option<OsString>,
    /// Print JSON, for programs
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// When to use colour
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true
    )]
    pub(crate) color: ColorChoice,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add jobs to a queue
    Enqueue(Box<Enqueue>),
    /// Run commands here as jobs, show how they go, and end as they did
    Run(Run),
    /// Start, stop and list workers
    #[command(after_help = "\
Examples:
  queuectl worker start --count 4
  queuectl worker list
  queuectl worker stop")]
    #[command(subcommand)]
    Worker(Worker),
    /// Show how many jobs there are, and what the workers do
    #[command(after_help = "\
Examples:
  queuectl status
  queuectl status --json | jq .jobs.pending")]
    Status,
    /// List jobs
    #[command(visible_alias = "ls")]
    List(List),
    /// Show a job with every attempt
    #[command(after_help = "\
Examples:
  queuectl show q1
  queuectl show q1 --json | jq .attempts[-1].error")]
    Show {
        /// The job
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Show what a job has written
    Logs(Logs),
    /// Show what became of which job, by the store's event log
    Events(Events),
    /// Wait until jobs have ended
    Wait(Wait),
    /// Cancel jobs; one that runs is stopped
    #[command(after_help = "\
Examples:
  queuectl cancel q1 q2
  queuectl cancel q1 --reason 'no longer needed'
  queuectl cancel q1 --by nightly-cleanup")]
    Cancel {
        /// The jobs
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
        /// Kept with the jobs
        #[arg(long, value_name = "TEXT", default_value = "cancelled by hand")]
        reason: String,
        /// Who it is, kept with the jobs [default: this account, user@host]
        #[arg(long, value_name = "WHO")]
        by: Option<String>,
    },
    /// Run jobs again now
    #[command(after_help = "\
Examples:
  queuectl retry q1                   failed, dead, completed or cancelled")]
    Retry {
        /// The jobs
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
    },
    /// Look after the dead letter queue: jobs that failed for good
    #[command(after_help = "\
Examples:
  queuectl dlq groups
  queuectl dlq show q1
  queuectl dlq retry q1")]
    #[command(subcommand)]
    Dlq(Dlq),
    /// List, limit, weigh, pause and resume queues
    #[command(after_help = "\
Examples:
  queuectl queue list
  queuectl queue pause mail
  queuectl queue resume mail")]
    #[command(subcommand)]
    Queue(Queue),
    /// Say what holds for the jobs of a kind that say nothing themselves
    #[command(after_help = "\
Examples:
  queuectl kind set email --retries 8 --timeout 20s
  queuectl kind list
  queuectl kind unset email --timeout")]
    #[command(subcommand)]
    Kind(Kind),
    /// Enqueue jobs again and again, by the clock or at an interval
    #[command(after_help = "\
Examples:
  queuectl schedule add nightly --cron '0 3 * * *' './backup'
  queuectl schedule list
  queuectl schedule pause nightly")]
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// List, show, close and cancel batches of jobs
    #[command(after_help = "\
Examples:
  queuectl enqueue --batch book './page 1'
  queuectl enqueue --batch book './page 2'
  queuectl batch close book
  queuectl enqueue --after-batch book './bind'
  queuectl batch show book")]
    #[command(subcommand)]
    Batch(Batch),
    /// Show and change the store's settings
    Config(Config),

    #[command(name = "worker:start", hide = true)]
    WorkerStart(WorkerStart),
    #[command(name = "worker:stop", hide = true)]
    WorkerStop(WorkerStop),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  queuectl enqueue 'make test && date'
  queuectl enqueue nightly \"pg_dump app > app.sql\" --retries 5 --timeout 30m
  queuectl enqueue --delay 10m -- rsync -a src dst
  queuectl enqueue --expires 5m './send-code 4711'
  queuectl enqueue --unique-key disk --unique-for 1h ./warn    once an hour
  queuectl enqueue --unique-key docs --unique-while pending \\
    --on-conflict move --delay 5s 'make docs'                  once it is quiet
  queuectl enqueue --after build --otherwise cancel './deploy'
  queuectl enqueue --after-failure build './tell everybody'
  queuectl enqueue '{\"id\":\"job1\",\"command\":\"sleep 2\",\"max_retries\":3}'
  queuectl enqueue --file jobs.jsonl
  generate | queuectl enqueue -

A job runs in the directory in which it was enqueued, with the worker's
environment and what --env adds. In JSON, a number given for a time is seconds;
a string is a duration (\"90s\") or a moment (RFC 3339; without an offset, local
time).")]
pub(crate) struct Enqueue {
    /// A shell command; an id and a shell command; a JSON object; or - for JSON lines from stdin
    #[arg(value_name = "[ID] COMMAND")]
    pub(crate) words: Vec<String>,
    /// A program and its arguments, run without a shell
    #[arg(last = true, value_name = "ARGV")]
    pub(crate) argv: Vec<String>,
    /// Enqueue the JSON object on each line of a file
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["words", "argv"])]
    pub(crate) file: Option<PathBuf>,
    /// With --file or -: enqueue the good lines and name the others
    #[arg(long)]
    pub(crate) skip_invalid: bool,
    /// Print the ids alone
    #[arg(long, short)]
    pub(crate) quiet: bool,

    /// The id, instead of one that is given
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// The queue [default: default]
    #[arg(long, value_name = "NAME")]
    pub(crate) queue: Option<String>,
    /// Higher runs first: -32768 to 32767 [default: 0]
    #[arg(long, short, value_name = "N", allow_negative_numbers = true)]
    pub(crate) priority: Option<i16>,
    /// Wait so long before the first attempt: 90s, 2h30m
    #[arg(
        long,
        short,
        value_name = "DURATION",
        conflicts_with = "at",
        allow_negative_numbers = true
    )]
    pub(crate) delay: Option<String>,
    /// Not before this moment: 2026-01-31T09:00
    #[arg(long, visible_alias = "run-at", value_name = "MOMENT", allow_negative_numbers = true)]
    pub(crate) at: Option<String>,
    /// Cancel it instead, if it has not begun after so long or by this moment: 5m, 2026-01-31T09:00
    #[arg(
        long,
        visible_alias = "expires-at",
        value_name = "DURATION|MOMENT",
        allow_negative_numbers = true
    )]
    pub(crate) expires: Option<String>,
    /// Add only if no job holds this key; it is held while the job lives
    #[arg(long, value_name = "KEY")]
    pub(crate) unique_key: Option<String>,
    /// Hold the key for so long instead, also when the job has ended
    #[arg(
        long,
        value_name = "DURATION",
        conflicts_with = "unique_while",
        allow_negative_numbers = true
    )]
    pub(crate) unique_for: Option<String>,
    /// Hold the key while the job is pending, blocked or in one of these states instead
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    pub(crate) unique_while: Vec<String>,
    /// What becomes of the job that holds the key, if it waits for its first attempt: keep,
    /// replace (its payload), move (its time), replace-and-move [default: keep]
    #[arg(long, value_name = "POLICY")]
    pub(crate) on_conflict: Option<String>,
    /// Run beside no other job of the queue with this key (see queue limit --per-key)
    #[arg(long, value_name = "KEY")]
    pub(crate) concurrency_key: Option<String>,
    /// Wait until these jobs have completed
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub(crate) after: Vec<String>,
    /// Wait until these jobs are dead or cancelled
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub(crate) after_failure: Vec<String>,
    /// Wait until these jobs have ended, in whichever way
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub(crate) after_end: Vec<String>,
    /// Wait until these batches have ended: with --on, how
    #[arg(long, value_name = "BATCH", value_delimiter = ',')]
    pub(crate) after_batch: Vec<String>,
    /// How the batches must end: success (of all jobs), failure (of any), end [default: success]
    #[arg(long, value_name = "HOW", requires = "after_batch")]
    pub(crate) on: Option<Condition>,
    /// Put the job into a batch, which is made with its first job; one that exists already stays
    /// where it is
    #[arg(long, value_name = "NAME")]
    pub(crate) batch: Option<String>,
    /// How many of them must have ended so: all, any [default: all]
    #[arg(long, value_name = "HOW MANY")]
    pub(crate) needs: Option<Needs>,
    /// What to do when they end otherwise: wait (for a retry), cancel, run [default: wait]
    #[arg(long, value_name = "WHAT")]
    pub(crate) otherwise: Option<Otherwise>,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

/// How a job runs: what `enqueue` and `run` have in common.
#[derive(Debug, clap::Args)]
pub(crate) struct Shape {
    /// Retries after a failed first attempt [default: those of the kind, or the setting max-retries]
    #[arg(long, short, visible_alias = "max-retries", value_name = "N",
          allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(0..=RETRIES_MAX as i64))]
    pub(crate) retries: Option<u32>,
    /// Workers in a row that may be lost with the job until it is dead [default: those of the kind,
    /// or the setting max-crashes]
    #[arg(long, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..=CRASHES_MAX as i64))]
    pub(crate) max_crashes: Option<u32>,
    /// Time limit of one attempt [default: that of the kind, or the setting worker-timeout]
    #[arg(long, short, value_name = "DURATION", allow_negative_numbers = true)]
    pub(crate) timeout: Option<String>,
    /// Delays between attempts: exponential:2, constant:30s, linear:10s, table:1s,5s,1m
    #[arg(long, value_name = "POLICY")]
    pub(crate) backoff: Option<String>,
    /// An environment variable for the job; may be repeated
    #[arg(long, short, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Where the job runs [default: here]
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// A label to find the job by; may be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) tag: Vec<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  queuectl run 'make test'
  queuectl run --retries 2 'echo hello' 'exit 3'
  queuectl run -- ls -l
  find . -name '*.png' -printf 'optipng %p\\n' | queuectl run -c 4

The jobs are in the store before the first one runs. Whatever ends this program,
those that are left can be continued by a worker of their queue.")]
pub(crate) struct Run {
    /// Shell commands, a job each [default: one per line of stdin]
    #[arg(value_name = "COMMAND")]
    pub(crate) commands: Vec<String>,
    /// A program and its arguments, run without a shell
    #[arg(last = true, value_name = "ARGV")]
    pub(crate) argv: Vec<String>,
    /// How many run at once [default: the number of processors]
    #[arg(long, short, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) count: Option<u16>,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Worker {
    /// Run jobs until Ctrl-C or TERM
    Start(WorkerStart),
    /// Stop workers when their jobs have ended, and wait for it
    Stop(WorkerStop),
    /// List workers
    #[command(after_help = "\
Examples:
  queuectl worker list
  queuectl worker list --json | jq -r .workers[].log")]
    #[command(visible_alias = "ls")]
    List,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  queuectl worker start
  queuectl worker start --count 4 --queue mail,default
  queuectl worker start --drain       end when nothing is left to do
  queuectl worker start --detach      in the background, until `worker stop`

The first Ctrl-C or TERM lets running jobs finish within the setting `grace`;
the second stops them at once. What did not finish runs again, without the loss
of an attempt.")]
pub(crate) struct WorkerStart {
    /// How many jobs run at once
    #[arg(long, short, value_name = "N", default_value_t = 1, allow_negative_numbers = true,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) count: u16,
    /// Only from these queues; may be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) queue: Vec<String>,
    /// End when no job is left that could run now or later
    #[arg(long)]
    pub(crate) drain: bool,
    /// Run in the background and write a log file
    #[arg(long)]
    pub(crate) detach: bool,
    /// Set for the process in the background: where its output goes
    #[arg(long, hide = true, value_name = "FILE", conflicts_with = "detach")]
    pub(crate) detached_log: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  queuectl worker stop                every worker
  queuectl worker stop 4711           the workers of a process
  queuectl worker stop w3 --now       one worker, and its job with it")]
pub(crate) struct WorkerStop {
    /// Process ids, or workers such as w3 [default: all]
    #[arg(value_name = "PID|WORKER")]
    pub(crate) workers: Vec<String>,
    /// Interrupt running jobs; they will run again
    #[arg(long)]
    pub(crate) now: bool,
    /// Wait for it no longer than this
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true)]
    pub(crate) timeout: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  queuectl list
  queuectl list pending
  queuectl list --state failed,dead --queue mail --sort updated
  queuectl list --after 2h --columns id,state,error
  queuectl list --json --limit 0")]
pub(crate) struct List {
    /// Only jobs in these states
    #[arg(value_name = "STATE")]
    pub(crate) states: Vec<String>,
    /// Only jobs in these states
    #[arg(long, short, value_name = "STATE", value_delimiter = ',')]
    pub(crate) state: Vec<String>,
    /// Only jobs created before this moment, or longer ago than this duration
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub(crate) before: Option<String>,
    /// Only jobs created after this moment, or within this duration
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub(crate) after: Option<String>,
    /// The order
    #[arg(long, value_enum, value_name = "BY", default_value_t = SortBy::Created)]
    pub(crate) sort: SortBy,
    /// The other way round
    #[arg(long)]
    pub(crate) reverse: bool,
    /// Which columns, in which order
    #[arg(long, value_enum, value_name = "NAME", value_delimiter = ',')]
    pub(crate) columns: Vec<ListColumn>,
    #[command(flatten)]
    pub(crate) filter: Filter,
}

/// Which jobs are listed.
#[derive(Debug, clap::Args)]
pub(crate) struct Filter {
    /// Only jobs of this queue
    #[arg(long, value_name = "NAME")]
    pub(crate) queue: Option<String>,
    /// Only jobs of this kind
    #[arg(long, value_name = "NAME")]
    pub(crate) kind: Option<String>,
    /// Only jobs with this label
    #[arg(long, value_name = "NAME")]
    pub(crate) tag: Option<String>,
    /// At most so many jobs; 0 for all
    #[arg(
        long,
        short = 'n',
        value_name = "N",
        default_value_t = 100,
        allow_negative_numbers = true
    )]
    pub(crate) limit: usize,
}

/// What `list` sorts by: the newest, or the greatest, first.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum SortBy {
    Created,
    Updated,
    RunAt,
    Priority,
    Attempts,
}

/// The columns of `list`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ListColumn {
    Id,
    State,
    Queue,
    Kind,
    Priority,
    Attempts,
    Created,
    Updated,
    RunAt,
    When,
    Tags,
    Worker,
    Command,
    Error,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  queuectl logs q1
  queuectl logs q1 -f                 follow until the attempt ends
  queuectl logs q1 --attempt 2 --stderr
  queuectl logs q1 --stdout --raw > out.bin")]
pub(crate) struct Logs {
    /// The job
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Which attempt, counted over the job's whole life [default: the newest]
    #[arg(long, short, value_name = "N", allow_negative_numbers = true)]
    pub(crate) attempt: Option<i64>,
    /// Go on until the attempt has ended
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// The standard output alone
    #[arg(long, conflicts_with = "stderr")]
    pub(crate) stdout: bool,
    /// The standard error alone
    #[arg(long)]
    pub(crate) stderr: bool,
    /// The bytes as they are: control characters reach the terminal
    #[arg(long, conflicts_with = "json")]
    pub(crate) raw: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The log is off until it is turned on. It keeps the newest 100 000 events, or as
many as the setting event-log-count says.

Examples:
  queuectl config set event-log on
  queuectl events --job q1
  queuectl events -f                          go on with what happens
  queuectl events -f --after 0 --json | jq -c 'select(.change == \"died\")'")]
pub(crate) struct Events {
    /// Those after this number, from the oldest on [default: the newest]
    #[arg(long, value_name = "SEQ")]
    pub(crate) after: Option<u64>,
    /// Only those of this job
    #[arg(long, value_name = "ID")]
    pub(crate) job: Option<String>,
    /// Only those of this queue
    #[arg(long, value_name = "NAME")]
    pub(crate) queue: Option<String>,
    /// At most so many, with --follow before those that happen; 0 for all
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
    /// Go on with what happens, until Ctrl-C; with --json one document a line
    #[arg(long, short)]
    pub(crate) follow: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
For one job, the exit code is the job's own: 128+n for a signal, 124 for a
timeout. For several it is 0, or the number that did not complete, up to 100.
It is 124 as well when --timeout is over first.

Examples:
  queuectl wait q1 && deploy
  queuectl wait q1 q2 q3 --timeout 10m")]
pub(crate) struct Wait {
    /// The jobs
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<String>,
    /// Give up after so long
    #[arg(long, short, value_name = "DURATION", allow_negative_numbers = true)]
    pub(crate) timeout: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Dlq {
    /// List dead jobs
    #[command(after_help = "\
Examples:
  queuectl dlq list
  queuectl dlq list --queue mail --limit 10
  queuectl dlq list --like q1         all that failed in the same way")]
    #[command(visible_alias = "ls")]
    List(DlqList),
    /// Show in which ways jobs have failed, and how many in each
    #[command(after_help = "\
Two jobs have failed in the same way if they are of one kind, ended by the same
cause, exit code or signal, and said the same but for numbers, ids, addresses,
paths and times. What a command said is the last line of its error output.

Examples:
  queuectl dlq groups
  queuectl dlq groups --limit 0       all of them")]
    Groups {
        /// At most so many, those with the most jobs first; 0 for all
        #[arg(
            long,
            short = 'n',
            value_name = "N",
            default_value_t = 20,
            allow_negative_numbers = true
        )]
        limit: usize,
    },
    /// Run dead jobs again now, with their attempts counted from zero
    Retry(DlqRetry),
    /// Show a dead job with every attempt
    #[command(after_help = "\
Examples:
  queuectl dlq show q1")]
    Show {
        /// The job
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Note something about a dead job: it is shown with the job as long as that is kept
    #[command(after_help = "\
Examples:
  queuectl dlq note q1 'the customer has been told'")]
    Note {
        /// The job
        #[arg(value_name = "ID")]
        id: String,
        /// What
        #[arg(value_name = "TEXT")]
        text: String,
    },
    /// Delete dead jobs for good
    Purge(DlqPurge),
}

#[derive(Debug, clap::Args)]
pub(crate) struct DlqList {
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// Those that failed in the same way as this one
    #[arg(long, value_name = "ID")]
    pub(crate) like: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  queuectl dlq retry q1
  queuectl dlq retry --like q1        all that failed in the same way
  queuectl dlq retry --all --rate 10/s
  queuectl dlq retry q1 --payload '{\"to\":\"ada@example.org\"}' --note 'a typo'")]
pub(crate) struct DlqRetry {
    /// The jobs
    #[arg(value_name = "ID", required_unless_present_any = ["all", "like"])]
    pub(crate) ids: Vec<String>,
    /// Every dead job
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,
    /// The dead jobs that failed in the same way as this one: see `dlq groups --help`
    #[arg(long, value_name = "ID", conflicts_with_all = ["ids", "all"])]
    pub(crate) like: Option<String>,
    /// With --all or --like: one after the other, so many in a period, like 10/s or 100/1m. The jobs are
    /// given times to run at; the command does not wait for them
    #[arg(long, value_name = "RATE", conflicts_with = "ids")]
    pub(crate) rate: Option<String>,
    /// With this payload, JSON, or - for stdin; the old one is kept, and shown with the job
    #[arg(long, value_name = "JSON", allow_hyphen_values = true, conflicts_with_all = ["all", "like"])]
    pub(crate) payload: Option<String>,
    /// Why the payload is another one, to be shown with the old one
    #[arg(long, value_name = "TEXT", requires = "payload")]
    pub(crate) note: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  queuectl dlq purge q1
  queuectl dlq purge --like q1        all that failed in the same way
  queuectl dlq purge --older-than 30days
  queuectl dlq purge --all")]
pub(crate) struct DlqPurge {
    /// The jobs
    #[arg(value_name = "ID", required_unless_present_any = ["all", "like", "older_than"])]
    pub(crate) ids: Vec<String>,
    /// Every dead job
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,
    /// The dead jobs that failed in the same way as this one: see `dlq groups --help`
    #[arg(long, value_name = "ID", conflicts_with_all = ["ids", "all"])]
    pub(crate) like: Option<String>,
    /// Only those that died longer ago than this
    #[arg(long, value_name = "DURATION", conflicts_with = "ids", allow_negative_numbers = true)]
    pub(crate) older_than: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Batch {
    /// List the newest batches
    #[command(after_help = "\
Examples:
  queuectl batch list
  queuectl batch list --limit 5 --json")]
    #[command(visible_alias = "ls")]
    List {
        /// At most so many; 0 for all
        #[arg(
            long,
            short = 'n',
            value_name = "N",
            default_value_t = 20,
            allow_negative_numbers = true
        )]
        limit: usize,
    },
    /// Show how far a batch has come
    #[command(after_help = "\
Examples:
  queuectl batch show book")]
    Show {
        /// The batch
        name: String,
    },
    /// Say that a batch ends with the last of its jobs; only then can others wait for it
    #[command(after_help = "\
Examples:
  queuectl batch close book
  queuectl enqueue --after-batch book --on failure './complain'")]
    Close {
        /// The batch
        name: String,
    },
    /// Cancel the jobs of a batch that have not ended; one that runs is stopped by its worker
    #[command(after_help = "\
Examples:
  queuectl batch cancel book --reason 'no paper'")]
    Cancel {
        /// The batch
        name: String,
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "cancelled with its batch")]
        reason: String,
        /// Who it is, kept with the jobs [default: this account, user@host]
        #[arg(long, value_name = "WHO")]
        by: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Queue {
    /// List queues
    #[command(after_help = "\
Examples:
  queuectl queue list")]
    #[command(visible_alias = "ls")]
    List,
    /// Limit how many jobs of a queue run at a time, and how often they start
    #[command(after_help = "\
Examples:
  queuectl queue limit mail --concurrency 4
  queuectl queue limit api --rate 100/1m
  queuectl queue limit exports --per-key 2    jobs with one --concurrency-key
  queuectl queue limit mail --concurrency none

The limits hold over all workers of the store. What runs goes on.
Without options the limits of the queue are shown.")]
    Limit {
        /// The queue
        #[arg(value_name = "NAME")]
        name: String,
        /// Jobs that run at a time [default: none, any number]
        #[arg(long, value_name = "N|none")]
        concurrency: Option<String>,
        /// Jobs with one concurrency key that run at a time [default: 1]
        #[arg(long, value_name = "N|none")]
        per_key: Option<String>,
        /// Jobs that workers take in any period [default: none, any number]
        #[arg(long, value_name = "N/PERIOD|none")]
        rate: Option<String>,
    },
    /// Share the workers among queues whose jobs have the same priority
    #[command(after_help = "\
Where a queue has a weight, all queues take turns: with weights of 5 and 1, five
jobs of the one run for each of the other, as long as both have some. A queue
without a weight has 1. Priorities go first. Without a number the weight is
shown. To run nothing of a queue, pause it.

Examples:
  queuectl queue weight mail 5
  queuectl queue weight mail none")]
    Weight {
        /// The queue
        #[arg(value_name = "NAME")]
        name: String,
        /// 1 to 1000, or none to take it away
        #[arg(value_name = "N|none", allow_negative_numbers = true)]
        weight: Option<String>,
    },
    /// Run nothing more from queues; jobs that run go on
    #[command(after_help = "\
Examples:
  queuectl queue pause mail")]
    Pause {
        /// The queues
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Run jobs from queues again
    #[command(after_help = "\
Examples:
  queuectl queue resume mail")]
    Resume {
        /// The queues
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Kind {
    /// List the kinds for which something is said
    #[command(after_help = "\
Examples:
  queuectl kind list
  queuectl kind list --json | jq .kinds[].max_retries")]
    #[command(visible_alias = "ls")]
    List,
    /// Say what holds for the jobs of a kind
    #[command(after_help = "\
Commands are of the kind shell. A job's own options go first, then what is said
here, then the settings. Retries are given to jobs when they are enqueued. Time
limit and delays hold for each attempt that a worker takes from now on, also of
jobs that wait already.

Examples:
  queuectl kind set email --retries 8 --timeout 20s
  queuectl kind set email --backoff 'linear:10s;cap=5m'
  queuectl kind set shell --max-crashes 2")]
    Set {
        /// The kind
        #[arg(value_name = "KIND")]
        kind: String,
        /// Retries after a failed first attempt
        #[arg(long, short, visible_alias = "max-retries", value_name = "N",
              allow_negative_numbers = true,
              value_parser = clap::value_parser!(u32).range(0..=RETRIES_MAX as i64))]
        retries: Option<u32>,
        /// Workers in a row that may be lost with a job until it is dead
        #[arg(long, value_name = "N", allow_negative_numbers = true,
              value_parser = clap::value_parser!(u32).range(1..=CRASHES_MAX as i64))]
        max_crashes: Option<u32>,
        /// Time limit of one attempt
        #[arg(long, short, value_name = "DURATION", allow_negative_numbers = true)]
        timeout: Option<String>,
        /// Delays between attempts: exponential:2, constant:30s, linear:10s, table:1s,5s,1m
        #[arg(long, value_name = "POLICY")]
        backoff: Option<String>,
    },
    /// Leave it to the settings again: all of it, or what is named
    #[command(after_help = "\
Examples:
  queuectl kind unset email
  queuectl kind unset email --retries --timeout")]
    Unset {
        /// The kind
        #[arg(value_name = "KIND")]
        kind: String,
        /// The retries
        #[arg(long, short, visible_alias = "max-retries")]
        retries: bool,
        /// How many workers may be lost
        #[arg(long)]
        max_crashes: bool,
        /// The time limit
        #[arg(long, short)]
        timeout: bool,
        /// The delays
        #[arg(long)]
        backoff: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleCommand {
    /// Add a schedule, or replace the one of that name
    Add(Box<ScheduleAdd>),
    /// List schedules
    #[command(after_help = "\
Examples:
  queuectl schedule list
  queuectl schedule list --json | jq -r .schedules[].next")]
    #[command(visible_alias = "ls")]
    List,
    /// Show a schedule, its next times and what came of the last ones
    #[command(after_help = "\
Examples:
  queuectl schedule show nightly")]
    Show {
        /// The schedule
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Let schedules rest: the ticks meanwhile are passed over
    #[command(after_help = "\
Examples:
  queuectl schedule pause nightly")]
    Pause {
        /// The schedules
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Let schedules go on
    #[command(after_help = "\
Examples:
  queuectl schedule resume nightly")]
    Resume {
        /// The schedules
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Delete schedules; the jobs that they have made stay
    #[command(after_help = "\
Examples:
  queuectl schedule remove nightly")]
    #[command(visible_alias = "rm")]
    Remove {
        /// The schedules
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Enqueue a schedule's job now
    #[command(after_help = "\
Examples:
  queuectl schedule run nightly")]
    Run {
        /// The schedule
        #[arg(value_name = "NAME")]
        name: String,
    },
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  queuectl schedule add nightly --cron '0 3 * * *' './backup' --overlap skip
  queuectl schedule add report --cron '0 9 * * MON-FRI' --zone Asia/Tokyo -- ./r
  queuectl schedule add beat --every 10m --missed skip 'curl -fsS example.org'
  queuectl schedule add nightly --cron @daily './backup' --dry-run

The next five times are printed, then the schedule is saved. Running workers
attend to it. A cron expression has five fields (minute, hour, day of the month,
month, day of the week) or six, with the second before them. When the clocks are
put forward, what names its times runs right after the gap; when they are put
back, it runs once.")]
pub(crate) struct ScheduleAdd {
    /// What it is called
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// A shell command, or a JSON object
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Option<String>,
    /// A program and its arguments, run without a shell
    #[arg(last = true, value_name = "ARGV")]
    pub(crate) argv: Vec<String>,
    /// When: a cron expression, or @hourly, @daily, @weekly, @monthly, @yearly
    #[arg(
        long,
        value_name = "EXPRESSION",
        required_unless_present = "every",
        conflicts_with = "every",
        allow_hyphen_values = true
    )]
    pub(crate) cron: Option<String>,
    /// When: again and again after so long
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true)]
    pub(crate) every: Option<String>,
    /// The time zone of the cron expression: Europe/Berlin [default: the local one]
    #[arg(long, value_name = "ZONE", conflicts_with = "every")]
    pub(crate) zone: Option<String>,
    /// What becomes of times when no worker ran: skip, one, all, or all:N for the newest N
    #[arg(long, value_name = "WHAT", default_value = "one")]
    pub(crate) missed: String,
    /// What becomes of a time at which the last job still lives
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = OverlapArg::Allow)]
    pub(crate) overlap: OverlapArg,
    /// Let it rest until `schedule resume`
    #[arg(long)]
    pub(crate) paused: bool,
    /// Print the next five times, and save nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// The queue [default: default]
    #[arg(long, value_name = "NAME")]
    pub(crate) queue: Option<String>,
    /// Higher runs first: -32768 to 32767 [default: 0]
    #[arg(long, short, value_name = "N", allow_negative_numbers = true)]
    pub(crate) priority: Option<i16>,
    /// Let each job wait so long before its first attempt
    #[arg(long, short, value_name = "DURATION", allow_negative_numbers = true)]
    pub(crate) delay: Option<String>,
    /// Cancel each job that has not begun after so long
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true)]
    pub(crate) expires: Option<String>,
    /// Add only if no living job has this key
    #[arg(long, value_name = "KEY")]
    pub(crate) unique_key: Option<String>,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

/// What becomes of a tick while the last job lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OverlapArg {
    /// Enqueue all the same
    Allow,
    /// Enqueue nothing
    Skip,
    /// Enqueue when it has ended; one time waits so
    QueueOne,
}

#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  queuectl config                     every setting
  queuectl config max-retries         one of them
  queuectl config set max-retries 5
  queuectl config unset max-retries   back to the default"
)]
pub(crate) struct Config {
    /// Show this setting
    #[arg(value_name = "KEY")]
    pub(crate) key: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Option<ConfigCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// List every setting
    #[command(after_help = "\
Examples:
  queuectl config list")]
    #[command(visible_alias = "ls")]
    List,
    /// Show a setting
    #[command(after_help = "\
Examples:
  queuectl config get max-retries
  queuectl config get all")]
    Get {
        /// The setting, or all
        #[arg(value_name = "KEY", default_value = "all", hide_default_value = true)]
        key: String,
    },
    /// Change a setting
    #[command(after_help = "\
Examples:
  queuectl config set max-retries 5
  queuectl config set worker-timeout 30m")]
    Set {
        /// The setting
        #[arg(value_name = "KEY")]
        key: String,
        /// Its value
        #[arg(value_name = "VALUE", action = ArgAction::Set, allow_hyphen_values = true)]
        value: String,
    },
    /// Return a setting to its default
    #[command(after_help = "\
Examples:
  queuectl config unset max-retries")]
    #[command(visible_alias = "reset")]
    Unset {
        /// The setting
        #[arg(value_name = "KEY")]
        key: String,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    /// Each command that is not hidden, with those below it.
    fn commands(above: &clap::Command) -> Vec<clap::Command> {
        let below = above.get_subcommands().filter(|command| !command.is_hide_set());
        std::iter::once(above.clone()).chain(below.flat_map(commands)).collect()
    }

    fn after_help(command: &clap::Command) -> String {
        command.get_after_help().map(ToString::to_string).unwrap_or_default()
    }

    /// The words of an example, as a shell would split them; what is after a gap of two spaces
    /// explains it.
    fn words(example: &str) -> Vec<String> {
        let mut words = Vec::new();
        let (mut word, mut quote) = (None, None);
        let mut characters = example.chars().peekable();
        while let Some(character) = characters.next() {
            match (quote, character) {
                (Some(open), _) if open == character => quote = None,
                (None, '\'' | '"') => {
                    quote = Some(character);
                    word.get_or_insert_with(String::new);
                }
                (None, '|' | '&' | '>') => break,
                (None, ' ') => {
                    words.extend(word.take());
                    if characters.peek() == Some(&' ') {
                        break;
                    }
                }
                _ => word.get_or_insert_with(String::new).push(character),
            }
        }
        words.extend(word);
        words
    }

    #[test]
    fn every_help_text_has_examples_that_can_be_typed() {
        for command in commands(&Args::command()) {
            let help = after_help(&command);
            let examples =
                help.lines().filter_map(|line| Some(line.find("queuectl ")?).map(|at| &line[at..]));
            let examples: Vec<&str> = examples.filter(|_| help.contains("Examples:")).collect();
            assert!(!examples.is_empty(), "{} has none", command.get_name());
            for example in examples {
                let parsed = Args::try_parse_from(words(example));
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
            }
        }
    }

    #[test]
    fn what_is_laid_out_by_hand_fits_a_terminal_of_80_columns() {
        for command in commands(&Args::command()) {
            for line in after_help(&command).lines() {
                assert!(line.len() <= 80, "{}: {line}", command.get_name());
            }
        }
    }

    fn enqueue(line: &[&str]) -> Enqueue {
        let words = ["queuectl", "enqueue"].iter().chain(line);
        match Args::try_parse_from(words).unwrap().command {
            Command::Enqueue(enqueue) => *enqueue,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_description_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_form_of_enqueue_is_told_apart() {
        assert_eq!(enqueue(&["echo hi && date"]).words.len(), 1);
        let options = enqueue(&["job1", "echo hi", "--retries", "5"]);
        assert_eq!(options.words, ["job1", "echo hi"]);
        assert_eq!(options.shape.retries, Some(5));
        assert_eq!(enqueue(&["x", "-r", "2"]).shape.retries, Some(2));
        assert_eq!(enqueue(&["x", "--max-retries=2"]).shape.retries, Some(2));
        let argv = enqueue(&["--delay", "1m", "--", "rsync", "-a", "--json"]);
        assert_eq!(argv.argv, ["rsync", "-a", "--json"]);
        assert_eq!(enqueue(&["-"]).words, ["-"]);
        assert_eq!(enqueue(&["x", "--priority", "-5"]).priority, Some(-5));
        // An option takes one value: the command is not swallowed.
        let after = enqueue(&["--after", "q1,q2", "echo x"]);
        assert_eq!((after.after.len(), after.words.len()), (2, 1));
    }

    #[test]
    fn the_older_spellings_are_commands() {
        for line in [
            &["worker:start", "--count", "3"][..],
            &["worker:start", "-c", "3"],
            &["worker:stop"],
            &["worker:stop", "4711"],
            &["worker", "start", "--count", "3"],
            &["worker", "stop", "4711"],
            &["list", "pending"],
            &["list", "--state", "failed"],
            &["config"],
            &["config", "list"],
            &["config", "get", "all"],
            &["config", "get", "max_retries"],
            &["config", "max-retries"],
            &["config", "set", "max-retries", "-1"],
            &["config", "unset", "max-retries"],
            &["dlq", "list"],
            &["dlq", "retry", "q1"],
            &["dlq", "retry", "--all"],
            &["dlq", "retry", "--like", "q1"],
            &["dlq", "retry", "--like", "q1", "--rate", "10/s"],
            &["dlq", "retry", "q1", "--payload", "-1", "--note", "why"],
            &["dlq", "purge", "--older-than", "30days", "--like", "q1"],
            &["status", "--json"],
            &["--json", "status"],
        ] {
            let words = ["queuectl"].iter().chain(line);
            let parsed = Args::try_parse_from(words);
            assert!(parsed.is_ok(), "{line:?}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn a_negative_number_is_a_value_that_is_refused_not_an_option() {
        // For what is no option clap suggests `-- -5`, which here is a program to run.
        for line in [
            &["enqueue", "x", "--delay", "-5"][..],
            &["enqueue", "x", "--at", "-5"],
            &["enqueue", "x", "--timeout", "-5"],
            &["run", "x", "--count", "-5"],
            &["worker", "start", "--count", "-5"],
            &["worker", "stop", "--timeout", "-5"],
            &["wait", "q1", "--timeout", "-5"],
            &["list", "--limit", "-5"],
            &["batch", "list", "--limit", "-5"],
            &["dlq", "groups", "--limit", "-5"],
            &["list", "--after", "-5"],
            &["logs", "q1", "--attempt", "-5"],
            &["dlq", "purge", "--older-than", "-5"],
        ] {
            let words = ["queuectl"].iter().chain(line);
            if let Err(error) = Args::try_parse_from(words) {
                assert_eq!(error.kind(), ErrorKind::ValueValidation, "{line:?}: {error}");
            }
        }
    }

    #[test]
    fn help_is_a_command_as_well() {
        for line in [&["help"][..], &["help", "enqueue"], &["help", "worker", "start"]] {
            let shown = Args::try_parse_from(["queuectl"].iter().chain(line)).unwrap_err();
            assert_eq!(shown.kind(), ErrorKind::DisplayHelp, "{line:?}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for line in [
            &["x", "--retries", "-1"][..],
            &["x", "--retries", "1000001"],
            &["x", "--retries", "1.5"],
            &["x", "--max-crashes", "0"],
            &["x", "--max-crashes", "1000001"],
            &["x", "--priority", "40000"],
        ] {
            let words = ["queuectl", "enqueue"].iter().chain(line);
            assert!(Args::try_parse_from(words).is_err(), "{line:?}");
        }
    }
}
