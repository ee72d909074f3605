//! The calls that a worker process makes of its store: when they come back, and with what.

use queuectl_core::store::{ClaimRequest, Orders, Registration, Rescued};
use queuectl_core::worker::action::Action;
use queuectl_core::worker::step::left;
use queuectl_core::{BootTime, Lease, StoreError};

use super::{Fate, Process};
use crate::simulator::faults::{Fault, Why};
use crate::simulator::tally::Tally;
use crate::simulator::world::Env;

/// A call of the store that has not come back.
pub(super) struct Call {
    pub(super) stage: Stage,
    pub(super) until: BootTime,
}

pub(super) enum Stage {
    Asking(Action, BootTime),
    Answered(Answer),
}

/// An answer on its way to the steps.
pub(super) type Answer = Box<dyn FnOnce(&mut Process, &mut Env)>;

/// What a call is answered with.
pub(super) enum Mode {
    Truth,
    /// The call is made, and is said to have failed.
    Lie,
    Failure(Why),
}

impl Mode {
    fn ask<T>(&self, call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        match self {
            Mode::Truth => call(),
            Mode::Lie => call().and_then(|_| Err(Why::Unknown.error())),
            Mode::Failure(why) => Err(why.error()),
        }
    }
}

impl Process {
    /// Starts a call of the store.
    pub(super) fn call(&mut self, action: Action, env: &mut Env) -> Fate {
        let asked_at = env.now();
        let fault = env.faults.next(&mut env.dice, self.plan.lease);
        env.story(|| match fault {
            Some(fault) => format!("process {}: {action:?}, {fault:?}", self.number),
            None => format!("process {}: {action:?}", self.number),
        });
        let (stage, pause, all_of_it) = match fault {
            None => {
                let answer = self.ask(action, asked_at, &Mode::Truth, env);
                answer(self, env);
                return Fate::Lives;
            }
            Some(Fault::Before(why)) => {
                env.tally.count("a call failed before its effect");
                let answer = self.ask(action, asked_at, &Mode::Failure(why), env);
                answer(self, env);
                return Fate::Lives;
            }
            Some(Fault::After) => {
                env.tally.count("a call failed after its effect");
                let answer = self.ask(action, asked_at, &Mode::Lie, env);
                answer(self, env);
                return Fate::Lives;
            }
            Some(Fault::DeathBefore) => {
                env.tally.count("a death before a call");
                return Fate::Dies;
            }
            Some(Fault::DeathAfter) => {
                env.tally.count("a death after a commit");
                drop(self.ask(action, asked_at, &Mode::Truth, env));
                return Fate::Dies;
            }
            Some(Fault::StopBefore(pause)) => (Stage::Asking(action, asked_at), pause, true),
            Some(Fault::Slow(pause)) => (Stage::Asking(action, asked_at), pause, false),
            Some(Fault::StopAfter(pause)) => {
                (Stage::Answered(self.ask(action, asked_at, &Mode::Truth, env)), pause, true)
            }
        };
        if pause > self.plan.lease {
            env.tally.count("a call answered after the lease");
        }
        self.call = Some(Call { stage, until: asked_at + pause });
        if all_of_it {
            self.stop_for(pause, env);
        }
        Fate::Lives
    }

    /// Makes a call of the store; the answer is not yet told.
    pub(super) fn ask(
        &self,
        action: Action,
        asked_at: BootTime,
        mode: &Mode,
        env: &mut Env,
    ) -> Answer {
        let (by, mirror) = (&self.handle, &mut env.mirror);
        match action {
            Action::Register(workers) => {
                let new = Registration { workers, lease: self.plan.lease, log: None };
                let answer = mode.ask(|| mirror.register(by, &new));
                Box::new(move |this, env| {
                    this.steps.registered(asked_at, env.now(), answer);
                    this.move_fence();
                })
            }
            Action::Configure => {
                let answer = mode.ask(|| mirror.settings(by));
                Box::new(move |this, env| this.steps.configured(env.now(), answer))
            }
            Action::Renew(workers) => {
                let answer = mode.ask(|| mirror.renew(by, &workers, self.plan.lease));
                count_lost(&answer, &mut env.tally);
                Box::new(move |this, env| {
                    this.steps.renewed(asked_at, env.now(), answer);
                    this.move_fence();
                })
            }
            Action::Orders(workers) => {
                let answer = mode.ask(|| mirror.orders(by, &workers));
                count_lost(&answer, &mut env.tally);
                Box::new(move |this, env| this.steps.ordered(env.now(), answer))
            }
            Action::Rescue => {
                // A store that does not know whether it has rescued tells it again, itself.
                let mode = match mode {
                    Mode::Lie => &Mode::Failure(Why::Unknown),
                    mode => mode,
                };
                let answer = mode.ask(|| mirror.rescue(by, &self.kinds));
                if answer.as_ref().is_ok_and(|rescued| !rescued.is_empty()) {
                    env.changed = true;
                }
                Box::new(move |this, env| {
                    let rescued = answer.as_ref().map_or(&[][..], |rescued| rescued);
                    for one in rescued.iter().filter(|one| this.cleans(one)) {
                        env.witness.cleaned(one.lease.key, one.lost_from, one.lease.token);
                        if env.dice.once_in(8) {
                            // What it says of it is lost.
                            continue;
                        }
                        let cleaned = env.mirror.cleaned(&this.handle, &[one.lease]);
                        cleaned.expect("a store does not fail by itself");
                    }
                    this.steps.rescued(env.now(), answer);
                })
            }
            Action::Expire => {
                let answer = mode.ask(|| mirror.expire(by));
                env.tally.add("a job expired", *answer.as_ref().unwrap_or(&0));
                Box::new(move |this, env| this.steps.expired(env.now(), answer))
            }
            Action::Prune => {
                let answer = mode.ask(|| mirror.prune(by));
                env.tally.add("jobs deleted", *answer.as_ref().unwrap_or(&0));
                Box::new(move |this, env| this.steps.pruned(env.now(), answer))
            }
            Action::Tick => {
                let answer = mode.ask(|| {
                    let ticked = mirror.tick(by)?;
                    if !ticked.ticks.is_empty() {
                        env.changed = true;
                        env.ticks.told(&ticked.ticks, &mut env.tally);
                    }
                    Ok(ticked)
                });
                Box::new(move |this, env| this.steps.ticked(env.now(), answer))
            }
            Action::Reconcile(workers) => {
                let answer = mode.ask(|| mirror.held(by, &workers));
                Box::new(move |this, env| {
                    let (now, wall) = (env.now(), env.wall());
                    if let Ok(held) = &answer {
                        let known = |lease: &&Lease| !this.knows(**lease);
                        let unknown = held.iter().filter(known).count();
                        env.tally.add("a claim found by asking what is held", unknown as u64);
                    }
                    this.steps.reconciled(now, wall, answer);
                })
            }
            Action::Exchange { settle, claim } => {
                let request =
                    ClaimRequest { workers: &claim, queues: &self.queues, kinds: &self.kinds };
                let request = (!claim.is_empty()).then_some(&request);
                let mut claimed = Vec::new();
                let answer = mode.ask(|| {
                    let done = mirror.exchange(by, &settle, request)?;
                    claimed.clone_from(&done.claimed);
                    Ok(done)
                });
                for job in &claimed {
                    if env.dependent.remove(&job.id) {
                        env.tally.count("a job claimed after those it waited for");
                    }
                    if env.followers.remove(&job.id) {
                        env.tally.count("a job claimed after a batch");
                    }
                    if env.cleaners.remove(&job.id) {
                        env.tally.count("a job claimed after a failure that it waited for");
                    }
                    let own = env.mirror.job(job.lease.key).and_then(|job| job.timeout);
                    if job.timeout.is_some() && own.is_none() {
                        env.tally.count("a policy gave an attempt its time limit");
                    }
                    env.witness.claimed(job, &self.kinds);
                }
                let mut queues = claimed.windows(2).filter(|two| two[0].queue != two[1].queue);
                if queues.next().is_some() && env.mirror.shares() {
                    env.tally.count("a claim shared by weights");
                }
                env.changed |= !settle.is_empty() || !claimed.is_empty();
                if answer.is_err() && !settle.is_empty() {
                    env.tally.count("a settlement repeated");
                }
                if let Ok(done) = &answer {
                    env.tally.add("a late settlement refused", done.refused.len() as u64);
                    env.tally.add("a limit kept jobs back", u64::from(done.limited));
                    let lost = done.claimed.iter().filter(|job| job.lost_from.is_some()).count();
                    env.tally.add("a lost job claimed again", lost as u64);
                    let again = done.claimed.iter().filter(|job| job.attempt > 1).count();
                    env.tally.add("a job claimed again after its delay", again as u64);
                    if done.claimed.len() > self.plan.workers {
                        env.tally.count("jobs held in advance");
                    }
                }
                let wanted = claim.iter().map(|(_, wanted)| wanted).sum();
                Box::new(move |this, env| {
                    this.steps.exchanged(env.now(), settle, wanted, answer);
                })
            }
            Action::Note(notes) => {
                let answer = mode.ask(|| mirror.progress(by, &notes));
                Box::new(move |this, env| this.steps.noted(env.now(), answer))
            }
            Action::Count => {
                let answer = mode.ask(|| {
                    let (queues, counts) = (mirror.queues(by)?, mirror.counts(by)?);
                    Ok(left(&self.kinds, &self.queues, &queues, &counts))
                });
                Box::new(move |this, env| this.steps.counted(env.now(), answer))
            }
            Action::Deregister(workers) => {
                let answer = mode.ask(|| mirror.deregister(by, &workers));
                Box::new(move |this, env| this.steps.deregistered(env.now(), answer))
            }
            other => panic!("{other:?} is no call of the store"),
        }
    }

    /// Whether it is this process's to end what is left of a job.
    fn cleans(&self, rescued: &Rescued) -> bool {
        rescued.state.is_terminal() && self.kinds.contains(&rescued.kind)
    }
}

fn count_lost(answer: &Result<Orders, StoreError>, tally: &mut Tally) {
    if answer.as_ref().is_ok_and(|orders| !orders.lost.is_empty()) {
        tally.count("a living worker declared lost");
    }
}
