//! Who receives the flood, with bans loaded, each at the end of a cable of its own.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::Ebpf;
use aya::maps::MapData;
use aya::programs::XdpMode;
use guard::core::addr::Prefix;
use guard::core::delta::{Ban, JailPorts, Snapshot};
use guard::core::host::{Host, HostAddresses};
use guard::core::jail::{JailId, JailName};
use guard::core::ports::{Ports, Protocols};
use guard::core::reason::Reason;
use guard::core::time::{Span, Timestamp};
use guard::enforce::xdp::{Xdp, XdpOptions};
use guard::enforce::{Enforcer, Moment};
use guard_common::verdict::Verdict;
use guard_tests::bpffs::Bpffs;
use guard_tests::pinned::{Pinned, maps};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use rustix::time::{ClockId, clock_gettime};

use crate::programs::{self, Set, Sources};
use crate::traffic::{Cable, Family, HOST, HOST_V6, INSIDE, PORT};

/// Somebody who receives.
pub(crate) struct Receiver {
    pub(crate) name: &'static str,
    pub(crate) family: Family,
    pub(crate) set: Set,
    pub(crate) bans: u32,
    pub(crate) cable: Cable,
    /// How long it took to put all bans into the kernel.
    pub(crate) loaded: Option<Duration>,
    pub(crate) guard: Option<Guard>,
    /// Keeps the program loaded.
    _program: Option<Ebpf>,
}

/// What is guard's of a receiver.
pub(crate) struct Guard {
    /// The program, attached.
    pub(crate) pinned: Pinned,
    /// Keeps its maps.
    bpffs: Bpffs,
}

impl Receiver {
    /// A program that returns the same for every frame.
    pub(crate) fn constant(name: &'static str, action: i32) -> Result<Self> {
        let cable = Cable::new()?;
        let mut ebpf = programs::constant(action)?;
        let inside = cable.inside()?;
        let program = programs::program(&mut ebpf)?;
        cable.host.run(|| Ok(program.attach_to_if_index(inside, XdpMode::Driver)?))?;
        Ok(Self { _program: Some(ebpf), ..Self::bare(name, Set::Random, 0, cable) })
    }

    fn bare(name: &'static str, set: Set, bans: u32, cable: Cable) -> Self {
        let family = Family::V4;
        Self { name, family, set, bans, cable, loaded: None, guard: None, _program: None }
    }

    /// Guard as it ships.
    pub(crate) fn guard(set: Set, bans: u32) -> Result<Self> {
        let exact = XdpOptions::default().exact_counters;
        Self::guard_with("guard", Family::V4, set, bans, exact)
    }

    /// Guard with all bans in the hash map, however many they are.
    pub(crate) fn guard_hash_map(set: Set, bans: u32) -> Result<Self> {
        Self::guard_with("guard, hash map", Family::V4, set, bans, usize::MAX)
    }

    /// Guard with IPv6 bans.
    pub(crate) fn guard_v6(set: Set, bans: u32) -> Result<Self> {
        Self::guard_with("guard, IPv6", Family::V6, set, bans, 0)
    }

    fn guard_with(
        name: &'static str,
        family: Family,
        set: Set,
        bans: u32,
        exact_counters: usize,
    ) -> Result<Self> {
        let cable = Cable::new()?;
        let bpffs = Bpffs::new()?;
        let directory = bpffs.path();
        let options = XdpOptions { directory, exact_counters, ..XdpOptions::default() };
        let addresses = HostAddresses { own: vec![HOST, HOST_V6], ..HostAddresses::default() };
        let host = Host { addresses, interfaces: Vec::new() };
        let snapshot = snapshot(family, set, bans);
        // (The mount, which is not the unit's own work, comes with the first opening.)
        drop(Xdp::open(options.clone())?);
        let loaded = with_the_units_rights(|| {
            let mut xdp = Xdp::open(options)?;
            xdp.follow_addresses(&host)?;
            let start = Instant::now();
            xdp.replace(&snapshot, now())?;
            Ok(start.elapsed())
        })?;
        let mut pinned = Pinned::open(&bpffs.path())?;
        let inside = cable.inside()?;
        cable.host.run(|| pinned.attach(inside))?;
        let guard = Some(Guard { pinned, bpffs });
        let bare = Self::bare(name, set, bans, cable);
        Ok(Self { family, loaded: Some(loaded), guard, ..bare })
    }

    /// `xdp-filter` of Debian's xdp-tools, told one address after the other.
    pub(crate) fn xdp_filter(set: Set, bans: u32) -> Result<Self> {
        let cable = Cable::new()?;
        // Its maps are pinned in a fixed place, so that place is another one for each.
        let mut script =
            format!("set -e\nmount -t bpf bpf /sys/fs/bpf\nxdp-filter load -f ipv4 {INSIDE}\n");
        for number in 0..bans {
            let address = Ipv4Addr::from(set.address(number));
            script.push_str(&format!("xdp-filter ip --mode src {address}\n"));
        }
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "nsenter"]);
        shell.arg(format!("--net={}", cable.host.path().display())).args(["--", "sh"]);
        feed(&mut shell, &script).context("xdp-filter (package xdp-tools)")?;
        Ok(Self::bare("xdp-filter", set, bans, cable))
    }

    /// nft with the table that Fail2Ban makes; `verdict` is what its rule does.
    pub(crate) fn nft(set: Set, bans: u32, verdict: &str, name: &'static str) -> Result<Self> {
        let cable = Cable::new()?;
        let addresses = |numbers: std::ops::Range<u32>| {
            let each = numbers.map(|number| Ipv4Addr::from(set.address(number)).to_string());
            each.collect::<Vec<_>>().join(",")
        };
        let mut script = format!(
            "table inet f2b-table {{\n set addr-set-sshd {{ type ipv4_addr; }}\n chain f2b-chain {{\n \
             type filter hook input priority -1;\n \
             tcp dport {PORT} ip saddr @addr-set-sshd {verdict}\n }}\n}}\n"
        );
        for first in (0..bans).step_by(1 << 16) {
            let elements = addresses(first..bans.min(first + (1 << 16)));
            script.push_str(&format!("add element inet f2b-table addr-set-sshd {{{elements}}}\n"));
        }
        let mut nft = cable.host.command("nft");
        let start = Instant::now();
        feed(nft.args(["-f", "-"]), &script)?;
        let loaded = Some(start.elapsed());
        Ok(Self { loaded, ..Self::bare(name, set, bans, cable) })
    }

    /// Frames a second of one run.
    pub(crate) fn flood(&self, sources: Sources, frames: u32, core: usize) -> Result<f64> {
        let verdict = match sources {
            Sources::Banned(_) => Verdict::Drop,
            Sources::Clean => Verdict::PassClean,
        };
        let mut sender = self.cable.sender(self.set, sources, self.family)?;
        let judged = || self.guard.as_ref().map(|it| it.pinned.packets(verdict)).transpose();
        let (before, segments) = (judged()?, self.counter("Tcp:", "InSegs")?);
        let broken = self.counter("Ip:", "InHdrErrors")?;
        let rate = sender.flood(frames, core)?;
        if let (Some(before), Some(after)) = (before, judged()?) {
            ensure!(
                after - before >= u64::from(frames),
                "{}: {} so judged",
                self.name,
                after - before
            );
        } else if matches!(sources, Sources::Banned(_)) {
            let passed = self.counter("Tcp:", "InSegs")? - segments;
            ensure!(passed < 100, "{}: {passed} of {frames} reached TCP", self.name);
        }
        let broken = self.counter("Ip:", "InHdrErrors")? - broken;
        ensure!(broken < 100, "{}: {broken} of {frames} were no packets to the host", self.name);
        Ok(rate)
    }

    /// A counter of the host's stack.
    fn counter(&self, protocol: &str, wanted: &str) -> Result<u64> {
        self.cable.host.run(|| {
            let text = std::fs::read_to_string("/proc/thread-self/net/snmp")?;
            let mut lines = text.lines().filter(|line| line.starts_with(protocol));
            let names = lines.next().context("no counters")?.split(' ');
            let numbers = lines.next().context("no counters")?.split(' ');
            let mut both = names.zip(numbers);
            let (_, segments) =
                both.find(|(name, _)| *name == wanted).context("no such counter")?;
            Ok(segments.parse()?)
        })
    }

    /// Bytes that the kernel charges for the maps of bans of its family, and of samples.
    pub(crate) fn bytes(&self) -> Result<Option<u64>> {
        let Some(guard) = &self.guard else { return Ok(None) };
        let names: &[&str] = match self.family {
            Family::V4 => &["BANS_V4", "TABLE_LINES"],
            Family::V6 => &["BANS_V6"],
        };
        memory(&maps(&guard.bpffs.path())?, names).map(Some)
    }

    pub(crate) fn bans_in_words(&self) -> String {
        match self.bans {
            0 => String::new(),
            1 => "1".to_owned(),
            many => format!("{}, {}", thousands(many), self.set.name()),
        }
    }
}

/// A number as people read it.
pub(crate) fn thousands(number: u32) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|it| std::str::from_utf8(it).ok()).collect();
    groups.join(",")
}

/// Runs a command with this on its input.
fn feed(command: &mut Command, script: &str) -> Result<()> {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("start {command:?}"))?;
    child.stdin.take().context("no input")?.write_all(script.as_bytes())?;
    let status = child.wait()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

/// Does something with the capabilities that the unit leaves guard, on a thread.
fn with_the_units_rights<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let unit = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::NET_ADMIN;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let all: CapabilitySets = capabilities(None)?;
            set_capabilities(None, CapabilitySets { effective: unit, permitted: unit, ..all })?;
            work()
        });
        thread.join().expect("it does not panic")
    })
}

fn snapshot(family: Family, set: Set, bans: u32) -> Snapshot {
    let since = now().wall;
    let until = Some(since + Span::from_seconds(24 * 3600));
    let ban = |number| Ban {
        jail: JailId(0),
        source: Prefix::host(family.address(set.address(number))),
        since,
        until,
        reason: Reason::Manual { forced: false },
    };
    let ports = Ports::new(Protocols::Tcp, [PORT..=PORT]);
    let jails = vec![JailPorts { name: JailName::new("sshd").expect("a name"), ports }];
    Snapshot { serial: 1, jails, bans: (0..bans).map(ban).collect(), ..Snapshot::default() }
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

fn memory(maps: &Path, names: &[&str]) -> Result<u64> {
    let mut sum = 0;
    for name in names {
        let Ok(map) = MapData::from_pin(maps.join(name)) else { continue };
        let fd = map.fd().as_fd().as_raw_fd();
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
        let line = info.lines().find_map(|line| line.strip_prefix("memlock:"));
        sum += line.context("no memlock in fdinfo")?.trim().parse::<u64>()?;
    }
    Ok(sum)
}
