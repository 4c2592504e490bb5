//! What was there before a migration, so that `--undo` can go back; and the one line that
//! changes in `guard.toml`.
//!
//! Input: `guard.toml`'s place. Output: the record beside it, in a directory that is root's:
//! what root's `--undo` writes must not come from where the agent's user may write.
//! Invariants: a file is replaced as a whole or not at all, and no link is followed.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use super::DIRECTORY;

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
    /// The record beside these settings, if a migration was made.
    pub(super) fn read(settings: &Path) -> io::Result<Option<Self>> {
        match fs::read(place(settings)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps it.
    pub(super) fn write(&self, settings: &Path) -> io::Result<()> {
        replace(&place(settings), &serde_json::to_string_pretty(self)?, None, 0o600)
    }

    /// Forgets it.
    pub(super) fn forget(settings: &Path) -> io::Result<()> {
        unless_missing(fs::remove_file(place(settings))).map(drop)
    }

    /// This and what an earlier migration kept: of guard what there was before that one, of
    /// Fail2Ban what there was at either.
    pub(super) fn after(&self, known: Option<&Self>) -> Self {
        let Some(known) = known else { return self.clone() };
        Self {
            settings: known.settings.clone(),
            fail2ban_enabled: known.fail2ban_enabled || self.fail2ban_enabled,
            fail2ban_active: known.fail2ban_active || self.fail2ban_active,
            guard_enabled: known.guard_enabled,
        }
    }

    /// Points `guard.toml`, as it is in this record, at Fail2Ban's jails.
    pub(super) fn point(&self, settings: &Path) -> io::Result<()> {
        let before = unless_missing(fs::metadata(settings))?;
        replace(settings, &self.pointing(), before.as_ref(), 0o644)
    }

    /// Puts `guard.toml` back. If somebody changed it since, it is kept beside, and where
    /// is returned.
    pub(super) fn restore(&self, settings: &Path) -> io::Result<Option<PathBuf>> {
        let there = unless_missing(fs::metadata(settings))?;
        let mut kept = None;
        if there.is_some() {
            let text = fs::read_to_string(settings)?;
            if self.settings.as_ref() == Some(&text) {
                return Ok(None);
            }
            if text != self.pointing() {
                let aside = settings.with_added_extension("migrated");
                fs::rename(settings, &aside)?;
                kept = Some(aside);
            }
        }
        match &self.settings {
            Some(text) => replace(settings, text, there.as_ref(), 0o644)?,
            None => unless_missing(fs::remove_file(settings)).map(drop)?,
        }
        Ok(kept)
    }

    /// What a migration writes into `guard.toml`.
    fn pointing(&self) -> String {
        pointing_at(self.settings.as_deref().unwrap_or_default(), DIRECTORY)
    }
}

fn place(settings: &Path) -> PathBuf {
    settings.with_file_name("migrated.json")
}

/// `None` for what is not there.
fn unless_missing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// Writes all of a file or nothing; owner, group and mode are those of `before`, or root's
/// and this mode.
fn replace(path: &Path, text: &str, before: Option<&Metadata>, mode: u32) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let new = path.with_extension("new");
    // Of a process that was killed.
    unless_missing(fs::remove_file(&new))?;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(&new)?;
    let replaced = fill(file, text, before, mode).and_then(|()| fs::rename(&new, path));
    if replaced.is_err() {
        drop(fs::remove_file(&new));
    }
    replaced
}

fn fill(mut file: File, text: &str, before: Option<&Metadata>, mode: u32) -> io::Result<()> {
    file.write_all(text.as_bytes())?;
    if let Some(before) = before.filter(|_| geteuid().is_root()) {
        fchown(&file, Some(before.uid()), Some(before.gid()))?;
    }
    let mode = before.map_or(mode, |before| before.mode() & 0o7777);
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
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
    use std::os::unix::fs::{chown, symlink};

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

    #[test]
    fn links_are_not_followed_and_the_record_is_roots_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let (settings, other) = (directory.path().join("guard.toml"), directory.path().join("o"));
        fs::write(&other, "untouched").expect("written");
        for planted in ["guard.new", "migrated.new", "migrated.json"] {
            symlink(&other, directory.path().join(planted)).expect("linked");
        }
        let record = record(None);
        record.write(&settings).expect("kept");
        record.point(&settings).expect("written");
        assert_eq!(fs::read_to_string(&other).expect("read"), "untouched");
        assert_eq!(Record::read(&settings).expect("read"), Some(record.clone()));
        let mode = |path: &Path| path.symlink_metadata().expect("there").mode();
        assert_eq!(mode(&place(&settings)), 0o100_600, "a file, and nobody else's");
        assert_eq!(mode(&settings), 0o100_644, "the agent's user reads it");
        assert_eq!(record.restore(&settings).expect("restored"), None);
        assert!(!settings.exists(), "there was none");
        Record::forget(&settings).expect("forgotten");
        Record::forget(&settings).expect("twice is once");
    }

    #[test]
    fn owner_and_mode_stay_and_so_do_later_edits() {
        let directory = tempfile::tempdir().expect("a directory");
        let settings = directory.path().join("guard.toml");
        fs::write(&settings, "backend = \"nft\"\n").expect("written");
        fs::set_permissions(&settings, fs::Permissions::from_mode(0o640)).expect("set");
        let owner = if geteuid().is_root() { 65_534 } else { geteuid().as_raw() };
        chown(&settings, Some(owner), None).expect("given");
        let record = record(Some("backend = \"nft\"\n"));
        let text = || fs::read_to_string(&settings).expect("read");
        let same = || {
            let there = settings.metadata().expect("there");
            assert_eq!((there.mode() & 0o7777, there.uid()), (0o640, owner));
        };
        assert_eq!(record.restore(&settings).expect("as it is"), None);
        record.point(&settings).expect("written");
        assert!(text().contains("jail-directory"));
        same();
        assert_eq!(record.restore(&settings).expect("restored"), None);
        assert_eq!(text(), "backend = \"nft\"\n");
        same();
        record.point(&settings).expect("written");
        let edited = format!("{}[limits]\nbans = 7\n", text());
        fs::write(&settings, &edited).expect("edited");
        let aside = record.restore(&settings).expect("restored").expect("kept");
        assert_eq!(aside, directory.path().join("guard.toml.migrated"));
        assert_eq!(fs::read_to_string(aside).expect("read"), edited);
        assert_eq!(text(), "backend = \"nft\"\n");
        same();
    }

    #[test]
    fn a_second_migration_forgets_nothing_of_the_first() {
        let first = Record { fail2ban_active: false, ..record(Some("backend = \"nft\"\n")) };
        let second = Record { guard_enabled: true, ..record(Some("jail-directory = \"/x\"\n")) };
        assert_eq!(second.after(None), second);
        let both = second.after(Some(&first));
        assert_eq!(both, Record { fail2ban_active: true, ..first.clone() });
        let ended = Record { fail2ban_active: false, fail2ban_enabled: false, ..second };
        assert_eq!(ended.after(Some(&both)), both);
    }

    fn record(settings: Option<&str>) -> Record {
        let settings = settings.map(str::to_owned);
        let (fail2ban_enabled, fail2ban_active, guard_enabled) = (true, true, false);
        Record { settings, fail2ban_enabled, fail2ban_active, guard_enabled }
    }
}
