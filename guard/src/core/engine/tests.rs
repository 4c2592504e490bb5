//! Clients of whom a line tells only the name.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::core::filter::{self, Filter, FilterText};
use crate::core::jail::{JailName, JournalMatch};
use crate::core::ports::{Ports, Protocols};
use crate::core::question::{Answer, Ask, Question, Said};

const JAIL: JailId = JailId(0);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn address(n: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, n).into()
}

/// One jail in which two failures lead to a ban of 100 seconds.
fn engine(stored: Stored) -> (Engine, Effects) {
    let failregex = vec!["^failed from <ADDR>$".to_owned()];
    let text = FilterText { name: "test".to_owned(), failregex, ..FilterText::default() };
    let jail = Jail {
        name: JailName::new("sshd").expect("a name"),
        ports: Ports::new(Protocols::Tcp, [22..=22]),
        max_retry: 2,
        find_time: Span::from_seconds(60),
        ban_time: Some(Span::from_seconds(100)),
        ipv6_prefix: Jail::IPV6_PREFIX,
        allow: AllowList::default(),
        filter: Filter::compile(&text, filter::Limits::default()).expect("a filter"),
        source: LogSource::Journal(JournalMatch::default()),
        escalation: None,
        ignore_command: None,
        allow_elsewhere: Vec::new(),
    };
    let limits = Limits {
        tracked_failures: 100,
        bans: 100,
        connections: 10,
        known_sources: 10,
        history: Span::ZERO,
    };
    let host = HostAddresses { own: vec![address(8)], ..HostAddresses::default() };
    Engine::restore(vec![jail], AllowList::default(), limits, host, stored, at(0))
}

fn fail(engine: &mut Engine, name: &str, now: i64) -> Effects {
    let mut effects = Effects::default();
    engine.count_named(at(now), JAIL, name, at(now), None, &mut effects);
    effects
}

fn say(engine: &mut Engine, now: i64, question: &Question, said: Said) -> Effects {
    engine.handle(at(now), Input::Answer(Answer { id: question.id, said: Ok(said) }))
}

fn banned(engine: &Engine) -> Vec<IpAddr> {
    let mut banned: Vec<IpAddr> = engine.bans().map(|ban| ban.source.address()).collect();
    banned.sort_unstable();
    banned
}

#[test]
fn a_name_counts_for_its_addresses_when_they_are_known() {
    let (mut engine, _) = engine(Stored::default());
    let question = fail(&mut engine, "Host.example", 5).ask.remove(0);
    assert_eq!(question.ask, Ask::Resolve("host.example".to_owned()));
    assert!(fail(&mut engine, "host.EXAMPLE", 6).ask.is_empty(), "asked already");
    // Its own address, in the zone of somebody else, is never banned.
    let said = Said::Addresses(vec![address(1), address(2), address(1), address(8)]);
    let effects = say(&mut engine, 7, &question, said);
    assert_eq!(banned(&engine), [address(1), address(2)]);
    let decided = Change::NameDecided { name: "host.example".to_owned() };
    assert_eq!(effects.persist.first(), Some(&decided));
    assert!(fail(&mut engine, "host.example", 8).ask.is_empty(), "known for a while");
    assert_eq!(fail(&mut engine, "host.example", 400).ask.len(), 1, "and not longer");
}

#[test]
fn a_name_bans_nobody_that_has_none_or_many_addresses_or_is_a_number() {
    for addresses in [0, 9] {
        let (mut engine, _) = engine(Stored::default());
        let question = fail(&mut engine, "host.example", 5).ask.remove(0);
        fail(&mut engine, "host.example", 5);
        let said = Said::Addresses((0..addresses).map(address).collect());
        let effects = say(&mut engine, 6, &question, said);
        assert!(matches!(effects.report[..], [Report::Unresolved { .. }]), "{effects:?}");
        assert!(banned(&engine).is_empty());
    }
    for number in ["2130706433", "0x7f000001", "127.1", ""] {
        let (mut engine, _) = engine(Stored::default());
        let effects = fail(&mut engine, number, 5);
        assert!(effects.ask.is_empty() && effects.persist.is_empty(), "{number}");
        assert!(matches!(effects.report[..], [Report::Unresolved { .. }]), "{number}");
    }
}

#[test]
fn what_waits_for_a_name_is_bounded_and_survives_a_restart() {
    let (mut one, _) = engine(Stored::default());
    let mut stored = Stored::default();
    for n in 0..1_100 {
        for change in fail(&mut one, &format!("h{n}.example"), 5).persist {
            let Change::AwaitName { jail, name, time, user } = change else { continue };
            stored.names.push((jail, name, time, user));
        }
    }
    assert_eq!(stored.names.len(), 1_000);
    for n in 0..200 {
        assert_eq!(fail(&mut one, "h7.example", 5).persist.is_empty(), n >= 99);
    }
    stored.names.truncate(1);
    stored.names.push(stored.names[0].clone());
    let (mut again, effects) = engine(stored);
    assert_eq!(effects.ask.len(), 1);
    say(&mut again, 7, &effects.ask[0], Said::Addresses(vec![address(1)]));
    assert_eq!(banned(&again), [address(1)]);
}

/// A failure that names nobody who could be banned is not lost without a word.
#[test]
fn something_else_than_an_address_is_counted() {
    let failregex = vec!["^failed <F-ID>\\S+</F-ID>$".to_owned()];
    let text = FilterText { failregex, ..FilterText::default() };
    let (mut engine, _) = engine(Stored::default());
    engine.cells[0].jail.filter =
        Filter::compile(&text, filter::Limits::default()).expect("a filter");
    for (line, expected) in [("failed session-7", 1), ("failed 192.0.2.1", 1), ("failed x", 2)] {
        let entry = Entry {
            time: at(1),
            dating: crate::core::entry::Dating::Known,
            line: line.to_owned(),
            message_start: 0,
            daemon: None,
            jails: vec![JAIL],
        };
        let (source, place) = ("journal".to_owned(), String::new());
        let position = crate::core::entry::Position { source, place, time: at(1) };
        engine.handle(at(1), Input::Entries(Batch { entries: vec![entry], position }));
        assert_eq!(engine.without_address(), expected, "{line}");
    }
    assert_eq!(engine.figures(JAIL, at(1)).failing, 1);
}
