//! Debian's client, run in place: each command in a process of its own, forked from one
//! that has loaded Python's modules already.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result};
use guard_tests::fail2ban::Package;

/// What a client printed, and its exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Printed {
    pub(crate) out: String,
    pub(crate) error: String,
    pub(crate) code: Option<i64>,
}

impl Printed {
    /// Of what a client logs, the time and the process are left out.
    pub(crate) fn new(out: &str, error: &str, code: Option<i64>) -> Self {
        // 2025-08-27 16:44:17,521 fail2ban                [2825]: ERROR   NOK: (…)
        let logged = |line: &str| match line.split_once("]: ") {
            Some((before, after)) if before.contains("fail2ban") => after.to_owned(),
            _ => line.to_owned(),
        };
        let error = error.lines().map(logged).collect::<Vec<_>>().join("\n");
        Self { out: out.to_owned(), error, code }
    }
}

/// A client that is told what to run.
pub(crate) struct Client {
    driver: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    /// Before the words of every command.
    options: Vec<String>,
}

impl Client {
    pub(crate) fn new(package: &Package, program: &str, options: &[&Path]) -> Result<Self> {
        let driver = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/fail2ban_client/drive.py");
        let own = package.program(program);
        let path = own.get_args().next().context("the program's path")?;
        let mut command = Command::new("/usr/bin/python3");
        command.arg(driver).arg(path);
        command.env("PYTHONPATH", package.python()).env("PYTHONDONTWRITEBYTECODE", "1");
        let mut driver = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let to = driver.stdin.take().context("its input")?;
        let from = BufReader::new(driver.stdout.take().context("its output")?);
        let options = options.iter().map(|word| word.display().to_string()).collect();
        Ok(Self { driver, to, from, options })
    }

    /// Begins to run a command; [`Client::printed`] is to follow.
    pub(crate) fn run(&mut self, words: &[String]) -> Result<()> {
        let words: Vec<&String> = self.options.iter().chain(words).collect();
        writeln!(self.to, "{}", serde_json::to_string(&words)?)?;
        Ok(self.to.flush()?)
    }

    /// What the command printed.
    pub(crate) fn printed(&mut self) -> Result<Printed> {
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        let told: serde_json::Value = serde_json::from_str(&line).context("the driver's answer")?;
        let text = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
        Ok(Printed::new(&text("out"), &text("err"), told["code"].as_i64()))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driver.kill().ok();
        self.driver.wait().ok();
    }
}
