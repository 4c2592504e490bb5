//! Names of maps, programs and pins.

/// `HASH`: IPv4 source (4 bytes, network order) → [`crate::layout::Ban`].
pub const BANS_V4: &str = "BANS_V4";
/// `HASH`: IPv6 source (16 bytes, network order) → [`crate::layout::Ban`].
pub const BANS_V6: &str = "BANS_V6";
/// `ARRAY_OF_MAPS` of one: the table of IPv4 bans (`ARRAY` of lines of 64 bytes,
/// [`crate::table`]), if there is one.
pub const TABLE_V4: &str = "TABLE_V4";
/// `LPM_TRIE`: IPv4 prefix ([`crate::layout::NetV4`]) → [`crate::layout::NetBan`].
pub const BANS_V4_NETS: &str = "BANS_V4_NETS";
/// `LPM_TRIE`: IPv6 prefix ([`crate::layout::NetV6`]) → [`crate::layout::NetBan`].
pub const BANS_V6_NETS: &str = "BANS_V6_NETS";
/// `ARRAY`: [`crate::layout::port_index`] → port classes, one bit each (`u64`).
pub const PORT_CLASSES: &str = "PORT_CLASSES";
/// `HASH`: own address (16 bytes, IPv4 as `::ffff:a.b.c.d`) → 1 (`u8`).
pub const OWN_ADDRESSES: &str = "OWN_ADDRESSES";
/// `ARRAY` of one [`crate::layout::Meta`].
pub const META: &str = "META";
/// `PERCPU_ARRAY`: [`crate::verdict::counter`] → [`crate::layout::Counter`].
pub const VERDICTS: &str = "VERDICTS";

/// `LRU_HASH`: IPv4 source (4 bytes, network order) → [`crate::layout::Counter`] of what
/// the table's bans dropped, by samples ([`crate::layout::SAMPLED`]).
pub const SAMPLES_V4: &str = "SAMPLES_V4";
/// `RINGBUF` of [`crate::layout::DropSample`].
pub const DROP_SAMPLES: &str = "DROP_SAMPLES";
/// `ARRAY` of one [`crate::layout::Watch`].
pub const WATCH: &str = "WATCH";
/// `PERCPU_ARRAY` of one [`crate::layout::Watched`].
pub const WATCHED: &str = "WATCHED";

/// All maps, in the order in which they are pinned.
pub const MAPS: [&str; 13] = [
    BANS_V4,
    BANS_V6,
    TABLE_V4,
    BANS_V4_NETS,
    BANS_V6_NETS,
    PORT_CLASSES,
    OWN_ADDRESSES,
    META,
    VERDICTS,
    SAMPLES_V4,
    DROP_SAMPLES,
    WATCH,
    WATCHED,
];

/// The XDP program. It takes frames of several buffers, so it attaches to interfaces with
/// a large MTU; Linux 5.18.
pub const XDP: &str = "guard_xdp";
/// The same for kernels that know no frames of several buffers.
pub const XDP_LINEAR: &str = "guard_xdp_linear";
/// The tcx program for interfaces whose frames begin with an Ethernet header.
pub const TCX_ETHERNET: &str = "guard_tcx";
/// The tcx program for interfaces whose packets begin with the IP header (tun, WireGuard).
pub const TCX_IP: &str = "guard_tcx_ip";
