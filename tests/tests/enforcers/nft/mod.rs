//! What is particular to the nft enforcer, checked with the real `nft`.

mod adoption;
mod listing;
mod overlaps;
mod refusals;
mod scale;
mod watch;

use std::io::Write;
use std::process::{Command, Stdio};

/// Runs `nft` in the calling thread's network namespace with `script` as its input.
fn nft_script(script: &str) {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run nft");
    child.stdin.take().expect("its input").write_all(script.as_bytes()).expect("write to nft");
    let output = child.wait_with_output().expect("nft ends");
    assert!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs `nft` with arguments; `None` when it fails.
fn nft(arguments: &str) -> Option<String> {
    let output = Command::new("nft").args(arguments.split(' ')).output().expect("run nft");
    output.status.success().then(|| String::from_utf8(output.stdout).expect("text"))
}

/// `nft list table inet f2b-table`.
fn listing() -> String {
    nft("list table inet f2b-table").expect("a table")
}

/// The same with the kernel's numbers for all objects: they change when one is made
/// anew.
fn handles() -> String {
    nft("-a list table inet f2b-table").expect("a table")
}
