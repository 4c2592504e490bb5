//! Questions to rtnetlink: one dump, every message of the answer.
//!
//! Invariant: what is handed on is one consistent dump. When the kernel says that
//! something changed while it was dumping, the whole dump is asked for again.

use std::io;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use super::HostError;

/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// How often an interrupted dump is asked for again.
const ATTEMPTS: u32 = 16;

/// What can be asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Dump {
    Links,
    Addresses,
    Routes,
}

impl Dump {
    /// The type of the question, and the length of the structure that follows the
    /// header: `ifinfomsg`, `ifaddrmsg`, `rtmsg`. All zeros asks for everything.
    const fn question(self) -> (u16, usize) {
        match self {
            Self::Links => (libc::RTM_GETLINK, 16),
            Self::Addresses => (libc::RTM_GETADDR, 8),
            Self::Routes => (libc::RTM_GETROUTE, 12),
        }
    }
}

/// One netlink message: its type, its flags and what follows its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) payload: &'a [u8],
}

/// Asks, and hands the payload of every message of the answer to `take`. When the
/// dump has to be repeated, `take` sees only the last.
pub(super) fn dump(
    dump: Dump,
    what: &'static str,
    take: impl FnMut(&[u8]),
) -> Result<(), HostError> {
    let failed = |cause| HostError::Netlink { what, cause };
    for _ in 0..ATTEMPTS {
        if let Some(answer) = ask(dump).map_err(failed)? {
            answer.iter().map(Vec::as_slice).for_each(take);
            return Ok(());
        }
    }
    Err(failed(io::Error::other("it keeps changing while it is dumped")))
}

/// The payloads of one dump; `None` when it is not consistent.
fn ask(dump: Dump) -> io::Result<Option<Vec<Vec<u8>>>> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let (question, length) = dump.question();
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
    socket.send(&request(question, u16::try_from(flags).unwrap_or(0), length), 0)?;
    let mut answer = Vec::new();
    let mut consistent = true;
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        for message in messages(&datagram) {
            consistent &= i32::from(message.flags) & libc::NLM_F_DUMP_INTR == 0;
            match i32::from(message.kind) {
                libc::NLMSG_DONE => return Ok(consistent.then_some(answer)),
                libc::NLMSG_ERROR => return Err(kernel_error(message.payload)),
                _ => answer.push(message.payload.to_vec()),
            }
        }
    }
}

fn request(kind: u16, flags: u16, length: usize) -> Vec<u8> {
    let mut request = vec![0; HEADER + length];
    let total = u32::try_from(request.len()).unwrap_or(u32::MAX);
    request[0..4].copy_from_slice(&total.to_ne_bytes());
    request[4..6].copy_from_slice(&kind.to_ne_bytes());
    request[6..8].copy_from_slice(&flags.to_ne_bytes());
    request
}

/// The messages of a datagram. Stops at what is not one.
pub(super) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let header = datagram.get(..HEADER)?;
        let length = usize::try_from(u32_at(header, 0)?).ok()?;
        let message = Message {
            kind: u16_at(header, 4)?,
            flags: u16_at(header, 6)?,
            payload: datagram.get(HEADER..length)?,
        };
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// `struct nlmsgerr` begins with the negated error number.
fn kernel_error(payload: &[u8]) -> io::Error {
    let code = u32_at(payload, 0).map_or(0, u32::cast_signed);
    io::Error::from_raw_os_error(code.saturating_neg())
}

pub(super) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(offset..offset + 2)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?))
}
