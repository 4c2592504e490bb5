//! What the agent costs while nothing happens.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use guard_tests::installed::UNIT;

use super::figures::Goal;
use super::rig::Rig;

/// The goals: anonymous memory in MB, and percent of a core.
const MEMORY: f64 = 12.0;
const CORE: f64 = 0.5;
/// What starting leaves to be done is done by then.
const SETTLED: Duration = Duration::from_secs(10);

struct Cost {
    memory: f64,
    core: f64,
}

pub(super) fn measure(rig: &mut Rig, time: Duration, with_peer: bool) -> Result<Vec<Goal>> {
    println!("Looking at guard for {} s.", time.as_secs());
    let ours = cost(rig, UNIT, rig.guarded.main_pid()?, time)?;
    let peer = if with_peer {
        rig.change_to_peer()?;
        println!("Looking at Fail2Ban for {} s.", time.as_secs());
        Some(cost(rig, "fail2ban.service", rig.peer_pid()?, time)?)
    } else {
        None
    };
    let (memory, core) = (peer.as_ref().map(|it| it.memory), peer.as_ref().map(|it| it.core));
    Ok(vec![
        Goal::at_most("anonymous memory", "MB", ours.memory, MEMORY, memory),
        Goal::at_most("processor", "% of a core", ours.core, CORE, core),
    ])
}

fn cost(rig: &Rig, unit: &str, pid: u32, time: Duration) -> Result<Cost> {
    std::thread::sleep(SETTLED);
    let (start, before) = (Instant::now(), processor_time(rig, unit, pid)?);
    std::thread::sleep(time);
    let (elapsed, after) = (start.elapsed(), processor_time(rig, unit, pid)?);
    let used = after.saturating_sub(before);
    Ok(Cost { memory: memory(rig, pid)?, core: used.as_secs_f64() / elapsed.as_secs_f64() * 100.0 })
}

/// What the unit's cgroup has used; where it does not count, what its threads have.
fn processor_time(rig: &Rig, unit: &str, pid: u32) -> Result<Duration> {
    if let Ok(nanos) = rig.guarded.host.unit(unit, "CPUUsageNSec")?.parse::<u64>()
        && nanos != u64::MAX
    {
        return Ok(Duration::from_nanos(nanos));
    }
    let threads =
        rig.guarded.host.exec(&["sh", "-c", &format!("cat /proc/{pid}/task/*/schedstat")])?;
    let nanos = threads.lines().filter_map(|line| line.split(' ').next()?.parse::<u64>().ok());
    Ok(Duration::from_nanos(nanos.sum()))
}

/// Anonymous memory in MB.
pub(super) fn memory(rig: &Rig, pid: u32) -> Result<f64> {
    let status = rig.guarded.host.exec(&["cat", &format!("/proc/{pid}/status")])?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib: f64 = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .context("no RssAnon in the process's status")?
        .trim()
        .parse()?;
    Ok(kib * 1024.0 / 1e6)
}
