//! Taking over what another program knew.
//!
//! Input: last bans. Output: those that are not over are bans of this store, and all are
//! remembered as earlier bans. Invariant: nothing that the store holds gets less: of two
//! bans of one source in one jail the one stays that ends later, of two pasts the one with
//! more bans; so what is imported twice changes nothing the second time.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::fail2ban::LastBan;
use super::{Store, StoreError, Stored};
use crate::core::addr::Prefix;
use crate::core::delta::Ban;
use crate::core::effects::Change;
use crate::core::jail::{JailId, JailName};
use crate::core::reason::Reason;
use crate::core::time::{Span, Timestamp};

/// What was taken over.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Imported {
    /// Bans that go on, by jail.
    pub bans: BTreeMap<JailName, usize>,
    /// Bans that the store held already, at least as long.
    pub held: usize,
    /// Bans that are over, and are only remembered.
    pub over: usize,
    /// Sources of which more bans are remembered than before.
    pub remembered: usize,
}

/// What there is to do so that bans are taken over.
#[derive(Clone, Debug)]
pub struct Takeover {
    /// In words and figures.
    pub imported: Imported,
    changes: Vec<Change>,
    names: Vec<JailName>,
}

impl Store {
    /// Takes bans over. No agent may run.
    ///
    /// # Errors
    /// [`StoreError::Held`] when one does; otherwise as [`Store::persist`].
    pub fn import(&mut self, takeover: &Takeover) -> Result<(), StoreError> {
        self.hold()?;
        self.persist(&takeover.changes, &takeover.names)
    }
}

impl Takeover {
    /// Compares bans with what is stored, at `now`. `counted` says with whom a jail counts a
    /// source: its network, or nobody else.
    pub fn new(
        stored: &Stored,
        bans: &[LastBan],
        counted: impl Fn(&JailName, Prefix) -> Prefix,
        now: Timestamp,
    ) -> Self {
        let key = |jail: &JailName, source: Prefix| (jail.clone(), source);
        let mut held: HashMap<(JailName, Prefix), Option<Timestamp>> =
            stored.bans.iter().map(|ban| (key(&ban.jail, ban.source), ban.until)).collect();
        let mut known: HashMap<(JailName, Prefix), u32> = stored
            .history
            .iter()
            .map(|found| (key(&found.jail, found.source), found.past.count))
            .collect();
        let mut names: Vec<JailName> = bans.iter().map(|ban| ban.jail.clone()).collect();
        names.sort_unstable();
        names.dedup();
        let mut imported = Imported::default();
        let (mut changes, mut remembered) = (Vec::new(), HashSet::new());
        for LastBan { jail, source, past, failures } in bans {
            let place = names.binary_search(jail).ok().and_then(|place| u16::try_from(place).ok());
            let Some(id) = place.map(JailId) else { continue };
            let key = (jail.clone(), *source);
            let until = past.length.map(|length| past.since + length);
            if until.is_some_and(|until| until <= now) {
                imported.over += 1;
            } else if held.get(&key).is_some_and(|held| lasts(*held) >= lasts(until)) {
                imported.held += 1;
            } else {
                held.insert(key, until);
                *imported.bans.entry(jail.clone()).or_default() += 1;
                let reason = Reason::Failures { count: *failures, within: Span::ZERO, last: None };
                let ban = Ban { jail: id, source: *source, since: past.since, until, reason };
                changes.push(Change::Prolong(ban));
            }
            let whom = counted(jail, *source);
            let key = (jail.clone(), whom);
            if known.get(&key).is_none_or(|count| *count < past.count) {
                known.insert(key.clone(), past.count);
                remembered.insert(key);
                changes.push(Change::Remember { jail: id, source: whom, past: Some(*past) });
            }
        }
        imported.remembered = remembered.len();
        Self { imported, changes, names }
    }
}

/// Ends in their order; no end is the last.
fn lasts(until: Option<Timestamp>) -> (bool, Option<Timestamp>) {
    (until.is_none(), until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::history::Past;

    fn last(source: &str, since: i64, length: Option<i64>, count: u32) -> LastBan {
        LastBan {
            jail: JailName::new("sshd").expect("a name"),
            source: source.parse().expect("a source"),
            past: Past {
                count,
                since: Timestamp::from_seconds(since),
                length: length.map(Span::from_seconds),
            },
            failures: 5,
        }
    }

    fn import(
        store: &mut Store,
        bans: &[LastBan],
        counted: impl Fn(&JailName, Prefix) -> Prefix,
    ) -> Imported {
        let now = Timestamp::from_seconds(2_000);
        let takeover = Takeover::new(&store.load().expect("all"), bans, counted, now);
        store.import(&takeover).expect("taken over");
        takeover.imported
    }

    fn alone(_: &JailName, source: Prefix) -> Prefix {
        source
    }

    #[test]
    fn networks_are_remembered_as_they_are_counted() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut store = Store::open(&directory.path().join("guard.sqlite3")).expect("a store");
        // Two addresses of one network, and one address in two spellings.
        let all = [
            last("2001:db8::1", 1_000, Some(10), 4),
            last("2001:db8::2", 1_000, Some(10), 3),
            last("192.0.2.1", 1_000, None, 2),
            last("::ffff:192.0.2.1", 1_500, Some(600), 1),
        ];
        let counted = |_: &JailName, source: Prefix| source.counted_with(64);
        let imported = import(&mut store, &all, counted);
        assert_eq!((imported.remembered, imported.held), (2, 1));
        let history = store.load().expect("all").history;
        let mut counts: Vec<_> =
            history.iter().map(|found| (found.source.to_string(), found.past.count)).collect();
        counts.sort_unstable();
        assert_eq!(counts, [("192.0.2.1".to_owned(), 2), ("2001:db8::/64".to_owned(), 4)]);
        let bans = store.bans().expect("bans");
        assert_eq!((bans.len(), bans[0].until), (1, None), "the longer one stays");
    }

    #[test]
    fn what_goes_on_is_a_ban_and_all_is_remembered_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut store = Store::open(&directory.path().join("guard.sqlite3")).expect("a store");
        let all = [
            last("192.0.2.1", 1_000, Some(1_001), 2),
            last("192.0.2.2", 1_000, Some(1_000), 7),
            last("192.0.2.3", 1_000, None, 1),
        ];
        let first = import(&mut store, &all, alone);
        let sshd = JailName::new("sshd").expect("a name");
        assert_eq!((first.bans[&sshd], first.over, first.remembered), (2, 1, 3));
        let bans = store.bans().expect("bans");
        let ends: Vec<_> = bans.iter().map(|ban| ban.until).collect();
        assert_eq!(ends, [Some(Timestamp::from_seconds(2_001)), None]);

        let again = import(&mut store, &all, alone);
        assert_eq!(again, Imported { held: 2, over: 1, ..Imported::default() });
        // A longer one takes the place of a shorter one, not the other way round.
        let longer =
            [last("192.0.2.1", 1_500, Some(1_000), 3), last("192.0.2.3", 1_900, Some(999), 1)];
        let more = import(&mut store, &longer, alone);
        assert_eq!((more.bans[&sshd], more.held, more.remembered), (1, 1, 1));
        let ends: Vec<_> = store.bans().expect("bans").iter().map(|ban| ban.until).collect();
        assert_eq!(ends, [Some(Timestamp::from_seconds(2_500)), None]);
        let past = store.load().expect("all").history;
        let counts: Vec<u32> = past.iter().map(|found| found.past.count).collect();
        assert_eq!(counts, [3, 7, 1]);
    }
}
