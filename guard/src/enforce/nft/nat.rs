//! Rules that send packets to another address or port before they come to the input hook.
//!
//! Input: the rules of every table in this network namespace, whoever made them. Output:
//! [`Redirection`]s, and what they mean for jails whose bans XDP enforces, in words. XDP
//! sees the port that a packet is addressed to, nft's input hook the one that it was sent
//! on to. What of a rule is not understood is left open: it says less, never something
//! wrong. (Rules of the old `iptables-legacy` are not in nf_tables, and are not seen.)

mod read;

use std::fmt;
use std::net::IpAddr;

use rustix::io::Errno;

use crate::core::jail::JailName;
use crate::core::ports::{Ports, RangeInclusiveU16};
use crate::enforce::EnforceError;
use crate::enforce::nft::connection::{Connection, Refusal};
use read::read;

/// Somebody may change the rules while they are read: then they are read again.
const READS: usize = 8;

/// A rule that sends packets on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirection {
    /// Table and chain, as `nft` names them.
    pub place: String,
    /// Whether TCP is meant; both if the rule does not say.
    pub tcp: bool,
    /// Whether UDP is meant.
    pub udp: bool,
    /// Ports that packets are addressed to; `None` if the rule does not say.
    pub ports: Option<Vec<RangeInclusiveU16>>,
    /// Where they are sent.
    pub to: Destination,
    /// The port there; `None` for the same, or if that is not understood.
    pub port: Option<u16>,
}

/// Where packets are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To this host.
    Here,
    /// To this address.
    Address(IpAddr),
    /// Somewhere: the rule has it from a map, or in a form that is not understood.
    Somewhere,
}

/// All such rules in the calling thread's network namespace.
///
/// # Errors
/// When the kernel does not tell.
pub fn redirections() -> Result<Vec<Redirection>, EnforceError> {
    let mut connection = Connection::open()?;
    let mut reads = READS;
    loop {
        match read(&mut connection) {
            Err(Refusal { cause: Errno::INTR, .. }) if reads > 1 => reads -= 1,
            other => return Ok(other?),
        }
    }
}

/// What these rules mean for jails whose bans XDP enforces, one sentence each.
pub fn warnings(
    redirections: &[Redirection],
    jails: &[(JailName, Ports)],
    own: &[IpAddr],
) -> Vec<String> {
    let mut warnings = Vec::new();
    for rule in redirections {
        let stays = match rule.to {
            Destination::Here => true,
            Destination::Address(address) => own.contains(&address),
            Destination::Somewhere => false,
        };
        let jails_where = |holds: &dyn Fn(&Ports) -> bool| {
            let names = jails.iter().filter(|(_, ports)| holds(ports)).map(|(name, _)| name);
            names.map(JailName::as_str).collect::<Vec<_>>().join(", ")
        };
        let missed = jails_where(&|ports| stays && rule.leads_past(ports));
        if !missed.is_empty() {
            warnings.push(format!(
                "{rule}: XDP sees it before that, so bans of {missed} do not keep anybody off; \
                 add the outer port to `port` of the jail, or use backend = \"nft\""
            ));
        }
        let reached = jails_where(&|ports| !stays && rule.is_covered_by(ports));
        if !reached.is_empty() {
            warnings.push(format!(
                "{rule}: XDP sees it before that, so whoever {reached} bans is kept off there as \
                 well"
            ));
        }
    }
    warnings
}

impl Redirection {
    fn protocols(&self) -> impl Iterator<Item = bool> {
        [(true, self.tcp), (false, self.udp)]
            .into_iter()
            .filter(|(_, meant)| *meant)
            .map(|(tcp, _)| tcp)
    }

    fn outer(&self) -> impl Iterator<Item = u16> {
        let every = vec![RangeInclusiveU16::from(0..=u16::MAX)];
        let ranges = self.ports.clone().unwrap_or(every);
        ranges.into_iter().flat_map(|range| range.first..=range.last)
    }

    /// Whether it leads to one of these ports by another one.
    fn leads_past(&self, ports: &Ports) -> bool {
        let Some(inner) = self.port else { return false };
        self.protocols().any(|tcp| {
            ports.covers(tcp, inner) && self.outer().any(|outer| !ports.covers(tcp, outer))
        })
    }

    /// Whether one of the ports that it takes packets from is one of these.
    fn is_covered_by(&self, ports: &Ports) -> bool {
        self.protocols().any(|tcp| self.outer().any(|outer| ports.covers(tcp, outer)))
    }
}

impl fmt::Display for Redirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocols = match (self.tcp, self.udp) {
            (true, false) => "TCP",
            (false, true) => "UDP",
            _ => "TCP and UDP",
        };
        match &self.ports {
            None => write!(f, "{protocols}")?,
            Some(ranges) => {
                write!(f, "{protocols} to port ")?;
                for (i, range) in ranges.iter().enumerate() {
                    let separator = if i == 0 { "" } else { ", " };
                    write!(f, "{separator}{}", range.first)?;
                    if range.first != range.last {
                        write!(f, "-{}", range.last)?;
                    }
                }
            }
        }
        match self.to {
            Destination::Here => f.write_str(" is sent to this host")?,
            Destination::Address(address) => write!(f, " is sent to {address}")?,
            Destination::Somewhere => f.write_str(" is sent somewhere else")?,
        }
        if let Some(port) = self.port {
            write!(f, " port {port}")?;
        }
        write!(f, " ({})", self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ports::Protocols;

    fn told(ports: Option<u16>, to: Destination, port: Option<u16>) -> Vec<String> {
        let rule = Redirection {
            place: "table ip nat, chain p".to_owned(),
            tcp: true,
            udp: false,
            ports: ports.map(|port| vec![(port..=port).into()]),
            to,
            port,
        };
        let jail = |name: &str, ports| (JailName::new(name).expect("a name"), ports);
        let jails = [
            jail("sshd", Ports::new(Protocols::Tcp, [22..=22])),
            jail("web", Ports::new(Protocols::Tcp, [80..=80, 8006..=8006])),
            jail("dns", Ports::new(Protocols::Udp, [22..=22])),
        ];
        warnings(&[rule], &jails, &[IpAddr::from([192, 0, 2, 1])])
    }

    #[test]
    fn ports_that_lead_past_a_ban_or_into_it() {
        let own = Destination::Address(IpAddr::from([192, 0, 2, 1]));
        let guest = Destination::Address(IpAddr::from([192, 0, 2, 2]));
        for (ports, to, port, expected) in [
            (Some(2200), Destination::Here, Some(22), "bans of sshd do not keep anybody off"),
            (Some(2200), own, Some(22), "bans of sshd do not keep anybody off"),
            (None, Destination::Here, Some(22), "bans of sshd do not keep anybody off"),
            (Some(22), Destination::Here, Some(22), ""),
            (Some(22), Destination::Here, None, ""),
            (Some(2200), Destination::Here, Some(23), ""),
            (Some(2200), guest, Some(22), ""),
            (Some(8006), guest, Some(80), "whoever web bans is kept off there"),
            (Some(8006), guest, None, "whoever web bans is kept off there"),
            (Some(8007), guest, None, ""),
            (None, Destination::Somewhere, None, "whoever sshd, web bans is kept off there"),
        ] {
            let told = told(ports, to, port).join("\n");
            assert!(told.contains(expected), "{ports:?} {to:?} {port:?}: {told}");
            assert_eq!(told.is_empty(), expected.is_empty(), "{ports:?} {to:?} {port:?}: {told}");
        }
    }

    #[test]
    fn a_rule_in_words() {
        let told = told(Some(2200), Destination::Here, Some(22)).remove(0);
        let start = "TCP to port 2200 is sent to this host port 22 (table ip nat, chain p): XDP";
        assert!(told.starts_with(start), "{told}");
    }
}
