//! Paths and shell patterns of `logpath`, as Python's `glob` reads them: `*`, `?` and
//! `[…]` match within one component, and no dot at its beginning.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use crate::config::glob;

/// Directories that one pattern may lead through.
const DIRECTORIES: usize = 1_000;

/// What a pattern leads to at present.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Matched {
    /// Regular files, sorted; of a symbolic link, the link's own path.
    pub(super) files: BTreeSet<PathBuf>,
    /// Directories in which something may appear that changes this.
    pub(super) directories: BTreeSet<PathBuf>,
    /// Whether there are so many directories that some were not looked into.
    pub(super) incomplete: bool,
}

impl Matched {
    /// Adds what `pattern` leads to.
    pub(super) fn add(&mut self, pattern: &str) {
        let components: Vec<Component<'_>> = Path::new(pattern).components().collect();
        let Some((last, before)) = components.split_last() else { return };
        let mut bases = vec![PathBuf::new()];
        for component in before {
            let name = component.as_os_str();
            let mut next = Vec::new();
            for base in bases {
                let found = self.below(&base, *component);
                next.extend(found.into_iter().filter(|path| path.is_dir()));
                if !is_magic(name) && !next.iter().any(|path| *path == base.join(name)) {
                    // It may be made yet.
                    self.directories.insert(or_here(&base));
                }
            }
            self.incomplete |= next.len() > DIRECTORIES;
            next.truncate(DIRECTORIES);
            bases = next;
        }
        for base in bases {
            self.directories.insert(or_here(&base));
            let found = self.below(&base, *last);
            self.files.extend(found.into_iter().filter(|path| path.is_file()));
        }
    }

    /// What is there of one component in one directory.
    fn below(&mut self, base: &Path, component: Component<'_>) -> Vec<PathBuf> {
        let name = component.as_os_str();
        if !is_magic(name) {
            let path = base.join(name);
            if path.is_symlink() {
                self.directories.insert(or_here(base));
            }
            return vec![path];
        }
        self.directories.insert(or_here(base));
        let Ok(entries) = std::fs::read_dir(or_here(base)) else { return Vec::new() };
        let mut found: Vec<PathBuf> = entries
            .filter_map(Result::ok)
            .map(|entry| entry.file_name())
            .filter(|entry| match (name.to_str(), entry.to_str()) {
                (Some(pattern), Some(entry)) => glob::matches(pattern, entry),
                _ => false,
            })
            .map(|entry| base.join(entry))
            .collect();
        found.sort();
        found
    }
}

/// Whether a component stands for more than itself. One that is no text stands for itself.
fn is_magic(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| !glob::is_plain(name))
}

/// An empty path is the working directory.
fn or_here(path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_where_to_look_for_more() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        for path in ["a/x.log", "b/x.log", "b/y.txt", "c/.x.log"] {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, "").expect("written");
        }
        std::fs::create_dir(root.join("a/dir.log")).expect("made");
        std::os::unix::fs::symlink("../b/y.txt", root.join("a/z.log")).expect("linked");
        std::os::unix::fs::symlink("nowhere", root.join("a/w.log")).expect("linked");
        let of = |pattern: &str| {
            let mut matched = Matched::default();
            matched.add(&root.join(pattern).display().to_string());
            let relative = |paths: BTreeSet<PathBuf>| -> Vec<String> {
                let path =
                    |path: PathBuf| path.strip_prefix(root).expect("below").display().to_string();
                paths.into_iter().map(path).collect()
            };
            (relative(matched.files), relative(matched.directories))
        };
        let words =
            |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        assert_eq!(of("*/*.log").0, words("a/x.log a/z.log b/x.log"));
        assert_eq!(of("*/*.log").1, [vec![String::new()], words("a b c")].concat());
        assert_eq!(of("b/y.txt"), (words("b/y.txt"), words("b")));
        assert_eq!(of("b/none"), (vec![], words("b")));
        assert_eq!(of("none/deeper/x.log"), (vec![], vec![String::new()]));
    }
}
