//! A start with many stored bans, what they take of the agent's memory, and going over all
//! of them while nothing happens.

use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use guard_tests::command;
use guard_tests::installed::UNIT;

use super::bans::addresses;
use super::figures::{Goal, millis};
use super::idle;
use super::rig::Rig;

/// The goals: seconds from exec to ready, bytes a ban in the agent, seconds of a pass over
/// all bans, and percent of a core over its period.
const READY: f64 = 2.0;
const BYTES: f64 = 150.0;
const PASS: f64 = 60.0;
const CORE: f64 = 1.0;
/// Addresses in one request.
const CHUNK: usize = 100_000;
/// What starting leaves to be done is done by then.
const SETTLED: Duration = Duration::from_secs(3);
/// How often the agent thinks of going over all bans.
const PERIOD: Duration = Duration::from_secs(60);

pub(super) fn measure(rig: &mut Rig, count: usize) -> Result<Vec<Goal>> {
    sleep(SETTLED);
    let empty = idle::memory(rig, rig.guarded.main_pid()?)?;
    println!("Banning {count} addresses.");
    for chunk in addresses(count).chunks(CHUNK) {
        ban(rig, chunk)?;
    }
    rig.guarded.host.exec(&["systemctl", "restart", UNIT])?;
    let again = ready(rig)?;
    println!("ready with {count} bans in the kernel already: {}", millis(again));

    for words in [["systemctl", "stop"], ["systemctl", "start"]] {
        if words[1] == "start" {
            rig.guarded.guardctl(&["detach"])?;
            rig.guarded.guardctl(&["attach"])?;
        }
        rig.guarded.host.exec(&[words[0], words[1], UNIT])?;
    }
    let (from_exec, started) = (ready(rig)?, Instant::now());
    let loaded = loaded(rig)?;
    println!(
        "ready with none in the kernel: {}; attached, and into the kernel: {loaded:.0} ms",
        millis(from_exec)
    );
    sleep(SETTLED);
    let pid = rig.guarded.main_pid()?;
    let memory = idle::memory(rig, pid)?;
    #[expect(clippy::cast_precision_loss, reason = "less than 2^53 bans")]
    let bytes = (memory - empty) * 1e6 / count as f64;
    println!("agent: {empty:.1} MB without bans, {memory:.1} MB with them");

    // In the middle between two passes, for the length of a period.
    println!("Looking at a pass over all bans for {} s.", PERIOD.as_secs());
    sleep((PERIOD / 2).saturating_sub(started.elapsed()));
    let before = passing(rig, pid)?;
    sleep(PERIOD);
    let pass = passing(rig, pid)?.saturating_sub(before).as_secs_f64();
    ensure!(pass > 0.0, "the agent did not look at its bans");
    Ok(vec![
        Goal::at_most("exec to ready", "s", from_exec.as_secs_f64(), READY, None),
        Goal::at_most("the same, all in the kernel already", "s", again.as_secs_f64(), READY, None),
        Goal::at_most("a ban in the agent", "bytes", bytes, BYTES, None),
        Goal::at_most("a pass over all bans", "s", pass, PASS, None),
        Goal::at_most(
            "such a pass in a minute",
            "% of a core",
            pass / PERIOD.as_secs_f64() * 1e2,
            CORE,
            None,
        ),
    ])
}

fn ban(rig: &Rig, addresses: &[Ipv4Addr]) -> Result<()> {
    let mut ban = rig.guarded.host.command("guardctl")?;
    ban.args(["ban", "proxmox", "-"]);
    let input: String = addresses.iter().map(|address| format!("{address}\n")).collect();
    let answer = command::finish_with_input(ban, input.as_bytes())?;
    ensure!(answer.trim() == addresses.len().to_string(), "guardctl ban answered {answer:?}");
    Ok(())
}

/// From the start of the agent's process until it said that it is ready, by systemd.
fn ready(rig: &Rig) -> Result<Duration> {
    rig.guarded.wait_until_active()?;
    let micros = |property| -> Result<u64> { Ok(rig.guarded.host.unit(UNIT, property)?.parse()?) };
    let (from, to) =
        (micros("ExecMainStartTimestampMonotonic")?, micros("ActiveEnterTimestampMonotonic")?);
    Ok(Duration::from_micros(to.saturating_sub(from)))
}

/// Milliseconds between the log's last line before programs are attached and bans go into the
/// kernel, and its first one after.
fn loaded(rig: &Rig) -> Result<f64> {
    let log = rig.guarded.log()?;
    let last = log.rfind(": INFO    backend ").context("the log does not name the backend")?;
    let start = log[..last].rfind('\n').map_or(0, |end| end + 1);
    let mut lines = log[start..].lines();
    let (before, after) = (lines.next(), lines.next());
    let time = |line: Option<&str>| -> Result<f64> {
        // 2025-08-27 16:44:17,521
        let text = line.and_then(|line| line.get(14..23)).context("a line without its time")?;
        let (minute, second) = text.split_once(':').context("a time without minutes")?;
        let second: f64 = second.replace(',', ".").parse()?;
        Ok(minute.parse::<f64>()? * 6e4 + second * 1e3)
    };
    Ok((time(after)? - time(before)?).rem_euclid(36e5))
}

/// Processor time of the threads that go over all bans.
fn passing(rig: &Rig, pid: u32) -> Result<Duration> {
    let script = format!(
        "for task in /proc/{pid}/task/*; do \
         case $(cat $task/comm) in enforcer|engine) cat $task/schedstat;; esac; done"
    );
    let threads = rig.guarded.host.exec(&["sh", "-c", &script])?;
    let nanos = threads.lines().filter_map(|line| line.split(' ').next()?.parse::<u64>().ok());
    Ok(Duration::from_nanos(nanos.sum()))
}
