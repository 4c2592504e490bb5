//! One program, from start to end.
//!
//! It runs without a shell, with what it is told on its standard input, an environment of
//! `PATH`, `LANG` and what it is told, and in a process group of its own. Invariant: when [`run`] is over,
//! be it that the program ended, that its time was up or that nobody waits any more, no
//! process of the group is left.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::protocol::Answer;

/// So much of what a program writes is kept.
const MOST_OUTPUT: usize = 4 << 10;

/// What a program is told beside its arguments.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Variables of its environment.
    pub environment: Vec<(String, String)>,
    /// Its standard input.
    pub input: String,
}

/// Runs a program and tells its exit code.
pub async fn run(arguments: &[String], told: Told, limit: Duration) -> Answer {
    let Some((program, rest)) = arguments.split_first() else {
        return Answer::Failed("there is no program to run".to_owned());
    };
    if !program.starts_with('/') {
        return Answer::Failed(format!("`{program}` is no absolute path"));
    }
    match attempt(program, rest, told, limit).await {
        Ok(answer) => answer,
        Err(cause) => Answer::Failed(format!("running {program}: {cause}")),
    }
}

async fn attempt(
    program: &str,
    arguments: &[String],
    told: Told,
    limit: Duration,
) -> io::Result<Answer> {
    let (reader, writer) = io::pipe()?;
    let (input, feeder) = match told.input.is_empty() {
        true => (Stdio::null(), None),
        false => {
            let (input, feeder) = io::pipe()?;
            (Stdio::from(input), Some(Sender::from_owned_fd(feeder.into())?))
        }
    };
    let mut group = {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LANG", "C.UTF-8")
            .envs(told.environment)
            .current_dir("/")
            .stdin(input)
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0);
        // The command, and with it this end of the pipe, goes at the end of this block.
        Group(command.spawn()?)
    };
    let leader = pidfd_open(Pid::from_child(&group.0), PidfdFlags::empty())?;
    // Seen, not reaped. It ends with the leader, and that ends with its time.
    let mut ended = spawn_blocking(move || {
        waitid(WaitId::PidFd(leader.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
    });
    let mut output = Receiver::from_owned_fd(reader.into())?;
    let mut start = Vec::new();
    // A program need not read what it is told. The pipe is closed behind the last byte.
    let feed = async {
        if let Some(mut feeder) = feeder {
            let _ = feeder.write_all(told.input.as_bytes()).await;
        }
    };
    tokio::pin!(feed);
    let in_time = timeout(limit, async {
        let (mut open, mut fed) = (true, false);
        let mut chunk = [0; 4_096];
        loop {
            tokio::select! {
                biased;
                seen = &mut ended => return seen,
                () = &mut feed, if !fed => fed = true,
                // What is too much is read and dropped, so that nobody waits for it.
                read = output.read(&mut chunk), if open => match read {
                    Ok(0) | Err(_) => open = false,
                    Ok(length) => keep(&mut start, &chunk[..length]),
                },
            }
        }
    })
    .await;
    match in_time {
        Ok(seen) => drop(seen.map_err(io::Error::other)??),
        Err(_) => return Ok(Answer::Failed(format!("{program}: killed after {limit:?}"))),
    }
    // What it wrote last may still be in the pipe.
    let mut chunk = [0; 4_096];
    while let Ok(length @ 1..) = output.try_read(&mut chunk) {
        keep(&mut start, &chunk[..length]);
        if start.len() >= MOST_OUTPUT {
            break;
        }
    }
    let status = group.end()?;
    Ok(match status.code() {
        Some(code) => Answer::Exited { code, output: String::from_utf8_lossy(&start).into_owned() },
        None => {
            let signal = status.signal().unwrap_or_default();
            Answer::Failed(format!("{program}: killed by signal {signal}"))
        }
    })
}

fn keep(start: &mut Vec<u8>, chunk: &[u8]) {
    let room = MOST_OUTPUT.saturating_sub(start.len());
    start.extend_from_slice(&chunk[..chunk.len().min(room)]);
}

/// A program that leads a group of processes.
struct Group(Child);

impl Group {
    /// Ends the whole group. The leader is not reaped before that, so its number cannot
    /// be another's.
    fn end(&mut self) -> io::Result<std::process::ExitStatus> {
        match kill_process_group(Pid::from_child(&self.0), Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH | rustix::io::Errno::PERM) => self.0.wait(),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Ended already: the status is known and nobody is killed.
        if !matches!(self.0.try_wait(), Ok(Some(_))) {
            // Nobody is left to tell.
            let _ = self.end();
        }
    }
}
