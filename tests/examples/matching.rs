//! Runs filters over a log file and says what that cost:
//! `matching LOG [--filters DIRECTORY] [--repeat N] [--dated] FILTER…`
//!
//! Each line goes the way that a source's entry goes: into an [`Entry`], past the
//! prefilter of all filters together, and into those that can match. The date is cut off
//! before, as the journal does, or, with `--dated`, read by each filter, as from a file.
//! Output, one line:
//! lines, lines in which a filter found a failure, nanoseconds. The file is read, and
//! the filters are compiled, before the clock starts; of `--repeat` runs the best
//! counts.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use guard::config::{Settings, jails};
use guard::core::entry::{Daemon, Dating, Entry};
use guard::core::filter::{Candidates, Filter, Memory, Prefilter};
use guard::core::jail::{Jail, JailId};
use guard::core::time::Timestamp;
use guard::tool::line;

struct Options {
    log: PathBuf,
    filters: Option<PathBuf>,
    repeat: usize,
    one_by_one: bool,
    dated: bool,
    unknown: bool,
    names: Vec<String>,
}

fn options() -> Result<Options> {
    let mut arguments = std::env::args().skip(1);
    let log = arguments.next().context("which log?")?.into();
    let mut options = Options {
        log,
        filters: None,
        repeat: 1,
        one_by_one: false,
        dated: false,
        unknown: false,
        names: Vec::new(),
    };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--filters" => options.filters = Some(arguments.next().context("a directory")?.into()),
            "--repeat" => options.repeat = arguments.next().context("a number")?.parse()?,
            "--one-by-one" => options.one_by_one = true,
            "--dated" => options.dated = true,
            "--unknown-daemon" => options.unknown = true,
            _ => options.names.push(argument),
        }
    }
    Ok(options)
}

/// A jail for each filter.
fn started(options: &Options) -> Result<Vec<Jail>> {
    let directory = tempfile::tempdir()?;
    if let Some(filters) = &options.filters {
        std::os::unix::fs::symlink(filters, directory.path().join("filter.d"))?;
    }
    let section = |name: &String| {
        let jail = name.split('[').next().unwrap_or(name);
        format!(
            "[{jail}]\nenabled = true\nbackend = systemd\njournalmatch = A=1\nfilter = {name}\n"
        )
    };
    let text: String = options.names.iter().map(section).collect();
    std::fs::write(directory.path().join("jail.local"), text)?;
    let mut settings =
        Settings { jail_directory: directory.path().to_owned(), ..Settings::default() };
    if options.filters.is_some() {
        settings.vendor_directory = "/nowhere".into();
    }
    let loaded = jails(&settings);
    ensure!(loaded.jails.len() == options.names.len(), "{}", loaded.diagnostics);
    Ok(loaded.jails)
}

/// The bytes of a syslog date: `Nov 22 17:40:22 `.
const DATE: usize = 16;

/// A line without its date.
fn undated(time: Timestamp, line: &str) -> Entry {
    let line = line.get(DATE..).unwrap_or(line);
    let message_start = line.find(": ").map_or(0, |at| at + 2);
    let is_sshd = line[..message_start].contains(" sshd[");
    Entry {
        time,
        dating: Dating::Known,
        line: line.to_owned(),
        message_start,
        daemon: is_sshd.then_some(Daemon::Sshd),
        jails: vec![JailId(0)],
    }
}

fn entry(number: usize, line: &str, options: &Options) -> Entry {
    // 1,000 lines a second.
    let time = Timestamp::from_micros(i64::try_from(number).unwrap_or(0) * 1_000);
    let mut entry =
        if options.dated { line::entry(line, Dating::InLine, time) } else { undated(time, line) };
    if options.unknown {
        entry.daemon = None;
    }
    entry
}

fn main() -> Result<()> {
    let options = options()?;
    let mut jails = started(&options)?;
    if options.one_by_one {
        for jail in &mut jails {
            jail.filter = jail.filter.one_by_one();
        }
    }
    let log =
        std::fs::read(&options.log).with_context(|| format!("read {}", options.log.display()))?;
    let log = String::from_utf8_lossy(&log);
    let entries: Vec<Entry> =
        log.lines().enumerate().map(|(number, line)| entry(number, line, &options)).collect();
    let filters: Vec<&Filter> = jails.iter().map(|jail| &jail.filter).collect();
    let prefilter = Prefilter::new(&filters);
    // As the engine does.
    let prefiltered = jails.len() >= 3;
    let mut candidates = Candidates::default();
    let mut best = Duration::MAX;
    let mut found = 0;
    for _ in 0..options.repeat {
        let mut memories: Vec<Memory> = jails.iter().map(|_| Memory::new(8_192)).collect();
        found = 0;
        let start = Instant::now();
        for entry in &entries {
            if prefiltered {
                prefilter.candidates(&entry.line, entry.dating, &mut candidates);
            }
            for (number, (jail, memory)) in jails.iter().zip(&mut memories).enumerate() {
                if prefiltered && !candidates.contains(number) {
                    continue;
                }
                let finding = jail.filter.find(black_box(entry), memory);
                found += usize::from(finding.failure.is_some());
            }
        }
        best = best.min(start.elapsed());
    }
    println!("{} {found} {}", entries.len(), best.as_nanos());
    Ok(())
}
