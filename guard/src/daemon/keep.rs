//! What the engine's thread asks of a store, so that a simulation may stand in for it.

use std::fmt;
use std::path::PathBuf;

use crate::core::addr::Prefix;
use crate::core::effects::Change;
use crate::core::jail::JailName;
use crate::core::time::Timestamp;
use crate::store::StoreError;
use crate::store::fill::{Rewrite, Whole};

/// What makes changes durable: the [`Store`](crate::store::Store); in simulations, one that
/// crashes.
pub trait Keep: fmt::Debug + Send {
    /// As [`Store::persist`](crate::store::Store::persist).
    ///
    /// # Errors
    /// When nothing was written; the same call may be made again.
    fn persist(&mut self, changes: &[Change], jails: &[JailName]) -> Result<(), StoreError>;

    /// As [`Store::unban_others`](crate::store::Store::unban_others).
    ///
    /// # Errors
    /// As [`Keep::persist`].
    fn unban_others(
        &mut self,
        started: &[JailName],
        sources: Option<&[Prefix]>,
    ) -> Result<(), StoreError>;

    /// As [`Store::record_drops`](crate::store::Store::record_drops).
    ///
    /// # Errors
    /// As [`Keep::persist`].
    fn record_drops(&mut self, now: Timestamp, packets: u64, bytes: u64) -> Result<(), StoreError>;

    /// As [`Store::fill`](crate::store::Store::fill).
    ///
    /// # Errors
    /// As [`Keep::persist`].
    fn fill(&mut self, rewrite: Rewrite, whole: Whole<'_>) -> Result<(), StoreError>;

    /// As [`Store::unban`](crate::store::Store::unban), with the networks that IPv6 addresses
    /// were counted with.
    ///
    /// # Errors
    /// As [`Keep::persist`].
    fn unban(
        &mut self,
        jail: Option<&JailName>,
        sources: Option<&[Prefix]>,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Whether it must be filled, because it is another than before, or than none; asked once
    /// for each such store.
    fn wants_filling(&mut self) -> Option<Rewrite> {
        None
    }

    /// Whether it holds what nobody has read, and could be read now.
    fn wants_reading(&self) -> bool {
        false
    }

    /// Takes note that nothing is held which it lacks.
    fn has_all(&mut self) {}

    /// Damaged stores that lie beside it.
    fn put_aside(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}
