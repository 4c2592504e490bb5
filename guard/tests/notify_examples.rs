//! The shipped examples of programs that are told of bans, with another `curl` than the
//! real one.

#![cfg(feature = "agent")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// What an example has curl do: its arguments, one a line, then its standard input.
fn curls(example: &str, arguments: &[&str]) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let said = directory.path().join("said");
    let curl = directory.path().join("curl");
    let stub = format!("#!/bin/sh\nprintf '%s\\n' \"$@\" > '{0}'\ncat >> '{0}'\n", said.display());
    fs::write(&curl, stub).expect("a stub");
    fs::set_permissions(&curl, fs::Permissions::from_mode(0o755)).expect("executable");
    let token = directory.path().join("token");
    fs::write(&token, "secret\n").expect("a token");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples").join(example);
    let output = Command::new("sh")
        .arg(file)
        .args(arguments)
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", directory.path().display()))
        .env("GUARD_MATRIX_TOKEN", token)
        .envs([
            ("GUARD_EVENT", "ban"),
            ("GUARD_HOST", "pve"),
            ("GUARD_JAIL", "sshd"),
            ("GUARD_ADDRESS", "192.0.2.7"),
            ("GUARD_REASON", "3 failures in 7s"),
            ("GUARD_UNTIL", "2026-09-21T15:13:20Z"),
        ])
        .output()
        .expect("sh starts");
    assert!(output.status.success() && output.stderr.is_empty(), "{example}: {output:?}");
    fs::read_to_string(said).expect("curl was called")
}

#[test]
fn mail_has_a_head_and_a_text() {
    let said = curls("mail.sh", &["root@localhost"]);
    assert!(said.contains("\n--mail-rcpt\nroot@localhost\n"), "{said}");
    assert!(said.contains("Subject: [guard] pve: ban 192.0.2.7\r\n\r\n"), "{said}");
    assert!(said.contains("Reason:  3 failures in 7s\r\n"), "{said}");
}

#[test]
fn ntfy_gets_one_line() {
    let said = curls("ntfy.sh", &["https://ntfy.example/t"]);
    assert!(said.ends_with("https://ntfy.example/t\n"), "{said}");
    assert!(said.contains("\nban 192.0.2.7 in sshd: 3 failures in 7s\n"), "{said}");
}

#[test]
fn matrix_gets_json_and_its_token_is_no_argument() {
    let said = curls("matrix.sh", &["https://m.example", "!r:m.example"]);
    let (arguments, input) = said.split_once("header = ").expect("what curl reads");
    assert_eq!(input, "\"Authorization: Bearer secret\"\n");
    assert!(!arguments.contains("secret"), "{arguments}");
    assert!(arguments.contains("/rooms/%21r%3Am.example/send/m.room.message/"), "{arguments}");
    let json = arguments.lines().find(|line| line.starts_with('{')).expect("JSON");
    let json: serde_json::Value = serde_json::from_str(json).expect("JSON");
    assert_eq!(json["body"], "pve: ban 192.0.2.7 in sshd: 3 failures in 7s");
}
