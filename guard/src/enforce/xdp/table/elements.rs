//! The hash map beside the table, and what of its bans a word can say.

use std::io;

use guard_common::layout::{Ban, FOREVER, Slot};
use guard_common::table::{Elsewhere, Entry};

use super::super::map::{Cursor, Map};
use crate::enforce::Moment;

pub(super) const SECOND: u64 = 1_000_000_000;

/// The hash map.
#[derive(Debug)]
pub(super) struct Elements(pub(super) Map<[u8; 4], Ban>);

/// What went wrong, and at which address of those that were to be set.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) at: Option<u32>,
    pub(super) cause: io::Error,
}

impl From<io::Error> for Failure {
    fn from(cause: io::Error) -> Self {
        Self { at: None, cause }
    }
}

/// The second since boot from which the ends in a table that is built now count.
pub(in super::super) fn epoch(now: Moment) -> u64 {
    (now.boot_nanos / SECOND).saturating_sub(1)
}

/// A ban of one class in one word, if one word can say it.
pub(in super::super) fn entry(class: u8, until: u64, epoch: u64) -> Option<Entry> {
    if until == FOREVER {
        return Entry::forever(class);
    }
    Entry::new(class, until.div_ceil(SECOND).checked_sub(epoch)?)
}

/// A whole ban in one word, if one word can say it.
pub(in super::super) fn word(ban: &Ban, epoch: u64) -> Option<Entry> {
    let [slot, rest @ ..] = ban.slots;
    let alone = rest.iter().all(|slot| slot.classes == 0) && slot.classes.is_power_of_two();
    if !alone {
        return None;
    }
    entry(u8::try_from(slot.classes.trailing_zeros()).ok()?, slot.until, epoch)
}

pub(super) fn number(key: &[u8; 4]) -> u32 {
    u32::from_ne_bytes(*key)
}

impl Elsewhere for Elements {
    type Ban = Ban;
    type Error = Failure;

    fn entry(ban: &Ban, epoch: u64) -> Option<Entry> {
        word(ban, epoch)
    }

    fn ban(entry: Entry, epoch: u64) -> Ban {
        let mut ban = Ban::default();
        ban.slots[0] = Slot { classes: 1 << entry.class(), until: entry.until(epoch) };
        ban
    }

    fn look_up(&self, address: u32) -> Result<Option<Ban>, Failure> {
        Ok(self.0.look_up(&address.to_ne_bytes())?)
    }

    fn set(&mut self, bans: &[(u32, Ban)]) -> Result<(), Failure> {
        let keys: Vec<[u8; 4]> = bans.iter().map(|(address, _)| address.to_ne_bytes()).collect();
        let values: Vec<Ban> = bans.iter().map(|(_, ban)| *ban).collect();
        self.0.update_batch(&keys, &values).map_err(|(done, cause)| Failure {
            at: bans.get(done).map(|(address, _)| *address),
            cause,
        })
    }

    fn remove(&mut self, addresses: &[u32]) -> Result<(), Failure> {
        let keys: Vec<[u8; 4]> = addresses.iter().map(|address| address.to_ne_bytes()).collect();
        Ok(self.0.delete_batch(&keys)?)
    }

    fn each(&self) -> Result<Vec<(u32, Ban)>, Failure> {
        let mut each = Vec::new();
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let mut cursor = Cursor::default();
        let mut more = true;
        while more {
            more = self.0.walk(&mut cursor, &mut keys, &mut values)?;
            each.extend(keys.iter().map(number).zip(values.iter().copied()));
        }
        Ok(each)
    }
}
