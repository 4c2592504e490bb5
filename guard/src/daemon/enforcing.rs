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
use crate::core::delta::{Delta, Snapshot};
use crate::core::effects::Report;
use crate::core::enforced::{Capabilities, Coverage, Held};
use crate::core::host::Host;
use crate::core::jail::JailName;
use crate::daemon::perform::Command;
use crate::daemon::report;
use crate::enforce::{Enforcer, Moment};

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
}

/// First and longest pause between attempts to repair.
const REPAIR_PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// Works until the other end of `jobs` is gone.
pub fn work(
    mut enforcer: Box<dyn Enforcer>,
    names: &[JailName],
    jobs: &Receiver<Job>,
    engine: &WeakUnboundedSender<Command>,
    now: fn() -> Moment,
) {
    let mut repair: Option<Repair> = None;
    let mut uncovered: Option<String> = None;
    loop {
        let job = match &repair {
            None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(repair) => jobs.recv_timeout(repair.due.saturating_duration_since(Instant::now())),
        };
        match job {
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                if let Some(repair) = &mut repair {
                    repair.pause = (repair.pause * 2).min(REPAIR_PAUSE.1);
                    repair.due = Instant::now() + repair.pause;
                }
                // While the agent stops there is nobody to ask.
                if let Some(engine) = engine.upgrade() {
                    let _ = engine.send(Command::Resync);
                }
            }
            Ok(Job::Apply { deltas, reports, answer }) => {
                let (reports, answers) = (reports, Vec::from_iter(answer));
                let done = if deltas.is_empty() {
                    Ok(())
                } else if let Some(repair) = &repair {
                    Err(repair.cause.clone())
                } else {
                    enforcer.apply(&deltas, now()).map_err(|error| error.to_string())
                };
                if let Err(cause) = &done {
                    repair.get_or_insert_with(|| Repair::after(cause));
                }
                settle(names, &done, reports, answers, &mut repair);
            }
            Ok(Job::Replace(snapshot)) => match enforcer.replace(&snapshot, now()) {
                Ok(()) => {
                    if let Some(repair) = repair.take() {
                        tracing::info!(target: "fail2ban.actions", notice = true,
                            "the kernel holds all {} bans again", snapshot.bans.len());
                        report::write(names, &repair.reports);
                    }
                }
                Err(error) => {
                    let cause = error.to_string();
                    repair.get_or_insert_with(|| Repair::after(&cause)).cause.clone_from(&cause);
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
                let problems = repair.iter().map(|repair| repair.cause.clone());
                let picture = Picture {
                    backend: enforcer.name(),
                    capabilities: enforcer.capabilities(),
                    held: enforcer.held(now()).map_err(|error| error.to_string()),
                    coverage: enforcer.coverage(),
                    problems: problems.chain(uncovered.clone()).collect(),
                };
                // Whoever asked may have left.
                let _ = to.send(answer(&picture));
            }
            Ok(Job::Ping(to)) => {
                let _ = to.send(());
            }
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
}

/// Log lines that wait for a repair; further ones are not logged.
const WAITING_REPORTS: usize = 100_000;

impl Repair {
    fn after(cause: &str) -> Self {
        tracing::error!(target: "fail2ban.actions", "enforcing: {cause}");
        Self {
            cause: cause.to_owned(),
            due: Instant::now() + REPAIR_PAUSE.0,
            pause: REPAIR_PAUSE.0,
            reports: Vec::new(),
        }
    }
}

fn settle(
    names: &[JailName],
    done: &Result<(), String>,
    reports: Vec<Report>,
    answers: Vec<Answer>,
    repair: &mut Option<Repair>,
) {
    match (done, repair) {
        (Err(_), Some(repair)) => {
            // What was found is true whether or not the kernel acts on it.
            let (found, waits): (Vec<_>, Vec<_>) = reports.into_iter().partition(is_about_lines);
            report::write(names, &found);
            let room = WAITING_REPORTS.saturating_sub(repair.reports.len());
            repair.reports.extend(waits.into_iter().take(room));
        }
        _ => report::write(names, &reports),
    }
    for Answer { response, to } in answers {
        let response = match done {
            Ok(()) => response,
            Err(cause) => Response::Error(format!(
                "stored, but not in the kernel yet: {cause}; guard goes on trying"
            )),
        };
        let _ = to.send(response);
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
    )
}
