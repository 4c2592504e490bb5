//! The programs that drop banned sources in the kernel: read the packet, judge it, count
//! the verdict, return.
//!
//! Input: a packet on its way in, and the maps that userspace writes ([`maps`]). Output:
//! drop or pass. Invariant: a packet that is not dropped goes on to whatever other program
//! and to the host's stack unchanged, and every packet is counted once, by [`count::exit`].
//!
//! What is decided, and why, is in `guard_common::verdict::judge`.

#![no_std]
#![no_main]
// For the one instruction that Rust has no name for on this target (`count`).
#![feature(asm_experimental_arch)]

mod clock;
mod count;
mod ctx;
mod lookup;
mod maps;
mod samples;
mod table;

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use guard_common::packet::Link;
use guard_common::verdict::{Verdict, judge};

use crate::ctx::{Buffer, Linear};
use crate::lookup::Maps;

/// On an interface, before the host's stack; takes frames of several buffers (Linux 5.18).
#[xdp(frags)]
fn guard_xdp(context: XdpContext) -> u32 {
    let packet = Linear::new(&context);
    xdp_verdict(&context, &packet, || ctx::frame_length(&context))
}

/// The same for kernels that know no frames of several buffers.
#[xdp]
fn guard_xdp_linear(context: XdpContext) -> u32 {
    let packet = Linear::new(&context);
    xdp_verdict(&context, &packet, || packet.length())
}

/// On an interface without XDP, whose frames begin with an Ethernet header.
#[classifier]
fn guard_tcx(context: TcContext) -> i32 {
    tc_verdict(&context, Link::Ethernet)
}

/// On an interface whose packets begin with the IP header.
#[classifier]
fn guard_tcx_ip(context: TcContext) -> i32 {
    tc_verdict(&context, Link::Ip)
}

#[inline(always)]
fn xdp_verdict(context: &XdpContext, packet: &Linear, length: impl FnOnce() -> u64) -> u32 {
    let length = length();
    let interface = || ctx::interface(context);
    let Some(maps) = Maps::new(length, interface) else { return xdp_action::XDP_PASS };
    match count::exit(judge(packet, Link::Ethernet, &maps).verdict, length, interface) {
        Verdict::Drop => {
            samples::take(packet, Link::Ethernet, length, interface());
            xdp_action::XDP_DROP
        }
        _ => xdp_action::XDP_PASS,
    }
}

#[inline(always)]
fn tc_verdict(context: &TcContext, link: Link) -> i32 {
    let packet = Buffer::new(context);
    let interface = || packet.interface();
    let Some(maps) = Maps::new(packet.length(), interface) else { return TC_ACT_UNSPEC };
    match count::exit(judge(&packet, link, &maps).verdict, packet.length(), interface) {
        Verdict::Drop => {
            samples::take(&packet, link, packet.length(), interface());
            TC_ACT_SHOT
        }
        // The next program decides; were there none, the packet passes.
        _ => TC_ACT_UNSPEC,
    }
}

/// The kernel compares the word `GPL` in it, or one of the dual licences that it lists,
/// before it lets a program call all helpers.
// SAFETY: no other symbol of that name is linked in.
#[unsafe(no_mangle)]
// SAFETY: the loader reads this section as text that ends in a zero byte, which it is.
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // Nothing here can panic; the verifier would refuse a program that reaches this loop.
    loop {}
}
