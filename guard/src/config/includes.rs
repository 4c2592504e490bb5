//! `[INCLUDES]`: which files a file puts before and after itself.
//!
//! Input: the sections of one file, and its name. Output: the value of `before` or
//! `after`, and for each line of it the files that it means, in reading order. A path is
//! relative to the file that names it; each file brings its sibling `.local`.

use std::path::{Component, Path, PathBuf};

use crate::config::diagnostic::Checked;
use crate::config::ini::IniSection;
use crate::config::interpolate::{NOTHING, Scope};
use crate::config::layers::{Layer, Merged, Tree};
use crate::config::text::Text;

/// A file, relative to the root of its kind where it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileName {
    /// Below `vendor-directory`, or built in.
    Vendor(PathBuf),
    /// Below `jail-directory`.
    Host(PathBuf),
    /// Anywhere else.
    Elsewhere(PathBuf),
}

/// What one file's `[INCLUDES]` says, blank if nothing. Only the file itself gives values
/// for `%(name)s`: nothing else is read yet.
pub(crate) fn value(sections: &[IniSection], option: &str) -> Checked<Text> {
    const SECTION: &str = "INCLUDES";
    if !sections.iter().any(|section| section.name.as_str() == SECTION) {
        return Ok(Text::default());
    }
    let mut file = Merged::default();
    for section in sections {
        file.add(section, Layer::Conf);
    }
    let scope = Scope { merged: &file, section: SECTION, fixed: &NOTHING, known: &NOTHING };
    match file.section(SECTION).is_some_and(|section| section.keys.contains_key(option)) {
        true => scope.value_or_empty(option),
        false => Ok(Text::default()),
    }
}

/// The files that an include of `path` in `from` means, in reading order.
pub(crate) fn files(tree: &Tree, from: &FileName, path: &str) -> Vec<FileName> {
    let sibling = |name: &Path| name.with_extension("local");
    let both = |make: fn(PathBuf) -> FileName, path: PathBuf| {
        let local = sibling(&path);
        if local == path { vec![make(path)] } else { vec![make(path), make(local)] }
    };
    let (FileName::Vendor(base) | FileName::Host(base) | FileName::Elsewhere(base)) = from;
    let joined = base.parent().unwrap_or(Path::new("")).join(path);
    match (from, normal(&joined)) {
        // The host's file overrides the vendor's, here too.
        (FileName::Vendor(_) | FileName::Host(_), Some(relative)) if joined.is_relative() => {
            let mut all = Vec::new();
            if matches!(from, FileName::Vendor(_)) || tree.has_vendor_under(&relative) {
                all.push(FileName::Vendor(relative.clone()));
            }
            all.extend(both(FileName::Host, relative));
            all
        }
        (FileName::Host(_) | FileName::Vendor(_), None) => both(FileName::Host, joined),
        _ => both(FileName::Elsewhere, joined),
    }
}

/// The path without `.` and `..`, unless it leaves the directory it starts from.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                if !out.pop() {
                    return None;
                }
            }
            other => out.push(other),
        }
    }
    Some(out)
}
