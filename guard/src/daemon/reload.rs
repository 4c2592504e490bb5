//! The configuration read anew, while the agent goes on with the old one.
//!
//! Input: the files, and the settings in force. Output: a configuration that the agent can
//! go on with, or everything that is wrong. Invariant: whatever is wrong leaves all as it
//! is; nothing of a new configuration is in force unless all of it is.

use std::path::PathBuf;

use crate::config::agent::{Backend, Settings};
use crate::config::{self, Diagnostic, Severity};
use crate::control::protocol::Reloaded;
use crate::core::jail::{Jail, JailName};
use crate::daemon::agent::Configuration;

/// Where the configuration is written.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// `guard.toml`, if it is not where it usually is.
    pub file: Option<PathBuf>,
    /// What the command line says of the backend.
    pub backend: Option<Backend>,
}

impl Origin {
    /// The settings as they are written now.
    ///
    /// # Errors
    /// Every problem of the file, with its place.
    pub fn settings(&self) -> Result<Settings, String> {
        let mut settings =
            Settings::load(self.file.as_deref()).map_err(|problems| problems.to_string())?;
        settings.backend = self.backend.unwrap_or(settings.backend);
        Ok(settings)
    }
}

/// A configuration that can follow the one in force.
#[derive(Debug)]
pub struct Next {
    /// What it is.
    pub configuration: Configuration,
    /// What is worth a look in it.
    pub warnings: Vec<String>,
    /// Why there is another.
    pub source: Source,
}

/// What is read anew, or who orders it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The configuration's files.
    Files,
    /// An order to end a jail.
    Order,
    /// The store; the configuration is the same.
    Store,
}

/// Reads the configuration anew; `now` are the settings in force.
///
/// # Errors
/// Everything that is wrong, a line each.
pub fn read(origin: &Origin, now: &Settings) -> Result<Next, String> {
    let settings = origin.settings()?;
    let fixed = fixed(now, &settings);
    if !fixed.is_empty() {
        return Err(format!(
            "guard.toml: {} cannot change while the agent runs: systemctl restart guard",
            fixed.join(", ")
        ));
    }
    let loaded = config::jails(&settings);
    let warnings = loaded.diagnostics.0.iter();
    let warnings = warnings.filter(|problem| problem.severity == Severity::Warning);
    let warnings = warnings.map(Diagnostic::line).collect();
    let configuration = Configuration::new(settings, loaded.jails, &loaded.diagnostics);
    if configuration.problems.is_empty() {
        Ok(Next { configuration, warnings, source: Source::Files })
    } else {
        Err(configuration.problems.join("\n"))
    }
}

/// The configuration in force, with the jails as they are now, without one of them or
/// without any.
///
/// # Errors
/// When there is no such jail.
pub fn without(
    now: &Configuration,
    jails: Vec<Jail>,
    gone: Option<&JailName>,
) -> Result<Next, String> {
    let before = jails.len();
    let stays = |jail: &Jail| gone.is_some_and(|gone| jail.name != *gone);
    let jails: Vec<Jail> = jails.into_iter().filter(stays).collect();
    if let Some(gone) = gone.filter(|_| jails.len() == before) {
        return Err(format!("Sorry but the jail '{gone}' does not exist"));
    }
    let configuration = Configuration { jails, ..now.clone() };
    Ok(Next { configuration, warnings: Vec::new(), source: Source::Order })
}

/// The configuration in force, with the jails as they are now.
pub fn same(now: &Configuration, jails: Vec<Jail>) -> Next {
    let configuration = Configuration { jails, ..now.clone() };
    Next { configuration, warnings: Vec::new(), source: Source::Store }
}

/// Keys that differ and are only read at a start.
fn fixed(now: &Settings, next: &Settings) -> Vec<&'static str> {
    [
        ("socket", now.socket == next.socket),
        ("fail2ban-socket", now.fail2ban_socket == next.fail2ban_socket),
        ("log", now.log == next.log),
        ("state-directory", now.state_directory == next.state_directory),
        ("bpf-directory", now.bpf_directory == next.bpf_directory),
    ]
    .into_iter()
    .filter_map(|(key, same)| (!same).then_some(key))
    .collect()
}

/// What changed between the jails of two configurations.
pub fn changed(before: &[JailName], after: &[JailName], warnings: Vec<String>) -> Reloaded {
    let (kept, started) = after.iter().cloned().partition(|name| before.contains(name));
    let stopped = before.iter().filter(|name| !after.contains(name)).cloned().collect();
    Reloaded { kept, started, stopped, warnings }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jails_stay_come_and_go() {
        let names = |names: &[&str]| -> Vec<JailName> {
            names.iter().map(|name| JailName::new(name).expect("a name")).collect()
        };
        let change = changed(&names(&["sshd", "old"]), &names(&["new", "sshd"]), Vec::new());
        assert_eq!(change.kept, names(&["sshd"]));
        assert_eq!(change.started, names(&["new"]));
        assert_eq!(change.stopped, names(&["old"]));
    }

    #[test]
    fn what_is_only_read_at_a_start_is_named() {
        let now = Settings::default();
        let next = Settings { socket: "/run/other".into(), ..now.clone() };
        assert_eq!(fixed(&now, &next), ["socket"]);
        let next = Settings { fail2ban_socket: None, ..now.clone() };
        assert_eq!(fixed(&now, &next), ["fail2ban-socket"]);
        let next = Settings { backend: Backend::Nft, jail_directory: "/x".into(), ..now.clone() };
        assert_eq!(fixed(&now, &next), [""; 0]);
    }
}
