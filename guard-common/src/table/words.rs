//! The words of a table, as their one writer sees them.
//!
//! Every change is one store of one word. What follows in which order is in
//! [`super::bans`].

use super::entry::{self, Entry, MARK};
use super::lookup::{Found, Line, find};
use super::place::{Header, WORDS};

/// Where a table lies. Others read it meanwhile; nobody else writes to it.
pub trait Memory {
    /// Number of lines, the header's among them.
    fn lines(&self) -> u32;

    /// The word at a place of a line below [`Memory::lines`].
    fn load(&self, line: u32, place: usize) -> u64;

    /// Replaces a word by exactly one store, after all those that were asked for before.
    fn store(&mut self, line: u32, place: usize, word: u64);
}

/// A table in some memory.
#[derive(Debug)]
pub struct Table<M> {
    memory: M,
    header: Header,
}

/// One bucket of a memory.
struct Bucket<'a, M>(&'a M, u32);

impl<M: Memory> Line for Bucket<'_, M> {
    fn word(&self, place: usize) -> u64 {
        self.0.load(self.1, place)
    }
}

/// That a bucket has no empty word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowded;

/// Why an address did not enter a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It has a ban there already, which stays.
    There,
    /// There is no room in its bucket.
    Crowded,
}

impl<M: Memory> Table<M> {
    /// Makes an empty table of memory that is all zeros; `None` when it has less lines
    /// than the header says.
    pub fn create(mut memory: M, header: Header) -> Option<Self> {
        if memory.lines() <= header.buckets {
            return None;
        }
        for (place, word) in header.words().into_iter().enumerate() {
            memory.store(0, place, word);
        }
        Some(Self { memory, header })
    }

    /// The table that is in some memory; `None` when there is none.
    pub fn open(memory: M) -> Option<Self> {
        let header = Header::of(&core::array::from_fn(|place| memory.load(0, place)))?;
        (memory.lines() > header.buckets).then_some(Self { memory, header })
    }

    /// What does not change in it.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What the bucket says of an address, as a reader meets it.
    pub fn find(&self, address: u32) -> Found {
        find(&Bucket(&self.memory, self.header.line(address)), address)
    }

    /// Sets the ban of an address.
    ///
    /// # Errors
    /// When it has none yet and there is no room in its bucket, or when it is 0.0.0.0,
    /// which stands for none.
    pub fn put(&mut self, address: u32, entry: Entry) -> Result<(), Crowded> {
        if address == 0 {
            return Err(Crowded);
        }
        let line = self.header.line(address);
        let place = self.place(line, address).or_else(|| {
            (0..WORDS).find(|place| Entry::of(self.memory.load(line, *place)).is_none())
        });
        self.write(line, place.ok_or(Crowded)?, entry.word(address));
        Ok(())
    }

    /// Gives an address its ban in a table that nobody reads yet: one pass over the bucket.
    ///
    /// # Errors
    /// As [`Table::put`], and when it has one.
    pub fn enter(&mut self, address: u32, entry: Entry) -> Result<(), Refused> {
        let line = self.header.line(address);
        for place in 0..WORDS {
            let word = self.memory.load(line, place);
            if word & !MARK == 0 && address != 0 {
                self.memory.store(line, place, entry.word(address) | word);
                return Ok(());
            }
            if entry::address(word) == address && address != 0 {
                return Err(Refused::There);
            }
        }
        Err(Refused::Crowded)
    }

    /// Removes the ban of an address, if it is in the bucket.
    pub fn clear(&mut self, address: u32) {
        let line = self.header.line(address);
        if let Some(place) = self.place(line, address) {
            self.write(line, place, 0);
        }
    }

    /// Says whether the hash map may know addresses of this line.
    pub fn mark(&mut self, line: u32, marked: bool) {
        let word = self.memory.load(line, WORDS - 1);
        let wanted = if marked { word | MARK } else { word & !MARK };
        if word != wanted {
            self.memory.store(line, WORDS - 1, wanted);
        }
    }

    /// Whether the hash map may know addresses of this line.
    pub fn is_marked(&self, line: u32) -> bool {
        self.memory.load(line, WORDS - 1) & MARK != 0
    }

    /// Every ban in the words.
    pub fn entries(&self) -> impl Iterator<Item = (u32, Entry)> + '_ {
        self.entries_of(1..=self.header.buckets)
    }

    /// Every ban in the words of some lines; there may be less lines than these.
    pub fn entries_of(
        &self,
        lines: core::ops::RangeInclusive<u32>,
    ) -> impl Iterator<Item = (u32, Entry)> + '_ {
        let last = self.header.buckets.min(*lines.end());
        (1.max(*lines.start())..=last).flat_map(move |line| {
            (0..WORDS).filter_map(move |place| {
                let word = self.memory.load(line, place);
                Some((entry::address(word), Entry::of(word)?))
            })
        })
    }

    /// The memory.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    fn place(&self, line: u32, address: u32) -> Option<usize> {
        (0..WORDS).find(|place| {
            let word = self.memory.load(line, *place);
            entry::address(word) == address && Entry::of(word).is_some()
        })
    }

    /// One store; the bucket's mark stays as it is.
    fn write(&mut self, line: u32, place: usize, word: u64) {
        let mark = if place == WORDS - 1 { self.memory.load(line, place) & MARK } else { 0 };
        self.memory.store(line, place, word | mark);
    }
}
