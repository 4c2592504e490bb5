//! The eBPF programs, run on single packets by the kernel (`BPF_PROG_TEST_RUN`).
//!
//! Input: the committed object, or the one that `GUARD_BPF_OBJECT` names, and a
//! [`World`]. Output: what each program returns, and what the maps hold then. Needs root:
//! without it, and without BPF, it fails.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, PerCpuArray};
use aya::programs::{ProgramError, SchedClassifier, TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use guard_common::layout::{ABI, Ban, Counter, Meta, NetBan, SOME_V4, SOME_V6};
use guard_common::names;
use guard_common::packet::Link;
use guard_common::verdict::{self, Verdict};

use crate::packets::{Found, World};

/// One of the object's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// [`names::XDP`].
    Xdp,
    /// [`names::XDP_LINEAR`].
    XdpLinear,
    /// [`names::TCX_ETHERNET`].
    TcxEthernet,
    /// [`names::TCX_IP`].
    TcxIp,
}

impl Program {
    /// All programs.
    pub const ALL: [Self; 4] = [Self::Xdp, Self::XdpLinear, Self::TcxEthernet, Self::TcxIp];

    /// Its name in the object.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => names::XDP,
            Self::XdpLinear => names::XDP_LINEAR,
            Self::TcxEthernet => names::TCX_ETHERNET,
            Self::TcxIp => names::TCX_IP,
        }
    }

    /// What its packets begin with.
    pub const fn link(self) -> Link {
        match self {
            Self::TcxIp => Link::Ip,
            _ => Link::Ethernet,
        }
    }

    /// Whether the kernel runs it on this packet: for any program it wants an Ethernet
    /// header, and where it makes a socket buffer of the packet, the whole fixed header of
    /// the IP version that bytes 12 and 13 speak of, whatever they mean to the program.
    pub fn takes(self, packet: &[u8]) -> bool {
        // It gives what is not `frags` one page, of which it takes some for itself.
        if packet.len() > 3_000 && self != Self::Xdp {
            return false;
        }
        let shortest = match (self, packet.get(12..14)) {
            (Self::TcxEthernet | Self::TcxIp, Some([0x08, 0x00])) => 14 + 20,
            (Self::TcxEthernet | Self::TcxIp, Some([0x86, 0xdd])) => 14 + 40,
            _ => 14,
        };
        packet.len() >= shortest
    }

    /// What it returns for a packet that got this verdict.
    pub const fn returned(self, verdict: Verdict) -> u32 {
        match (self, verdict) {
            (Self::Xdp | Self::XdpLinear, Verdict::Drop) => 1, // XDP_DROP
            (Self::Xdp | Self::XdpLinear, _) => 2,             // XDP_PASS
            (Self::TcxEthernet | Self::TcxIp, Verdict::Drop) => 2, // TC_ACT_SHOT
            (Self::TcxEthernet | Self::TcxIp, _) => u32::MAX,  // TC_ACT_UNSPEC
        }
    }
}

/// The object under test: `GUARD_BPF_OBJECT`, or the committed one.
pub fn object_path() -> PathBuf {
    std::env::var_os("GUARD_BPF_OBJECT").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../guard/src/enforce/xdp/guard.bpf.o"),
        PathBuf::from,
    )
}

/// Nanoseconds since boot, as the programs see them.
pub fn boot_nanos() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// The loaded object.
pub struct Loaded {
    ebpf: Ebpf,
    /// Programs for newer kernels than this.
    absent: Vec<Program>,
    scope: u32,
    nets: u32,
}

impl Loaded {
    /// Loads all programs, with room for `bans` bans of each family.
    ///
    /// # Errors
    /// When the kernel refuses, with the verifier's last words.
    pub fn new(bans: u32) -> anyhow::Result<Self> {
        let path = object_path();
        let object = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(names::BANS_V4, bans)
            .map_max_entries(names::BANS_V6, bans)
            .map_max_entries(names::BANS_V4_NETS, bans)
            .map_max_entries(names::BANS_V6_NETS, bans)
            .load(&object)
            .with_context(|| format!("loading the maps of {} (root?)", path.display()))?;
        let mut absent = Vec::new();
        for program in Program::ALL {
            let name = program.name();
            let loaded = ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
            let result = match program {
                Program::Xdp | Program::XdpLinear => <&mut Xdp>::try_from(loaded)?.load(),
                _ => <&mut SchedClassifier>::try_from(loaded)?.load(),
            };
            match result {
                // Frames of several buffers: Linux 5.18. Which kernels must have them is in
                // `fixtures/kernels.toml`.
                Err(ProgramError::LoadError { io_error, .. })
                    if program == Program::Xdp && io_error.raw_os_error() == Some(libc::EINVAL) =>
                {
                    absent.push(program);
                }
                other => other.with_context(|| format!("loading {name}"))?,
            }
        }
        Ok(Self { ebpf, absent, scope: 0, nets: 0 })
    }

    /// Whether this kernel runs a program.
    pub fn has(&self, program: Program) -> bool {
        !self.absent.contains(&program)
    }

    /// The XDP program that is the one for this kernel.
    pub fn xdp(&self) -> Program {
        if self.has(Program::Xdp) { Program::Xdp } else { Program::XdpLinear }
    }

    /// Makes the maps say what `world` says. (What they said before is added to.)
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn fill(&mut self, world: &World) -> anyhow::Result<()> {
        let mut classes: Array<_, u64> = Array::try_from(self.map_mut(names::PORT_CLASSES)?)?;
        for (index, bits) in &world.classes {
            classes.set(*index, *bits, 0)?;
        }
        let mut own: HashMap<_, [u8; 16], u8> =
            HashMap::try_from(self.map_mut(names::OWN_ADDRESSES)?)?;
        for address in &world.own {
            own.insert(own_key(*address), 1, 0)?;
        }
        for (source, ban) in &world.bans {
            self.set_ban(*source, ban)?;
        }
        for ((net, length), ban) in &world.nets {
            self.set_net(*net, *length, ban)?;
        }
        self.set_scope(world.scope.number())
    }

    /// Writes one ban.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_ban(&mut self, source: IpAddr, ban: &Ban) -> anyhow::Result<()> {
        match source {
            IpAddr::V4(v4) => HashMap::<_, [u8; 4], Ban>::try_from(self.map_mut(names::BANS_V4)?)?
                .insert(v4.octets(), ban, 0)?,
            IpAddr::V6(v6) => HashMap::<_, [u8; 16], Ban>::try_from(self.map_mut(names::BANS_V6)?)?
                .insert(v6.octets(), ban, 0)?,
        }
        Ok(())
    }

    /// Writes one ban of a prefix, and lets the programs look for such.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_net(&mut self, net: IpAddr, length: u8, ban: &Ban) -> anyhow::Result<()> {
        let (length, value) = (length.into(), NetBan { ban: *ban, own: ban.slots });
        match net {
            IpAddr::V4(v4) => {
                let map = self.map_mut(names::BANS_V4_NETS)?;
                LpmTrie::<_, [u8; 8], NetBan>::try_from(map)?.insert(
                    &Key::new(length, v4_words(v4)),
                    value,
                    0,
                )?;
                self.nets |= SOME_V4;
            }
            IpAddr::V6(v6) => {
                let map = self.map_mut(names::BANS_V6_NETS)?;
                LpmTrie::<_, [u8; 16], NetBan>::try_from(map)?.insert(
                    &Key::new(length, v6.octets()),
                    value,
                    0,
                )?;
                self.nets |= SOME_V6;
            }
        }
        self.set_scope(self.scope)
    }

    /// What the kernel holds about a source.
    ///
    /// # Errors
    /// When it holds nothing.
    pub fn ban(&self, source: Found) -> anyhow::Result<Ban> {
        Ok(match source {
            Found::Address(IpAddr::V4(v4)) => {
                HashMap::<_, [u8; 4], Ban>::try_from(self.map(names::BANS_V4)?)?
                    .get(&v4.octets(), 0)?
            }
            Found::Address(IpAddr::V6(v6)) => {
                HashMap::<_, [u8; 16], Ban>::try_from(self.map(names::BANS_V6)?)?
                    .get(&v6.octets(), 0)?
            }
            Found::Net(IpAddr::V4(v4), length) => {
                let map = self.map(names::BANS_V4_NETS)?;
                LpmTrie::<_, [u8; 8], NetBan>::try_from(map)?
                    .get(&Key::new(length.into(), v4_words(v4)), 0)?
                    .ban
            }
            Found::Net(IpAddr::V6(v6), length) => {
                let map = self.map(names::BANS_V6_NETS)?;
                LpmTrie::<_, [u8; 16], NetBan>::try_from(map)?
                    .get(&Key::new(length.into(), v6.octets()), 0)?
                    .ban
            }
        })
    }

    /// Writes the meta entry with this scope.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_scope(&mut self, scope: u32) -> anyhow::Result<()> {
        self.scope = scope;
        let value = Meta { abi: ABI, scope, nets: self.nets, ..Meta::default() };
        let mut meta: Array<_, Meta> = Array::try_from(self.map_mut(names::META)?)?;
        Ok(meta.set(0, value, 0)?)
    }

    /// The counter of each verdict, over all CPUs.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn verdicts(&self) -> anyhow::Result<Vec<Counter>> {
        let counters: PerCpuArray<_, Counter> = PerCpuArray::try_from(self.map(names::VERDICTS)?)?;
        Verdict::ALL
            .into_iter()
            .map(|verdict| {
                let mut sum = Counter::default();
                for index in verdict::counters(verdict) {
                    for counter in counters.get(&index, 0)?.iter() {
                        sum.packets += counter.packets;
                        sum.bytes += counter.bytes;
                    }
                }
                Ok(sum)
            })
            .collect()
    }

    /// Runs a program on a packet; what it returned.
    ///
    /// # Errors
    /// When the kernel cannot run it ([`Program::takes`]).
    pub fn run(&mut self, program: Program, packet: &[u8]) -> anyhow::Result<u32> {
        Ok(self.test_run(program, packet, 1)?.0)
    }

    /// Runs a program on a packet `repeat` times; what a run took on average.
    ///
    /// # Errors
    /// As [`Loaded::run`].
    pub fn time(
        &mut self,
        program: Program,
        packet: &[u8],
        repeat: u32,
    ) -> anyhow::Result<Duration> {
        Ok(self.test_run(program, packet, repeat)?.1)
    }

    fn test_run(
        &mut self,
        program: Program,
        packet: &[u8],
        repeat: u32,
    ) -> anyhow::Result<(u32, Duration)> {
        let options = TestRunOptions { data_in: Some(packet), repeat, ..TestRunOptions::new() };
        let name = program.name();
        let loaded = self.ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
        let result = match program {
            Program::Xdp | Program::XdpLinear => <&mut Xdp>::try_from(loaded)?.test_run(options),
            _ => <&mut SchedClassifier>::try_from(loaded)?.test_run(options),
        }
        .with_context(|| format!("running {name} on {} bytes", packet.len()))?;
        Ok((result.return_value, result.duration))
    }

    /// Runs a program on a packet; the verdict that the kernel counted, which is the only
    /// counter that moved, by one packet of the right length, and agrees with what was
    /// returned.
    ///
    /// # Errors
    /// When any of that is not so.
    pub fn judge(&mut self, program: Program, packet: &[u8]) -> anyhow::Result<Verdict> {
        let before = self.verdicts()?;
        let returned = self.run(program, packet)?;
        let mut moved = BTreeMap::new();
        for ((verdict, after), before) in Verdict::ALL.iter().zip(self.verdicts()?).zip(before) {
            if after != before {
                let packets = after.packets.wrapping_sub(before.packets);
                moved.insert(verdict.name(), (*verdict, packets, after.bytes - before.bytes));
            }
        }
        let length = packet.len() as u64;
        match moved.into_values().collect::<Vec<_>>().as_slice() {
            [(verdict, 1, bytes)] if *bytes == length && returned == program.returned(*verdict) => {
                Ok(*verdict)
            }
            moved => Err(anyhow!(
                "{} returned {returned} for {length} bytes and counted {moved:?}",
                program.name()
            )),
        }
    }

    fn map(&self, name: &str) -> anyhow::Result<&Map> {
        self.ebpf.map(name).with_context(|| format!("no map {name}"))
    }

    fn map_mut(&mut self, name: &str) -> anyhow::Result<&mut Map> {
        self.ebpf.map_mut(name).with_context(|| format!("no map {name}"))
    }
}

/// Address in the key of the IPv4 prefix map.
fn v4_words(address: Ipv4Addr) -> [u8; 8] {
    let [a, b, c, d] = address.octets();
    [a, b, c, d, 0, 0, 0, 0]
}

/// Key of the own addresses' map: IPv4 as `::ffff:a.b.c.d`.
fn own_key(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}
