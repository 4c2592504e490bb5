//! Bans in the driver: eBPF maps that hold them, and programs that drop by them.
//!
//! Input: the ban set, the host's addresses and interfaces. Output: pinned maps,
//! programs and links, which go on without the agent and are adopted when it returns.
//!
//! What keeps a banned source out at all times:
//!
//! - Maps of the same layout, boot and sizes are adopted as they are. Others are built
//!   beside them; the links are moved to the programs on the new maps (one atomic step
//!   each) only when those hold the whole snapshot and the own addresses: after the
//!   first [`replace`](Enforcer::replace), and the first [`follow`](Enforcer::follow)
//!   unless the addresses could be copied.
//! - Links are made once. A new program goes behind the link that is there.
//! - A class table grows before the bans that need it and shrinks after.
//!
//! One process at a time may have this open; its caller sees to that.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use guard_common::layout::Counter;
use guard_common::verdict::Verdict;

use super::{Capabilities, Coverage, EnforceError, Enforcer, Held, Moment, Noticed, mapped_octets};
use crate::core::delta::{Delta, Snapshot};
use crate::core::figures::Traffic;
use crate::core::host::Host;
use crate::core::time::Timestamp;

mod attach;
mod bans;
mod classes;
mod clsact;
mod cover;
pub(in crate::enforce) mod features;
mod fill;
mod known;
mod map;
mod maps;
mod nested;
mod netlink;
mod nets;
mod object;
mod pins;
pub(in crate::enforce) mod plan;
mod store;
mod syscall;
mod table;
mod value;
mod watch;

use attach::Links;
use maps::Maps;
use object::Programs;
use pins::Pins;
use plan::Way;

pub use crate::config::agent::Interfaces;
pub use watch::{DroppedPacket, Drops};

/// How to open [`Xdp`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XdpOptions {
    /// Where maps, programs and links are pinned; a bpffs is mounted there if it is not
    /// on one.
    pub directory: PathBuf,
    /// Which interfaces are guarded.
    pub interfaces: Interfaces,
    /// Whether only packets to this host's own addresses are dropped, not those that it
    /// forwards.
    pub host_only: bool,
    /// Addresses of each family that can be banned at one time.
    pub bans: u32,
    /// Up to so many IPv4 bans, drops are counted for each; more are in a table that is
    /// faster and does not.
    pub exact_counters: usize,
    /// Whether generic XDP may be used where there is neither native XDP nor tcx.
    pub generic: bool,
}

impl Default for XdpOptions {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("/run/guard/bpf"),
            interfaces: Interfaces::Auto,
            host_only: true,
            bans: 1 << 20,
            exact_counters: 1 << 16,
            generic: false,
        }
    }
}

/// The enforcer that drops in XDP and tcx programs.
#[derive(Debug)]
pub struct Xdp {
    options: XdpOptions,
    pins: Pins,
    maps: Maps,
    programs: Programs,
    links: Links,
    coverage: Vec<Coverage>,
    /// The maps are to take the place of others, or of none, and have not yet.
    aside: bool,
    /// The maps know the host's addresses.
    at_home: bool,
    /// The host as it was last told.
    host: Option<Host>,
}

impl Xdp {
    /// Adopts what is pinned, or builds anew beside it.
    ///
    /// # Errors
    /// When there is no bpffs and none can be mounted, when BPF is not permitted, or
    /// when the kernel refuses the maps or programs.
    pub fn open(options: XdpOptions) -> Result<Self, EnforceError> {
        Self::open_with(options, object::OBJECT)
    }

    /// As [`Xdp::open`], with another eBPF object of the same layout (aligned to 8
    /// bytes), as an upgrade brings one.
    ///
    /// # Errors
    /// As [`Xdp::open`].
    pub fn open_with(options: XdpOptions, object: &[u8]) -> Result<Self, EnforceError> {
        object::permitted()?;
        let boot_id = boot_id()?;
        let pins = Pins::open(&options.directory)?;
        let links = Links::open(&pins.links())?;
        let present = Maps::open(&pins.maps(), &options).ok();
        let adopted = match present {
            Some(maps) if maps.adoptable(&options, boot_id).unwrap_or(false) => Ok(maps),
            other => Err(other),
        };
        let aside = adopted.is_err();
        let (maps, programs, at_home) = match adopted {
            Ok(maps) => {
                let programs = object::load(object, &pins.maps(), &options)?;
                maps.declare(options.host_only, boot_id)?;
                (maps, programs, true)
            }
            Err(present) => {
                let (maps, programs) = build(object, &pins, &options)?;
                let own = present.and_then(|old| old.own_addresses().ok());
                let at_home = own.is_some();
                maps.replace_own(own.unwrap_or_default())?;
                maps.declare(options.host_only, boot_id)?;
                (maps, programs, at_home)
            }
        };
        let mut xdp = Self {
            options,
            pins,
            maps,
            programs,
            links,
            coverage: Vec::new(),
            aside,
            at_home,
            host: None,
        };
        xdp.settle()?;
        Ok(xdp)
    }

    /// The eBPF object that is embedded.
    pub fn object() -> &'static [u8] {
        object::OBJECT
    }

    /// Takes note of the host's addresses alone; [`Enforcer::follow`] does this too.
    ///
    /// # Errors
    /// When there are more addresses than the map holds.
    pub fn follow_addresses(&mut self, host: &Host) -> Result<(), EnforceError> {
        let own = host.addresses.own.iter().map(|address| mapped_octets(*address)).collect();
        self.maps.replace_own(own)?;
        self.at_home = true;
        self.settle()
    }

    /// Packets and bytes of every verdict since the maps were made.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn totals(&self) -> Result<Vec<(Verdict, Counter)>, EnforceError> {
        let each = Verdict::ALL.into_iter();
        each.map(|verdict| Ok((verdict, self.maps.verdict(verdict)?))).collect()
    }

    /// Id of the link on an interface, by the interface's number.
    pub fn link_id(&self, interface: u32) -> Option<u32> {
        self.links.id(interface)
    }

    /// Brings links and pins to these maps and programs as far as that leaves no gap.
    fn settle(&mut self) -> Result<(), EnforceError> {
        let ready = self.maps.filled && self.at_home;
        self.links.update(&self.programs, ready)?;
        // Without links nothing is in force, so there is nothing to wait for.
        if self.aside && (ready || self.links.is_empty()) {
            self.pins.commit()?;
            self.maps.bans.v4.moved(&self.pins.maps());
            self.aside = false;
        }
        Ok(())
    }
}

impl Enforcer for Xdp {
    fn name(&self) -> &'static str {
        "xdp"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { counts_drops: true, ends_bans: true, survives_agent: true }
    }

    fn replace(&mut self, desired: &Snapshot, now: Moment) -> Result<(), EnforceError> {
        // A detach or somebody else may have removed the directory of the pins.
        let kept = if self.aside { Ok(()) } else { self.pins.keep() };
        let result = self.maps.replace(desired, now);
        self.settle()?;
        result.and(kept)
    }

    fn apply(&mut self, deltas: &[Delta], now: Moment) -> Result<(), EnforceError> {
        self.maps.apply(deltas, now)
    }

    fn follow(&mut self, host: &Host) -> Result<(), EnforceError> {
        self.host = Some(host.clone());
        self.follow_addresses(host)?;
        let covers = |links: &Links, index| links.way(index).is_some();
        let indices = host.interfaces.iter().map(|interface| interface.index);
        let bare: Vec<u32> = indices.filter(|index| !covers(&self.links, *index)).collect();
        let covered =
            cover::cover(&host.interfaces, &self.options, &mut self.links, &self.programs);
        self.coverage = covered.coverage;
        for new in bare.into_iter().filter(|index| covers(&self.links, *index)) {
            self.maps.begin_counting(new)?;
        }
        if covered.problems.is_empty() {
            return Ok(());
        }
        Err(EnforceError::Unavailable(format!("not guarded: {}", covered.problems.join(". "))))
    }

    fn held(&mut self, now: Moment) -> Result<Vec<Held>, EnforceError> {
        self.maps.held(now)
    }

    fn inspect(&mut self) -> Result<Noticed, EnforceError> {
        let mut noticed = Noticed::default();
        // Until then other maps and programs may be in place, and rightly so.
        if self.aside || !self.maps.filled {
            return Ok(noticed);
        }
        self.pins.keep()?;
        noticed.put_right.extend(self.maps.keep_pinned(&self.pins.maps())?);
        noticed.put_right.extend(self.programs.keep_pinned(&self.pins.maps())?);
        noticed.put_right.extend(self.links.keep(&self.programs)?);
        let ended = self.links.ended();
        if let Some(host) = self.host.clone().filter(|_| !ended.is_empty()) {
            // What cannot be covered again is told when the host is followed next: the
            // interface may only just have gone.
            let _ = self.follow(&host);
            for interface in ended.into_iter().filter(|one| self.links.way(*one).is_some()) {
                let words = format!("the link on interface {interface} had been ended");
                noticed.put_right.push(words);
            }
        }
        Ok(noticed)
    }

    fn replaced(&self) -> usize {
        self.maps.replaced
    }

    fn traffic(&self) -> Result<Vec<Traffic>, EnforceError> {
        let of = |(verdict, Counter { packets, bytes }): (Verdict, Counter)| Traffic {
            verdict: verdict.name().to_owned(),
            packets,
            bytes,
        };
        Ok(self.totals()?.into_iter().map(of).collect())
    }

    fn map_capacity(&self) -> Option<u64> {
        Some(self.options.bans.into())
    }

    fn coverage(&self) -> Vec<Coverage> {
        let interfaces = self.host.iter().flat_map(|host| &host.interfaces);
        cover::with_drops(&self.coverage, interfaces, &self.maps)
    }

    fn detach(&mut self) -> Result<(), EnforceError> {
        self.links.detach_all()?;
        self.coverage.clear();
        self.pins.remove()?;
        // The maps live on as long as this does, and must not say that anybody is banned.
        self.maps
            .replace(&Snapshot::default(), Moment { wall: Timestamp::default(), boot_nanos: 0 })
    }
}

/// Whether the kernel has tcx (Linux 6.6), without which interfaces whose driver has no
/// native XDP stay uncovered.
///
/// # Errors
/// When BPF is not permitted here.
pub fn supports_tcx() -> Result<bool, EnforceError> {
    object::permitted()?;
    // Loopback is there in every network namespace, and always the first.
    syscall::knows_tcx(1).map_err(|cause| EnforceError::Kernel {
        operation: "ask for tcx programs (needs CAP_NET_ADMIN)".to_owned(),
        cause,
    })
}

/// Whether the kernel lets a filter of the traffic control run programs, which is what
/// takes the place of tcx before Linux 6.6. Loopback gets an empty `clsact` for the moment
/// that it takes to ask.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn supports_clsact() -> Result<bool, EnforceError> {
    clsact::works().map_err(|cause| EnforceError::Kernel {
        operation: "ask for clsact (needs CAP_NET_ADMIN)".to_owned(),
        cause,
    })
}

/// What guard has pinned and attached, in words.
///
/// # Errors
/// When the directory cannot be read.
pub fn traces(directory: &Path) -> Result<Vec<String>, EnforceError> {
    let Some(pins) = Pins::find(directory) else { return Ok(Vec::new()) };
    let mut traces = Vec::new();
    for (interface, way) in attach::attached(&pins.links())? {
        traces.push(format!("{} on interface {}", way.means(), attach::name(interface)));
    }
    traces.extend(pins.listed()?);
    Ok(traces)
}

/// Removes every trace that guard left in a directory, without loading anything:
/// `false` when there is none.
///
/// # Errors
/// What could not be removed.
pub fn detach(directory: &Path) -> Result<bool, EnforceError> {
    let Some(pins) = Pins::find(directory) else { return Ok(false) };
    Links::open(&pins.links())?.detach_all()?;
    pins.remove()?;
    Ok(true)
}

/// How guard's links cover interfaces now, by the interface's number.
pub(in crate::enforce) fn attached(directory: &Path) -> BTreeMap<u32, Way> {
    let pins = Pins::find(directory);
    pins.and_then(|pins| attach::attached(&pins.links()).ok()).unwrap_or_default()
}

/// Makes new maps, and programs on them, in the directory for what is being built.
fn build(
    object: &[u8],
    pins: &Pins,
    options: &XdpOptions,
) -> Result<(Maps, Programs), EnforceError> {
    pins.begin()?;
    let directory = pins.new_maps();
    let broken = |cause| EnforceError::Kernel {
        operation: format!("make the maps in {}", directory.display()),
        cause,
    };
    let programs = object::load(object, &directory, options)?;
    Maps::pin_jails(&directory).map_err(broken)?;
    Ok((Maps::open(&directory, options).map_err(broken)?, programs))
}

/// The kernel's name for this boot: what counts its clock in it.
fn boot_id() -> Result<[u8; 16], EnforceError> {
    const FILE: &str = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(FILE)
        .map_err(|cause| EnforceError::Kernel { operation: format!("read {FILE}"), cause })?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let number = u128::from_str_radix(&digits, 16)
        .map_err(|_| EnforceError::Unavailable(format!("{FILE} holds no id: `{}`", text.trim())))?;
    Ok(number.to_be_bytes())
}
