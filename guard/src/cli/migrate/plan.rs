//! What a migration will do: read from a host's Fail2Ban set-up, nothing changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::readable::Reader;
use crate::cli::Failure;
use crate::cli::layout::folded;
use crate::config::agent::Settings;
use crate::config::described::describe;
use crate::config::{self, Diagnostic, Severity, glob};
use crate::core::jail::{Jail, JailName, LogPattern, LogSource};
use crate::daemon::run;
use crate::store::fail2ban::{self, Found, ImportError};

/// Everything that there is to know beforehand.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Plan {
    /// Where its jails are.
    pub(super) directory: PathBuf,
    /// Its database, if it has one that can be read.
    pub(super) database: Option<PathBuf>,
    /// Why the one that there is cannot.
    pub(super) unreadable: Option<String>,
    /// The enabled jails.
    pub(super) jails: Vec<PlannedJail>,
    /// What the jails do besides banning.
    pub(super) actions: Vec<PlannedAction>,
    /// Bans that go on, by jail.
    pub(super) bans: BTreeMap<JailName, usize>,
    /// Rows of the database that are no ban of an address.
    pub(super) unusable: usize,
    /// What is wrong with the files as a whole.
    pub(super) problems: Vec<String>,
}

/// One enabled jail.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct PlannedJail {
    pub(super) name: String,
    /// Whether it starts, and can read its log.
    pub(super) works: bool,
    /// What behaves differently, or keeps it from working.
    pub(super) notes: Vec<String>,
}

/// An action that guard does not run.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct PlannedAction {
    pub(super) action: String,
    pub(super) jails: Vec<String>,
    /// What takes its place.
    pub(super) replacement: &'static str,
}

impl Plan {
    /// Reads the set-up below `root`; `settings` are guard's own.
    pub(super) fn read(root: &Path, settings: &Settings) -> Result<Self, Failure> {
        let directory = rooted(root, Path::new(super::DIRECTORY));
        if !directory.join("jail.conf").is_file() && !directory.join("jail.local").is_file() {
            return Err(Failure::NotDone(format!(
                "there is no Fail2Ban set-up to take over: {} has no jails",
                directory.display()
            )));
        }
        let theirs = Settings { jail_directory: directory.clone(), ..settings.clone() };
        let loaded = config::jails(&theirs);
        let mut plan = Self { directory, ..Self::default() };
        plan.jails = jails(&loaded, root);
        let general = loaded.diagnostics.errors().filter(|error| error.jail.is_none());
        plan.problems = general.map(Diagnostic::line).collect();
        plan.actions = actions(&theirs);
        let database = config::fail2ban_option(&theirs, "dbfile");
        let database = database.unwrap_or_else(|| super::DATABASE.to_owned());
        if database != "None" && database != ":memory:" {
            let database = rooted(root, Path::new(&database));
            if database.is_file() {
                match plan.look_into(&database) {
                    Ok(()) => plan.database = Some(database),
                    Err(error) => plan.unreadable = Some(error.to_string()),
                }
            }
        }
        Ok(plan)
    }

    fn look_into(&mut self, database: &Path) -> Result<(), ImportError> {
        let Found { bans, unusable } = fail2ban::read(database)?;
        let now = run::now().wall;
        for ban in bans {
            if ban.past.length.is_none_or(|length| ban.past.since + length > now) {
                *self.bans.entry(ban.jail).or_default() += 1;
            }
        }
        self.unusable = unusable.len();
        Ok(())
    }

    /// Jails that do not work.
    pub(super) fn broken(&self) -> impl Iterator<Item = &PlannedJail> {
        self.jails.iter().filter(|jail| !jail.works)
    }

    /// In words.
    pub(super) fn text(&self, columns: usize) -> String {
        let lines = self.lines();
        lines.lines().map(|line| folded(line, columns, 4).trim_end().to_owned() + "\n").collect()
    }

    fn lines(&self) -> String {
        let mut text = format!("Fail2Ban in {}\n\n", self.directory.display());
        for problem in &self.problems {
            text.push_str(&format!("error: {problem}\n"));
        }
        for jail in &self.jails {
            let state = match (jail.works, jail.notes.is_empty()) {
                (true, true) => "works as it is",
                (true, false) => "works, but for:",
                (false, _) => "DOES NOT WORK:",
            };
            text.push_str(&format!("jail {}: {state}\n", jail.name));
            for note in &jail.notes {
                text.push_str(&format!("  {note}\n"));
            }
        }
        for action in &self.actions {
            text.push_str(&format!(
                "action {} ({}) is not run; {}\n",
                action.action,
                action.jails.join(", "),
                action.replacement
            ));
        }
        match (&self.database, &self.unreadable) {
            (None, Some(reason)) => text.push_str(&format!("error: {reason}\n")),
            (None, None) => {
                text.push_str("no database: --apply asks Fail2Ban itself whom it bans\n");
            }
            (Some(database), _) => {
                let bans: usize = self.bans.values().sum();
                text.push_str(&format!("{bans} bans go on, from {}\n", database.display()));
            }
        }
        if self.unusable > 0 {
            text.push_str(&format!("{} rows in it are no ban of an address\n", self.unusable));
        }
        text
    }
}

/// A path of the host whose root is there.
pub(super) fn rooted(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn jails(loaded: &config::Loaded, root: &Path) -> Vec<PlannedJail> {
    let reader = Reader::of(root);
    let mut names: Vec<String> = loaded.jails.iter().map(|jail| jail.name.to_string()).collect();
    for error in loaded.diagnostics.errors() {
        names.extend(error.jail.clone().filter(|name| !names.contains(name)));
    }
    let of_jail = |name: &String| {
        let about = loaded.diagnostics.0.iter();
        let about = about.filter(|found| found.jail.as_ref() == Some(name));
        // Actions are told by themselves.
        let about = about.filter(|found| !found.message.starts_with("action `"));
        let mut notes: BTreeSet<String> =
            about.filter(|found| found.severity != Severity::Note).map(Diagnostic::line).collect();
        let jail = loaded.jails.iter().find(|jail| jail.name.as_str() == name);
        let closed = jail.map_or_else(Vec::new, |jail| obstacles(jail, root, &reader));
        let works = jail.is_some() && closed.is_empty();
        notes.extend(closed);
        PlannedJail { name: name.clone(), works, notes: notes.into_iter().collect() }
    };
    names.iter().map(of_jail).collect()
}

/// What keeps the agent from reading a jail's log files that there are.
fn obstacles(jail: &Jail, root: &Path, reader: &Reader) -> Vec<String> {
    let LogSource::Files(files) = &jail.source else { return Vec::new() };
    let rooted = |pattern: &LogPattern| {
        let path = rooted(root, Path::new(&pattern.path));
        glob::matching(&path.to_string_lossy())
    };
    let files = files.patterns.iter().flat_map(rooted);
    files.filter_map(|file| reader.obstacle(&file)).collect()
}

fn actions(settings: &Settings) -> Vec<PlannedAction> {
    let (described, _) = describe(settings, true);
    let mut jails_of: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for jail in &described {
        let others = jail.actions.iter().filter(|action| !config::is_firewall(&action.name));
        for action in others {
            let jails = jails_of.entry(action.name.clone()).or_default();
            if !jails.contains(&jail.name) {
                jails.push(jail.name.clone());
            }
        }
    }
    let planned = |(action, jails): (String, Vec<String>)| PlannedAction {
        replacement: replacement(&action),
        action,
        jails,
    };
    jails_of.into_iter().map(planned).collect()
}

/// What does what an action of Fail2Ban's does.
fn replacement(action: &str) -> &'static str {
    let is = |names: &[&str]| names.iter().any(|name| action.starts_with(name));
    if is(&["sendmail", "mail", "complain", "xarf", "mynetwatchman", "dshield"]) {
        "a [[notify]] in guard.toml can send a mail"
    } else if is(&["abuseipdb", "blocklist_de", "badips", "cloudflare", "netscaler"]) {
        "a [[notify]] in guard.toml can report or block elsewhere, by a program or a webhook"
    } else if is(&["dummy"]) {
        "nothing takes its place"
    } else {
        "a [[notify]] in guard.toml can run a program at each ban"
    }
}

/// Whether Fail2Ban and guard's nft backend share the table `f2b-table`.
pub(super) fn shares_table(settings: &Settings) -> bool {
    let (described, _) = describe(settings, true);
    let actions = described.iter().flat_map(|jail| &jail.actions);
    actions.clone().any(|action| action.name.starts_with("nftables"))
}
