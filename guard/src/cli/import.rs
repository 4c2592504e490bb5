//! `guardctl import FILE`: bans and their history out of Fail2Ban's database.

use std::path::{Path, PathBuf};

use crate::cli::{Context, Failure, output};
use crate::config;
use crate::config::agent::Settings;
use crate::core::addr::Prefix;
use crate::core::jail::JailName;
use crate::daemon::run;
use crate::store::fail2ban::{self, Found, LastBan};
use crate::store::import::{Imported, Takeover};
use crate::store::{Store, StoreError};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    guardctl import --dry-run /var/lib/fail2ban/fail2ban.sqlite3\n  \
    guardctl import /var/lib/fail2ban/fail2ban.sqlite3\n\n\
    The agent must be stopped: systemctl stop guard.")]
pub(super) struct Arguments {
    /// Fail2Ban's database, /var/lib/fail2ban/fail2ban.sqlite3 on Debian. It is only read.
    file: PathBuf,
    /// Only say what would be taken over.
    #[arg(long)]
    dry_run: bool,
}

/// What `--json` prints.
#[derive(serde::Serialize)]
#[serde(rename_all = "kebab-case")]
struct Told<'t> {
    #[serde(flatten)]
    imported: &'t Imported,
    /// Rows that are no ban of an address.
    unusable: &'t [String],
    /// Jails with bans that are not configured.
    without_jail: &'t [JailName],
    dry_run: bool,
}

pub(super) fn import(context: &Context, arguments: &Arguments) -> Result<(), Failure> {
    let Taken { imported, unusable, without_jail } =
        take_over(&context.settings, &arguments.file, arguments.dry_run)?;
    if context.json {
        let dry_run = arguments.dry_run;
        let told =
            Told { imported: &imported, unusable: &unusable, without_jail: &without_jail, dry_run };
        return output::json(&told);
    }
    output::print(&text(&imported))?;
    for row in &unusable {
        output::talk(&format!("warning: not a ban of an address: {}", output::visible(row)));
    }
    for jail in &without_jail {
        output::talk(&format!(
            "warning: no jail {jail} is enabled: its bans wait for it, unenforced"
        ));
    }
    if arguments.dry_run {
        output::talk("nothing was changed (--dry-run)");
    } else {
        output::talk("in force from the agent's next start on: systemctl start guard");
    }
    Ok(())
}

/// What came of it.
pub(super) struct Taken {
    imported: Imported,
    unusable: Vec<String>,
    without_jail: Vec<JailName>,
}

/// Takes over the bans of a database.
pub(super) fn take_over(settings: &Settings, file: &Path, dry_run: bool) -> Result<Taken, Failure> {
    let Found { bans, unusable } = fail2ban::read(file).map_err(not_done)?;
    Ok(Taken { unusable, ..take(settings, &bans, dry_run)? })
}

/// Takes over bans, wherever they are from.
pub(super) fn take(settings: &Settings, bans: &[LastBan], dry_run: bool) -> Result<Taken, Failure> {
    let jails = config::jails(settings).jails;
    let counted = |name: &JailName, source: Prefix| {
        let jail = jails.iter().find(|jail| jail.name == *name);
        jail.map_or(source, |jail| source.counted_with(jail.ipv6_prefix))
    };
    // To look is no reason to make a store.
    let mut store = match Store::open_existing(&settings.store()) {
        Err(StoreError::Missing { .. }) if dry_run => None,
        Ok(store) if dry_run => Some(store),
        _ => Some(Store::open(&settings.store()).map_err(held)?),
    };
    let stored = store.as_mut().map(Store::load).transpose().map_err(held)?.unwrap_or_default();
    let takeover = Takeover::new(&stored, bans, counted, run::now().wall);
    if let Some(store) = store.as_mut().filter(|_| !dry_run) {
        store.import(&takeover).map_err(held)?;
    }
    drop(store);
    let imported = takeover.imported;
    let configured = |name: &JailName| jails.iter().any(|jail| jail.name == *name);
    let without_jail: Vec<JailName> =
        imported.bans.keys().filter(|name| !configured(name)).cloned().collect();
    Ok(Taken { imported, unusable: Vec::new(), without_jail })
}

fn text(imported: &Imported) -> String {
    let mut text = String::new();
    for (jail, count) in &imported.bans {
        text.push_str(&format!("{count} bans of {jail} go on\n"));
    }
    for (count, what) in [
        (imported.held, "bans were there already"),
        (imported.over, "bans are over"),
        (imported.remembered, "sources are remembered with how often they were banned"),
    ] {
        if count > 0 {
            text.push_str(&format!("{count} {what}\n"));
        }
    }
    if text.is_empty() { "no ban in it\n".to_owned() } else { text }
}

fn not_done(error: impl std::fmt::Display) -> Failure {
    Failure::NotDone(error.to_string())
}

fn held(error: StoreError) -> Failure {
    match error {
        StoreError::Held { .. } => Failure::NotDone(
            "the agent is running; stop it first (its bans stay in the kernel): systemctl stop \
             guard, then import, then systemctl start guard"
                .to_owned(),
        ),
        other => not_done(other),
    }
}
