//! Which bucket an address has: the table's header, and the keyed mix.

/// Words of a line: a bucket, or the header.
pub const WORDS: usize = 8;

/// Version of header, words and mix. It is in the first word of a table.
const KIND: u64 = 0x6775_6172_6400_0001;

/// A secret of the table, from the kernel's random numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub [u64; 3]);

impl core::fmt::Debug for Seed {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("Seed(secret)")
    }
}

/// The first line of a table. It does not change while programs use the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Number of buckets, at least 1.
    pub buckets: u32,
    /// What the mix is keyed with.
    pub seed: Seed,
    /// Seconds since boot (`CLOCK_BOOTTIME`) from which the ends in the words count.
    pub epoch: u64,
}

impl Header {
    /// The words of the first line.
    pub const fn words(&self) -> [u64; WORDS] {
        let [first, second, third] = self.seed.0;
        [KIND, self.buckets as u64, first, second, third, self.epoch, 0, 0]
    }

    /// The header in a first line; `None` if that is none of this version.
    #[inline(always)]
    pub const fn of(words: &[u64; WORDS]) -> Option<Self> {
        let &[kind, buckets, first, second, third, epoch, _, _] = words;
        if kind != KIND || buckets == 0 || buckets >= 1 << 31 {
            return None;
        }
        let buckets = (buckets & 0x7fff_ffff) as u32;
        Some(Self { buckets, seed: Seed([first, second, third]), epoch })
    }

    /// The line of an address's bucket, from 1 to `buckets`.
    ///
    /// Two rounds of multiply and fold, all multipliers and the offset secret: each round
    /// on its own spreads any two addresses as evenly as chance does over the choice of
    /// its key; the second undoes what order the first leaves in sets such as ranges and
    /// strides (`tests` counts that). The last step scales to any number of buckets.
    #[inline(always)]
    pub const fn line(&self, address: u32) -> u32 {
        let [offset, first, second] = self.seed.0;
        let mut mixed = (address as u64 ^ offset).wrapping_mul(first | 1);
        mixed ^= mixed >> 32;
        mixed = mixed.wrapping_mul(second | 1) >> 32;
        1 + ((mixed * self.buckets as u64) >> 32) as u32
    }
}
