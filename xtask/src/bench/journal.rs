//! `bench journal`: entries a second out of a stored journal.
//!
//! Input: journal files with the same entries for all, made from a seed: of sshd's unit
//! with the fields that journald writes, and Debian's stock sshd filter. Output: medians
//! of interleaved runs on one core, with the lowest and the highest, and goals.
//! Invariant: nobody's start counts; everybody has libsystemd look for the same match.
//!
//! The bare loops are what libsystemd takes for the least that a reader must ask of it:
//! the next entry and one field, or five. Ours is what the agent does: the source with
//! the early look at identifier and message, and the engine. Both do one entry after the
//! other in one thread, where the agent has two.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use guard_tests::fail2ban::Package;
use guard_tests::journal_files::{JournalFiles, Record};

use super::figures::Goal;
use super::match_lines::{Kind, lines};
use super::matching::{Peer, RUNS, on_one_core};
use crate::workspace;

/// What libsystemd looks for.
const WANTED: &str = "_SYSTEMD_UNIT=ssh.service";
/// When the first entry was logged, in seconds since 1970.
const BEGINNING: u64 = 1_763_800_000;

/// Measures both kinds of journal.
pub(super) fn measure(entries: usize, peer_entries: usize, seed: u64) -> Result<Vec<Goal>> {
    let package = Package::fetch()?;
    let example = workspace::build_example("journal")?;
    let filters = package.configuration().join("filter.d");
    let mut goals = Vec::new();
    for (kind, what) in
        [(Kind::Sessions, "sshd, 0.5 % failing"), (Kind::Sshd, "sshd, most entries matching")]
    {
        let place = tempfile::tempdir()?;
        let (all, some) = (place.path().join("all"), place.path().join("some"));
        let count = write(&all, kind, entries, seed)?;
        let peer_count = write(&some, kind, peer_entries, seed)?;
        let loop_of = |way: &'static str| {
            let (example, all) = (&example, &all);
            Peer::new(way, count, move || ours(example, all, &[way], count))
        };
        let filters = filters.display().to_string();
        let guard = |arguments: Vec<String>| {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            ours(&example, &all, &arguments, count)
        };
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let mut peers = vec![
            loop_of("message"),
            loop_of("five"),
            Peer::new("guard, Debian's filter", count, || {
                guard(words(&["guard", "--filters", &filters, "sshd"]))
            }),
            Peer::new("guard, its own filter", count, || guard(words(&["guard", "sshd"]))),
            Peer::new("fail2ban-regex", peer_count, || fail2ban(&package, &some)),
        ];
        for _ in 0..RUNS {
            for peer in &mut peers {
                peer.seconds.push((peer.run)()?);
            }
        }
        report(what, count, &peers);
        let share = |of: usize| 100.0 * peers[2].rates()[0] / peers[of].rates()[0];
        goals.push(match kind {
            Kind::Sshd => Goal::at_least("most matching, of five fields", "%", share(1), 80.0),
            _ => Goal::at_least("few matching, of one field", "%", share(0), 70.0),
        });
    }
    Ok(goals)
}

fn report(what: &str, count: usize, peers: &[Peer<'_>]) {
    println!("\n{what} ({count} entries)");
    let columns = ["median", "lowest", "highest", "of message", "of five"];
    println!("{:<24}{}", "entries/s", columns.map(|column| format!("{column:>12}")).concat());
    let base = |number: usize| peers.get(number).map_or(0.0, |peer| peer.rates()[0]);
    let (message, five) = (base(0), base(1));
    for peer in peers {
        let [median, low, high] = peer.rates();
        let rates = format!("{median:>12.0}{low:>12.0}{high:>12.0}");
        let of = |whole: f64| 100.0 * median / whole;
        println!("{:<24}{rates}{:>10.1} %{:>10.1} %", peer.name, of(message), of(five));
    }
}

/// Writes the lines of a log as journald would have recorded them.
fn write(directory: &Path, kind: Kind, count: usize, seed: u64) -> Result<usize> {
    let mut journal = JournalFiles::new(directory)?;
    let text = lines(kind, count, seed);
    let mut records = Vec::new();
    for (number, line) in text.lines().enumerate() {
        records.push(record(number, line).with_context(|| format!("a line of sshd: {line}"))?);
        if records.len() == 1_000 {
            journal.append(&records)?;
            records.clear();
        }
    }
    journal.append(&records)?;
    journal.finish()?;
    Ok(text.lines().count())
}

/// An entry with the fields that journald gives to what a daemon sends to syslog.
fn record(number: usize, line: &str) -> Option<Record> {
    let (_, tagged) = line.split_once(" host ")?;
    let (tag, message) = tagged.split_once(": ")?;
    let pid = tag.strip_prefix("sshd[")?.strip_suffix(']')?.parse().ok()?;
    let passed = Duration::from_millis(u64::try_from(number).ok()?);
    let time = UNIX_EPOCH + Duration::from_secs(BEGINNING) + passed;
    let source = time.duration_since(UNIX_EPOCH).ok()?.as_micros() - 50;
    let fields = [
        ("SYSLOG_FACILITY", "10"),
        ("SYSLOG_TIMESTAMP", "Nov 22 17:40:22 "),
        ("_EXE", "/usr/sbin/sshd"),
        ("_CMDLINE", "sshd: root [priv]"),
        ("_CAP_EFFECTIVE", "1ffffffffff"),
        ("_SELINUX_CONTEXT", "unconfined"),
        ("_SYSTEMD_CGROUP", "/system.slice/ssh.service"),
        ("_SYSTEMD_SLICE", "system.slice"),
        ("_SYSTEMD_INVOCATION_ID", "4cf4f1bb9d3b4fd1a3d0dfb6a3ec1a02"),
        ("_MACHINE_ID", "4cf4f1bb9d3b4fd1a3d0dfb6a3ec1a03"),
        ("_RUNTIME_SCOPE", "system"),
        ("_SOURCE_REALTIME_TIMESTAMP", &source.to_string()),
    ];
    let record = Record::sshd(pid, message).at(time);
    Some(fields.iter().fold(record, |record, (name, value)| record.with(name, value)))
}

/// What one run of the example says it took.
fn ours(example: &Path, journal: &PathBuf, way: &[&str], count: usize) -> Result<f64> {
    let mut command = Command::new(example);
    command.arg(journal).arg(WANTED).args(way);
    let output = on_one_core(&command).output().context("run the example")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let words: Vec<&str> = text.split_whitespace().collect();
    let [entries, _, nanoseconds] = words[..] else { anyhow::bail!("three figures: {text}") };
    ensure!(entries.parse::<usize>()? == count, "{entries} entries read of {count}");
    Ok(nanoseconds.parse::<f64>()? / 1e9)
}

/// What `fail2ban-regex` says it took.
fn fail2ban(package: &Package, journal: &Path) -> Result<f64> {
    let mut command = package.program("fail2ban-regex");
    command
        .args(["--journalmatch", WANTED])
        .arg(format!("systemd-journal[journalpath={}]", journal.display()))
        .arg(package.configuration().join("filter.d/sshd.conf"));
    let output = on_one_core(&command).output().context("run fail2ban-regex")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (_, said) =
        text.split_once("[processed in ").with_context(|| format!("it said: {text}"))?;
    Ok(said.split_once(" sec").context("[processed in N sec]")?.0.parse()?)
}
