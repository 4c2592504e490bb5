//! What the journal's source passes over because it cannot matter: with each of
//! Fail2Ban's filters, read in place, on each line of its own samples, nothing is lost.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use guard::config::{Settings, jails};
use guard::core::allow::AllowList;
use guard::core::engine::{Engine, Limits, Stored};
use guard::core::entry::Entry;
use guard::core::filter::{Filter, Finding, Memory};
use guard::core::host::HostAddresses;
use guard::core::jail::{Jail, JailId, JournalMatch};
use guard::core::time::{Span, Timestamp};
use guard::daemon::sources::journal_interest;
use guard::source::journal::{Counters, Interest, Options, Place, Start, read_stored};
use guard_tests::fail2ban::Package;
use guard_tests::journal_files::{JournalFiles, Record};

/// Jails of all stock filters that compile, each reading the whole journal.
fn stock(package: &Package) -> Vec<Jail> {
    let place = tempfile::tempdir().expect("a directory");
    let filters = package.configuration().join("filter.d");
    symlink(&filters, place.path().join("filter.d")).expect("a link to the filters");
    let names = fs::read_dir(filters).expect("filters").map(|file| {
        let name = file.expect("a file").file_name().to_string_lossy().into_owned();
        name.strip_suffix(".conf").map(str::to_owned)
    });
    let mut names: Vec<String> =
        names.flatten().filter(|name| !name.ends_with("common") && name != "recidive").collect();
    names.sort();
    let jail = |name: &String| {
        format!(
            "[{name}]\nenabled = true\nbackend = systemd\njournalmatch = PRIORITY=6\nfilter = {name}\n"
        )
    };
    let text: String = names.iter().map(jail).collect();
    fs::write(place.path().join("jail.local"), text).expect("written");
    let loaded = jails(&Settings {
        jail_directory: place.path().to_owned(),
        vendor_directory: place.path().join("vendor"),
        ..Settings::default()
    });
    assert!(loaded.jails.len() > 80, "{}", loaded.diagnostics);
    loaded.jails
}

/// An engine with one jail.
fn engine(jail: Jail) -> Engine {
    let limits = Limits {
        tracked_failures: 1_000,
        bans: 1_000,
        connections: 1_000,
        known_sources: 1_000,
        history: Span::ZERO,
    };
    let (allow, host) = (AllowList::default(), HostAddresses::default());
    Engine::restore(vec![jail], allow, limits, host, Stored::default(), Timestamp::default()).0
}

/// The lines of the samples as entries: those of syslog taken apart, the others as the
/// message of a program named like the filter.
fn records(package: &Package) -> Vec<Record> {
    let logs = package.sample_logs();
    let mut files: Vec<_> = fs::read_dir(logs).expect("samples").flatten().collect();
    files.sort_by_key(fs::DirEntry::file_name);
    let mut records = Vec::new();
    for file in files.iter().filter(|file| file.path().is_file()) {
        let name = file.file_name().to_string_lossy().into_owned();
        let text = fs::read(file.path()).expect("a sample");
        for line in String::from_utf8_lossy(&text).lines().filter(|line| !line.starts_with('#')) {
            records.push(record(&name, line));
        }
    }
    records
}

fn record(name: &str, line: &str) -> Record {
    let of = |program: &str, pid: u32, message: &str| {
        let unit = match program {
            "pvedaemon" => "pvedaemon.service",
            _ if program.starts_with("sshd") => "ssh.service",
            _ => "other.service",
        };
        Record::new(unit, program, pid, message)
    };
    // `Mmm dd hh:mm:ss HOST IDENTIFIER[PID]: MESSAGE`.
    let parts: Vec<&str> = line.splitn(6, ' ').collect();
    let [_, day, clock, host, tag, message] = parts[..] else { return of(name, 7, line) };
    let Some(tag) = tag.strip_suffix(':') else { return of(name, 7, line) };
    if day.parse::<u8>().is_err() || clock.len() != 8 {
        return of(name, 7, line);
    }
    let (program, pid) = tag.split_once('[').unwrap_or((tag, ""));
    let pid = pid.trim_end_matches(']').parse().unwrap_or(7);
    of(program, pid, message).with("_HOSTNAME", host)
}

fn read(directory: &Path, interest: Option<Arc<dyn Interest>>) -> Vec<Entry> {
    let options = Options {
        place: Place::Directory(directory.to_owned()),
        subscriptions: vec![(JailId(0), JournalMatch::default())],
        boot: None,
        start: Start::Since(Timestamp::default()),
        interest,
    };
    let mut entries = Vec::new();
    read_stored(options, Arc::new(Counters::default()), |batch| {
        entries.extend(batch.entries);
        ControlFlow::Continue(())
    })
    .expect("it can be read");
    entries
}

/// What is found, and in which line.
fn found(filter: &Filter, entries: &[Entry]) -> Vec<(String, Finding)> {
    let mut memory = Memory::new(1_000);
    let mut all = Vec::new();
    for entry in entries {
        let finding = filter.find(entry, &mut memory);
        if finding.failure.is_some() || finding.planted.is_some() {
            all.push((entry.line.clone(), Finding { correlate: Default::default(), ..finding }));
        }
    }
    all
}

#[test]
fn no_stock_filter_misses_anything_that_is_passed_over() {
    let package = Package::fetch().expect("Debian's fail2ban");
    let place = tempfile::tempdir().expect("a directory");
    let mut journal = JournalFiles::new(place.path()).expect("a journal");
    let records = records(&package);
    journal.append(&records).expect("written");
    journal.finish().expect("written");
    let all = read(place.path(), None);
    assert!(all.len() > 1_000, "{} entries", all.len());
    let (mut findings, mut passed_over) = (0, 0);
    for jail in stock(&package) {
        let (name, filter) = (jail.name.clone(), jail.filter.clone());
        let handed_on = read(place.path(), Some(journal_interest(&engine(jail))));
        let expected = found(&filter, &all);
        assert_eq!(found(&filter, &handed_on), expected, "{name}");
        findings += expected.len();
        passed_over += all.len() - handed_on.len();
    }
    // It would be no proof if little were found, or little passed over.
    assert!(findings > 200, "{findings} findings");
    assert!(passed_over > 40 * all.len(), "{passed_over} entries passed over");
}
