//! The enforcer's eye on what others do to the kernel's half.
//!
//! Input: the instants of the enforcer's thread, and the enforcer. Output: what takes the
//! whole ban set to put right, and how often that was so. Invariant: going over all bans
//! takes no more than a small part of a core, whoever asks for it.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::WeakUnboundedSender;
use tokio::sync::oneshot;

use crate::control::protocol::Response;
use crate::core::delta::{Ban, Snapshot};
use crate::daemon::perform::Command;
use crate::daemon::teller::Teller;
use crate::enforce::{EnforceError, Enforcer, Moment};

/// How often it is looked whether others changed something.
const INSPECTION: Duration = Duration::from_secs(1);
/// The part of a core that going over all bans may take, as its inverse.
const PASS_SHARE: u32 = 100;

/// The eye on what others do to the kernel's half.
pub(super) struct Watch {
    /// When to look next.
    pub(super) due: Instant,
    problem: Option<String>,
    /// When all bans may be gone over again.
    pass_due: Instant,
    /// Bans were seen to be missing.
    asked: bool,
}

impl Watch {
    /// One that begins at this instant.
    pub(super) fn from(start: Instant) -> Self {
        Self { due: start + INSPECTION, problem: None, pass_due: start, asked: false }
    }

    /// Looks when it is time; gives what takes the whole ban set to put right.
    pub(super) fn inspect_if_due(
        &mut self,
        enforcer: &mut dyn Enforcer,
        instant: Instant,
        teller: &Teller,
    ) -> Option<String> {
        if instant < self.due {
            return None;
        }
        let noticed = enforcer.inspect();
        self.due = instant + INSPECTION;
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

    pub(super) fn problem(&self) -> Option<String> {
        self.problem.clone()
    }

    /// Gives an answer; what it shows to be missing is to be put right.
    pub(super) fn give(
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
    pub(super) fn pass_due(&self, instant: Instant) -> bool {
        self.asked || instant >= self.pass_due
    }

    /// Goes over all bans, and leaves time until it does so again.
    pub(super) fn pass(
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
pub(super) fn count(
    changes: usize,
    snapshot: &Snapshot,
    repaired: bool,
    now: Moment,
    teller: &Teller,
) {
    let ended = |ban: &Ban| ban.until.is_some_and(|until| until <= now.wall);
    if changes > 0 && !repaired && !snapshot.bans.iter().any(ended) {
        teller.put_right(&format!("the kernel differed from the bans in {changes} places"));
    }
}
