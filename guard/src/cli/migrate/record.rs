//! What was there before a migration, so that `--undo` can go back; and the one line that
//! changes in `guard.toml`.

use std::io;
use std::path::{Path, PathBuf};
use std::{fs, str};

use serde::{Deserialize, Serialize};

/// What was there before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Record {
    /// `guard.toml`; `None` if there was none.
    pub(super) settings: Option<String>,
    /// Whether Fail2Ban began at boot.
    pub(super) fail2ban_enabled: bool,
    /// Whether it ran.
    pub(super) fail2ban_active: bool,
    /// Whether guard began at boot.
    pub(super) guard_enabled: bool,
}

impl Record {
    /// The record in a state directory, if a migration was made.
    pub(super) fn read(state: &Path) -> io::Result<Option<Self>> {
        match fs::read(place(state)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps it.
    pub(super) fn write(&self, state: &Path) -> io::Result<()> {
        fs::create_dir_all(state)?;
        replace(&place(state), &serde_json::to_string_pretty(self)?)
    }

    /// Forgets it.
    pub(super) fn forget(state: &Path) -> io::Result<()> {
        fs::remove_file(place(state))
    }

    /// Puts `guard.toml` back.
    pub(super) fn restore(&self, settings: &Path) -> io::Result<()> {
        match &self.settings {
            Some(text) => replace(settings, text),
            None => fs::remove_file(settings),
        }
    }
}

fn place(state: &Path) -> PathBuf {
    state.join("migrated.json")
}

/// Writes all of a file or nothing.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    if let Ok(before) = fs::metadata(path) {
        fs::set_permissions(&new, before.permissions())?;
    }
    fs::rename(&new, path)
}

/// `guard.toml` with this as its `jail-directory`, everything else as it was.
pub(super) fn pointing_at(text: &str, directory: &str) -> String {
    let line = format!("jail-directory = \"{directory}\"");
    let is_table = |line: &&str| line.trim_start().starts_with('[');
    let is_key = |line: &str| {
        let key = line.split('=').next().unwrap_or_default().trim();
        line.contains('=') && key == "jail-directory"
    };
    let top = text.lines().take_while(|line| !is_table(line)).count();
    let mut lines: Vec<&str> = text.lines().collect();
    if let Some(at) = lines[..top].iter().position(|line| is_key(line)) {
        lines[at] = &line;
    } else {
        lines.insert(0, &line);
        lines.insert(0, "# By guardctl migrate: Fail2Ban's jails.");
    }
    let mut out = lines.join("\n");
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_changes() {
        let at = |text| pointing_at(text, "/etc/fail2ban");
        let line = "jail-directory = \"/etc/fail2ban\"\n";
        assert!(at("").ends_with(line));
        assert_eq!(
            at("backend = \"nft\"\njail-directory=\"/x\"\n[limits]\nbans = 1\n"),
            format!("backend = \"nft\"\n{line}[limits]\nbans = 1\n")
        );
        let told = at("#jail-directory = \"/etc/guard\"\n[limits]\n");
        assert!(told.contains(line) && told.contains("#jail-directory"), "{told}");
        assert!(told.find(line) < told.find("[limits]"));
        assert_eq!(at(&told), told, "once more changes nothing");
    }
}
