//! What a start finds in the store, whatever state that is in.
//!
//! Input: the store's path, and what the kernel holds. Output: a [`Keeper`], and what is known.
//! Invariants: no fault of the store keeps the agent from starting, but one that a wrong path
//! or a second agent explains; nothing is changed by it.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::config::agent::Settings;
use crate::core::addr::Prefix;
use crate::core::delta::Ban;
use crate::core::engine::Stored;
use crate::core::jail::{Jail, JailId, JailName};
use crate::core::reason::Reason;
use crate::core::time::{Span, Timestamp};
use crate::daemon::backend;
use crate::daemon::keeper::{self, HASTE, Keeper};
use crate::daemon::perform::Total;
use crate::daemon::stored::{self, Recalled};
use crate::enforce::Moment;
use crate::store::{Lock, Store, StoreError, aside};

/// How long a store that somebody else has is waited for, and how often it is tried.
const PATIENCE: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_millis(20);

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
    let mut keeper = Keeper::new(path, lock.clone());
    let opened = match (lock, refused) {
        (_, Some(error)) => Err(error),
        (Some(lock), None) => open_whole(path, jails, lock),
        (None, None) => Err(StoreError::Missing { path: path.to_owned() }),
    };
    let error = match opened {
        Ok((store, recalled)) => {
            keeper.take(store);
            let lacking = keeper.lacks();
            // One that was never given anything says nothing: the damaged one may.
            let is_new = recalled.stored.bans.is_empty() && recalled.positions.is_empty();
            let before = if lacking && is_new { salvage_newest(path, jails) } else { None };
            let recalled = match before {
                Some(before) => pardoned(before, recalled.stored.pardons),
                None => recalled,
            };
            return Ok(Found { keeper, recalled: Some(recalled), lacking, problem: None });
        }
        Err(error) => error,
    };
    tracing::error!(target: "fail2ban.database", "{error}");
    match error {
        StoreError::Damaged { .. } => {
            keeper.damaged();
            let recalled = salvage(path, jails);
            Ok(Found { keeper, recalled, lacking: true, problem: None })
        }
        // The path is wrong, not the disk.
        _ if !path.exists() => Err(error),
        _ => {
            let read = Store::open_to_read(path, HASTE);
            let read = read.and_then(|mut store| stored::recall(&mut store, jails)).ok();
            let recalled = match read {
                None => {
                    keeper.unread();
                    if keeper.lacks() { salvage_newest(path, jails) } else { None }
                }
                read => read,
            };
            Ok(Found { keeper, recalled, lacking: true, problem: Some(error.to_string()) })
        }
    }
}

/// Whether a store may lack bans which the kernel holds.
pub fn is_lacking(path: &Path) -> bool {
    keeper::mark(path).exists()
}

/// What can be read of the store that was put aside last.
fn salvage_newest(path: &Path, jails: &[Jail]) -> Option<Recalled> {
    aside::list(path).pop().and_then(|before| salvage(&before, jails))
}

/// That without whom somebody let in since.
fn pardoned(mut known: Recalled, pardons: Vec<(JailId, Option<Prefix>, Timestamp)>) -> Recalled {
    known.stored.bans.retain(|ban| {
        let ends = |whom| ban.reason.ends_with(ban.source, whom);
        !pardons.iter().any(|(jail, whom, until)| {
            *jail == ban.jail && ban.since <= *until && whom.is_none_or(ends)
        })
    });
    known.stored.pardons.extend(pardons);
    known
}

/// What can be read of a damaged store.
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
