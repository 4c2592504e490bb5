//! A log file written fast and rotated meanwhile: is every line counted, and how far
//! behind is the agent when the writer is done?
//!
//! The agent runs on a configuration of its own with the backend `null`. The count is
//! its own `Total failed`; lines that do not match are sshd's of other kinds.

use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use guard_tests::agent::Agent;
use guard_tests::command;
use guard_tests::deadline::wait_until;
use guard_tests::namespace::Namespace;

use super::figures::Goal;

/// Bytes that are written in one go.
const CHUNK: usize = 1 << 20;
/// One line in so many matches.
const MATCHING: usize = 100;
/// The goal for the lag, in seconds.
const LAG: f64 = 1.0;
const PATIENCE: Duration = Duration::from_secs(300);

/// Any text with the address at its end, so that dates cost what they cost.
const FILTER: &str = "[Definition]\nfailregex = sshd\\[\\d+\\]: Failed password for \\S+ from <HOST> port \\d+ ssh2$\n";

pub(super) fn measure(
    program: &Path,
    seconds: u64,
    megabytes: u64,
    rotations: u64,
) -> Result<Vec<Goal>> {
    let namespace = Namespace::new("files")?;
    let directory = tempfile::tempdir()?;
    let log = directory.path().join("auth.log");
    File::create(&log)?;
    let mut agent = Agent::new(&namespace, program.to_owned())?.setting("backend", "\"null\"");
    agent.write("filter.d/speed.conf", FILTER)?;
    agent.write(
        "jail.d/speed.conf",
        &format!(
            "[speed]\nenabled = true\nbackend = auto\nfilter = speed\nlogpath = {}\nport = 22\n\
             maxretry = 1000\nfindtime = 1d\n",
            log.display()
        ),
    )?;
    agent.start()?;

    let total = usize::try_from(seconds * megabytes)? * 1_000_000;
    let rotation = total / usize::try_from(rotations + 1)?;
    let mut lines = Lines::new()?;
    let (mut written, mut matching, mut late) = (0, 0, Duration::ZERO);
    let mut file = File::options().append(true).open(&log)?;
    let mut until_rotation = rotation;
    let start = Instant::now();
    while written < total {
        let (chunk, found) = lines.chunk();
        file.write_all(&chunk)?;
        written += chunk.len();
        matching += found;
        until_rotation = until_rotation.saturating_sub(chunk.len());
        if until_rotation == 0 && written < total {
            rotate(&log)?;
            // The writer goes on with the old file for one chunk, as a daemon does.
            let (chunk, found) = lines.chunk();
            file.write_all(&chunk)?;
            written += chunk.len();
            matching += found;
            file = File::options().append(true).open(&log)?;
            until_rotation = rotation;
        }
        let due = Duration::from_secs_f64(as_float(written)? / as_float(total)? * seconds as f64);
        match due.checked_sub(start.elapsed()) {
            Some(early) => std::thread::sleep(early),
            None => late = late.max(start.elapsed().saturating_sub(due)),
        }
    }
    let (took, done) = (start.elapsed(), Instant::now());
    let mut counted = 0;
    wait_until("every line is counted", PATIENCE, || {
        counted = total_failed(&agent)?;
        Ok(counted >= matching)
    })
    .with_context(|| format!("{counted} of {matching} counted"))?;
    let lag = done.elapsed();
    let rate = as_float(written)? / took.as_secs_f64() / 1e6;
    println!(
        "{written} bytes in {:.2} s ({rate:.0} MB/s, at most {:.2} s late), {rotations} rotations",
        took.as_secs_f64(),
        late.as_secs_f64()
    );
    // Nothing may come twice either: what is still in the pipe has come by now.
    std::thread::sleep(Duration::from_secs(1));
    let counted = total_failed(&agent)?;
    println!("{matching} matching lines, {counted} counted");
    ensure!(counted == matching, "{counted} counted of {matching}");
    agent.stop()?;
    Ok(vec![Goal::at_most("lag at the end", "s", lag.as_secs_f64(), LAG, None)])
}

fn rotate(log: &Path) -> Result<()> {
    let numbered = |number: u32| format!("{}.{number}", log.display());
    for number in (1..8).rev().filter(|number| Path::new(&numbered(*number)).exists()) {
        fs::rename(numbered(number), numbered(number + 1))?;
    }
    fs::rename(log, numbered(1))?;
    File::create(log)?;
    Ok(())
}

fn total_failed(agent: &Agent<'_>) -> Result<usize> {
    let status = agent.guardctl(&["status", "speed"])?;
    let line = status.lines().find_map(|line| line.split_once("Total failed:\t"));
    Ok(line.context("no total in the status")?.1.trim().parse()?)
}

/// Lines of an authentication log, the same in each run but for the date.
struct Lines {
    date: String,
    number: usize,
}

impl Lines {
    fn new() -> Result<Self> {
        let mut date = Command::new("date");
        date.arg("+%b %e %H:%M:%S");
        Ok(Self { date: command::finish(date)?.trim_end().to_owned(), number: 0 })
    }

    /// About a chunk of whole lines, and how many of them match.
    fn chunk(&mut self) -> (Vec<u8>, usize) {
        let mut chunk = Vec::with_capacity(CHUNK + 200);
        let mut matching = 0;
        while chunk.len() < CHUNK {
            let number = self.number;
            let host = u32::try_from(number / MATCHING % 50_000).unwrap_or(0);
            let source = Ipv4Addr::from((11 << 24) + host);
            let (date, pid) = (&self.date, 1_000 + number % 30_000);
            // Writing to memory does not fail.
            let _ = if number.is_multiple_of(MATCHING) {
                matching += 1;
                writeln!(
                    chunk,
                    "{date} host sshd[{pid}]: Failed password for root from {source} port {pid} ssh2"
                )
            } else {
                writeln!(
                    chunk,
                    "{date} host CRON[{pid}]: pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)"
                )
            };
            self.number += 1;
        }
        (chunk, matching)
    }
}

fn as_float(count: usize) -> Result<f64> {
    // Terabytes are exact.
    Ok(f64::from(u32::try_from(count / 1_000).context("more than four terabytes")?) * 1e3)
}
