//! Covering every way into the host, interface by interface.
//!
//! Input: what the host looks like now, which interfaces are chosen, the links that are
//! there. Output: links, and how each interface is guarded. Invariant: what is covered
//! keeps its link; no interface but loopback is left out of the answer.

use std::collections::{BTreeMap, HashMap};

use guard_common::layout::Counter;

use super::attach::Links;
use super::maps::Maps;
use super::object::Programs;
use super::plan::{Way, in_order, plan};
use super::{Interfaces, XdpOptions};
use crate::core::enforced::Dropped;
use crate::core::host::Interface;
use crate::enforce::Coverage;

/// How the interfaces are guarded, and what went wrong.
#[derive(Debug, Default)]
pub(super) struct Covered {
    pub(super) coverage: Vec<Coverage>,
    pub(super) problems: Vec<String>,
}

/// Covers the chosen interfaces, and uncovers those that are not chosen any more.
pub(super) fn cover(
    interfaces: &[Interface],
    options: &XdpOptions,
    links: &mut Links,
    programs: &Programs,
) -> Covered {
    let mut covered = Covered::default();
    if let Err(cause) = links.sweep() {
        covered.problems.push(format!("remove links of interfaces that are gone: {cause}"));
    }
    // The means of each interface that is done; masters come first.
    let mut done: BTreeMap<u32, Option<Way>> = BTreeMap::new();
    for interface in in_order(interfaces).into_iter().filter(|interface| !interface.loopback) {
        let (way, reason) = if options.interfaces.include(&interface.name) {
            let (way, reason) = one(interface, interfaces, &done, options, links, programs);
            if way.is_none() {
                covered.problems.push(format!("{}: {reason}", interface.name));
            }
            (way, reason)
        } else {
            if let Err(cause) = links.detach(interface.index) {
                covered.problems.push(format!("detach from {}: {cause}", interface.name));
            }
            (None, "not among `interfaces` in guard.toml; add it there, or set \"auto\"".to_owned())
        };
        done.insert(interface.index, way);
        covered.coverage.push(Coverage {
            interface: interface.name.clone(),
            means: way.map_or("none", Way::means).to_owned(),
            reason,
            dropped: None,
        });
    }
    let place = |name: &str| interfaces.iter().position(|interface| interface.name == name);
    covered.coverage.sort_by_key(|coverage| place(&coverage.interface));
    for name in options.interfaces.named() {
        let reason = match interfaces.iter().find(|interface| interface.name == *name) {
            None => {
                "there is no such interface; see `ip link`, and correct `interfaces` in guard.toml"
            }
            Some(interface) if interface.loopback => "loopback is never guarded",
            Some(_) => continue,
        };
        covered.problems.push(format!("{name}: {reason}"));
        covered.coverage.push(Coverage {
            interface: name.clone(),
            means: "none".to_owned(),
            reason: reason.to_owned(),
            dropped: None,
        });
    }
    covered
}

/// The same with what was dropped on each interface.
pub(super) fn with_drops<'i>(
    coverage: &[Coverage],
    interfaces: impl Iterator<Item = &'i Interface>,
    maps: &Maps,
) -> Vec<Coverage> {
    let numbers: HashMap<&str, u32> =
        interfaces.map(|interface| (interface.name.as_str(), interface.index)).collect();
    let with_drops = |one: &Coverage| {
        let guarded = one.means != "none";
        let number = numbers.get(one.interface.as_str()).filter(|_| guarded);
        let counter = number.and_then(|number| maps.dropped_on(*number).ok());
        let dropped =
            counter.map(|Counter { packets, bytes }| Dropped { packets, bytes, sampled: false });
        Coverage { dropped, ..one.clone() }
    };
    coverage.iter().map(with_drops).collect()
}

/// Covers one interface. `None` with the reason when that is not possible.
fn one(
    interface: &Interface,
    interfaces: &[Interface],
    done: &BTreeMap<u32, Option<Way>>,
    options: &XdpOptions,
    links: &mut Links,
    programs: &Programs,
) -> (Option<Way>, String) {
    let present = links.way(interface.index);
    let foreign =
        interface.xdp_program.filter(|_| !matches!(present, Some(Way::Native | Way::Generic)));
    let plan = plan(interface, interfaces, foreign, options.generic, options.host_only);
    if present.is_some() {
        return (present, plan.why);
    }
    let mut failures = Vec::new();
    let mut attempt = |ways: &[Way], failures: &mut Vec<String>| {
        ways.iter().copied().find(|way| {
            let result = links.attach(interface.index, *way, programs);
            if let Err(cause) = &result {
                failures.push(refusal(*way, cause));
            }
            result.is_ok()
        })
    };
    let because = |failures: &[String]| {
        let reasons: Vec<&str> =
            std::iter::once(plan.why.as_str()).chain(failures.iter().map(String::as_str)).collect();
        reasons.join("; ")
    };
    if let Some(way) = attempt(&plan.first, &mut failures) {
        return (Some(way), because(&failures));
    }
    let master = plan.through.and_then(|index| {
        let way = done.get(&index).copied().flatten()?;
        let name = &interfaces.iter().find(|other| other.index == index)?.name;
        Some((way, name))
    });
    if let Some((way, name)) = master {
        failures.push(format!("through {name}"));
        return (Some(way), because(&failures));
    }
    let way = attempt(&plan.last, &mut failures);
    if way.is_none() {
        failures.push("use backend = \"nft\"".to_owned());
    }
    (way, because(&failures))
}

/// Why a way was not taken.
fn refusal(way: Way, cause: &std::io::Error) -> String {
    let means = way.means();
    match (way, cause.raw_os_error()) {
        (Way::Native, Some(libc::EOPNOTSUPP)) => "its driver has no native XDP".to_owned(),
        (Way::Native | Way::Generic, Some(libc::EBUSY | libc::EEXIST)) => {
            format!("another XDP program keeps {means} out")
        }
        (Way::Native, Some(libc::ERANGE | libc::EINVAL)) => {
            format!("its driver refuses native XDP as the interface is set up ({cause})")
        }
        (Way::Tcx | Way::TcxIp, Some(libc::EINVAL)) => {
            "this kernel has no tcx (Linux 6.6)".to_owned()
        }
        (Way::Clsact | Way::ClsactIp, Some(libc::ENOENT)) => {
            "this kernel has no clsact or no bpf filter".to_owned()
        }
        (_, Some(libc::EPERM)) => format!("{means} needs CAP_NET_ADMIN and CAP_BPF ({cause})"),
        _ => format!("{means}: {cause}"),
    }
}

impl Interfaces {
    /// Whether the interface is to be covered.
    pub(in crate::enforce) fn include(&self, name: &str) -> bool {
        match self {
            Self::Auto => true,
            Self::Named(names) => names.iter().any(|other| other == name),
        }
    }

    /// Interfaces that are named and not there.
    pub(in crate::enforce) fn missing<'a>(
        &'a self,
        interfaces: &'a [Interface],
    ) -> impl Iterator<Item = &'a String> {
        let there = |name: &str| interfaces.iter().any(|interface| interface.name == name);
        self.named().iter().filter(move |name| !there(name))
    }

    fn named(&self) -> &[String] {
        match self {
            Self::Auto => &[],
            Self::Named(names) => names,
        }
    }
}
