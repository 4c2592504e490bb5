//! `bench match`: lines a second, ours, Fail2Ban's, SSHGuard's and ripgrep's.
//!
//! Input: the same generated lines for all, and Debian's stock filters, read in place.
//! Output: for each program the median of interleaved runs on one core, with the lowest
//! and the highest, and ratios. Invariant: nobody's start counts: ours and Fail2Ban's
//! time is what they say they took, SSHGuard and ripgrep read so many lines that theirs
//! does not matter.
//!
//! Ours is the path of an entry: prefilter, filters and their memory. The journal knows
//! its entries' times; in the rows of a file each filter reads the date of each line
//! that it looks at and cuts it out, as Fail2Ban does.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use guard_tests::fail2ban::Package;

use super::match_lines::{Kind, lines};
use crate::workspace;

/// Runs of each program.
pub(super) const RUNS: usize = 7;

/// Where SSHGuard's parser is.
const SSHGUARD: &str = "/usr/libexec/sshguard/sshg-parser";

/// Something that is measured: its name, the lines that it reads, and one run, which
/// returns seconds.
pub(super) struct Peer<'p> {
    pub(super) name: &'static str,
    lines: usize,
    pub(super) run: Box<dyn Fn() -> Result<f64> + 'p>,
    pub(super) seconds: Vec<f64>,
}

impl<'p> Peer<'p> {
    pub(super) fn new(
        name: &'static str,
        lines: usize,
        run: impl Fn() -> Result<f64> + 'p,
    ) -> Self {
        Self { name, lines, run: Box::new(run), seconds: Vec::new() }
    }

    /// Lines a second: median, lowest, highest.
    pub(super) fn rates(&self) -> [f64; 3] {
        let mut seconds = self.seconds.clone();
        seconds.sort_unstable_by(f64::total_cmp);
        let rate = |place: usize| seconds.get(place).map_or(0.0, |s| as_f64(self.lines) / s);
        [rate(seconds.len() / 2), rate(seconds.len().saturating_sub(1)), rate(0)]
    }
}

/// Measures all three kinds of log.
pub(crate) fn measure(count: usize, peer_count: usize, seed: u64) -> Result<()> {
    let package = Package::fetch()?;
    let example = workspace::build_example("matching")?;
    let directory = tempfile::tempdir()?;
    let filters = package.configuration().join("filter.d");
    for (kind, what) in [
        (Kind::Sshd, "sshd, most lines matching"),
        (Kind::System, "system log, 40 % sshd, 0.1 % failing"),
        (Kind::Mixed, "mixed logs, all stock filters at once"),
    ] {
        let log = directory.path().join("log");
        let short = directory.path().join("short");
        let text = lines(kind, count, seed);
        let start: String = text.split_inclusive('\n').take(peer_count).collect();
        fs::write(&log, &text)?;
        fs::write(&short, &start)?;
        let (all, some) = (text.lines().count(), start.lines().count());
        let names = if kind == Kind::Mixed { stock(&filters)? } else { vec!["sshd".to_owned()] };
        let ours = |filters: Option<&PathBuf>, dated| ours(&example, &log, filters, dated, &names);
        let peer = || names.iter().map(|name| fail2ban(&package, &short, name)).sum();
        let mut peers = vec![
            Peer::new("guard, journal", all, || ours(Some(&filters), false)),
            Peer::new("guard, file", all, || ours(Some(&filters), true)),
        ];
        if kind != Kind::Mixed {
            peers.push(Peer::new("guard's filter, journal", all, || ours(None, false)));
            peers.push(Peer::new("guard's filter, file", all, || ours(None, true)));
        }
        peers.push(Peer::new("fail2ban-regex", some, peer));
        if kind != Kind::Mixed {
            if Path::new(SSHGUARD).exists() {
                peers.push(Peer::new("sshg-parser", all, || {
                    timed(&mut Command::new(SSHGUARD), &log)
                }));
            }
            peers.push(Peer::new("ripgrep", all, || {
                let mut ripgrep = Command::new("rg");
                timed(ripgrep.args(["--count", "Failed password for|Invalid user"]), &log)
            }));
        }
        // Fail2Ban starts anew for each of its filters: once is enough.
        let runs = if kind == Kind::Mixed { 1 } else { RUNS };
        for run in 0..RUNS {
            for peer in &mut peers {
                if run < runs || peer.name.starts_with("guard") {
                    peer.seconds.push((peer.run)()?);
                }
            }
        }
        report(what, names.len(), &peers);
    }
    Ok(())
}

fn report(what: &str, filters: usize, peers: &[Peer<'_>]) {
    println!("\n{what} ({filters} filters)");
    let columns = ["median", "lowest", "highest", "journal is", "file is"];
    println!("{:<24}{}", "lines/s", columns.map(|column| format!("{column:>12}")).concat());
    let ours = |number: usize| peers.get(number).map_or(0.0, |peer| peer.rates()[0]);
    let (journal, file) = (ours(0), ours(1));
    for peer in peers {
        let [median, low, high] = peer.rates();
        let rates = format!("{median:>12.0}{low:>12.0}{high:>12.0}");
        println!("{:<24}{rates}{:>11.1}x{:>11.1}x", peer.name, journal / median, file / median);
    }
}

/// Names of all stock filters.
fn stock(filters: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for file in fs::read_dir(filters).with_context(|| format!("read {}", filters.display()))? {
        let name = file?.file_name().to_string_lossy().into_owned();
        names.extend(
            name.strip_suffix(".conf").filter(|name| !name.ends_with("common")).map(str::to_owned),
        );
    }
    names.sort();
    Ok(names)
}

/// Keeps a program on one core.
pub(super) fn on_one_core(program: &Command) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", "0"]).arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command
}

fn ours(
    example: &Path,
    log: &Path,
    filters: Option<&PathBuf>,
    dated: bool,
    names: &[String],
) -> Result<f64> {
    let mut command = Command::new(example);
    command.arg(log).args(dated.then_some("--dated"));
    if let Some(filters) = filters {
        command.arg("--filters").arg(filters);
    }
    let output = on_one_core(command.args(names)).output().context("run the example")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let nanoseconds: f64 = text.split_whitespace().nth(2).context("three figures")?.parse()?;
    Ok(nanoseconds / 1e9)
}

/// What `fail2ban-regex` says it took.
fn fail2ban(package: &Package, log: &Path, filter: &str) -> Result<f64> {
    let mut command = package.program("fail2ban-regex");
    let file = package.configuration().join("filter.d").join(format!("{filter}.conf"));
    command.arg(log).arg(file);
    let output = on_one_core(&command).output().context("run fail2ban-regex")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (_, said) =
        text.split_once("[processed in ").with_context(|| format!("{filter}: {text}"))?;
    let seconds = said.split_once(" sec").context("[processed in N sec]")?.0;
    Ok(seconds.parse()?)
}

/// How long a program takes for a log at its standard input.
fn timed(command: &mut Command, log: &Path) -> Result<f64> {
    let mut command = on_one_core(command);
    command.stdin(File::open(log)?).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    command.status().with_context(|| format!("run {command:?}"))?;
    Ok(start.elapsed().as_secs_f64())
}

#[expect(clippy::cast_precision_loss, reason = "figures are far below 2^52")]
fn as_f64(count: usize) -> f64 {
    count as f64
}
