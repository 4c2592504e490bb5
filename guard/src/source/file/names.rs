//! Names of rotated files: `NAME.1`, `NAME-20261122`, `STEM-20261122.EXT`, and of
//! compressed ones, which are never read.

use std::cmp::Ordering;
use std::path::Path;

/// What a file's name says of its place among the rotated files of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rotated {
    /// Counted up with each rotation: the youngest is 0 or 1.
    Number(u64),
    /// By the time of the rotation: the youngest is the greatest.
    Date(String),
    /// Kept once: `.old`, `.bak`, `.0` of old tools.
    Kept,
}

impl Rotated {
    /// Whether a file was rotated away after another one; no when that cannot be told.
    pub(super) fn is_younger_than(&self, other: &Self) -> bool {
        self.by_age(other) == Ordering::Greater
    }

    /// The older of two first; equal when that cannot be told.
    pub(super) fn by_age(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(own), Self::Number(other)) => other.cmp(own),
            (Self::Date(own), Self::Date(other)) => own.cmp(other),
            _ => Ordering::Equal,
        }
    }
}

/// What `name` is among the rotated files of the log `base`; `None` for any other file.
pub(super) fn rotated(base: &str, name: &str) -> Option<Rotated> {
    if let Some(rest) = name.strip_prefix(base) {
        return suffix(rest);
    }
    // logrotate's `extension .log`: the suffix stands before it.
    let (stem, extension) = base.rsplit_once('.').filter(|(stem, _)| !stem.is_empty())?;
    let rest = name.strip_prefix(stem)?.strip_suffix(extension)?.strip_suffix('.')?;
    suffix(rest)
}

fn suffix(rest: &str) -> Option<Rotated> {
    if matches!(rest, ".old" | ".bak" | "~" | "-old" | "-bak") {
        return Some(Rotated::Kept);
    }
    let text = rest.strip_prefix(['.', '-', '_'])?;
    let is_date = |c: char| c.is_ascii_digit() || "-_.:TZ+".contains(c);
    if !text.starts_with(|c: char| c.is_ascii_digit()) || !text.chars().all(is_date) {
        return None;
    }
    let digits = text.chars().filter(char::is_ascii_digit).count();
    match text.parse() {
        Ok(number) if digits < 6 => Some(Rotated::Number(number)),
        _ if digits >= 6 => Some(Rotated::Date(text.to_owned())),
        _ => None,
    }
}

/// Whether a name says that the file is compressed.
pub(super) fn is_compressed(path: &Path) -> bool {
    const EXTENSIONS: [&str; 10] =
        ["gz", "xz", "bz2", "zst", "lz4", "lzma", "lzo", "z", "zip", "7z"];
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|found| EXTENSIONS.iter().any(|own| own.eq_ignore_ascii_case(found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_files_of_a_log_and_its_neighbours() {
        let number = |number| Some(Rotated::Number(number));
        let date = |date: &str| Some(Rotated::Date(date.to_owned()));
        for (base, name, expected) in [
            ("auth.log", "auth.log.1", number(1)),
            ("auth.log", "auth.log.12", number(12)),
            ("auth.log", "auth.1.log", number(1)),
            ("auth.log", "auth.log-20261122", date("20261122")),
            ("auth.log", "auth-20261122.log", date("20261122")),
            ("auth.log", "auth.log.2026-11-22T10:00:00", date("2026-11-22T10:00:00")),
            ("auth.log", "auth.log.old", Some(Rotated::Kept)),
            ("auth.log", "auth.log.1.gz", None),
            ("auth.log", "auth.log", None),
            ("auth.log", "auth.logs", None),
            ("auth.log", "auth.logger.1", None),
            ("auth.log", "auth-ssl.log", None),
            ("auth.log", "other.log.1", None),
            ("messages", "messages-20261122", date("20261122")),
            ("messages", "messages.x", None),
        ] {
            assert_eq!(rotated(base, name), expected, "{base} {name}");
        }
    }

    #[test]
    fn the_younger_of_two() {
        let young = |a: &str, b: &str| {
            let of = |name| rotated("a", name).expect("rotated");
            of(a).is_younger_than(&of(b))
        };
        assert!(young("a.1", "a.2") && !young("a.2", "a.1") && !young("a.1", "a.1"));
        assert!(young("a.9", "a.10"));
        assert!(young("a-20261122", "a-20261121") && !young("a-20261121", "a-20261122"));
        assert!(!young("a.1", "a-20261121"), "kinds do not mix");
    }

    #[test]
    fn compressed_files() {
        for name in ["a.gz", "a.log.2.xz", "a.BZ2", "a.zst"] {
            assert!(is_compressed(Path::new(name)), "{name}");
        }
        for name in ["gz", "a.log", "a.gzip.log", "a.1"] {
            assert!(!is_compressed(Path::new(name)), "{name}");
        }
    }
}
