//! What the engine's thread asks of a store, so that a simulation may stand in for it.

use std::fmt;
use std::path::PathBuf;

use crate::core::addr::Prefix;
use crate::core::delta::Ban;
use crate::core::effects::Change;
use crate::core::jail::JailName;
use crate::core::reason::Reason;
use crate::core::time::Timestamp;
use crate::store::StoreError;

/// A store that was not written before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anew {
    /// It may have none of the bans in force.
    Empty,
    /// It was there, and could not be read.
    Unread,
}

impl Anew {
    /// Whether such a store does not know a ban. What was taken over from the kernel is in an
    /// unread one already, with its true end and reason.
    pub fn lacks(self, ban: &Ban) -> bool {
        self == Self::Empty || !matches!(ban.reason, Reason::Failures { count: 0, .. })
    }
}

/// What makes changes durable: the [`Store`]; in simulations, one that crashes.
pub trait Keep: fmt::Debug + Send {
    /// As [`Store::persist`].
    ///
    /// # Errors
    /// When nothing was written; the same call may be made again.
    fn persist(&mut self, changes: &[Change], jails: &[JailName]) -> Result<(), StoreError>;

    /// As [`Store::unban_others`].
    ///
    /// # Errors
    /// As [`Keep::persist`].
    fn unban_others(
        &mut self,
        started: &[JailName],
        sources: Option<&[Prefix]>,
    ) -> Result<(), StoreError>;

    /// As [`Store::record_drops`].
    ///
    /// # Errors
    /// As [`Keep::persist`].
    fn record_drops(&mut self, now: Timestamp, packets: u64, bytes: u64) -> Result<(), StoreError>;

    /// Whether another store than before, or than none, is written since this was asked last.
    fn is_anew(&mut self) -> Option<Anew> {
        None
    }

    /// Takes note that nothing is held which it lacks.
    fn has_all(&mut self) {}

    /// Damaged stores that lie beside it.
    fn put_aside(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}
