//! The engine against a model written in the plainest way, and against itself with a
//! crash between any two effects.

use std::collections::BTreeMap;

use guard::core::addr::Prefix;
use guard::core::allow::AllowList;
use guard::core::delta::{Ban, Delta};
use guard::core::effects::{Change, Effects, Report};
use guard::core::engine::{Engine, Limits, Stored};
use guard::core::entry::{Batch, Entry, Position};
use guard::core::failure::Failure;
use guard::core::filter::{self, Filter, FilterText};
use guard::core::host::HostAddresses;
use guard::core::input::{Input, Manual};
use guard::core::jail::{Jail, JailId, JailName, JournalMatch};
use guard::core::ports::{Ports, Protocols};
use guard::core::reason::Reason;
use guard::core::time::{Span, Timestamp};
use proptest::prelude::*;

const FIND_TIME: i64 = 60;
const BAN_TIME: i64 = 100;
const MAX_RETRY: u32 = 3;
const LIMITS: Limits = Limits { tracked_sources: 1_000, bans: 1_000, connections: 100 };

fn jails() -> Vec<Jail> {
    let text = FilterText {
        name: "test".to_owned(),
        failregex: vec!["^failed from <ADDR>$".to_owned()],
        ..FilterText::default()
    };
    let filter = Filter::compile(&text, filter::Limits::default()).expect("a filter");
    let jail = |name: &str, port: u16| Jail {
        name: JailName::new(name).expect("a name"),
        ports: Ports::new(Protocols::Tcp, [port..=port]),
        max_retry: MAX_RETRY,
        find_time: Span::from_seconds(FIND_TIME),
        ban_time: Some(Span::from_seconds(BAN_TIME)),
        allow: AllowList::default(),
        filter: filter.clone(),
        journal_match: JournalMatch::default(),
    };
    vec![jail("sshd", 22), jail("proxmox", 8006)]
}

fn source(n: u8) -> Prefix {
    Prefix::from(std::net::Ipv4Addr::new(192, 0, 2, n))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn engine(stored: Stored, now: Timestamp) -> (Engine, Effects) {
    let allow: AllowList = [source(9)].into_iter().collect();
    let host = HostAddresses { own: vec![source(8).address()], gateways: Vec::new() };
    Engine::restore(jails(), allow, LIMITS, host, stored, now)
}

fn entry(n: u8, jail: u16, time: i64) -> Entry {
    let line = format!("failed from {}", source(n));
    Entry { time: at(time), line, message_start: 0, daemon: None, jails: vec![JailId(jail)] }
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
    let reason = Reason::Failures { count: 3, within: Span::from_seconds(2) };
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
    let host = HostAddresses { own, gateways: Vec::new() };
    let effects = engine.handle(at(2), Input::HostAddresses(host));
    assert_eq!(effects.enforce, [Delta::Unban { jail: JailId(1), source: source(1) }]);
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
        let effects = engine.handle(at(12), batch(three(1, 11), 3, 11));
        assert!(bans(&engine).contains_key(&(0, source(1))), "what comes later counts");
        let over = |change: &Change| matches!(change, Change::Pardon { until: None, .. });
        assert!(effects.persist.iter().any(over), "and the pardon is not kept");
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

/// One step of a random timeline; times grow by the given seconds.
#[derive(Clone, Debug)]
enum Step {
    Fail(Vec<(u8, u16)>, i64),
    Ban(u8, u16, i64),
    Unban(u8, i64),
    Wait(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = || 1u8..5;
    let jail = || 0u16..2;
    let step = prop_oneof![
        6 => (prop::collection::vec((who(), jail()), 0..5), 0i64..30)
            .prop_map(|(failures, wait)| Step::Fail(failures, wait)),
        1 => (who(), jail(), 0i64..30).prop_map(|(n, jail, wait)| Step::Ban(n, jail, wait)),
        1 => (who(), 0i64..30).prop_map(|(n, wait)| Step::Unban(n, wait)),
        1 => (0i64..150).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..40)
}

/// The same timeline as inputs, each with the time at which it happens.
fn inputs(steps: &[Step]) -> Vec<(i64, Input)> {
    let mut now = 1_000;
    let mut inputs = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let input = match step {
            Step::Fail(failures, wait) => {
                now += wait;
                let entries = failures.iter().map(|&(n, jail)| entry(n, jail, now)).collect();
                batch(entries, number, now)
            }
            Step::Ban(n, jail, wait) => {
                now += wait;
                Input::Manual(Manual::Ban {
                    jail: JailId(*jail),
                    sources: vec![source(*n)],
                    ban_time: None,
                    force: false,
                })
            }
            Step::Unban(n, wait) => {
                now += wait;
                let sources = Some(vec![source(*n)]);
                Input::Manual(Manual::Unban { jail: None, sources })
            }
            Step::Wait(wait) => {
                now += wait;
                Input::Tick
            }
        };
        inputs.push((now, input));
    }
    inputs
}

/// Fail2Ban's words, taken literally: who has three failures in a minute is banned for
/// a hundred seconds.
#[derive(Default)]
struct Model {
    failures: BTreeMap<(u16, u8), Vec<i64>>,
    bans: BTreeMap<(u16, Prefix), Option<i64>>,
    pardons: BTreeMap<u8, i64>,
}

impl Model {
    fn step(&mut self, now: i64, step: &Step) {
        self.bans.retain(|_, until| until.is_none_or(|until| until > now));
        match step {
            Step::Fail(failures, _) => {
                for &(n, jail) in failures {
                    if self.pardons.get(&n) == Some(&now) {
                        continue;
                    }
                    let times = self.failures.entry((jail, n)).or_default();
                    times.push(now);
                    times.retain(|&time| time >= now - FIND_TIME);
                    if times.len() >= MAX_RETRY as usize {
                        times.clear();
                        self.bans.insert((jail, source(n)), Some(now + BAN_TIME));
                    }
                }
            }
            Step::Ban(n, jail, _) => {
                self.bans.insert((*jail, source(*n)), Some(now + BAN_TIME));
                self.failures.remove(&(*jail, *n));
            }
            Step::Unban(n, _) => {
                self.pardons.insert(*n, now);
                for jail in 0..2 {
                    self.bans.remove(&(jail, source(*n)));
                    self.failures.remove(&(jail, *n));
                }
            }
            Step::Wait(_) => {}
        }
    }
}

/// A store that keeps whole transactions, as the real one does.
#[derive(Clone, Default)]
struct ModelStore {
    bans: BTreeMap<(u16, Prefix), Ban>,
    failures: Vec<Failure>,
    pardons: BTreeMap<(u16, Option<Prefix>), Timestamp>,
    position: Option<usize>,
}

impl ModelStore {
    fn persist(&mut self, changes: &[Change]) {
        for change in changes {
            match change.clone() {
                Change::Count(failure) => self.failures.push(failure),
                Change::Forget { jail, source, before } => self.failures.retain(|failure| {
                    (failure.jail, failure.source) != (jail, source)
                        || before.is_some_and(|before| failure.time >= before)
                }),
                Change::Ban(ban) => {
                    self.bans.insert((ban.jail.0, ban.source), ban);
                }
                Change::Unban { jail, source } => {
                    self.bans.remove(&(jail.0, source));
                }
                Change::Position(position) => {
                    self.position = position.place.parse().ok();
                }
                Change::Pardon { jail, source, until } => {
                    match until {
                        Some(until) => self.pardons.insert((jail.0, source), until),
                        None => self.pardons.remove(&(jail.0, source)),
                    };
                }
                Change::Correlate { .. } => {}
            }
        }
    }

    fn stored(&self) -> Stored {
        Stored {
            bans: self.bans.values().copied().collect(),
            failures: self.failures.clone(),
            correlations: Vec::new(),
            pardons: self
                .pardons
                .iter()
                .map(|(&(jail, source), &until)| (JailId(jail), source, until))
                .collect(),
        }
    }
}

/// What the kernel holds.
fn enforce(kernel: &mut BTreeMap<(u16, Prefix), Option<i64>>, deltas: &[Delta]) {
    for delta in deltas {
        match *delta {
            Delta::Ban(ban) => {
                kernel.insert((ban.jail.0, ban.source), ban.until.map(Timestamp::seconds));
            }
            Delta::Unban { jail, source } => {
                kernel.remove(&(jail.0, source));
            }
        }
    }
}

/// Where a crash strikes while one input is dealt with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Crash {
    BeforePersist,
    BeforeEnforce,
    AfterEnforce,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn as_the_model(steps in steps()) {
        let (mut engine, _) = engine(Stored::default(), at(1_000));
        let mut model = Model::default();
        let mut kernel = BTreeMap::new();
        for ((now, input), step) in inputs(&steps).into_iter().zip(&steps) {
            let effects = engine.handle(at(now), input);
            enforce(&mut kernel, &effects.enforce);
            model.step(now, step);
            prop_assert_eq!(&bans(&engine), &model.bans, "after {:?} at {}", step, now);
            prop_assert_eq!(&kernel, &model.bans);
        }
    }

    #[test]
    fn a_crash_anywhere_changes_nothing(
        steps in steps(),
        crashes in prop::collection::btree_map(0usize..40, prop_oneof![
            Just(Crash::BeforePersist), Just(Crash::BeforeEnforce), Just(Crash::AfterEnforce),
        ], 0..6),
    ) {
        let (mut undisturbed, _) = engine(Stored::default(), at(1_000));
        let (mut disturbed, _) = engine(Stored::default(), at(1_000));
        let mut store = ModelStore::default();
        let mut kernel = BTreeMap::new();
        for (number, (now, input)) in inputs(&steps).into_iter().enumerate() {
            undisturbed.handle(at(now), input.clone());
            let crash = crashes.get(&number).copied();
            let effects = disturbed.handle(at(now), input.clone());
            if crash != Some(Crash::BeforePersist) {
                store.persist(&effects.persist);
            }
            if !matches!(crash, Some(Crash::BeforePersist | Crash::BeforeEnforce)) {
                enforce(&mut kernel, &effects.enforce);
            }
            if crash.is_some() {
                let (restored, effects) = engine(store.stored(), at(now));
                disturbed = restored;
                store.persist(&effects.persist);
                // The start brings the kernel to the snapshot.
                kernel = bans(&disturbed);
                // The source goes on after the stored position; whoever gave an order
                // by hand got no answer, and gives it again.
                let read = matches!(input, Input::Entries(_)) && store.position == Some(number);
                if !read {
                    let effects = disturbed.handle(at(now), input);
                    store.persist(&effects.persist);
                    enforce(&mut kernel, &effects.enforce);
                }
            }
            prop_assert_eq!(bans(&undisturbed), bans(&disturbed), "after input {}", number);
            prop_assert_eq!(&kernel, &bans(&undisturbed));
        }
    }
}
