//! The thread that owns engine and store: the one place where effects happen.
//!
//! Input: batches of entries and [`Command`]s. Output: persisted changes, then
//! [`Job`]s for the enforcer. Invariant: nothing reaches the enforcer that was not offered
//! to the store first. While the store refuses, bans are made and lifted all the same and
//! what it did not take is held ([`Unstored`]) and offered again, once a second or, if that
//! takes long, less often.

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
use crate::daemon::keep::Keep;
use crate::daemon::meters::Meters;
use crate::daemon::unstored::{Known, Unstored};
use crate::enforce::Moment;
use crate::store::StoreError;

#[cfg(doc)]
use crate::store::Store;

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
    /// So much the kernel has dropped since it began to count.
    Dropped {
        /// Packets.
        packets: u64,
        /// Bytes.
        bytes: u64,
    },
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

/// Adds what happened to the totals of each jail.
pub(super) fn add_up(totals: &mut [Total], changes: &[Change]) {
    for change in changes {
        match change {
            Change::Count { failure, .. } => totals[failure.jail.index()].failures += 1,
            Change::Ban(ban) => totals[ban.jail.index()].bans += 1,
            _ => {}
        }
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
    /// What the store does not have yet.
    pub unstored: Unstored,
    /// Why not.
    pub store_problem: Option<String>,
    /// When to try again.
    pub retry_at: Option<Instant>,
}

/// Pause between attempts to persist.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// The part of the time that such attempts may take, as its inverse.
const STORE_SHARE: u32 = 20;

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
            let wake = wake_at.map(|at| instant_of(at, (self.now)().wall));
            let due = [wake, self.retry_at].into_iter().flatten().min();
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
                batch = batches.recv(), if sources_live => match batch {
                    Some(batch) => wake_at = self.handle(Input::Entries(batch), None),
                    None => sources_live = false,
                },
                () = woken => {
                    if self.is_due() {
                        self.retry();
                    } else {
                        wake_at = self.handle(Input::Tick, None);
                    }
                }
            }
        }
        // Told to stop: what was read already is dealt with, unless the store refuses. What
        // it refuses to the end is read again at the next start.
        self.retry();
        while !self.is_behind()
            && let Some(batch) = batches.recv().await
        {
            self.handle(Input::Entries(batch), None);
        }
    }

    /// Whether the store lacks anything.
    pub fn is_behind(&self) -> bool {
        !self.unstored.is_empty()
    }

    /// Does what an input leads to; when to wake up next. Whoever gave an order is told if the
    /// store does not have it.
    pub fn handle(
        &mut self,
        input: Input,
        to: Option<oneshot::Sender<Response>>,
    ) -> Option<Timestamp> {
        let mut effects = self.engine.handle((self.now)().wall, input);
        let wake_at = effects.wake_at;
        add_up(&mut self.totals, &effects.persist);
        self.note_positions(&effects.persist);
        self.unstored.push(std::mem::take(&mut effects.persist));
        // Whoever orders something is told whether it is stored, but for what takes long.
        let asks = to.is_some() && !self.unstored.is_large();
        if asks || self.store_problem.is_none() || self.is_due() {
            self.retry();
        }
        self.hand_on(effects, to);
        wake_at
    }

    /// Offers the store what it does not have, in order, until it refuses.
    pub fn retry(&mut self) {
        while self.is_behind() {
            let start = std::time::Instant::now();
            let (engine, names, totals) = (&self.engine, &*self.names, &*self.totals);
            let known = Known { engine, names, totals };
            let written = self.unstored.write_one(&mut *self.store, known);
            let took = start.elapsed();
            let other = self.take_up_other();
            match written {
                Ok(()) => {
                    let took = i64::try_from(took.as_micros()).unwrap_or(i64::MAX);
                    self.meters.persisted(Span::from_micros(took));
                }
                Err(error) => {
                    self.meters.store_refused();
                    // A damaged store has given way to a new one.
                    if other
                        && matches!(error, StoreError::Damaged { .. } | StoreError::Missing { .. })
                    {
                        continue;
                    }
                    self.fall_behind(&error, took);
                    return;
                }
            }
        }
        self.store.has_all();
        if self.store.wants_reading() {
            self.background.reread.notify_one();
        }
        self.retry_at = None;
        if self.store_problem.take().is_some() {
            tracing::info!(target: "fail2ban.database", notice = true, "the store works again");
        }
    }

    /// Takes note that the store refused something that is held, which took so long.
    fn fall_behind(&mut self, error: &StoreError, took: Duration) {
        let problem = error.to_string();
        if self.store_problem.as_ref() != Some(&problem) {
            tracing::error!(target: "fail2ban.database", "{problem}");
        }
        self.store_problem = Some(problem);
        self.retry_at = Some(Instant::now() + STORE_PAUSE.max(took * STORE_SHARE));
    }

    /// Another store than before is given all that is known.
    fn take_up_other(&mut self) -> bool {
        let filling = self.store.wants_filling();
        if let Some(filling) = filling {
            self.unstored.fill(filling);
        }
        filling.is_some()
    }

    /// Whether the store is to be tried again.
    fn is_due(&self) -> bool {
        self.retry_at.is_some_and(|at| at <= Instant::now())
    }

    fn note_positions(&self, changes: &[Change]) {
        for change in changes {
            if let Change::Position(position) = change {
                self.meters.read(position, (self.now)().wall);
            }
        }
    }

    fn hand_on(&mut self, effects: Effects, to: Option<oneshot::Sender<Response>>) {
        self.meters.decided(&self.names, &effects.report);
        for question in effects.ask {
            // While the agent stops nobody asks; the next start does.
            let _ = self.questions.send(question);
        }
        let answer = match (effects.outcome, to) {
            (Some(mut outcome), Some(to)) => {
                outcome.unstored = self.store_problem.clone().filter(|_| self.is_behind());
                Some(Answer { response: Response::Done(outcome), to })
            }
            _ => None,
        };
        if !effects.enforce.is_empty() || !effects.report.is_empty() || answer.is_some() {
            self.send(Job::Apply { deltas: effects.enforce, reports: effects.report, answer });
        }
    }

    /// Does what is asked, while so many batches wait; when to wake up from now on, if that
    /// changed.
    pub fn obey(&mut self, command: Command, batches: usize) -> Option<Timestamp> {
        match command {
            Command::Host(host) => {
                self.send(Job::Follow(host.clone()));
                return self.handle(Input::HostAddresses(host.addresses), None);
            }
            Command::Answer(answer) => return self.handle(Input::Answer(answer), None),
            Command::Resync => self.send(Job::Replace(self.engine.snapshot())),
            Command::Ping(to) => self.send(Job::Ping(to)),
            // The next one says the same and more.
            Command::Dropped { .. } if self.is_behind() => {}
            Command::Dropped { packets, bytes } => {
                let recorded = self.store.record_drops((self.now)().wall, packets, bytes);
                if let Err(error) = recorded {
                    tracing::warn!(target: "fail2ban.database", "{error}");
                }
                self.take_up_other();
                self.retry();
            }
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
                order => {
                    let lifts = match &order {
                        Request::Unban { jail, sources } => Some((jail.clone(), sources.clone())),
                        _ => None,
                    };
                    match answer::manual(&self.engine, order) {
                        Ok(manual) => {
                            if let Some((jail, sources)) = lifts {
                                self.include_others(jail.as_ref(), sources);
                            }
                            return self.handle(Input::Manual(manual), Some(to));
                        }
                        Err(refusal) => {
                            let _ = to.send(Response::Error(refusal));
                        }
                    }
                }
            },
        }
        None
    }

    /// An unban in all jails is meant for those as well that are not started, of which
    /// only the store knows; and each for what nobody could read in it.
    fn include_others(&mut self, jail: Option<&JailName>, sources: Option<Vec<Prefix>>) {
        self.unstored.push_ordered(jail, sources.as_deref(), (self.now)().wall);
        if jail.is_none() {
            self.unstored.push_others(sources);
        }
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
