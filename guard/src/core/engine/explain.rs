//! What the engine knows of one source in one jail, for people who ask.

use super::Engine;
use crate::core::addr::Prefix;
use crate::core::delta::Ban;
use crate::core::jail::JailId;
use crate::core::reason::Allowed;
use crate::core::time::Timestamp;

/// One source, as one jail sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// When it failed; only what still counts, oldest first.
    pub failures: Vec<Timestamp>,
    /// The network that it is counted and banned with, if it is not taken alone. The
    /// failures are then of all its addresses.
    pub counted_with: Option<Prefix>,
    /// Its ban, or that of the longest banned prefix around it.
    pub ban: Option<Ban>,
    /// Why no log line can ban it.
    pub allowed: Option<Allowed>,
}

impl Engine {
    /// How a source stands in a jail at `now`.
    pub fn standing(&self, jail: JailId, source: Prefix, now: Timestamp) -> Standing {
        let cell = &self.cells[jail.index()];
        let horizon = now - cell.jail.find_time;
        let counts = |time: &Timestamp| *time >= horizon;
        let cleared = self.gate(jail).clear_with(source, cell.jail.ipv6_prefix);
        let counted = cleared.map_or(source, |cleared| cleared.source());
        let around = || self.ledger.around(jail, source).next();
        let mut failures: Vec<_> = cell.windows.times(&counted).filter(counts).collect();
        failures.reverse();
        Standing {
            failures,
            counted_with: Some(counted).filter(|counted| *counted != source),
            ban: self.ledger.find(jail, source).or_else(around),
            allowed: cleared.err(),
        }
    }
}
