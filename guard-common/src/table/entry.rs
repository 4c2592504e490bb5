//! One ban in one word.
//!
//! ```text
//!  63            32 31         7 6      1 0
//! |    address     |  end (s)   | class  |m|
//! ```
//!
//! The end is in whole seconds since the table's epoch and never 0 in a word that holds
//! a ban; so 0 is an empty word. The lowest bit is the bucket's mark, in its last word.

use crate::layout::FOREVER;

/// Bits of the end.
const END_BITS: u32 = 25;
/// Where the end begins.
const END: u32 = 7;
/// Where the class begins.
const CLASS: u32 = 1;
/// Where the address begins.
const ADDRESS: u32 = 32;
/// The bucket's mark.
pub(super) const MARK: u64 = 1;

/// The end of a ban that has none.
const NO_END: u32 = (1 << END_BITS) - 1;

/// The latest end that a word can say, in seconds since the table's epoch: 388 days.
pub const MAX_SECONDS: u32 = NO_END - 1;

/// One ban: an address may not reach one port class until one point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Seconds since the table's epoch at which it ends, from 1 to [`MAX_SECONDS`], or
    /// [`NO_END`].
    seconds: u32,
    /// Number of the port class, from 0 to 63.
    class: u8,
}

impl Entry {
    /// A ban of a class until so many seconds after the table's epoch; `None` when a word
    /// cannot say that.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the bits that go are zeros or another field"
    )]
    pub const fn new(class: u8, seconds: u64) -> Option<Self> {
        if class > 63 || seconds == 0 || seconds > MAX_SECONDS as u64 {
            return None;
        }
        Some(Self { seconds: seconds as u32, class })
    }

    /// A ban of a class that does not end.
    pub const fn forever(class: u8) -> Option<Self> {
        if class > 63 { None } else { Some(Self { seconds: NO_END, class }) }
    }

    /// When it ends, in nanoseconds since boot, in a table whose epoch is so many seconds
    /// after boot; or [`FOREVER`].
    #[inline(always)]
    pub const fn until(self, epoch: u64) -> u64 {
        if self.seconds == NO_END {
            return FOREVER;
        }
        (epoch + self.seconds as u64) * 1_000_000_000
    }

    /// Number of the port class.
    #[inline(always)]
    pub const fn class(self) -> u8 {
        self.class
    }

    /// The word of an address's ban, without a mark.
    #[cfg(any(test, feature = "user"))]
    pub(super) const fn word(self, address: u32) -> u64 {
        (address as u64) << ADDRESS | (self.seconds as u64) << END | (self.class as u64) << CLASS
    }

    /// The ban in a word; `None` when it is empty.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the bits that go are zeros or another field"
    )]
    #[inline(always)]
    pub(super) const fn of(word: u64) -> Option<Self> {
        let seconds = (word as u32) >> END;
        if seconds == 0 {
            return None;
        }
        Some(Self { seconds, class: (word as u32 >> CLASS & 63) as u8 })
    }
}

/// The address in a word.
#[inline(always)]
pub(super) const fn address(word: u64) -> u32 {
    (word >> ADDRESS) as u32
}
