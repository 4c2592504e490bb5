//! The look-up: what one line of memory says of an address.

use super::entry::{Entry, MARK, address};
use super::place::WORDS;

/// Eight words that others may write to meanwhile.
pub trait Line {
    /// The word at a place below [`WORDS`], read by exactly one load, after all those
    /// that were asked for before.
    fn word(&self, place: usize) -> u64;
}

/// What a bucket says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It has this ban, and no other.
    Here(Entry),
    /// If it has one, then the hash map has it.
    Elsewhere,
    /// It has none.
    Nowhere,
}

/// Looks an address up in its bucket: the words first, the mark last.
#[inline(always)]
pub fn find(bucket: &impl Line, wanted: u32) -> Found {
    let mut word = 0;
    for place in 0..WORDS {
        word = bucket.word(place);
        if address(word) == wanted {
            // An empty word has the address 0, which no ban in a table has.
            if let Some(entry) = Entry::of(word) {
                return Found::Here(entry);
            }
        }
    }
    if word & MARK != 0 { Found::Elsewhere } else { Found::Nowhere }
}
