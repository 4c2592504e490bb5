//! Says what is so, once it is so: to the log, to the meters, to whoever watches, and to
//! `[[notify]]`.

use std::sync::Arc;

use crate::control::event::{BanTold, Events, What};
use crate::core::delta::Ban;
use crate::core::effects::Report;
use crate::core::jail::{JailId, JailName};
use crate::daemon::meters::Meters;
use crate::daemon::notices::Notifier;
use crate::daemon::report;
use crate::enforce::Moment;

/// Who says it.
#[derive(Debug)]
pub struct Teller {
    /// The jails by [`JailId`].
    pub names: Vec<JailName>,
    /// What is counted.
    pub meters: Arc<Meters>,
    /// Who is told.
    pub events: Events,
    /// Who is told outside (`[[notify]]`).
    pub notifier: Notifier,
}

impl Teller {
    /// Tells what is true whether or not the kernel acts on it.
    pub fn found(&self, reports: &[Report]) {
        report::write(&self.names, reports);
        if self.events.are_watched() {
            for what in reports.iter().filter_map(|report| self.event(report)) {
                self.events.tell(what);
            }
        }
    }

    /// Tells what the kernel holds.
    pub fn tell(&mut self, reports: &[Report], now: Moment) {
        self.meters.enforced(reports, now.wall);
        self.notifier.tell(&self.names, reports, now.wall);
        self.found(reports);
    }

    /// Something that others changed was put right.
    pub fn put_right(&self, what: &str) {
        tracing::warn!(target: "fail2ban.actions", "{what}; put right");
        self.meters.is_put_right();
        self.events.tell(What::Repaired { what: what.to_owned() });
    }

    /// The kernel refuses what it should hold.
    pub fn refused(&self, cause: &str) {
        tracing::error!(target: "fail2ban.actions", "enforcing: {cause}");
        self.events.tell(What::NotEnforced { cause: cause.to_owned() });
    }

    /// The kernel holds everything again.
    pub fn holds_again(&self, bans: usize) {
        tracing::info!(target: "fail2ban.actions", notice = true,
            "the kernel holds all {bans} bans again");
        self.events.tell(What::EnforcedAgain { bans: bans as u64 });
    }

    /// What is worth an event.
    fn event(&self, report: &Report) -> Option<What> {
        let name = |jail: &JailId| self.names.get(jail.index()).cloned();
        let of_ban = |ban: &Ban| {
            let Ban { source: address, since, until, reason, .. } = *ban;
            Some(BanTold { jail: name(&ban.jail)?, address, since, until, reason })
        };
        Some(match report {
            Report::Found(failure) => What::Found {
                jail: name(&failure.jail)?,
                address: failure.source,
                logged: failure.time,
            },
            Report::Ignored { failure, allowed } => What::Ignored {
                jail: name(&failure.jail)?,
                address: failure.source,
                because: *allowed,
            },
            Report::Banned(ban) => What::Banned(of_ban(ban)?),
            Report::Prolonged(ban) => What::Prolonged(of_ban(ban)?),
            Report::Restored(ban) => What::Restored(of_ban(ban)?),
            Report::RestoredMore(bans) => What::RestoredMore { bans: bans.get() as u64 },
            Report::Unbanned { jail, source } => {
                What::Unbanned { jail: name(jail)?, address: *source }
            }
            Report::Full { jail, source } => What::Full { jail: name(jail)?, address: *source },
            Report::Planted { jail, source } => {
                What::Planted { jail: name(jail)?, address: *source }
            }
            // Of the log alone: they say more of a ban that is told, or of limits.
            Report::Increased { .. }
            | Report::AlreadyBanned { .. }
            | Report::Evicted { .. }
            | Report::GivenUp { .. }
            | Report::Unanswered { .. }
            | Report::Unresolved { .. }
            | Report::ListTrouble { .. }
            | Report::ListChanged { .. }
            | Report::StepLimit { .. } => return None,
        })
    }
}
