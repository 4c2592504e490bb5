//! Keys and values of the BPF maps. Any change here needs a new [`ABI`].

/// Version of everything in this file. Pinned maps of another version are not adopted.
pub const ABI: u32 = 5;

/// Jails of which one address can be banned by with ends of their own.
pub const SLOTS: usize = 4;

/// The ports that one or more bans of an address cut off, until one point in time.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Port classes, one bit each; 0 for an unused slot.
    pub classes: u64,
    /// Nanoseconds since boot (`CLOCK_BOOTTIME`) at which it ends; [`FOREVER`].
    pub until: u64,
}

/// [`Slot::until`] of a ban that does not end.
pub const FOREVER: u64 = u64::MAX;

/// Value of the ban maps. What a drop by a ban of one slot touches comes first: with the
/// kernel's own part of an element, that is two lines of memory instead of three.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ban {
    /// Packets dropped; the kernel adds to it atomically.
    pub packets: u64,
    /// Bytes dropped.
    pub bytes: u64,
    /// What is cut off until when; unused slots come last.
    pub slots: [Slot; SLOTS],
}

/// Value of the prefix maps.
///
/// A look-up finds the longest banned prefix alone, so what it finds says what all
/// banned prefixes around it say as well. What it says of itself stands beside that:
/// the programs do not read it, the agent does.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetBan {
    /// What is cut off, by this prefix and by every one that contains it. First, so that
    /// the address of this is also the address of a [`Ban`].
    pub ban: Ban,
    /// What this prefix alone cuts off.
    pub own: [Slot; SLOTS],
}

/// Key of the IPv4 prefix map. The kernel puts the value right behind the address:
/// four bytes more, which are always 0, keep its counters aligned.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetV4 {
    /// Leading bits that are fixed.
    pub length: u32,
    /// The address in network order, then four zeros.
    pub address: [u8; 8],
}

/// Key of the IPv6 prefix map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetV6 {
    /// Leading bits that are fixed.
    pub length: u32,
    /// The address in network order.
    pub address: [u8; 16],
}

/// What the maps are for. Written last, so that half-built maps have ABI 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// [`ABI`].
    pub abi: u32,
    /// [`SCOPE_HOST`] or [`SCOPE_ALL`].
    pub scope: u32,
    /// The boot in which the ends of the bans count (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: [u8; 16],
    /// Which prefix maps have entries: [`SOME_V4`], [`SOME_V6`]. The others are not
    /// looked into.
    pub nets: u32,
    /// Always 0.
    pub reserved: u32,
    /// The first of the host's own IPv4 addresses in network order, then zeros: what is
    /// looked at before the map of all of them.
    pub own: [u32; OWN_FIRST],
}

/// Own addresses in [`Meta::own`].
pub const OWN_FIRST: usize = 8;

/// Of the packets that a ban in the table drops on one CPU, one in so many is put down to
/// its source, for all of them (a power of two).
pub const SAMPLED: u64 = 64;

/// Bit of [`Meta::nets`]: there are IPv4 prefixes.
pub const SOME_V4: u32 = 1;
/// Bit of [`Meta::nets`]: there are IPv6 prefixes.
pub const SOME_V6: u32 = 2;

/// Drop only packets to this host's own addresses.
pub const SCOPE_HOST: u32 = 0;
/// Drop packets to any address.
pub const SCOPE_ALL: u32 = 1;

/// Packets and bytes of one verdict on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What whoever watches drops asks for; until nobody does.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Nanoseconds since boot until which samples are taken; 0: none are.
    pub until: u64,
    /// Samples a second on each CPU, at most.
    pub rate: u64,
}

/// What one CPU took of samples.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// When the second began in which it counts.
    pub since: u64,
    /// Samples in that second.
    pub shown: u64,
    /// Drops that were not shown while somebody watched, ever.
    pub missed: u64,
}

/// The beginning of a packet that was dropped.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropSample {
    /// Nanoseconds since boot.
    pub time: u64,
    /// Bytes of the whole packet.
    pub length: u32,
    /// Number of the interface.
    pub interface: u32,
    /// What `start` begins with: 0 an Ethernet header, 1 the IP header.
    pub link: u32,
    /// Bytes of `start` that are of the packet.
    pub captured: u32,
    /// The packet, as it came.
    pub start: [u32; DropSample::WORDS],
}

impl DropSample {
    /// Words of a packet that are kept: all headers of most packets.
    pub const WORDS: usize = 24;
}

/// Bytes of the ring buffer for samples: whole pages, a power of two of them.
pub const SAMPLES_BYTES: usize = 65_536;

/// Entries of the port class map: TCP's ports, UDP's, then one for all other protocols.
pub const PORT_CLASS_ENTRIES: u32 = 2 * 65_536 + 1;

/// Index of everything that is neither TCP nor UDP, or whose port cannot be read.
pub const OTHER_INDEX: u32 = 2 * 65_536;

/// Index of a packet whose ports lie behind more headers than are walked. It is beyond the
/// map, and stands for every class: who is banned does not get through by hiding them.
pub const HIDDEN_INDEX: u32 = PORT_CLASS_ENTRIES;

/// Index of a TCP (`tcp`) or UDP port in the port class map.
pub const fn port_index(tcp: bool, port: u16) -> u32 {
    port as u32 + if tcp { 0 } else { 65_536 }
}

/// Port classes there can be: distinct (protocols, ports) of the jails.
pub const MAX_CLASSES: usize = 64;

const _: () = {
    assert!(size_of::<Slot>() == 16 && size_of::<Ban>() == SLOTS * 16 + 16);
    assert!(size_of::<Meta>() == 64 && size_of::<Counter>() == 16);
    assert!(size_of::<NetBan>() == size_of::<Ban>() + SLOTS * 16);
    assert!(core::mem::offset_of!(NetBan, ban) == 0);
    assert!(size_of::<Watch>() == 16 && size_of::<Watched>() == 24);
    assert!(size_of::<DropSample>() == 24 + 4 * DropSample::WORDS);
    assert!(size_of::<NetV4>() == 12 && size_of::<NetV6>() == 20);
};

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "the only way to say that a type is plain bytes")]
mod user {
    // SAFETY: `repr(C)`, made of integers alone, without padding (sizes asserted above).
    unsafe impl aya::Pod for super::Slot {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Ban {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::NetBan {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::NetV4 {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::NetV6 {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Meta {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Counter {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Watch {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Watched {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::DropSample {}
}
