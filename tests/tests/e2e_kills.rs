//! The agent is killed again and again, at random moments, while failures keep coming
//! through the real journal: nobody is missed, nobody is counted twice.
//!
//! Each source fails once, twice or three times, its failures lying apart; the third bans.
//! So one failure that is missed leaves somebody free who should be banned, and one that is
//! counted twice bans somebody who should be free.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use guard::store::Store;
use guard_tests::deadline::{wait_for, wait_until};
use guard_tests::installed::{Installed, UNIT};
use guard_tests::root::Suite;
use rustix::process::{Pid, Signal, kill_process};

const KILLS: usize = 200;
/// Sources that begin to fail between two kills.
const SOURCES: usize = 60;
/// Between two kills as well: the failures of one source lie so many kills apart.
const APART: usize = 3;
/// How long the first agent lives at most, in microseconds. Of the following about every second
/// shall get as far as to have its jails started, however fast the machine is.
const LIFE: u64 = 150_000;
const STARTED: &str = "Jail 'proxmox' started";
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn killed_on_xdp() -> Result<()> {
    killed(Suite::Bookworm, "xdp")
}

#[test]
fn killed_on_nft() -> Result<()> {
    killed(Suite::Trixie, "nft")
}

fn killed(suite: Suite, backend: &str) -> Result<()> {
    let mut guarded = Installed::new(suite, backend)?;
    // As soon as systemd can, so that there is an agent to kill.
    let dropin = guarded.host.root().join("etc/systemd/system/guard.service.d");
    fs::create_dir_all(&dropin)?;
    fs::write(dropin.join("soon.conf"), "[Service]\nRestartSec=5ms\n")?;
    guarded.host.boot()?;
    guarded.wait_until_active()?;

    let mut numbers = Numbers::new();
    let (mut last, mut life) = (None, LIFE);
    // Those that were killed before their jails were started, and after.
    let mut lived = [0, 0];
    for kill in 0..KILLS + 2 * APART {
        let pid = wait_for("another agent", PATIENCE, || agent_but(&guarded, last))?;
        let moment = Duration::from_micros(numbers.below(life));
        let written = Duration::from_micros(numbers.below(life)).min(moment);
        // The moments are the point here: nothing is waited for.
        thread::sleep(written);
        log_failures(&guarded, kill)?;
        thread::sleep(moment - written);
        if kill < KILLS {
            kill_process(pid, Signal::KILL).with_context(|| {
                let said = guarded.host.journal(UNIT).unwrap_or_default();
                let last = said.lines().rev().take(15).collect::<Vec<_>>();
                format!(
                    "kill {kill}: the agent had ended by itself; it said, last first:\n{}",
                    last.join("\n")
                )
            })?;
            last = Some(pid);
            let started = guarded.log()?.matches(STARTED).count() > lived[1];
            lived[usize::from(started)] += 1;
            life = if started { life * 9 / 10 } else { life * 10 / 9 };
        }
    }
    ensure!(lived.iter().all(|number| *number >= KILLS / 5), "killed before and after: {lived:?}");
    guarded.wait_until_active()?;

    let sources = KILLS * SOURCES;
    let failures: usize = (0..sources).map(times).sum();
    let total = format!("Total failed:\t{failures}\n");
    let mut status = String::new();
    wait_until("every failure is counted", PATIENCE, || {
        status = guarded.guardctl(&["status", "proxmox"])?;
        Ok(status.contains(&total))
    })
    .with_context(|| format!("{failures} failures were written:\n{status}"))?;
    let expected: BTreeSet<String> =
        (0..sources).filter(|n| times(*n) == 3).map(|n| source(n).to_string()).collect();
    let wanted: BTreeSet<String> = guarded
        .bans()?
        .iter()
        .filter_map(|ban| Some(ban.strip_prefix("proxmox ")?.to_owned()))
        .collect();
    ensure!(wanted == expected, "bans: {}", differences(&wanted, &expected));
    // What the kernel itself is found to hold.
    let list = status.lines().find_map(|line| line.split_once("Banned IP list:\t"));
    let held = list.map(|(_, list)| list.split_whitespace().map(str::to_owned).collect());
    let held: BTreeSet<String> = held.unwrap_or_default();
    ensure!(held == expected, "in the kernel: {}", differences(&held, &expected));
    guarded.host.exec(&["systemctl", "stop", UNIT])?;
    let path = guarded.host.root().join("var/lib/guard/guard.sqlite3");
    let stored = Store::open_existing(&path)?.bans()?;
    let stored: BTreeSet<String> = stored.iter().map(|ban| ban.source.to_string()).collect();
    ensure!(stored == expected, "stored: {}", differences(&stored, &expected));
    println!(
        "{KILLS} kills, {lived:?} before and after the jails started, {failures} failures, {} bans",
        expected.len()
    );
    Ok(())
}

/// The agent, if it is not this one.
fn agent_but(guarded: &Installed, last: Option<Pid>) -> Result<Option<Pid>> {
    let agent = guarded.host.service_process(&["/usr/bin/guardctl", "run"])?;
    Ok(agent.filter(|agent| Some(*agent) != last))
}

/// The failures that come at the time of one kill: some sources' first, others' second, and
/// so on.
fn log_failures(guarded: &Installed, kill: usize) -> Result<()> {
    let mut lines = String::new();
    for (number, before) in [0, APART, 2 * APART].into_iter().enumerate() {
        let Some(begun) = kill.checked_sub(before).filter(|begun| *begun < KILLS) else { continue };
        for n in begun * SOURCES..(begun + 1) * SOURCES {
            if number < times(n) {
                lines.push_str(&format!(
                    "authentication failure; rhost={} user=root@pam msg=no such user\n",
                    source(n)
                ));
            }
        }
    }
    guarded.host.pvedaemon_says(lines.trim_end())
}

/// How often a source fails.
fn times(n: usize) -> usize {
    1 + n % 3
}

fn source(n: usize) -> Ipv4Addr {
    let n = u32::try_from(n).unwrap_or_default();
    Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 1).to_bits() + n)
}

fn differences(found: &BTreeSet<String>, expected: &BTreeSet<String>) -> String {
    let missed: Vec<_> = expected.difference(found).collect();
    let doubled: Vec<_> = found.difference(expected).collect();
    format!("missed {missed:?}, too many {doubled:?}")
}

/// Random moments.
struct Numbers(RandomState, u64);

impl Numbers {
    fn new() -> Self {
        Self(RandomState::new(), 0)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.1 += 1;
        let mut hasher = self.0.build_hasher();
        hasher.write_u64(self.1);
        hasher.finish() % end
    }
}
