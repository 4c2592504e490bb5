//! Where a state probably leads.
//!
//! Input: a state and a byte. Output: the transition. Invariant: a hint says what the
//! table says.
//!
//! The table's rows are long, and each step would look at another cache line of too many.
//! Hints are small and lie side by side, in the order in which the states were first met,
//! and that is the order of a text.

use super::super::program::Program;
use super::{Entry, LOOP, MARK, PLAIN, STATE, STEPPED, STEPS, UNKNOWN, entry, next_of};

/// The transitions of a state for two ranges of bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hint {
    first: Range,
    second: Range,
    /// How often another byte came, or as many as fit.
    missed: u8,
    /// Whether a leap is remembered that begins here.
    pub leaps: bool,
    /// What is known of the state's leading to itself.
    pub calm: Calm,
    entries: [Entry; 2],
}

/// Whether every printable character of ASCII leads to the state itself, by the same steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Calm {
    /// It led to itself so many times.
    Unknown(u8),
    No,
    Yes,
}

/// How often a state leads to itself before it is found out whether it is calm.
pub(super) const OFTEN: u8 = 16;

/// A range of bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    low: u8,
    /// How many bytes more than the lowest.
    more: u8,
}

impl Range {
    #[inline]
    pub(super) fn has(self, byte: u8) -> bool {
        byte.wrapping_sub(self.low) <= self.more
    }

    fn overlaps(self, other: Self) -> bool {
        self.has(other.low) || other.has(self.low)
    }
}

/// Where a stretch of steps ended.
#[derive(Clone, Copy)]
pub(super) struct Stretch {
    pub state: u32,
    pub at: usize,
    /// Entries of the path that it added.
    pub count: usize,
    /// The transition that was looked at last. If it is marked or a loop, its byte is
    /// still ahead.
    pub next: u32,
}

/// The table, as those see it who step through it.
#[derive(Clone, Copy)]
pub(super) struct Table<'t> {
    pub program: &'t Program,
    pub entries: &'t [Entry],
    pub width: usize,
}

impl Table<'_> {
    fn row(&self, state: u32) -> &[Entry] {
        &self.entries[state as usize * self.width..][..self.width]
    }
}

impl Hint {
    /// Sends to the table whoever follows it.
    pub(super) const NONE: Self = {
        let none = Range { low: 0, more: 0 };
        let entries = [entry(UNKNOWN, PLAIN); 2];
        let calm = Calm::Unknown(0);
        Self { first: none, second: none, missed: 0, leaps: false, calm, entries }
    };

    /// Whether it knows that a byte leads there.
    #[inline]
    pub(super) fn leads(&self, byte: u8, entry: Entry) -> bool {
        (self.first.has(byte) && self.entries[0] == entry)
            || (self.second.has(byte) && self.entries[1] == entry)
    }

    /// Whether the state, which just led to itself, need not be looked at for being calm.
    #[inline]
    fn is_restless(&mut self) -> bool {
        if let Calm::Unknown(times @ ..OFTEN) = self.calm {
            self.calm = Calm::Unknown(times + 1);
            return true;
        }
        self.calm == Calm::No
    }

    /// Has the hint say what a row of the table says of a byte.
    #[cold]
    fn learn(&mut self, program: &Program, row: &[Entry], byte: u8, entry: Entry) {
        let same = |byte: &u8| row[usize::from(program.classes[usize::from(*byte)])] == entry;
        let low = (0..byte).rev().take_while(same).last().unwrap_or(byte);
        let high = (byte..=u8::MAX).skip(1).take_while(same).last().unwrap_or(byte);
        let range = Range { low, more: high - low };
        let wider = self.entries[0] == entry && self.first.overlaps(range);
        if wider || next_of(self.entries[0]) == UNKNOWN {
            (self.first, self.entries[0]) = (range, entry);
        } else if self.first.more < range.more {
            (self.second, self.entries[1]) = (self.first, self.entries[0]);
            (self.first, self.entries[0]) = (range, entry);
        } else {
            (self.second, self.entries[1]) = (range, entry);
        }
    }
}

impl Stretch {
    /// Takes a transition that needs no closer look.
    #[inline]
    fn step(&mut self, entry: Entry, path: &mut [u64]) {
        // Written in any case, for which of them have steps cannot be foreseen.
        path[self.count] = entry & STEPS | self.at as u64;
        self.count += usize::from(next_of(entry) & STEPPED != 0);
        self.state = next_of(entry) & STATE;
        self.at += 1;
    }
}

/// Steps over bytes from `at` on, as long as that takes no closer look and there is room
/// for the path.
#[inline(never)]
pub(super) fn walk_on(
    table: Table<'_>,
    hints: &mut [Hint],
    path: &mut [u64],
    (state, at): (u32, usize),
    text: &[u8],
) -> Stretch {
    let text = &text[..text.len().min(at + path.len())];
    let mut stretch = Stretch { state, at, count: 0, next: PLAIN };
    loop {
        // No call is made in here, so that all of it stays in registers.
        let (byte, known) = loop {
            let Some(&byte) = text.get(stretch.at) else { return stretch };
            let hint = &hints[stretch.state as usize];
            let entry = if hint.first.has(byte) {
                hint.entries[0]
            } else if hint.second.has(byte) {
                hint.entries[1]
            } else {
                break (byte, None);
            };
            if next_of(entry) >= LOOP {
                break (byte, Some(entry));
            }
            stretch.step(entry, path);
        };
        let entry = known.unwrap_or_else(|| missed(table, hints, stretch.state, byte));
        let next = next_of(entry);
        if next < LOOP {
            stretch.step(entry, path);
            continue;
        }
        let hint = &mut hints[stretch.state as usize];
        if next & (MARK | STEPPED) != 0 || !hint.is_restless() {
            return Stretch { next, ..stretch };
        }
        stretch.at += 1;
        let stays = |byte: &&u8| hint.leads(**byte, entry);
        stretch.at += text[stretch.at..].iter().take_while(stays).count();
    }
}

/// What the table says; now and then the hint is made to say the same.
#[inline(never)]
fn missed(table: Table<'_>, hints: &mut [Hint], state: u32, byte: u8) -> Entry {
    let row = table.row(state);
    let entry = row[usize::from(table.program.classes[usize::from(byte)])];
    let hint = &mut hints[state as usize];
    hint.missed = hint.missed.saturating_add(1);
    if hint.missed.is_power_of_two() && next_of(entry) < MARK {
        hint.learn(table.program, row, byte, entry);
    }
    entry
}
