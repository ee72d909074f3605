//! Every measure, under every durability that it makes sense under: the one list of what there is.
//!
//! The numbers of jobs are chosen so that a run takes some tenths of a second or a few seconds: long
//! enough to meet several checkpoints, short enough to be done again.

use std::rc::Rc;
use std::time::Duration;

use queuectl_core::Durability;

use crate::args::Args;
use crate::backlog::{Backlog, BacklogFile};
use crate::figures::Unit;
use crate::measure::{Bed, Figure, Goal, Measure};
use crate::peers::{self, PEERS};
use crate::{backlog, command, crowd, floor, graph, idle, ours, pace, pickup, shell};

/// All measures, in the order in which they are run and shown.
pub fn all(args: &Args) -> Vec<Measure> {
    let waiting = args.rows.div_ceil(10);
    let backlog = Backlog { completed: args.rows, later: waiting, pending: waiting };
    let with_backlog = Rc::new(BacklogFile::new(backlog, &args.dir, args.keep));
    let mut all = Vec::new();
    for durability in [Durability::Full, Durability::Normal] {
        let list = List { durability, is_quick: args.quick };
        all.extend(list.enqueue());
        all.extend(list.claim_and_settle());
        all.extend(list.logged());
        all.extend(list.graphs());
        all.extend(list.end_to_end());
        all.extend(list.latency());
        all.extend(list.with_backlog(&with_backlog));
        all.extend(list.processes());
        if durability == Durability::Full {
            all.extend(list.shell());
            all.extend(list.idle(backlog));
        }
        if args.peers {
            all.extend(PEERS.into_iter().flat_map(|(peer, to_run)| list.peer(peer, to_run)));
        }
    }
    all
}

/// The measures under one durability.
#[derive(Clone, Copy)]
struct List {
    durability: Durability,
    is_quick: bool,
}

impl List {
    /// So many jobs, of which a quick run does a hundredth.
    fn jobs(self, jobs: usize) -> usize {
        if self.is_quick { jobs.div_ceil(100) } else { jobs }
    }

    /// The same, where syncing takes so long that fewer tell as much.
    fn synced(self, full: usize, normal: usize) -> usize {
        self.jobs(if self.durability == Durability::Full { full } else { normal })
    }

    /// The sizes of batches, with the number of jobs for each.
    fn batches(self) -> [(usize, usize); 4] {
        [
            (1, self.synced(800, 6_000)),
            (10, self.synced(5_000, 20_000)),
            (100, self.synced(20_000, 30_000)),
            (1000, self.jobs(40_000)),
        ]
    }

    fn enqueue(self) -> Vec<Measure> {
        let List { durability, .. } = self;
        let mut all: Vec<Measure> = (self.batches().into_iter())
            .map(|(batch, jobs)| {
                let name = format!("enqueue {batch} per call");
                let measure =
                    Measure::new(name, durability, jobs, move |bed| ours::enqueue(bed, batch))
                        .against(format!("floor: insert {batch}"), jobs, move |bed| {
                            floor::insert(bed, batch)
                        });
                if batch == 1000 { measure.to_reach(Goal::RatioAtLeast(0.9)) } else { measure }
            })
            .collect();
        let from_threads = || {
            let jobs = self.jobs(12_800);
            Measure::new("enqueue 1, 64 threads", durability, jobs, |bed| {
                ours::enqueue_from_threads(bed, 64)
            })
        };
        let one_by_one = self.synced(800, 6_000);
        all.push(from_threads().against("floor: insert 1, 64 threads", one_by_one, |bed| {
            floor::insert_from_threads(bed, 64)
        }));
        let own = from_threads()
            .against("ours: enqueue 1, one thread", one_by_one, |bed| ours::enqueue(bed, 1));
        all.push(match durability {
            Durability::Full => own.to_reach(Goal::RatioAtLeast(20.0)),
            _ => own,
        });
        all
    }

    fn claim_and_settle(self) -> Vec<Measure> {
        let measure = |(batch, jobs)| {
            let name = format!("claim and settle {batch}");
            Measure::new(name, self.durability, jobs, move |bed| ours::exchange(bed, batch))
                .against(format!("floor: claim+complete {batch}"), jobs, move |bed| {
                    floor::claim_complete(bed, batch)
                })
        };
        self.batches().map(measure).into()
    }

    /// What the event log costs.
    fn logged(self) -> Vec<Measure> {
        let (List { durability, .. }, jobs) = (self, self.jobs(40_000));
        vec![
            Measure::new("enqueue 1000 per call, logged", durability, jobs, |bed| {
                ours::enqueue_logged(bed, 1000)
            })
            .against("ours: with the log off", jobs, |bed| ours::enqueue(bed, 1000)),
            Measure::new("claim and settle 1000, logged", durability, jobs, |bed| {
                ours::exchange_logged(bed, 1000)
            })
            .against("ours: with the log off", jobs, |bed| ours::exchange(bed, 1000)),
        ]
    }

    /// Small graphs beside large ones: what a job costs must not grow with the graph. A chain is one job
    /// for each commit, so there are fewer of them.
    fn graphs(self) -> Vec<Measure> {
        let forms: [(&str, graph::Form); 5] = [
            ("a chain", graph::chain),
            ("all after one", graph::fan_out),
            ("one after all", graph::fan_in),
            ("layers", graph::layers),
            ("a batch", graph::batch),
        ];
        let measures = |(name, form): (&str, graph::Form)| {
            let jobs = match name {
                "a chain" => self.synced(1_000, 10_000),
                _ => self.jobs(10_000),
            };
            let small = jobs.div_ceil(10);
            let measure = |what: &str, run: fn(&Bed, graph::Form) -> crate::Result<f64>| {
                Measure::new(format!("{what} a graph: {name}"), self.durability, jobs, move |bed| {
                    run(bed, form)
                })
                .against(format!("ours: {small} jobs"), small, move |bed| run(bed, form))
            };
            [measure("enqueue", graph::enqueue), measure("run", graph::run)]
        };
        forms.into_iter().flat_map(measures).collect()
    }

    fn end_to_end(self) -> Vec<Measure> {
        let (List { durability, .. }, jobs) = (self, self.jobs(25_000));
        let no_op = |name, workers| {
            Measure::new(name, durability, jobs, move |bed| ours::work(bed, workers))
                .against("floor: claim+complete 1000", jobs, |bed| floor::claim_complete(bed, 1000))
                .to_reach(Goal::RatioAtLeast(0.8))
        };
        let both = |batch: usize| {
            let name = format!("enqueue {batch} while working");
            Measure::new(name, durability, jobs, move |bed| ours::enqueue_and_work(bed, batch))
                .against(format!("floor: insert+claim+complete {batch}"), jobs, move |bed| {
                    floor::insert_claim_complete(bed, batch)
                })
        };
        vec![
            no_op("no-op jobs end to end, 1 worker", 1),
            no_op("no-op jobs end to end, 4 workers", 4),
            both(100),
            both(1000).to_reach(Goal::RatioAtLeast(0.8)),
        ]
    }

    fn latency(self) -> Vec<Measure> {
        let List { durability, .. } = self;
        vec![
            Measure::new("pickup by an idle process", durability, self.jobs(300), pickup::ours)
                .against("floor: insert, pipe, claim", self.jobs(300), pickup::floor)
                .gives([
                    Figure::new("p50", Unit::Millis).to_reach(Goal::AtMost(1.0)),
                    Figure::new("p99", Unit::Millis).to_reach(Goal::AtMost(5.0)),
                ]),
            Measure::new("half the greatest rate", durability, self.jobs(50_000), |bed| {
                pace::half_rate(bed, 100)
            })
            .gives([
                Figure::new("the rate", Unit::JobsPerSecond),
                Figure::new("pickup p50", Unit::Millis),
                Figure::new("pickup p99", Unit::Millis).to_reach(Goal::AtMost(20.0)),
            ]),
        ]
    }

    fn with_backlog(self, file: &Rc<BacklogFile>) -> Vec<Measure> {
        let List { durability, .. } = self;
        let Backlog { completed, pending, .. } = file.backlog();
        let jobs = self.jobs(25_000).min(pending);
        let of = rows(completed);
        let (to_work, to_count) = (Rc::clone(file), Rc::clone(file));
        let mut all = vec![
            Measure::new(format!("no-op jobs beside {of} rows"), durability, jobs, move |bed| {
                backlog::work(bed, &to_work)
            })
            .against("ours: nothing beside them", jobs, backlog::work_on_empty)
            .to_reach(Goal::RatioAtLeast(0.9)),
        ];
        if durability == Durability::Full {
            let times = if self.is_quick { 3 } else { 30 };
            all.push(
                Measure::new(format!("status of {of} rows"), durability, times, move |bed| {
                    backlog::status(bed, &to_count)
                })
                .against("ours: of an empty file", times, backlog::status_of_empty)
                .gives([
                    Figure::new("counts", Unit::Millis).to_reach(Goal::AtMost(5.0)),
                    Figure::new("whole process", Unit::Millis),
                ]),
            );
        }
        all
    }

    fn processes(self) -> Vec<Measure> {
        let (jobs, processes) = (self.jobs(100_000), if self.is_quick { 3 } else { 8 });
        let name = format!("{processes} worker processes");
        // A tenth of the default lease.
        let longest = Duration::from_secs(3).as_secs_f64() * 1000.0;
        vec![
            Measure::new(name, self.durability, jobs, move |bed| crowd::drain(bed, processes))
                .against("ours: one process", jobs, |bed| {
                    crowd::drain(bed, 1).map(|[rate, _, _]| rate)
                })
                .gives([
                    Figure::RATE.to_reach(Goal::RatioAtLeast(0.8)),
                    Figure::new("jobs of each", Unit::LeastOfMost).to_reach(Goal::AtLeast(0.5)),
                    Figure::new("longest call", Unit::Millis).to_reach(Goal::AtMost(longest)),
                ]),
        ]
    }

    fn shell(self) -> Vec<Measure> {
        let List { durability, .. } = self;
        vec![
            Measure::new("commands, 2 workers", durability, self.jobs(2_000), shell::work)
                .against("xargs -P2 sh -c true", self.jobs(2_000), shell::xargs)
                .to_reach(Goal::RatioAtLeast(0.8)),
            Measure::new("queuectl enqueue true", durability, self.jobs(100), command::enqueue)
                .against("floor: a program inserts 1", self.jobs(100), command::bare)
                .gives([
                    Figure::new("whole process", Unit::Millis).to_reach(Goal::RatioAtMost(1.5))
                ]),
        ]
    }

    fn idle(self, backlog: Backlog) -> Vec<Measure> {
        let List { durability, .. } = self;
        let watch = Duration::from_secs_f64(if self.is_quick { 0.5 } else { 10.0 });
        let memory = Figure::new("memory", Unit::Mebibytes).to_reach(Goal::AtMost(12.0));
        vec![
            Measure::new("a worker that waits", durability, 1, move |bed| {
                idle::waiting(bed, watch)
            })
            .gives([
                Figure::new("processor", Unit::PercentOfCore).to_reach(Goal::AtMost(0.1)),
                memory,
            ]),
            Measure::new(
                format!("a worker before {} jobs", rows(backlog.pending)),
                durability,
                backlog.pending,
                idle::with_backlog,
            )
            .against("ours: a worker before 100 jobs", 100, idle::with_backlog)
            .gives([memory]),
        ]
    }

    /// The same work as another queue does.
    fn peer(self, peer: &'static str, to_run: usize) -> Vec<Measure> {
        let List { durability, .. } = self;
        let (one_by_one, many) = (self.synced(800, 6_000), self.jobs(20_000));
        let (to_run, to_pick_up) = (self.jobs(to_run), self.jobs(200));
        let rate_of = |phase| move |bed: &Bed| peers::run::<1>(bed, peer, phase);
        let name = format!("peer {peer}");
        vec![
            Measure::new("enqueue 1 per call", durability, one_by_one, |bed| ours::enqueue(bed, 1))
                .against(&name, one_by_one, rate_of("enqueue-one")),
            Measure::new("enqueue 1000 per call", durability, many, |bed| ours::enqueue(bed, 1000))
                .against(&name, many, rate_of("enqueue-many")),
            Measure::new("no-op jobs end to end, 1 worker", durability, to_run, |bed| {
                ours::work(bed, 1)
            })
            .against(&name, to_run, rate_of("work"))
            .to_reach(Goal::RatioAtLeast(5.0)),
            Measure::new("pickup by an idle process", durability, to_pick_up, pickup::ours)
                .against(&name, to_pick_up, |bed| peers::run::<2>(bed, peer, "pickup"))
                .gives([Figure::new("p50", Unit::Millis), Figure::new("p99", Unit::Millis)]),
        ]
    }
}

/// A number of rows, in few letters.
fn rows(number: usize) -> String {
    match number {
        1_000_000.. => format!("{} M", number / 1_000_000),
        1_000.. => format!("{} k", number / 1_000),
        _ => number.to_string(),
    }
}
