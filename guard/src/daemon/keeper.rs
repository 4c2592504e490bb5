//! The store as the agent has it: also while it cannot be had.
//!
//! Input: what is to be stored. Output: that in the store, or why not. Invariants: a damaged
//! store is put aside, never changed or deleted, and only when a new one can take its place at
//! once; before there is a new store, the [`LACKING`] mark says that it lacks bans.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::core::addr::Prefix;
use crate::core::effects::Change;
use crate::core::jail::JailName;
use crate::core::time::Timestamp;
use crate::daemon::keep::Keep;
use crate::daemon::run::now;
use crate::store::fill::{Rewrite, Whole};
use crate::store::{Lock, Store, StoreError, aside, files};

/// How long another process that is just writing is waited for once bans depend on it.
pub(super) const HASTE: Duration = Duration::from_millis(100);

/// What follows the name of a database that may lack bans which the kernel holds.
const LACKING: &str = ".lacking";

/// The agent's store, open or not.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    /// Held also while the store is not open, so that there is one agent; `None` while not
    /// even that file can be written.
    lock: Option<Arc<Lock>>,
    pub(super) store: Option<Store>,
    /// What is open now is another than before, or than nothing; or there should be one.
    pub(super) other: bool,
    /// What it held could not be read at the start.
    pub(super) unread: bool,
    /// It is damaged, and is to be put aside before it is opened again.
    pub(super) damaged: bool,
    /// There is a [`LACKING`] mark.
    lacking: bool,
}

impl Keeper {
    /// One that is not open yet.
    pub(super) fn new(path: &Path, lock: Option<Arc<Lock>>) -> Self {
        let lacking = mark(path).exists();
        let path = path.to_owned();
        Self { path, lock, store: None, other: false, unread: false, damaged: false, lacking }
    }

    /// Whether it may lack bans which the kernel holds.
    pub(super) fn lacks(&self) -> bool {
        self.lacking
    }

    /// As [`Store::expire`].
    ///
    /// # Errors
    /// As [`Keep::persist`].
    pub fn expire(&mut self, now: Timestamp) -> Result<usize, StoreError> {
        self.with(|store| store.expire(now))
    }

    /// As [`Store::end_bans`].
    ///
    /// # Errors
    /// As [`Keep::persist`].
    pub fn end_bans(&mut self, jail: &JailName) -> Result<usize, StoreError> {
        self.with(|store| store.end_bans(jail))
    }

    /// Does something with the store, which is opened for it if it could not be before. A
    /// damaged one gives way to a new one, and nothing is done for this time.
    fn with<T>(
        &mut self,
        work: impl FnOnce(&mut Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let done = self.opened().and_then(work);
        if let Err(error @ StoreError::Damaged { .. }) = &done {
            tracing::error!(target: "fail2ban.database", "{error}");
            if let Some(store) = self.store.take() {
                store.abandon();
            }
            (self.damaged, self.other) = (true, true);
            self.opened()?;
        }
        done
    }

    fn opened(&mut self) -> Result<&mut Store, StoreError> {
        let store = match self.store.take() {
            Some(store) => store,
            None => {
                let lock = match &self.lock {
                    Some(lock) => Arc::clone(lock),
                    None => Arc::clone(self.lock.insert(Arc::new(Lock::acquire(&self.path)?))),
                };
                self.make_way()?;
                let store = Store::open_holding(&self.path, HASTE, lock)?;
                self.other = true;
                store
            }
        };
        Ok(self.store.insert(store))
    }

    /// Puts a damaged store aside; and where there is none, says that the next one lacks all.
    fn make_way(&mut self) -> Result<(), StoreError> {
        if self.damaged {
            self.say_lacking()?;
            let place = aside::put_aside(&self.path, now().wall)?;
            self.damaged = false;
            tracing::error!(target: "fail2ban.database",
                "the damaged store was put aside, as it is, as {}", place.display());
        } else if !self.path.exists() {
            self.say_lacking()?;
        }
        // One that is not there any more is nothing to be careful with.
        self.unread &= self.path.exists();
        Ok(())
    }

    /// Says that bans are lacking before there is a new store, for whoever comes after a death
    /// in between.
    fn say_lacking(&mut self) -> Result<(), StoreError> {
        let path = self.path.clone();
        let unwritable = |cause| StoreError::unwritable(&path, cause);
        let file = files::open_or_make(&mark(&path)).map_err(unwritable)?;
        self.lacking = true;
        file.sync_all().map_err(unwritable)?;
        let directory = self.path.parent().map(fs::File::open).transpose().map_err(unwritable)?;
        directory.map_or(Ok(()), |directory| directory.sync_all()).map_err(unwritable)
    }
}

/// The mark beside a store.
pub(super) fn mark(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(LACKING);
    name.into()
}

impl Keep for Keeper {
    fn persist(&mut self, changes: &[Change], jails: &[JailName]) -> Result<(), StoreError> {
        self.with(|store| store.persist(changes, jails))
    }

    fn unban(
        &mut self,
        jail: Option<&JailName>,
        sources: Option<&[Prefix]>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.with(|store| store.unban(jail, sources, now, &[]).map(drop))
    }

    fn unban_others(
        &mut self,
        started: &[JailName],
        sources: Option<&[Prefix]>,
    ) -> Result<(), StoreError> {
        self.with(|store| store.unban_others(started, sources))
    }

    fn record_drops(&mut self, now: Timestamp, packets: u64, bytes: u64) -> Result<(), StoreError> {
        self.with(|store| store.record_drops(now, packets, bytes))
    }

    fn fill(&mut self, rewrite: Rewrite, whole: Whole<'_>) -> Result<(), StoreError> {
        self.with(|_| Ok(()))?;
        if rewrite == Rewrite::Beside && !self.unread {
            // What nobody could read is gone: a new one must be given everything.
            return Err(StoreError::Missing { path: self.path.clone() });
        }
        self.with(|store| store.fill(rewrite, whole))?;
        // One that was opened for this is as it should be.
        (self.other, self.unread) = (false, false);
        Ok(())
    }

    fn wants_filling(&mut self) -> Option<Rewrite> {
        let rewrite = if self.unread { Rewrite::Beside } else { Rewrite::Afresh };
        std::mem::take(&mut self.other).then_some(rewrite)
    }

    fn has_all(&mut self) {
        if self.store.is_none() || self.other || !std::mem::take(&mut self.lacking) {
            return;
        }
        let mark = mark(&self.path);
        if let Err(error) = fs::remove_file(&mark) {
            tracing::warn!(target: "fail2ban.database", "removing {}: {error}", mark.display());
        }
    }

    fn put_aside(&self) -> Vec<PathBuf> {
        aside::list(&self.path)
    }
}
