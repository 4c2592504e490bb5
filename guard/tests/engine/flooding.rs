//! More sources than there is room for: who is forgotten, who is not, and that it is told.

use std::net::Ipv4Addr;

use super::*;

/// Somebody of the crowd.
fn passer_by(n: u32) -> Prefix {
    Prefix::from(Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + n))
}

fn failure_of(source: Prefix, jail: u16, time: i64) -> Entry {
    Entry { line: format!("failed from {}", source.address()), ..entry(1, jail, time) }
}

/// An engine that keeps so many failures.
fn with_room(tracked_failures: usize, stored: Stored) -> (Engine, Effects) {
    let limits = Limits { tracked_failures, ..LIMITS };
    let none = (AllowList::default(), HostAddresses::default());
    Engine::restore(jails(), none.0, limits, none.1, stored, at(0))
}

fn evicted(effects: &Effects) -> Vec<(u16, Prefix)> {
    let reports = effects.report.iter();
    reports
        .filter_map(|report| match report {
            Report::Evicted { jail, source } => Some((jail.0, *source)),
            _ => None,
        })
        .collect()
}

#[test]
fn every_hundredth_of_a_crowd_comes_back_until_it_is_banned() {
    // Each attacker's failures lie a third of the whole crowd apart.
    let (crowd, attackers) = (9_000, 90);
    let (mut engine, _) = with_room(10_000, Stored::default());
    let mut forgotten = 0;
    for n in 0..crowd {
        let mut entries = vec![failure_of(passer_by(n), 0, 10)];
        if n % (crowd / 3 / attackers) == 0 {
            let attacker = n / (crowd / 3 / attackers) % attackers;
            entries.push(failure_of(passer_by(1_000_000 + attacker), 0, 10));
        }
        forgotten += evicted(&engine.handle(at(11), batch(entries, n as usize, 10))).len();
    }
    assert_eq!(forgotten, 0);
    let banned: Vec<Prefix> = bans(&engine).into_keys().map(|(_, source)| source).collect();
    assert_eq!(banned, (0..attackers).map(|n| passer_by(1_000_000 + n)).collect::<Vec<_>>());
}

#[test]
fn who_is_pushed_out_was_quieter_than_all_others() {
    let (mut engine, _) = with_room(100, Stored::default());
    // Two failures, then others' until just before there is no room left for them.
    let entries = vec![entry(1, 0, 1), entry(1, 0, 2)];
    engine.handle(at(2), batch(entries, 0, 2));
    let crowd = (0..98).map(|n| failure_of(passer_by(n), 0, 3)).collect();
    let effects = engine.handle(at(3), batch(crowd, 1, 3));
    assert_eq!(evicted(&effects), []);
    let effects = engine.handle(at(4), batch(vec![failure_of(passer_by(98), 0, 4)], 2, 4));
    assert_eq!(evicted(&effects), [(0, source(1))]);
    let forgotten = Change::Forget { jail: JailId(0), source: source(1), before: None };
    assert!(effects.persist.contains(&forgotten));
    // It begins anew; who fails steadily is never forgotten, whatever else comes.
    let effects = engine.handle(at(5), batch(vec![entry(1, 0, 5)], 3, 5));
    assert_eq!(evicted(&effects), [], "there is room: it had two");
    assert!(bans(&engine).is_empty());
    let mut number = 99;
    for time in 6..8 {
        let mut entries: Vec<Entry> =
            (0..90).map(|n| failure_of(passer_by(number + n), 0, time)).collect();
        number += 90;
        entries.push(entry(1, 0, time));
        engine.handle(at(time), batch(entries, 4, time));
    }
    assert_eq!(bans(&engine).keys().copied().collect::<Vec<_>>(), [(0, source(1))]);
}

#[test]
fn a_flood_of_one_jail_pushes_nobody_out_of_another() {
    let (mut engine, _) = with_room(100, Stored::default());
    engine.handle(at(1), batch(vec![entry(1, 1, 1), entry(1, 1, 1)], 0, 1));
    let mut forgotten = 0;
    for n in 0..1_000 {
        let effects = engine.handle(at(2), batch(vec![failure_of(passer_by(n), 0, 2)], 1, 2));
        let evicted = evicted(&effects);
        assert!(evicted.iter().all(|(jail, _)| *jail == 0));
        forgotten += evicted.len();
    }
    assert_eq!(forgotten, 902);
    engine.handle(at(3), batch(vec![entry(1, 1, 3)], 2, 3));
    assert_eq!(bans(&engine).keys().copied().collect::<Vec<_>>(), [(1, source(1))]);
}

#[test]
fn what_was_stored_under_a_larger_limit_is_made_to_fit() {
    let failure = |n: u32| {
        let time = at(-i64::from(n));
        (
            guard::core::failure::Failure {
                jail: JailId(0),
                source: passer_by(n),
                time,
                user: None,
            },
            1,
        )
    };
    let stored = Stored { failures: (0..30).map(failure).collect(), ..Stored::default() };
    let (engine, effects) = with_room(10, stored);
    let forgotten: Vec<Prefix> = evicted(&effects).into_iter().map(|(_, source)| source).collect();
    assert_eq!(forgotten.len(), 20);
    assert!((10..30).all(|n| forgotten.contains(&passer_by(n))), "the oldest: {forgotten:?}");
    assert_eq!(engine.figures(JailId(0), at(0)).failing, 10);
}
