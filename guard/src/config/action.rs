//! The action of a jail, as far as it says what a ban cuts off.
//!
//! Input: `action`, or else `banaction`, and `port` and `protocol` of the jail. Output:
//! [`Ports`]. Guard bans by itself and runs no action, but an action that changes a
//! firewall may have ports of its own in its brackets, or cover all. What other actions
//! would do is told. (An action without a port in its brackets covers the jail's `port`
//! here; Fail2Ban takes the action's own default, `ssh`.)

use crate::config::diagnostic::{Diagnostic, Diagnostics};
use crate::config::interpolate::Scope;
use crate::config::jail::taken;
use crate::config::option_list::{self, Named};
use crate::config::ports::{Services, ports};
use crate::config::text::Text;
use crate::core::ports::{Ports, Protocols};

/// What a ban in a jail cuts off; nothing if a problem is told.
pub(crate) fn ban_ports(
    scope: &Scope<'_>,
    services: &Services,
    found: &mut Diagnostics,
) -> Option<Ports> {
    let mut value = |key: &str| taken(scope.value_or_empty(key), found);
    let (mut action, port, protocol) = (value("action")?, value("port")?, value("protocol")?);
    if action.is_blank() {
        action = value("banaction")?;
    }
    block_type(&value("blocktype")?, found);
    let all = taken(option_list::parse_many(&action), found)?;
    let (firewalls, others): (Vec<_>, Vec<_>) = all.iter().partition(|action| is_firewall(action));
    found.extend(others.into_iter().map(not_run));
    let Some((first, rest)) = firewalls.split_first() else {
        return taken(ports(&port, &protocol, false, services), found);
    };
    let of_action = |action: &Named, found: &mut Diagnostics| {
        block_type(action.option("blocktype").unwrap_or(&Text::default()), found);
        let given = |name| action.option(name).filter(|value| !value.is_blank());
        let port = given("port").unwrap_or(&port);
        let protocol = given("protocol").unwrap_or(&protocol);
        taken(ports(port, protocol, covers_all(action), services), found)
    };
    let mut covered = of_action(first, found)?;
    // One action for TCP and one for UDP is how Fail2Ban covers both.
    for action in rest {
        let more = of_action(action, found)?;
        if more.set == covered.set {
            covered.protocols = together(covered.protocols, more.protocols);
        } else {
            found.push(not_run(action));
        }
    }
    Some(covered)
}

fn together(a: Protocols, b: Protocols) -> Protocols {
    match (a, b) {
        (Protocols::All, _) | (_, Protocols::All) => Protocols::All,
        _ if a == b => a,
        _ => Protocols::TcpAndUdp,
    }
}

fn not_run(action: &Named) -> Diagnostic {
    let name = &action.name;
    if is_firewall(action) {
        return Diagnostic::warning(format!("action `{name}` covers other ports, without effect"))
            .at(name)
            .help("a ban cuts off the ports of the first action; make another jail for more");
    }
    Diagnostic::warning(format!("action `{name}` is not run"))
        .at(name)
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
        Diagnostic::warning(format!("blocktype = `{value}` has no effect yet"))
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
        let rest = action.name.as_str().strip_prefix(firewall);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    })
}
