//! A host and its neighbours: two network namespaces on one cable, with addresses of
//! both families. Removed when dropped.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use guard::core::host::{Host, HostAddresses, Interface};
use guard::core::time::Timestamp;
use guard::enforce::Moment;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketType, bind, connect, ipproto, socket};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use rustix::time::{ClockId, clock_gettime};

/// A port that the jail of these tests cuts off, and one that it does not.
pub(crate) const GUARDED: u16 = 22;
pub(crate) const OPEN: u16 = 2222;

/// The host, the attacker and who sits beside the attacker, for each family.
pub(crate) const FAMILIES: [(&str, &str, &str); 2] =
    [("10.3.0.254", "10.3.0.1", "10.3.0.2"), ("2001:db8:3::254", "2001:db8:3::1", "2001:db8:3::2")];

static MADE: AtomicU32 = AtomicU32::new(0);

/// A network namespace of our own.
pub(crate) struct Namespace(String);

impl Namespace {
    /// Makes one with its loopback up.
    pub(crate) fn new(role: &str) -> Self {
        let serial = MADE.fetch_add(1, Ordering::Relaxed);
        let namespace = Self(format!("guard-enforcers-{}-{serial}-{role}", std::process::id()));
        ip(&format!("netns add {}", namespace.0));
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `ip` on it.
    pub(crate) fn ip(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.0));
    }

    /// Runs `closure` on a thread inside; what it opens stays inside, and programs that
    /// it starts are inside too.
    pub(crate) fn run<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.0);
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                let file = File::open(&path).expect("the namespace");
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("enter the namespace");
                closure()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let removed = Command::new("ip").args(["netns", "del", &self.0]).status();
        if !removed.is_ok_and(|status| status.success()) {
            eprintln!("namespace {} is left behind", self.0);
        }
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("run ip");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {told} (these tests take root)");
}

/// A host on a cable with its attacker, and a neighbour of the attacker's.
pub(crate) struct World {
    pub(crate) host: Namespace,
    pub(crate) attacker: Namespace,
    listeners: Vec<TcpListener>,
}

impl World {
    /// The host listens at [`GUARDED`] and [`OPEN`], on both families.
    pub(crate) fn new() -> Self {
        let host = Namespace::new("host");
        let attacker = Namespace::new("attacker");
        host.ip(&format!("link add uplink type veth peer name cable netns {}", attacker.0));
        for (host_address, banned, beside) in FAMILIES {
            let length = if host_address.contains(':') { "64 nodad" } else { "24" };
            let length = |address| format!("{address}/{length}");
            host.ip(&format!("address add {} dev uplink", length(host_address)));
            attacker.ip(&format!("address add {} dev cable", length(banned)));
            attacker.ip(&format!("address add {} dev cable", length(beside)));
        }
        host.ip("link set uplink up");
        attacker.ip("link set cable up");
        let listen = |port| TcpListener::bind(("::", port)).expect("listen");
        let listeners = host.run(|| [GUARDED, OPEN].map(listen).into());
        Self { host, attacker, listeners }
    }

    /// What an agent in the host would know of it.
    pub(crate) fn described(&self) -> Host {
        let index = self.host.run(|| {
            let any = socket(AddressFamily::INET, SocketType::DGRAM, None).expect("a socket");
            rustix::net::netdevice::name_to_index(&any, "uplink").expect("uplink")
        });
        let interface = |index, name: &str, kind: &str, loopback| Interface {
            index,
            name: name.to_owned(),
            kind: kind.to_owned(),
            loopback,
            ethernet: !loopback,
            master: None,
            mtu: if loopback { 65_536 } else { 1_500 },
            xdp_program: None,
        };
        Host {
            addresses: HostAddresses {
                own: FAMILIES.map(|(host, _, _)| address(host)).into(),
                gateways: Vec::new(),
                ..HostAddresses::default()
            },
            interfaces: vec![
                interface(1, "lo", "", true),
                interface(index, "uplink", "veth", false),
            ],
        }
    }

    /// Whether a connection from `source` to `port` of `host` is made before the
    /// deadline. The kernel answers for the listener: a connection takes no time of
    /// this process.
    pub(crate) fn connects(&self, source: &str, host: &str, port: u16, within: Duration) -> bool {
        assert!(!self.listeners.is_empty(), "the host listens");
        let (source, host) = (address(source), address(host));
        self.attacker.run(|| {
            let family = if host.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let client = socket(family, SocketType::STREAM, Some(ipproto::TCP)).expect("a socket");
            set_socket_timeout(&client, Timeout::Send, Some(within)).expect("a deadline");
            bind(&client, &SocketAddr::new(source, 0)).expect("the source address");
            connect(&client, &SocketAddr::new(host, port)).is_ok()
        })
    }
}

/// An address from text.
pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// This instant.
pub(crate) fn now() -> Moment {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros();
    let boot = clock_gettime(ClockId::Boottime);
    let nanos = boot.tv_sec * 1_000_000_000 + boot.tv_nsec;
    Moment {
        wall: Timestamp::from_micros(i64::try_from(wall).expect("before the year 290000")),
        boot_nanos: u64::try_from(nanos).expect("after boot"),
    }
}
