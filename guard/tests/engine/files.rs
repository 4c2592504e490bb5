//! Jails on files beside jails on the journal: each has its own clock.

use guard::core::engine::Engine;
use guard::core::entry::{Batch, Entry, Position};
use guard::core::input::Input;
use guard::core::jail::{LogFiles, LogSource};

use super::{BAN_TIME, FIND_TIME, LIMITS, Stored, at, bans, batch, entry, jails, source};

/// Jail 0 reads the journal, jail 1 a file.
fn engine() -> Engine {
    let mut jails = jails();
    jails[1].source = LogSource::Files(LogFiles::default());
    Engine::restore(jails, Default::default(), LIMITS, Default::default(), Stored::default(), at(0))
        .0
}

/// All that was written to the file before `time` was read.
fn of_file(entries: Vec<Entry>, time: i64) -> Input {
    let position =
        Position { source: "file:/x.log".to_owned(), place: time.to_string(), time: at(time) };
    Input::Entries(Batch { entries, position })
}

#[test]
fn a_source_that_lags_is_not_hurried_by_another() {
    let mut engine = engine();
    // The journal is an hour behind, its failures lie close together.
    let now = 10_000;
    for time in 1..=3 {
        engine.handle(at(now), batch(vec![entry(1, 0, now - 3600 + time)], 1, now - 3600 + time));
        engine.handle(at(now), of_file(vec![], now));
    }
    // That ban would be over; another attacker is still at it.
    assert!(bans(&engine).is_empty());
    for time in 1..=3 {
        engine.handle(at(now), batch(vec![entry(2, 0, now - 90 + time)], 1, now - 90 + time));
        engine.handle(at(now), of_file(vec![], now));
    }
    let banned = |jail, n| bans(&engine).contains_key(&(jail, source(n)));
    assert!(banned(0, 2) && !banned(1, 2));
    // And the other way round.
    for time in 1..=3 {
        engine.handle(at(now), of_file(vec![entry(3, 1, now - 90 + time)], now - 3600));
        engine.handle(at(now), batch(vec![], 1, now));
    }
    assert!(bans(&engine).contains_key(&(1, source(3))));
}

#[test]
fn what_an_old_file_tells_for_the_first_time_does_not_count() {
    let mut engine = engine();
    let now = 10_000;
    let old = |n, age| -> Vec<Entry> { (0..3).map(|_| entry(n, 1, now - age)).collect() };
    engine.handle(at(now), of_file(old(1, FIND_TIME + 1), now));
    assert!(bans(&engine).is_empty());
    engine.handle(at(now), of_file(old(2, FIND_TIME), now));
    assert!(bans(&engine).contains_key(&(1, source(2))));
    // While guard was down it was written, and not read: it counts.
    engine.handle(at(now), of_file(old(3, FIND_TIME + 1), now - 10));
    assert!(bans(&engine).contains_key(&(1, source(3))));
}

/// Two files of one jail, one of which lags: what is read late counts as it would have.
#[test]
fn a_failure_that_is_read_late_is_judged_by_its_own_time() {
    let mut engine = engine();
    // A ban lasts longer than the one file lags.
    let (now, lag) = (10_000, FIND_TIME + 20);
    let fail = |engine: &mut Engine, n, time| {
        engine.handle(at(now), of_file(vec![entry(n, 1, time)], now - lag - 10));
    };
    // Two of either time are none within one window.
    for time in [now, now - lag, now, now - lag] {
        fail(&mut engine, 1, time);
    }
    assert!(bans(&engine).is_empty());
    // The neighbour fails as often, a third time late; then the first a third time now.
    for time in [now, now - lag, now, now - lag, now - lag + 1] {
        fail(&mut engine, 2, time);
    }
    let ban = |n, end| ((1, source(n)), Some(end));
    let late = ban(2, now - lag + 1 + BAN_TIME);
    assert_eq!(bans(&engine), [late].into());
    fail(&mut engine, 1, now);
    assert_eq!(bans(&engine), [ban(1, now + BAN_TIME), late].into());
}
