//! Parameters that are changed while the engine runs, and failures that somebody else saw.

use guard::core::adjustment::Adjustment;
use guard::core::effects::Outcome;
use guard::core::reason::Allowed;
use proptest::prelude::*;

use super::*;

fn order(engine: &mut Engine, at: i64, manual: Manual) -> Outcome {
    let effects = engine.handle(Timestamp::from_seconds(at), Input::Manual(manual));
    effects.outcome.expect("an outcome")
}

fn adjust(engine: &mut Engine, at: i64, adjustment: Adjustment) -> Outcome {
    order(engine, at, Manual::Adjust { jail: JailId(0), adjustment })
}

fn attempt(engine: &mut Engine, at: i64, n: u8, count: u32) -> Outcome {
    order(engine, at, Manual::Attempt { jail: JailId(0), source: source(n), count })
}

fn fresh() -> Engine {
    engine_of(jails(), Stored::default(), at(0)).0
}

fn ends(engine: &Engine) -> Vec<(Prefix, Option<i64>)> {
    let mut ends: Vec<_> =
        engine.bans().map(|ban| (ban.source, ban.until.map(Timestamp::seconds))).collect();
    ends.sort();
    ends
}

#[test]
fn who_has_enough_failures_after_maxretry_was_lowered_is_banned_at_the_next() {
    let mut engine = fresh();
    attempt(&mut engine, 1, 1, MAX_RETRY - 1);
    adjust(&mut engine, 2, Adjustment::MaxRetry(1));
    assert_eq!(ends(&engine), []);
    attempt(&mut engine, 3, 1, 1);
    // Of the other jail nothing changed.
    order(&mut engine, 3, Manual::Attempt { jail: JailId(1), source: source(2), count: 1 });
    assert_eq!(ends(&engine), [(source(1), Some(3 + BAN_TIME))]);
}

#[test]
fn a_shorter_findtime_forgets_and_a_longer_one_does_not_remember() {
    let mut engine = fresh();
    attempt(&mut engine, 1, 1, MAX_RETRY - 1);
    adjust(&mut engine, 2, Adjustment::FindTime(Span::from_seconds(5)));
    let read = Position { source: "journal".to_owned(), place: "1".to_owned(), time: at(9) };
    engine.handle(at(9), Input::Entries(Batch { entries: Vec::new(), position: read }));
    attempt(&mut engine, 10, 1, 1);
    assert_eq!(ends(&engine), []);
    adjust(&mut engine, 11, Adjustment::FindTime(Span::from_seconds(1_000)));
    attempt(&mut engine, 12, 1, 1);
    assert_eq!(ends(&engine), [], "two");
    attempt(&mut engine, 13, 1, 1);
    assert_eq!(ends(&engine).len(), 1, "three");
}

#[test]
fn another_bantime_is_for_new_bans() {
    let mut engine = fresh();
    attempt(&mut engine, 1, 1, MAX_RETRY);
    adjust(&mut engine, 2, Adjustment::BanTime(Some(Span::from_seconds(7))));
    attempt(&mut engine, 3, 2, MAX_RETRY);
    adjust(&mut engine, 4, Adjustment::BanTime(None));
    attempt(&mut engine, 5, 5, MAX_RETRY);
    let expected = [(source(1), Some(1 + BAN_TIME)), (source(2), Some(10)), (source(5), None)];
    assert_eq!(ends(&engine), expected);
}

#[test]
fn whoever_is_allowed_now_is_unbanned_and_stays_so_until_the_entry_is_gone() {
    let mut engine = fresh();
    attempt(&mut engine, 1, 1, MAX_RETRY);
    attempt(&mut engine, 1, 2, MAX_RETRY);
    let told = adjust(&mut engine, 2, Adjustment::Allow(vec![source(1)]));
    assert_eq!(told.changed, 1);
    assert_eq!(ends(&engine), [(source(2), Some(1 + BAN_TIME))], "the neighbour stays");
    let told = attempt(&mut engine, 3, 1, MAX_RETRY);
    assert_eq!(told.refused, [(source(1), Allowed::Listed { entry: source(1) })]);
    let told = adjust(&mut engine, 4, Adjustment::Disallow(source(7)));
    assert_eq!(told.unchanged, [source(7)], "there is no such entry");
    let told = adjust(&mut engine, 4, Adjustment::Disallow(source(1)));
    assert!(told.unchanged.is_empty());
    assert_eq!(attempt(&mut engine, 5, 1, MAX_RETRY).changed, 1);
    assert_eq!(ends(&engine).len(), 2);
}

#[test]
fn an_entry_is_allowed_once() {
    let mut jail = jails().swap_remove(0);
    for _ in 0..3 {
        assert!(jail.adjust(&Adjustment::Allow(vec![source(1), source(2), source(1)])));
    }
    assert_eq!(jail.allow.entries(), [source(1), source(2)]);
    assert!(jail.adjust(&Adjustment::Disallow(source(1))));
    assert!(!jail.adjust(&Adjustment::Disallow(source(1))));
    assert_eq!(jail.allow.entries(), [source(2)]);
}

#[test]
fn attempts_are_stored_as_failures_are() {
    let mut engine = fresh();
    let manual = Manual::Attempt { jail: JailId(0), source: source(1), count: 2 };
    let effects = engine.handle(Timestamp::from_seconds(1), Input::Manual(manual));
    let counted = effects.persist.iter().filter(|change| matches!(change, Change::Count { .. }));
    assert_eq!(counted.count(), 2);
    let found = effects.report.iter().filter(|report| matches!(report, Report::Found(_)));
    assert_eq!(found.count(), 2);
}

proptest! {
    /// An engine that was adjusted before it saw anything decides as one that was
    /// configured so.
    #[test]
    fn adjusted_is_as_good_as_configured(
        max_retry in 0_u32..6,
        find_time in 1_i64..100,
        ban_time in prop::option::of(1_i64..200),
        failures in prop::collection::vec((0_i64..30, 1_u8..6), 0..60),
    ) {
        let adjustments = [
            Adjustment::MaxRetry(max_retry),
            Adjustment::FindTime(Span::from_seconds(find_time)),
            Adjustment::BanTime(ban_time.map(Span::from_seconds)),
            Adjustment::Allow(vec![source(5)]),
        ];
        let mut adjusted = fresh();
        let mut jails = jails();
        for adjustment in adjustments {
            jails[0].adjust(&adjustment);
            adjust(&mut adjusted, 0, adjustment);
        }
        let mut configured = engine_of(jails, Stored::default(), at(0)).0;
        let mut now = 1;
        for (pause, n) in failures {
            now += pause;
            for engine in [&mut adjusted, &mut configured] {
                attempt(engine, now, n, 1);
            }
            prop_assert_eq!(ends(&adjusted), ends(&configured));
        }
    }
}
