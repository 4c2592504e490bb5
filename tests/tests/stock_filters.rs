//! Every filter of Debian's Fail2Ban, over every line of its sample corpus: the
//! automata find what trying one expression after the other finds, and the prefilter
//! keeps no filter from finding anything.

use std::fs;
use std::os::unix::fs::symlink;

use guard::config::{Settings, jails};
use guard::core::entry::{Daemon, Dating, Entry};
use guard::core::filter::{Candidates, Filter, Finding, Memory, Prefilter};
use guard::core::jail::{Jail, JailId};
use guard::core::time::Timestamp;
use guard_tests::fail2ban::Package;

/// A jail for each stock filter, in each of sshd's modes.
fn every_filter(package: &Package) -> Vec<Jail> {
    let directory = tempfile::tempdir().expect("a directory");
    let stock = package.configuration().join("filter.d");
    symlink(&stock, directory.path().join("filter.d")).expect("a link");
    let mut text = String::new();
    let mut names: Vec<String> = fs::read_dir(&stock)
        .expect("stock filters")
        .filter_map(|file| file.expect("a file").file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".conf").map(str::to_owned))
        .filter(|name| !name.ends_with("common"))
        .collect();
    names.sort();
    for name in &names {
        let mut jail = |jail: &str, options: &str| {
            text.push_str(&format!(
                "[{jail}]\nenabled = true\nbackend = systemd\njournalmatch = A=1\n\
                 filter = {name}{options}\n"
            ));
        };
        jail(name, "");
        for mode in ["ddos", "extra", "aggressive"].iter().filter(|_| name == "sshd") {
            jail(&format!("sshd-{mode}"), &format!("[mode={mode}]"));
        }
        if name == "sshd" {
            jail("sshd-file", "[logtype=file]");
        }
    }
    fs::write(directory.path().join("jail.local"), text).expect("written");
    let loaded = jails(&Settings {
        jail_directory: directory.path().to_owned(),
        vendor_directory: "/nowhere".into(),
        ..Settings::default()
    });
    assert!(loaded.jails.len() + 8 > names.len(), "{}", loaded.diagnostics);
    loaded.jails
}

/// Every line of the corpus, as it is and without its first words, one of which may be
/// its date.
fn every_line(package: &Package) -> Vec<String> {
    let mut lines = Vec::new();
    for file in fs::read_dir(package.sample_logs()).expect("the corpus") {
        let path = file.expect("a file").path();
        let Ok(bytes) = fs::read(&path) else { continue };
        for line in String::from_utf8_lossy(&bytes).lines().filter(|line| !line.starts_with('#')) {
            lines.push(line.to_owned());
            let after = |words| line.splitn(words + 1, ' ').nth(words);
            lines.extend([2, 3].into_iter().filter_map(after).map(str::to_owned));
        }
    }
    lines
}

fn entry(line: &str, dating: Dating, daemon: Option<Daemon>) -> Entry {
    Entry {
        time: Timestamp::from_seconds(1),
        dating,
        line: line.to_owned(),
        message_start: line.find("]: ").map_or(0, |at| at + 3),
        daemon,
        jails: vec![JailId(0)],
    }
}

#[test]
fn the_prefilter_keeps_no_filter_from_what_it_would_find() {
    let package = Package::fetch().expect("Debian's fail2ban");
    let jails = every_filter(&package);
    let filters: Vec<&Filter> = jails.iter().map(|jail| &jail.filter).collect();
    let prefilter = Prefilter::new(&filters);
    let mut candidates = Candidates::default();
    let (mut found, mut spared) = (0, 0);
    for dating in [Dating::Known, Dating::InLine] {
        let mut memories: Vec<Memory> = jails.iter().map(|_| Memory::new(1_000)).collect();
        for line in every_line(&package) {
            let entry = entry(&line, dating, None);
            prefilter.candidates(&line, dating, &mut candidates);
            for (number, (jail, memory)) in jails.iter().zip(&mut memories).enumerate() {
                let matched = jail.filter.find(&entry, memory).expression.is_some();
                let is_candidate = candidates.contains(number);
                assert!(is_candidate || !matched, "{}: {line:?}, {dating:?}", jail.name);
                found += usize::from(matched);
                spared += usize::from(!is_candidate);
            }
        }
    }
    assert!(found > 2_000 && spared > 100 * found, "{found} found, {spared} spared");
}

#[test]
fn the_automata_find_what_each_expression_finds() {
    let package = Package::fetch().expect("Debian's fail2ban");
    let lines = every_line(&package);
    assert!(lines.len() > 3_000, "{} lines", lines.len());
    let mut matches = 0;
    for jail in every_filter(&package) {
        let (fast, slow) = (jail.filter.clone(), jail.filter.one_by_one());
        let (mut fast_memory, mut slow_memory) = (Memory::new(1_000), Memory::new(1_000));
        for (line, daemon) in
            lines.iter().flat_map(|line| [None, Some(Daemon::Sshd)].map(|daemon| (line, daemon)))
        {
            if daemon.is_some() && !line.contains("sshd") {
                continue;
            }
            let entry = entry(line, Dating::Known, daemon);
            let found = fast.find(&entry, &mut fast_memory);
            let expected = slow.find(&entry, &mut slow_memory);
            matches += usize::from(found.expression.is_some());
            // The automaton spares an expression its steps where it sees that it cannot match.
            let found = Finding { step_limit: expected.step_limit, ..found };
            assert_eq!(found, expected, "{}: {line:?} of {daemon:?}", jail.name);
        }
    }
    assert!(matches > 2_000, "{matches} matches");
}
