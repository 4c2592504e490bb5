//! The store as the agent has it: also while it cannot be had.
//!
//! Input: what is to be stored. Output: that in the store, or why not. Invariants: a damaged
//! store is put aside, never changed or deleted, and only when a new one is there to take its
//! place; before it does, the [`LACKING`] mark says that it lacks bans. What nobody has read
//! is only written beside, until it is read.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::core::addr::Prefix;
use crate::core::effects::Change;
use crate::core::jail::JailName;
use crate::core::time::Timestamp;
use crate::daemon::keep::Keep;
use crate::daemon::run::now;
use crate::store::files::beside;
use crate::store::fill::{Rewrite, Whole};
use crate::store::{Lock, Store, StoreError, StoredBan, aside, files};

/// How long another process that is just writing is waited for once bans depend on it.
pub(super) const HASTE: Duration = Duration::from_millis(100);

/// What follows the name of a database that may lack bans which the kernel holds.
const LACKING: &str = ".lacking";
/// What follows the name of a database that is to take the place of a damaged one.
const NEXT: &str = ".next";

/// The agent's store, open or not.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    /// Held also while the store is not open, so that there is one agent; `None` while not
    /// even that file can be written.
    lock: Option<Arc<Lock>>,
    store: Option<Store>,
    /// What is open now is another than before, or than nothing; or there should be one.
    other: bool,
    /// It holds what nobody has read.
    unread: bool,
    /// The file that is damaged, and is to be put aside before the store is opened again.
    damaged: Option<Identity>,
    /// There is a [`LACKING`] mark.
    lacking: bool,
}

impl Keeper {
    /// One that is not open yet.
    pub(super) fn new(path: &Path, lock: Option<Arc<Lock>>) -> Self {
        let lacking = mark(path).exists();
        let path = path.to_owned();
        Self { path, lock, store: None, other: true, unread: false, damaged: None, lacking }
    }

    /// It was opened and read.
    pub(super) fn take(&mut self, store: Store) {
        self.store = Some(store);
        // All that is known is written once more, and then nothing lacks.
        self.other = self.lacking;
    }

    /// It was found damaged. It is put aside when what it holds can be written into another.
    pub(super) fn damaged(&mut self) {
        self.damaged = Some(Identity::of(&self.path));
    }

    /// It was found to be one that cannot be read.
    pub(super) fn unread(&mut self) {
        self.unread = true;
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
            self.damaged();
            self.other = true;
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
                self.make_way(&lock)?;
                let store = Store::open_holding(&self.path, HASTE, lock)?;
                self.other = true;
                store
            }
        };
        Ok(self.store.insert(store))
    }

    /// Puts a damaged store aside; and where there is none, says that the next one lacks all.
    fn make_way(&mut self, lock: &Arc<Lock>) -> Result<(), StoreError> {
        if !self.path.exists() {
            // Somebody moved it away, perhaps for what the last attempt said.
            (self.damaged, self.unread) = (None, false);
            return self.say_lacking();
        }
        let Some(damaged) = self.damaged else { return Ok(()) };
        if damaged != Identity::of(&self.path) {
            // And put another in its place.
            (self.damaged, self.unread) = (None, true);
            return Ok(());
        }
        aside::check_room(&self.path)?;
        self.say_lacking()?;
        let next = self.make_next(lock)?;
        let place = aside::put_aside(&self.path, now().wall)?;
        (self.damaged, self.unread) = (None, false);
        tracing::error!(target: "fail2ban.database",
            "the damaged store was put aside, as it is, as {}", place.display());
        fs::rename(&next, &self.path).map_err(|cause| StoreError::unwritable(&self.path, cause))
    }

    /// Makes an empty store beside it, so that there is room for one.
    fn make_next(&self, lock: &Arc<Lock>) -> Result<PathBuf, StoreError> {
        let next = beside(&self.path, NEXT);
        for part in ["", "-wal", "-shm"] {
            files::remove(&beside(&next, part))
                .map_err(|cause| StoreError::unwritable(&next, cause))?;
        }
        // Closed, it is one file.
        Store::open_holding(&next, HASTE, Arc::clone(lock)).map(|_| next)
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
    beside(path, LACKING)
}

/// Which file it is, whatever its name; of none, nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity(Option<(u64, u64)>);

impl Identity {
    fn of(path: &Path) -> Self {
        Self(fs::metadata(path).ok().map(|found| (found.dev(), found.ino())))
    }
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
        self.with(|store| {
            let mut whom = sources.map(<[Prefix]>::to_vec);
            if let Some(whom) = &mut whom {
                let hosts: Vec<Prefix> =
                    whom.iter().copied().filter(|source| !source.is_ipv4()).collect();
                let bans = if hosts.is_empty() { Vec::new() } else { store.bans()? };
                let of_jail = |ban: &StoredBan| jail.is_none_or(|jail| *jail == ban.jail);
                let ends = |ban: &StoredBan| hosts.iter().any(|host| ban.ends_with(*host));
                whom.extend(
                    bans.iter().filter(|ban| of_jail(ban) && ends(ban)).map(|ban| ban.source),
                );
            }
            store.unban(jail, whom.as_deref(), now, &[]).map(drop)
        })
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
        self.other = false;
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

    fn wants_reading(&self) -> bool {
        self.unread && self.store.is_some()
    }

    fn put_aside(&self) -> Vec<PathBuf> {
        aside::list(&self.path)
    }
}
