//! Which paths are to be read: what the patterns lead to, less what is no log by its
//! name or is another path's file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::encoding::Encoding;
use super::names;
use super::pattern::Matched;
use super::place::Identity;
use super::track::Audience;
use crate::core::jail::{JailId, LogFiles};

/// What one look at the patterns found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// The paths and who reads them.
    pub(super) paths: BTreeMap<PathBuf, Audience>,
    /// Where something may appear that changes this.
    pub(super) directories: BTreeSet<PathBuf>,
    /// Jails that read a path in an encoding in which lines end differently from those
    /// of an earlier jail.
    pub(super) refused: Vec<(JailId, PathBuf)>,
    /// A pattern leads through too many directories.
    pub(super) incomplete: bool,
}

/// Looks. A rotated file is left out if its log is there, or is one of `known`.
pub(super) fn scan<'k>(
    subscriptions: &[(JailId, LogFiles, Encoding)],
    known: impl Iterator<Item = &'k PathBuf>,
) -> Scan {
    let mut scan = Scan::default();
    for (jail, files, encoding) in subscriptions {
        for pattern in &files.patterns {
            let mut matched = Matched::default();
            matched.add(&pattern.path);
            scan.incomplete |= matched.incomplete;
            scan.directories.extend(matched.directories);
            for path in matched.files {
                if names::is_compressed(&path) {
                    continue;
                }
                let audience = scan.paths.entry(path.clone()).or_default();
                if !audience.add(*jail, *encoding, pattern.from_end) {
                    scan.refused.push((*jail, path));
                }
            }
        }
    }
    scan.leave_out_rotated(known);
    scan.join_same();
    scan
}

impl Scan {
    fn leave_out_rotated<'k>(&mut self, known: impl Iterator<Item = &'k PathBuf>) {
        let mut logs: HashMap<PathBuf, BTreeSet<String>> = HashMap::new();
        let mut add = |path: &Path| {
            if let Some((directory, name)) = parts(path) {
                logs.entry(directory.to_owned()).or_default().insert(name.to_owned());
            }
        };
        known.for_each(|path| add(path));
        self.paths.keys().for_each(|path| add(path));
        self.paths.retain(|path, _| {
            let Some((directory, name)) = parts(path) else { return true };
            let logs = logs.get(directory);
            !logs.into_iter().flatten().any(|log| names::rotated(log, name).is_some())
        });
    }

    /// Of paths that lead to one file, the one that is no link is read, for all.
    fn join_same(&mut self) {
        let mut paths: Vec<(bool, PathBuf)> =
            self.paths.keys().map(|path| (path.is_symlink(), path.clone())).collect();
        paths.sort();
        let mut seen: HashMap<Identity, PathBuf> = HashMap::new();
        for (is_link, path) in paths {
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            if is_link && let Some(target) = std::fs::canonicalize(&path).ok().as_deref() {
                // Where it may be rotated.
                self.directories.extend(target.parent().map(Path::to_owned));
            }
            let Some(first) = seen.get(&Identity::of(&metadata)) else {
                seen.insert(Identity::of(&metadata), path);
                continue;
            };
            let joined = self.paths.remove(&path).unwrap_or_default();
            let Some(audience) = self.paths.get_mut(first) else { continue };
            for (encoding, jails) in joined.readers {
                for jail in jails {
                    if !audience.add(jail, encoding, joined.from_end) {
                        self.refused.push((jail, path.clone()));
                    }
                }
            }
        }
    }
}

fn parts(path: &Path) -> Option<(&Path, &str)> {
    Some((path.parent()?, path.file_name().and_then(OsStr::to_str)?))
}
