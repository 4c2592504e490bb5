//! The table against a plain map, against a kill at every step, and against every
//! interleaving of a writer and a reader.

mod evenness;
mod interleavings;
mod timelines;

use alloc::vec;
use alloc::vec::Vec;

use super::place::WORDS;
use super::{Entry, Found, Header, Line, MAX_SECONDS, Memory, Seed, Table, find};
use crate::layout::FOREVER;

/// Numbers that look random, the same in each run (Steele, Lea, Flood: SplitMix64).
pub(super) fn numbers(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

pub(super) fn header(buckets: u32, seed: u64) -> Header {
    let mut next = numbers(seed);
    Header { buckets, seed: Seed([next(), next(), next()]), epoch: 1_000 }
}

/// A table in a vector.
#[derive(Clone, Debug)]
pub(super) struct Plain(pub(super) Vec<[u64; WORDS]>);

impl Plain {
    pub(super) fn new(buckets: u32) -> Self {
        Self(vec![[0; WORDS]; buckets as usize + 1])
    }
}

impl Memory for Plain {
    fn lines(&self) -> u32 {
        u32::try_from(self.0.len()).expect("a small table")
    }

    fn load(&self, line: u32, place: usize) -> u64 {
        self.0[line as usize][place]
    }

    fn store(&mut self, line: u32, place: usize, word: u64) {
        self.0[line as usize][place] = word;
    }
}

impl Line for [u64; WORDS] {
    fn word(&self, place: usize) -> u64 {
        self[place]
    }
}

#[test]
fn a_word_says_address_class_and_end() {
    for (class, seconds) in [(0, 1), (63, u64::from(MAX_SECONDS)), (17, 12_345)] {
        let entry = Entry::new(class, seconds).expect("a word can say it");
        for address in [1, 0x8000_0000, u32::MAX] {
            for marked in [0, 1] {
                let word = entry.word(address) | marked;
                assert_eq!(super::entry::address(word), address);
                let back = Entry::of(word).expect("not empty");
                assert_eq!(back.until(1_000), (1_000 + seconds) * 1_000_000_000);
                assert_eq!(back.class(), class);
            }
        }
    }
    let forever = Entry::forever(5).expect("a class");
    assert_eq!(Entry::of(forever.word(9)), Some(forever));
    assert_eq!(forever.until(1_000), FOREVER);
    assert_eq!(Entry::new(64, 1), None, "there are 64 classes");
    assert_eq!(Entry::forever(64), None, "there are 64 classes");
    assert_eq!(Entry::new(0, 0), None, "0 is empty");
    assert_eq!(Entry::new(0, u64::from(MAX_SECONDS) + 1), None, "too far away");
}

#[test]
fn empty_words_hold_nobody_not_even_0_0_0_0() {
    assert_eq!(find(&[0; WORDS], 0), Found::Nowhere);
    let mut marked = [0; WORDS];
    marked[WORDS - 1] = 1;
    assert_eq!(find(&marked, 0), Found::Elsewhere);
    assert_eq!(find(&marked, 7), Found::Elsewhere);
    let mut table = Table::create(Plain::new(1), header(1, 0)).expect("it fits");
    assert!(table.put(0, Entry::new(0, 1).expect("short")).is_err());
}

#[test]
fn a_table_is_opened_only_where_one_is() {
    assert!(Table::open(Plain::new(4)).is_none(), "zeros are none");
    assert!(Table::create(Plain::new(3), header(4, 0)).is_none(), "it does not fit");
    let table = Table::create(Plain::new(4), header(4, 0)).expect("it fits");
    let mut memory = table.memory().clone();
    assert_eq!(Table::open(memory.clone()).expect("it is one").header(), table.header());
    memory.0.pop();
    assert!(Table::open(memory.clone()).is_none(), "the end is missing");
    memory.0[0][0] += 1;
    assert!(Table::open(memory).is_none(), "another version");
}
