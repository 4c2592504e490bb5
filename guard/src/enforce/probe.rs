//! What BPF can do on this host, interface by interface, and what would be chosen.
//!
//! Input: the host's interfaces and the options. Output: [`Probed`], which changes
//! nothing: native XDP is asked of the driver, not tried.

use std::collections::BTreeMap;

use super::xdp::features;
use super::xdp::plan::{Way, in_order, plan};
use super::xdp::{Interfaces, XdpOptions, attached, supports_clsact, supports_tcx};
use super::{Coverage, EnforceError};
use crate::core::host::{Host, Interface};

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Probed {
    /// Why XDP cannot be used at all, and what to do; absent when it can.
    pub bpf: Option<String>,
    /// Whether the kernel has tcx; unknown without the right to ask.
    pub tcx: Option<bool>,
    /// Whether it has clsact, which takes the place of tcx; asked only where there is no
    /// tcx.
    pub clsact: Option<bool>,
    /// Every interface but loopback.
    pub interfaces: Vec<ProbedInterface>,
}

/// What was found of one interface.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ProbedInterface {
    /// Its driver, such as `e1000e`, where the kernel tells.
    pub driver: Option<String>,
    /// Whether the driver has native XDP; unknown before Linux 6.3.
    pub native_xdp: Option<bool>,
    /// Id of an XDP program on it that is not guard's.
    pub other_program: Option<u32>,
    /// Whether guard's program is on it now.
    pub attached: bool,
    /// What is in use, or would be chosen, and why.
    pub choice: Coverage,
}

/// Looks at every interface but loopback, as the enforcer would with these options.
pub fn probe(host: &Host, options: &XdpOptions) -> Probed {
    let interfaces = &options.interfaces;
    let supported = supports_tcx();
    let abilities = Abilities {
        tcx: supported.as_ref().ok().copied(),
        clsact: match supported {
            Ok(false) => supports_clsact().ok(),
            _ => None,
        },
        // Before Linux 6.3 nobody tells.
        native: features::native_xdp().unwrap_or_default(),
        attached: attached(&options.directory),
        generic: options.generic,
        host_only: options.host_only,
    };
    let mut done: BTreeMap<u32, Option<Way>> = BTreeMap::new();
    let mut probed = BTreeMap::new();
    for interface in in_order(&host.interfaces).into_iter().filter(|one| !one.loopback) {
        let one = look_at(interface, host, interfaces, &abilities, &mut done);
        probed.insert(interface.index, one);
    }
    let mut list: Vec<ProbedInterface> = probed.into_values().collect();
    for name in interfaces.missing(&host.interfaces) {
        list.push(ProbedInterface {
            driver: None,
            native_xdp: None,
            other_program: None,
            attached: false,
            choice: Coverage {
                interface: name.clone(),
                means: "none".to_owned(),
                reason: "there is no such interface".to_owned(),
                dropped: None,
            },
        });
    }
    Probed {
        bpf: supported.err().map(|error: EnforceError| error.to_string()),
        tcx: abilities.tcx,
        clsact: abilities.clsact,
        interfaces: list,
    }
}

/// What the kernel and the drivers can do.
struct Abilities {
    tcx: Option<bool>,
    clsact: Option<bool>,
    native: BTreeMap<u32, bool>,
    attached: BTreeMap<u32, Way>,
    generic: bool,
    host_only: bool,
}

impl Abilities {
    /// Whether a way works; not known counts as yes, since it would be tried.
    fn can(&self, interface: &Interface, way: Way) -> bool {
        match way {
            Way::Native => self.native.get(&interface.index).copied().unwrap_or(true),
            Way::Tcx | Way::TcxIp => self.tcx.unwrap_or(true),
            Way::Clsact | Way::ClsactIp => self.clsact.unwrap_or(true),
            Way::Generic => true,
        }
    }
}

fn look_at(
    interface: &Interface,
    host: &Host,
    interfaces: &Interfaces,
    abilities: &Abilities,
    done: &mut BTreeMap<u32, Option<Way>>,
) -> ProbedInterface {
    let present = abilities.attached.get(&interface.index).copied();
    let foreign =
        interface.xdp_program.filter(|_| !matches!(present, Some(Way::Native | Way::Generic)));
    let native_xdp = abilities.native.get(&interface.index).copied();
    let plan = plan(interface, &host.interfaces, foreign, abilities.generic, abilities.host_only);
    let first = |ways: &[Way]| ways.iter().copied().find(|way| abilities.can(interface, *way));
    let master = plan.through.and_then(|index| {
        let way = done.get(&index).copied().flatten()?;
        let master = host.interfaces.iter().find(|other| other.index == index)?;
        Some((way, format!("through {}", master.name)))
    });
    let mut reasons = vec![plan.why.clone()];
    let way = if !interfaces.include(&interface.name) {
        reasons = vec!["not among `interfaces` in guard.toml".to_owned()];
        None
    } else if let Some(way) = present {
        Some(way)
    } else if let Some(way) = first(&plan.first) {
        Some(way)
    } else if let Some((way, name)) = master {
        reasons.push(name);
        Some(way)
    } else {
        first(&plan.last)
    };
    let planned = plan.first.contains(&Way::Native) || plan.last.contains(&Way::Native);
    match (way, native_xdp) {
        (Some(Way::Native), None) if present.is_none() => {
            reasons.push("tried natively, else tcx".to_owned());
        }
        (Some(Way::Tcx | Way::Clsact | Way::Generic), Some(false)) if planned => {
            reasons.push("its driver has no native XDP".to_owned());
        }
        (None, _) if interfaces.include(&interface.name) => {
            let none = "this kernel has neither tcx (Linux 6.6) nor clsact; use backend = \"nft\"";
            reasons.push(none.to_owned());
        }
        _ => {}
    }
    done.insert(interface.index, way);
    ProbedInterface {
        driver: features::driver(&interface.name),
        native_xdp,
        other_program: foreign,
        attached: present.is_some(),
        choice: Coverage {
            interface: interface.name.clone(),
            means: way.map_or("none", Way::means).to_owned(),
            reason: reasons.join("; "),
            dropped: None,
        },
    }
}
