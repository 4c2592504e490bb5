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
    /// Its ban.
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
        Standing {
            failures: cell.windows.times(&source).filter(counts).collect(),
            ban: self.ledger.find(jail, source),
            allowed: self.gate(jail).clear(source).err(),
        }
    }
}
