//! Seeing what is dropped, packet by packet, as far as the kernel samples it.
//!
//! Input: the pins of an enforcer, whether or not its agent runs. Output:
//! [`DroppedPacket`]s. The kernel takes samples for as long as it was told to and no
//! longer, so a watch that is killed costs nothing afterwards. One watch at a time.

use std::fs::File;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use aya::maps::{Map as AyaMap, MapData, RingBuf};
use guard_common::layout::{DropSample, OTHER_INDEX, Watch, Watched};
use guard_common::names::{DROP_SAMPLES, WATCH, WATCHED};
use guard_common::packet::{Address, Header, Link, Network, Unwalked, network};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};

use super::attach;
use super::map::{Map, each_per_cpu};
use super::pins::Pins;
use super::syscall;
use crate::enforce::EnforceError;

/// For how long the kernel goes on after it was last told to.
const HOLD: Duration = Duration::from_secs(3);

/// A packet that was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedPacket {
    /// Nanoseconds since boot.
    pub boot_nanos: u64,
    /// The interface, by name where it still has one.
    pub interface: String,
    /// Who sent it.
    pub source: IpAddr,
    /// To which address.
    pub destination: IpAddr,
    /// `tcp`, `udp` or `other`; fragments after the first are `other`.
    pub protocol: &'static str,
    /// To which port of TCP or UDP.
    pub port: Option<u16>,
    /// Bytes of the whole packet.
    pub bytes: u32,
}

/// A watch, for as long as it lives.
pub struct Drops {
    ring: RingBuf<MapData>,
    watch: Map<u32, Watch>,
    watched: std::os::fd::OwnedFd,
    missed_before: u64,
    rate: u64,
    /// Held, so that no other watch takes samples away.
    _lock: File,
}

impl Drops {
    /// Begins to watch what the programs drop whose maps are pinned in a directory: at
    /// most `rate` packets a second on each CPU.
    ///
    /// # Errors
    /// When nothing is pinned there, without the right to see it, and while somebody else
    /// watches.
    pub fn watch(directory: &Path, rate: u64) -> Result<Self, EnforceError> {
        let Some(pins) = Pins::find(directory) else {
            return Err(EnforceError::Unavailable(format!(
                "guard drops nothing in XDP here ({} has no pins); nft tells nothing of single \
                 packets",
                directory.display()
            )));
        };
        let broken = |what: &'static str| {
            let at = directory.display().to_string();
            move |cause| EnforceError::Kernel {
                operation: format!("{what} in {at} (needs root)"),
                cause,
            }
        };
        let lock = File::open(directory).map_err(broken("open what is pinned"))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(EnforceError::Unavailable("somebody else watches the drops".to_owned()));
        }
        let maps = pins.maps();
        let ring = MapData::from_pin(maps.join(DROP_SAMPLES))
            .and_then(|data| RingBuf::try_from(AyaMap::RingBuf(data)))
            .map_err(|error| broken("open the samples")(std::io::Error::other(error)))?;
        let open = |name: &str| syscall::open_pin(&maps.join(name));
        let watch = open(WATCH).and_then(Map::new).map_err(broken("open WATCH"))?;
        let watched = open(WATCHED).map_err(broken("open WATCHED"))?;
        let mut drops = Self { ring, watch, watched, missed_before: 0, rate, _lock: lock };
        // What another watch left.
        while drops.ring.next().is_some() {}
        drops.missed_before = drops.missed_ever()?;
        drops.go_on(boot_nanos())?;
        Ok(drops)
    }

    /// Packets that were dropped since the last call, oldest first; waits for the first
    /// one, at most for `patience` (shorter than three seconds), and tells the kernel to
    /// go on.
    ///
    /// # Errors
    /// When the kernel cannot be told or asked.
    pub fn next(&mut self, patience: Duration) -> Result<Vec<DroppedPacket>, EnforceError> {
        self.go_on(boot_nanos())?;
        let patience = Timespec {
            tv_sec: patience.as_secs().try_into().unwrap_or(1),
            tv_nsec: patience.subsec_nanos().into(),
        };
        let mut waits = [PollFd::new(&self.ring, PollFlags::IN)];
        match poll(&mut waits, Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(failed("wait for samples", error.into())),
        }
        let mut packets = Vec::new();
        while let Some(sample) = self.ring.next() {
            packets.extend(read(&sample));
        }
        Ok(packets)
    }

    /// Drops since the watch began that were not shown, because they were more than it
    /// asked for.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn missed(&self) -> Result<u64, EnforceError> {
        Ok(self.missed_ever()?.saturating_sub(self.missed_before))
    }

    fn missed_ever(&self) -> Result<u64, EnforceError> {
        let mut missed = 0;
        each_per_cpu(self.watched.as_fd(), [0], |one: &Watched| missed += one.missed)
            .map_err(|cause| failed("read WATCHED", cause))?;
        Ok(missed)
    }

    fn go_on(&self, now: u64) -> Result<(), EnforceError> {
        let hold = u64::try_from(HOLD.as_nanos()).unwrap_or(u64::MAX);
        self.tell(Watch { until: now.saturating_add(hold), rate: self.rate })
    }

    fn tell(&self, watch: Watch) -> Result<(), EnforceError> {
        self.watch.update(&0, &watch).map_err(|cause| failed("write WATCH", cause))
    }
}

impl Drop for Drops {
    fn drop(&mut self) {
        // Should this fail, it ends by itself.
        let _ = self.tell(Watch::default());
    }
}

impl std::fmt::Debug for Drops {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Drops").field("rate", &self.rate).finish_non_exhaustive()
    }
}

/// Nanoseconds since boot, as the programs count them.
fn boot_nanos() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// A sample as the kernel wrote it; `None` for what is not one.
fn read(bytes: &[u8]) -> Option<DroppedPacket> {
    let number = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let boot_nanos = u64::from_ne_bytes(bytes.get(..8)?.try_into().ok()?);
    let (length, interface, link, captured) = (number(8)?, number(12)?, number(16)?, number(20)?);
    let link = if link == 0 { Link::Ethernet } else { Link::Ip };
    let packet = bytes.get(24..size_of::<DropSample>())?.get(..captured as usize)?;
    let (source, destination, index) = match network(&packet, link).ok()? {
        Network::V4(header) => walked(header, packet).ok()?,
        Network::V6(header) => walked(header, packet).ok()?,
    };
    let (protocol, port) = match index {
        ..65_536 => ("tcp", u16::try_from(index).ok()),
        65_536..OTHER_INDEX => ("udp", u16::try_from(index - 65_536).ok()),
        OTHER_INDEX.. => ("other", None),
    };
    Some(DroppedPacket {
        boot_nanos,
        interface: attach::name(interface),
        source: address(source.mapped()),
        destination: address(destination),
        protocol,
        port,
        bytes: length,
    })
}

fn walked<H: Header>(header: H, packet: &[u8]) -> Result<(Address, [u64; 2], u32), Unwalked> {
    // Ports may lie behind what was kept.
    let index = header.port_index(&packet).unwrap_or(OTHER_INDEX);
    Ok((header.source(&packet)?, header.destination(&packet)?, index))
}

/// The address of a key that both families share.
fn address(mapped: [u64; 2]) -> IpAddr {
    let [high, low] = mapped.map(u64::from_be);
    Ipv6Addr::from(u128::from(high) << 64 | u128::from(low)).to_canonical()
}

fn failed(operation: &str, cause: std::io::Error) -> EnforceError {
    EnforceError::Kernel { operation: operation.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(link: u32, captured: usize, packet: &[u8]) -> Vec<u8> {
        let mut bytes = 77_u64.to_ne_bytes().to_vec();
        let captured = u32::try_from(captured).expect("short");
        for number in [1500, 0, link, captured] {
            bytes.extend(number.to_ne_bytes());
        }
        bytes.extend(packet);
        bytes.resize(size_of::<DropSample>(), 0);
        bytes
    }

    /// 192.0.2.1 to 198.51.100.2, TCP to port 22.
    fn packet() -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
        packet.extend([192, 0, 2, 1, 198, 51, 100, 2, 0xc0, 0, 0, 22]);
        packet
    }

    #[test]
    fn a_sample_tells_who_sent_what_to_which_port() {
        let read = read(&sample(1, 24, &packet())).expect("a sample");
        assert_eq!((read.boot_nanos, read.bytes), (77, 1500));
        assert_eq!(read.source.to_string(), "192.0.2.1");
        assert_eq!(read.destination.to_string(), "198.51.100.2");
        assert_eq!((read.protocol, read.port), ("tcp", Some(22)));
    }

    #[test]
    fn what_was_not_kept_is_not_made_up() {
        let cut = read(&sample(1, 20, &packet())).expect("the addresses are there");
        assert_eq!((cut.protocol, cut.port), ("other", None));
        assert_eq!(read(&sample(1, 16, &packet())), None, "no destination");
        assert_eq!(read(&[0; 10]), None);
        assert_eq!(read(&sample(1, 5000, &packet())), None, "more than there is");
    }
}
