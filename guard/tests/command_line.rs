//! guardctl as a program: what it prints into a pipe, and what it ends with.

#![cfg(feature = "agent")]

use std::fs;
use std::process::{Command, Output};

fn guardctl(arguments: &[&str]) -> Output {
    let mut guardctl = Command::new(env!("CARGO_BIN_EXE_guardctl"));
    guardctl.args(arguments).env_remove("COLUMNS").env_remove("NO_COLOR");
    guardctl.output().expect("guardctl starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn help_in_a_pipe_has_no_colour_and_80_columns() {
    for verb in ["", "run", "status", "ban", "unban", "watch", "regex", "replay", "check"] {
        let arguments: Vec<&str> = [verb, "--help"].into_iter().filter(|w| !w.is_empty()).collect();
        let output = guardctl(&arguments);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let help = text(&output.stdout);
        assert!(help.contains("Examples:\n  "), "{help}");
        for line in help.lines() {
            assert!(line.chars().count() <= 80 && !line.contains('\x1b'), "{verb}: {line}");
        }
    }
}

#[test]
fn exit_codes_are_those_that_help_names() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: String| {
        let path = directory.path().join(name);
        fs::write(&path, text).expect("write a file");
        path.to_string_lossy().into_owned()
    };
    let place = directory.path().display();
    let sound =
        write("sound.toml", format!("socket = \"{place}/none\"\njail-directory = \"{place}\"\n"));
    let wrong = write("wrong.toml", "sockte = 1\n".to_owned());
    for (arguments, code, said) in [
        (&["--version"][..], 0, ""),
        (&["nonsense"], 2, "unrecognized subcommand"),
        (&["ban", "sshd"], 2, "required"),
        (&["--config", &sound, "status"], 3, "is not running"),
        (&["--config", &sound, "bans", "list"], 3, "is not running"),
        (&["--config", &wrong, "status"], 78, "did you mean `socket`?"),
        (&["--config", &wrong, "check"], 78, ""),
        (&["--config", &sound, "regex", "a line", "^(<HOST>$"], 255, ""),
    ] {
        let output = guardctl(arguments);
        let talk = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {talk}");
        assert!(talk.contains(said) && !talk.contains('\x1b'), "{arguments:?}: {talk}");
        if code == 2 || code == 3 {
            assert!(output.stdout.is_empty(), "{arguments:?}: talk among data");
        }
    }
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let program = env!("CARGO_BIN_EXE_guardctl");
    let script = format!("'{program}' --help | head -n 1; exit \"${{PIPESTATUS[0]}}\"");
    let output = Command::new("bash").args(["-c", &script]).output().expect("bash starts");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stdout).lines().count(), 1);
    assert!(output.stderr.is_empty(), "{output:?}");
}
