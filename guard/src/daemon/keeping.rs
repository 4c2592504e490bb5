//! The store as the agent has it: also while it cannot be had.
//!
//! Input: the store's path, and at a start what the kernel holds. Output: a [`Keeper`], and
//! what is known at the start. Invariants: no fault of the store keeps the agent from
//! starting, but one that a wrong path or a second agent explains; a damaged store is put
//! aside, never changed or deleted; what cannot be read may be read again later.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::config::agent::Settings;
use crate::core::addr::Prefix;
use crate::core::delta::Ban;
use crate::core::effects::Change;
use crate::core::engine::Stored;
use crate::core::jail::{Jail, JailId, JailName};
use crate::core::reason::Reason;
use crate::core::time::{Span, Timestamp};
use crate::daemon::backend;
use crate::daemon::keep::Keep;
use crate::daemon::perform::Total;
use crate::daemon::run::now;
use crate::daemon::stored::{self, Recalled};
use crate::enforce::Moment;
use crate::store::fill::Filling;
use crate::store::{Lock, Store, StoreError, Totals, aside, files};

/// How long a store that somebody else has is waited for, and how often it is tried.
const PATIENCE: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_millis(20);
/// How long another process that is just writing is waited for once bans depend on it.
const HASTE: Duration = Duration::from_millis(100);

/// What follows the name of a database that may lack bans which the kernel holds.
const LACKING: &str = ".lacking";

/// The agent's store, open or not.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    /// Held also while the store is not open, so that there is one agent; `None` while not
    /// even that file can be written.
    lock: Option<Arc<Lock>>,
    store: Option<Store>,
    /// What is open now is another than before, or than nothing.
    other: bool,
    /// What it held could not be read at the start.
    unread: bool,
    /// There is a [`LACKING`] mark.
    lacking: bool,
}

/// What a start finds.
#[derive(Debug)]
pub struct Found {
    /// The store.
    pub keeper: Keeper,
    /// What it holds; `None` when that cannot be read.
    pub recalled: Option<Recalled>,
    /// Whether the kernel may hold bans that it lacks.
    pub lacking: bool,
    /// Why it cannot be written, if it cannot.
    pub problem: Option<String>,
}

/// Opens the store and reads it, as far as that can be done.
///
/// # Errors
/// When another agent has it, or there is none and none can be made.
pub fn open(path: &Path, jails: &[Jail]) -> Result<Found, StoreError> {
    let (lock, refused) = match lock(path) {
        Ok(lock) => (Some(Arc::new(lock)), None),
        Err(error @ StoreError::Held { .. }) => return Err(error),
        Err(error) => (None, Some(error)),
    };
    let mut keeper = Keeper {
        path: path.to_owned(),
        lock,
        store: None,
        other: false,
        unread: false,
        lacking: false,
    };
    keeper.lacking = keeper.mark().exists();
    let opened = match (&keeper.lock, refused) {
        (Some(lock), _) => open_whole(path, jails, Arc::clone(lock)),
        (None, Some(error)) => Err(error),
        (None, None) => return Err(StoreError::Missing { path: path.to_owned() }),
    };
    let error = match opened {
        Ok((store, recalled)) => {
            let lacking = keeper.lacking;
            keeper.store = Some(store);
            // All that is known is written once more, and then nothing lacks.
            keeper.other = lacking;
            return Ok(Found { keeper, recalled: Some(recalled), lacking, problem: None });
        }
        Err(error) => error,
    };
    tracing::error!(target: "fail2ban.database", "{error}");
    match error {
        StoreError::Damaged { .. } => {
            let recalled = salvage(path, jails);
            let problem = keeper.renew().err().map(|error| error.to_string());
            if let Some(problem) = &problem {
                tracing::error!(target: "fail2ban.database", "{problem}");
            }
            keeper.other = true;
            Ok(Found { keeper, recalled, lacking: true, problem })
        }
        // The path is wrong, not the disk.
        _ if !path.exists() => Err(error),
        _ => {
            let read = Store::open_to_read(path, HASTE);
            let recalled = read.and_then(|mut store| stored::recall(&mut store, jails)).ok();
            keeper.unread = recalled.is_none();
            keeper.other = true;
            Ok(Found { keeper, recalled, lacking: true, problem: Some(error.to_string()) })
        }
    }
}

/// What can be read of a damaged store, before it is put aside.
fn salvage(path: &Path, jails: &[Jail]) -> Option<Recalled> {
    let read = Store::open_to_read(path, HASTE);
    let recalled = read.and_then(|mut store| stored::salvage(&mut store, jails)).ok();
    let bans = recalled.as_ref().map_or(0, |recalled| recalled.stored.bans.len());
    tracing::info!(target: "fail2ban.database", notice = true,
        "{bans} bans can be read in the damaged store");
    recalled
}

/// What is known, with the bans that the kernel holds besides: each in its jail, as if it
/// began now, since the kernel does not tell why or how long.
pub fn adopt(
    known: Option<Recalled>,
    settings: &Settings,
    jails: &[Jail],
    now: Moment,
) -> Recalled {
    let totals = || vec![Total::default(); jails.len()];
    let mut known = known.unwrap_or_else(|| Recalled {
        stored: Stored::default(),
        totals: totals(),
        positions: Vec::new(),
    });
    let stored: HashSet<(JailId, Prefix)> =
        known.stored.bans.iter().map(|ban| (ban.jail, ban.source)).collect();
    let held = backend::left_behind(settings)
        .and_then(|enforcer| enforcer.map(|mut enforcer| enforcer.held(now)).transpose());
    let held = held.map(Option::unwrap_or_default).unwrap_or_else(|error| {
        tracing::error!(target: "fail2ban.database", "asking the kernel whom it holds: {error}");
        Vec::new()
    });
    let ids: HashMap<&JailName, JailId> =
        jails.iter().map(|jail| &jail.name).zip((0..).map(JailId)).collect();
    let bans: Vec<Ban> = held
        .iter()
        .filter_map(|held| {
            let jail = *ids.get(&held.jail)?;
            if stored.contains(&(jail, held.source)) {
                return None;
            }
            let until = jails[jail.index()].ban_time.map(|length| now.wall + length);
            let reason = Reason::Failures { count: 0, within: Span::ZERO, last: None };
            Some(Ban { jail, source: held.source, since: now.wall, until, reason })
        })
        .collect();
    tracing::info!(target: "fail2ban.database", notice = true,
        "{} bans taken over from the kernel", bans.len());
    known.stored.bans.extend(bans);
    known
}

/// Takes the store's lock, which `guardctl` may have in hand for a moment, by hand or from
/// `guard-expire.timer`.
fn lock(path: &Path) -> Result<Lock, StoreError> {
    let start = Instant::now();
    let mut told = false;
    loop {
        match Lock::acquire(path) {
            Err(error @ StoreError::Held { .. }) if start.elapsed() < PATIENCE => {
                if !told {
                    tracing::info!(target: "fail2ban.database", "waiting: {error}");
                }
                told = true;
                thread::sleep(INTERVAL);
            }
            locked => return locked,
        }
    }
}

/// Opens the store and reads it.
fn open_whole(
    path: &Path,
    jails: &[Jail],
    lock: Arc<Lock>,
) -> Result<(Store, Recalled), StoreError> {
    let mut store = Store::open_holding(path, PATIENCE, lock)?;
    let read = stored::recall(&mut store, jails).and_then(|recalled| {
        store.settle()?;
        store.wait_at_most(HASTE)?;
        Ok(recalled)
    });
    match read {
        Ok(recalled) => Ok((store, recalled)),
        Err(error) => {
            store.abandon();
            Err(error)
        }
    }
}

impl Keeper {
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
            if let Err(error) = self.renew() {
                // It stays as it is, and is tried again as any store that refuses.
                self.other = false;
                return Err(error);
            }
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
                // One that is not there any more is nothing to be careful with.
                self.unread &= self.path.exists();
                let store = Store::open_holding(&self.path, HASTE, lock)?;
                self.other = true;
                store
            }
        };
        Ok(self.store.insert(store))
    }

    /// Puts a damaged store aside and begins a new one.
    fn renew(&mut self) -> Result<(), StoreError> {
        if let Some(store) = self.store.take() {
            store.abandon();
        }
        self.say_lacking()?;
        let place = aside::put_aside(&self.path, now().wall)?;
        self.unread = false;
        tracing::error!(target: "fail2ban.database",
            "the damaged store was put aside, as it is, as {}", place.display());
        self.opened().map(drop)
    }
}

impl Keeper {
    fn mark(&self) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(LACKING);
        name.into()
    }

    /// Says that bans are lacking before there is a new store, for whoever comes after a death
    /// in between.
    fn say_lacking(&mut self) -> Result<(), StoreError> {
        self.lacking = true;
        let path = self.path.clone();
        let unwritable = |cause| StoreError::unwritable(&path, cause);
        let file = files::open_or_make(&self.mark()).map_err(unwritable)?;
        file.sync_all().map_err(unwritable)?;
        let directory = self.path.parent().map(fs::File::open).transpose().map_err(unwritable)?;
        directory.map_or(Ok(()), |directory| directory.sync_all()).map_err(unwritable)
    }
}

impl Keep for Keeper {
    fn persist(&mut self, changes: &[Change], jails: &[JailName]) -> Result<(), StoreError> {
        self.with(|store| store.persist(changes, jails))
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

    fn fill(
        &mut self,
        filling: Filling,
        known: &mut dyn Iterator<Item = Change>,
        totals: &[Totals],
        jails: &[JailName],
    ) -> Result<(), StoreError> {
        self.with(|_| Ok(()))?;
        if filling == Filling::Beside && !self.unread {
            // What nobody could read is gone: a new one must be filled with everything.
            return Err(StoreError::Missing { path: self.path.clone() });
        }
        self.with(|store| store.fill(filling, known, totals, jails))?;
        // One that was opened for this is as it should be.
        (self.other, self.unread) = (false, false);
        Ok(())
    }

    fn wants_filling(&mut self) -> Option<Filling> {
        let filling = if self.unread { Filling::Beside } else { Filling::Afresh };
        std::mem::take(&mut self.other).then_some(filling)
    }

    fn has_all(&mut self) {
        if std::mem::take(&mut self.lacking)
            && let Err(error) = fs::remove_file(self.mark())
        {
            tracing::warn!(target: "fail2ban.database", "removing {}: {error}", self.mark().display());
        }
    }

    fn put_aside(&self) -> Vec<PathBuf> {
        aside::list(&self.path)
    }
}
