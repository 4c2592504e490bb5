//! Debian's own `/etc/fail2ban`, read by guard and by `fail2ban-client -d`: every value
//! that Fail2Ban's client would send to its server is the one that guard reads.
//!
//! The client runs in place from Debian's package. All stock jails are enabled, as they
//! are and with overrides of every kind.

mod client;
mod files;
mod host;

use guard::config::jails;
use guard::core::jail::LogSource;
use guard::core::time::Span;

use client::lengths;
use files::{LANGUAGE, OVERRIDES};
use host::Host;

#[test]
fn every_stock_jail() {
    let names = Host::new(&[("jail.local", "[DEFAULT]\nenabled = true\n")]).compare();
    assert!(names.len() > 80, "{} jails", names.len());
}

#[test]
fn every_stock_jail_on_the_journal() {
    let text = "[DEFAULT]\nenabled = true\nbackend = systemd\n";
    Host::new(&[("jail.local", text)]).compare();
}

#[test]
fn every_stock_jail_with_overrides_of_every_kind() {
    let names = Host::new(OVERRIDES).compare();
    assert!(names.len() > 80 && !names.contains(&"murmur".to_owned()), "{names:?}");
}

#[test]
fn filters_that_use_the_whole_language() {
    let host = Host::new(LANGUAGE);
    assert_eq!(host.compare(), ["a", "b", "c", "d", "e", "f", "g"]);
}

#[test]
fn lengths_of_time_mean_the_same() {
    let texts = [
        "600",
        " 600 ",
        "10m",
        "1h 30m",
        "1h30m",
        "1d12h",
        "0d 1h 30m",
        "2d",
        "1w",
        "1mo",
        "6 months",
        "1y",
        "1year-6mo",
        "1y - 6mo",
        "1.5h",
        "1h 30",
        "2*1h",
        "1h/2",
        "5 * -1 + 10",
        "-1",
        "-1d",
        "1hour+30min",
        "3 weeks 2 days 1 hou 4 mi 5 se",
        "1D 2H",
        "1h + 2 * 3m",
        "0.5",
        "10",
        "1ww",
        "1yy",
        "1 mon 1 mm",
        "12 hh",
        "7 dd 3 ss",
    ];
    for (text, expected) in texts.iter().zip(lengths(&texts)) {
        let ours = guard::config::ban_time(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let expected = (expected >= 0).then(|| Span::from_micros(expected));
        assert_eq!(ours, expected, "{text}");
    }
}

/// What is made of the values: the numbers that jails run with, and which jails run.
#[test]
fn stock_jails_start_with_the_numbers_that_are_written() {
    for files in [&[("jail.local", "[DEFAULT]\nenabled = true\n")][..], OVERRIDES] {
        let host = Host::new(files);
        let loaded = jails(&host.settings());
        let dumped = host.dumped();
        let place = |jail: &str| dumped.iter().position(|(name, _)| name == jail).expect("a jail");
        let names: Vec<_> = loaded.jails.iter().map(|jail| jail.name.to_string()).collect();
        // Fail2Ban would let addresses in here, by a rule of its own.
        let left_out = "pass2allow-ftp";
        let expected: Vec<_> =
            dumped.iter().map(|(name, _)| name.clone()).filter(|name| name != left_out).collect();
        assert_eq!(names, expected);
        let errors: Vec<_> = loaded.diagnostics.errors().collect();
        assert!(errors.iter().all(|e| e.jail.as_deref() == Some(left_out)), "{errors:?}");
        let times = loaded.jails.iter().flat_map(|jail| {
            let (_, theirs) = &dumped[place(jail.name.as_str())];
            [theirs.set["findtime"].as_str(), theirs.set["bantime"].as_str()]
        });
        let mut times = lengths(&times.collect::<Vec<_>>()).into_iter();
        for jail in &loaded.jails {
            let (_, theirs) = &dumped[place(jail.name.as_str())];
            assert_eq!(jail.max_retry.to_string(), theirs.set["maxretry"], "{}", jail.name);
            let mut time = || times.next().map(Span::from_micros).expect("a length");
            assert_eq!(jail.find_time, time(), "{}", jail.name);
            let expected = Some(time()).filter(|time| *time >= Span::ZERO);
            assert_eq!(jail.ban_time, expected, "{}", jail.name);
            let on_journal = theirs.backend.starts_with("systemd");
            let recidive = jail.name.as_str() == "recidive";
            assert_eq!(jail.source == LogSource::OwnBans, recidive, "{}", jail.name);
            if on_journal && !recidive {
                assert!(jail.journal_match().is_some(), "{}", jail.name);
            }
            assert_eq!(
                jail.escalation.is_some(),
                theirs.set.get("bantime.increment").is_some_and(|value| value == "true"),
            );
            let asked = theirs.set.get("ignorecommand").is_some_and(|command| !command.is_empty());
            assert_eq!(jail.ignore_command.is_some(), asked, "{}", jail.name);
        }
    }
}
