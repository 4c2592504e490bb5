//! Who receives the flood, with bans loaded.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::MapData;
use guard::core::addr::Prefix;
use guard::core::delta::{Ban, JailPorts, Snapshot};
use guard::core::host::{Host, HostAddresses};
use guard::core::jail::{JailId, JailName};
use guard::core::ports::{Ports, Protocols};
use guard::core::reason::Reason;
use guard::core::time::{Span, Timestamp};
use guard::enforce::xdp::{Xdp, XdpOptions};
use guard::enforce::{Enforcer, Moment};
use guard_tests::bpffs::Bpffs;
use guard_tests::pinned::{Pinned, maps};
use rustix::time::{ClockId, clock_gettime};

use crate::programs::{self, Set};
use crate::traffic::{HOST, PORT, median};

/// One row of the table.
pub(crate) struct Receiver {
    pub(crate) name: &'static str,
    pub(crate) set: Set,
    pub(crate) bans: u32,
    pub(crate) program: Program,
    /// Frames a second of each run.
    pub(crate) rates: Vec<f64>,
    /// How long it took to put all bans into the kernel.
    loaded: Option<Duration>,
}

/// What runs.
pub(crate) enum Program {
    /// Drops without looking.
    Blind(Box<Ebpf>),
    /// Guard's, pinned here.
    Guard(Bpffs),
}

impl Receiver {
    pub(crate) fn floor() -> Result<Self> {
        let program = Program::Blind(Box::new(programs::constant(1)?));
        let name = "XDP, drops without looking (floor)";
        Ok(Self { name, set: Set::Random, bans: 1, program, rates: Vec::new(), loaded: None })
    }

    pub(crate) fn hash_map(set: Set, bans: u32) -> Result<Self> {
        Self::guard("guard, hash map", set, bans, usize::MAX)
    }

    pub(crate) fn table(set: Set, bans: u32) -> Result<Self> {
        Self::guard("guard, table", set, bans, 0)
    }

    fn guard(name: &'static str, set: Set, bans: u32, exact_counters: usize) -> Result<Self> {
        let bpffs = Bpffs::new()?;
        let directory = bpffs.path();
        let options = XdpOptions { directory, exact_counters, ..XdpOptions::default() };
        let mut xdp = Xdp::open(options)?;
        let addresses = HostAddresses { own: vec![HOST], gateways: Vec::new() };
        xdp.follow_addresses(&Host { addresses, interfaces: Vec::new() })?;
        let snapshot = snapshot(set, bans);
        let start = Instant::now();
        xdp.replace(&snapshot, now())?;
        let loaded = Some(start.elapsed());
        let program = Program::Guard(bpffs);
        Ok(Self { name, set, bans, program, rates: Vec::new(), loaded })
    }

    /// Its line of the table.
    pub(crate) fn row(&self, floor: f64) -> Result<String> {
        let rate = median(&self.rates);
        let least = self.rates.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.rates.iter().copied().fold(0.0, f64::max);
        let bans = self.bans_in_words();
        let (bytes, loaded) = match &self.program {
            Program::Blind(_) => (String::new(), String::new()),
            Program::Guard(bpffs) => {
                let bytes = memory(&maps(&bpffs.path())?)? / u64::from(self.bans);
                let loaded = self.loaded.unwrap_or_default().as_secs_f64() * 1e3;
                (bytes.to_string(), format!("{loaded:.1} ms"))
            }
        };
        Ok(format!(
            "| {} | {bans} | {:.2} ({:.2}–{:.2}) | {:.0} % | {bytes} | {loaded} |",
            self.name,
            rate / 1e6,
            least / 1e6,
            most / 1e6,
            100.0 * rate / floor,
        ))
    }

    pub(crate) fn bans_in_words(&self) -> String {
        match (&self.program, self.bans) {
            (Program::Blind(_), _) => String::new(),
            (_, 1) => "1".to_owned(),
            (_, count) => format!("{count}, {}", self.set.name()),
        }
    }
}

fn snapshot(set: Set, bans: u32) -> Snapshot {
    let since = now().wall;
    let until = Some(since + Span::from_seconds(24 * 3600));
    let ban = |number| Ban {
        jail: JailId(0),
        source: Prefix::host(IpAddr::from(Ipv4Addr::from(set.address(number)))),
        since,
        until,
        reason: Reason::Manual { forced: false },
    };
    let ports = Ports::new(Protocols::Tcp, [PORT..=PORT]);
    let jails = vec![JailPorts { name: JailName::new("sshd").expect("a name"), ports }];
    Snapshot { serial: 1, jails, bans: (0..bans).map(ban).collect() }
}

fn now() -> Moment {
    let micros = |clock| {
        let time = clock_gettime(clock);
        time.tv_sec * 1_000_000 + time.tv_nsec / 1000
    };
    Moment {
        wall: Timestamp::from_micros(micros(ClockId::Realtime)),
        boot_nanos: micros(ClockId::Boottime).cast_unsigned() * 1000,
    }
}

/// Bytes that the kernel charges for the maps of IPv4 bans.
fn memory(maps: &Path) -> Result<u64> {
    let mut sum = 0;
    for name in ["BANS_V4", "TABLE_LINES"] {
        let Ok(map) = MapData::from_pin(maps.join(name)) else { continue };
        let fd = map.fd().as_fd().as_raw_fd();
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
        let line = info.lines().find_map(|line| line.strip_prefix("memlock:"));
        sum += line.context("no memlock in fdinfo")?.trim().parse::<u64>()?;
    }
    Ok(sum)
}

impl Program {
    /// Attached to an interface for as long as the answer lives, as the caller's network
    /// namespace has it.
    pub(crate) fn pinned(&self) -> Result<Option<Pinned>> {
        match self {
            Self::Blind(_) => Ok(None),
            Self::Guard(bpffs) => Pinned::open(&bpffs.path()).map(Some),
        }
    }
}
