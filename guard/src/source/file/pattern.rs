//! Paths and shell patterns of `logpath`, as Python's `glob` reads them: `*`, `?` and
//! `[…]` match within one component, and no dot at its beginning.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

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
                if !has_magic(name) && !next.iter().any(|path| *path == base.join(name)) {
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
        if !has_magic(name) {
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
            .filter(|entry| matches(name.as_bytes(), entry.as_bytes()))
            .map(|entry| base.join(entry))
            .collect();
        found.sort();
        found
    }
}

/// An empty path is the working directory.
fn or_here(path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() }
}

fn has_magic(name: &OsStr) -> bool {
    name.as_bytes().iter().any(|byte| b"*?[".contains(byte))
}

/// Whether a name matches a pattern without `/`.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.starts_with(b".") && !pattern.starts_with(b".") {
        return false;
    }
    // Where to go on when the last `*` takes one byte more.
    let mut again: Option<(usize, usize)> = None;
    let (mut at, mut read) = (0, 0);
    loop {
        match pattern.get(at) {
            Some(b'*') => {
                again = Some((at + 1, read));
                at += 1;
                continue;
            }
            None if read == name.len() => return true,
            Some(_) if read < name.len() => {
                if let Some(length) = one(&pattern[at..], name[read]) {
                    at += length;
                    read += 1;
                    continue;
                }
            }
            _ => {}
        }
        match &mut again {
            Some((star, taken)) if *taken < name.len() => {
                *taken += 1;
                (at, read) = (*star, *taken);
            }
            _ => return false,
        }
    }
}

/// The length of the part of `pattern` that stands for one byte, if it matches `byte`.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'[', rest @ ..] => match class(rest) {
            Some((inside, length)) => {
                let (negated, inside) = match inside {
                    [b'!', inside @ ..] => (true, inside),
                    inside => (false, inside),
                };
                (holds(inside, byte) != negated).then_some(length + 1)
            }
            // Without its end it is an ordinary character.
            None => (byte == b'[').then_some(1),
        },
        [literal, ..] => (*literal == byte).then_some(1),
        [] => None,
    }
}

/// What stands between `[` and `]`, and the length with the `]`.
fn class(rest: &[u8]) -> Option<(&[u8], usize)> {
    let from = usize::from(rest.first() == Some(&b'!'));
    // A `]` that comes first is itself meant.
    let end = rest.iter().skip(from + 1).position(|byte| *byte == b']')? + from + 1;
    Some((&rest[..end], end + 1))
}

fn holds(mut class: &[u8], byte: u8) -> bool {
    while let [first, rest @ ..] = class {
        class = rest;
        if let [b'-', last, rest @ ..] = class {
            class = rest;
            if (*first..=*last).contains(&byte) {
                return true;
            }
        } else if *first == byte {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (pattern, name, expected) in [
            ("*.log", "a.log", true),
            ("*.log", "a.logx", false),
            ("*.log", ".a.log", false),
            (".*", ".a", true),
            ("*", "", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("?", "a", true),
            ("?", "", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[!a-c]x", "dx", true),
            ("[]]", "]", true),
            ("[", "[", true),
            ("[a-", "[a-", true),
            ("[a-]", "-", true),
            ("**", "ab", true),
            ("other_vhosts_access.log", "other_vhosts_access.log", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

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
