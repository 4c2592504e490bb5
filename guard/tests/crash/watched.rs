//! The real store in the simulation.
//!
//! Input: transactions. Output: the same in the store. Invariant: right before and after each
//! the agent can be killed.

use guard::core::addr::Prefix;
use guard::core::effects::Change;
use guard::core::jail::JailName;
use guard::core::time::Timestamp;
use guard::daemon::keep::Keep;
use guard::store::fill::{Rewrite, Whole};
use guard::store::{Store, StoreError};

use crate::faults::{self, Place, reach};

/// The real store, which may be killed right before and after a transaction.
#[derive(Debug)]
pub(crate) struct Watched(pub(crate) Store);

impl Keep for Watched {
    fn persist(&mut self, changes: &[Change], jails: &[JailName]) -> Result<(), StoreError> {
        // What is dead writes nothing, whether or not it reached this.
        let _ = reach(Place::Transaction);
        let persisted = self.0.persist(changes, jails);
        let _ = reach(Place::Transaction);
        persisted
    }

    fn unban_others(
        &mut self,
        started: &[JailName],
        sources: Option<&[Prefix]>,
    ) -> Result<(), StoreError> {
        self.0.unban_others(started, sources)
    }

    fn record_drops(&mut self, now: Timestamp, packets: u64, bytes: u64) -> Result<(), StoreError> {
        self.0.record_drops(now, packets, bytes)
    }

    fn unban(
        &mut self,
        _: Option<&JailName>,
        _: Option<&[Prefix]>,
        _: Timestamp,
    ) -> Result<(), StoreError> {
        unreachable!("every store here can be read")
    }

    fn fill(&mut self, rewrite: Rewrite, whole: Whole<'_>) -> Result<(), StoreError> {
        let _ = reach(Place::Transaction);
        let filled = self.0.fill(rewrite, whole);
        let _ = reach(Place::Transaction);
        filled
    }

    fn wants_filling(&mut self) -> Option<Rewrite> {
        faults::lacking().then_some(Rewrite::Afresh)
    }
}
