//! Who failed when, kept small: there may be a million sources with a failure each.
//!
//! Input: all failures of a source at once. Output: the same, and the source whose newest
//! failure is oldest. Invariants: a source is in the table, in one slot and in the ring of
//! its newest failure's moment, or in none of them; a slot or place that is not used is in
//! a list of those to be used next; memory follows what is kept now, not what once was.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::Weighed;
use crate::core::addr::Prefix;
use crate::core::time::{Span, Timestamp};

/// The end of a list.
const NONE: u32 = u32::MAX;
/// Fewer slots than this are not worth giving back.
const WORTH: usize = 4_096;
/// Moments to a window: a source is forgotten that part of it late at most.
const MOMENTS: i64 = 4_096;
/// The shortest moment.
const SECOND: i64 = 1_000_000;

/// Failures of many sources.
#[derive(Clone, Debug)]
pub(super) struct Tracked {
    hasher: RandomState,
    table: HashTable<u32>,
    slots: Vec<Slot>,
    free_slot: u32,
    older: Vec<Older>,
    free_older: u32,
    /// Sources by the moment of their newest failure.
    rings: BTreeMap<i64, Ring>,
    /// Microseconds in a moment.
    moment: i64,
    failures: usize,
}

/// A source, its newest failure, and where the others are.
#[derive(Clone, Debug)]
struct Slot {
    source: Prefix,
    weight: u16,
    newest: Packed,
    older: u32,
    /// In its ring; of a slot that is not used, the next such one.
    next: u32,
    previous: u32,
}

/// One failure before the newest.
#[derive(Clone, Debug)]
struct Older {
    time: Packed,
    weight: u16,
    /// The one before it; of a place that is not used, the next such one.
    before: u32,
}

/// A [`Timestamp`] that leaves no gaps around it.
#[derive(Clone, Copy, Debug)]
struct Packed([u8; 8]);

/// The sources of one moment, in the order in which they came to it.
#[derive(Clone, Copy, Debug)]
struct Ring {
    first: u32,
    last: u32,
    count: usize,
}

impl Packed {
    fn new(time: Timestamp) -> Self {
        Self(time.micros().to_ne_bytes())
    }

    fn time(self) -> Timestamp {
        Timestamp::from_micros(i64::from_ne_bytes(self.0))
    }
}

/// A weight is less than its jail's `maxretry`. Where that is beyond 65,535, one failure that
/// weighs more counts as so many.
fn narrow(weight: u32) -> u16 {
    u16::try_from(weight).unwrap_or(u16::MAX)
}

impl Slot {
    fn failure(&self) -> Weighed {
        Weighed { time: self.newest.time(), weight: u32::from(self.weight) }
    }
}

impl Tracked {
    /// Tracks nobody yet. `find_time` is how long a failure will matter.
    pub(super) fn new(find_time: Span) -> Self {
        Self {
            hasher: RandomState::new(),
            table: HashTable::new(),
            slots: Vec::new(),
            free_slot: NONE,
            older: Vec::new(),
            free_older: NONE,
            rings: BTreeMap::new(),
            moment: (find_time.micros() / MOMENTS).max(SECOND),
            failures: 0,
        }
    }

    /// How many sources there are.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// How many failures they have together.
    pub(super) fn failures(&self) -> usize {
        self.failures
    }

    /// The failures of a source, the newest first.
    pub(super) fn of(&self, source: &Prefix) -> impl Iterator<Item = Weighed> {
        let slot = self.find(source).map(|number| &self.slots[number as usize]);
        slot.into_iter().flat_map(|slot| self.in_slot(slot))
    }

    /// All failures, the sources that fall silent first being first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Prefix, Weighed)> {
        let slots = self.rings.values().flat_map(|ring| self.in_ring(ring.first));
        slots.flat_map(|slot| self.in_slot(slot).map(|failure| (slot.source, failure)))
    }

    fn in_slot<'a>(&'a self, slot: &'a Slot) -> impl Iterator<Item = Weighed> + 'a {
        let mut before = slot.older;
        let older = std::iter::from_fn(move || {
            let place = (before != NONE).then(|| &self.older[before as usize])?;
            before = place.before;
            Some(Weighed { time: place.time.time(), weight: u32::from(place.weight) })
        });
        std::iter::once(slot.failure()).chain(older)
    }

    fn in_ring(&self, first: u32) -> impl Iterator<Item = &Slot> {
        let mut number = first;
        std::iter::from_fn(move || {
            let slot = (number != NONE).then(|| &self.slots[number as usize])?;
            number = slot.next;
            Some(slot)
        })
    }

    /// Takes all failures of a source out of here and puts them into `into`, the oldest
    /// first; whether it had any.
    pub(super) fn take(&mut self, source: &Prefix, into: &mut Vec<Weighed>) -> bool {
        into.clear();
        into.extend(self.of(source));
        into.reverse();
        // They come back in a moment: nothing is moved together for that.
        self.drop_out(source)
    }

    /// Puts the failures of a source, which has none here, the oldest first.
    pub(super) fn put(&mut self, source: Prefix, failures: &[Weighed]) {
        let Some((newest, older)) = failures.split_last() else { return };
        let mut before = NONE;
        for failure in older {
            let (time, weight) = (Packed::new(failure.time), narrow(failure.weight));
            before = self.put_older(Older { time, weight, before });
        }
        let slot = Slot {
            source,
            weight: narrow(newest.weight),
            newest: Packed::new(newest.time),
            older: before,
            next: NONE,
            previous: NONE,
        };
        let number = match self.free_slot {
            NONE => {
                self.slots.push(slot);
                number(self.slots.len() - 1)
            }
            free => {
                let place = &mut self.slots[free as usize];
                self.free_slot = std::mem::replace(place, slot).next;
                free
            }
        };
        self.failures += failures.len();
        self.join_ring(number, newest.time);
        let (slots, hasher) = (&self.slots, &self.hasher);
        let entry = self.table.entry(
            hasher.hash_one(source),
            |other| slots[*other as usize].source == source,
            |other| hasher.hash_one(slots[*other as usize].source),
        );
        match entry {
            Entry::Vacant(place) => drop(place.insert(number)),
            Entry::Occupied(_) => debug_assert!(false, "{source} is tracked already"),
        }
    }

    /// Forgets a source; whether it was tracked.
    pub(super) fn remove(&mut self, source: &Prefix) -> bool {
        let there = self.drop_out(source);
        self.give_back();
        there
    }

    fn drop_out(&mut self, source: &Prefix) -> bool {
        let Self { slots, hasher, table, .. } = self;
        let found = table.find_entry(hasher.hash_one(source), |number| {
            slots[*number as usize].source == *source
        });
        let Ok(entry) = found else { return false };
        let (number, _) = entry.remove();
        self.leave_ring(number);
        let slot = &mut self.slots[number as usize];
        slot.next = std::mem::replace(&mut self.free_slot, number);
        let mut before = std::mem::replace(&mut slot.older, NONE);
        self.failures -= 1;
        while before != NONE {
            let place = &mut self.older[before as usize];
            let next = std::mem::replace(&mut place.before, self.free_older);
            self.free_older = before;
            before = next;
            self.failures -= 1;
        }
        true
    }

    /// The source whose newest failure is oldest, to the moment.
    pub(super) fn oldest(&self) -> Option<Prefix> {
        let (_, ring) = self.rings.first_key_value()?;
        Some(self.slots[ring.first as usize].source)
    }

    /// The same if all of its moment is before `horizon`.
    pub(super) fn oldest_before(&self, horizon: Timestamp) -> Option<Prefix> {
        let (moment, _) = self.rings.first_key_value()?;
        let end = moment.saturating_add(1).saturating_mul(self.moment);
        (end <= horizon.micros()).then(|| self.oldest()).flatten()
    }

    /// How many sources failed at or after `horizon`.
    pub(super) fn since(&self, horizon: Timestamp) -> usize {
        let first = self.moment_of(horizon);
        let mut rings = self.rings.range(first..);
        let Some((moment, ring)) = rings.next() else { return 0 };
        let of_first = if *moment > first {
            ring.count
        } else {
            self.in_ring(ring.first).filter(|slot| slot.newest.time() >= horizon).count()
        };
        of_first + rings.map(|(_, ring)| ring.count).sum::<usize>()
    }

    fn find(&self, source: &Prefix) -> Option<u32> {
        let is = |number: &u32| self.slots[*number as usize].source == *source;
        self.table.find(self.hasher.hash_one(source), is).copied()
    }

    fn put_older(&mut self, older: Older) -> u32 {
        match self.free_older {
            NONE => {
                self.older.push(older);
                number(self.older.len() - 1)
            }
            free => {
                let place = &mut self.older[free as usize];
                self.free_older = std::mem::replace(place, older).before;
                free
            }
        }
    }

    fn moment_of(&self, time: Timestamp) -> i64 {
        time.micros().div_euclid(self.moment)
    }

    fn join_ring(&mut self, number: u32, newest: Timestamp) {
        let moment = self.moment_of(newest);
        let empty = Ring { first: number, last: NONE, count: 0 };
        let ring = self.rings.entry(moment).or_insert(empty);
        let last = std::mem::replace(&mut ring.last, number);
        ring.count += 1;
        self.slots[number as usize].previous = last;
        if last != NONE {
            self.slots[last as usize].next = number;
        }
    }

    fn leave_ring(&mut self, number: u32) {
        let Slot { newest, next, previous, .. } = self.slots[number as usize];
        let moment = self.moment_of(newest.time());
        let Some(ring) = self.rings.get_mut(&moment) else { return };
        ring.count -= 1;
        match previous {
            NONE => ring.first = next,
            previous => self.slots[previous as usize].next = next,
        }
        match next {
            NONE => ring.last = previous,
            next => self.slots[next as usize].previous = previous,
        }
        if ring.count == 0 {
            self.rings.remove(&moment);
        }
    }

    /// After many are gone, moves what is left together.
    fn give_back(&mut self) {
        let sparse = |used: usize, places: usize| places > WORTH && used < places / 4;
        let older = self.failures - self.len();
        if !sparse(self.len(), self.slots.len()) && !sparse(older, self.older.len()) {
            return;
        }
        let mut left = Self { hasher: self.hasher.clone(), ..Self::new(Span::default()) };
        left.moment = self.moment;
        let mut failures = Vec::new();
        for ring in self.rings.values() {
            for slot in self.in_ring(ring.first) {
                failures.clear();
                failures.extend(self.in_slot(slot));
                failures.reverse();
                left.put(slot.source, &failures);
            }
        }
        *self = left;
    }
}

/// There are never as many as that: the engine's limit is lower.
fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(NONE)
}

#[cfg(test)]
mod tests;
