//! The agent under load: entries as fast as journald takes them, bans and answers meanwhile,
//! a backlog, and a million sources of which some come back.
//!
//! The entries are those of a daemon that a jail watches, so that each must be looked at; they
//! come through a pipe into a unit whose output journald takes. One in a hundred is a failure,
//! each of another source, and is counted in the end.

use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use guard_tests::deadline::wait_until;
use guard_tests::installed::UNIT;

use super::figures::{Goal, Samples, millis};
use super::idle;
use super::rig::Rig;

/// The goals: milliseconds, and anonymous memory in MB.
const BAN: f64 = 250.0;
const ANSWER: f64 = 100.0;
const MEMORY: f64 = 64.0;
/// Share of the entries that journald takes when nobody reads.
const SUSTAINED: f64 = 0.9;
/// One entry in so many is a failure.
const FAILURES: usize = 100;
/// Entries in one write.
const CHUNK: usize = 500;
/// How long to wait for what was written to be read.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two questions of `guardctl`.
const QUESTIONS: Duration = Duration::from_millis(250);
/// Sources of the crowd, and those of them that fail until they are banned.
const CROWD: usize = 1_000_000;
const ATTACKERS: usize = 2_000;
const MAX_RETRY: usize = 5;

const JAIL: &str = "\
[load]
enabled = true
filter = load
backend = systemd
journalmatch = _SYSTEMD_UNIT=load.service
port = 8006
maxretry = 5
findtime = 1d
";

const FILTER: &str = "\
[Definition]
failregex = ^\\S+ load\\[\\d+\\]: authentication failure; rhost=<HOST> user=\\S* msg=.*$
";

const LOAD_UNIT: &str = "\
[Service]
SyslogIdentifier=load
ExecStartPre=-/usr/bin/mkfifo -m 0600 /run/load
ExecStart=/bin/sh -c 'exec /usr/local/sbin/load <>/run/load'
";

pub(super) fn measure(rig: &Rig, seconds: u64) -> Result<Vec<Goal>> {
    let time = Duration::from_secs(seconds);
    prepare(rig)?;
    let mut lines = Lines::default();

    println!("{seconds} s of entries without guard.");
    rig.guarded.host.exec(&["systemctl", "stop", UNIT])?;
    let alone = flood(rig, &mut lines, time)?;
    println!("journald alone: {alone:.0} entries/s");
    let backlog = catch_up(rig, &lines)?;

    println!("{seconds} s of entries with guard.");
    let live = live(rig, &mut lines, time)?;
    println!("\nWhile {:.0} entries a second came, for {seconds} s\n", live.rate);
    println!("{}", Samples::header());
    println!("{}", live.bans.line("third failure to first drop"));
    println!("{}", live.answers.line("`guardctl status`"));
    println!("the last entry was dealt with {} after it was written", millis(live.lag));
    let memory = crowd(rig)?;

    let high = |samples: &Samples| {
        samples.percentile(99).map(|it| it.as_secs_f64() * 1e3).context("nothing was measured")
    };
    Ok(vec![
        Goal::at_least(
            "entries of those that journald takes alone",
            "",
            live.rate / alone,
            SUSTAINED,
        ),
        Goal::at_most("a ban meanwhile, p99", "ms", high(&live.bans)?, BAN, None),
        Goal::at_most("`guardctl status` meanwhile, p99", "ms", high(&live.answers)?, ANSWER, None),
        Goal::at_least("a backlog, beside journald alone", "", backlog / alone, 1.0),
        Goal::at_most("a million sources: anonymous memory", "MB", memory, MEMORY, None),
    ])
}

/// A unit that logs what comes through a pipe, and a jail for it.
fn prepare(rig: &Rig) -> Result<()> {
    let host = &rig.guarded.host;
    let root = host.root();
    host.exec(&["cp", "/bin/cat", "/usr/local/sbin/load"])?;
    fs::write(root.join("etc/systemd/system/load.service"), LOAD_UNIT)?;
    fs::write(root.join("etc/guard/filter.d/load.conf"), FILTER)?;
    fs::write(root.join("etc/guard/jail.d/90_load.conf"), JAIL)?;
    host.exec(&["systemctl", "daemon-reload"])?;
    host.exec(&["systemctl", "start", "load"])?;
    rig.guarded.guardctl(&["reload"])?;
    Ok(())
}

/// Entries that have been written so far.
#[derive(Debug, Default)]
struct Lines {
    entries: usize,
    failures: usize,
}

impl Lines {
    /// The text of the next entries.
    fn next(&mut self, count: usize) -> String {
        let mut text = String::with_capacity(count * 64);
        for _ in 0..count {
            self.entries += 1;
            if self.entries.is_multiple_of(FAILURES) {
                text.push_str(&failure(Ipv4Addr::new(100, 64, 0, 0), self.failures));
                self.failures += 1;
            } else {
                text.push_str("successful auth for user 'monitor@pve'\n");
            }
        }
        text
    }
}

/// A failed login of one address after another.
fn failure(first: Ipv4Addr, number: usize) -> String {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    let address = Ipv4Addr::from_bits(first.to_bits().wrapping_add(number));
    format!("authentication failure; rhost={address} user=root@pam msg=no such user\n")
}

/// Writes until the time is over; entries a second.
fn flood(rig: &Rig, lines: &mut Lines, time: Duration) -> Result<f64> {
    let (start, before) = (Instant::now(), lines.entries);
    let mut pipe = fs::File::options().write(true).open(rig.guarded.host.inside("/run/load")?)?;
    while start.elapsed() < time {
        pipe.write_all(lines.next(CHUNK).as_bytes())?;
    }
    #[expect(clippy::cast_precision_loss, reason = "less than 2^53 entries")]
    let entries = (lines.entries - before) as f64;
    Ok(entries / start.elapsed().as_secs_f64())
}

/// Starts guard with all of the entries unread; entries a second until it has read them.
fn catch_up(rig: &Rig, lines: &Lines) -> Result<f64> {
    println!("guard starts with {} entries to read.", lines.entries);
    let start = Instant::now();
    rig.guarded.host.exec(&["systemctl", "start", UNIT])?;
    wait_until_found(rig, lines)?;
    #[expect(clippy::cast_precision_loss, reason = "less than 2^53 entries")]
    let rate = lines.entries as f64 / start.elapsed().as_secs_f64();
    println!("a backlog: {rate:.0} entries/s, the start included");
    Ok(rate)
}

struct Live {
    rate: f64,
    bans: Samples,
    answers: Samples,
    lag: Duration,
}

/// Bans and asks while entries come.
fn live(rig: &Rig, lines: &mut Lines, time: Duration) -> Result<Live> {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let banning = scope.spawn(|| -> Result<Samples> {
            let mut bans = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                let attacker = Rig::attacker(bans.len())?;
                bans.push(rig.ban_and_probe(attacker, [Duration::ZERO; 2])?.latency());
            }
            Ok(Samples::new(bans))
        });
        let asking = scope.spawn(|| -> Result<Samples> {
            let mut answers = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                let asked = Instant::now();
                rig.guarded.guardctl(&["status"])?;
                answers.push(asked.elapsed());
                thread::sleep(QUESTIONS);
            }
            Ok(Samples::new(answers))
        });
        let rate = flood(rig, lines, time);
        let written = Instant::now();
        let found = rate.and_then(|rate| wait_until_found(rig, lines).map(|()| rate));
        let lag = written.elapsed();
        ended.store(true, Ordering::Relaxed);
        let bans = banning.join().map_err(|_| anyhow!("banning panicked"))??;
        let answers = asking.join().map_err(|_| anyhow!("asking panicked"))??;
        Ok(Live { rate: found?, bans, answers, lag })
    })
}

/// Waits until every failure among the entries is counted; not one too many.
fn wait_until_found(rig: &Rig, lines: &Lines) -> Result<()> {
    let mut found = 0;
    wait_until("every failure is counted", PATIENCE, || {
        found = failures(rig)?;
        Ok(found >= lines.failures)
    })
    .with_context(|| format!("{found} of {} failures were found", lines.failures))?;
    ensure!(found == lines.failures, "{found} failures of {} were counted", lines.failures);
    Ok(())
}

/// What the agent counts of the jail `load`.
fn failures(rig: &Rig) -> Result<usize> {
    // It is not there to answer until it has started.
    let status = rig.guarded.guardctl(&["status", "load"]).unwrap_or_default();
    let total = status.lines().find_map(|line| line.split_once("Total failed:"));
    Ok(total.map(|(_, total)| total.trim().parse()).transpose()?.unwrap_or_default())
}

/// A million sources fail, the attackers among them until they are banned, their failures
/// as far apart as can be. Gives the most that the agent took, in MB.
fn crowd(rig: &Rig) -> Result<f64> {
    println!("\n{CROWD} sources fail, {ATTACKERS} of them {MAX_RETRY} times, far apart.");
    // Nothing else is remembered.
    rig.guarded.host.exec(&["systemctl", "restart", UNIT])?;
    rig.guarded.guardctl(&["unban", "--all"])?;
    let before = failures(rig)?;
    let (crowd, attackers) = (Ipv4Addr::new(101, 0, 0, 0), Ipv4Addr::new(102, 0, 0, 0));
    let returns = ATTACKERS * MAX_RETRY;
    let every = (CROWD - ATTACKERS) / returns;
    let mut pipe = fs::File::options().write(true).open(rig.guarded.host.inside("/run/load")?)?;
    let mut written = 0;
    let mut most: f64 = 0.0;
    let pid = rig.guarded.main_pid()?;
    for returning in 0..returns {
        let mut text = String::new();
        for number in 0..every {
            text.push_str(&failure(crowd, returning * every + number));
        }
        text.push_str(&failure(attackers, returning % ATTACKERS));
        pipe.write_all(text.as_bytes())?;
        written += every + 1;
        if returning % 500 == 0 {
            most = most.max(idle::memory(rig, pid)?);
        }
    }
    let mut found = 0;
    wait_until("the crowd is counted", PATIENCE, || {
        most = most.max(idle::memory(rig, pid)?);
        found = failures(rig)?.saturating_sub(before);
        Ok(found >= written)
    })
    .with_context(|| format!("{found} of {written} failures were counted"))?;
    let bans = rig.guarded.guardctl(&["status", "load"])?;
    let banned = bans.split_whitespace().filter(|word| word.starts_with("102.")).count();
    let others = bans.split_whitespace().filter(|word| word.starts_with("101.")).count();
    println!("{banned} of {ATTACKERS} attackers are banned, {others} of the crowd");
    ensure!((banned, others) == (ATTACKERS, 0), "not exactly those who should be");
    println!(
        "anonymous memory at most: {most:.1} MB; {:.1} MB in the end",
        idle::memory(rig, pid)?
    );
    Ok(most)
}
