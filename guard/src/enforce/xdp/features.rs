//! What the drivers of the interfaces can do, asked without touching them.
//!
//! Native XDP: generic netlink, family `netdev` (Linux 6.3;
//! `Documentation/netlink/specs/netdev.yaml`). The driver's name: the ioctl
//! `SIOCETHTOOL`. What the kernel does not tell is unknown, not absent.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use netlink_sys::protocols::NETLINK_GENERIC;

use super::netlink::{DUMP, Netlink, REQUEST, attribute, find};

const CONTROL_FAMILY: u16 = 0x10;
const CONTROL_GET_FAMILY: u8 = 3;
const CONTROL_FAMILY_ID: u16 = 1;
const CONTROL_FAMILY_NAME: u16 = 2;
const DEVICE_GET: u8 = 1;
const DEVICE_INDEX: u16 = 1;
const DEVICE_XDP_FEATURES: u16 = 3;
/// `NETDEV_XDP_ACT_BASIC`: the driver runs programs that pass, drop and send back.
const BASIC: u64 = 1;

/// For each interface, by number, whether its driver has native XDP.
///
/// # Errors
/// When the kernel does not tell (before Linux 6.3).
pub(in crate::enforce) fn native_xdp() -> io::Result<BTreeMap<u32, bool>> {
    let kernel = Netlink::open(NETLINK_GENERIC)?;
    let name = attribute(CONTROL_FAMILY_NAME, b"netdev\0");
    let family = kernel
        .exchange(CONTROL_FAMILY, REQUEST, &[CONTROL_GET_FAMILY, 1, 0, 0], &name)?
        .iter()
        .find_map(|message| {
            find(message, CONTROL_FAMILY_ID)?.try_into().ok().map(u16::from_ne_bytes)
        })
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    Ok(kernel
        .exchange(family, REQUEST | DUMP, &[DEVICE_GET, 1, 0, 0], &[])?
        .iter()
        .filter_map(|message| {
            let index = u32::from_ne_bytes(find(message, DEVICE_INDEX)?.try_into().ok()?);
            let features = find(message, DEVICE_XDP_FEATURES)?.try_into().ok()?;
            Some((index, u64::from_ne_bytes(features) & BASIC != 0))
        })
        .collect())
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
