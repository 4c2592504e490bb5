//! The store against a model, against kills and against what it cannot work with.

mod faults;
mod model;
mod rewrites;

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::core::delta::Ban;
use crate::core::effects::Change;
use crate::core::failure::Failure;
use crate::core::jail::JailId;
use crate::core::time::Span;
use model::{Model, changes, names};

const SSHD: JailId = JailId(0);
const PROXMOX: JailId = JailId(1);

fn home() -> (TempDir, PathBuf) {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("lib/guard/guard.sqlite3");
    (directory, path)
}

fn name(text: &str) -> JailName {
    JailName::new(text).expect("a jail name")
}

fn jails() -> Vec<JailName> {
    vec![name("sshd"), name("proxmox")]
}

fn prefix(text: &str) -> Prefix {
    text.parse().expect("a prefix")
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn ban(jail: JailId, source: &str, until: Option<i64>) -> Change {
    let reason = Reason::Failures { count: 3, within: Span::from_seconds(7), last: None };
    Change::Ban(Ban { jail, source: prefix(source), since: at(10), until: until.map(at), reason })
}

fn failure(jail: JailId, source: &str, time: i64) -> Change {
    let source = prefix(source);
    let failure = Failure { jail, source, time: at(time), user: Some("root".into()) };
    Change::Count { failure, weight: 1 }
}

fn position(place: &str) -> Change {
    let (source, place) = ("journal".to_owned(), place.to_owned());
    Change::Position(Position { source, place, time: at(10) })
}

fn sources(store: &mut Store) -> Vec<String> {
    let bans = store.bans().expect("bans");
    bans.iter().map(|ban| format!("{} {}", ban.jail, ban.source)).collect()
}

#[test]
fn every_kind_of_change_comes_back() {
    let (_home, path) = home();
    let forced = Reason::Manual { forced: true };
    let by_hand = Ban {
        jail: PROXMOX,
        source: prefix("2001:db8::/64"),
        since: at(1),
        until: None,
        reason: forced,
    };
    let mut store = Store::open(&path).expect("a store");
    let state = Some("a=1".to_owned());
    store
        .persist(
            &[
                failure(SSHD, "192.0.2.1", 5),
                ban(SSHD, "192.0.2.1", Some(70)),
                Change::Ban(by_hand),
                Change::Correlate { jail: SSHD, key: "sshd[7]".into(), state },
                position("s=1"),
            ],
            &jails(),
        )
        .expect("persisted");
    drop(store);
    let stored = Store::open(&path).expect("the store").load().expect("all of it");
    assert_eq!(
        stored.bans,
        [
            StoredBan {
                jail: name("sshd"),
                source: prefix("192.0.2.1"),
                since: at(10),
                until: Some(at(70)),
                reason: Reason::Failures { count: 3, within: Span::from_seconds(7), last: None },
            },
            StoredBan {
                jail: name("proxmox"),
                source: by_hand.source,
                since: at(1),
                until: None,
                reason: forced,
            },
        ]
    );
    assert_eq!(stored.failures.len(), 1);
    assert_eq!(stored.failures[0].user.as_deref(), Some("root"));
    assert_eq!(stored.correlations[0].key, "sshd[7]");
    assert_eq!(stored.positions[0].place, "s=1");
    let totals = |jail, failures, bans| Totals { jail: name(jail), failures, bans };
    assert_eq!(stored.totals, [totals("proxmox", 0, 1), totals("sshd", 1, 1)]);
}

#[test]
fn forgetting_is_exact() {
    let (_home, path) = home();
    let mut store = Store::open(&path).expect("a store");
    let forget = Change::Forget { jail: SSHD, source: prefix("192.0.2.1"), before: Some(at(6)) };
    let changes = [
        failure(SSHD, "192.0.2.1", 5),
        failure(SSHD, "192.0.2.1", 6),
        failure(SSHD, "192.0.2.2", 5),
        failure(PROXMOX, "192.0.2.1", 5),
        failure(SSHD, "192.0.2.0/24", 5),
        forget,
    ];
    store.persist(&changes, &jails()).expect("persisted");
    let left = store.load().expect("all of it").failures;
    let left: Vec<_> = left.iter().map(|f| (f.jail.as_str(), f.source, f.time)).collect();
    assert_eq!(
        left,
        [
            ("sshd", prefix("192.0.2.1"), at(6)),
            ("sshd", prefix("192.0.2.2"), at(5)),
            ("proxmox", prefix("192.0.2.1"), at(5)),
            ("sshd", prefix("192.0.2.0/24"), at(5)),
        ]
    );
}

#[test]
fn a_jail_keeps_what_is_its_own_wherever_it_stands_in_the_configuration() {
    let (_home, path) = home();
    let mut store = Store::open(&path).expect("a store");
    store.persist(&[ban(SSHD, "192.0.2.1", None)], &jails()).expect("persisted");
    drop(store);
    // `sshd` is not started, and its number is another jail's.
    let mut store = Store::open(&path).expect("the store");
    store.persist(&[ban(JailId(0), "192.0.2.2", None)], &[name("proxmox")]).expect("persisted");
    assert_eq!(sources(&mut store), ["sshd 192.0.2.1", "proxmox 192.0.2.2"]);
}

#[test]
fn bans_of_jails_that_are_not_started_end_too() {
    let (_home, path) = home();
    let mut store = Store::open(&path).expect("a store");
    let changes = [
        ban(SSHD, "192.0.2.1", Some(70)),
        ban(SSHD, "192.0.2.2", Some(71)),
        ban(SSHD, "192.0.2.3", None),
    ];
    store.persist(&changes, &jails()).expect("persisted");
    assert_eq!(store.expire(at(70)).expect("expired"), 1);
    assert_eq!(sources(&mut store), ["sshd 192.0.2.2", "sshd 192.0.2.3"]);
}

#[test]
fn without_an_agent_bans_are_ended_here() {
    let (_home, path) = home();
    let mut agent = Store::open(&path).expect("a store");
    let changes = [
        ban(SSHD, "192.0.2.1", None),
        ban(SSHD, "192.0.2.2", None),
        ban(PROXMOX, "192.0.2.1", None),
        failure(SSHD, "192.0.2.1", 5),
        failure(SSHD, "192.0.2.3", 5),
    ];
    agent.persist(&changes, &jails()).expect("persisted");
    let mut client = Store::open_existing(&path).expect("the store");
    assert_eq!(client.bans().expect("readable beside the agent").len(), 3);
    let held = client.unban(None, None, at(9), &[]).expect_err("the agent lives");
    assert!(matches!(held, StoreError::Held { pid: Some(pid), .. } if pid == std::process::id()));
    drop(agent);
    let (one, other) = ([prefix("192.0.2.1")], [prefix("192.0.2.9")]);
    assert_eq!(client.unban(Some(&name("sshd")), Some(&other), at(9), &[]).expect("none"), 0);
    assert_eq!(client.unban(Some(&name("sshd")), Some(&one), at(8), &[]).expect("one"), 1);
    assert_eq!(sources(&mut client), ["sshd 192.0.2.2", "proxmox 192.0.2.1"]);
    let Stored { failures, pardons, .. } = client.load().expect("all of it");
    assert_eq!(failures.len(), 1, "those of the unbanned source are forgotten: {failures:?}");
    let pardoned = |source: &str, until| StoredPardon {
        jail: name("sshd"),
        source: Some(prefix(source)),
        until: at(until),
    };
    assert_eq!(pardons, [pardoned("192.0.2.1", 8), pardoned("192.0.2.9", 9)]);
    assert_eq!(client.unban(None, None, at(9), &[]).expect("all"), 2);
    assert!(sources(&mut client).is_empty());
}

#[test]
fn modes_are_narrow() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_home, path) = home();
    let mut store = Store::open(&path).expect("a store");
    store.persist(&[position("s=1")], &jails()).expect("persisted");
    let mode = |path: &Path| path.metadata().expect("a file").permissions().mode() & 0o7777;
    assert_eq!(mode(path.parent().expect("a directory")), 0o700);
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let mut file = path.clone().into_os_string();
        file.push(suffix);
        assert_eq!(mode(Path::new(&file)), 0o600, "{}", file.display());
    }
}

#[test]
fn a_batch_that_fails_changes_nothing() {
    let (_home, path) = home();
    let mut store = Store::open(&path).expect("a store");
    store.persist(&[position("s=1"), ban(SSHD, "192.0.2.1", None)], &jails()).expect("persisted");
    let before = store.load().expect("all of it");
    // The last change belongs to no jail; the first would make a new one.
    let changes =
        [position("s=2"), ban(PROXMOX, "192.0.2.2", None), ban(JailId(2), "192.0.2.3", None)];
    let error = store.persist(&changes, &jails()).expect_err("no such jail");
    assert!(matches!(error, StoreError::UnknownJail { jail: JailId(2), started: 2 }));
    assert_eq!(store.load().expect("all of it"), before);
    // The rows of the failed transaction are not believed in.
    store.persist(&changes[..2], &jails()).expect("persisted");
    assert_eq!(sources(&mut store), ["sshd 192.0.2.1", "proxmox 192.0.2.2"]);
}

/// What format 1 held is there in the newest one, and new things beside it.
#[test]
fn a_store_of_the_first_format_is_brought_to_the_newest() {
    let (_home, path) = home();
    drop(files::open_or_make(&path).expect("a file"));
    let mut old = connect(&path, BUSY_TIMEOUT).expect("a database");
    schema::migrate_to(&mut old, &path, 1).expect("the first format");
    old.execute_batch(
        "INSERT INTO jail (id, name, failures) VALUES (1, 'sshd', 2);
         INSERT INTO failure (jail, source, time, user) VALUES (1, x'c000020120', 5, 'root');
         INSERT INTO ban (jail, source, since, until, reason)
             VALUES (1, x'c000020120', 5, NULL, '{\"by\":\"manual\",\"forced\":false}');",
    )
    .expect("rows of the first format");
    drop(old);
    let mut store = Store::open(&path).expect("the store");
    let version = store.connection.pragma_query_value(None, "user_version", |row| row.get(0));
    assert_eq!(version, Ok(schema::FORMAT));
    let past = Past { count: 3, since: at(7), length: Some(Span::from_seconds(9)) };
    let remember = Change::Remember { jail: SSHD, source: prefix("192.0.2.1"), past: Some(past) };
    store.persist(&[remember], &jails()).expect("persisted");
    let stored = store.load().expect("all of it");
    assert_eq!(stored.failures[0].weight, 1);
    assert_eq!(sources(&mut store), ["sshd 192.0.2.1"]);
    assert_eq!(stored.history[0].past, past);
}

/// `PRAGMA synchronous`: 1 is NORMAL, 2 is FULL.
#[test]
fn only_bans_and_their_ends_wait_for_the_disk() {
    let (_home, path) = home();
    let mut store = Store::open(&path).expect("a store");
    let unban = Change::Unban { jail: SSHD, source: prefix("192.0.2.1") };
    for (change, expected) in [
        (ban(SSHD, "192.0.2.1", None), 2),
        (failure(SSHD, "192.0.2.1", 5), 1),
        (unban, 2),
        (position("s=1"), 1),
    ] {
        store.persist(&[position("s=0"), change.clone()], &jails()).expect("persisted");
        let level = store.connection.pragma_query_value(None, "synchronous", |row| row.get(0));
        assert_eq!(level, Ok(expected), "{change:?}");
    }
    let mode = store.connection.pragma_query_value(None, "journal_mode", |row| row.get(0));
    assert_eq!(mode, Ok("wal".to_owned()));
}

#[test]
fn a_hundred_thousand_bans_are_stored_at_once() {
    let (_home, path) = home();
    let mut store = Store::open(&path).expect("a store");
    // Spread over the whole address space, as attackers are.
    let address = |i: u32| std::net::Ipv4Addr::from(i.wrapping_mul(2_654_435_761));
    let reason = Reason::Manual { forced: false };
    let changes: Vec<_> = (0..100_000)
        .map(|i| {
            let (jail, source) = (SSHD, Prefix::from(address(i)));
            Change::Ban(Ban { jail, source, since: at(1), until: Some(at(9)), reason })
        })
        .collect();
    store.persist(&changes, &jails()).expect("persisted");
    let mut stored: Vec<Prefix> = store.bans().expect("bans").iter().map(|b| b.source).collect();
    let mut expected: Vec<Prefix> = (0..100_000).map(|i| Prefix::from(address(i))).collect();
    stored.sort_unstable();
    expected.sort_unstable();
    assert!(stored == expected, "{} bans", stored.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// After any batches, and reopening wherever, the store is what a plain model is.
    #[test]
    fn it_is_what_a_model_is(batches in prop::collection::vec((names(), changes(), any::<bool>()), 1..12)) {
        let (_home, path) = home();
        let mut store = Store::open(&path).expect("a store");
        let mut model = Model::default();
        for (names, changes, reopen) in batches {
            store.persist(&changes, &names).expect("persisted");
            model.apply(&changes, &names);
            if reopen {
                drop(store);
                store = Store::open(&path).expect("the store");
            }
            prop_assert_eq!(&Model::from(store.load().expect("all of it")), &model);
        }
    }
}
