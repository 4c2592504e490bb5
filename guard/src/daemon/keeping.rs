//! The store as the agent has it: also while it cannot be had.
//!
//! Input: the store's path, and at a start what the kernel holds. Output: a [`Keeper`], and
//! what is known at the start. Invariants: no fault of the store keeps the agent from
//! starting, but one that a wrong path or a second agent explains; a damaged store is put
//! aside, never changed or deleted; what cannot be read may be read again later.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
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
use crate::daemon::perform::{Keep, Total};
use crate::daemon::run::now;
use crate::daemon::stored::{self, Recalled};
use crate::enforce::Moment;
use crate::store::{Store, StoreError, aside};

/// How long a store that somebody else has is waited for, and how often it is tried.
const PATIENCE: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_millis(20);
/// How long another process that is just writing is waited for once bans depend on it.
const HASTE: Duration = Duration::from_millis(100);

/// The agent's store, open or not.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    store: Option<Store>,
    /// What is open now is another than before, or than nothing.
    anew: bool,
}

/// What a start finds.
#[derive(Debug)]
pub struct Found {
    /// The store.
    pub keeper: Keeper,
    /// What it holds; `None` when that cannot be read.
    pub recalled: Option<Recalled>,
    /// Why it cannot be written, if it cannot.
    pub problem: Option<String>,
}

/// Opens the store and reads it, as far as that can be done.
///
/// # Errors
/// When another agent has it, or there is none and none can be made.
pub fn open(path: &Path, jails: &[Jail]) -> Result<Found, StoreError> {
    let mut keeper = Keeper { path: path.to_owned(), store: None, anew: false };
    let error = match open_whole(path, jails) {
        Ok((store, recalled)) => {
            keeper.store = Some(store);
            return Ok(Found { keeper, recalled: Some(recalled), problem: None });
        }
        Err(error) => error,
    };
    tracing::error!(target: "fail2ban.database", "{error}");
    match error {
        StoreError::Damaged { .. } => {
            let problem = keeper.renew().err().map(|error| error.to_string());
            if let Some(problem) = &problem {
                tracing::error!(target: "fail2ban.database", "{problem}");
            }
            Ok(Found { keeper, recalled: None, problem })
        }
        StoreError::Held { .. } => Err(error),
        // The path is wrong, not the disk.
        _ if !path.exists() => Err(error),
        _ => {
            let read = Store::open_to_read(path, HASTE);
            let recalled = read.and_then(|mut store| stored::recall(&mut store, jails)).ok();
            Ok(Found { keeper, recalled, problem: Some(error.to_string()) })
        }
    }
}

/// The bans that the kernel holds, for an agent whose store cannot say more: each in its
/// jail, as if it began now, since the kernel does not tell why or how long.
pub fn adopt(settings: &Settings, jails: &[Jail], now: Moment) -> Recalled {
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
            let until = jails[jail.index()].ban_time.map(|length| now.wall + length);
            let reason = Reason::Failures { count: 0, within: Span::ZERO, last: None };
            Some(Ban { jail, source: held.source, since: now.wall, until, reason })
        })
        .collect();
    tracing::info!(target: "fail2ban.database", notice = true,
        "{} bans taken over from the kernel", bans.len());
    let stored = Stored { bans, ..Stored::default() };
    Recalled { stored, totals: vec![Total::default(); jails.len()], positions: Vec::new() }
}

/// Opens the store, which `guardctl` may have in hand for a moment, by hand or from
/// `guard-expire.timer`, and reads it.
fn open_whole(path: &Path, jails: &[Jail]) -> Result<(Store, Recalled), StoreError> {
    let start = Instant::now();
    let mut told = false;
    let mut store = loop {
        match Store::open(path) {
            Err(error @ StoreError::Held { .. }) if start.elapsed() < PATIENCE => {
                if !told {
                    tracing::info!(target: "fail2ban.database", "waiting: {error}");
                }
                told = true;
                thread::sleep(INTERVAL);
            }
            opened => break opened?,
        }
    };
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
            self.renew()?;
        }
        done
    }

    fn opened(&mut self) -> Result<&mut Store, StoreError> {
        let store = match self.store.take() {
            Some(store) => store,
            None => {
                let store = Store::open_within(&self.path, HASTE)?;
                self.anew = true;
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
        let place = aside::put_aside(&self.path, now().wall)?;
        tracing::error!(target: "fail2ban.database",
            "the damaged store was put aside, as it is, as {}", place.display());
        self.opened().map(drop)
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

    fn is_anew(&mut self) -> bool {
        std::mem::take(&mut self.anew)
    }

    fn put_aside(&self) -> Vec<PathBuf> {
        aside::list(&self.path)
    }
}
