//! The host that guard runs on: its network, its boot, its clocks.
//!
//! Input: the kernel, by rtnetlink and `/proc`, in the network namespace of the
//! calling thread; logind's sessions. Output: [`Host`], and [`Watch`], which tells when to read it anew.
//! Invariant: of what the kernel says only the attributes that are needed are
//! decoded, so an attribute that a newer kernel changes breaks nothing.

mod netlink;
mod parse;
mod sessions;
mod watch;

#[cfg(test)]
mod tests;

use std::io;

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::core::host::Host;
use crate::core::time::Timestamp;

pub use watch::Watch;

/// What the kernel did not tell.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A question to rtnetlink failed.
    #[error("asking the kernel for {what} by rtnetlink: {cause}")]
    Netlink {
        /// What was asked for.
        what: &'static str,
        /// The kernel's answer.
        cause: io::Error,
    },
    /// The boot's id cannot be read.
    #[error("reading {}: {cause}; is /proc mounted?", BOOT_ID)]
    BootId {
        /// Why.
        cause: io::Error,
    },
}

/// The host's network now, and where administrators are logged in from. Takes three dumps, one after the other: when something
/// changes in between, [`Watch`] says so, and it is to be read again.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn read() -> Result<Host, HostError> {
    let mut host = Host::default();
    netlink::dump(netlink::Dump::Links, "its interfaces", |payload| {
        host.interfaces.extend(parse::interface(payload));
    })?;
    netlink::dump(netlink::Dump::Addresses, "its addresses", |payload| {
        host.addresses.own.extend(parse::own_address(payload));
    })?;
    netlink::dump(netlink::Dump::Routes, "its default routes", |payload| {
        parse::gateways(payload, &mut host.addresses.gateways);
    })?;
    host.interfaces.sort_unstable_by_key(|interface| interface.index);
    for addresses in [&mut host.addresses.own, &mut host.addresses.gateways] {
        addresses.sort_unstable();
        addresses.dedup();
    }
    host.addresses.sessions = sessions::administrators();
    Ok(host)
}

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The id of this boot, another at each.
///
/// # Errors
/// When `/proc` does not have it.
pub fn boot_id() -> Result<[u8; 16], HostError> {
    let text = std::fs::read_to_string(BOOT_ID).map_err(|cause| HostError::BootId { cause })?;
    let hexadecimal = text.trim().replace('-', "");
    let id = u128::from_str_radix(&hexadecimal, 16)
        .map_err(|cause| HostError::BootId { cause: io::Error::other(cause) })?;
    Ok(id.to_be_bytes())
}

/// Now, on the wall clock and in nanoseconds since boot, suspend included
/// (`CLOCK_BOOTTIME`, what `bpf_ktime_get_boot_ns` reads).
pub fn now() -> (Timestamp, u64) {
    let wall = clock_gettime(ClockId::Realtime);
    let boot = clock_gettime(ClockId::Boottime);
    let micros = wall.tv_sec.saturating_mul(1_000_000).saturating_add(wall.tv_nsec / 1_000);
    (Timestamp::from_micros(micros), boot_nanos(boot))
}

fn boot_nanos(boot: Timespec) -> u64 {
    let seconds = u64::try_from(boot.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(boot.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
