//! Which parts of guard start programs: read off the sources.
//!
//! The agent starts none and has no shell, so that no text of a log, of a mail server or
//! of anybody's whois record can become a command. What is asked of a program is
//! `guard-helper`'s; `guardctl check` asks sshd for its settings, and `guardctl migrate`
//! switches services with systemctl. Units may start one program more, which gives the bans'
//! file system to the agent's user.

use std::fs;
use std::path::{Path, PathBuf};

/// Files that may start a program, each with what it starts.
const STARTERS: [(&str, &str); 3] = [
    ("guard/src/cli/migrate/units.rs", "systemctl, when an administrator runs guardctl migrate"),
    (
        "guard/src/helper/program.rs",
        "programs of ignorecommand and [[notify]], under the helper's user",
    ),
    ("guard/src/tool/sshd.rs", "sshd -T, when an administrator runs guardctl check"),
];

/// How a program can be started.
const STARTS: [&str; 9] = [
    "process::Command",
    "Command::new",
    "tokio::process",
    "CommandExt",
    "libc::fork",
    "libc::exec",
    "libc::system",
    "libc::popen",
    "posix_spawn",
];

/// How a shell would be asked.
const SHELLS: [&str; 5] = ["\"/bin/sh\"", "\"/bin/bash\"", "\"-c\"", "sh -c", "/usr/bin/env"];

/// What a unit may start beside guard's own programs: one program with fixed arguments.
const BESIDE_GUARD: &str = "-+/usr/bin/chown --recursive guard:guard /run/guard/bpf";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The sources that are shipped, without their tests: path and text.
fn shipped() -> Vec<(String, String)> {
    let mut shipped = Vec::new();
    let mut pending = vec!["guard/src".to_owned(), "guard-common/src".to_owned()];
    while let Some(path) = pending.pop() {
        for entry in fs::read_dir(root().join(&path)).expect("a directory") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{path}/{name}");
            if entry.path().is_dir() {
                if name != "tests" {
                    pending.push(path);
                }
            } else if name.ends_with(".rs") && name != "tests.rs" {
                let text = fs::read_to_string(entry.path()).expect("a source");
                let own = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
                shipped.push((path, own.to_owned()));
            }
        }
    }
    shipped
}

/// The first of some words that a line of code holds; comments are none.
fn holding<'w>(text: &str, words: &[&'w str]) -> Option<(usize, &'w str)> {
    (1..).zip(text.lines()).filter(|(_, line)| !line.trim_start().starts_with("//")).find_map(
        |(number, line)| {
            words.iter().find(|word| line.contains(**word)).map(|word| (number, *word))
        },
    )
}

#[test]
fn the_agent_starts_no_program() {
    let shipped = shipped();
    assert!(shipped.len() > 100, "{} sources", shipped.len());
    for (path, text) in &shipped {
        let may = STARTERS.iter().any(|(starter, _)| starter == path);
        let starts = holding(text, &STARTS);
        assert!(may || starts.is_none(), "{path} starts a program: {starts:?}");
        assert!(!may || starts.is_some(), "{path} starts nothing: take it off the list");
    }
    for (starter, _) in STARTERS {
        assert!(shipped.iter().any(|(path, _)| path == starter), "{starter} is gone");
    }
}

#[test]
fn nothing_asks_a_shell() {
    for (path, text) in shipped() {
        let asks = holding(&text, &SHELLS);
        assert_eq!(asks, None, "{path}");
    }
    // Nor do the units.
    for unit in fs::read_dir(root().join("config/systemd")).expect("units") {
        let path = unit.expect("a unit").path();
        let text = fs::read_to_string(&path).expect("a unit");
        for line in text.lines().filter(|line| line.starts_with("Exec")) {
            let (_, program) = line.split_once('=').expect("Exec…=");
            let known = program.starts_with("/usr/bin/guard") || program == BESIDE_GUARD;
            assert!(known, "{}: {line}", path.display());
        }
    }
}

/// It would be no proof if it did not see what it looks for.
#[test]
fn a_start_is_seen() {
    let code = "use std::process::Command;\n// Command::new\nCommand::new(\"sh\").arg(\"-c\");\n";
    assert_eq!(holding(code, &STARTS), Some((1, "process::Command")));
    assert_eq!(holding("    // Command::new", &STARTS), None);
    assert_eq!(holding("let x = 1;\nlet y = Command::new(x);", &STARTS), Some((2, "Command::new")));
    assert_eq!(holding(code, &SHELLS), Some((3, "\"-c\"")));
}
