//! What the tests of the XDP enforcer stand on: a bpffs of their own, the host as it
//! is, and short words for bans and connections.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use guard::core::addr::Prefix;
use guard::core::delta::{Ban, JailPorts, Snapshot};
use guard::core::host::{Host, HostAddresses, Interface};
use guard::core::jail::{JailId, JailName};
use guard::core::ports::{Ports, Protocols};
use guard::core::reason::Reason;
use guard::core::time::{Span, Timestamp};
use guard::enforce::xdp::{Xdp, XdpOptions};
use guard::enforce::{Coverage, EnforceError, Enforcer, Moment};
pub(crate) use guard_tests::bpffs::Bpffs;
use guard_tests::lan::{ATTACKER, HOST, Lan, NEIGHBOUR, UPLINK};
use guard_tests::namespace::{self, Namespace};
use guard_tests::probe::{self, Answer, Service};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

/// Where the sshd jail's service listens.
pub(crate) const SSH: u16 = 22;
/// A port of no jail.
pub(crate) const OTHER: u16 = 2222;

/// A cable, a service at its end, and what the enforcer is opened with.
pub(crate) struct Bed {
    pub(crate) bpffs: Bpffs,
    pub(crate) lan: Lan,
    _services: [Service; 2],
}

impl Bed {
    pub(crate) fn new() -> Result<Self> {
        namespace::sweep()?;
        let lan = Lan::new()?;
        let services = [Service::listen(&lan.host, SSH)?, Service::listen(&lan.host, OTHER)?];
        Ok(Self { bpffs: Bpffs::new()?, lan, _services: services })
    }

    /// Opens the enforcer and lets it follow the host as it is.
    pub(crate) fn open(&self, options: XdpOptions) -> Result<(Xdp, Result<(), EnforceError>)> {
        // Inside: a filter of the traffic control is known by the interface's number.
        let mut xdp = self.lan.host.run(|| Ok(Xdp::open(options)?))?;
        let followed = self.follow(&mut xdp)?;
        Ok((xdp, followed))
    }

    pub(crate) fn follow(&self, xdp: &mut Xdp) -> Result<Result<(), EnforceError>> {
        let host = host(&self.lan.host)?;
        self.lan.host.run(|| Ok(xdp.follow(&host)))
    }

    pub(crate) fn uplink(&self) -> Result<u32> {
        let host = host(&self.lan.host)?;
        Ok(host.interfaces.iter().find(|one| one.name == UPLINK).expect("the uplink").index)
    }

    pub(crate) fn banned(&self) -> Result<()> {
        assert_silent(&self.lan.outside, ATTACKER, HOST, SSH)?;
        assert_open(&self.lan.outside, NEIGHBOUR, HOST, SSH)
    }
}

/// What the enforcer is opened with on a bpffs.
pub(crate) trait Opens {
    fn options(&self) -> XdpOptions;
}

impl Opens for Bpffs {
    fn options(&self) -> XdpOptions {
        XdpOptions { directory: self.path(), ..XdpOptions::default() }
    }
}

pub(crate) fn now() -> Moment {
    let micros = |clock| {
        let time = clock_gettime(clock);
        time.tv_sec * 1_000_000 + time.tv_nsec / 1000
    };
    Moment {
        wall: Timestamp::from_micros(micros(ClockId::Realtime)),
        boot_nanos: micros(ClockId::Boottime).cast_unsigned() * 1000,
    }
}

/// What this thread has used of the processor.
pub(crate) fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().expect("it is positive")
}

/// The jails of all tests: ids 0, 1, and 2 with the ports of 0.
pub(crate) fn jails() -> Vec<JailPorts> {
    [("sshd", SSH), ("other", OTHER), ("again", SSH)]
        .map(|(name, port)| JailPorts {
            name: JailName::new(name).expect("a name"),
            ports: Ports::new(Protocols::Tcp, [port..=port]),
        })
        .to_vec()
}

pub(crate) fn ban(jail: u16, source: impl Into<Prefix>, left: Option<Duration>) -> Ban {
    let since = now().wall;
    let left = left.map(|left| Span::from_micros(left.as_micros().try_into().expect("short")));
    Ban {
        jail: JailId(jail),
        source: source.into(),
        since,
        until: left.map(|left| since + left),
        reason: Reason::Manual { forced: false },
    }
}

pub(crate) fn snapshot(bans: Vec<Ban>) -> Snapshot {
    Snapshot { serial: 1, jails: jails(), bans, ..Snapshot::default() }
}

/// What is held, as `jail source`, in order.
pub(crate) fn held(xdp: &mut Xdp) -> Result<Vec<String>> {
    let mut list: Vec<String> =
        xdp.held(now())?.iter().map(|held| format!("{} {}", held.jail, held.source)).collect();
    list.sort_unstable();
    Ok(list)
}

/// The host's network as `ip` shows it inside a namespace.
pub(crate) fn host(at: &Namespace) -> Result<Host> {
    let links: Vec<Value> = serde_json::from_str(&at.ip("-d -j link")?)?;
    let addresses: Vec<Value> = serde_json::from_str(&at.ip("-j address")?)?;
    let index = |link: &Value| link["ifindex"].as_u64().and_then(|index| u32::try_from(index).ok());
    let index_of = |name: &str| links.iter().find(|link| link["ifname"] == name).and_then(index);
    let interfaces = links
        .iter()
        .map(|link| {
            Ok(Interface {
                index: index(link).context("no ifindex")?,
                name: link["ifname"].as_str().context("no name")?.to_owned(),
                kind: link["linkinfo"]["info_kind"].as_str().unwrap_or_default().to_owned(),
                loopback: link["link_type"] == "loopback",
                ethernet: link["link_type"] == "ether",
                master: link["master"].as_str().and_then(index_of),
                mtu: u32::try_from(link["mtu"].as_u64().context("no mtu")?)?,
                xdp_program: link["xdp"]["prog"]["id"]
                    .as_u64()
                    .and_then(|id| u32::try_from(id).ok()),
            })
        })
        .collect::<Result<_>>()?;
    let own = addresses
        .iter()
        .flat_map(|link| link["addr_info"].as_array().into_iter().flatten())
        .filter_map(|address| address["local"].as_str())
        .map(|address| Ok(address.parse::<IpAddr>()?))
        .collect::<Result<_>>()?;
    Ok(Host { addresses: HostAddresses { own, ..HostAddresses::default() }, interfaces })
}

/// Asserts that a connection is made.
pub(crate) fn assert_open(from: &Namespace, source: IpAddr, to: IpAddr, port: u16) -> Result<()> {
    let answer = probe::connect(from, source, SocketAddr::new(to, port), probe::PATIENCE)?;
    assert_eq!(answer, Answer::Connected, "{source} to {to} port {port}");
    Ok(())
}

/// Asserts that nothing answers.
pub(crate) fn assert_silent(from: &Namespace, source: IpAddr, to: IpAddr, port: u16) -> Result<()> {
    let answer =
        probe::connect(from, source, SocketAddr::new(to, port), Duration::from_millis(400))?;
    assert_eq!(answer, Answer::Silence, "{source} to {to} port {port}");
    Ok(())
}

/// By what an interface without native XDP is covered in this kernel.
pub(crate) fn filtered() -> Result<&'static str> {
    Ok(if guard::enforce::xdp::supports_tcx()? { "tcx" } else { "clsact" })
}

/// The coverage of one interface.
pub(crate) fn of<'a>(coverage: &'a [Coverage], name: &str) -> &'a Coverage {
    coverage.iter().find(|one| one.interface == name).expect("every interface has its coverage")
}
