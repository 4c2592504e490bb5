//! `guardctl unban` without an agent: store first, then the kernel.
//!
//! The store decides, so that the next start of the agent does not bring the bans back;
//! then each enforcer that holds anything is brought to what the store holds.

use crate::cli::{Failure, output};
use crate::config::{self, agent::Settings};
use crate::core::addr::Prefix;
use crate::core::effects::Outcome;
use crate::core::engine::Engine;
use crate::core::jail::{Jail, JailName};
use crate::daemon::stored::{self, Recalled};
use crate::daemon::{backend, keeping, run};
use crate::store::{Store, StoreError, StoredBan};

/// Ends bans; `None` when an agent is there after all, which is starting or stopping.
pub(super) fn unban(
    settings: &Settings,
    jail: Option<&JailName>,
    sources: Option<&[Prefix]>,
) -> Result<Option<Outcome>, Failure> {
    let not_done = |error: &dyn std::fmt::Display| Failure::NotDone(error.to_string());
    let mut store = Store::open_existing(&settings.store()).map_err(|e| not_done(&e))?;
    let now = run::now();
    let config::Loaded { jails, diagnostics, .. } = config::jails(settings);
    let known: Vec<JailName> = jails.iter().map(|jail| jail.name.clone()).collect();
    if let Some(name) = jail
        && !known.contains(name)
        && !store.bans().map_err(|e| not_done(&e))?.iter().any(|ban| ban.jail == *name)
    {
        return Err(Failure::NotDone(format!("Sorry but the jail '{name}' does not exist")));
    }
    let changed = match store.unban(jail, sources, now.wall, &known) {
        Err(StoreError::Held { .. }) => return Ok(None),
        unbanned => unbanned.map_err(|e| not_done(&e))?,
    };
    let mut outcome = Outcome { changed, ..Outcome::default() };
    let bans = store.bans().map_err(|e| not_done(&e))?;
    for (jail, source, network) in networks(&jails, &bans, jail, sources.unwrap_or_default()) {
        let unbanned = store.unban(Some(&jail), Some(&[network]), now.wall, &known);
        let unbanned = unbanned.map_err(|e| not_done(&e))?;
        outcome.changed += unbanned;
        if unbanned > 0 && !outcome.with_network.contains(&(source, network)) {
            outcome.with_network.push((source, network));
        }
    }
    let left_out = |ban: &StoredBan| !known.contains(&ban.jail);
    if store.bans().map_err(|e| not_done(&e))?.iter().any(left_out) {
        for problem in diagnostics.errors() {
            output::talk(&problem.to_string());
        }
        output::talk(
            "warning: there are bans of jails that are not configured, or not rightly; they stay \
             stored, but not in the kernel",
        );
    }
    let mut recalled = stored::recall(&mut store, &jails).map_err(|e| not_done(&e))?;
    if keeping::is_lacking(&settings.store()) {
        // Whom only the kernel knows stays banned, but for those who are let in now.
        let known = recalled.stored.bans.len();
        recalled = keeping::adopt(Some(recalled), settings, &jails, now);
        let mut held = recalled.stored.bans.split_off(known);
        let before = held.len();
        held.retain(|ban| {
            // Nobody knows any more which network was counted and which was banned by hand.
            let is_meant = |whom: &Prefix| ban.reason.ends_with(ban.source, *whom);
            jail.is_some_and(|name| jails[ban.jail.index()].name != *name)
                || sources.is_some_and(|all| !all.iter().any(is_meant))
        });
        outcome.changed += before - held.len();
        recalled.stored.bans.append(&mut held);
    }
    let Recalled { stored, .. } = recalled;
    let (engine, _) = Engine::restore(
        jails,
        settings.allow.clone(),
        settings.limits.engine(),
        crate::host::read().map_err(|e| not_done(&e))?.addresses,
        stored,
        now.wall,
    );
    let enforcer = backend::left_behind(settings).map_err(|e| not_done(&e))?;
    if let Some(mut enforcer) = enforcer {
        enforcer.replace(&engine.snapshot(), now).map_err(|error| {
            Failure::NotDone(format!("lifted in the store, but not in the kernel: {error}"))
        })?;
    }
    Ok(Some(outcome))
}

/// The networks that addresses were counted with: in which jail, which address, which
/// network. As in the engine, not those that are banned by hand.
fn networks(
    jails: &[Jail],
    bans: &[StoredBan],
    only: Option<&JailName>,
    sources: &[Prefix],
) -> Vec<(JailName, Prefix, Prefix)> {
    let mut networks = Vec::new();
    for &source in sources {
        let counted = jails.iter().filter_map(|jail| {
            let network = source.counted_with(jail.ipv6_prefix);
            let same = |ban: &&StoredBan| ban.jail == jail.name && ban.source == network;
            let stays = bans.iter().find(same).is_some_and(|ban| !ban.ends_with(source));
            (network != source && !stays).then(|| (jail.name.clone(), source, network))
        });
        let banned = bans.iter().filter(|ban| ban.ends_with(source));
        networks.extend(counted);
        networks.extend(banned.map(|ban| (ban.jail.clone(), source, ban.source)));
    }
    networks.retain(|(jail, ..)| only.is_none_or(|only| only == jail));
    networks.sort_unstable();
    networks.dedup();
    networks
}
