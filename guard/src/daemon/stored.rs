//! What was stored, by name, as the engine wants it, by [`JailId`].

use std::collections::HashMap;

use crate::core::delta::Ban;
use crate::core::engine::Stored;
use crate::core::entry::Position;
use crate::core::failure::Failure;
use crate::core::jail::{Jail, JailId, JailName};
use crate::daemon::perform::Total;
use crate::store::{self, Store, StoreError};

/// What the agent needs of the store to go on.
#[derive(Debug)]
pub struct Recalled {
    /// For the engine.
    pub stored: Stored,
    /// Totals of the started jails, by [`JailId`].
    pub totals: Vec<Total>,
    /// Where each source was read up to.
    pub positions: Vec<Position>,
}

type MakeBan<'a> = &'a dyn Fn(&store::StoredBan) -> Option<Ban>;

/// Reads the store. What belongs to jails that are not started stays in it.
///
/// # Errors
/// When the store cannot be read.
pub fn recall(store: &mut Store, jails: &[Jail]) -> Result<Recalled, StoreError> {
    read(jails, |ban| store.load_with(ban))
}

/// Reads what can be read of a damaged store, as [`recall`] reads a sound one.
///
/// # Errors
/// When nothing can be read.
pub fn salvage(store: &mut Store, jails: &[Jail]) -> Result<Recalled, StoreError> {
    read(jails, |ban| store.salvage_with(ban))
}

fn read(
    jails: &[Jail],
    load: impl FnOnce(MakeBan<'_>) -> Result<(store::Stored, Vec<Option<Ban>>), StoreError>,
) -> Result<Recalled, StoreError> {
    let ids: HashMap<&JailName, JailId> =
        jails.iter().map(|jail| &jail.name).zip((0..).map(JailId)).collect();
    let id = |name: &JailName| ids.get(name).copied();
    let ban = |ban: &store::StoredBan| {
        let jail = id(&ban.jail)?;
        let &store::StoredBan { source, since, until, reason, .. } = ban;
        Some(Ban { jail, source, since, until, reason })
    };
    let (stored, bans) = load(&ban)?;
    let store::Stored {
        failures,
        correlations,
        pardons,
        history,
        awaited,
        names,
        lists,
        positions,
        totals,
        ..
    } = stored;
    let mut by_jail = vec![Total::default(); jails.len()];
    for total in totals {
        if let Some(jail) = id(&total.jail) {
            by_jail[jail.index()] = Total { failures: total.failures, bans: total.bans };
        }
    }
    let failure = |failure: store::StoredFailure| {
        let jail = id(&failure.jail)?;
        let store::StoredFailure { source, time, user, weight, .. } = failure;
        Some((Failure { jail, source, time, user }, weight))
    };
    Ok(Recalled {
        stored: Stored {
            bans: bans.into_iter().flatten().collect(),
            failures: failures.into_iter().filter_map(failure).collect(),
            correlations: correlations
                .into_iter()
                .filter_map(|found| Some((id(&found.jail)?, found.key, found.state)))
                .collect(),
            pardons: pardons
                .into_iter()
                .filter_map(|found| Some((id(&found.jail)?, found.source, found.until)))
                .collect(),
            history: history
                .into_iter()
                .filter_map(|found| Some((id(&found.jail)?, found.source, found.past)))
                .collect(),
            awaited: awaited.iter().filter_map(ban).collect(),
            names: names
                .into_iter()
                .filter_map(|found| Some((id(&found.jail)?, found.name, found.time, found.user)))
                .collect(),
            lists,
        },
        totals: by_jail,
        positions,
    })
}
