//! `port` and `protocol` of a jail.
//!
//! Input: `ssh,https,8006,8000:8010` and `tcp`. Output: [`Ports`]. Service names come
//! from `/etc/services`; a minimal host has none (Debian's package netbase), so the
//! names that jails use are known here too.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::Path;

use crate::config::diagnostic::{Checked, Diagnostic, nearest};
use crate::config::text::Text;
use crate::core::ports::{PortSet, Ports, Protocols};

/// Port numbers by service name.
#[derive(Clone, Debug)]
pub(crate) struct Services(HashMap<String, u16>);

impl Services {
    /// The names of a file in the format of services(5), over the built-in ones.
    /// A file that is not there adds nothing.
    pub(crate) fn load(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_default();
        Self::parse(&String::from_utf8_lossy(&bytes))
    }

    /// The names of a services(5) text, over the built-in ones. TCP's number counts
    /// where protocols differ.
    pub(crate) fn parse(text: &str) -> Self {
        let mut names = HashMap::new();
        for protocol in ["tcp", ""] {
            for line in text.lines() {
                let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
                let (Some(name), Some(number)) = (words.next(), words.next()) else { continue };
                let Some((number, of)) = number.split_once('/') else { continue };
                let Ok(number) = number.parse::<u16>() else { continue };
                if protocol.is_empty() || of == protocol {
                    for name in std::iter::once(name).chain(words) {
                        names.entry(name.to_owned()).or_insert(number);
                    }
                }
            }
        }
        for (name, number) in BUILT_IN {
            names.entry((*name).to_owned()).or_insert(*number);
        }
        Self(names)
    }

    fn port(&self, name: &str) -> Option<u16> {
        self.0.get(name).or_else(|| self.0.get(&name.to_lowercase())).copied()
    }
}

/// What a ban in a jail cuts off. `all_ports` overrides `port`, as an action for all
/// ports does in Fail2Ban.
pub(crate) fn ports(
    port: &Text,
    protocol: &Text,
    all_ports: bool,
    services: &Services,
) -> Checked<Ports> {
    let protocols = protocols(protocol)?;
    let mut ranges = Vec::new();
    for item in port.split(|c| c == ',' || c.is_whitespace()) {
        ranges.push(range(&item, services)?);
    }
    let whole = ranges.contains(&(0..=u16::MAX));
    if all_ports || (protocols == Protocols::All && whole) {
        return Ok(Ports { protocols, set: PortSet::All });
    }
    if ranges.is_empty() {
        return Err(Diagnostic::error("`port` names no port")
            .at(port)
            .help("name the ports to cut off, such as `port = ssh`, or 0:65535 for every one")
            .into());
    }
    // Only TCP and UDP have ports.
    let protocols = if protocols == Protocols::All { Protocols::TcpAndUdp } else { protocols };
    Ok(Ports::new(protocols, ranges))
}

/// `tcp`, `udp`, both separated by a comma, or `all`.
fn protocols(value: &Text) -> Checked<Protocols> {
    let (mut tcp, mut udp, mut all) = (false, false, false);
    for item in value.split(|c| c == ',' || c.is_whitespace()) {
        match item.as_str().to_lowercase().as_str() {
            "tcp" => tcp = true,
            "udp" => udp = true,
            "all" | "any" => all = true,
            _ => {
                return Err(Diagnostic::error(format!("unknown protocol `{item}`"))
                    .at(&item)
                    .help("guard cuts off tcp, udp, `tcp,udp` or all")
                    .into());
            }
        }
    }
    match (tcp, udp, all) {
        (_, _, true) => Ok(Protocols::All),
        (true, true, false) => Ok(Protocols::TcpAndUdp),
        (false, true, false) => Ok(Protocols::Udp),
        (true, false, false) => Ok(Protocols::Tcp),
        (false, false, false) => Err(Diagnostic::error("`protocol` names no protocol")
            .at(value)
            .help("write tcp, udp, `tcp,udp` or all")
            .into()),
    }
}

/// A port, a service name, or a range of them: `first:last` or `first-last`.
fn range(item: &Text, services: &Services) -> Checked<RangeInclusive<u16>> {
    let text = item.as_str();
    // A service name may hold a hyphen; only numbers make a range with one.
    let numeric = text.chars().all(|c| c.is_ascii_digit() || c == '-');
    let cut = text.find(':').or_else(|| numeric.then(|| text.find('-')).flatten());
    let Some(cut) = cut else {
        let port = port(item, services)?;
        return Ok(port..=port);
    };
    let first = port(&item.part(0..cut).trimmed(), services)?;
    let last = port(&item.part(cut + 1..item.len()).trimmed(), services)?;
    if first > last {
        return Err(Diagnostic::error(format!("port range `{item}` ends before it begins"))
            .at(item)
            .help(format!("write {last}:{first}"))
            .into());
    }
    Ok(first..=last)
}

fn port(item: &Text, services: &Services) -> Checked<u16> {
    let text = item.as_str();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().map_err(|_| {
            Diagnostic::error(format!("port {text} does not exist"))
                .at(item)
                .help("ports go from 0 to 65535")
                .into()
        });
    }
    services.port(text).ok_or_else(|| {
        let near = nearest(text, services.0.keys().map(String::as_str));
        let numbers = "write the number, or add the name to /etc/services";
        Diagnostic::error(format!("unknown port name `{text}`"))
            .at(item)
            .help(match near {
                Some(near) => format!("did you mean `{near}`? Otherwise {numbers}"),
                None => numbers.to_owned(),
            })
            .into()
    })
}

/// Names that jails use, by IANA's registry and Debian's `/etc/services`.
const BUILT_IN: &[(&str, u16)] = &[
    ("ftp-data", 20),
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("mail", 25),
    ("domain", 53),
    ("http", 80),
    ("www", 80),
    ("kerberos", 88),
    ("pop3", 110),
    ("pop-3", 110),
    ("sunrpc", 111),
    ("auth", 113),
    ("nntp", 119),
    ("ntp", 123),
    ("imap", 143),
    ("imap2", 143),
    ("snmp", 161),
    ("ldap", 389),
    ("https", 443),
    ("submissions", 465),
    ("smtps", 465),
    ("ssmtp", 465),
    ("urd", 465),
    ("submission", 587),
    ("ldaps", 636),
    ("rsync", 873),
    ("ftps-data", 989),
    ("ftps", 990),
    ("telnets", 992),
    ("imaps", 993),
    ("pop3s", 995),
    ("socks", 1080),
    ("openvpn", 1194),
    ("ms-sql-s", 1433),
    ("mqtt", 1883),
    ("nfs", 2049),
    ("mysql", 3306),
    ("ms-wbt-server", 3389),
    ("svn", 3690),
    ("sieve", 4190),
    ("iax", 4569),
    ("sip", 5060),
    ("sip-tls", 5061),
    ("xmpp-client", 5222),
    ("xmpp-server", 5269),
    ("postgresql", 5432),
    ("rfb", 5900),
    ("redis", 6379),
    ("ircd", 6667),
    ("http-alt", 8080),
    ("webcache", 8080),
    ("secure-mqtt", 8883),
    ("git", 9418),
    ("webmin", 10_000),
    ("zabbix-agent", 10_050),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(port: &str, protocol: &str, all: bool) -> Checked<Ports> {
        let services =
            Services::parse("https 443/udp\nhttps 443/tcp\nodd 7/udp own # c\nbad x/tcp");
        ports(&Text::generated(port), &Text::generated(protocol), all, &services)
    }

    #[test]
    fn names_numbers_and_ranges() {
        use Protocols::{All, Tcp, TcpAndUdp, Udp};
        for (port, protocol, protocols, ranges) in [
            ("ssh", "tcp", Tcp, vec![22..=22]),
            ("https,http,8006", "tcp", Tcp, vec![80..=80, 443..=443, 8006..=8006]),
            ("8000:8010, odd own", "udp", Udp, vec![7..=7, 8000..=8010]),
            ("8000-8010", "tcp,udp", TcpAndUdp, vec![8000..=8010]),
            ("ssh:25", "tcp", Tcp, vec![22..=25]),
            ("ftp-data", "all", TcpAndUdp, vec![20..=20]),
            ("0:65535", "tcp", Tcp, vec![0..=65535]),
            ("SSH", "TCP", Tcp, vec![22..=22]),
        ] {
            let expected = Ports::new(protocols, ranges);
            assert_eq!(parsed(port, protocol, false).expect(port), expected, "{port}");
        }
        let all = Ports { protocols: All, set: PortSet::All };
        assert_eq!(parsed("0:65535", "all", false).expect("ports"), all);
        let all = Ports { protocols: Tcp, set: PortSet::All };
        assert_eq!(parsed("ssh", "tcp", true).expect("ports"), all);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (port, protocol, told) in [
            ("ssh,htps", "tcp", "unknown port name `htps`"),
            ("65536", "tcp", "port 65536 does not exist"),
            ("9:8", "tcp", "port range `9:8` ends before it begins"),
            (" , ", "tcp", "`port` names no port"),
            ("ssh", "icmp", "unknown protocol `icmp`"),
            ("ssh", "", "`protocol` names no protocol"),
            (":22", "tcp", "unknown port name ``"),
        ] {
            let error = parsed(port, protocol, false).expect_err(port);
            assert_eq!(error.message, told);
            assert!(error.help.is_some());
        }
        let help = parsed("htps", "tcp", false).expect_err("a typo").help.expect("a help");
        assert!(help.starts_with("did you mean `https`?"), "{help}");
    }

    proptest! {
        #[test]
        fn any_text_is_ports_or_an_error(port: String, near in "[0-9a-z:, -]{0,12}") {
            let _ = (parsed(&port, "tcp", false), parsed(&near, &port, false));
        }
    }
}
