//! `guardctl migrate`: from a host's Fail2Ban to guard, and back.
//!
//! Input: `/etc/fail2ban`, its database, both services. Output: what will work and what will
//! not; with `--write` guard's configuration and the bans; with `--apply` also the switch.
//! Invariants: Fail2Ban's files are only read; it is ended only once guard holds its bans
//! in the kernel, and guard only once Fail2Ban holds them again.

mod asked;
mod handover;
mod plan;
mod readable;
mod record;
mod switch;
mod taken;
mod units;

use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::{Failure, import, layout, output};
use crate::config::agent::Settings;
use crate::store::fail2ban::LastBan;
use plan::{Plan, rooted};
use record::Record;

/// Fail2Ban's jails.
const DIRECTORY: &str = "/etc/fail2ban";
/// Its database, where fail2ban.conf says nothing.
const DATABASE: &str = "/var/lib/fail2ban/fail2ban.sqlite3";

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    guardctl migrate                  what would work, what differs, what does not\n  \
    guardctl migrate --apply          switch over; banned addresses stay banned all the while\n  \
    guardctl migrate --undo           go back to Fail2Ban, likewise\n  \
    guardctl --json migrate | jq .actions\n\n\
    Fail2Ban's files stay as they are and go on to be read: guard.toml gets\n\
    jail-directory = \"/etc/fail2ban\".\n\
    Exit codes: 0 done, or every jail works; 1 not done, or some jail does not work.")]
pub(super) struct Arguments {
    /// Write guard's configuration and take over the bans, and start nothing.
    #[arg(long)]
    write: bool,
    /// Write all that and switch over: guard starts, then Fail2Ban ends.
    #[arg(long, conflicts_with = "write")]
    apply: bool,
    /// Go back: Fail2Ban starts, then guard ends, and guard.toml is what it was.
    #[arg(long, conflicts_with_all = ["write", "apply"])]
    undo: bool,
    /// Even if some jails do not work, Fail2Ban's database cannot be read, or nothing is
    /// dropped on some interfaces; with --undo even if guard could not start again.
    #[arg(long)]
    force: bool,
    /// Look at the host whose root directory this is.
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

/// The host.
struct Host {
    /// Its root directory.
    root: PathBuf,
    /// `guard.toml`.
    file: PathBuf,
    /// What is in it, with paths of this host.
    settings: Settings,
}

pub(super) fn migrate(
    config: Option<&Path>,
    json: bool,
    arguments: &Arguments,
) -> Result<u8, Failure> {
    let root = arguments.root.as_path();
    let file = rooted(root, config.unwrap_or(Path::new(Settings::PATH)));
    let settings = match file.exists() {
        true => {
            Settings::load(Some(&file)).map_err(|all| Failure::Configuration(all.to_string()))?
        }
        false => Settings::default(),
    };
    let state_directory = rooted(root, &settings.state_directory);
    let settings = Settings { state_directory, ..settings };
    let host = Host { root: root.to_owned(), file, settings };
    if (arguments.apply || arguments.undo) && root != Path::new("/") {
        return Err(Failure::Usage("the services of another root cannot be switched".to_owned()));
    }
    if arguments.undo {
        return switch::undo(&host, arguments.force).map(|()| 0);
    }
    let plan = Plan::read(root, &host.settings)?;
    match json {
        true => output::json(&plan)?,
        false => output::print(&plan.text(layout::columns()))?,
    }
    let broken: Vec<&str> = plan.broken().map(|jail| jail.name.as_str()).collect();
    if arguments.write || arguments.apply {
        if !broken.is_empty() && !arguments.force {
            return Err(Failure::NotDone(format!(
                "nothing was changed, because {} would not be guarded: mend what is named above, \
                 or go on without with --force",
                broken.join(", ")
            )));
        }
        if let Some(reason) = plan.unreadable.as_ref().filter(|_| !arguments.force) {
            return Err(Failure::NotDone(format!(
                "nothing was changed, because Fail2Ban's bans could not be taken over: {reason}\n\
                 Mend that file. Or go on without it with --force: --apply asks Fail2Ban itself \
                 whom it bans, and only how often who was banned is forgotten"
            )));
        }
        if plan.jails.iter().all(|jail| !jail.works) {
            return Err(Failure::NotDone("nothing was changed: no jail would start".to_owned()));
        }
        if arguments.apply {
            switch::apply(&host, &plan, arguments.force)?;
        } else {
            let (there, known) = (host.record()?, host.known()?);
            // First, since it cannot be done beside an agent.
            host.import(&plan)?;
            host.keep(&there, known.as_ref())?;
            host.point(&there)?;
            output::talk(&format!("written: {}", host.file.display()));
        }
        return Ok(0);
    }
    output::talk("nothing was changed; guardctl migrate --apply switches over");
    let wrong = !broken.is_empty() || !plan.problems.is_empty() || plan.unreadable.is_some();
    Ok(u8::from(wrong))
}

impl Host {
    /// What is there now.
    fn record(&self) -> Result<Record, Failure> {
        let settings = match self.file.exists() {
            true => Some(fs::read_to_string(&self.file).map_err(|error| self.failed(&error))?),
            false => None,
        };
        let here = self.root == Path::new("/");
        let fail2ban_enabled = units::is_enabled(&self.root, units::FAIL2BAN);
        // On another host, as it will be after its boot.
        let fail2ban_active =
            if here { units::is("is-active", units::FAIL2BAN) } else { fail2ban_enabled };
        let guard_enabled = units::is_enabled(&self.root, units::GUARD);
        Ok(Record { settings, fail2ban_enabled, fail2ban_active, guard_enabled })
    }

    /// What an earlier migration kept.
    fn known(&self) -> Result<Option<Record>, Failure> {
        Record::read(&self.file).map_err(|error| self.failed(&error))
    }

    /// Keeps what is there, together with what is known from before.
    fn keep(&self, there: &Record, known: Option<&Record>) -> Result<(), Failure> {
        there.after(known).write(&self.file).map_err(|error| self.failed(&error))
    }

    /// Points guard.toml at Fail2Ban's jails.
    fn point(&self, there: &Record) -> Result<(), Failure> {
        there.point(&self.file).map_err(|error| self.failed(&error))
    }

    /// Puts guard.toml back.
    fn restore(&self, record: &Record) -> Result<(), Failure> {
        if let Some(kept) = record.restore(&self.file).map_err(|error| self.failed(&error))? {
            output::talk(&format!(
                "guard.toml was changed since; what was in it is kept in {}",
                kept.display()
            ));
        }
        Ok(())
    }

    /// Takes over the bans; no agent may run.
    fn import(&self, plan: &Plan) -> Result<(), Failure> {
        let Some(database) = &plan.database else { return Ok(()) };
        import::take_over(&self.theirs(plan), database, false).map(drop)
    }

    /// Takes over these bans; likewise.
    fn take(&self, plan: &Plan, bans: &[LastBan]) -> Result<(), Failure> {
        import::take(&self.theirs(plan), bans, false).map(drop)
    }

    /// The settings, with Fail2Ban's jails.
    fn theirs(&self, plan: &Plan) -> Settings {
        Settings { jail_directory: plan.directory.clone(), ..self.settings.clone() }
    }

    fn failed(&self, error: &std::io::Error) -> Failure {
        Failure::NotDone(format!("writing {} or beside it: {error}", self.file.display()))
    }
}
