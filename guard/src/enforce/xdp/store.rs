//! What holds the bans of one family.

use std::io;
use std::net::IpAddr;

use guard_common::layout::Ban;
use guard_common::names::{BANS_V4, BANS_V6};

use super::map::{Cursor, Map};
use crate::core::addr::Prefix;
use crate::enforce::Moment;

/// Key of a ban map: the octets of an address.
pub(super) trait Source: aya::Pod + Default + Ord + AsRef<[u8]> + Into<IpAddr> {
    const MAP: &str;
    fn of(address: IpAddr) -> Option<Self>;

    fn prefix(self) -> Prefix {
        Prefix::host(self.into())
    }

    /// The first two octets.
    fn head(self) -> u16 {
        self.as_ref().first_chunk().map_or(0, |head| u16::from_be_bytes(*head))
    }
}

impl Source for [u8; 4] {
    const MAP: &str = BANS_V4;

    fn of(address: IpAddr) -> Option<Self> {
        if let IpAddr::V4(v4) = address { Some(v4.octets()) } else { None }
    }
}

impl Source for [u8; 16] {
    const MAP: &str = BANS_V6;

    fn of(address: IpAddr) -> Option<Self> {
        if let IpAddr::V6(v6) = address { Some(v6.octets()) } else { None }
    }
}

/// Address → ban.
pub(super) trait Store<K> {
    /// Where a walk stands.
    type At: Default;

    /// How many bans it holds at most.
    fn limit(&self) -> usize;

    /// The ban of an address.
    fn look_up(&self, key: &K) -> io::Result<Option<Ban>>;

    /// Reads on from `at` into the vectors, which are overwritten. `false`: that was the
    /// last. Who sets or removes only what was read meanwhile misses nothing; he may see
    /// again what he has set.
    fn walk(&self, at: &mut Self::At, keys: &mut Vec<K>, bans: &mut Vec<Ban>) -> io::Result<bool>;

    /// Makes itself as large as its bans and so many more need. What a walk has read says
    /// nothing any more after that.
    fn fit(&mut self, more: usize, now: Moment);

    /// Removes addresses that have bans.
    fn remove(&mut self, keys: &[K]) -> io::Result<()>;

    /// Sets the bans of addresses, `new` of which have none. On an error, the place of
    /// the one that could not be set comes with it; `E2BIG` says that it is full.
    fn set(&mut self, keys: &[K], bans: &[Ban], new: usize) -> Result<(), (usize, io::Error)>;
}

impl Store<[u8; 16]> for Map<[u8; 16], Ban> {
    type At = Cursor;

    fn limit(&self) -> usize {
        self.info().max_entries as usize
    }

    fn look_up(&self, key: &[u8; 16]) -> io::Result<Option<Ban>> {
        Self::look_up(self, key)
    }

    fn walk(
        &self,
        at: &mut Cursor,
        keys: &mut Vec<[u8; 16]>,
        bans: &mut Vec<Ban>,
    ) -> io::Result<bool> {
        Self::walk(self, at, keys, bans)
    }

    fn fit(&mut self, _more: usize, _now: Moment) {}

    fn remove(&mut self, keys: &[[u8; 16]]) -> io::Result<()> {
        self.delete_batch(keys)
    }

    fn set(
        &mut self,
        keys: &[[u8; 16]],
        bans: &[Ban],
        _new: usize,
    ) -> Result<(), (usize, io::Error)> {
        self.update_batch(keys, bans)
    }
}
