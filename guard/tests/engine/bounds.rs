//! What is given up because a bound is reached is told, and what merely gets too old is not.

use super::*;
use guard::core::jail::LogFiles;
use guard::core::surplus::Surplus;

use super::asking::{addressless, asking};
use super::returning::{escalation, growing};

/// What was given up: jail, what, how many, in the order in which it was told.
fn given_up(effects: &Effects) -> Vec<(u16, Surplus, u64)> {
    let reports = effects.report.iter();
    reports
        .filter_map(|report| match report {
            Report::GivenUp { jail, what, count } => Some((jail.0, *what, *count)),
            _ => None,
        })
        .collect()
}

fn restored(jails: Vec<Jail>, limits: Limits, stored: Stored) -> (Engine, Effects) {
    Engine::restore(jails, AllowList::default(), limits, HostAddresses::default(), stored, at(0))
}

/// Jails whose filter remembers connections.
fn connected() -> Vec<Jail> {
    let line = r"^<F-MLFID>c\d+</F-MLFID>: <F-NOFAIL>hello</F-NOFAIL> from <ADDR>$";
    jails().into_iter().map(|jail| Jail { filter: filter(line), ..jail }).collect()
}

fn hello(connection: u32, jail: u16, time: i64) -> Entry {
    Entry { line: format!("c{connection}: hello from 192.0.2.1"), ..entry(1, jail, time) }
}

#[test]
fn connections_beyond_the_limit_are_told_once_for_a_batch() {
    let limits = Limits { connections: 10, ..LIMITS };
    let (mut engine, _) = restored(connected(), limits, Stored::default());
    let mut greet = |from, to, jail, time| {
        let entries = (from..to).map(|n| hello(n, jail, time)).collect();
        given_up(&engine.handle(at(time), batch(entries, 1, time)))
    };
    assert_eq!(greet(0, 10, 0, 1), [], "there is just room");
    assert_eq!(greet(0, 10, 1, 1), [], "each jail has its own");
    assert_eq!(greet(10, 13, 0, 2), [(0, Surplus::Connections, 3)]);
    assert_eq!(greet(12, 13, 0, 3), [], "nothing new");
    // After 300 seconds they are no more than old, be they as many.
    assert_eq!(greet(20, 30, 0, 303), []);
}

#[test]
fn of_stored_connections_those_too_many_are_told_and_those_too_old_are_not() {
    let (mut engine, _) = restored(connected(), LIMITS, Stored::default());
    let mut stored = Vec::new();
    for (n, time) in [(0, 1), (1, 101), (2, 200), (3, 302)] {
        for change in engine.handle(at(time), batch(vec![hello(n, 0, time)], 1, time)).persist {
            if let Change::Correlate { jail, key, state: Some(state) } = change {
                stored.push((jail, key, state));
            }
        }
    }
    assert_eq!(stored.len(), 4);
    for (connections, gone, told) in [(4, 0, 0), (3, 1, 0), (2, 2, 1)] {
        let limits = Limits { connections, ..LIMITS };
        let stored = Stored { correlations: stored.clone(), ..Stored::default() };
        let (_, effects) = restored(connected(), limits, stored);
        // The store loses them too, so that the next start does not tell them again.
        assert_eq!(effects.persist.len(), gone, "{connections}: {:?}", effects.persist);
        let counted = (told > 0).then_some((0, Surplus::Connections, told));
        assert_eq!(given_up(&effects), counted.into_iter().collect::<Vec<_>>(), "{connections}");
    }
}

#[test]
fn earlier_bans_beyond_the_limit_are_told() {
    let limits = Limits { known_sources: 2, ..LIMITS };
    let (mut engine, _) = restored(growing(&escalation()), limits, Stored::default());
    let mut ban = |n, now| {
        let (jail, sources) = (JailId(1), vec![source(n)]);
        let order = Manual::Ban { jail, sources, ban_time: None, force: false };
        given_up(&engine.handle(at(now), Input::Manual(order)))
    };
    assert_eq!((ban(1, 0), ban(2, 1)), (vec![], vec![]), "there is just room");
    assert_eq!(ban(5, 2), [(1, Surplus::KnownSources, 1)]);
    // Once the others are over, there is room again.
    let over = 3 * BAN_TIME + HISTORY + 3;
    assert_eq!((ban(6, over), ban(7, over)), (vec![], vec![]), "those before were too old");
    assert_eq!(ban(1, over), [(1, Surplus::KnownSources, 1)]);
}

#[test]
fn failures_that_wait_for_older_ones_are_told_when_they_are_too_many() {
    let files = |mut jail: Jail| {
        jail.source = LogSource::Files(LogFiles::default());
        jail
    };
    let (mut engine, _) =
        restored(jails().into_iter().map(files).collect(), LIMITS, Stored::default());
    // Another file of the jail is far behind, so none is too old yet.
    let mut fail = |n, number: i64, read: i64| {
        let position =
            Position { source: "file:/x.log".to_owned(), place: String::new(), time: at(read) };
        let entries = vec![entry(n, 0, number * (FIND_TIME + 1))];
        given_up(&engine.handle(at(0), Input::Entries(Batch { entries, position })))
    };
    let most = 4 * i64::from(MAX_RETRY);
    for number in 1..=most {
        assert_eq!(fail(1, number, 0), [], "there is just room");
    }
    assert_eq!(fail(1, most + 1, 0), [(0, Surplus::Failures, 1)]);
    assert_eq!(fail(2, most + 1, 0), [], "the neighbour");
    // Read as far as that, the oldest are no more than old.
    let last = (most + 2) * (FIND_TIME + 1);
    assert_eq!(fail(1, most + 2, last), []);
}

#[test]
fn bans_made_unasked_are_told() {
    let (mut engine, _) = restored(asking(None), LIMITS, Stored::default());
    let mut bans = |from: u32, to: u32| {
        let line = |n| Entry {
            line: format!("failed from {}", std::net::Ipv4Addr::from(0x0a00_0000 + n)),
            ..entry(1, 0, 5)
        };
        let entries = (from..to).flat_map(|n| [line(n), line(n), line(n)]).collect();
        given_up(&engine.handle(at(5), batch(entries, 1, 5)))
    };
    assert_eq!(bans(0, 1_000), [], "there is just room");
    assert_eq!(bans(1_000, 1_002), [(0, Surplus::UnaskedBans, 1); 2]);
}

#[test]
fn failures_of_names_beyond_those_that_may_wait_are_told() {
    let (mut engine, _) = restored(addressless(), LIMITS, Stored::default());
    let mut fail = |names: Vec<String>| {
        let line = |name| Entry { line: format!("failed from {name}"), ..entry(1, 0, 5) };
        given_up(&engine.handle(at(5), batch(names.into_iter().map(line).collect(), 1, 5)))
    };
    assert_eq!(fail(vec!["a.example".to_owned(); 100]), [], "there is just room");
    assert_eq!(fail(vec!["a.example".to_owned()]), [(0, Surplus::NamedFailures, 1)]);
    assert_eq!(fail((1..1_000).map(|n| format!("h{n}.example")).collect()), [], "for names too");
    assert_eq!(fail(vec!["late.example".to_owned()]), [(0, Surplus::NamedFailures, 1)]);
    assert_eq!(fail(vec!["a..b".to_owned()]), [], "nobody would have waited for it");
}
