//! Probes at 1 kHz from one address, to see to the millisecond when a ban takes effect.
//!
//! Input: a source outside and a port of the host that is open. Output: when the first
//! probe was sent after which none was answered. A probe is a TCP SYN, sent through a
//! raw socket with a sequence number of its own; the host's SYN-ACK acknowledges that
//! number. Whether the packet was dropped in the driver or refused by nft makes no
//! difference: it is not answered by a SYN-ACK. The kernel outside knows nothing of
//! the connection and resets it, so none stays half open.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketType, bind, ipproto, recv, sendto, socket, sockopt,
};

use crate::namespace::Namespace;

/// Between two probes.
pub const INTERVAL: Duration = Duration::from_millis(1);
/// How long none may be answered for the last unanswered ones to count as dropped.
const SILENT: usize = 200;
/// First source port; each probe has its own so that none meets another's remains.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 40_000;
/// Sequence number of the first probe.
const FIRST_NUMBER: u32 = 1_000_000;

/// Probes until none is answered any more and gives when the first of the last,
/// unanswered ones was sent. Calls `begun` on another thread once probes are answered.
///
/// # Errors
/// When nothing is ever answered, when `begun` fails, or when probes are still answered
/// after `limit`.
pub fn until_silent(
    from: &Namespace,
    source: Ipv4Addr,
    destination: SocketAddrV4,
    limit: Duration,
    begun: impl FnOnce() -> Result<Instant> + Send,
) -> Result<Measured> {
    let raw = from.run(|| {
        let raw = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::TCP))
            .context("make a raw socket")?;
        bind(&raw, &SocketAddr::new(IpAddr::V4(source), 0))
            .with_context(|| format!("bind to {source}"))?;
        sockopt::set_socket_timeout(&raw, sockopt::Timeout::Recv, Some(Duration::from_millis(20)))?;
        Ok(raw)
    })?;
    let answered = AtomicUsize::new(0); // one more than the highest probe answered
    let ended = AtomicBool::new(false);
    let sent = Mutex::new(Vec::<Instant>::new());
    let start = Instant::now();

    thread::scope(|scope| {
        let receiver = scope.spawn(|| -> Result<()> {
            let mut packet = [0; 256];
            while !ended.load(Ordering::Relaxed) {
                match recv(&raw, &mut packet, RecvFlags::empty()) {
                    Ok((length, _)) => {
                        if let Some(probe) = acknowledged(&packet[..length], destination) {
                            answered.fetch_max(probe + 1, Ordering::Relaxed);
                        }
                    }
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(error) => return Err(error).context("receive"),
                }
            }
            Ok(())
        });
        let sender = scope.spawn(|| -> Result<()> {
            for probe in 0.. {
                let due = start + INTERVAL * u32::try_from(probe)?;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let packet = syn(source, destination, probe)?;
                sent.lock().map_err(|_| anyhow::anyhow!("a probe panicked"))?.push(Instant::now());
                sendto(&raw, &packet, SendFlags::empty(), &SocketAddr::V4(destination))
                    .context("send a probe")?;
                let last = answered.load(Ordering::Relaxed);
                if (last > 0 && probe >= last + SILENT) || start.elapsed() > limit {
                    break;
                }
            }
            ended.store(true, Ordering::Relaxed);
            Ok(())
        });
        while answered.load(Ordering::Relaxed) == 0 {
            if start.elapsed() > limit {
                bail!("no probe from {source} to {destination} was ever answered");
            }
            thread::sleep(INTERVAL);
        }
        let caused = begun();
        sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        receiver.join().map_err(|_| anyhow::anyhow!("the receiver panicked"))??;
        let first = answered.load(Ordering::Relaxed);
        let sent = sent.lock().map_err(|_| anyhow::anyhow!("a probe panicked"))?;
        match sent.get(first) {
            Some(&silent_from) if sent.len() >= first + SILENT => {
                Ok(Measured { caused: caused?, silent_from })
            }
            _ => bail!("{source} still reached {destination} after {limit:?}"),
        }
    })
}

/// What one burst measured.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// When the cause was there.
    pub caused: Instant,
    /// When the first probe was sent that was dropped.
    pub silent_from: Instant,
}

impl Measured {
    /// From cause to effect; 0 if the effect came before the cause had returned.
    pub fn latency(&self) -> Duration {
        self.silent_from.saturating_duration_since(self.caused)
    }
}

/// The number of the probe that a packet from the host acknowledges.
fn acknowledged(packet: &[u8], destination: SocketAddrV4) -> Option<usize> {
    const SYN_ACK: u8 = 0x12;
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    let tcp = packet.get(header..header + 20)?;
    let port = u16::from_be_bytes([tcp[0], tcp[1]]);
    if Ipv4Addr::from(source) != *destination.ip()
        || port != destination.port()
        || tcp[13] & SYN_ACK != SYN_ACK
    {
        return None;
    }
    let number = u32::from_be_bytes([tcp[8], tcp[9], tcp[10], tcp[11]]).wrapping_sub(1);
    usize::try_from(number.checked_sub(FIRST_NUMBER)?).ok()
}

/// A TCP header that asks for a connection.
fn syn(source: Ipv4Addr, destination: SocketAddrV4, probe: usize) -> Result<[u8; 20]> {
    let port = FIRST_PORT + u16::try_from(probe % usize::from(PORTS))?;
    let number = FIRST_NUMBER + u32::try_from(probe)?;
    let mut header = [0; 20];
    header[0..2].copy_from_slice(&port.to_be_bytes());
    header[2..4].copy_from_slice(&destination.port().to_be_bytes());
    header[4..8].copy_from_slice(&number.to_be_bytes());
    header[12] = 5 << 4; // five words of header
    header[13] = 0x02; // SYN
    header[14..16].copy_from_slice(&64_240u16.to_be_bytes()); // window
    let sum = checksum(source, *destination.ip(), &header);
    header[16..18].copy_from_slice(&sum.to_be_bytes());
    Ok(header)
}

/// The Internet checksum over pseudo-header and header (RFC 9293, 3.1).
fn checksum(source: Ipv4Addr, destination: Ipv4Addr, header: &[u8; 20]) -> u16 {
    let pseudo = [source.octets(), destination.octets(), [0, 6, 0, 20]];
    let words = pseudo.as_flattened().chunks_exact(2).chain(header.chunks_exact(2));
    let mut sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let folded = u16::try_from(sum).unwrap_or(u16::MAX);
    !folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_sums_to_zero_with_its_own_checksum() {
        let source = Ipv4Addr::new(10, 3, 0, 1);
        let destination = SocketAddrV4::new(Ipv4Addr::new(10, 3, 0, 254), 8006);
        let header = syn(source, destination, 7).expect("a small number");
        assert_eq!(checksum(source, *destination.ip(), &header), 0);
        let mut other = header;
        other[5] ^= 1;
        assert_ne!(checksum(source, *destination.ip(), &other), 0);
    }
}
