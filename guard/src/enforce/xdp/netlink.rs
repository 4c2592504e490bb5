//! Requests to the kernel over netlink, and the attributes of its answers.

use std::io;

use netlink_sys::{Socket, SocketAddr};

/// Longest answer of the kernel: a dump comes in pieces of at most 32 KiB.
const PIECE: usize = 32 * 1024;
/// `struct nlmsghdr`.
const HEADER: usize = 16;

/// `NLM_F_REQUEST`.
pub(super) const REQUEST: u16 = 1;
/// `NLM_F_ACK`: answer also when there is nothing to tell.
pub(super) const ACKNOWLEDGE: u16 = 4;
/// `NLM_F_DUMP`.
pub(super) const DUMP: u16 = 0x300;
/// `NLM_F_REPLACE`.
pub(super) const REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`: not if it is there.
pub(super) const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_CREATE`.
pub(super) const CREATE: u16 = 0x400;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// A socket to the kernel.
#[derive(Debug)]
pub(super) struct Netlink(Socket);

impl Netlink {
    /// Speaks one of the kernel's netlink protocols, in the calling thread's network
    /// namespace.
    pub(super) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Sends one request and gives the attributes of all messages that answer it; those
    /// begin behind as many bytes as the request's `fixed` part has.
    pub(super) fn exchange(
        &self,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        attributes: &[u8],
    ) -> io::Result<Vec<Vec<u8>>> {
        let headers = HEADER + fixed.len();
        let length = u32::try_from(headers + attributes.len()).map_err(io::Error::other)?;
        let mut request = Vec::new();
        request.extend(length.to_ne_bytes());
        request.extend(kind.to_ne_bytes());
        request.extend(flags.to_ne_bytes());
        request.extend([0; 8]);
        request.extend(fixed);
        request.extend(attributes);
        self.0.send(&request, 0)?;

        let mut answers = Vec::new();
        let mut piece = Vec::with_capacity(PIECE);
        loop {
            piece.clear();
            self.0.recv(&mut piece, 0)?;
            let mut rest = piece.as_slice();
            while let Some((message, next)) = split(rest) {
                rest = next;
                let kind = u16::from_ne_bytes([message[4], message[5]]);
                match kind {
                    DONE => return Ok(answers),
                    ERROR => {
                        let code = message.get(16..20).and_then(|code| code.try_into().ok());
                        let code = code.map_or(0, i32::from_ne_bytes);
                        if code != 0 {
                            return Err(io::Error::from_raw_os_error(-code));
                        }
                        return Ok(answers);
                    }
                    _ => answers.push(message.get(headers..).unwrap_or_default().to_vec()),
                }
                if flags & DUMP == 0 {
                    return Ok(answers);
                }
            }
        }
    }
}

/// The first netlink message and what follows it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let message = bytes.get(..length).filter(|message| message.len() >= 16)?;
    Some((message, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// The value of an attribute.
pub(super) fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(attributes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(attributes.get(2..4)?.try_into().ok()?);
        let value = attributes.get(4..length)?;
        // The upper two bits are flags.
        if kind & 0x3fff == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

/// An attribute, padded.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_by_number() {
        let mut bytes = attribute(1, &7_u32.to_ne_bytes());
        bytes.extend(attribute(2, b"odd"));
        bytes.extend(attribute(3 | 0x8000, &1_u64.to_ne_bytes()));
        assert_eq!(find(&bytes, 1), Some(&7_u32.to_ne_bytes()[..]));
        assert_eq!(find(&bytes, 2), Some(&b"odd"[..]));
        assert_eq!(find(&bytes, 3), Some(&1_u64.to_ne_bytes()[..]));
        assert_eq!(find(&bytes, 4), None);
        assert_eq!(find(&bytes[..5], 1), None, "cut short");
        assert_eq!(find(&[0, 0, 1, 0], 2), None, "a length of 0 does not go round for ever");
    }
}
