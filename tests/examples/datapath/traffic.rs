//! The cable, and the flood over it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use aya::Ebpf;
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions};
use guard_tests::namespace::{self, Namespace};
use guard_tests::packets::Packet;
use rustix::process::setpriority_process;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::programs::{self, Set, Sources};

/// The host's own addresses.
pub(crate) const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));
pub(crate) const HOST_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1));
/// The port that the jail cuts off.
pub(crate) const PORT: u16 = 22;

/// Frames that the kernel makes at a time.
const BATCH: u32 = 64;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// The address whose number in a set is this one's: IPv6 has it in the last 32 bits.
    pub(crate) fn address(self, number: u32) -> IpAddr {
        match self {
            Self::V4 => IpAddr::from(Ipv4Addr::from(number)),
            Self::V6 => {
                let network = u128::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0));
                IpAddr::from(Ipv6Addr::from(network | u128::from(number)))
            }
        }
    }

    pub(crate) fn host(self) -> IpAddr {
        match self {
            Self::V4 => HOST,
            Self::V6 => HOST_V6,
        }
    }

    /// Where in a frame the last four bytes of the source are.
    fn source_end(self) -> i16 {
        match self {
            Self::V4 => programs::V4_SOURCE,
            Self::V6 => 14 + 8 + 12,
        }
    }
}

/// A sender and a receiver with a veth between them, on which frames go both ways in NAPI.
pub(crate) struct Cable {
    pub(crate) sender: Namespace,
    pub(crate) host: Namespace,
}

/// The host's end.
pub(crate) const INSIDE: &str = "in0";
/// The sender's end.
const OUTSIDE: &str = "out0";

impl Cable {
    pub(crate) fn new() -> Result<Self> {
        let cable = Self { sender: Namespace::new("sender")?, host: Namespace::new("host")? };
        namespace::cable((&cable.sender, OUTSIDE), (&cable.host, INSIDE))?;
        for (at, name) in [(&cable.sender, OUTSIDE), (&cable.host, INSIDE)] {
            // Without it, a veth takes no frames from XDP on the other side.
            let status = at.command("ethtool").args(["-K", name, "gro", "on"]).status()?;
            ensure!(status.success(), "ethtool -K {name} gro on: {status}");
        }
        cable.host.ip(&format!("address add {HOST}/24 dev {INSIDE}"))?;
        cable.host.ip(&format!("address add {HOST_V6}/64 dev {INSIDE} nodad"))?;
        Ok(cable)
    }

    /// The number of the host's end in its namespace.
    pub(crate) fn inside(&self) -> Result<u32> {
        index(&self.host, INSIDE)
    }

    /// Makes ready to send to the host.
    pub(crate) fn sender(&self, set: Set, sources: Sources, family: Family) -> Result<Sender<'_>> {
        let mut frame = packet(family, 1, PORT)?;
        // To the host's own link-layer address, or its stack would not take it.
        let line = self.host.ip(&format!("-o link show {INSIDE}"))?;
        let address = line.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next());
        let octets = address.context("no link-layer address")?.split(':');
        for (to, octet) in frame.iter_mut().zip(octets) {
            *to = u8::from_str_radix(octet, 16)?;
        }
        if family == Family::V4 {
            settle_checksum(&mut frame);
        }
        let program = programs::sender(set, sources, family.source_end())?;
        Ok(Sender { cable: self, program, frame, from: index(&self.sender, OUTSIDE)? })
    }

    /// Frames that the host's end has received.
    pub(crate) fn received(&self) -> Result<u64> {
        let text = self.host.ip(&format!("-s -o link show {INSIDE}"))?;
        let after = text.split("RX:").nth(1).context("no counters")?;
        // A line of names, then a line of numbers: bytes, packets, …
        let mut numbers = after.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
        numbers.nth(1).context("no packets among the counters")
    }
}

/// What sends one kind of frames over a cable.
pub(crate) struct Sender<'a> {
    cable: &'a Cable,
    program: Ebpf,
    frame: Vec<u8>,
    from: u32,
}

impl Sender<'_> {
    /// Sends on one core, which the receiver shares, and gives the frames a second that
    /// came. An eighth more is sent before, for the caches.
    pub(crate) fn flood(&mut self, frames: u32, core: usize) -> Result<f64> {
        let Self { cable, program, frame, from } = self;
        // `struct xdp_md`: where the frame begins and ends, and where it came from.
        let length = u32::try_from(frame.len())?;
        let context: Vec<u8> =
            [0, length, 0, *from, 0, 0].iter().flat_map(|it| it.to_ne_bytes()).collect();
        let program = programs::program(program)?;
        let send = |repeat| -> Result<()> {
            let options = TestRunOptions {
                data_in: Some(frame),
                ctx_in: Some(&context),
                repeat,
                attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                ..TestRunOptions::new()
            };
            program.test_run(options).context("sending")?;
            Ok(())
        };
        cable.sender.run(|| {
            let mut cores = CpuSet::new();
            cores.set(core);
            sched_setaffinity(None, &cores)?;
            // Others on this core wait meanwhile.
            setpriority_process(None, -20)?;
            send(frames / 8)?;
            let before = cable.received()?;
            let start = Instant::now();
            send(frames)?;
            let seconds = start.elapsed().as_secs_f64();
            let count = cable.received()? - before;
            ensure!(count > u64::from(frames) / 2, "{count} of {frames} frames came");
            Ok(f64::from(u32::try_from(count)?) / seconds)
        })
    }
}

/// Sets source and identification of an IPv4 header to what adds nothing to its sum, and
/// the checksum to what is then right.
fn settle_checksum(frame: &mut [u8]) {
    let header = &mut frame[14..34];
    header[12..16].fill(0);
    header[4..6].fill(0xff);
    header[10..12].fill(0);
    let words = header.chunks_exact(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(0);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// A TCP packet to the host.
pub(crate) fn packet(family: Family, source: u32, port: u16) -> Result<Vec<u8>> {
    let source = Some(family.address(source));
    let destination = Some(family.host());
    Packet { source, destination, port: Some(port), ..Packet::default() }.ethernet()
}

fn index(at: &Namespace, name: &str) -> Result<u32> {
    let line = at.ip(&format!("-o link show {name}"))?;
    line.split(':').next().context("no number")?.trim().parse().context("the interface's number")
}

/// The one in the middle.
pub(crate) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
