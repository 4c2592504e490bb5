//! Programs on the ingress of interfaces before tcx (Linux 6.6): a `bpf` filter of the
//! traffic control, below the queueing discipline `clsact`.
//!
//! Such a filter stays with the interface, whoever made it and whether or not that one
//! lives. Guard's has a priority and a handle of its own, by which it is found, replaced
//! in one step and removed; all others stay. Invariant: the queueing discipline is
//! removed only when nothing is left below it.
//! (`include/uapi/linux/pkt_sched.h`, `pkt_cls.h`; `net/sched/cls_bpf.c`.)

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_sys::protocols::NETLINK_ROUTE;

use super::netlink::{
    ACKNOWLEDGE, CREATE, DUMP, EXCLUSIVE, Netlink, REPLACE, REQUEST, attribute, find,
};

const NEW_QUEUEING: u16 = 36;
const DELETE_QUEUEING: u16 = 37;
const NEW_FILTER: u16 = 44;
const DELETE_FILTER: u16 = 45;
const GET_FILTER: u16 = 46;
/// `TC_H_CLSACT`, and the parents of filters on the way in and on the way out.
const CLSACT: u32 = 0xffff_fff1;
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
/// The handle that every `clsact` has.
const QUEUEING_HANDLE: u32 = 0xffff_0000;

const KIND: u16 = 1;
const OPTIONS: u16 = 2;
const BPF_FD: u16 = 6;
const BPF_NAME: u16 = 7;
const BPF_FLAGS: u16 = 8;
const BPF_ID: u16 = 11;
/// The program's answer is the verdict.
const DIRECT_ACTION: u32 = 1;

/// Before all others.
const PRIORITY: u32 = 1;
/// `guar` in ASCII: what others make is numbered from 1.
const HANDLE: u32 = 0x6775_6172;
const ETH_P_ALL: u16 = 3;

/// Puts a program on an interface, or another one in its place.
pub(super) fn attach(interface: u32, program: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let kernel = Netlink::open(NETLINK_ROUTE)?;
    let queueing = Message { interface, handle: QUEUEING_HANDLE, parent: CLSACT, info: 0 };
    let flags = REQUEST | ACKNOWLEDGE | CREATE | EXCLUSIVE;
    match kernel.exchange(NEW_QUEUEING, flags, &queueing.bytes(), &kind("clsact")) {
        Err(error) if error.raw_os_error() != Some(libc::EEXIST) => return Err(error),
        _ => {}
    }
    let fd = program.as_raw_fd().cast_unsigned();
    let options = [
        attribute(BPF_FD, &fd.to_ne_bytes()),
        attribute(BPF_NAME, format!("{name}\0").as_bytes()),
        attribute(BPF_FLAGS, &DIRECT_ACTION.to_ne_bytes()),
    ];
    let attributes = [kind("bpf"), attribute(OPTIONS, &options.concat())].concat();
    let flags = REQUEST | ACKNOWLEDGE | CREATE | REPLACE;
    kernel.exchange(NEW_FILTER, flags, &filter(interface).bytes(), &attributes).map(drop)
}

/// Id of the program that guard's filter on an interface runs; `None` when it has none.
pub(super) fn program(interface: u32) -> io::Result<Option<u32>> {
    let kernel = Netlink::open(NETLINK_ROUTE)?;
    let answers = kernel.exchange(GET_FILTER, REQUEST, &filter(interface).bytes(), &kind("bpf"));
    let answers = match answers {
        // No such filter, no clsact, no such interface, or no `bpf` filter in this kernel.
        Err(error) if is_absent(&error) => return Ok(None),
        other => other?,
    };
    Ok(answers.iter().find_map(|message| {
        find(find(message, OPTIONS)?, BPF_ID)?.try_into().ok().map(u32::from_ne_bytes)
    }))
}

/// Removes guard's filter, and the queueing discipline if nothing else uses it.
pub(super) fn detach(interface: u32) -> io::Result<()> {
    let kernel = Netlink::open(NETLINK_ROUTE)?;
    let flags = REQUEST | ACKNOWLEDGE;
    let removed = kernel.exchange(DELETE_FILTER, flags, &filter(interface).bytes(), &kind("bpf"));
    match removed {
        Err(error) if is_absent(&error) => return Ok(()),
        other => other?,
    };
    for parent in [INGRESS, EGRESS] {
        let all = Message { interface, handle: 0, parent, info: 0 };
        if !kernel.exchange(GET_FILTER, REQUEST | DUMP, &all.bytes(), &[])?.is_empty() {
            return Ok(());
        }
    }
    remove_queueing(&kernel, interface)
}

/// Whether the kernel has all that [`attach`] needs. It cannot be asked without making an
/// empty `clsact`: loopback has one for this moment.
pub(super) fn works() -> io::Result<bool> {
    /// Loopback is there in every network namespace, and always the first.
    const LOOPBACK: u32 = 1;
    let kernel = Netlink::open(NETLINK_ROUTE)?;
    let queueing =
        Message { interface: LOOPBACK, handle: QUEUEING_HANDLE, parent: CLSACT, info: 0 };
    let flags = REQUEST | ACKNOWLEDGE | CREATE | EXCLUSIVE;
    let made = match kernel.exchange(NEW_QUEUEING, flags, &queueing.bytes(), &kind("clsact")) {
        Ok(_) => true,
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => false,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(false),
        Err(error) => return Err(error),
    };
    // A filter without a program: refused, in words of the one who would run it.
    let empty = [kind("bpf"), attribute(OPTIONS, &[])].concat();
    let refused = kernel.exchange(NEW_FILTER, flags, &filter(LOOPBACK).bytes(), &empty);
    if made {
        remove_queueing(&kernel, LOOPBACK)?;
    }
    Ok(refused.is_err_and(|error| error.raw_os_error() == Some(libc::EINVAL)))
}

fn remove_queueing(kernel: &Netlink, interface: u32) -> io::Result<()> {
    let queueing = Message { interface, handle: QUEUEING_HANDLE, parent: CLSACT, info: 0 };
    let flags = REQUEST | ACKNOWLEDGE;
    kernel.exchange(DELETE_QUEUEING, flags, &queueing.bytes(), &[]).map(drop)
}

fn filter(interface: u32) -> Message {
    let info = PRIORITY << 16 | u32::from(ETH_P_ALL.to_be());
    Message { interface, handle: HANDLE, parent: INGRESS, info }
}

fn kind(name: &str) -> Vec<u8> {
    attribute(KIND, format!("{name}\0").as_bytes())
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL | libc::ENODEV))
}

/// `struct tcmsg`.
#[derive(Clone, Copy, Debug)]
struct Message {
    interface: u32,
    handle: u32,
    parent: u32,
    info: u32,
}

impl Message {
    fn bytes(self) -> Vec<u8> {
        // The first word is the address family, with padding: none.
        [0, self.interface, self.handle, self.parent, self.info]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect()
    }
}
