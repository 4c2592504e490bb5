//! The order in which bans come, change, move and go: the table and the hash map as one.
//!
//! Input: what is wanted of some addresses. Output: stores to the table and changes of
//! the hash map. Invariant: at every moment between two of them a reader finds each
//! address banned that is banned before and after, and none that is banned neither before
//! nor after. So whoever is killed between two of them leaves a state from which
//! [`Bans::adopt`] goes on.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::entry::Entry;
use super::lookup::Found;
use super::words::{Memory, Table};

/// The hash map beside a table: address → a ban of any kind.
pub trait Elsewhere {
    /// A ban of any kind.
    type Ban;
    /// What can go wrong.
    type Error;

    /// Whether it holds an address.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn holds(&self, address: u32) -> Result<bool, Self::Error>;

    /// Sets the bans of addresses, one after the other.
    ///
    /// # Errors
    /// What could not be set; some may be.
    fn set(&mut self, bans: Vec<(u32, Self::Ban)>) -> Result<(), Self::Error>;

    /// Removes addresses, which may be there or not.
    ///
    /// # Errors
    /// What could not be removed; some may be.
    fn remove(&mut self, addresses: &[u32]) -> Result<(), Self::Error>;

    /// All addresses that it holds.
    ///
    /// # Errors
    /// When it cannot be read.
    fn addresses(&self) -> Result<Vec<u32>, Self::Error>;
}

/// The end of all look-ups that are going on now.
pub trait Grace {
    /// What can go wrong.
    type Error;

    /// Returns when every look-up that began before has ended.
    ///
    /// # Errors
    /// When that cannot be known.
    fn wait(&mut self) -> Result<(), Self::Error>;
}

/// What an address is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<B> {
    /// No ban.
    Nothing,
    /// This ban; in the table where `entry` says all of it and there is room.
    Ban {
        /// The ban in one word, if one word can say it.
        entry: Option<Entry>,
        /// The same ban for the hash map.
        ban: B,
    },
}

/// All IPv4 bans.
#[derive(Debug)]
pub struct Bans<M, E, G> {
    table: Table<M>,
    elsewhere: E,
    grace: G,
    /// By line: how many of its addresses the hash map holds.
    outside: BTreeMap<u32, u32>,
}

impl<M: Memory, E: Elsewhere, G: Grace<Error = E::Error>> Bans<M, E, G> {
    /// Takes over what is there, whenever its writer was stopped: lines of what the hash
    /// map holds are marked, other lines are not, and what is in both places leaves the
    /// table.
    ///
    /// # Errors
    /// What the hash map's functions answer.
    pub fn adopt(table: Table<M>, elsewhere: E, grace: G) -> Result<Self, E::Error> {
        let mut bans = Self { table, elsewhere, grace, outside: BTreeMap::new() };
        let addresses = bans.elsewhere.addresses()?;
        for &address in &addresses {
            bans.has_come(address);
        }
        for line in 1..=bans.table.header().buckets {
            if bans.table.is_marked(line) && !bans.outside.contains_key(&line) {
                bans.table.mark(line, false);
            }
        }
        // The hash map is the newer one: a ban that moves is written there first.
        bans.leave_the_table(addresses)?;
        Ok(bans)
    }

    /// What the words say.
    pub fn table(&self) -> &Table<M> {
        &self.table
    }

    /// The hash map.
    pub fn elsewhere(&self) -> &E {
        &self.elsewhere
    }

    /// Makes changes of different addresses. Who goes goes first, which makes room.
    ///
    /// # Errors
    /// What the hash map's functions answer; some of the changes are made then.
    pub fn apply(&mut self, changes: Vec<(u32, Wanted<E::Ban>)>) -> Result<(), E::Error> {
        let mut gone = Vec::new();
        let mut come = Vec::new();
        for (address, wanted) in changes {
            match wanted {
                Wanted::Nothing => {
                    self.table.clear(address);
                    if self.is_elsewhere(address)? {
                        gone.push(address);
                    }
                }
                Wanted::Ban { entry, ban } => come.push((address, entry, ban)),
            }
        }
        self.elsewhere.remove(&gone)?;
        gone.into_iter().for_each(|address| self.has_gone(address));

        let (mut new, mut there) = (Vec::new(), Vec::new());
        for (address, entry, ban) in come {
            if self.is_elsewhere(address)? {
                there.push((address, ban));
                continue;
            }
            // What is wanted of an address that is in the table is written over it.
            if entry.is_none_or(|entry| self.table.put(address, entry).is_err()) {
                new.push((address, ban));
            }
        }
        self.elsewhere.set(there)?;
        let addresses: Vec<u32> = new.iter().map(|(address, _)| *address).collect();
        let set = self.elsewhere.set(new);
        for &address in &addresses {
            if set.is_ok() || self.elsewhere.holds(address)? {
                self.has_come(address);
            }
        }
        set?;
        self.leave_the_table(addresses)
    }

    /// Clears the words of addresses that the hash map holds and whose lines are marked.
    fn leave_the_table(&mut self, mut addresses: Vec<u32>) -> Result<(), E::Error> {
        addresses.retain(|address| matches!(self.table.find(*address), Found::Here(_)));
        if addresses.is_empty() {
            return Ok(());
        }
        // A reader who began before the mark was set may have passed it already, and come
        // to the word only when it is clear.
        self.grace.wait()?;
        addresses.into_iter().for_each(|address| self.table.clear(address));
        Ok(())
    }

    fn is_elsewhere(&self, address: u32) -> Result<bool, E::Error> {
        let line = self.table.header().line(address);
        Ok(self.outside.contains_key(&line) && self.elsewhere.holds(address)?)
    }

    fn has_come(&mut self, address: u32) {
        let line = self.table.header().line(address);
        *self.outside.entry(line).or_default() += 1;
        self.table.mark(line, true);
    }

    fn has_gone(&mut self, address: u32) {
        let line = self.table.header().line(address);
        let left = self.outside.get(&line).map_or(0, |count| count - 1);
        if left == 0 {
            self.outside.remove(&line);
            self.table.mark(line, false);
        } else {
            self.outside.insert(line, left);
        }
    }
}
