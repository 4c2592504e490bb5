//! What becomes of a packet, and the one function that says so.
//!
//! Input: a packet and the [`Tables`] (in the kernel, the BPF maps; in tests, plain
//! ones). Output: a [`Judgement`]. Invariant: only [`Verdict::Drop`] stops a packet, and
//! only a ban that covers its port, towards an address that is in scope, before the ban's
//! end, leads there. Everything that is unclear passes, but for packets of banned sources
//! whose ports are hidden behind more headers than are walked: those could be any.

use crate::layout::{SCOPE_ALL, SLOTS, Slot};
use crate::packet::{Address, Header, Link, Network, Reader, Unwalked, network};

/// What became of a packet, and why. Where it is counted: [`counter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Verdict {
    /// Passed: its source is not banned.
    PassClean = 0,
    /// Passed: its source is banned, but not from this port.
    PassOtherPort = 1,
    /// Passed: its source is banned, but it goes to an address that is not this host's.
    PassOtherHost = 2,
    /// Passed: its source was banned, and the ban has ended.
    PassEnded = 3,
    /// Passed: it is neither IPv4 nor IPv6.
    PassNotIp = 4,
    /// Passed: it could not be read to the point where a decision is possible.
    PassUnparsed = 5,
    /// Dropped.
    Drop = 6,
}

impl Verdict {
    /// All verdicts, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::PassClean,
        Self::PassOtherPort,
        Self::PassOtherHost,
        Self::PassEnded,
        Self::PassNotIp,
        Self::PassUnparsed,
        Self::Drop,
    ];

    /// How the verdict is called in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PassClean => "pass-clean",
            Self::PassOtherPort => "pass-other-port",
            Self::PassOtherHost => "pass-other-host",
            Self::PassEnded => "pass-ended",
            Self::PassNotIp => "pass-not-ip",
            Self::PassUnparsed => "pass-unparsed",
            Self::Drop => "drop",
        }
    }
}

/// Interfaces that drops are counted for apart, each at its number modulo this (a power of
/// two). Numbers are given in order, so those of one host hardly ever share.
pub const INTERFACES: u32 = 1024;

/// Entries of the map of counters: one for each verdict, but for drops one for each
/// interface.
pub const COUNTERS: usize = Verdict::Drop as usize + INTERFACES as usize;

/// Where a verdict on a packet of an interface is counted.
#[inline(always)]
pub const fn counter(verdict: Verdict, interface: u32) -> u32 {
    match verdict {
        Verdict::Drop => verdict as u32 + interface % INTERFACES,
        _ => verdict as u32,
    }
}

/// Where a verdict is counted, for all interfaces.
pub const fn counters(verdict: Verdict) -> core::ops::Range<u32> {
    let first = verdict as u32;
    match verdict {
        Verdict::Drop => first..first + INTERFACES,
        _ => first..first + 1,
    }
}

/// What a packet is judged by.
pub trait Tables {
    /// A ban that was found.
    type Ban: Copy;

    /// The ban of a source by its address: a slot that says all, without classes if there
    /// is none, and a ban that counts, if that is where it is.
    fn ban(&self, source: &Address) -> (Slot, Option<Self::Ban>);
    /// What all banned prefixes that contain a source say together, with the longest of
    /// them.
    fn net_ban(&self, source: &Address) -> Option<Self::Ban>;
    /// Whether there are banned prefixes of the source's family at all.
    fn has_nets(&self, source: &Address) -> bool;
    /// Puts a drop down to the ban that counts, or to the source where none does.
    fn count(&self, source: &Address, ban: Option<Self::Ban>);
    /// The latest end among what the ban cuts off of these port classes, in nanoseconds
    /// since boot; 0 if it cuts off none of them. See [`latest`].
    fn latest(&self, ban: Self::Ban, classes: u64) -> u64;
    /// The port classes at an index of [`crate::layout::port_index`]; every class at
    /// [`crate::layout::HIDDEN_INDEX`].
    fn port_classes(&self, index: u32) -> u64;
    /// [`crate::layout::SCOPE_HOST`] or [`SCOPE_ALL`].
    fn scope(&self) -> u32;
    /// Whether an address, in the form of [`Address::mapped`], is this host's own.
    fn is_own(&self, address: &[u64; 2]) -> bool;
    /// Nanoseconds since boot (`CLOCK_BOOTTIME`).
    fn now(&self) -> u64;
}

/// The latest end among the slots that cut one of these port classes off; 0 if none does.
/// What follows an unused slot is not looked at: nearly all bans have one slot.
#[inline(always)]
pub fn latest(slots: &[Slot; SLOTS], classes: u64) -> u64 {
    let mut until = 0;
    for slot in slots {
        if slot.classes == 0 {
            break;
        }
        if slot.classes & classes != 0 && slot.until > until {
            until = slot.until;
        }
    }
    until
}

/// A verdict, and the ban that a drop is put down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement<B> {
    /// What becomes of the packet.
    pub verdict: Verdict,
    /// The ban, if it counts; there for [`Verdict::Drop`] and for nothing else.
    pub ban: Option<B>,
}

/// Judges one packet.
///
/// The source comes first, because hardly any is banned. The clock comes last, because
/// it costs more than all the rest together on virtual machines. An address that is
/// banned alone and with a prefix is cut off by both; the drop is put down to the one
/// that lasts longer.
#[inline(always)]
pub fn judge<T: Tables>(packet: &impl Reader, link: Link, tables: &T) -> Judgement<T::Ban> {
    let judged = match network(packet, link) {
        Ok(Network::V4(header)) => judge_header(packet, header, tables),
        Ok(Network::V6(header)) => judge_header(packet, header, tables),
        Err(unwalked) => Err(unwalked),
    };
    match judged {
        Ok(judgement) => judgement,
        Err(Unwalked::NotIp) => Judgement { verdict: Verdict::PassNotIp, ban: None },
        Err(Unwalked::Unparsed) => Judgement { verdict: Verdict::PassUnparsed, ban: None },
    }
}

#[inline(always)]
fn judge_header<H: Header, T: Tables>(
    packet: &impl Reader,
    header: H,
    tables: &T,
) -> Result<Judgement<T::Ban>, Unwalked> {
    let source = header.source(packet)?;
    // A loop comes first: the verifier follows it once for each state before it.
    let index = if H::CHAINED { Some(header.port_index(packet)) } else { None };
    let (slot, alone) = tables.ban(&source);
    let packet = Of { packet, header, tables, source, index };
    // Nearly always there are no prefixes, and then one ban at most to think of.
    if !tables.has_nets(&source) {
        return match alone {
            Some(ban) => packet.judge(Bans::One(ban)),
            None if slot.classes == 0 => Ok(Judgement { verdict: Verdict::PassClean, ban: None }),
            None => packet.judge(Bans::Slot(slot)),
        };
    }
    let net = tables.net_ban(&source);
    if slot.classes == 0 && alone.is_none() && net.is_none() {
        return Ok(Judgement { verdict: Verdict::PassClean, ban: None });
    }
    packet.judge(Bans::All(slot, alone, net))
}

/// The bans of one source.
enum Bans<B> {
    /// A single one of the address.
    One(B),
    /// One that counts nothing of its own.
    Slot(Slot),
    /// Whatever there is: that, one of the address, one of a prefix around it.
    All(Slot, Option<B>, Option<B>),
}

impl<B: Copy> Bans<B> {
    /// The latest end among the jails that cut these port classes off, 0 if none does, and
    /// the ban that a drop is put down to. (No closure: one that is not inlined is in the
    /// object by a name that depends on where it was built.)
    #[inline(always)]
    fn latest<T: Tables<Ban = B>>(self, tables: &T, classes: u64) -> (u64, Option<B>) {
        let of_slot = |slot: Slot| if slot.classes & classes != 0 { slot.until } else { 0 };
        match self {
            Self::One(ban) => (tables.latest(ban, classes), Some(ban)),
            Self::Slot(slot) => (of_slot(slot), None),
            Self::All(slot, alone, net) => {
                // (Numbers, because the verifier takes no parts of an `Option` that are
                // not there.)
                let first = alone.map_or(0, |ban| tables.latest(ban, classes));
                let second = net.map_or(0, |ban| tables.latest(ban, classes));
                let until = first.max(second).max(of_slot(slot));
                // Who lasts longest drops it.
                let ban = if first == until {
                    alone
                } else if second == until {
                    net
                } else {
                    None
                };
                (until, ban)
            }
        }
    }
}

/// A packet whose source is banned, and what it is judged by.
struct Of<'a, P, H, T> {
    packet: &'a P,
    header: H,
    tables: &'a T,
    source: Address,
    index: Option<Result<u32, Unwalked>>,
}

impl<P: Reader, H: Header, T: Tables> Of<'_, P, H, T> {
    /// Judges it by these bans.
    #[inline(always)]
    fn judge(self, bans: Bans<T::Ban>) -> Result<Judgement<T::Ban>, Unwalked> {
        let Self { packet, header, tables, source, index } = self;
        let pass = |verdict| Ok(Judgement { verdict, ban: None });
        let index = index.unwrap_or_else(|| header.port_index(packet))?;
        let (until, ban) = bans.latest(tables, tables.port_classes(index));
        if until == 0 {
            return pass(Verdict::PassOtherPort);
        }
        if tables.scope() != SCOPE_ALL && !tables.is_own(&header.destination(packet)?) {
            return pass(Verdict::PassOtherHost);
        }
        if tables.now() >= until {
            return pass(Verdict::PassEnded);
        }
        tables.count(&source, ban);
        Ok(Judgement { verdict: Verdict::Drop, ban })
    }
}
