//! What is said of `cargo xtask` and of guard's units anywhere is so: each verb is one that
//! there is, and each unit is one that is installed. (`guardctl` is read by a test of its own.)

use std::fs;
use std::path::PathBuf;

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::{Arguments, workspace};

/// Where something may be said.
const PLACES: &[&str] = &[
    "README.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "docs",
    "config",
    "packaging",
    "guard/src",
    "xtask/src",
];

/// What is missing where a verb stands for itself.
const ALONE: &[ErrorKind] = &[
    ErrorKind::MissingRequiredArgument,
    ErrorKind::MissingSubcommand,
    ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
    ErrorKind::InvalidValue,
];

/// Every text there, with its path.
fn texts() -> Vec<(PathBuf, String)> {
    let mut pending: Vec<PathBuf> =
        PLACES.iter().map(|place| workspace::root().join(place)).collect();
    let mut found = Vec::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            let entries = path.read_dir().expect("a directory");
            pending.extend(entries.map(|entry| entry.expect("a file").path()));
        } else if !path.ends_with("xtask/src/documents.rs")
            && let Ok(text) = fs::read_to_string(&path)
        {
            found.push((path, text));
        }
    }
    found
}

/// The words after each `cargo xtask`, up to the end of the code that it stands in.
fn verbs(text: &str) -> Vec<Vec<String>> {
    let commands = text.split("cargo xtask ").skip(1);
    let up_to_end = commands.map(|rest| {
        let end = rest.find(['`', '\n', '#', '"', ':', ',', ')']).unwrap_or(rest.len());
        let line = rest[..end].split("  ").next().unwrap_or_default();
        let line = line.replace(['[', ']', '…'], "").replace("VERB", "check").replace(" N", " 5");
        line.split_whitespace().map(str::to_owned).collect()
    });
    up_to_end.filter(|words: &Vec<String>| !words.is_empty()).collect()
}

/// What is wrong with the words after `cargo xtask`; a sentence may go on after them.
fn complaint(words: &[String]) -> Option<String> {
    let options = words.iter().rposition(|word| word.starts_with("--")).map_or(1, |at| at + 1);
    let all = (options..=words.len()).rev().map(|count| {
        let words = ["xtask"].into_iter().chain(words[..count].iter().map(String::as_str));
        match Arguments::try_parse_from(words) {
            Err(error) if !ALONE.contains(&error.kind()) => Some(error.to_string()),
            _ => None,
        }
    });
    all.reduce(Option::and).flatten()
}

/// The units of guard that a text names; also as systemctl takes them.
fn units(text: &str) -> Vec<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-.@".contains(c);
    let mut found = Vec::new();
    for line in text.lines() {
        let mut of_systemctl = false;
        for word in line.split(|c| !is_part(c)) {
            let word = word.trim_end_matches('.');
            of_systemctl |= word == "systemctl";
            let is_unit =
                [".service", ".socket", ".timer", ".mount"].iter().any(|kind| word.ends_with(kind));
            let is_ours = word.starts_with("guard") || word.starts_with("run-guard");
            if is_ours && is_unit {
                found.push(word.to_owned());
            } else if of_systemctl && is_ours && !word.contains('.') && word != "guardctl" {
                found.push(format!("{word}.service"));
            }
        }
    }
    found
}

#[test]
fn every_verb_of_xtask_that_is_named_is_one_that_there_is() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for (path, text) in texts() {
        for words in verbs(&text) {
            seen += 1;
            if let Some(complaint) = complaint(&words) {
                wrong.push(format!("{}: {words:?}: {complaint}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 40, "only {seen} were found");
}

#[test]
fn every_unit_of_guard_that_is_named_is_installed() {
    let there = workspace::root().join("config/systemd");
    let (mut seen, mut wrong) = (0, Vec::new());
    for (path, text) in texts() {
        for unit in units(&text) {
            seen += 1;
            if !there.join(&unit).exists() {
                wrong.push(format!("{}: {unit}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "no such units:\n{}", wrong.join("\n"));
    assert!(seen > 60, "only {seen} were found");
}

#[test]
fn what_is_not_there_is_found() {
    let wrong = |text: &str| verbs(text).iter().filter_map(|words| complaint(words)).count();
    assert_eq!(
        wrong("`cargo xtask deb --revision 2` and `cargo xtask check`, cargo xtask demo"),
        0
    );
    assert_eq!(wrong("`cargo xtask bed`"), 1);
    assert_eq!(wrong("run cargo xtask deb --revise 2 then"), 1);
    assert_eq!(wrong("cargo xtask man makes it anew"), 0);
    let text = "systemctl restart guard-foo; see guard-bar.timer and `systemctl stop guard`.";
    assert_eq!(units(text), ["guard-foo.service", "guard-bar.timer", "guard.service"]);
}
