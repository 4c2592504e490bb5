//! `guardctl unban` without an agent: store first, then the kernel.
//!
//! The store decides, so that the next start of the agent does not bring the bans back;
//! then each enforcer that holds anything is brought to what the store holds.

use crate::cli::Failure;
use crate::config::{self, agent::Settings};
use crate::core::addr::Prefix;
use crate::core::effects::Outcome;
use crate::core::engine::Engine;
use crate::core::jail::JailName;
use crate::daemon::stored::{self, Recalled};
use crate::daemon::{backend, run};
use crate::store::Store;

pub(super) fn unban(
    settings: &Settings,
    jail: Option<&JailName>,
    sources: Option<&[Prefix]>,
) -> Result<Outcome, Failure> {
    let not_done = |error: &dyn std::fmt::Display| Failure::NotDone(error.to_string());
    let mut store = Store::open_existing(&settings.store()).map_err(|e| not_done(&e))?;
    let now = run::now();
    let changed = store.unban(jail, sources, now.wall).map_err(|e| not_done(&e))?;
    let jails = config::jails(settings).jails;
    let Recalled { stored, .. } = stored::recall(&mut store, &jails).map_err(|e| not_done(&e))?;
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
    Ok(Outcome { changed, ..Outcome::default() })
}
