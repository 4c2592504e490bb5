//! What the compiler does not check: the layers of `guard`, the length of files, and
//! where `unsafe` may stand.
//!
//! Input: the source tree. Output: complaints, each with its file and what to do. The
//! source is read as text with comments and string literals blanked out, which is
//! enough for paths that begin with `crate::`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Files longer than this are hard to hold in mind.
const MAX_LINES: usize = 400;

/// Files that may be longer, each with its reason.
const LONGER: &[(&str, &str)] = &[];

/// The modules of `guard`, lowest layer first. A module may use its own and every lower
/// layer; modules of one layer do not know each other.
const LAYERS: &[&[&str]] = &[
    &["core"],
    &["config", "accounts"],
    &["source", "store", "enforce", "control", "helper", "host", "metrics", "share"],
    // Fail2Ban's socket in front of the control socket's verbs.
    &["compat"],
    &["daemon", "tool"],
    // `guardctl run` starts the daemon; the daemon knows nothing of command lines.
    &["cli"],
];

/// Where the kernel is met, and the test that counts allocations.
const UNSAFE: &[&str] = &[
    "guard-ebpf/",
    "guard-common/src/layout.rs",
    "guard/src/enforce/xdp/",
    "guard/tests/allocation.rs",
    // SQLite calls a VFS through C.
    "guard/tests/crash/vfs.rs",
    // What AddressSanitizer must notice.
    "tests/examples/overrun.rs",
];

/// Crates of which every root must rule out `unsafe`.
const SAFE_ROOTS: &[&str] = &[
    "guard/src/lib.rs",
    "guard/src/bin/guard-helper.rs",
    "guard/src/bin/guardctl.rs",
    "tests/src/lib.rs",
    "xtask/src/main.rs",
];

/// Directories that hold no source of ours.
const SKIPPED: &[&str] = &["target", ".git"];

/// Everything that is wrong with the source tree at `root`.
pub(crate) fn complaints(root: &Path) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for path in rust_files(root)? {
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        complaints.extend(complaint_about_length(&name, &text));
        let code = blank_comments_and_strings(&text);
        complaints.extend(complaints_about_layers(&name, &code));
        complaints.extend(complaint_about_unsafe(&name, &code));
    }
    complaints.sort();
    Ok(complaints)
}

fn rust_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in
            fs::read_dir(&directory).with_context(|| format!("read {}", directory.display()))?
        {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                if !SKIPPED.iter().any(|name| entry.file_name() == *name) {
                    pending.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    Ok(files)
}

fn complaint_about_length(name: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    let may = LONGER.iter().any(|(longer, _)| *longer == name);
    (lines > MAX_LINES && !may)
        .then(|| format!("{name}: {lines} lines; more than {MAX_LINES}: split it by what it does"))
}

fn complaint_about_unsafe(name: &str, code: &str) -> Option<String> {
    if SAFE_ROOTS.contains(&name)
        && !["#![forbid(unsafe_code)]", "#![deny(unsafe_code)]"]
            .iter()
            .any(|attribute| code.contains(attribute))
    {
        return Some(format!("{name}: add #![forbid(unsafe_code)]"));
    }
    let allowed = UNSAFE.iter().any(|place| name.starts_with(place));
    let line = code.lines().position(|line| words(line).any(|word| word == "unsafe"))?;
    (!allowed)
        .then(|| format!("{name}:{}: unsafe; it may stand only in {}", line + 1, UNSAFE.join(", ")))
}

/// Complaints about one file of `guard/src`.
fn complaints_about_layers(name: &str, code: &str) -> Vec<String> {
    let Some(inside) = name.strip_prefix("guard/src/") else { return Vec::new() };
    let own = inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs");
    if ["lib", "bin"].contains(&own) {
        return Vec::new();
    }
    let Some(layer) = layer(own) else {
        return vec![format!("{name}: module `{own}` is in no layer; see LAYERS in xtask")];
    };
    let mut complaints = Vec::new();
    for (line, used) in used_modules(code) {
        // What is in no layer is an item of lib.rs.
        if used != own && self::layer(&used).is_some_and(|other| other >= layer) {
            complaints.push(format!(
                "{name}:{line}: `{own}` must not use `{used}`: the layers are {}",
                layers_in_words()
            ));
        }
    }
    complaints
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The layers as one reads them.
fn layers_in_words() -> String {
    let layers: Vec<String> = LAYERS.iter().map(|layer| layer.join(", ")).collect();
    layers.join(" → ")
}

/// The top-level modules that stand behind each `crate::`, with their line numbers.
fn used_modules(code: &str) -> Vec<(usize, String)> {
    let mut used = Vec::new();
    for (place, found) in code.match_indices("crate::") {
        let before = code[..place].chars().next_back();
        if before.is_some_and(|character| character.is_alphanumeric() || character == '_') {
            continue;
        }
        let line = code[..place].matches('\n').count() + 1;
        let rest = &code[place + found.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            used.extend(first_words_of_group(group).into_iter().map(|module| (line, module)));
        } else {
            used.extend(words(rest).next().map(|module| (line, module.to_owned())));
        }
    }
    used
}

/// The first word of each item of `{a::b, c::{d, e}, f}`, from behind the brace.
fn first_words_of_group(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut first = Vec::new();
    let mut item = String::new();
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                first.extend(words(&item).next().map(str::to_owned));
                item.clear();
                continue;
            }
            _ => {}
        }
        item.push(character);
    }
    first.extend(words(&item).next().map(str::to_owned));
    first
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_alphanumeric() && character != '_')
        .filter(|word| !word.is_empty())
}

/// The same text with comments and the insides of string and character literals as
/// blanks; lines stay where they are.
fn blank_comments_and_strings(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut blanked = bytes.to_vec();
    let mut place = 0;
    while place < bytes.len() {
        let end = literal_or_comment(bytes, place);
        if end > place {
            for byte in &mut blanked[place..end] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
            place = end;
        } else {
            place += 1;
        }
    }
    String::from_utf8_lossy(&blanked).into_owned()
}

/// Where the comment or literal that begins at `place` ends; `place` if none does.
fn literal_or_comment(bytes: &[u8], place: usize) -> usize {
    let rest = &bytes[place..];
    let find = |from: usize, end: &[u8]| {
        let within = rest.get(from..).unwrap_or_default();
        let found = within.windows(end.len()).position(|window| window == end);
        place + found.map_or(rest.len(), |found| from + found + end.len())
    };
    match rest {
        [b'/', b'/', ..] => find(2, b"\n") - 1,
        [b'/', b'*', ..] => find(2, b"*/"),
        [b'r', tail @ ..] if !follows_a_word(bytes, place) => {
            let marks = tail.iter().take_while(|byte| **byte == b'#').count();
            if tail.get(marks) != Some(&b'"') {
                return place;
            }
            let end: Vec<u8> = [b'"'].into_iter().chain(vec![b'#'; marks]).collect();
            find(marks + 2, &end)
        }
        [b'"', tail @ ..] => {
            let mut length = 1;
            while let Some(byte) = tail.get(length - 1) {
                length += 1;
                match byte {
                    b'\\' => length += 1,
                    b'"' => break,
                    _ => {}
                }
            }
            (place + length).min(bytes.len())
        }
        // A character literal, not a lifetime.
        [b'\'', b'\\', tail @ ..] => {
            let end = tail.iter().skip(1).position(|byte| *byte == b'\'');
            place + 2 + end.map_or(0, |end| end + 2)
        }
        [b'\'', _, b'\'', ..] => place + 3,
        _ => place,
    }
}

fn follows_a_word(bytes: &[u8], place: usize) -> bool {
    let before = place.checked_sub(1).and_then(|before| bytes.get(before));
    before.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_may_use_lower_layers_and_not_its_own_or_higher_ones() {
        let code =
            "use crate::core::time::Timestamp;\nuse crate::{config::jail, store::{Ban, Row}};";
        assert_eq!(complaints_about_layers("guard/src/store/mod.rs", code), Vec::<String>::new());
        let about_source = complaints_about_layers("guard/src/source/journal.rs", code);
        assert_eq!(about_source.len(), 1);
        assert!(about_source[0].starts_with("guard/src/source/journal.rs:2: `source` must not"));
        assert_eq!(complaints_about_layers("guard/src/core/engine.rs", code).len(), 2);
        assert_eq!(complaints_about_layers("guard/src/daemon/run.rs", code), Vec::<String>::new());
        assert_eq!(complaints_about_layers("tests/src/lib.rs", code), Vec::<String>::new());
        let start = "use crate::daemon::run;";
        assert!(complaints_about_layers("guard/src/cli/mod.rs", start).is_empty());
        assert_eq!(complaints_about_layers("guard/src/daemon/run.rs", "crate::cli::f()").len(), 1);
        assert_eq!(complaints_about_layers("guard/src/unheard/of.rs", "").len(), 1);
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        let text = "// crate::daemon\n/* unsafe */ let a = \"unsafe \\\" unsafe\"; let b = r#\"unsafe\"#;\n'x: loop { let c = '\"'; }";
        let code = blank_comments_and_strings(text);
        assert!(!code.contains("unsafe") && !code.contains("daemon"), "{code}");
        assert!(code.contains("let b = ") && code.contains("'x: loop"), "{code}");
        assert_eq!(code.lines().count(), text.lines().count());
    }

    #[test]
    fn unsafe_stands_only_where_the_kernel_is_met() {
        let code = "fn f() { unsafe { g() } }";
        assert!(complaint_about_unsafe("guard/src/store/mod.rs", code).is_some());
        assert!(complaint_about_unsafe("guard/src/enforce/xdp/maps.rs", code).is_none());
        assert!(
            complaint_about_unsafe("guard/src/store/mod.rs", "#![deny(unsafe_code)]").is_none()
        );
        assert!(complaint_about_unsafe("xtask/src/main.rs", "fn main() {}").is_some());
    }

    #[test]
    fn a_long_file_is_named() {
        assert!(complaint_about_length("a.rs", &"x\n".repeat(MAX_LINES)).is_none());
        assert!(complaint_about_length("a.rs", &"x\n".repeat(MAX_LINES + 1)).is_some());
    }
}
