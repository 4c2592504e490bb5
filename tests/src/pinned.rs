//! The XDP program that an enforcer has pinned, run and asked from outside.
//!
//! Input: a directory of pins. Output: what the program returns, how long it takes, and
//! what it counted.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use aya::maps::{Map, MapData, PerCpuArray};
use aya::programs::{TestRun, TestRunOptions, Xdp, XdpMode};
use aya_obj::programs::XdpAttachType;
use guard_common::layout::Counter;
use guard_common::names;
use guard_common::verdict::{Verdict, counters};

/// `XDP_DROP`.
pub const DROP: u32 = 1;
/// `XDP_PASS`.
pub const PASS: u32 = 2;

/// The pinned program and its counters.
pub struct Pinned {
    program: Xdp,
    verdicts: PerCpuArray<MapData, Counter>,
}

impl Pinned {
    /// Opens what is pinned in a bpffs.
    ///
    /// # Errors
    /// When nothing is.
    pub fn open(bpffs: &Path) -> Result<Self> {
        let maps = maps(bpffs)?;
        // Before Linux 5.18 it is the other one.
        let pin = [names::XDP, names::XDP_LINEAR].map(|name| maps.join(name));
        let pin = pin.iter().find(|pin| pin.exists()).context("no XDP program is pinned")?;
        let program = Xdp::from_pin(pin, XdpAttachType::Interface)?;
        let verdicts = MapData::from_pin(maps.join(names::VERDICTS))?;
        Ok(Self { program, verdicts: Map::PerCpuArray(verdicts).try_into()? })
    }

    /// Runs it so many times on a packet: what it returned at last, and how long a run
    /// took on average.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn run(&self, packet: &[u8], repeat: u32) -> Result<(u32, Duration)> {
        let options = TestRunOptions { data_in: Some(packet), repeat, ..TestRunOptions::new() };
        let result = self.program.test_run(options)?;
        Ok((result.return_value, result.duration))
    }

    /// How many packets had a verdict, over all CPUs.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn packets(&self, verdict: Verdict) -> Result<u64> {
        let mut packets = 0;
        for index in counters(verdict) {
            packets += self.verdicts.get(&index, 0)?.iter().map(|each| each.packets).sum::<u64>();
        }
        Ok(packets)
    }

    /// Attaches it to an interface of the caller's network namespace until this is
    /// dropped.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn attach(&mut self, interface: u32) -> Result<()> {
        self.program.attach_to_if_index(interface, XdpMode::Driver)?;
        Ok(())
    }
}

/// The directory of the maps in use.
///
/// # Errors
/// When there is none.
pub fn maps(bpffs: &Path) -> Result<PathBuf> {
    fs::read_dir(bpffs)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("maps-v"))
        })
        .with_context(|| format!("no maps in {}", bpffs.display()))
}
