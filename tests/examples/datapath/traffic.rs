//! The cable, the flood over it, and single packets without it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, XdpMode};
use guard_common::verdict::Verdict;
use guard_tests::namespace::{self, Namespace};
use guard_tests::packets::Packet;
use guard_tests::pinned::Pinned;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::programs;
use crate::receivers::{Program, Receiver};

/// The host's own address.
pub(crate) const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));
/// The port that the jail cuts off.
pub(crate) const PORT: u16 = 22;

/// Frames of one run, and of one batch.
const FRAMES: u32 = 1 << 20;
const BATCH: u32 = 64;
/// The core on which frames are sent and received.
const CORE: usize = 1;

/// A sender and a receiver.
pub(crate) struct Cable {
    sender: Namespace,
    host: Namespace,
}

impl Cable {
    pub(crate) fn new() -> Result<Self> {
        let cable = Self { sender: Namespace::new("sender")?, host: Namespace::new("host")? };
        namespace::cable((&cable.sender, "out0"), (&cable.host, "in0"))?;
        for (at, name) in [(&cable.sender, "out0"), (&cable.host, "in0")] {
            // Without it, a veth takes no frames from XDP on the other side.
            let status = at.command("ethtool").args(["-K", name, "gro", "on"]).status()?;
            ensure!(status.success(), "ethtool -K {name} gro on: {status}");
        }
        Ok(cable)
    }

    /// Frames a second that the receiver gets rid of, all from banned sources.
    pub(crate) fn flood(&self, receiver: &mut Receiver) -> Result<f64> {
        let mut sender = programs::sender(receiver.set, receiver.bans)?;
        let (from, to) = (index(&self.sender, "out0")?, index(&self.host, "in0")?);
        let frame = packet(1, PORT)?;
        let mut pinned = receiver.program.pinned()?;
        if let Some(pinned) = &mut pinned {
            self.host.run(|| pinned.attach(to))?;
        }
        let blind = match &mut receiver.program {
            Program::Blind(ebpf) => {
                let blind = programs::program(ebpf)?;
                let attached = self.host.run(|| Ok(blind.attach_to_if_index(to, XdpMode::Driver)?));
                Some((attached?, blind))
            }
            Program::Guard(_) => None,
        };
        let drops = |pinned: &Option<Pinned>| match pinned {
            Some(pinned) => pinned.packets(Verdict::Drop),
            None => Ok(0),
        };
        let before = (received(&self.host)?, drops(&pinned)?);
        let seconds = self.sender.run(|| {
            let mut core = CpuSet::new();
            core.set(CORE);
            sched_setaffinity(None, &core)?;
            // `struct xdp_md`: where the frame begins and ends, and where it came from.
            let length = u32::try_from(frame.len())?;
            let context: Vec<u8> =
                [0, length, 0, from, 0, 0].iter().flat_map(|it| it.to_ne_bytes()).collect();
            let options = TestRunOptions {
                data_in: Some(&frame),
                ctx_in: Some(&context),
                repeat: FRAMES,
                attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                ..TestRunOptions::new()
            };
            let start = Instant::now();
            programs::program(&mut sender)?.test_run(options).context("sending")?;
            Ok(start.elapsed().as_secs_f64())
        })?;
        let after = (received(&self.host)?, drops(&pinned)?);
        let count = after.0 - before.0;
        ensure!(count > u64::from(FRAMES) / 2, "{count} of {FRAMES} frames came");
        if pinned.is_some() {
            let dropped = after.1 - before.1;
            // Some of what the host's own stack sends to the cable is among the frames.
            ensure!(dropped + 100 > count.min(u64::from(FRAMES)), "{dropped} of {count} dropped");
        }
        if let Some((link, blind)) = blind {
            blind.detach(link)?;
        }
        Ok(as_float(count)? / seconds)
    }
}

/// A TCP packet to the host.
fn packet(source: u32, port: u16) -> Result<Vec<u8>> {
    let source = Some(IpAddr::from(Ipv4Addr::from(source)));
    Packet { source, destination: Some(HOST), port: Some(port), ..Packet::default() }.ethernet()
}

fn index(at: &Namespace, name: &str) -> Result<u32> {
    let line = at.ip(&format!("-o link show {name}"))?;
    line.split(':').next().context("no number")?.trim().parse().context("the interface's number")
}

/// Frames that the host's end of the cable has received.
fn received(at: &Namespace) -> Result<u64> {
    let text = at.ip("-s -o link show in0")?;
    let after = text.split("RX:").nth(1).context("no counters")?;
    // A line of names, then a line of numbers: bytes, packets, …
    let mut numbers = after.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
    numbers.nth(1).context("no packets among the counters")
}

/// What single packets cost, as lines of a table: the median of so many interleaved runs.
pub(crate) fn nanoseconds(receivers: &mut [Receiver], runs: usize) -> Result<Vec<String>> {
    const REPEAT: u32 = 1 << 18;
    let mut pass = programs::constant(2)?;
    let rows: Vec<(String, Vec<[f64; 5]>)> = Vec::new();
    let mut rows = rows;
    rows.push(("| passes without looking |".to_owned(), Vec::new()));
    let guards: Vec<&Receiver> =
        receivers.iter().filter(|it| matches!(it.program, Program::Guard(_))).collect();
    for receiver in &guards {
        let name = format!("| {} | {}", receiver.name, receiver.bans_in_words());
        rows.push((name, Vec::new()));
    }
    for _ in 0..runs {
        let pass = programs::program(&mut pass)?;
        let mut once = |frame: &[u8], repeat| -> Result<f64> {
            let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
            Ok(pass.test_run(options)?.duration.as_nanos() as f64)
        };
        let alone = once(&packet(1, PORT)?, REPEAT)?;
        rows[0].1.push([alone; 5]);
        for (receiver, row) in guards.iter().zip(&mut rows[1..]) {
            let pinned = receiver.program.pinned()?.context("it is guard")?;
            let time = |source, port| -> Result<f64> {
                Ok(pinned.run(&packet(source, port)?, REPEAT)?.1.as_nanos() as f64)
            };
            let set = receiver.set;
            let banned = set.address(receiver.bans / 2);
            let cold = cold(&pinned, receiver, &mut once)?;
            row.1.push([
                time(set.address(1 << 20 | 12_345), PORT)?,
                time(banned, PORT)?,
                time(banned, PORT + 1)?,
                time(banned ^ 0x4000_0000, PORT)?,
                cold,
            ]);
        }
    }
    Ok(rows
        .into_iter()
        .map(|(name, figures)| {
            let column = |place: usize| -> String {
                let list: Vec<f64> = figures.iter().map(|row| row[place]).collect();
                format!("{:.0}", median(&list))
            };
            let cells: Vec<String> = (0..5).map(column).collect();
            format!("{name} | {} |", cells.join(" | "))
        })
        .collect())
}

/// What a banned packet costs when each has another source: single runs, less what
/// starting and stopping the clock takes.
fn cold(
    pinned: &Pinned,
    receiver: &Receiver,
    once: &mut impl FnMut(&[u8], u32) -> Result<f64>,
) -> Result<f64> {
    let (mut ours, mut nothing) = (Vec::new(), Vec::new());
    for number in 0..2_000_u32 {
        let number = number.wrapping_mul(0x9e37_79b1) % receiver.bans;
        let frame = packet(receiver.set.address(number), PORT)?;
        ours.push(pinned.run(&frame, 1)?.1.as_nanos() as f64);
        nothing.push(once(&frame, 1)?);
    }
    Ok(median(&ours) - median(&nothing))
}

/// The one in the middle.
pub(crate) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn as_float(count: u64) -> Result<f64> {
    Ok(f64::from(u32::try_from(count)?))
}
