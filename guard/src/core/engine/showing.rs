//! An entry is shown to the jails that it may concern.
//!
//! Input: an entry, and the jails that its source and `journalmatch` give it to. Output:
//! what their filters find in it. Invariant: every jail's memory gets as old as the
//! entry, whether or not its filter looks at it; where only the filter can tell how old
//! that is, because the date is in the line, it waits for the next line it looks at.

use crate::core::effects::Effects;
use crate::core::entry::{Dating, Entry};
use crate::core::time::Timestamp;

use super::Engine;

/// How many jails an entry must be for to go through their prefilter first: with fewer
/// each one's own automaton is as quick.
const PREFILTERED: usize = 3;

impl Engine {
    pub(super) fn show(&mut self, now: Timestamp, entry: &Entry, effects: &mut Effects) {
        let all = entry.jails.len() < PREFILTERED;
        if !all {
            self.prefilter.candidates(&entry.line, entry.dating, &mut self.candidates);
        }
        for &jail in &entry.jails {
            if all || self.candidates.contains(jail.index()) {
                self.look(now, jail, entry, effects);
            } else if entry.dating == Dating::Known {
                let cell = &mut self.cells[jail.index()];
                cell.memory.expire(entry.time, &mut cell.changed);
            }
        }
    }
}
