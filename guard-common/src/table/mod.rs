//! IPv4 bans in one cache line each: the table that holds many of them.
//!
//! Input: an address. Output: its ban, that there is none, or that the hash map knows.
//!
//! A table is an array of 64-byte [`Line`]s. The first one is the [`Header`]; each other
//! one is a bucket of eight words, one ban each: address, end and port class in 64 bits
//! ([`Entry`]). A look-up reads one bucket, so one line of memory, where a hash map
//! follows three pointers. What a word cannot say (several ends or classes at one
//! address, an end very far away) is in the hash map, and so is what finds no
//! place in its bucket; the last word of a bucket says whether the hash map knows more.
//!
//! What keeps a banned source out while bans come and go:
//!
//! - One word is written by one store and read by one load, so a reader meets a whole
//!   old ban or a whole new one.
//! - A ban that stays never moves between words. From its word to the hash map it goes in
//!   four steps: into the hash map, the bucket's mark, a wait until no reader is left who
//!   has not seen the mark, and only then out of the word. Readers look at the words
//!   first and at the mark last ([`find`]). Either the wait or the order of the loads
//!   would do where processors keep the order of loads and of stores; with the wait it is
//!   right in any order (`tests` tries all interleavings).
//! - Which bucket an address has depends on a secret [`Seed`], so nobody can choose
//!   addresses that crowd one bucket; and were one crowded, the hash map is as good as it
//!   would be without a table.
//!
//! The kernel's program, the agent, the tests and the model of all interleavings share
//! this code; they differ in what a word is read from ([`Line`], [`Memory`]).

#[cfg(any(test, feature = "user"))]
mod bans;
mod entry;
mod lookup;
mod place;
#[cfg(any(test, feature = "user"))]
mod words;

#[cfg(test)]
mod tests;

#[cfg(any(test, feature = "user"))]
pub use bans::{Bans, Elsewhere, Place};
pub use entry::{Entry, MAX_SECONDS};
pub use lookup::{Found, Line, find};
pub use place::{Header, Seed, WORDS};
#[cfg(any(test, feature = "user"))]
pub use words::{Crowded, Memory, Refused, Table};
