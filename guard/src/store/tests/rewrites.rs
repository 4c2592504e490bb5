//! A store that is written anew: with all that is known, or with what it held before.

use super::*;
use crate::store::fill::{Rewrite, Whole};

fn prolong(jail: JailId, source: &str, until: Option<i64>) -> Change {
    let Change::Ban(ban) = ban(jail, source, until) else { unreachable!("it is a ban") };
    Change::Prolong(ban)
}

/// As bans are known that were taken over from the kernel.
fn guessed(jail: JailId, source: &str, until: Option<i64>) -> Change {
    let Change::Ban(ban) = ban(jail, source, until) else { unreachable!("it is a ban") };
    let reason = Reason::Failures { count: 0, within: Span::ZERO, last: None };
    Change::Prolong(Ban { reason, ..ban })
}

fn past(jail: JailId, source: &str, count: u32) -> Change {
    let past = Past { count, since: at(10), length: Some(Span::from_seconds(60)) };
    Change::Remember { jail, source: prefix(source), past: Some(past) }
}

fn pardon(jail: JailId, source: &str, until: i64) -> Change {
    Change::Pardon { jail, source: Some(prefix(source)), until: Some(at(until)) }
}

fn fill(store: &mut Store, rewrite: Rewrite, changes: Vec<Change>, history: bool) {
    let totals = [Totals { jail: name("sshd"), failures: 2, bans: 1 }];
    let changes = &mut changes.into_iter();
    let whole = Whole { changes, totals: &totals, jails: &jails()[..1], history };
    store.fill(rewrite, whole).expect("filled");
}

/// One with bans, earlier bans and pardons of two jails; `proxmox` is none of those that
/// [`fill`] knows.
fn stored() -> (TempDir, Store) {
    let (home, path) = home();
    let mut store = Store::open(&path).expect("a store");
    let of = |jail| {
        [
            failure(jail, "192.0.2.9", 5),
            ban(jail, "192.0.2.1", Some(70)),
            ban(jail, "192.0.2.2", None),
            past(jail, "192.0.2.1", 3),
            pardon(jail, "192.0.2.8", 50),
        ]
    };
    store.persist(&[of(SSHD), of(PROXMOX)].concat(), &jails()).expect("persisted");
    (home, store)
}

/// Ends of the bans, counts of earlier bans, ends of pardons, number of failures, and totals.
fn told(store: &mut Store, jail: &str) -> String {
    let Stored { bans, history, pardons, failures, totals, .. } = store.load().expect("all of it");
    let jail = name(jail);
    let end = |until: Option<Timestamp>| until.map_or(0, Timestamp::seconds);
    let last = |source: Prefix| source.to_string().rsplit('.').next().map(str::to_owned);
    let bans = bans.iter().filter(|ban| ban.jail == jail);
    let bans: Vec<_> = bans.map(|ban| (last(ban.source), end(ban.until))).collect();
    let history = history.iter().filter(|past| past.jail == jail);
    let history: Vec<_> = history.map(|past| (last(past.source), past.past.count)).collect();
    let pardons = pardons.iter().filter(|pardon| pardon.jail == jail);
    let pardons: Vec<_> = pardons.map(|pardon| pardon.until.seconds()).collect();
    let failures = failures.iter().filter(|failure| failure.jail == jail).count();
    let totals: Vec<_> = totals.iter().filter(|total| total.jail == jail).collect();
    let totals: Vec<_> = totals.iter().map(|total| (total.failures, total.bans)).collect();
    let told = format!("{bans:?} {history:?} {pardons:?} {failures} {totals:?}");
    told.replace("Some(\"", "").replace("\")", "")
}

const PROXMOX_AS_IT_WAS: &str = "[(1, 70), (2, 0)] [(1, 3)] [50] 1 [(1, 2)]";

#[test]
fn what_is_known_takes_the_place_of_what_was_stored() {
    let known = || vec![prolong(SSHD, "192.0.2.1", Some(60)), past(SSHD, "192.0.2.7", 1)];
    let (_home, mut store) = stored();
    fill(&mut store, Rewrite::Afresh, known(), true);
    assert_eq!(told(&mut store, "sshd"), "[(1, 60)] [(7, 1)] [] 0 [(2, 1)]");
    assert_eq!(told(&mut store, "proxmox"), PROXMOX_AS_IT_WAS);

    // Where no jail asks for earlier bans nobody knows them, and they stay.
    let (_home, mut store) = stored();
    fill(&mut store, Rewrite::Afresh, vec![], false);
    assert_eq!(told(&mut store, "sshd"), "[] [(1, 3)] [] 0 [(2, 1)]");
}

#[test]
fn beside_what_could_not_be_read_what_tells_more_stays() {
    let (_home, mut store) = stored();
    let known = vec![
        // Shorter, shorter than for ever, and new.
        prolong(SSHD, "192.0.2.1", Some(60)),
        prolong(SSHD, "192.0.2.2", Some(60)),
        prolong(SSHD, "192.0.2.3", Some(60)),
        past(SSHD, "192.0.2.1", 2),
        past(SSHD, "192.0.2.3", 1),
        pardon(SSHD, "192.0.2.8", 40),
        failure(SSHD, "192.0.2.5", 5),
        failure(SSHD, "192.0.2.6", 5),
    ];
    fill(&mut store, Rewrite::Beside, known, true);
    assert_eq!(
        told(&mut store, "sshd"),
        "[(1, 70), (2, 0), (3, 60)] [(1, 3), (3, 1)] [50] 2 [(3, 3)]"
    );
    assert_eq!(told(&mut store, "proxmox"), PROXMOX_AS_IT_WAS);

    // Longer; and nobody knows how long bans last that the kernel held.
    let known = vec![
        prolong(SSHD, "192.0.2.1", Some(80)),
        guessed(SSHD, "192.0.2.3", Some(90)),
        guessed(SSHD, "192.0.2.4", Some(90)),
        past(SSHD, "192.0.2.1", 4),
        pardon(SSHD, "192.0.2.8", 60),
    ];
    fill(&mut store, Rewrite::Beside, known, true);
    assert_eq!(
        told(&mut store, "sshd"),
        "[(1, 80), (2, 0), (3, 60), (4, 90)] [(1, 4), (3, 1)] [60] 0 [(5, 4)]"
    );
}

#[test]
fn nothing_is_put_back_while_somebody_else_writes() {
    let (_home, mut store) = stored();
    let before = store.snapshot().expect("a snapshot");
    store.persist(&[ban(SSHD, "192.0.2.4", Some(70))], &jails()).expect("persisted");
    let path = store.path().to_owned();
    let other = Connection::open(&path).expect("another");
    other.execute_batch("BEGIN IMMEDIATE").expect("a transaction");
    store.wait_at_most(Duration::ZERO).expect("no patience");
    let error = store.put_back(&before).expect_err("it is being written").to_string();
    assert!(error.contains("locked") && error.contains("guard.sqlite3"), "{error}");
    other.execute_batch("ROLLBACK").expect("nothing");
    let mut store = Store::open_existing(&path).expect("the store");
    assert_eq!(sources(&mut store).len(), 5, "as it was");
}

proptest! {
    /// Whatever came since a snapshot is gone, and what was there then is there again.
    #[test]
    fn a_snapshot_is_all_that_there_was(
        (first, then) in (changes(), changes()),
        names in names(),
    ) {
        let (_home, path) = home();
        let mut store = Store::open(&path).expect("a store");
        store.persist(&first, &names).expect("persisted");
        let (before, snapshot) = (store.load().expect("all"), store.snapshot().expect("a snapshot"));
        store.persist(&then, &names).expect("persisted");
        store.put_back(&snapshot).expect("put back");
        let mut store = Store::open(&path).expect("the store");
        prop_assert_eq!(store.load().expect("all"), before);
        // It is one to work with.
        store.persist(&then, &names).expect("persisted");
    }
}
