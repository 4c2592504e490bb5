//! Datagrams from somebody banned and from a neighbour, without a pause, while something
//! changes.
//!
//! Input: two sources outside and a port of the host. Output: how many of them were sent
//! and how many arrived. All of it ends with the change.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;

use crate::deadline::wait_until;
use crate::lan::{ATTACKER, HOST, Lan, NEIGHBOUR};

/// Datagrams of the attacker after which a change has met some.
const SOME: u64 = 200;
/// How long those may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// What became of the datagrams.
#[derive(Clone, Copy, Debug)]
pub struct Flooded {
    /// Sent by the attacker.
    pub sent: u64,
    /// Of these arrived.
    pub passed: u64,
    /// Of the neighbour's arrived.
    pub received: u64,
}

/// The flood while it goes on.
#[derive(Debug)]
pub struct Flood<'f>(&'f AtomicU64);

impl Flood<'_> {
    /// Waits until some more datagrams were sent.
    ///
    /// # Errors
    /// When the flood has stopped.
    pub fn goes_on(&self) -> Result<()> {
        let before = self.0.load(Ordering::Relaxed);
        wait_until("the flood goes on", PATIENCE, || {
            Ok(self.0.load(Ordering::Relaxed) > before + SOME)
        })
    }
}

/// Floods `port` of the host from [`ATTACKER`] and [`NEIGHBOUR`] while `change` runs.
///
/// # Errors
/// When the sockets cannot be made, or what `change` says.
pub fn flooded(
    lan: &Lan,
    port: u16,
    change: impl FnOnce(&Flood<'_>) -> Result<()>,
) -> Result<Flooded> {
    let to = SocketAddr::new(HOST, port);
    let service = lan.host.run(|| Ok(UdpSocket::bind(to)?))?;
    service.set_read_timeout(Some(Duration::from_millis(50)))?;
    let socket = |source: IpAddr| lan.outside.run(move || Ok(UdpSocket::bind((source, 0))?));
    let (attacker, neighbour) = (socket(ATTACKER)?, socket(NEIGHBOUR)?);
    let over = AtomicBool::new(false);
    let [sent, passed, received] = [const { AtomicU64::new(0) }; 3];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // A full queue refuses; such a packet is not sent.
                if attacker.send_to(b"flood", to).is_ok() {
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                neighbour.send_to(b"hello", to).ok();
            }
        });
        scope.spawn(|| {
            let mut buffer = [0; 16];
            while !over.load(Ordering::Relaxed) {
                if let Ok((_, from)) = service.recv_from(&mut buffer) {
                    let count = if from.ip() == ATTACKER { &passed } else { &received };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let changed = change(&Flood(&sent));
        over.store(true, Ordering::Relaxed);
        changed
    })?;
    let [sent, passed, received] = [sent, passed, received].map(AtomicU64::into_inner);
    Ok(Flooded { sent, passed, received })
}
