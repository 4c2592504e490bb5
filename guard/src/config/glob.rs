//! Paths that a shell pattern means.
//!
//! Input: a path with `*`, `?`, `[a-z]` and `[!a-z]`. Output: the files that there are
//! now, sorted, as Python's `glob` finds them: a `*` or `?` never matches a slash, nor the
//! dot that a name begins with. Invariant: only directories that the pattern can mean are
//! listed, and a pattern without special characters lists none.

use std::path::{Path, PathBuf};

/// Files and directories that match now. A link without a target is none.
pub fn matching(pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from(if pattern.starts_with('/') { "/" } else { "" })];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        if is_plain(part) {
            for path in &mut found {
                path.push(part);
            }
            continue;
        }
        let names = |directory: PathBuf| {
            let place = if directory.as_os_str().is_empty() { Path::new(".") } else { &directory };
            let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
            let matching = entries.filter_map(|entry| {
                let name = entry.file_name();
                name.to_str().is_some_and(|name| matches(part, name)).then(|| directory.join(name))
            });
            matching.collect::<Vec<_>>()
        };
        found = found.into_iter().flat_map(names).collect();
    }
    found.retain(|path| path.exists() && !path.as_os_str().is_empty());
    found.sort();
    found
}

/// Whether it stands for itself alone.
pub fn is_plain(pattern: &str) -> bool {
    !pattern.contains(['*', '?', '['])
}

/// Whether one name, without a slash, matches.
pub fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut from) = (0, 0);
    // Where to go on if this does not match: after the last `*`, one character later.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&'*') {
            retry = Some((at + 1, from));
            at += 1;
            continue;
        }
        match (pattern.get(at), name.get(from)) {
            (None, None) => return true,
            (Some(_), Some(c)) => {
                if let Some(length) = one(&pattern[at..], *c) {
                    at += length;
                    from += 1;
                    continue;
                }
            }
            _ => {}
        }
        match &mut retry {
            Some((after, start)) if *start < name.len() => {
                *start += 1;
                (at, from) = (*after, *start);
            }
            _ => return false,
        }
    }
}

/// How many characters of the pattern match one character, if they do.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '[' => match class(pattern) {
            Some((negated, members, length)) => {
                let mut within = false;
                let mut at = 0;
                while at < members.len() {
                    if at + 2 < members.len() && members[at + 1] == '-' {
                        within |= (members[at]..=members[at + 2]).contains(&c);
                        at += 3;
                    } else {
                        within |= members[at] == c;
                        at += 1;
                    }
                }
                (within != negated).then_some(length)
            }
            None => (c == '[').then_some(1),
        },
        other => (*other == c).then_some(1),
    }
}

/// A class at the front: whether it is negated, its members, its length. Nothing if it is
/// not closed; then `[` stands for itself.
fn class(pattern: &[char]) -> Option<(bool, &[char], usize)> {
    let negated = pattern.get(1) == Some(&'!');
    let start = if negated { 2 } else { 1 };
    // A `]` that comes first is a member.
    let end = pattern.iter().skip(start + 1).position(|c| *c == ']')? + start + 1;
    Some((negated, &pattern[start..end], end + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names() {
        for (pattern, name, expected) in [
            ("*.log", "a.log", true),
            ("*.log", "a.log.1", false),
            ("*.log", ".a.log", false),
            (".*", ".a", true),
            ("*error.log", "error.log", true),
            ("L[0-9]*.log", "L07.log", true),
            ("L[0-9]*.log", "Lx.log", false),
            ("[!a]?", "bc", true),
            ("[!a]?", "ac", false),
            ("[]]", "]", true),
            ("[a", "[a", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("", "", true),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn files() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        for name in ["a/x.log", "a/y.log", "a/.z.log", "b/x.log", "b/x.txt"] {
            std::fs::create_dir_all(root.join(name).parent().expect("a parent")).expect("made");
            std::fs::write(root.join(name), "").expect("written");
        }
        let found = |pattern: &str| {
            let found = matching(&format!("{}/{pattern}", root.display()));
            let short = |path: &PathBuf| path.strip_prefix(root).map(Path::to_owned);
            found.iter().map(|path| short(path).expect("below")).collect::<Vec<_>>()
        };
        assert_eq!(found("*/*.log"), ["a/x.log", "a/y.log", "b/x.log"].map(PathBuf::from));
        assert_eq!(found("b/x.txt"), ["b/x.txt"].map(PathBuf::from));
        assert_eq!(found("b/none"), [""; 0].map(PathBuf::from));
        assert_eq!(found("none/*"), [""; 0].map(PathBuf::from));
        std::os::unix::fs::symlink("/nowhere/at/all", root.join("b/w.log")).expect("linked");
        assert_eq!(found("b/*.log"), ["b/x.log"].map(PathBuf::from));
    }

    proptest! {
        #[test]
        fn any_pattern_ends(pattern in "[a*?\\[\\]!-]{0,12}", name in "[a\\[\\]!-]{0,12}") {
            let _ = matches(&pattern, &name);
            prop_assert!(matches("*", name.trim_start_matches('.')));
        }
    }
}
