//! What becomes of a failure: ignored, counted, or one too many.
//!
//! Input: a failure that a filter found. Output: what is to be stored, told and banned.
//! Invariant: no more failures are kept than [`Limits::tracked_failures`](super::Limits).

use super::Engine;
use super::cell::Cell;
use crate::core::effects::{Change, Effects, Report};
use crate::core::escalation::weight;
use crate::core::failure::Failure;
use crate::core::jail::JailId;
use crate::core::reason::{Allowed, Reason};
use crate::core::time::Timestamp;
use crate::core::window::Counted;

impl Engine {
    /// Counts a failure, and bans its source if that is enough.
    pub(super) fn count(&mut self, now: Timestamp, failure: Failure, effects: &mut Effects) {
        let jail = failure.jail;
        let counting = &self.cells[jail.index()].jail;
        // A file that is seen for the first time may hold years; what the window would
        // forget at once was no matter when it was logged, or was counted then.
        if counting.reads_files() == Some(true)
            && failure.time < self.files_read - counting.find_time
        {
            return;
        }
        let cleared = match self.gate(jail).clear_with(failure.source, counting.ipv6_prefix) {
            Ok(cleared) => cleared,
            Err(allowed) => {
                effects.report.push(Report::Ignored { failure, allowed });
                return;
            }
        };
        // Who is counted and banned: the address, or its network.
        let source = cleared.source();
        let past = self.history.as_ref().and_then(|history| history.find(jail, source));
        let cell = &mut self.cells[jail.index()];
        let settled = match cell.jail.reads_files() {
            Some(true) => self.files_read,
            // What else was read in the same batch must not matter.
            Some(false) | None => failure.time,
        };
        if cell.pardons(&failure, source) {
            effects.report.push(Report::Ignored { failure, allowed: Allowed::Pardoned });
            return;
        }
        let weight = match past {
            Some(past) if cell.jail.escalation.is_some() && failure.time > past.since => {
                weight(past.count, cell.jail.max_retry)
            }
            _ => 1,
        };
        let counted = cell.windows.count(source, failure.time, weight, settled);
        let last = Some(failure.source).filter(|last| *last != source);
        let stored = Failure { source, ..failure.clone() };
        effects.persist.push(Change::Count { failure: stored, weight });
        effects.report.push(Report::Found(failure));
        match counted {
            Counted::Below { fell_out } => {
                if fell_out.is_some() {
                    effects.persist.push(Change::Forget { jail, source, before: fell_out });
                }
                self.make_room(effects);
            }
            Counted::Reached { count, first, last: newest } => {
                effects.persist.push(Change::Forget { jail, source, before: None });
                let reason = Reason::Failures { count, within: newest - first, last };
                self.accuse(now, jail, cleared, newest, reason, effects);
            }
        }
    }

    /// While too many failures are kept, the jail that keeps most gives up the source whose
    /// newest one is oldest. So who fills one jail pushes nobody out of another, and who
    /// would be forgotten must be quieter than all others there.
    pub(super) fn make_room(&mut self, effects: &mut Effects) {
        let kept = |cell: &Cell| cell.windows.failures();
        while self.cells.iter().map(kept).sum::<usize>() > self.limits.tracked_failures {
            let cells = (0..).map(JailId).zip(&mut self.cells);
            let Some((jail, cell)) = cells.max_by_key(|(_, cell)| kept(cell)) else { return };
            let Some(source) = cell.windows.evict() else { return };
            effects.persist.push(Change::Forget { jail, source, before: None });
            effects.report.push(Report::Evicted { jail, source });
        }
    }
}
