//! Those who come back: growing bans, and bans of bans.

use guard::core::allow::AllowList;
use guard::core::effects::{Change, Report};
use guard::core::engine::Stored;
use guard::core::history::Past;
use guard::core::input::{Input, Manual};
use guard::core::jail::{Escalation, Jail, JailId, JailName, LogSource};
use guard::core::ports::{Ports, Protocols};
use guard::core::time::Span;

use super::{BAN_TIME, HISTORY, at, bans, batch, engine_of, entry, filter, jails, source};

pub(super) fn escalation() -> Escalation {
    Escalation {
        factor: 1.0,
        multipliers: Vec::new(),
        max_time: None,
        random_time: Span::ZERO,
        over_all_jails: false,
    }
}

/// A jail that bans who is banned twice within an hour, by a pattern of our own.
pub(super) fn recidive() -> Jail {
    let line = r"^fail2ban\.actions +\[\d+\]: NOTICE +\[[^\]]*\] Ban <ADDR>$";
    Jail {
        name: JailName::new("recidive").expect("a name"),
        ports: Ports::new(Protocols::Tcp, [1..=65_535]),
        max_retry: 2,
        find_time: Span::from_seconds(3_600),
        ban_time: Some(Span::from_seconds(10_000)),
        ipv6_prefix: Jail::IPV6_PREFIX,
        allow: AllowList::default(),
        filter: filter(line),
        source: LogSource::OwnBans,
        escalation: None,
        ignore_command: None,
        allow_elsewhere: Vec::new(),
    }
}

pub(super) fn growing(escalation: &Escalation) -> Vec<Jail> {
    jails().into_iter().map(|jail| Jail { escalation: Some(escalation.clone()), ..jail }).collect()
}

#[test]
fn each_ban_lasts_twice_as_long_and_fewer_failures_lead_to_it() {
    let (mut engine, _) = engine_of(growing(&escalation()), Stored::default(), at(0));
    let mut now = 0;
    // Three failures, then each counts as two, then as three.
    for (failures, length) in [(3, 1), (2, 2), (1, 4), (1, 8)] {
        let neighbour = entry(2, 0, now + 1);
        let mut entries: Vec<_> = (0..failures).map(|_| entry(1, 0, now + 1)).collect();
        entries.push(neighbour);
        let last = entries.remove(0);
        engine.handle(at(now + 1), batch(entries, 1, now + 1));
        assert!(bans(&engine).is_empty(), "one fewer");
        let effects = engine.handle(at(now + 1), batch(vec![last], 2, now + 1));
        let until = now + 1 + length * BAN_TIME;
        assert_eq!(bans(&engine).into_iter().collect::<Vec<_>>(), [((0, source(1)), Some(until))]);
        let grown = effects.report.iter().any(|r| matches!(r, Report::Increased { .. }));
        assert_eq!(grown, length > 1);
        now = until + 100;
        engine.handle(at(now), Input::Tick);
    }
}

#[test]
fn earlier_bans_are_forgotten_in_time_and_by_an_unban() {
    let ban = |engine: &mut guard::core::engine::Engine, jail, now| {
        let order = Manual::Ban {
            jail: JailId(jail),
            sources: vec![source(1)],
            ban_time: None,
            force: false,
        };
        engine.handle(at(now), Input::Manual(order));
        let found = bans(engine);
        found[&(jail, source(1))].expect("not for ever") - now
    };
    let last_moment = 3 * BAN_TIME + HISTORY;
    for (later, length) in [(last_moment, 2), (last_moment + 1, 1)] {
        let (mut engine, _) = engine_of(growing(&escalation()), Stored::default(), at(0));
        assert_eq!(ban(&mut engine, 0, 0), BAN_TIME);
        assert_eq!(ban(&mut engine, 0, later), length * BAN_TIME);
        assert_eq!(ban(&mut engine, 1, later), BAN_TIME, "another jail knows nothing");
    }
    for sources in [None, Some(vec![source(1)])] {
        let (mut engine, _) = engine_of(growing(&escalation()), Stored::default(), at(0));
        ban(&mut engine, 0, 0);
        engine.handle(at(1), Input::Manual(Manual::Unban { jail: None, sources }));
        assert_eq!(ban(&mut engine, 0, 2), BAN_TIME);
    }
    let all = Escalation { over_all_jails: true, ..escalation() };
    let (mut engine, _) = engine_of(growing(&all), Stored::default(), at(0));
    assert_eq!(ban(&mut engine, 0, 0), BAN_TIME);
    assert_eq!(ban(&mut engine, 1, 1), 2 * BAN_TIME);
    // Fail2Ban adds the counts up, and each holds the sum before it.
    assert_eq!(ban(&mut engine, 0, BAN_TIME + 2), 8 * BAN_TIME);
}

#[test]
fn the_past_is_bounded_and_survives_a_restart() {
    let past = |since| Past { count: 1, since: at(since), length: Some(Span::from_seconds(100)) };
    let history = (0..1_001).map(|n| {
        let source = std::net::Ipv4Addr::from(0x0a00_0000 + n).into();
        (JailId(0), source, past(i64::from(n)))
    });
    let stored = Stored { history: history.collect(), ..Stored::default() };
    let (_, effects) = engine_of(growing(&escalation()), stored, at(10));
    let first = std::net::Ipv4Addr::from(0x0a00_0000).into();
    let gone = Change::Remember { jail: JailId(0), source: first, past: None };
    assert_eq!(effects.persist, [gone], "the one that would be forgotten first");
}

#[test]
fn whoever_is_banned_twice_is_banned_by_recidive_in_the_same_transaction() {
    let [sshd, proxmox]: [Jail; 2] = jails().try_into().expect("two jails");
    let jails = vec![sshd, proxmox, recidive()];
    let (mut engine, _) = engine_of(jails.clone(), Stored::default(), at(0));
    let three =
        |n, jail, time| vec![entry(n, jail, time), entry(n, jail, time), entry(n, jail, time)];
    engine.handle(at(5), batch(three(1, 0, 5), 1, 5));
    engine.handle(at(5), batch(three(2, 0, 5), 2, 5));
    assert_eq!(bans(&engine).len(), 2);
    let effects = engine.handle(at(9), batch(three(1, 1, 9), 3, 9));
    let found = bans(&engine);
    assert_eq!(found[&(2, source(1))], Some(9 + 10_000), "at the time of the ban");
    assert!(!found.contains_key(&(2, source(2))), "the neighbour was banned once");
    let banned = |change: &&Change| matches!(change, Change::Ban(_));
    assert_eq!(effects.persist.iter().filter(banned).count(), 2, "one transaction");
    assert!(matches!(effects.persist.last(), Some(Change::Position(_))));

    // What is restored does not count again.
    let stored = Stored { bans: engine.bans().collect(), ..Stored::default() };
    let (restored, effects) = engine_of(jails, stored, at(10));
    assert_eq!(bans(&restored), found);
    assert!(!effects.report.iter().any(|report| matches!(report, Report::Found(_))));
}

#[test]
fn two_jails_that_read_own_bans_do_not_feed_each_other_for_ever() {
    let eager = |name: &str| Jail {
        name: JailName::new(name).expect("a name"),
        max_retry: 1,
        ..recidive()
    };
    let mut jails = jails();
    jails.extend([eager("recidive"), eager("again")]);
    let (mut engine, _) = engine_of(jails, Stored::default(), at(0));
    let three = vec![entry(1, 0, 5), entry(1, 0, 5), entry(1, 0, 5)];
    engine.handle(at(5), batch(three, 1, 5));
    let jails: Vec<u16> = bans(&engine).keys().map(|(jail, _)| *jail).collect();
    assert_eq!(jails, [0, 2, 3]);
}

#[test]
fn who_fails_while_banned_has_not_come_back_even_when_that_is_read_late() {
    for (failed, until) in [(50, None), (102, Some(102 + 2 * BAN_TIME))] {
        let (mut engine, _) = engine_of(growing(&escalation()), Stored::default(), at(0));
        engine.handle(at(1), batch(vec![entry(1, 0, 1), entry(1, 0, 1), entry(1, 0, 1)], 1, 1));
        assert_eq!(bans(&engine).len(), 1);
        engine.handle(at(160), batch(vec![entry(1, 0, failed), entry(1, 0, failed)], 2, failed));
        assert_eq!(bans(&engine).get(&(0, source(1))).copied(), until.map(Some));
    }
}
