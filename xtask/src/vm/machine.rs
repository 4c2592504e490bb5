//! A machine that boots a kernel with an image, and what its tests said.
//!
//! Input: a kernel and an image. Output: [`Outcome`]. The machine has two processors,
//! which qemu imitates; no network, no disk. Its first serial line, where the kernel
//! speaks, goes to a file; its second one, where the tests speak, is shown as it comes.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::directory;
use super::package::Package;
use crate::test::Count;

/// How long a machine may be silent: longer than any single test takes.
const SILENCE: Duration = Duration::from_secs(300);

/// What became of the tests.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) count: Count,
    /// Names of tests that failed, and of test programs that died.
    pub(super) failed: Vec<String>,
    /// The machine said that it was done.
    pub(super) ended: bool,
    pub(super) took: Duration,
    /// The test program that runs now.
    running: String,
    /// Failed tests when it began.
    before: u32,
}

/// Boots and waits until it is switched off.
pub(super) fn run(name: &str, package: &Package, image: &Path) -> Result<Outcome> {
    let start = Instant::now();
    let console = directory().join(format!("{name}.console"));
    let mut machine = Machine(
        Command::new("qemu-system-x86_64")
            .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048"])
            .args(["-display", "none", "-nic", "none", "-no-reboot", "-monitor", "none"])
            .arg("-kernel")
            .arg(&package.image)
            .arg("-initrd")
            .arg(image)
            // A kernel that panics ends the machine instead of standing still.
            .args(["-append", "console=ttyS0 quiet panic=-1 net.ifnames=0"])
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .args(["-serial", "stdio"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("start qemu-system-x86_64")?,
    );
    let output = machine.0.stdout.take().context("output of qemu")?;
    let lines = lines_of(output, &directory().join(format!("{name}.log")))?;
    let mut outcome = Outcome::default();
    loop {
        match lines.recv_timeout(SILENCE) {
            Ok(line) => {
                println!("[{name}] {line}");
                outcome.take(&line);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                println!("[{name}] silent for {} s: switched off", SILENCE.as_secs());
                break;
            }
        }
    }
    if !outcome.ended {
        println!("what the kernel said: {}", console.display());
    }
    outcome.took = start.elapsed();
    Ok(outcome)
}

impl Outcome {
    /// Takes note of a line that the machine printed.
    fn take(&mut self, line: &str) {
        self.count.add(Count::of_line(line));
        if let Some(name) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failed.push(format!("{}::{name}", self.running));
        } else if let Some(problem) = line.strip_prefix("vm: cannot load ") {
            self.failed.push(format!("module {problem}"));
            self.count.failed += 1;
        } else if let Some(name) = line.strip_prefix("vm: begins ") {
            name.clone_into(&mut self.running);
            self.before = self.count.failed;
        } else if line.starts_with("vm: ended ") && !line.ends_with(" with 0") {
            // One that died has not counted its failures.
            if self.count.failed == self.before {
                self.count.failed += 1;
                self.failed.push(format!("{} died", self.running));
            }
        } else if line == "vm: done" {
            self.ended = true;
        }
    }
}

/// Reads lines on a thread of its own, so that silence is noticed; keeps them in a file.
fn lines_of(
    output: impl std::io::Read + Send + 'static,
    log: &Path,
) -> Result<mpsc::Receiver<String>> {
    let mut log = File::create(log).with_context(|| format!("write {}", log.display()))?;
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            std::io::Write::write_all(&mut log, format!("{line}\n").as_bytes()).ok();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    Ok(lines)
}

/// Ends qemu, whatever happens.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(lines: &[&str]) -> Outcome {
        let mut outcome = Outcome::default();
        lines.iter().for_each(|line| outcome.take(line));
        outcome
    }

    #[test]
    fn failed_tests_are_named_with_their_program() {
        let outcome = outcome(&[
            "vm: begins xdp",
            "test bans::one ... ok",
            "test bans::two ... FAILED",
            "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
            "vm: ended xdp with 101",
            "vm: done",
        ]);
        assert_eq!(outcome.failed, ["xdp::bans::two"]);
        assert!(outcome.ended && (outcome.count.passed, outcome.count.failed) == (1, 1));
    }

    #[test]
    fn a_program_that_dies_and_a_machine_that_stops_have_failed() {
        let died = outcome(&["vm: begins kernel", "vm: ended kernel with 134", "vm: done"]);
        assert_eq!((died.failed, died.count.failed), (vec!["kernel died".to_owned()], 1));
        let stopped = outcome(&["vm: begins kernel", "test a ... ok"]);
        assert!(!stopped.ended);
    }
}
