//! The action of a jail, as far as it says what a ban cuts off.
//!
//! Input: `action`, or else `banaction`, and `port` and `protocol` of the jail. Output:
//! [`Ports`]. Guard bans by itself and runs no action, but an action that changes a
//! firewall may have ports of its own in its brackets, or cover all. What other actions
//! would do is told. (An action without a port in its brackets covers the jail's `port`
//! here; Fail2Ban takes the action's own default, `ssh`.) The ports of several such
//! actions are covered together.

use crate::config::diagnostic::{Diagnostic, Diagnostics};
use crate::config::interpolate::Scope;
use crate::config::option_list::{self, Named};
use crate::config::ports::{Services, ports};
use crate::config::resolve::taken;
use crate::config::text::Text;
use crate::core::ports::{PortSet, Ports, Protocols};

/// What a ban in a jail cuts off; nothing if a problem is told.
pub(crate) fn ban_ports(
    scope: &Scope<'_>,
    services: &Services,
    found: &mut Diagnostics,
) -> Option<Ports> {
    let mut value = |key: &str| taken(scope.value_or_empty(key), found);
    let (mut action, mut port, mut protocol) =
        (value("action")?, value("port")?, value("protocol")?);
    if port.is_blank() {
        port = Text::generated("0:65535");
    }
    if protocol.is_blank() {
        protocol = Text::generated("tcp");
    }
    if action.is_blank() {
        action = value("banaction")?;
    }
    block_type(&value("blocktype")?, found);
    let all = taken(option_list::parse_many(&action), found)?;
    let (firewalls, others): (Vec<_>, Vec<_>) = all.iter().partition(|action| is_firewall(action));
    found.extend(others.into_iter().map(not_run));
    if firewalls.is_empty() {
        let section = scope.merged.section(scope.section).map(|section| &section.name);
        let place = Some(&action).filter(|action| !action.is_blank()).or(section);
        found.push(
            Diagnostic::warning("no action of the jail changes a firewall: guard bans all the same")
                .at(place.unwrap_or(&port))
                .help("disable the jail if nobody is to be banned; otherwise give it an action such as %(banaction)s"),
        );
        return taken(ports(&port, &protocol, false, services), found);
    }
    let mut covered: Option<Ports> = None;
    for action in firewalls {
        block_type(action.option("blocktype").unwrap_or(&Text::default()), found);
        let given = |name| action.option(name).filter(|value| !value.is_blank());
        let port = given("port").unwrap_or(&port);
        let protocol = given("protocol").unwrap_or(&protocol);
        let more = taken(ports(port, protocol, covers_all(action), services), found)?;
        covered = Some(match covered {
            None => more,
            Some(before) => {
                // One action for TCP and one for UDP is how Fail2Ban covers both.
                if before.set != more.set && before.protocols != more.protocols {
                    found.push(wider(action));
                }
                together(before, more)
            }
        });
    }
    covered
}

/// What covers everything that either covers.
fn together(a: Ports, b: Ports) -> Ports {
    let protocols = match (a.protocols, b.protocols) {
        (Protocols::All, _) | (_, Protocols::All) => Protocols::All,
        (a, b) if a == b => a,
        _ => Protocols::TcpAndUdp,
    };
    match (a.set, b.set) {
        (PortSet::Ranges(mut ranges), PortSet::Ranges(more)) => {
            ranges.extend(more);
            Ports::new(protocols, ranges.into_iter().map(|range| range.first..=range.last))
        }
        _ => Ports { protocols, set: PortSet::All },
    }
}

fn wider(action: &Named) -> Diagnostic {
    let what = "a ban cuts off the ports of all actions, each for TCP and UDP";
    Diagnostic::warning(what)
        .at(&action.name)
        .help("make a jail for each protocol if the ports must stay apart")
}

fn not_run(action: &Named) -> Diagnostic {
    Diagnostic::warning(format!("action `{}` is not run", action.name))
        .at(&action.name)
        .help("guard bans by itself and runs no programs")
}

/// What happens to packets is the backend's business, unless they are to pass.
fn block_type(value: &Text, found: &mut Diagnostics) {
    if value.is_blank() {
        return;
    }
    let lower = value.as_str().trim().to_lowercase();
    let passes = ["return", "accept", "allow"].iter().any(|word| lower.starts_with(word));
    found.push(if passes {
        Diagnostic::error(format!("blocktype = `{value}` lets addresses in; guard only bans"))
            .at(value)
            .help("leave this jail to Fail2Ban, or disable it")
    } else {
        Diagnostic::warning(format!("blocktype = `{value}` has no effect"))
            .at(value)
            .help("the backend says what happens to packets")
    });
}

/// Whether an action bans from every port, by its name or options.
fn covers_all(action: &Named) -> bool {
    let name = action.name.as_str();
    name.contains("allports")
        || ["route", "hostsdeny", "blackhole"].contains(&name)
        || action.option("type").is_some_and(|value| value.as_str() == "allports")
}

/// Whether an action changes a firewall, by its name.
fn is_firewall(action: &Named) -> bool {
    is_firewall_name(action.name.as_str())
}

/// Whether an action of this name changes a firewall.
pub(crate) fn is_firewall_name(name: &str) -> bool {
    const FIREWALLS: [&str; 18] = [
        "guard",
        "nftables",
        "iptables",
        "ip6tables",
        "firewallcmd",
        "ufw",
        "shorewall",
        "ipfw",
        "bsd-ipfw",
        "ipfilter",
        "pf",
        "npf",
        "osx",
        "apf",
        "route",
        "hostsdeny",
        "blackhole",
        "symbiosis-blacklist-allports",
    ];
    FIREWALLS.iter().any(|firewall| {
        let rest = name.strip_prefix(firewall);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    })
}
