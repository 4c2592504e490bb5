//! Changes that the store does not have yet.
//!
//! Input: what each input led to, in the order of the inputs. Output: transactions for the
//! store, in that order. Invariants: what one input led to is in one transaction; what the
//! store refused is kept until it takes it; there are never many more than [`MOST`].
//!
//! If the agent ends with something held, the store has neither these changes nor the
//! positions after them: what the log still has is read again.

use std::collections::VecDeque;

use crate::core::addr::Prefix;
use crate::core::delta::Ban;
use crate::core::effects::Change;
use crate::core::jail::JailName;
use crate::daemon::keep::Keep;
use crate::store::StoreError;

/// So many changes are held before nothing more is read: some ten megabytes, the failures
/// of a day on a host that is attacked as usual.
pub const MOST: usize = 100_000;
/// Changes that make one transaction, so that what was held for long is written fast.
const AT_ONCE: usize = 1_000;
/// The same for bans that are written anew.
const BANS_AT_ONCE: usize = 10_000;

/// What waits for the store.
#[derive(Debug, Default)]
pub struct Unstored {
    units: VecDeque<Unit>,
    /// Changes in them, but for bans that are written anew.
    changes: usize,
}

#[derive(Debug)]
enum Unit {
    Changes(Vec<Change>),
    /// An end of bans in all jails that are not started.
    Others(Option<Vec<Prefix>>),
    /// Bans that a new store does not have.
    Anew(Vec<Change>),
}

impl Unstored {
    /// Whether the store has everything.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Whether no more may be added but what cannot wait.
    pub fn is_full(&self) -> bool {
        self.changes >= MOST
    }

    /// How many changes are held.
    pub fn len(&self) -> usize {
        self.changes
    }

    /// Adds what one input led to.
    pub fn push(&mut self, mut changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let Some(Unit::Changes(last)) = self.units.back_mut() else {
            return self.push_apart(changes);
        };
        if last.len() + changes.len() > AT_ONCE {
            return self.push_apart(changes);
        }
        let before = last.len();
        // In one transaction only the last position of a source is ever seen.
        last.retain(|change| !is_overtaken(change, &changes));
        last.append(&mut changes);
        self.changes = self.changes + last.len() - before;
    }

    /// Adds an end of bans in jails that are not started.
    pub fn push_others(&mut self, sources: Option<Vec<Prefix>>) {
        self.changes += 1;
        self.units.push_back(Unit::Others(sources));
    }

    /// Adds every ban in force, for a store that has none of them.
    pub fn push_bans(&mut self, bans: impl Iterator<Item = Ban>) {
        // Those that were to be written before are among them, or over.
        self.units.retain(|unit| !matches!(unit, Unit::Anew(_)));
        let mut bans = bans.map(Change::Prolong).peekable();
        // Also where there is none: whether the store can be written shows with this.
        loop {
            self.units.push_back(Unit::Anew(bans.by_ref().take(BANS_AT_ONCE).collect()));
            if bans.peek().is_none() {
                return;
            }
        }
    }

    /// Has the store make one transaction of the oldest of them.
    ///
    /// # Errors
    /// As [`Keep::persist`]; it is still held then.
    pub fn write_one(
        &mut self,
        store: &mut dyn Keep,
        names: &[JailName],
    ) -> Result<(), StoreError> {
        let Some(unit) = self.units.front() else { return Ok(()) };
        let written = match unit {
            Unit::Changes(changes) => store.persist(changes, names).map(|()| changes.len()),
            Unit::Anew(changes) => store.persist(changes, names).map(|()| 0),
            Unit::Others(sources) => store.unban_others(names, sources.as_deref()).map(|()| 1),
        };
        self.changes -= written?;
        self.units.pop_front();
        Ok(())
    }

    fn push_apart(&mut self, changes: Vec<Change>) {
        self.changes += changes.len();
        self.units.push_back(Unit::Changes(changes));
    }
}

fn is_overtaken(change: &Change, by: &[Change]) -> bool {
    let Change::Position(old) = change else { return false };
    by.iter().any(|new| matches!(new, Change::Position(new) if new.source == old.source))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::core::entry::Position;
    use crate::core::jail::JailId;
    use crate::core::time::Timestamp;

    #[derive(Debug, Default)]
    struct Written {
        refuses: bool,
        transactions: Vec<Vec<Change>>,
        others: Vec<(usize, Option<Vec<Prefix>>)>,
    }

    impl Written {
        fn answer(&self) -> Result<(), StoreError> {
            let cause = || io::Error::other("full");
            let refused = || StoreError::Unwritable { path: "x".into(), cause: cause() };
            if self.refuses { Err(refused()) } else { Ok(()) }
        }
    }

    impl Keep for Written {
        fn persist(&mut self, changes: &[Change], _: &[JailName]) -> Result<(), StoreError> {
            self.answer()?;
            self.transactions.push(changes.to_vec());
            Ok(())
        }

        fn unban_others(
            &mut self,
            _: &[JailName],
            sources: Option<&[Prefix]>,
        ) -> Result<(), StoreError> {
            self.answer()?;
            self.others.push((self.transactions.len(), sources.map(<[Prefix]>::to_vec)));
            Ok(())
        }

        fn record_drops(&mut self, _: Timestamp, _: u64, _: u64) -> Result<(), StoreError> {
            self.answer()
        }
    }

    fn unban(number: u32) -> Change {
        let source = std::net::IpAddr::from(std::net::Ipv4Addr::from_bits(number)).into();
        Change::Unban { jail: JailId(0), source }
    }

    fn position(source: &str, place: u32) -> Change {
        let (source, place) = (source.to_owned(), place.to_string());
        Change::Position(Position { source, place, time: Timestamp::default() })
    }

    fn write_all(held: &mut Unstored, store: &mut Written) {
        while !held.is_empty() {
            held.write_one(store, &[]).expect("written");
        }
        assert_eq!(held.len(), 0);
    }

    #[test]
    fn order_is_kept_and_only_the_last_position_of_each_source_counts() {
        let (mut held, mut store) = (Unstored::default(), Written::default());
        held.push(vec![unban(1), position("journal", 1), position("file", 1)]);
        held.push(Vec::new());
        held.push(vec![unban(2), position("journal", 2)]);
        held.push_others(None);
        held.push(vec![unban(3)]);
        write_all(&mut held, &mut store);
        let first = vec![unban(1), position("file", 1), unban(2), position("journal", 2)];
        assert_eq!(store.transactions, [first, vec![unban(3)]]);
        assert_eq!(store.others, [(1, None)], "between the two");
    }

    #[test]
    fn what_is_refused_stays_and_nothing_is_torn_apart() {
        let (mut held, mut store) =
            (Unstored::default(), Written { refuses: true, ..Written::default() });
        let large: Vec<Change> = (0..1_500).map(unban).collect();
        held.push(large.clone());
        held.push(vec![unban(9_000)]);
        held.write_one(&mut store, &[]).expect_err("refused");
        assert_eq!(held.len(), 1_501);
        store.refuses = false;
        write_all(&mut held, &mut store);
        assert_eq!(store.transactions, [large, vec![unban(9_000)]]);
    }

    #[test]
    fn bans_are_written_anew_also_when_there_are_none() {
        let (mut held, mut store) = (Unstored::default(), Written::default());
        held.push_bans(std::iter::empty());
        assert!(!held.is_empty() && !held.is_full());
        let reason = crate::core::reason::Reason::Manual { forced: false };
        let (jail, since) = (JailId(0), Timestamp::default());
        let source = |number| std::net::IpAddr::from(std::net::Ipv4Addr::from_bits(number)).into();
        let ban = |number| Ban { jail, source: source(number), since, until: None, reason };
        held.push_bans((0..20_000).map(ban));
        held.push_bans((0..10_001).map(ban));
        write_all(&mut held, &mut store);
        let sizes: Vec<usize> = store.transactions.iter().map(Vec::len).collect();
        assert_eq!(sizes, [10_000, 1], "each once, with the last list");
    }

    #[test]
    fn it_is_full_at_its_bound_and_not_before() {
        let mut held = Unstored::default();
        let most = u32::try_from(MOST).expect("it fits");
        (1..most).for_each(|number| held.push(vec![unban(number)]));
        assert!(!held.is_full());
        held.push(vec![unban(0)]);
        assert!(held.is_full());
        let mut store = Written::default();
        held.write_one(&mut store, &[]).expect("written");
        assert!(!held.is_full());
        assert_eq!(store.transactions[0].len(), AT_ONCE, "in large transactions");
    }
}
