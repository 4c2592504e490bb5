//! Making the ban set true in the kernel.
//!
//! # Contract of every enforcer
//!
//! - [`Enforcer::replace`] makes the kernel hold exactly the snapshot, whatever it
//!   held before, and never lets a source through in between that is banned before and
//!   after. [`Enforcer::apply`] makes one batch of changes so. Both are idempotent:
//!   done twice they are as done once, and a change that is already so is no error.
//! - A batch takes effect as a whole or fails as a whole where the kernel can do that
//!   (nft); where it cannot (maps), a failure names the first change that is not in
//!   force, and the caller repairs with `replace`.
//! - Overlaps: each (jail, source) is a ban of its own. A packet is dropped if any ban
//!   covers its source and its destination port and has not ended.
//! - A ban of a prefix does not cover those in it that are allowed
//!   ([`Snapshot::allowed`]), but for who is banned by force inside of what is allowed.
//! - Dropping the enforcer changes nothing in the kernel. What an enforcer leaves
//!   behind without the agent is told by [`Capabilities`].
//! - [`Enforcer::held`] reads the kernel, never a copy that the kernel does not vouch for.
//! - Nothing here waits for the network or runs a program.

use std::net::IpAddr;

use crate::core::delta::{Delta, Snapshot};
pub use crate::core::enforced::{Capabilities, Coverage, Dropped, Held, Noticed};
use crate::core::figures::Traffic;
use crate::core::host::Host;
use crate::core::time::Timestamp;

pub mod nft;
pub mod null;
pub mod probe;
pub mod xdp;

/// One instant, on the wall clock and on the kernel's own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Wall-clock time.
    pub wall: Timestamp,
    /// Nanoseconds since boot, suspend included (`CLOCK_BOOTTIME`).
    pub boot_nanos: u64,
}

/// Something that makes bans true.
pub trait Enforcer: Send {
    /// `xdp`, `nft` or `null`.
    fn name(&self) -> &'static str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Makes the kernel hold exactly `desired`. Bans that ended before `now` are left
    /// out.
    ///
    /// # Errors
    /// What the kernel refused; some of the change may be in force then.
    fn replace(&mut self, desired: &Snapshot, now: Moment) -> Result<(), EnforceError>;

    /// Makes changes so, on top of the last `replace`.
    ///
    /// # Errors
    /// What the kernel refused; repair with [`Enforcer::replace`].
    fn apply(&mut self, deltas: &[Delta], now: Moment) -> Result<(), EnforceError>;

    /// Takes note of the host's addresses and interfaces, and covers new interfaces.
    ///
    /// # Errors
    /// What could not be covered; the others are.
    fn follow(&mut self, host: &Host) -> Result<(), EnforceError>;

    /// Every ban that the kernel holds at `now`.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    fn held(&mut self, now: Moment) -> Result<Vec<Held>, EnforceError>;

    /// Looks for what others changed, without reading the bans: programs, links, pins,
    /// tables. Cheap enough for once a second.
    ///
    /// # Errors
    /// When the kernel cannot be asked, or does not let it be put right.
    fn inspect(&mut self) -> Result<Noticed, EnforceError> {
        Ok(Noticed::default())
    }

    /// How many changes the last [`Enforcer::replace`] took.
    fn replaced(&self) -> usize {
        0
    }

    /// What became of packets, by verdict, since the maps were made; empty where that is
    /// not counted.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    fn traffic(&self) -> Result<Vec<Traffic>, EnforceError> {
        Ok(Vec::new())
    }

    /// How many sources each map holds, where maps have a fixed size.
    fn map_capacity(&self) -> Option<u64> {
        None
    }

    /// How each interface but loopback is guarded.
    fn coverage(&self) -> Vec<Coverage>;

    /// Removes every trace from the kernel: bans, programs, tables, pins.
    ///
    /// # Errors
    /// What could not be removed.
    fn detach(&mut self) -> Result<(), EnforceError>;
}

/// What the kernel refused.
#[derive(Debug, thiserror::Error)]
pub enum EnforceError {
    /// A system call failed.
    #[error("{operation}: {cause}")]
    Kernel {
        /// What was tried, on what, and if it is known what the user can do.
        operation: String,
        /// The kernel's answer.
        cause: std::io::Error,
    },
    /// More bans than the enforcer can hold.
    #[error("{what} is full: {limit} entries (limits.bans in guard.toml)")]
    Full {
        /// Which structure.
        what: &'static str,
        /// How many it holds.
        limit: usize,
    },
    /// The enforcer cannot work here.
    #[error("{0}")]
    Unavailable(String),
}

/// An address as the 16-byte key that both families share: IPv4 as `::ffff:a.b.c.d`.
pub fn mapped_octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}
