//! The record of what was done: bans that were made, and packets that were dropped. Nothing
//! is decided by it; `guardctl report` reads it.
//!
//! Bounds: the newest [`BANS`] bans, [`AT_ONCE`] of one transaction, one line an hour of drops for [`HOURS`]. A ban is in
//! the record from the transaction that makes it.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use super::load::{jails, source};
use super::{Store, StoreError, Totals, schema};
use crate::core::addr::Prefix;
use crate::core::jail::JailName;
use crate::core::time::{Span, Timestamp};

/// Bans that are remembered.
pub(super) const BANS: i64 = 100_000;
/// Bans of one transaction that are remembered: a list that somebody bans by hand is no
/// attack, and is to be written fast.
pub(super) const AT_ONCE: usize = 1_000;
/// Hours of drops that are remembered: a year and a day.
const HOURS: i64 = 367 * 24;
/// One, in microseconds.
const HOUR: i64 = 3_600_000_000;

/// What was done since some time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Bans that were made, in their order.
    pub bans: Vec<MadeBan>,
    /// Drops, by the hour, those without left out.
    pub drops: Vec<DropHour>,
    /// How many bans each jail has in force now.
    pub in_force: Vec<(JailName, u64)>,
    /// Sums over each jail's whole life.
    pub totals: Vec<Totals>,
    /// The first ban that is remembered, whenever it was; what was before is not known.
    pub begins: Option<Timestamp>,
}

/// A ban that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeBan {
    /// The jail.
    pub jail: JailName,
    /// Who was banned.
    pub source: Prefix,
    /// When it began: of one by failures, when the last of them was logged.
    pub since: Timestamp,
    /// Failures that led to it; `None` of one by hand.
    pub failures: Option<u64>,
    /// From the last failure until it was decided and stored; `None` where nobody knows.
    pub took: Option<Span>,
}

/// What was dropped in one hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropHour {
    /// When it began.
    pub hour: Timestamp,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Store {
    /// Takes note of how many packets and bytes the kernel has dropped up to `now`, since it
    /// began to count. What that is more than the last time counts for this hour; less
    /// means that it began anew.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn record_drops(
        &mut self,
        now: Timestamp,
        packets: u64,
        bytes: u64,
    ) -> Result<(), StoreError> {
        self.wait_for_disk(super::Durability::Soon)?;
        let failed = self.failed("recording drops");
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let (packets, bytes) = (number(packets), number(bytes));
        let hour = now.micros().div_euclid(HOUR);
        let mut write = || -> rusqlite::Result<()> {
            let transaction = self.connection.transaction()?;
            let last = transaction.query_row("SELECT packets, bytes FROM counted", [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
            });
            let (before, bytes_before) = last.optional()?.unwrap_or_default();
            if packets == before && bytes == bytes_before {
                return Ok(());
            }
            let anew = packets < before || bytes < bytes_before;
            let more =
                if anew { (packets, bytes) } else { (packets - before, bytes - bytes_before) };
            transaction.execute(
                "INSERT INTO dropped (hour, packets, bytes) VALUES (?1, ?2, ?3)
                 ON CONFLICT (hour) DO UPDATE
                 SET packets = packets + excluded.packets, bytes = bytes + excluded.bytes",
                params![hour, more.0, more.1],
            )?;
            transaction.execute("DELETE FROM dropped WHERE hour <= ?1", [hour - HOURS])?;
            transaction.execute("DELETE FROM counted", [])?;
            transaction.execute(
                "INSERT INTO counted (packets, bytes) VALUES (?1, ?2)",
                params![packets, bytes],
            )?;
            transaction.commit()
        };
        write().map_err(failed)
    }
}

/// What was done since `since`, of a store that may be in use. Nothing is written.
///
/// # Errors
/// When there is no store, it cannot be read, or no agent of this version had it yet.
pub fn read(path: &Path, since: Timestamp) -> Result<Record, StoreError> {
    match path.try_exists() {
        Ok(true) => {}
        Ok(false) => return Err(StoreError::Missing { path: path.to_owned() }),
        Err(cause) => return Err(StoreError::unwritable(path, cause)),
    }
    let failed = |cause| StoreError::sqlite(path, "reading the record", cause);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
    schema::check(&connection, path)?;
    read_from(&mut connection, since).map_err(failed)
}

fn read_from(connection: &mut Connection, since: Timestamp) -> rusqlite::Result<Record> {
    // One read transaction: the agent in between changes nothing of what is read.
    let snapshot = connection.transaction()?;
    let (names, totals) = jails(&snapshot)?;
    let mut record = Record { totals, ..Record::default() };
    // A store that only an older guard had remembers nothing.
    let format: i64 = snapshot.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if format >= schema::RECORD {
        let mut statement = snapshot.prepare(
            "SELECT jail, source, since, failures, took FROM made WHERE since >= ?1
             ORDER BY since, id",
        )?;
        let mut rows = statement.query([since.micros()])?;
        while let Some(row) = rows.next()? {
            let Some(jail) = names.get(&row.get(0)?) else { continue };
            record.bans.push(MadeBan {
                jail: jail.clone(),
                source: source(row)?,
                since: Timestamp::from_micros(row.get(2)?),
                failures: row.get::<_, Option<i64>>(3)?.map(i64::unsigned_abs),
                took: row.get::<_, Option<i64>>(4)?.map(Span::from_micros),
            });
        }
        let begins = snapshot
            .query_row("SELECT min(since) FROM made", [], |row| row.get::<_, Option<i64>>(0))?;
        record.begins = begins.map(Timestamp::from_micros);
        let mut statement = snapshot
            .prepare("SELECT hour, packets, bytes FROM dropped WHERE hour >= ?1 ORDER BY hour")?;
        let drops = statement.query_map([since.micros().div_euclid(HOUR)], |row| {
            Ok(DropHour {
                hour: Timestamp::from_micros(row.get::<_, i64>(0)?.saturating_mul(HOUR)),
                packets: row.get::<_, i64>(1)?.unsigned_abs(),
                bytes: row.get::<_, i64>(2)?.unsigned_abs(),
            })
        })?;
        record.drops = drops.collect::<rusqlite::Result<_>>()?;
    }
    let mut statement = snapshot.prepare("SELECT jail, count(*) FROM ban GROUP BY jail")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(jail) = names.get(&row.get(0)?) {
            record.in_force.push((jail.clone(), row.get::<_, i64>(1)?.unsigned_abs()));
        }
    }
    record.in_force.sort();
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::delta::Ban;
    use crate::core::effects::Change;
    use crate::core::jail::JailId;
    use crate::core::reason::Reason;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(&directory.path().join("guard.sqlite3")).expect("a store");
        (directory, store)
    }

    fn ban(source: &str, since: Timestamp, reason: Reason) -> Change {
        let source = source.parse().expect("a source");
        Change::Ban(Ban { jail: JailId(0), source, since, until: None, reason })
    }

    const FAILURES: Reason = Reason::Failures { count: 4, within: Span::ZERO, last: None };

    #[test]
    fn a_ban_stays_in_the_record_when_it_is_over_and_is_read_beside_the_agent() {
        let (_directory, mut store) = store();
        let names = [JailName::new("sshd").expect("a name")];
        let now = super::super::persist::now();
        let early = now - Span::from_seconds(3_600);
        let changes = [
            ban("192.0.2.1", now - Span::from_seconds(2), FAILURES),
            ban("192.0.2.2", early, Reason::Manual { forced: false }),
        ];
        store.persist(&changes, &names).expect("stored");
        let source = "192.0.2.1".parse().expect("a source");
        store.persist(&[Change::Unban { jail: JailId(0), source }], &names).expect("stored");
        let record = read(store.path(), early + Span::from_seconds(1)).expect("a record");
        let [made] = record.bans.as_slice() else { panic!("{record:?}") };
        assert_eq!((made.source, made.failures), (source, Some(4)));
        let took = made.took.expect("it is known").seconds();
        assert!((2..30).contains(&took), "{took} s");
        assert_eq!(record.begins, Some(early), "what is older is known to be there");
        assert_eq!(record.in_force, [(names[0].clone(), 1)]);
        let record = read(store.path(), early).expect("a record");
        assert_eq!((record.bans[0].failures, record.bans[0].took), (None, None), "by hand");
    }

    #[test]
    fn only_the_newest_bans_are_kept() {
        let (_directory, mut store) = store();
        let names = [JailName::new("sshd").expect("a name")];
        let of = |n: u32| {
            let address = std::net::Ipv4Addr::from_bits(0xc612_0000 + n);
            ban(&address.to_string(), Timestamp::from_seconds(n.into()), FAILURES)
        };
        let kept = u32::try_from(BANS).expect("it fits");
        let changes: Vec<Change> = (0..kept + 3).map(of).collect();
        for some in changes.chunks(AT_ONCE) {
            store.persist(some, &names).expect("stored");
        }
        let record = read(store.path(), Timestamp::from_seconds(0)).expect("a record");
        assert_eq!(record.bans.len(), usize::try_from(BANS).expect("it fits"));
        assert_eq!(record.begins, Some(Timestamp::from_seconds(3)));
        store.persist(&changes[..AT_ONCE + 1], &names).expect("stored");
        let record = read(store.path(), Timestamp::from_seconds(0)).expect("a record");
        assert_eq!(record.bans[0].since, Timestamp::from_seconds(0), "the first of them");
        assert_eq!(record.begins, Some(Timestamp::from_seconds(0)));
        let last = Timestamp::from_seconds(i64::try_from(AT_ONCE).expect("it fits"));
        assert!(!record.bans.iter().any(|ban| ban.since == last), "and one too many is not");
    }

    #[test]
    fn drops_are_counted_for_their_hour_and_a_counter_may_begin_anew() {
        let (_directory, mut store) = store();
        let at = |seconds| Timestamp::from_seconds(seconds);
        for (time, packets) in [(10, 5), (20, 5), (3_599, 9), (3_600, 10), (7_300, 2)] {
            store.record_drops(at(time), packets, packets * 60).expect("recorded");
        }
        let hour =
            |hour: i64, packets| DropHour { hour: at(hour * 3_600), packets, bytes: packets * 60 };
        let record = read(store.path(), at(0)).expect("a record");
        assert_eq!(record.drops, [hour(0, 9), hour(1, 1), hour(2, 2)]);
        let record = read(store.path(), at(4_000)).expect("a record");
        assert_eq!(record.drops, [hour(1, 1), hour(2, 2)], "the hour that it lies in, too");
        store.record_drops(at(400 * 86_400), 3, 180).expect("recorded");
        let record = read(store.path(), at(0)).expect("a record");
        assert_eq!(record.drops.len(), 1, "what is older than a year is forgotten");
    }

    #[test]
    fn a_store_of_an_older_guard_has_an_empty_record() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("guard.sqlite3");
        let mut old = Connection::open(&path).expect("a database");
        schema::migrate_to(&mut old, &path, 2).expect("the format before");
        assert_eq!(read(&path, Timestamp::default()).expect("a record"), Record::default());
        assert!(matches!(
            read(&directory.path().join("none"), Timestamp::default()),
            Err(StoreError::Missing { .. })
        ));
    }
}
