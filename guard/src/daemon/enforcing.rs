//! The thread that owns the enforcer.
//!
//! Input: [`Job`]s, in the order in which the engine decided. Output: a kernel that
//! holds what was decided, then the log lines that say so, then the answers to whoever
//! asked. Invariant: nothing is reported or answered as done that the kernel refused;
//! a refusal is repaired with the whole snapshot until it holds.

mod watch;

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::WeakUnboundedSender;
use tokio::sync::oneshot;

use crate::control::protocol::Response;
use crate::core::delta::{Delta, Snapshot};
use crate::core::effects::Report;
use crate::core::enforced::{Capabilities, Coverage, Held};
use crate::core::host::Host;
use crate::core::jail::JailName;
use crate::daemon::figures::Enforced;
use crate::daemon::perform::Command;
use crate::daemon::tally::Tallies;
use crate::daemon::teller::Teller;
use crate::enforce::{EnforceError, Enforcer, Moment};
use watch::Watch;

/// One thing for the enforcer to do.
pub enum Job {
    /// Changes that the store has, or was offered.
    Apply {
        /// What changes.
        deltas: Vec<Delta>,
        /// What to log when it is so.
        reports: Vec<Report>,
        /// Whom to tell then.
        answer: Option<Answer>,
    },
    /// The whole ban set, to repair what an earlier job could not do.
    Replace(Snapshot),
    /// The host's addresses or interfaces changed.
    Follow(Host),
    /// Look at the kernel and answer from what is there.
    Look {
        /// Makes the answer.
        answer: Box<dyn FnOnce(&Picture) -> Response + Send>,
        /// Takes it.
        to: oneshot::Sender<Response>,
    },
    /// Count what the kernel holds and answer from that.
    Count {
        /// How many bans of each jail there should be.
        wanted: Vec<(JailName, u64)>,
        /// Makes the answer.
        answer: Box<dyn FnOnce(Enforced) -> Response + Send>,
        /// Takes it.
        to: oneshot::Sender<Response>,
    },
    /// Is this thread alive?
    Ping(oneshot::Sender<()>),
}

/// An answer that waits for the kernel.
#[derive(Debug)]
pub struct Answer {
    /// What to say when all went well.
    pub response: Response,
    /// To whom.
    pub to: oneshot::Sender<Response>,
}

/// The enforcer at one moment.
#[derive(Debug)]
pub struct Picture {
    /// `xdp`, `nft` or `null`.
    pub backend: &'static str,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Every ban that the kernel holds, or why it cannot be asked.
    pub held: Result<Vec<Held>, String>,
    /// How each interface is guarded.
    pub coverage: Vec<Coverage>,
    /// What is wrong, in words.
    pub problems: Vec<String>,
    /// How often something that others changed in the kernel was put right.
    pub put_right: u64,
}

/// First and longest pause between attempts to repair.
const REPAIR_PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// Works until the other end of `jobs` is gone. `broken` is what went wrong when the
/// ban set was put into the kernel at the start, if anything did.
pub fn work(
    enforcer: Box<dyn Enforcer>,
    broken: Option<&str>,
    teller: Teller,
    jobs: &Receiver<Job>,
    engine: &WeakUnboundedSender<Command>,
    now: fn() -> Moment,
) {
    let mut enforcing = Enforcing::new(enforcer, broken, teller, engine.clone(), now);
    loop {
        let due = enforcing.look_after(Instant::now());
        match jobs.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
            Ok(job) => enforcing.take(job, Instant::now()),
        }
    }
}

/// An enforcer at work: what it is to make good, and its eye on the kernel.
pub struct Enforcing {
    enforcer: Box<dyn Enforcer>,
    teller: Teller,
    engine: WeakUnboundedSender<Command>,
    now: fn() -> Moment,
    repair: Option<Repair>,
    uncovered: Option<String>,
    watch: Watch,
    tallies: Tallies,
}

impl Enforcing {
    /// As [`work`]; it begins at this instant.
    pub fn new(
        enforcer: Box<dyn Enforcer>,
        broken: Option<&str>,
        teller: Teller,
        engine: WeakUnboundedSender<Command>,
        now: fn() -> Moment,
    ) -> Self {
        let start = Instant::now();
        let repair = broken.map(|cause| Repair::after(cause, &teller, start));
        let (watch, tallies) = (Watch::from(start), Tallies::default());
        Self { enforcer, teller, engine, now, repair, uncovered: None, watch, tallies }
    }

    /// Looks at the kernel and asks for the whole ban set, each if it is time; until when
    /// nothing more is to be done but jobs.
    pub fn look_after(&mut self, instant: Instant) -> Instant {
        if let Some(cause) = self.watch.inspect_if_due(&mut *self.enforcer, &self.teller, instant)
            && self.repair.is_none()
        {
            self.repair = Some(Repair::after(&cause, &self.teller, instant));
        }
        let mut due = self.watch.due;
        if let Some(repair) = &mut self.repair {
            repair.ask_if_due(&self.engine, instant);
            due = due.min(repair.due);
        }
        due
    }

    /// Does one job.
    pub fn take(&mut self, job: Job, instant: Instant) {
        self.teller.meters.job_taken();
        match job {
            Job::Apply { deltas, reports, answer } => {
                if self.repair.is_none()
                    && !deltas.is_empty()
                    && let Err(error) = self.enforcer.apply(&deltas, (self.now)())
                {
                    self.repair = Some(Repair::after(&error.to_string(), &self.teller, instant));
                }
                match &mut self.repair {
                    Some(repair) => repair.wait(&self.teller, reports, answer, instant),
                    None => {
                        self.teller.tell(&reports, (self.now)());
                        answer.into_iter().for_each(Answer::give);
                    }
                }
            }
            Job::Replace(_) if self.repair.is_none() && !self.watch.pass_due(instant) => {}
            Job::Replace(snapshot) => self.replace(&snapshot, instant),
            Job::Follow(host) => {
                let problem = self.enforcer.follow(&host).err().map(|error| error.to_string());
                if problem != self.uncovered {
                    if let Some(problem) = &problem {
                        tracing::error!(target: "fail2ban.actions", "{problem}");
                    }
                    self.uncovered = problem;
                }
            }
            Job::Look { answer, to } => {
                let response = answer(&self.picture());
                self.give(response, to);
            }
            Job::Count { wanted, answer, to } => {
                let response = answer(self.count(&wanted));
                // Asked every second, and by whoever may read figures: what is missing is
                // put right then too, but as often as is cheap and no more.
                if response.shows_missing_bans() && self.watch.pass_due(instant) {
                    self.ask_for_all();
                }
                let _ = to.send(response);
            }
            Job::Ping(to) => {
                let _ = to.send(());
            }
        }
    }

    /// Goes over all bans, and says so when that made something good.
    fn replace(&mut self, snapshot: &Snapshot, instant: Instant) {
        let now = (self.now)();
        match self.watch.pass(&mut *self.enforcer, snapshot, now) {
            Ok(()) => {
                let (changes, repaired) = (self.enforcer.replaced(), self.repair.is_some());
                watch::count(changes, snapshot, repaired, now, &self.teller);
                if let Some(repair) = self.repair.take() {
                    self.teller.holds_again(snapshot.bans.len());
                    self.teller.tell(&repair.reports, now);
                    repair.answers.into_iter().for_each(Answer::give);
                }
            }
            Err(error) => {
                let cause = error.to_string();
                let teller = &self.teller;
                let repair =
                    self.repair.get_or_insert_with(|| Repair::after(&cause, teller, instant));
                repair.fail(cause, teller);
            }
        }
    }

    fn picture(&mut self) -> Picture {
        let coverage = self.enforcer.coverage();
        // What no interface asks for enforces nothing.
        let idle = !coverage.is_empty() && coverage.iter().all(|one| one.means == "none");
        let held = if idle { Ok(Vec::new()) } else { self.enforcer.held((self.now)()) };
        Picture {
            backend: self.enforcer.name(),
            capabilities: self.enforcer.capabilities(),
            held: held.map_err(|error| error.to_string()),
            coverage,
            problems: self.problems(),
            put_right: self.teller.meters.put_right(),
        }
    }

    /// What the kernel holds in numbers, where so many bans of each jail there should be.
    fn count(&mut self, wanted: &[(JailName, u64)]) -> Enforced {
        let words = |error: EnforceError| error.to_string();
        let tally = self.tallies.tally(&mut *self.enforcer, wanted, (self.now)());
        Enforced {
            backend: self.enforcer.name(),
            tally: tally.map_err(words),
            traffic: self.enforcer.traffic().map_err(words),
            coverage: self.enforcer.coverage(),
            problems: self.problems(),
        }
    }

    /// What is wrong with the kernel's half, in words.
    fn problems(&self) -> Vec<String> {
        let repair = self.repair.iter().map(|repair| repair.cause.clone());
        repair.chain(self.uncovered.clone()).chain(self.watch.problem()).collect()
    }

    /// Gives an answer; what it shows to be missing is to be put right.
    fn give(&mut self, response: Response, to: oneshot::Sender<Response>) {
        self.watch.asked |= response.shows_missing_bans();
        if response.shows_missing_bans() {
            self.ask_for_all();
        }
        // Whoever asked may have left.
        let _ = to.send(response);
    }

    fn ask_for_all(&self) {
        // While the agent stops there is nobody to ask.
        if let Some(engine) = self.engine.upgrade() {
            let _ = engine.send(Command::Resync);
        }
    }
}

/// What is to be made good.
struct Repair {
    cause: String,
    due: Instant,
    pause: Duration,
    /// Logged when the kernel holds what they say. Bounded.
    reports: Vec<Report>,
    /// Given after the next attempt, whichever way it ends.
    answers: Vec<Answer>,
}

/// Log lines that wait for a repair; further ones are not logged.
const WAITING_REPORTS: usize = 100_000;

impl Repair {
    /// Begins at once: most often it was only somebody else's change of the kernel.
    fn after(cause: &str, teller: &Teller, instant: Instant) -> Self {
        teller.refused(cause);
        Self {
            cause: cause.to_owned(),
            due: instant,
            pause: REPAIR_PAUSE.0,
            reports: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Asks for the whole ban set when it is time, ever less often.
    fn ask_if_due(&mut self, engine: &WeakUnboundedSender<Command>, instant: Instant) {
        if instant < self.due {
            return;
        }
        self.due = instant + self.pause;
        self.pause = (self.pause * 2).min(REPAIR_PAUSE.1);
        // While the agent stops there is nobody to ask.
        if let Some(engine) = engine.upgrade() {
            let _ = engine.send(Command::Resync);
        }
    }

    /// Keeps what may only be said when the kernel holds it.
    fn wait(
        &mut self,
        teller: &Teller,
        reports: Vec<Report>,
        answer: Option<Answer>,
        instant: Instant,
    ) {
        // What was found is true whether or not the kernel acts on it.
        let (found, waits): (Vec<_>, Vec<_>) = reports.into_iter().partition(is_about_lines);
        teller.found(&found);
        let room = WAITING_REPORTS.saturating_sub(self.reports.len());
        self.reports.extend(waits.into_iter().take(room));
        self.answers.extend(answer);
        // Something new to enforce is worth an attempt soon.
        self.pause = REPAIR_PAUSE.0;
        self.due = self.due.min(instant + REPAIR_PAUSE.0);
    }

    /// An attempt failed: whoever waits is told.
    fn fail(&mut self, cause: String, teller: &Teller) {
        if self.cause != cause {
            teller.refused(&cause);
        }
        for Answer { to, .. } in self.answers.drain(..) {
            let _ = to.send(Response::Error(format!(
                "stored, but not in the kernel yet: {cause}; guard goes on trying"
            )));
        }
        self.cause = cause;
    }
}

impl Answer {
    fn give(self) {
        // Whoever asked may have left.
        let _ = self.to.send(self.response);
    }
}

fn is_about_lines(report: &Report) -> bool {
    matches!(
        report,
        Report::Found(_)
            | Report::Ignored { .. }
            | Report::Evicted { .. }
            | Report::GivenUp { .. }
            | Report::Planted { .. }
            | Report::StepLimit { .. }
            | Report::Unanswered { .. }
            | Report::Unresolved { .. }
            | Report::ListTrouble { .. }
            | Report::ListChanged { .. }
    )
}
