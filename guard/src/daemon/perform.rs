//! The thread that owns engine and store: the one place where effects happen.
//!
//! Input: batches of entries and [`Command`]s. Output: persisted changes, then
//! [`Job`]s for the enforcer. Invariant: nothing reaches the enforcer that is not
//! durable. While the store refuses, entries wait in the journal, orders by hand are
//! refused, and what the kernel holds stays.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::control::event::Events;
use crate::control::protocol::{Request, Response};
use crate::core::addr::Prefix;
use crate::core::effects::{Change, Effects};
use crate::core::engine::Engine;
use crate::core::entry::Batch;
use crate::core::host::Host;
use crate::core::input::Input;
use crate::core::jail::{Jail, JailName};
use crate::core::question::{self, Question};
use crate::core::time::{Span, Timestamp};
use crate::daemon::answer::{self, Background};
use crate::daemon::enforcing::{Answer, Job};
use crate::daemon::figures;
use crate::daemon::meters::Meters;
use crate::enforce::Moment;
use crate::store::{Store, StoreError};

/// What others want of the engine.
#[derive(Debug)]
pub enum Command {
    /// A request from the socket.
    Ask(Request, oneshot::Sender<Response>),
    /// The host's addresses or interfaces changed.
    Host(Host),
    /// Somebody outside answered a question of the engine.
    Answer(question::Answer),
    /// The enforcer needs the whole ban set.
    Resync,
    /// Are engine and enforcer alive?
    Ping(oneshot::Sender<()>),
    /// Why is the store not up to date, if it is not?
    Behind(oneshot::Sender<Option<String>>),
    /// The jails as they are now, by hand changed or not.
    Jails(oneshot::Sender<Vec<Jail>>),
}

/// Failures and bans of one jail since it first started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Failures found.
    pub failures: u64,
    /// Bans begun.
    pub bans: u64,
}

/// What makes changes durable: the [`Store`]; in simulations, one that crashes.
pub trait Keep: fmt::Debug + Send {
    /// As [`Store::persist`].
    ///
    /// # Errors
    /// When nothing was written; the same call may be made again.
    fn persist(&mut self, changes: &[Change], jails: &[JailName]) -> Result<(), StoreError>;

    /// As [`Store::unban_others`].
    ///
    /// # Errors
    /// As [`Keep::persist`].
    fn unban_others(
        &mut self,
        started: &[JailName],
        sources: Option<&[Prefix]>,
    ) -> Result<(), StoreError>;
}

impl Keep for Store {
    fn persist(&mut self, changes: &[Change], jails: &[JailName]) -> Result<(), StoreError> {
        Self::persist(self, changes, jails)
    }

    fn unban_others(
        &mut self,
        started: &[JailName],
        sources: Option<&[Prefix]>,
    ) -> Result<(), StoreError> {
        Self::unban_others(self, started, sources)
    }
}

/// Engine, store, and the way to the enforcer.
#[derive(Debug)]
pub struct Performer {
    /// What decides.
    pub engine: Engine,
    /// What remembers.
    pub store: Box<dyn Keep>,
    /// Names of the started jails, by [`JailId`](crate::core::jail::JailId).
    pub names: Vec<JailName>,
    /// Totals of the started jails.
    pub totals: Vec<Total>,
    /// To the enforcer's thread.
    pub jobs: SyncSender<Job>,
    /// To whoever takes questions outside.
    pub questions: UnboundedSender<Question>,
    /// What is counted.
    pub meters: Arc<Meters>,
    /// Who is told what happens.
    pub events: Events,
    /// What the answers need besides.
    pub background: Background,
    /// The clocks.
    pub now: fn() -> Moment,
    /// Effects that could not be persisted yet, in order.
    pub waiting: VecDeque<(Effects, Option<oneshot::Sender<Response>>)>,
    /// Why not.
    pub store_problem: Option<String>,
    /// When to try again.
    pub retry_at: Option<Instant>,
}

/// Pause between attempts to persist.
const STORE_PAUSE: Duration = Duration::from_secs(1);

impl Performer {
    /// Works until the commands' other end is gone.
    pub async fn work(
        mut self,
        mut commands: UnboundedReceiver<Command>,
        mut batches: Receiver<Batch>,
    ) {
        let mut wake_at = self.engine.wake_at();
        let mut sources_live = true;
        loop {
            let stuck = self.is_stuck();
            let due = if stuck {
                self.retry_at
            } else {
                wake_at.map(|at| instant_of(at, (self.now)().wall))
            };
            let woken = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(command) => wake_at = self.obey(command, batches.len()).or(wake_at),
                    None => break,
                },
                batch = batches.recv(), if sources_live && !stuck => match batch {
                    Some(batch) => wake_at = self.handle(Input::Entries(batch), None),
                    None => sources_live = false,
                },
                () = woken => {
                    if stuck {
                        self.retry();
                    } else {
                        wake_at = self.handle(Input::Tick, None);
                    }
                }
            }
        }
        // Told to stop: what was read already is dealt with, unless the store refuses.
        while self.waiting.is_empty()
            && let Some(batch) = batches.recv().await
        {
            self.handle(Input::Entries(batch), None);
        }
    }

    /// Whether the store refuses what waits: then no batch may be read and no time passes
    /// for the engine; only commands and [`Performer::retry`] do anything.
    pub fn is_stuck(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Does what an input leads to, as far as the store lets it; when to wake up next.
    pub fn handle(
        &mut self,
        input: Input,
        to: Option<oneshot::Sender<Response>>,
    ) -> Option<Timestamp> {
        let effects = self.engine.handle((self.now)().wall, input);
        let wake_at = effects.wake_at;
        self.waiting.push_back((effects, to));
        self.retry();
        wake_at
    }

    /// Persists what waits, in order, and hands it on.
    pub fn retry(&mut self) {
        while let Some((effects, _)) = self.waiting.front() {
            let start = std::time::Instant::now();
            if !effects.persist.is_empty()
                && let Err(error) = self.store.persist(&effects.persist, &self.names)
            {
                self.meters.store_refused();
                let problem = error.to_string();
                if self.store_problem.as_ref() != Some(&problem) {
                    tracing::error!(target: "fail2ban.database", "{problem}");
                }
                self.store_problem = Some(problem);
                self.retry_at = Some(Instant::now() + STORE_PAUSE);
                return;
            }
            if !effects.persist.is_empty() {
                let took = i64::try_from(start.elapsed().as_micros()).unwrap_or(i64::MAX);
                self.meters.persisted(Span::from_micros(took));
            }
            if let Some((effects, to)) = self.waiting.pop_front() {
                self.hand_on(effects, to);
            }
        }
        if self.store_problem.take().is_some() {
            tracing::info!(target: "fail2ban.database", notice = true, "the store works again");
        }
    }

    fn hand_on(&mut self, effects: Effects, to: Option<oneshot::Sender<Response>>) {
        for change in &effects.persist {
            match change {
                Change::Count { failure, .. } => self.totals[failure.jail.index()].failures += 1,
                Change::Ban(ban) => self.totals[ban.jail.index()].bans += 1,
                Change::Position(position) => self.meters.read(position, (self.now)().wall),
                _ => {}
            }
        }
        self.meters.decided(&self.names, &effects.report);
        for question in effects.ask {
            // While the agent stops nobody asks; the next start does.
            let _ = self.questions.send(question);
        }
        let answer = match (effects.outcome, to) {
            (Some(outcome), Some(to)) => Some(Answer { response: Response::Done(outcome), to }),
            _ => None,
        };
        if !effects.enforce.is_empty() || !effects.report.is_empty() || answer.is_some() {
            self.send(Job::Apply { deltas: effects.enforce, reports: effects.report, answer });
        }
    }

    /// Does what is asked, while so many batches wait; when to wake up from now on, if that
    /// changed.
    pub fn obey(&mut self, command: Command, batches: usize) -> Option<Timestamp> {
        let stuck = self.is_stuck();
        match command {
            Command::Host(host) => {
                self.send(Job::Follow(host.clone()));
                return self.handle(Input::HostAddresses(host.addresses), None);
            }
            Command::Answer(answer) => return self.handle(Input::Answer(answer), None),
            // What is not durable yet must not be enforced; the enforcer asks again.
            Command::Resync if stuck => {}
            Command::Resync => self.send(Job::Replace(self.engine.snapshot())),
            Command::Ping(to) => self.send(Job::Ping(to)),
            Command::Behind(to) => {
                // Whoever asked may have left.
                let _ = to.send(self.store_problem.clone());
            }
            Command::Jails(to) => {
                let _ = to.send(self.engine.jails().map(|(_, jail)| jail.clone()).collect());
            }
            Command::Ask(request, to) => match request {
                Request::Status => {
                    let answer = Box::new(answer::status(self));
                    self.send(Job::Look { answer, to });
                }
                Request::Bans => {
                    let answer = Box::new(answer::bans(self));
                    self.send(Job::Look { answer, to });
                }
                Request::Figures => {
                    let answer = Box::new(figures::figures(self, batches));
                    self.send(Job::Count { wanted: figures::wanted(self), answer, to });
                }
                Request::Explain { source } => {
                    let answer = Box::new(answer::explain(self, source));
                    self.send(Job::Look { answer, to });
                }
                Request::Jails => {
                    let _ = to.send(Response::Jails(self.names.clone()));
                }
                Request::Jail { jail } => {
                    let _ = to.send(answer::jail(self, &jail));
                }
                _ if stuck => {
                    let problem = self.store_problem.clone().unwrap_or_default();
                    let _ = to.send(Response::Error(format!("nothing was done: {problem}")));
                }
                order => match self.include_others(&order) {
                    Err(refusal) => {
                        let _ = to.send(Response::Error(refusal));
                    }
                    Ok(()) => match answer::manual(&self.engine, order) {
                        Ok(manual) => return self.handle(Input::Manual(manual), Some(to)),
                        Err(refusal) => {
                            let _ = to.send(Response::Error(refusal));
                        }
                    },
                },
            },
        }
        None
    }

    /// An unban in all jails is meant for those as well that are not started, of which
    /// only the store knows.
    fn include_others(&mut self, order: &Request) -> Result<(), String> {
        let Request::Unban { jail: None, sources } = order else { return Ok(()) };
        self.store
            .unban_others(&self.names, sources.as_deref())
            .map_err(|error| format!("nothing was done: {error}"))
    }

    fn send(&self, job: Job) {
        self.meters.job_sent();
        // A dead enforcer thread means a panic, and a panic aborts.
        let _ = self.jobs.send(job);
    }
}

/// When the wall clock will show `at`, as far as can be told now. Never more than a
/// minute away, so that a step of the wall clock is noticed.
fn instant_of(at: Timestamp, wall: Timestamp) -> Instant {
    let micros = (at - wall).micros().clamp(0, 60_000_000);
    Instant::now() + Duration::from_micros(micros.unsigned_abs())
}
