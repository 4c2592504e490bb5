//! `guardctl detach`, `guardctl attach` and `guardctl expire`: what is done to the kernel
//! while the agent is not running.

use crate::cli::{Context, Failure, output};
use crate::control::client::ClientError;
use crate::control::protocol::Request;
use crate::daemon::{backend, detached, run};
use crate::enforce::nft::expire::Lasting;
use crate::store::{Store, StoreError};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    guardctl detach --dry-run\n  \
    systemctl stop guard && guardctl detach\n\n\
    Bans stay stored. `guardctl attach` lets the agent enforce them again.")]
pub(super) struct Arguments {
    /// Only say what would be removed.
    #[arg(long)]
    dry_run: bool,
}

/// What `--json` prints.
#[derive(serde::Serialize)]
#[serde(rename_all = "kebab-case")]
struct Detached {
    /// What was removed, or would be.
    removed: Vec<String>,
    dry_run: bool,
}

/// Removes every trace from the kernel, and keeps the agent from putting it back.
pub(super) fn detach(context: &Context, arguments: &Arguments) -> Result<(), Failure> {
    let settings = &context.settings;
    let _store = if arguments.dry_run { None } else { without_agent(context)? };
    if !arguments.dry_run {
        // First, so that an agent that starts now does not undo the rest.
        detached::take_note(settings).map_err(|error| {
            Failure::NotDone(format!("writing to {}: {error}", settings.state_directory.display()))
        })?;
    }
    let removed = backend::detach(settings, arguments.dry_run).map_err(not_done)?;
    if context.json {
        return output::json(&Detached { removed, dry_run: arguments.dry_run });
    }
    let verb = if arguments.dry_run { "would remove" } else { "removed" };
    for trace in &removed {
        output::print(&format!("{verb} {trace}\n"))?;
    }
    if removed.is_empty() {
        output::talk("guard has nothing in the kernel");
    }
    if !arguments.dry_run {
        output::talk(
            "the bans are still stored, and are not enforced before `guardctl attach` and the \
             agent's next start",
        );
    }
    Ok(())
}

/// Lets the agent enforce again.
pub(super) fn attach(context: &Context) -> Result<(), Failure> {
    if detached::forget(&context.settings).map_err(not_done)? {
        output::talk("the agent enforces from its next start or reload on: guardctl reload");
    } else {
        output::talk("guard was not detached");
    }
    Ok(())
}

/// Removes bans from nft whose time is over, unless an agent does that.
pub(super) fn expire(context: &Context) -> Result<(), Failure> {
    let mut store = match Store::open_existing(&context.settings.store()) {
        Err(StoreError::Missing { .. }) => return Ok(()),
        other => other.map_err(not_done)?,
    };
    match store.hold() {
        Err(StoreError::Held { .. }) => return Ok(()),
        other => other.map_err(not_done)?,
    }
    let stored = store.bans().map_err(not_done)?;
    let lasting = |ban: crate::store::StoredBan| Lasting {
        jail: ban.jail,
        source: ban.source,
        until: ban.until,
    };
    let stored: Vec<Lasting> = stored.into_iter().map(lasting).collect();
    let removed = backend::expire(&context.settings, &stored, run::now()).map_err(not_done)?;
    if let Some(removed) = removed.filter(|removed| *removed > 0) {
        output::print(&format!("{removed}\n"))?;
    }
    Ok(())
}

/// Makes sure that no agent runs, and keeps one from starting while the store is open. One
/// that hangs without answering holds the store all the same.
fn without_agent(context: &Context) -> Result<Option<Store>, Failure> {
    let runs = || {
        Failure::NotDone(
            "the agent is running and would put everything back: stop it first (systemctl stop \
             guard), or lift the bans with `guardctl unban --all`"
                .to_owned(),
        )
    };
    match context.ask(&Request::Status) {
        Err(Failure::Client(ClientError::NotRunning(_))) => {}
        Ok(_) => return Err(runs()),
        // Somebody is there, whatever is wrong with it; the store tells for sure.
        Err(_) => {}
    }
    let mut store = match Store::open_existing(&context.settings.store()) {
        Ok(store) => store,
        Err(StoreError::Missing { .. }) => return Ok(None),
        // A store that is damaged keeps nobody locked out.
        Err(error) => {
            output::talk(&format!("warning: {error}"));
            return Ok(None);
        }
    };
    match store.hold() {
        Err(StoreError::Held { .. }) => Err(runs()),
        other => other.map(|()| Some(store)).map_err(not_done),
    }
}

fn not_done(error: impl std::fmt::Display) -> Failure {
    Failure::NotDone(error.to_string())
}
