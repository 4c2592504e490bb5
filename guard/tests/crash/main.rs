//! Crash anywhere: random timelines through the product's own engine, performer, enforcer's
//! loop and store, with a crash, a refusal or a lost write between any two effects. After it
//! the bans are those of an agent to which nothing happened.
//!
//! [`timeline`] says what happens and what must come of it, [`faults`] what goes wrong,
//! [`world`] is the machine; below it are the model [`kernel`], the store's promises as a
//! model ([`memory`]), and for the real store the model [`disk`] that SQLite reaches through
//! [`vfs`]. The seed is printed; `GUARD_SEED` runs it again. A timeline that fails is made
//! as small as it can be and kept in `regressions.txt`.

#![cfg(feature = "agent")]

mod disk;
mod faults;
mod jails;
mod kernel;
mod memory;
mod timeline;
mod vfs;
mod watched;
mod world;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;

use guard::core::engine::Stored;
use guard::core::time::{Span, Timestamp};
use guard::store::Store;
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, RngAlgorithm, TestRng, TestRunner};
use tempfile::TempDir;

use disk::Disk;
use timeline::{START, Timeline, Undisturbed, timelines};
use world::{Backing, World};

/// Timelines that failed once, and are tried first; from the package's directory.
const KEPT: &str = "tests/crash/regressions.txt";
/// What is older than a window, and has been for longer than entries come late, is nothing.
const OVER: Span = Span::from_seconds(60);

#[test]
fn a_crash_anywhere_changes_nothing() {
    try_all(90_000, timelines(30), |timeline| run(&timeline, &Backing::Memory));
}

#[test]
fn a_crash_anywhere_changes_nothing_on_a_real_database() {
    vfs::register();
    let home = TempDir::new().expect("a directory");
    let path = home.path().join("guard.sqlite3");
    let made = made_store(&path);
    let sqlite = Backing::Sqlite(path);
    try_all(10_000, timelines(90), move |timeline| {
        let disk = if timeline.fresh { Disk::default() } else { made.clone() };
        vfs::with_disk(|here| *here = disk);
        run(&timeline, &sqlite)
    });
}

/// A disk with an empty store.
fn made_store(path: &Path) -> Disk {
    faults::plan(&[]);
    vfs::with_disk(|disk| disk.make(&path.to_string_lossy()));
    drop(Store::open(path).expect("a store"));
    vfs::with_disk(|disk| disk.clone())
}

/// Tries as many timelines, from a seed that is printed.
fn try_all(
    cases: u32,
    timelines: impl Strategy<Value = Timeline>,
    test: impl Fn(Timeline) -> Result<(), TestCaseError>,
) {
    let given = std::env::var("GUARD_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    println!("GUARD_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(KEPT))),
        max_shrink_iters: 100_000,
        ..Config::with_cases(cases)
    };
    if let Err(error) = TestRunner::new_with_rng(config, rng).run(&timelines, test) {
        panic!("{error}");
    }
}

fn run(timeline: &Timeline, backing: &Backing) -> Result<(), TestCaseError> {
    memory::clear();
    faults::plan(&timeline.faults);
    let mut now = START;
    let mut world = World::new(timeline, backing.clone(), Timestamp::from_seconds(now));
    let mut undisturbed = Undisturbed::new(timeline.kind);
    for (number, step) in timeline.steps.iter().enumerate() {
        now += step.after;
        let wall = Timestamp::from_seconds(now);
        world.step(wall, &step.what);
        undisturbed.step(wall, &step.what, &world.journal);
        if !timeline.late {
            prop_assert_eq!(world.bans(), undisturbed.bans(), "after step {}", number);
        }
    }
    let wall = Timestamp::from_seconds(now);
    faults::plan(&[]);
    world.settle();
    prop_assert_eq!(world.bans(), undisturbed.bans(), "at the end");
    prop_assert_eq!(world.kernel.holds(wall), undisturbed.bans(), "in the kernel");
    world.stop();
    let (stored, totals) = match backing {
        Backing::Memory => {
            let tables = memory::tables();
            (tables.stored(), tables.totals(timeline.kind.names().len()))
        }
        Backing::Sqlite(path) => {
            check_database(path)?;
            world::stored(path, timeline.kind)
        }
    };
    let expected = undisturbed.tables();
    if timeline.late {
        // A ban that was over when its failures were read was never made.
        prop_assert_eq!(ends(&stored), ends(&expected.stored()), "stored");
    } else {
        prop_assert_eq!(sorted(stored, wall), sorted(expected.stored(), wall), "stored");
        let expected = expected.totals(timeline.kind.names().len());
        prop_assert_eq!(totals, expected, "totals");
    }
    Ok(())
}

fn check_database(path: &Path) -> Result<(), TestCaseError> {
    let connection = rusqlite::Connection::open(path).expect("the database");
    let told: String =
        connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a check");
    prop_assert_eq!(told, "ok");
    Ok(())
}

fn ends(stored: &Stored) -> Vec<(u16, String, Option<Timestamp>)> {
    let ban = |ban: &guard::core::delta::Ban| (ban.jail.0, ban.source.to_string(), ban.until);
    let mut ends: Vec<_> = stored.bans.iter().map(ban).collect();
    ends.sort();
    ends
}

/// In an order that does not depend on who stored it, and without what is over: when that
/// goes depends on the portions in which the journal is read.
fn sorted(stored: Stored, now: Timestamp) -> Vec<String> {
    let Stored { bans, failures, history, awaited, pardons, .. } = stored;
    let mut all: Vec<String> = Vec::new();
    all.extend(bans.iter().map(|ban| format!("{ban:?}")));
    let counts = failures.iter().filter(|(failure, _)| failure.time >= now - OVER);
    all.extend(counts.map(|failure| format!("{failure:?}")));
    all.extend(history.iter().map(|past| format!("past {past:?}")));
    all.extend(awaited.iter().map(|ban| format!("awaited {ban:?}")));
    let pardons = pardons.iter().filter(|(_, _, until)| *until >= now - OVER);
    all.extend(pardons.map(|pardon| format!("pardon {pardon:?}")));
    all.sort();
    all
}
