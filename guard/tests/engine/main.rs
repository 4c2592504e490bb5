//! The engine: scenarios here, random timelines in [`timelines`].

mod adjusting;
mod asking;
mod bounds;
mod files;
mod flooding;
mod networks;
mod returning;
mod timelines;

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use guard::core::addr::Prefix;
use guard::core::allow::AllowList;
use guard::core::delta::{Ban, Delta};
use guard::core::effects::{Change, Effects, Report};
use guard::core::engine::{Engine, Limits, Seed, Stored};
use guard::core::entry::{Batch, Dating, Entry, Position};
use guard::core::filter::{self, Filter, FilterText};
use guard::core::host::HostAddresses;
use guard::core::input::{Input, Manual};
use guard::core::jail::{Jail, JailId, JailName, JournalMatch, LogSource};
use guard::core::ports::{Ports, Protocols};
use guard::core::reason::Reason;
use guard::core::time::{Span, Timestamp};

const FIND_TIME: i64 = 60;
const BAN_TIME: i64 = 100;
const MAX_RETRY: u32 = 3;
const LIMITS: Limits = Limits {
    tracked_failures: 1_000,
    bans: 1_000,
    connections: 100,
    known_sources: 1_000,
    history: Span::from_seconds(HISTORY),
};
/// How long earlier bans are remembered, beyond three times their length.
const HISTORY: i64 = 500;

fn filter(failregex: &str) -> Filter {
    let text = FilterText {
        name: "test".to_owned(),
        failregex: vec![failregex.to_owned()],
        ..FilterText::default()
    };
    Filter::compile(&text, filter::Limits::default()).expect("a filter")
}

fn jails() -> Vec<Jail> {
    let filter = filter("^failed from <ADDR>$");
    let jail = |name: &str, port: u16| Jail {
        name: JailName::new(name).expect("a name"),
        ports: Ports::new(Protocols::Tcp, [port..=port]),
        max_retry: MAX_RETRY,
        find_time: Span::from_seconds(FIND_TIME),
        ban_time: Some(Span::from_seconds(BAN_TIME)),
        ipv6_prefix: Jail::IPV6_PREFIX,
        allow: AllowList::default(),
        filter: filter.clone(),
        source: LogSource::Journal(JournalMatch::default()),
        escalation: None,
        ignore_command: None,
        allow_elsewhere: Vec::new(),
    };
    vec![jail("sshd", 22), jail("proxmox", 8006)]
}

/// Who is banned: addresses, and as 3 and 4 two IPv6 networks.
fn source(n: u8) -> Prefix {
    match n {
        3 | 4 => inside(n, 0).counted_with(Jail::IPV6_PREFIX),
        _ => Prefix::from(std::net::Ipv4Addr::new(192, 0, 2, n)),
    }
}

/// An address of whoever is banned: of a network, another one for each time.
fn inside(n: u8, time: i64) -> Prefix {
    let network = 0x2001_0db8_0000_0000_u64 | u64::from(n);
    match n {
        3 | 4 => {
            Ipv6Addr::from_bits(u128::from(network) << 64 | u128::from(time.unsigned_abs())).into()
        }
        _ => source(n),
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn engine(stored: Stored, now: Timestamp) -> (Engine, Effects) {
    engine_of(jails(), stored, now)
}

fn engine_of(jails: Vec<Jail>, stored: Stored, now: Timestamp) -> (Engine, Effects) {
    let allow: AllowList = [source(9)].into_iter().collect();
    let host = HostAddresses { own: vec![source(8).address()], ..HostAddresses::default() };
    let (mut engine, effects) = Engine::restore(jails, allow, LIMITS, host, stored, now);
    engine.seed(Seed { secret: 7, process: 2_825 });
    (engine, effects)
}

fn entry(n: u8, jail: u16, time: i64) -> Entry {
    let line = format!("failed from {}", inside(n, time));
    let jails = vec![JailId(jail)];
    Entry { time: at(time), dating: Dating::Known, line, message_start: 0, daemon: None, jails }
}

fn batch(entries: Vec<Entry>, number: usize, time: i64) -> Input {
    let position =
        Position { source: "journal".to_owned(), place: number.to_string(), time: at(time) };
    Input::Entries(Batch { entries, position })
}

fn bans(engine: &Engine) -> BTreeMap<(u16, Prefix), Option<i64>> {
    let end = |ban: &Ban| ban.until.map(Timestamp::seconds);
    engine.bans().map(|ban| ((ban.jail.0, ban.source), end(&ban))).collect()
}

#[test]
fn the_third_failure_bans_and_the_neighbour_stays_free() {
    let (mut engine, _) = engine(Stored::default(), at(0));
    let entries = vec![entry(1, 0, 1), entry(2, 0, 1), entry(1, 0, 2), entry(1, 0, 3)];
    let effects = engine.handle(at(4), batch(entries, 1, 3));
    assert_eq!(bans(&engine), BTreeMap::from([((0, source(1)), Some(3 + BAN_TIME))]));
    let reason = Reason::Failures { count: 3, within: Span::from_seconds(2), last: None };
    let until = Some(at(3 + BAN_TIME));
    let ban = Ban { jail: JailId(0), source: source(1), since: at(3), until, reason };
    assert_eq!(effects.enforce, [Delta::Ban(ban)]);
    assert_eq!(effects.report.last(), Some(&Report::Banned(ban)));
    assert!(effects.persist.contains(&Change::Ban(ban)));
    assert_eq!(effects.wake_at, until);

    let effects = engine.handle(at(3 + BAN_TIME), Input::Tick);
    let unban = Delta::Unban { jail: JailId(0), source: source(1) };
    assert_eq!(effects.enforce, [unban]);
    assert!(bans(&engine).is_empty());
}

#[test]
fn nobody_on_an_allow_list_is_banned_but_by_force() {
    for n in [8, 9] {
        let (mut engine, _) = engine(Stored::default(), at(0));
        let effects = engine.handle(at(9), batch((0..9).map(|t| entry(n, 0, t)).collect(), 1, 9));
        assert!(effects.enforce.is_empty());
        assert_eq!(effects.report.len(), 9);
        assert!(effects.report.iter().all(|r| matches!(r, Report::Ignored { .. })));
        let by_hand = |force| {
            let sources = vec![source(n), source(1)];
            Input::Manual(Manual::Ban { jail: JailId(0), sources, ban_time: None, force })
        };
        let outcome = engine.handle(at(9), by_hand(false)).outcome.expect("an outcome");
        assert_eq!((outcome.changed, outcome.refused.len()), (1, 1));
        let outcome = engine.handle(at(9), by_hand(true)).outcome.expect("an outcome");
        assert_eq!((outcome.changed, outcome.refused.len()), (1, 0));
        assert_eq!(outcome.unchanged, [source(1)]);
    }
}

#[test]
fn an_address_that_becomes_the_hosts_own_is_let_in_again() {
    let (mut engine, _) = engine(Stored::default(), at(0));
    let sources = vec![source(1), source(2)];
    let ban = Manual::Ban { jail: JailId(1), sources, ban_time: Some(None), force: false };
    engine.handle(at(1), Input::Manual(ban));
    let own = vec![source(1).address()];
    let host = HostAddresses { own, ..HostAddresses::default() };
    let effects = engine.handle(at(2), Input::HostAddresses(host));
    let unban = Delta::Unban { jail: JailId(1), source: source(1) };
    // And bans of prefixes let through whom the host is now, not whom it was.
    let through = [Delta::Allow(source(1)), Delta::Disallow(source(8))];
    assert_eq!(effects.enforce, [[unban].as_slice(), &through].concat());
    assert_eq!(bans(&engine), BTreeMap::from([((1, source(2)), None)]));
}

#[test]
fn failures_read_late_ban_only_as_long_as_the_ban_would_still_last() {
    let three = || vec![entry(1, 0, 1), entry(1, 0, 2), entry(1, 0, 3)];
    let (mut late, _) = engine(Stored::default(), at(0));
    late.handle(at(3 + BAN_TIME - 1), batch(three(), 1, 3));
    assert_eq!(bans(&late), BTreeMap::from([((0, source(1)), Some(3 + BAN_TIME))]));
    let (mut too_late, _) = engine(Stored::default(), at(0));
    too_late.handle(at(3 + BAN_TIME), batch(three(), 1, 3));
    assert!(bans(&too_late).is_empty());
}

#[test]
fn what_was_logged_before_an_unban_and_read_after_it_does_not_count() {
    for sources in [Some(vec![source(1)]), None] {
        let (mut engine, _) = engine(Stored::default(), at(0));
        let everybody = sources.is_none();
        engine.handle(at(10), Input::Manual(Manual::Unban { jail: None, sources }));
        let three = |n, time| vec![entry(n, 0, time), entry(n, 0, time), entry(n, 0, time)];
        let effects = engine.handle(at(11), batch(three(1, 10), 1, 10));
        assert!(bans(&engine).is_empty());
        assert!(effects.report.iter().all(|r| matches!(r, Report::Ignored { .. })));
        engine.handle(at(11), batch(three(2, 10), 2, 10));
        assert_eq!(bans(&engine).len(), usize::from(!everybody), "the neighbour");
        engine.handle(at(12), batch(three(1, 11), 3, 11));
        assert!(bans(&engine).contains_key(&(0, source(1))), "what comes later counts");
        let effects = engine.handle(at(99), batch(Vec::new(), 4, 99));
        let over = |change: &Change| matches!(change, Change::Pardon { until: None, .. });
        assert!(effects.persist.iter().any(over), "and the pardon is not kept");
    }
}

#[test]
fn the_portions_in_which_a_journal_is_read_do_not_matter() {
    // The clock was set back by a second before the last entry of the first.
    let set_back = vec![entry(1, 0, 940), entry(1, 0, 940), entry(1, 0, 1_001), entry(1, 0, 1_000)];
    let neighbour = vec![entry(2, 0, 940), entry(2, 0, 940), entry(2, 0, 1_000)];
    let entries = [set_back, neighbour].concat();
    let banned = BTreeMap::from([((0, source(2)), Some(1_000 + BAN_TIME))]);
    for portion in 1..=entries.len() {
        let (mut engine, _) = engine(Stored::default(), at(0));
        for entries in entries.chunks(portion) {
            let last = entries.last().expect("one").time.seconds();
            engine.handle(at(1_001), batch(entries.to_vec(), 1, last));
        }
        assert_eq!(bans(&engine), banned, "in portions of {portion}");
    }
}

#[test]
fn a_full_ledger_refuses_loudly() {
    let limits = Limits { bans: 1, ..LIMITS };
    let none = (AllowList::default(), HostAddresses::default());
    let (mut engine, _) =
        Engine::restore(jails(), none.0, limits, none.1, Stored::default(), at(0));
    let sources = vec![source(1), source(2)];
    let ban = Manual::Ban { jail: JailId(0), sources, ban_time: None, force: false };
    let effects = engine.handle(at(1), Input::Manual(ban));
    assert_eq!(effects.report[1], Report::Full { jail: JailId(0), source: source(2) });
    assert_eq!(engine.refused_for_space(), 1);
}
