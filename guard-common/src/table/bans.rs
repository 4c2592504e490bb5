//! The order in which bans come, change, move and go: the table and the hash map as one.
//!
//! Input: what is wanted of some addresses; another table. Output: stores to the table,
//! changes of the hash map, one table in the place of another. Invariant: at every moment
//! between two of them a reader finds each address banned that is banned before and
//! after, and none that is banned neither before nor after. So whoever is killed between
//! two of them leaves a state from which [`Bans::adopt`] goes on.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::entry::Entry;
use super::lookup::Found;
use super::place::Header;
use super::words::{Memory, Table};

/// The hash map beside a table: address → a ban of any kind.
pub trait Elsewhere {
    /// A ban of any kind.
    type Ban: Copy;
    /// What can go wrong.
    type Error;

    /// The ban in one word of a table with this epoch, if one word can say it.
    fn entry(ban: &Self::Ban, epoch: u64) -> Option<Entry>;

    /// What a word of a table with this epoch says.
    fn ban(entry: Entry, epoch: u64) -> Self::Ban;

    /// The ban of an address.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn look_up(&self, address: u32) -> Result<Option<Self::Ban>, Self::Error>;

    /// Sets the bans of addresses, one after the other.
    ///
    /// # Errors
    /// What could not be set; some may be.
    fn set(&mut self, bans: &[(u32, Self::Ban)]) -> Result<(), Self::Error>;

    /// Removes addresses, which may be there or not.
    ///
    /// # Errors
    /// What could not be removed; some may be.
    fn remove(&mut self, addresses: &[u32]) -> Result<(), Self::Error>;

    /// All that it holds.
    ///
    /// # Errors
    /// When it cannot be read.
    fn each(&self) -> Result<Vec<(u32, Self::Ban)>, Self::Error>;
}

/// Where the programs find the table.
pub trait Place<M> {
    /// What can go wrong.
    type Error;

    /// Puts a table, or none, in the place of the one that is there, and returns when
    /// every look-up that began before has ended.
    ///
    /// # Errors
    /// When that is not possible; then the old one is in place.
    fn set(&mut self, table: Option<&M>) -> Result<(), Self::Error>;

    /// Returns when every look-up that began before has ended. `table` is in place.
    ///
    /// # Errors
    /// When that cannot be known.
    fn wait(&mut self, table: &M) -> Result<(), Self::Error>;
}

/// All IPv4 bans.
#[derive(Debug)]
pub struct Bans<M, E, P> {
    table: Option<Table<M>>,
    elsewhere: E,
    place: P,
    /// By line: how many of its addresses the hash map holds.
    outside: BTreeMap<u32, u32>,
}

impl<M: Memory, E: Elsewhere, P: Place<M, Error = E::Error>> Bans<M, E, P> {
    /// Takes over what is there, whenever its writer was stopped: lines of what the hash
    /// map holds are marked, other lines are not, and nothing is in both places.
    ///
    /// # Errors
    /// What the hash map's functions answer.
    pub fn adopt(table: Option<Table<M>>, elsewhere: E, place: P) -> Result<Self, E::Error> {
        let mut bans = Self { table, elsewhere, place, outside: BTreeMap::new() };
        let Some(table) = &bans.table else { return Ok(bans) };
        let mut outside = bans.elsewhere.each()?;
        // What the table says just so, the hash map need not say. (A new table was put in
        // place, and what went into it was not yet removed here.)
        let epoch = table.header().epoch;
        let mut said: Vec<u32> = outside
            .iter()
            .filter(|(address, ban)| match table.find(*address) {
                Found::Here(entry) => E::entry(ban, epoch) == Some(entry),
                _ => false,
            })
            .map(|(address, _)| *address)
            .collect();
        said.sort_unstable();
        bans.elsewhere.remove(&said)?;
        outside.retain(|(address, _)| said.binary_search(address).is_err());
        for &(address, _) in &outside {
            bans.has_come(address);
        }
        if let Some(table) = &mut bans.table {
            for line in 1..=table.header().buckets {
                if !bans.outside.contains_key(&line) {
                    table.mark(line, false);
                }
            }
        }
        // Else the hash map is the newer one: a ban that moves is written there first.
        bans.leave_the_table(&outside)?;
        Ok(bans)
    }

    /// The table in place.
    pub fn table(&self) -> Option<&Table<M>> {
        self.table.as_ref()
    }

    /// The hash map.
    pub fn elsewhere(&self) -> &E {
        &self.elsewhere
    }

    /// Where the programs find the table.
    pub fn place(&self) -> &P {
        &self.place
    }

    /// The same, to change it.
    pub fn place_mut(&mut self) -> &mut P {
        &mut self.place
    }

    /// The ban of an address.
    ///
    /// # Errors
    /// What the hash map answers.
    pub fn look_up(&self, address: u32) -> Result<Option<E::Ban>, E::Error> {
        let Some(table) = &self.table else { return self.elsewhere.look_up(address) };
        match table.find(address) {
            Found::Here(entry) => Ok(Some(E::ban(entry, table.header().epoch))),
            Found::Elsewhere => self.elsewhere.look_up(address),
            Found::Nowhere => Ok(None),
        }
    }

    /// Removes the bans of addresses that have one.
    ///
    /// # Errors
    /// What the hash map answers; some are removed then.
    pub fn remove(&mut self, addresses: &[u32]) -> Result<(), E::Error> {
        let Some(table) = &mut self.table else { return self.elsewhere.remove(addresses) };
        let mut outside = Vec::new();
        for &address in addresses {
            let line = table.header().line(address);
            table.clear(address);
            if table.is_marked(line) && self.elsewhere.look_up(address)?.is_some() {
                outside.push(address);
            }
        }
        self.elsewhere.remove(&outside)?;
        outside.into_iter().for_each(|address| self.has_gone(address));
        Ok(())
    }

    /// Sets the bans of different addresses, whether they have one or not.
    ///
    /// # Errors
    /// What the hash map answers; some are set then.
    pub fn set(&mut self, bans: &[(u32, E::Ban)]) -> Result<(), E::Error> {
        let Some(table) = &mut self.table else { return self.elsewhere.set(bans) };
        let epoch = table.header().epoch;
        let (mut new, mut there) = (Vec::new(), Vec::new());
        for (address, ban) in bans {
            let line = table.header().line(*address);
            if table.is_marked(line) && self.elsewhere.look_up(*address)?.is_some() {
                there.push((*address, *ban));
                continue;
            }
            // What is wanted of an address that is in the table is written over it.
            let inside =
                E::entry(ban, epoch).is_some_and(|entry| table.put(*address, entry).is_ok());
            if !inside {
                new.push((*address, *ban));
            }
        }
        self.elsewhere.set(&there)?;
        self.leave_the_table(&there)?;
        let set = self.elsewhere.set(&new);
        for (address, _) in &new {
            if set.is_ok() || self.elsewhere.look_up(*address)?.is_some() {
                self.has_come(*address);
            }
        }
        set?;
        self.leave_the_table(&new)
    }

    /// Builds another table in memory that is all zeros, and puts it in place; or none.
    ///
    /// # Errors
    /// What the hash map and the place answer. The old table is in place then, or the new
    /// one, and the hash map still says of some what the table says; all goes on working.
    pub fn rebuild(&mut self, next: Option<(M, Header)>) -> Result<(), E::Error> {
        let mut next = next.and_then(|(memory, header)| Table::create(memory, header));
        let epoch = next.as_ref().map_or(0, |next| next.header().epoch);
        let mut put = |address, ban: &E::Ban| {
            let Some(next) = &mut next else { return false };
            E::entry(ban, epoch).is_some_and(|entry| next.put(address, entry).is_ok())
        };
        // The words first: what finds no place goes to the hash map while they still say it.
        let mut enter = Vec::new();
        if let Some(table) = &self.table {
            let epoch = table.header().epoch;
            for (address, entry) in table.entries() {
                let ban = E::ban(entry, epoch);
                if !put(address, &ban) {
                    enter.push((address, ban));
                }
            }
        }
        let outside = self.elsewhere.each()?;
        let (mut leave, mut stay) = (Vec::new(), Vec::new());
        for (address, ban) in &outside {
            if put(*address, ban) { leave.push(*address) } else { stay.push(*address) }
        }
        let entering: Vec<u32> = enter.iter().map(|(address, _)| *address).collect();
        stay.extend(&entering);
        if let Some(next) = &mut next {
            for address in &stay {
                next.mark(next.header().line(*address), true);
            }
        }
        let set = self.elsewhere.set(&enter);
        if let Err(error) = set.and_then(|()| self.place.set(next.as_ref().map(Table::memory))) {
            // The old table still says it, and the hash map must not when it does no more.
            self.elsewhere.remove(&entering)?;
            return Err(error);
        }
        self.table = next;
        self.outside.clear();
        stay.iter().chain(&leave).for_each(|address| self.has_come(*address));
        self.elsewhere.remove(&leave)?;
        leave.into_iter().for_each(|address| self.has_gone(address));
        Ok(())
    }

    /// Puts a table in place where there is none, with bans for the hash map, which has no
    /// other ones. Nothing may be in both.
    ///
    /// # Errors
    /// As [`Bans::rebuild`].
    pub fn begin(&mut self, table: Table<M>, outside: &[(u32, E::Ban)]) -> Result<(), E::Error> {
        let mut table = table;
        for (address, _) in outside {
            table.mark(table.header().line(*address), true);
        }
        self.elsewhere.set(outside)?;
        self.place.set(Some(table.memory()))?;
        self.table = Some(table);
        self.outside.clear();
        outside.iter().for_each(|(address, _)| self.has_come(*address));
        Ok(())
    }

    /// Clears the words of addresses that the hash map holds and whose lines are marked.
    fn leave_the_table(&mut self, outside: &[(u32, E::Ban)]) -> Result<(), E::Error> {
        let Some(table) = &mut self.table else { return Ok(()) };
        let mut leaving = outside
            .iter()
            .map(|(address, _)| *address)
            .filter(|address| matches!(table.find(*address), Found::Here(_)))
            .collect::<Vec<_>>();
        if leaving.is_empty() {
            return Ok(());
        }
        // A reader who began before the mark was set may have passed it already, and come
        // to the word only when it is clear.
        self.place.wait(table.memory())?;
        leaving.drain(..).for_each(|address| table.clear(address));
        Ok(())
    }

    fn has_come(&mut self, address: u32) {
        let Some(table) = &mut self.table else { return };
        let line = table.header().line(address);
        *self.outside.entry(line).or_default() += 1;
        table.mark(line, true);
    }

    fn has_gone(&mut self, address: u32) {
        let Some(table) = &mut self.table else { return };
        let line = table.header().line(address);
        let left = self.outside.get(&line).map_or(0, |count| count - 1);
        if left == 0 {
            self.outside.remove(&line);
            table.mark(line, false);
        } else {
            self.outside.insert(line, left);
        }
    }
}
