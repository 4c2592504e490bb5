//! The look-up: what one line of memory says of an address.

use super::entry::{Entry, MARK, address};
use super::place::WORDS;

/// Eight words that others may write to meanwhile.
pub trait Line {
    /// The word at a place below [`WORDS`], read by exactly one load, after all those
    /// that were asked for before.
    fn word(&self, place: usize) -> u64;

    /// All ones for a number whose highest bit is set, else zeros. A compiler that sees
    /// through this makes a branch of it, for the processor to guess wrong.
    #[inline(always)]
    fn sign(number: u64) -> u64 {
        (number.cast_signed() >> 63).cast_unsigned()
    }
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
pub fn find<L: Line>(bucket: &L, wanted: u32) -> Found {
    let (mut word, mut found) = (0, 0);
    for place in 0..WORDS {
        word = bucket.word(place);
        // All ones for the address that is wanted, else zeros: no branch for the processor
        // to guess, and none for the verifier to follow. An empty word has the address 0,
        // which no ban in a table has.
        let other = u64::from(address(word) ^ wanted);
        found |= word & L::sign(other.wrapping_sub(1));
    }
    match Entry::of(found) {
        Some(entry) => Found::Here(entry),
        None if word & MARK != 0 => Found::Elsewhere,
        None => Found::Nowhere,
    }
}
