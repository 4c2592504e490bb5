//! The thread that owns the enforcer.
//!
//! Input: [`Job`]s, in the order in which the engine decided. Output: a kernel that
//! holds what was decided, then the log lines that say so, then the answers to whoever
//! asked. Invariant: nothing is reported or answered as done that the kernel refused;
//! a refusal is repaired with the whole snapshot until it holds.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::WeakUnboundedSender;
use tokio::sync::oneshot;

use crate::control::protocol::Response;
use crate::core::delta::{Ban, Delta, Snapshot};
use crate::core::effects::Report;
use crate::core::enforced::{Capabilities, Coverage, Held};
use crate::core::host::Host;
use crate::core::jail::JailName;
use crate::daemon::figures::Enforced;
use crate::daemon::perform::Command;
use crate::daemon::tally::Tallies;
use crate::daemon::teller::Teller;
use crate::enforce::{EnforceError, Enforcer, Moment};

/// One thing for the enforcer to do.
pub enum Job {
    /// Changes that are durable.
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

/// How often it is looked whether others changed something.
const INSPECTION: Duration = Duration::from_secs(1);
/// The part of a core that going over all bans may take, as its inverse.
const PASS_SHARE: u32 = 100;

/// Works until the other end of `jobs` is gone. `broken` is what went wrong when the
/// ban set was put into the kernel at the start, if anything did.
pub fn work(
    mut enforcer: Box<dyn Enforcer>,
    broken: Option<&str>,
    teller: &Teller,
    jobs: &Receiver<Job>,
    engine: &WeakUnboundedSender<Command>,
    now: fn() -> Moment,
) {
    let mut repair: Option<Repair> = broken.map(|cause| Repair::after(cause, teller));
    let mut uncovered: Option<String> = None;
    let mut watch = Watch { due: Instant::now() + INSPECTION, ..Watch::default() };
    let mut tallies = Tallies::default();
    loop {
        if let Some(cause) = watch.inspect_if_due(&mut *enforcer, teller)
            && repair.is_none()
        {
            repair = Some(Repair::after(&cause, teller));
        }
        let mut due = watch.due;
        if let Some(repair) = &mut repair {
            repair.ask_if_due(engine);
            due = due.min(repair.due);
        }
        let job = jobs.recv_timeout(due.saturating_duration_since(Instant::now()));
        if job.is_ok() {
            teller.meters.job_taken();
        }
        match job {
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Job::Apply { deltas, reports, answer }) => {
                if repair.is_none()
                    && !deltas.is_empty()
                    && let Err(error) = enforcer.apply(&deltas, now())
                {
                    repair = Some(Repair::after(&error.to_string(), teller));
                }
                match &mut repair {
                    Some(repair) => repair.wait(teller, reports, answer),
                    None => {
                        teller.tell(&reports, now());
                        answer.into_iter().for_each(Answer::give);
                    }
                }
            }
            Ok(Job::Replace(_)) if repair.is_none() && !watch.pass_due() => {}
            Ok(Job::Replace(snapshot)) => match watch.pass(&mut *enforcer, &snapshot, now()) {
                Ok(()) => {
                    let changes = enforcer.replaced();
                    count(changes, &snapshot, repair.is_some(), now(), teller);
                    if let Some(repair) = repair.take() {
                        teller.holds_again(snapshot.bans.len());
                        teller.tell(&repair.reports, now());
                        repair.answers.into_iter().for_each(Answer::give);
                    }
                }
                Err(error) => {
                    let cause = error.to_string();
                    let repair = repair.get_or_insert_with(|| Repair::after(&cause, teller));
                    repair.fail(cause, teller);
                }
            },
            Ok(Job::Follow(host)) => {
                let problem = enforcer.follow(&host).err().map(|error| error.to_string());
                if problem != uncovered {
                    if let Some(problem) = &problem {
                        tracing::error!(target: "fail2ban.actions", "{problem}");
                    }
                    uncovered = problem;
                }
            }
            Ok(Job::Look { answer, to }) => {
                let problems = problems(repair.as_ref(), uncovered.as_ref(), &watch);
                let coverage = enforcer.coverage();
                // What no interface asks for enforces nothing.
                let idle = !coverage.is_empty() && coverage.iter().all(|one| one.means == "none");
                let held = if idle { Ok(Vec::new()) } else { enforcer.held(now()) };
                let picture = Picture {
                    backend: enforcer.name(),
                    capabilities: enforcer.capabilities(),
                    held: held.map_err(|error| error.to_string()),
                    coverage,
                    problems,
                    put_right: teller.meters.put_right(),
                };
                let response = answer(&picture);
                watch.give(response, to, engine);
            }
            Ok(Job::Count { wanted, answer, to }) => {
                let words = |error: EnforceError| error.to_string();
                let enforced = Enforced {
                    backend: enforcer.name(),
                    tally: tallies.tally(&mut *enforcer, &wanted, now()).map_err(words),
                    traffic: enforcer.traffic().map_err(words),
                    coverage: enforcer.coverage(),
                    problems: problems(repair.as_ref(), uncovered.as_ref(), &watch),
                };
                watch.give(answer(enforced), to, engine);
            }
            Ok(Job::Ping(to)) => {
                let _ = to.send(());
            }
        }
    }
}

/// What is wrong with the kernel's half, in words.
fn problems(repair: Option<&Repair>, uncovered: Option<&String>, watch: &Watch) -> Vec<String> {
    let repair = repair.map(|repair| repair.cause.clone());
    repair.into_iter().chain(uncovered.cloned()).chain(watch.problem()).collect()
}

/// The eye on what others do to the kernel's half.
struct Watch {
    /// When to look next.
    due: Instant,
    problem: Option<String>,
    /// When all bans may be gone over again.
    pass_due: Instant,
    /// Bans were seen to be missing.
    asked: bool,
}

impl Default for Watch {
    fn default() -> Self {
        let now = Instant::now();
        Self { due: now, problem: None, pass_due: now, asked: false }
    }
}

impl Watch {
    /// Looks when it is time; gives what takes the whole ban set to put right.
    fn inspect_if_due(&mut self, enforcer: &mut dyn Enforcer, teller: &Teller) -> Option<String> {
        if Instant::now() < self.due {
            return None;
        }
        let noticed = enforcer.inspect();
        self.due = Instant::now() + INSPECTION;
        match noticed {
            Ok(noticed) => {
                for what in &noticed.put_right {
                    teller.put_right(what);
                }
                self.problem = None;
                if noticed.broken.is_some() {
                    teller.meters.is_put_right();
                }
                noticed.broken
            }
            Err(error) => {
                let problem = error.to_string();
                if self.problem.as_ref() != Some(&problem) {
                    tracing::error!(target: "fail2ban.actions", "{problem}");
                }
                self.problem = Some(problem);
                None
            }
        }
    }

    fn problem(&self) -> Option<String> {
        self.problem.clone()
    }

    /// Gives an answer; what it shows to be missing is to be put right.
    fn give(
        &mut self,
        response: Response,
        to: oneshot::Sender<Response>,
        engine: &WeakUnboundedSender<Command>,
    ) {
        self.asked |= response.shows_missing_bans();
        if response.shows_missing_bans()
            && let Some(engine) = engine.upgrade()
        {
            let _ = engine.send(Command::Resync);
        }
        // Whoever asked may have left.
        let _ = to.send(response);
    }

    /// Whether all bans may be gone over now, or must be.
    fn pass_due(&self) -> bool {
        self.asked || Instant::now() >= self.pass_due
    }

    /// Goes over all bans, and leaves time until it does so again.
    fn pass(
        &mut self,
        enforcer: &mut dyn Enforcer,
        snapshot: &Snapshot,
        now: Moment,
    ) -> Result<(), EnforceError> {
        let start = Instant::now();
        let replaced = enforcer.replace(snapshot, now);
        self.pass_due = Instant::now() + start.elapsed() * PASS_SHARE;
        self.asked = false;
        replaced
    }
}

/// Takes note of what a pass changed. It is expected to after a failure, and when a ban
/// ended just before it.
fn count(changes: usize, snapshot: &Snapshot, repaired: bool, now: Moment, teller: &Teller) {
    let ended = |ban: &Ban| ban.until.is_some_and(|until| until <= now.wall);
    if changes > 0 && !repaired && !snapshot.bans.iter().any(ended) {
        teller.put_right(&format!("the kernel differed from the bans in {changes} places"));
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
    fn after(cause: &str, teller: &Teller) -> Self {
        teller.refused(cause);
        Self {
            cause: cause.to_owned(),
            due: Instant::now(),
            pause: REPAIR_PAUSE.0,
            reports: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Asks for the whole ban set when it is time, ever less often.
    fn ask_if_due(&mut self, engine: &WeakUnboundedSender<Command>) {
        if Instant::now() < self.due {
            return;
        }
        self.due = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(REPAIR_PAUSE.1);
        // While the agent stops there is nobody to ask.
        if let Some(engine) = engine.upgrade() {
            let _ = engine.send(Command::Resync);
        }
    }

    /// Keeps what may only be said when the kernel holds it.
    fn wait(&mut self, teller: &Teller, reports: Vec<Report>, answer: Option<Answer>) {
        // What was found is true whether or not the kernel acts on it.
        let (found, waits): (Vec<_>, Vec<_>) = reports.into_iter().partition(is_about_lines);
        teller.found(&found);
        let room = WAITING_REPORTS.saturating_sub(self.reports.len());
        self.reports.extend(waits.into_iter().take(room));
        self.answers.extend(answer);
        // Something new to enforce is worth an attempt soon.
        self.pause = REPAIR_PAUSE.0;
        self.due = self.due.min(Instant::now() + REPAIR_PAUSE.0);
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
            | Report::Planted { .. }
            | Report::StepLimit { .. }
            | Report::Unanswered { .. }
            | Report::Unresolved { .. }
            | Report::ListTrouble { .. }
            | Report::ListChanged { .. }
    )
}
