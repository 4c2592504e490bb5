//! What the drivers of the interfaces can do, asked without touching them.
//!
//! Native XDP: generic netlink, family `netdev` (Linux 6.3;
//! `Documentation/netlink/specs/netdev.yaml`). The driver's name: the ioctl
//! `SIOCETHTOOL`. What the kernel does not tell is unknown, not absent.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};

/// Longest answer of the kernel: a dump comes in pieces of at most 32 KiB.
const PIECE: usize = 32 * 1024;
const HEADERS: usize = 20;

const CONTROL_FAMILY: u16 = 0x10;
const CONTROL_GET_FAMILY: u8 = 3;
const CONTROL_FAMILY_ID: u16 = 1;
const CONTROL_FAMILY_NAME: u16 = 2;
const DEVICE_GET: u8 = 1;
const DEVICE_INDEX: u16 = 1;
const DEVICE_XDP_FEATURES: u16 = 3;
/// `NETDEV_XDP_ACT_BASIC`: the driver runs programs that pass, drop and send back.
const BASIC: u64 = 1;
const REQUEST: u16 = 1;
const DUMP: u16 = 0x300;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// For each interface, by number, whether its driver has native XDP.
///
/// # Errors
/// When the kernel does not tell (before Linux 6.3).
pub(in crate::enforce) fn native_xdp() -> io::Result<BTreeMap<u32, bool>> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let name = attribute(CONTROL_FAMILY_NAME, b"netdev\0");
    let family = exchange(&socket, CONTROL_FAMILY, REQUEST, CONTROL_GET_FAMILY, &name)?
        .iter()
        .find_map(|message| {
            find(message, CONTROL_FAMILY_ID)?.try_into().ok().map(u16::from_ne_bytes)
        })
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    Ok(exchange(&socket, family, REQUEST | DUMP, DEVICE_GET, &[])?
        .iter()
        .filter_map(|message| {
            let index = u32::from_ne_bytes(find(message, DEVICE_INDEX)?.try_into().ok()?);
            let features = find(message, DEVICE_XDP_FEATURES)?.try_into().ok()?;
            Some((index, u64::from_ne_bytes(features) & BASIC != 0))
        })
        .collect())
}

/// Sends one request and gives the attributes of all messages that answer it.
fn exchange(
    socket: &Socket,
    family: u16,
    flags: u16,
    command: u8,
    attributes: &[u8],
) -> io::Result<Vec<Vec<u8>>> {
    let length = u32::try_from(HEADERS + attributes.len()).map_err(io::Error::other)?;
    let mut request = Vec::new();
    request.extend(length.to_ne_bytes());
    request.extend(family.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    request.extend([0; 8]);
    request.extend([command, 1, 0, 0]);
    request.extend(attributes);
    socket.send(&request, 0)?;

    let mut answers = Vec::new();
    let mut piece = Vec::with_capacity(PIECE);
    loop {
        piece.clear();
        socket.recv(&mut piece, 0)?;
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
                _ => answers.push(message.get(HEADERS..).unwrap_or_default().to_vec()),
            }
            if flags & DUMP == 0 {
                return Ok(answers);
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
fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
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

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// `struct ethtool_drvinfo` of `include/uapi/linux/ethtool.h`.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// `struct ifreq` with its union as a pointer.
#[repr(C)]
struct Request {
    name: [u8; 16],
    data: *mut DriverInfo,
    rest: [u8; 16],
}

/// The name of an interface's driver, such as `e1000e`.
#[expect(unsafe_code, reason = "SIOCETHTOOL has no safe wrapper")]
pub(in crate::enforce) fn driver(interface: &str) -> Option<String> {
    const SIOCETHTOOL: u64 = 0x8946;
    const GET_DRIVER_INFO: u32 = 3;
    let socket: OwnedFd = std::net::UdpSocket::bind(("127.0.0.1", 0)).ok()?.into();
    let mut info = DriverInfo { command: GET_DRIVER_INFO, driver: [0; 32], rest: [0; 160] };
    let mut request = Request { name: [0; 16], data: &raw mut info, rest: [0; 16] };
    // The last byte stays 0.
    for (to, from) in request.name[..15].iter_mut().zip(interface.bytes()) {
        *to = from;
    }
    // SAFETY: the kernel reads `struct ifreq` (40 bytes, as `Request` is) and writes
    // `struct ethtool_drvinfo` (196 bytes, as `DriverInfo` is) to its pointer; both live
    // until the call returns.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if answer != 0 {
        return None;
    }
    let name = info.driver.split(|byte| *byte == 0).next().unwrap_or_default();
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

const _: () = assert!(size_of::<DriverInfo>() == 196 && size_of::<Request>() == 40);

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
