//! Running programs, with errors that say what was run and what it answered.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// A program and its arguments.
pub fn command<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Runs a program to its end and gives what it printed.
///
/// # Errors
/// When it cannot be started or ends with another status than 0; with its standard
/// error.
pub fn run<S: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = S>,
) -> Result<String> {
    finish(command(program, arguments))
}

/// As [`run`], for a command that is already made.
///
/// # Errors
/// As [`run`].
pub fn finish(mut command: Command) -> Result<String> {
    let output = output(&mut command)?;
    checked(&command, &output)
}

/// As [`finish`], with `input` as the program's standard input.
///
/// # Errors
/// As [`run`].
pub fn finish_with_input(mut command: Command, input: &[u8]) -> Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start {}", words(&command)))?;
    let mut pipe = child.stdin.take().context("standard input of a child")?;
    // Written aside: a program that answers before it has read all would block both.
    let output = std::thread::scope(|scope| {
        // A program that ends early breaks the pipe; its status tells why.
        scope.spawn(move || pipe.write_all(input).ok());
        child.wait_with_output()
    })
    .with_context(|| format!("run {}", words(&command)))?;
    checked(&command, &output)
}

/// Runs a program to its end; any status is fine.
///
/// # Errors
/// When it cannot be started.
pub fn output(command: &mut Command) -> Result<Output> {
    command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {} (is it installed?)", words(command)))
}

/// A command as one would type it.
pub fn words(command: &Command) -> String {
    let mut words = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        words.push(' ');
        words.push_str(&argument.to_string_lossy());
    }
    words
}

fn checked(command: &Command, output: &Output) -> Result<String> {
    if !output.status.success() {
        bail!(
            "{} ended with {}\n{}{}",
            words(command),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
