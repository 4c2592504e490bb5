//! Kills, and files that the store cannot or must not use.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use super::*;

/// Tells the child of [`a_killed_agent_loses_nothing_that_was_persisted`] where.
const CHILD: &str = "GUARD_TEST_STORE_CHILD";

#[test]
fn a_killed_agent_loses_nothing_that_was_persisted() {
    if let Some(path) = std::env::var_os(CHILD) {
        persist_until_killed(Path::new(&path));
    }
    for kill_after in [1, 7, 40] {
        let (_home, path) = home();
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "--nocapture"])
            .arg("store::tests::faults::a_killed_agent_loses_nothing_that_was_persisted")
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let told = output
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("persisted ")?.parse::<i64>().ok())
            .nth(kill_after)
            .expect("it persists");
        child.kill().expect("killed");
        child.wait().expect("dead");
        let stored = Store::open(&path).expect("no stale lock").load().expect("all of it");
        let place: i64 = stored.positions[0].place.parse().expect("a number");
        assert!(place >= told, "{place} is stored, {told} was told");
        // Whole batches: one failure and one ban each, one position over all.
        let count = usize::try_from(place + 1).expect("a count");
        assert_eq!((stored.failures.len(), stored.bans.len()), (count, count));
    }
}

fn persist_until_killed(path: &Path) -> ! {
    let mut store = Store::open(path).expect("a store");
    for i in 0.. {
        let source = format!("10.0.{}.{}", i / 256, i % 256);
        let changes =
            [failure(SSHD, &source, i), ban(SSHD, &source, None), position(&i.to_string())];
        store.persist(&changes, &jails()).expect("persisted");
        println!("persisted {i}");
    }
    unreachable!("it is killed before it has counted to the end");
}

/// A crash inside a transaction: what was not committed is not there.
#[test]
fn half_a_batch_is_no_batch() {
    let (_home, path) = home();
    let mut store = Store::open(&path).expect("a store");
    store.persist(&[ban(SSHD, "192.0.2.1", None)], &jails()).expect("persisted");
    store.connection.execute_batch("BEGIN; DELETE FROM ban;").expect("begun");
    drop(store);
    let mut store = Store::open(&path).expect("the store");
    assert_eq!(sources(&mut store), ["sshd 192.0.2.1"]);
}

#[test]
fn a_second_agent_is_told_of_the_first() {
    let (_home, path) = home();
    let first = Store::open(&path).expect("a store");
    let error = Store::open(&path).expect_err("held");
    let told = error.to_string();
    assert!(told.contains(&format!("process {}", std::process::id())), "{told}");
    assert!(told.contains(&path.display().to_string()), "{told}");
    drop(first);
    Store::open(&path).expect("free again");
}

#[test]
fn a_full_disk_is_an_error_that_passes() {
    let (_home, path) = home();
    let mut store = Store::open(&path).expect("a store");
    store.persist(&[ban(SSHD, "192.0.2.1", None), position("1")], &jails()).expect("persisted");
    let before = store.load().expect("all of it");
    let pages: i64 =
        store.connection.pragma_query_value(None, "page_count", |row| row.get(0)).expect("a count");
    let limit = |store: &Store, pages: i64| {
        let pragma = format!("PRAGMA max_page_count = {pages}");
        store.connection.query_row(&pragma, [], |_| Ok(())).expect("a limit");
    };
    limit(&store, pages);
    let many: Vec<_> =
        (0..2_000).map(|i| failure(SSHD, &format!("10.0.{}.{}", i / 256, i % 256), i)).collect();
    let error = store.persist(&many, &jails()).expect_err("full");
    assert!(matches!(error, StoreError::Unwritable { .. }), "{error}");
    assert_eq!(store.load().expect("all of it"), before);
    limit(&store, 1 << 20);
    store.persist(&many, &jails()).expect("there is room again");
}

#[test]
fn what_cannot_be_written_is_named() {
    let (home, _) = home();
    let file = home.path().join("file");
    fs::write(&file, "").expect("a file");
    for path in [file.join("guard.sqlite3"), "/proc/guard/guard.sqlite3".into(), "/proc/x".into()] {
        let error = Store::open(&path).expect_err("not writable");
        assert!(matches!(error, StoreError::Unwritable { .. }), "{error:?}");
        let told = error.to_string();
        assert!(
            told.contains(&path.display().to_string()) && told.contains("guard.toml"),
            "{told}"
        );
    }
    // A directory in place of the file.
    assert!(matches!(Store::open(home.path()), Err(StoreError::Unwritable { .. })));
}

#[test]
fn damaged_foreign_and_newer_files_are_refused_and_left_alone() {
    let (_home, path) = home();
    let made = || drop(Store::open(&path).expect("a store"));
    let altered = |sql: &str| {
        made();
        Connection::open(&path).expect("a database").execute_batch(sql).expect("altered");
    };
    let refused = || {
        let before = fs::read(&path).expect("the file");
        let error = Store::open(&path).expect_err("refused");
        assert_eq!(fs::read(&path).expect("the file"), before);
        error
    };
    made();
    fs::write(&path, "this was never a database, but it is long enough to look at").expect("text");
    let error = refused();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("puts it aside"), "{error}");
    fs::remove_file(&path).expect("removed");

    altered("PRAGMA user_version = 99");
    let error = refused();
    assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error:?}");
    fs::remove_file(&path).expect("removed");

    altered("PRAGMA application_id = 7");
    let error = refused();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
}

#[test]
fn rows_that_guard_never_writes_are_damage() {
    let (_home, path) = home();
    for sql in [
        "INSERT INTO ban VALUES (1, x'0102030420', 0, NULL, 'no reason')",
        "INSERT INTO ban VALUES (1, x'010203', 0, NULL, '{}')",
        "INSERT INTO ban VALUES (1, x'0102030421', 0, NULL, '{}')",
        "INSERT INTO jail (id, name) VALUES (2, 'a b')",
    ] {
        let mut store = Store::open(&path).expect("a store");
        store.persist(&[ban(SSHD, "192.0.2.1", None)], &jails()).expect("persisted");
        assert!(store.load().is_ok());
        store.connection.execute_batch(sql).expect("a bad row");
        let error = store.load().expect_err(sql);
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
        store
            .connection
            .execute_batch("DELETE FROM ban; DELETE FROM made; DELETE FROM jail")
            .expect("gone");
    }
}

/// Pages overwritten in the middle of the file.
#[test]
fn a_damaged_page_is_found_and_the_file_is_left_alone() {
    let (_home, path) = home();
    let mut store = Store::open(&path).expect("a store");
    let bans: Vec<_> =
        (0..2_000).map(|i| ban(SSHD, &format!("10.0.{}.{}", i / 256, i % 256), None)).collect();
    store.persist(&bans, &jails()).expect("persisted");
    drop(store);
    let mut bytes = fs::read(&path).expect("the file");
    assert!(bytes.len() > 16 * 4096);
    bytes[8 * 4096..].fill(0xa5);
    fs::write(&path, &bytes).expect("damaged");
    let mut store = Store::open(&path).expect("its first pages are sound");
    let error = store.load().expect_err("damaged");
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    drop(store);
    assert_eq!(fs::read(&path).expect("the file").len(), bytes.len());
}

#[test]
fn without_a_store_a_client_is_told_so() {
    let (_home, path) = home();
    let error = Store::open_existing(&path).expect_err("none");
    assert!(matches!(error, StoreError::Missing { .. }), "{error:?}");
    assert!(!path.exists());
}
