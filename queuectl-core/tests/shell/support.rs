//! A folder, a handler, and a job to run; and how to wait for what another process does.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use queuectl_core::shell::{SHELL_KIND, ShellHandler, ShellOptions, log_paths};
use queuectl_core::{
    Claimed, Context, Finished, Handlers, JobId, JobKey, Json, Lease, Name, StopCause, StopSignal,
    SystemClock, Token, WorkerKey,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Long enough that only a test that fails waits for so long.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// The number of the job that tests run.
pub(crate) const KEY: JobKey = JobKey(1);

/// A place of its own for each test: its folder names its store as well.
pub(crate) struct Place {
    home: TempDir,
    pub(crate) options: ShellOptions,
    token: AtomicI64,
}

impl Place {
    pub(crate) fn new() -> Self {
        Place::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut ShellOptions)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut options = options(home.path());
        change(&mut options);
        Place { home, options, token: AtomicI64::new(1) }
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn handler(&self) -> ShellHandler {
        ShellHandler::new(self.options.clone()).unwrap()
    }

    /// The log files of the attempt with that token.
    pub(crate) fn logs(&self, token: i64) -> (PathBuf, PathBuf) {
        log_paths(&self.options.logs, KEY, Token(token))
    }

    /// The names of all files that attempts have left in the folder of logs.
    pub(crate) fn left(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.options.logs).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub(crate) fn sh(&self, command: &str) -> Finished {
        self.run(json!({ "command": command }), LONG)
    }

    pub(crate) fn argv(&self, argv: &[&str]) -> Finished {
        self.run(json!({ "argv": argv }), LONG)
    }

    pub(crate) fn run(&self, payload: Value, limit: Duration) -> Finished {
        self.run_until(payload, limit, &Arc::default())
    }

    /// Runs one attempt, with the next token, as a worker does.
    pub(crate) fn run_until(
        &self,
        payload: Value,
        limit: Duration,
        stop: &Arc<StopSignal>,
    ) -> Finished {
        let token = self.token.fetch_add(1, Ordering::SeqCst);
        let payload = payload.to_string();
        attempt(&self.options, &payload, token, None, limit, stop)
    }

    /// Runs a command, and tells it to stop as soon as it has made the file `ready`, whose path
    /// it finds in `$READY`.
    pub(crate) fn run_and_stop(&self, command: &str, causes: &[StopCause]) -> Finished {
        let (stop, ready) = (Arc::default(), self.path("ready"));
        let payload = json!({ "command": command, "env": { "READY": ready } });
        std::thread::scope(|scope| {
            let run = scope.spawn(|| self.run_until(payload, LONG, &stop));
            until("the command is ready", || ready.exists() || run.is_finished());
            for cause in causes {
                stop.raise(cause.clone());
            }
            run.join().unwrap()
        })
    }
}

/// The options of a handler whose world is `home`.
pub(crate) fn options(home: &Path) -> ShellOptions {
    ShellOptions {
        output_limit: 64 * 1024,
        log_limit: 1 << 20,
        grace: Duration::from_secs(10),
        logs: home.join("logs"),
        store: format!("test:{}", home.display()),
    }
}

/// Runs one attempt of a job, after the attempts from `lost_from` on were lost.
pub(crate) fn attempt(
    options: &ShellOptions,
    payload: &str,
    token: i64,
    lost_from: Option<i64>,
    limit: Duration,
    stop: &Arc<StopSignal>,
) -> Finished {
    let token = Token(token);
    let mut job = Claimed::new(
        Lease { key: KEY, token },
        WorkerKey(1),
        JobId::Auto(KEY),
        Name::new("default").unwrap(),
        Name::new(SHELL_KIND).unwrap(),
        Json::parse(payload).unwrap(),
    );
    job.timeout = Some(limit);
    job.lost_from = lost_from.map(Token);
    let handler = Arc::new(ShellHandler::new(options.clone()).unwrap());
    let handlers = Handlers::new().with(SHELL_KIND, handler).unwrap();
    let clock = Arc::new(SystemClock);
    let context = Context::new(clock, &job, Some(limit), Arc::clone(stop), Box::new(drop));
    handlers.execute(&job, &context)
}

/// Waits until something is so that no descriptor tells of.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The number in a file, once it is there.
pub(crate) fn pid_in(path: &Path) -> i32 {
    let mut pid = None;
    until(&format!("{} has a pid", path.display()), || {
        let text = fs::read_to_string(path).unwrap_or_default();
        pid = text.strip_suffix('\n').and_then(|text| text.parse().ok());
        pid.is_some()
    });
    pid.unwrap()
}

/// Whether a process runs; a zombie does not.
pub(crate) fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

pub(crate) fn stdout(finished: &Finished) -> String {
    String::from_utf8_lossy(&finished.report.stdout.head).into_owned()
}

pub(crate) fn error(finished: &Finished) -> &str {
    finished.report.error.as_deref().unwrap_or_default()
}
