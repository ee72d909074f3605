//! `run`: enqueues commands, runs them here, shows how they go, and ends as they did.
//!
//! The jobs are in a private queue of the store before the first one starts: whatever ends this
//! program, a worker of that queue can go on.

use std::collections::HashMap;
use std::io::{BufRead, IsTerminal};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use queuectl_core::shell::{Program, log_paths};
use queuectl_core::store::{Enqueued, PRIVATE_QUEUE_PREFIX, Queues, StopMode, Store};
use queuectl_core::{
    BATCH_LEN_MAX, BootTime, Cause, Clock, JobId, Name, NewJob, Report, State, SystemClock, Worker,
    WorkerEvent, WorkerOptions,
};

use super::show::reason;
use super::stream::Stream;
use super::wait::{Ending, ending_of, finish};
use super::worker::start::shell_handlers;
use super::{count, enqueue};
use crate::args::Run;
use crate::error::CliError;
use crate::exit::Exit;
use crate::input::job_spec::{Here, JobSpec};
use crate::output::Paint;
use crate::output::display::{line, text, truncate};
use crate::output::time::duration;
use crate::session::Session;
use crate::signals;
use crate::store_path::StorePath;

/// How long new output of a job that runs alone goes unnoticed at most.
const LOOK: Duration = Duration::from_millis(100);

/// The longest command and the longest error that a progress line shows whole.
const COMMAND_WIDTH_MAX: usize = 60;
const ERROR_WIDTH_MAX: usize = 80;

pub(crate) fn run(session: &Session, args: &Run) -> Result<Exit, CliError> {
    let programs = programs(args)?;
    if programs.is_empty() {
        session.ui.tell("there was no command to run");
        return finish(session, &[]);
    }
    let queue = private_queue(session);
    let jobs = jobs(args, &programs, &queue)?;
    let path = session.store_path()?;
    let store = Arc::new(path.open_or_create()?);
    let mut added = Vec::with_capacity(jobs.len());
    for batch in jobs.chunks(BATCH_LEN_MAX) {
        added.extend(store.enqueue(batch)?);
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let at_once = args.count.map_or(processors, usize::from).min(added.len());
    let show = Show {
        session,
        path: &path,
        store: &*store,
        added: &added,
        places: added.iter().map(|job| job.id.clone()).zip(0..).collect(),
        programs: &programs,
        at_once,
        began: SystemClock.boot(),
    };
    let (sender, events) = channel();
    let handlers = shell_handlers(&path, &store)?;
    let worker = Worker::start(
        Arc::clone(&store) as Arc<dyn Store>,
        handlers,
        options(&queue, at_once, sender.clone()),
    )?;
    stop_on_signals(&worker, sender.clone())?;
    let waiting = std::thread::Builder::new()
        .name("wait".to_owned())
        .spawn(move || {
            let ended = worker.wait();
            let _ = sender.send(Happening::Over);
            ended
        })
        .map_err(|error| CliError::new(Exit::FAILED, "cannot start a thread").because(&error))?;
    let (signal, unprinted) = show.all(&events);
    let failure = match waiting.join() {
        Ok(ended) => ended.err(),
        Err(panic) => std::panic::resume_unwind(panic),
    };
    let endings = show.endings()?;
    if endings.len() == added.len() {
        show.summary(&endings);
        let exit = finish(session, &endings)?;
        return match unprinted {
            Some(error) if exit == Exit::DONE => Err(error),
            unprinted => {
                unprinted.iter().for_each(|error| session.ui.error(error));
                Ok(exit)
            }
        };
    }
    unprinted.iter().for_each(|error| session.ui.error(error));
    let left = count(added.len() - endings.len(), "job");
    let sentence = match &failure {
        Some(_) => format!("the worker ended early and left {left}"),
        None => format!("stopped, with {left} left"),
    };
    let error = CliError::new(signal.map_or(Exit::FAILED, Exit::of_signal), sentence)
        .hint(format!("go on with: queuectl worker start --queue {queue} --drain"));
    Err(match failure {
        Some(cause) => error.because(&cause),
        None => error,
    })
}

/// What is to be run: the arguments, or the lines of the standard input.
fn programs(args: &Run) -> Result<Vec<Program>, CliError> {
    let command = |text: &str| Program::Command(text.to_owned());
    match (args.commands.as_slice(), args.argv.as_slice()) {
        ([], []) if std::io::stdin().is_terminal() => {
            Err(CliError::usage("there is nothing to run").hint("queuectl run 'echo hello'"))
        }
        ([], []) => {
            let mut programs = Vec::new();
            for read in std::io::stdin().lock().lines() {
                let line = read
                    .map_err(|error| CliError::usage("cannot read the commands").because(&error))?;
                if !line.trim().is_empty() {
                    programs.push(command(&line));
                }
            }
            Ok(programs)
        }
        ([], argv) => Ok(vec![Program::Argv(argv.to_vec())]),
        (commands, []) => Ok(commands.iter().map(|text| command(text)).collect()),
        (_, _) => {
            Err(CliError::usage("run takes shell commands, or one program after --, not both"))
        }
    }
}

/// A queue that no other run has: workers serve it only if they are told its name.
fn private_queue(session: &Session) -> Name {
    let name =
        format!("{PRIVATE_QUEUE_PREFIX}{:x}-{}", session.now().as_millis(), std::process::id());
    Name::new(&name).expect("digits make a name")
}

fn jobs(args: &Run, programs: &[Program], queue: &Name) -> Result<Vec<NewJob>, CliError> {
    let options = JobSpec { queue: Some(queue.clone()), ..enqueue::shape(&args.shape)? };
    let here = Here::current();
    let jobs = programs
        .iter()
        .map(|program| JobSpec::running(program.clone()).and(&options).into_job(&here));
    Ok(jobs.collect::<Result<_, _>>()?)
}

fn options(queue: &Name, at_once: usize, sender: Sender<Happening>) -> WorkerOptions {
    let mut options = WorkerOptions::default();
    options.workers = at_once;
    options.queues = Queues::Only(vec![queue.clone()]);
    options.drain = true;
    options.observer = Some(Arc::new(move |event: &WorkerEvent<'_>| {
        if let Some(happening) = Happening::of(event) {
            let _ = sender.send(happening);
        }
    }));
    options
}

fn stop_on_signals(worker: &Worker, sender: Sender<Happening>) -> Result<(), CliError> {
    let stopper = worker.stopper();
    let mut mode = StopMode::Grace;
    signals::each(true, move |signal| {
        stopper.stop(mode);
        let _ = sender.send(Happening::Signal(signal, mode));
        mode = StopMode::Now;
    })
    .map_err(|error| CliError::new(Exit::FAILED, "cannot listen for signals").because(&error))
}

/// What the user is told of while the jobs run.
enum Happening {
    Started {
        id: JobId,
        attempt: u32,
        max_attempts: u32,
    },
    Settled {
        id: JobId,
        attempt: u32,
        max_attempts: u32,
        state: State,
        retry_in: Option<Duration>,
        took: Duration,
        report: Box<Report>,
    },
    StoreFailed(String),
    Signal(i32, StopMode),
    Over,
}

impl Happening {
    fn of(event: &WorkerEvent<'_>) -> Option<Self> {
        match *event {
            WorkerEvent::Started { id, attempt, max_attempts, .. } => {
                Some(Happening::Started { id: id.clone(), attempt, max_attempts })
            }
            WorkerEvent::Settled {
                id,
                attempt,
                max_attempts,
                state,
                retry_in,
                took,
                report,
                ..
            } => Some(Happening::Settled {
                id: id.clone(),
                attempt,
                max_attempts,
                state,
                retry_in,
                took,
                report: Box::new(report.clone()),
            }),
            WorkerEvent::StoreFailed { error } => Some(Happening::StoreFailed(error.to_string())),
            _ => None,
        }
    }
}

/// The outputs of an attempt, and the last byte that was printed of each.
struct Streams {
    out: Stream,
    err: Stream,
    last: (u8, u8),
}

/// Shows what happens to the jobs.
struct Show<'a> {
    session: &'a Session,
    path: &'a StorePath,
    store: &'a dyn Store,
    added: &'a [Enqueued],
    /// Where each job stands among them.
    places: HashMap<JobId, usize>,
    programs: &'a [Program],
    /// How many run at once.
    at_once: usize,
    began: BootTime,
}

impl Show<'_> {
    /// Shows everything until the worker has ended; gives the signal that stopped it, if one did, and
    /// why the standard output could not be written to, if so: nothing more is, and the jobs go on.
    fn all(&self, events: &Receiver<Happening>) -> (Option<i32>, Option<CliError>) {
        let mut stopped_by = None;
        let mut unprinted = None;
        // A worker may take a job and give it back before it begins: that is not worth a word.
        let mut begun: HashMap<JobId, Option<Streams>> = HashMap::new();
        loop {
            let happening = match events.recv_timeout(LOOK) {
                Ok(happening) => happening,
                Err(RecvTimeoutError::Timeout) => {
                    for streams in begun.values_mut().flatten() {
                        // What cannot be read now may be when the attempt has ended.
                        let _ = self.print(streams, None, &mut unprinted);
                    }
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return (stopped_by, unprinted),
            };
            match happening {
                Happening::Over => return (stopped_by, unprinted),
                Happening::Signal(signal, mode) => {
                    stopped_by.get_or_insert(signal);
                    self.session.ui.tell(match mode {
                        StopMode::Now => "stopping now",
                        _ => "stopping when what runs has ended; Ctrl-C again stops it now",
                    });
                }
                Happening::StoreFailed(error) => {
                    self.say(Paint::Bad, "", "store", &line(&error).to_string());
                }
                Happening::Started { id, attempt, max_attempts } => {
                    let again = match attempt {
                        1 => String::new(),
                        _ => format!(" (attempt {attempt} of {max_attempts})"),
                    };
                    let what = format!("{}{again}", self.command(&id));
                    self.say(Paint::Busy, &id.to_string(), "started", &what);
                    // Where several run at once, each one's output is shown whole at its end.
                    let live = self.at_once == 1;
                    begun.insert(id.clone(), live.then(|| self.streams(&id)));
                }
                Happening::Settled { id, attempt, max_attempts, state, retry_in, took, report } => {
                    let Some(streams) = begun.remove(&id) else {
                        continue;
                    };
                    let mut streams = streams.unwrap_or_else(|| self.streams(&id));
                    if let Err(error) = self.print(&mut streams, Some(&report), &mut unprinted) {
                        self.session.ui.error(&error);
                    }
                    let of = format!("attempt {attempt} of {max_attempts}");
                    self.settled(&id, &of, state, retry_in, took, &report);
                }
            }
        }
    }

    fn settled(
        &self,
        id: &JobId,
        of: &str,
        state: State,
        retry_in: Option<Duration>,
        took: Duration,
        report: &Report,
    ) {
        let took = duration(took);
        let why = match (&report.error, report.cause) {
            (Some(error), Cause::SpawnFailed | Cause::Failed) => {
                let error = truncate(&line(error).to_string(), ERROR_WIDTH_MAX);
                format!("{}: {error}", reason(report))
            }
            _ => reason(report),
        };
        let id = &id.to_string();
        match state {
            State::Completed => self.say(Paint::Good, id, "completed", &format!("in {took}")),
            State::Failed => {
                let next = retry_in.map_or_else(String::new, |delay| {
                    format!("; next attempt in {}", duration(delay))
                });
                self.say(Paint::Bad, id, "failed", &format!("{why} ({of}, {took}){next}"));
            }
            State::Dead => {
                let told = format!("{why} ({of}, {took}); it is in the dead letter queue");
                self.say(Paint::Bad, id, "dead", &told);
            }
            State::Pending => {
                self.say(Paint::Faint, id, "released", "it did not end, and may run again")
            }
            state => self.say(Paint::Faint, id, state.as_str(), ""),
        }
    }

    /// One line of progress: when, which job, what.
    fn say(&self, paint: Paint, id: &str, word: &str, more: &str) {
        let ui = &self.session.ui;
        let since = SystemClock.boot().since(self.began).as_secs_f64();
        let width = self.added.last().map_or(0, |last| last.id.to_string().len());
        let time = Paint::Faint.on(ui.colour_err, &format!("[{since:6.2}s]"));
        let word = paint.on(ui.colour_err, &format!("{word:<9}"));
        ui.tell(format!("{time} {id:<width$} {word} {more}").trim_end());
    }

    /// What an attempt writes: to a terminal made safe, to a program as it is. An error is one of
    /// reading it.
    fn print(
        &self,
        streams: &mut Streams,
        report: Option<&Report>,
        unprinted: &mut Option<CliError>,
    ) -> Result<(), CliError> {
        let ui = &self.session.ui;
        if ui.json {
            return Ok(());
        }
        let Streams { out, err, last } = streams;
        let mut emit_out = |bytes: &[u8]| {
            last.0 = bytes.last().copied().unwrap_or(last.0);
            if unprinted.is_none() {
                let printed = match ui.is_terminal() {
                    true => ui.print(text(&String::from_utf8_lossy(bytes))),
                    false => ui.print_bytes(bytes),
                };
                *unprinted = printed.err();
            }
            Ok(())
        };
        let mut emit_err = |bytes: &[u8]| {
            last.1 = bytes.last().copied().unwrap_or(last.1);
            ui.tell_part(text(&String::from_utf8_lossy(bytes)));
            Ok(())
        };
        let Some(report) = report else {
            out.print_new(&mut emit_out, false)?;
            return err.print_new(&mut emit_err, false);
        };
        // What comes next begins a line.
        out.print_rest(ui, &mut emit_out, &report.stdout)?;
        if last.0 != b'\n' && ui.is_terminal() {
            *unprinted = unprinted.take().or(ui.print('\n').err());
        }
        err.print_rest(ui, &mut emit_err, &report.stderr)?;
        if last.1 != b'\n' {
            ui.tell_part('\n');
        }
        Ok(())
    }

    /// The outputs of a job's newest attempt, with the files that they are in.
    fn streams(&self, id: &JobId) -> Streams {
        let files = self.places.get(id).and_then(|place| {
            let key = self.added[*place].key;
            let token = self.store.job(id).ok()??.token;
            Some(log_paths(&self.path.logs(), key, token))
        });
        let (out, err) = files.unwrap_or_default();
        Streams { out: Stream::new(out), err: Stream::new(err), last: (b'\n', b'\n') }
    }

    fn command(&self, id: &JobId) -> String {
        let place = self.places.get(id);
        let program = place.and_then(|place| self.programs.get(*place));
        let typed = match program {
            Some(Program::Command(command)) => command.clone(),
            Some(Program::Argv(argv)) => crate::output::display::quoted(argv),
            None => String::new(),
        };
        truncate(&line(&typed).to_string(), COMMAND_WIDTH_MAX)
    }

    /// How the jobs ended that have.
    fn endings(&self) -> Result<Vec<Ending>, CliError> {
        let mut endings = Vec::new();
        for job in self.added {
            endings.extend(ending_of(self.store, &job.id)?);
        }
        Ok(endings)
    }

    fn summary(&self, endings: &[Ending]) {
        let of = |state: State| endings.iter().filter(|ending| ending.state() == state).count();
        let mut parts = vec![format!("{} completed", of(State::Completed))];
        for state in [State::Dead, State::Cancelled] {
            if of(state) > 0 {
                parts.push(format!("{} {state}", of(state)));
            }
        }
        let took = duration(SystemClock.boot().since(self.began));
        let paint = if of(State::Completed) == endings.len() { Paint::Good } else { Paint::Bad };
        let ui = &self.session.ui;
        ui.tell(paint.on(ui.colour_err, &format!("{} in {took}", parts.join(", "))));
        if let Some(dead) = endings.iter().find(|ending| ending.state() == State::Dead) {
            ui.tell(format_args!("why: queuectl show {}", dead.id()));
        }
    }
}
