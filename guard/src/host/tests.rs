//! Real interfaces in a namespace of their own, and malformed messages.

use std::fs::File;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use proptest::prelude::*;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::*;
use crate::core::host::Interface;

/// A network namespace that is gone when the test is over.
struct Namespace(String);

impl Namespace {
    fn make(purpose: &str) -> Self {
        let namespace = Self(format!("guard-host-{purpose}-{}", std::process::id()));
        run("ip", &["netns", "add", &namespace.0]);
        namespace
    }

    fn ip(&self, arguments: &str) {
        let arguments: Vec<_> =
            ["-n", &self.0].into_iter().chain(arguments.split_whitespace()).collect();
        run("ip", &arguments);
    }

    /// Runs on a thread inside.
    fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{}", self.0)).expect("the namespace");
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), kind)
                    .expect("entered");
                act()
            });
            thread.join().expect("no panic inside")
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        run("ip", &["netns", "delete", &self.0]);
    }
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().expect("it runs");
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

#[test]
fn a_bridge_a_veth_and_a_tunnel() {
    let namespace = Namespace::make("read");
    let empty = namespace.inside(|| read().expect("read"));
    assert_eq!(empty.interfaces.len(), 1);
    assert!(empty.interfaces[0].loopback && empty.interfaces[0].kind.is_empty());
    assert!(empty.addresses.own.is_empty() && empty.addresses.gateways.is_empty());

    for command in [
        "link set lo up",
        "link add vmbr0 type bridge",
        "link add up0 mtu 1400 type veth peer name far0",
        "link set up0 master vmbr0",
        "link set up0 up",
        "link set far0 up",
        "link set vmbr0 up",
        "tuntap add tun0 mode tun",
        "link set tun0 up",
        "addr add 10.9.0.2/24 dev vmbr0",
        "addr add 2001:db8::2/64 dev vmbr0 nodad",
        "addr add 10.9.1.2 peer 10.9.1.1 dev tun0",
        "route add default via 10.9.0.1",
        "route add 198.51.100.0/24 via 10.9.0.7",
        "-6 route add default via 2001:db8::1 dev vmbr0",
        "-6 route add 2001:db8:1::/48 via 2001:db8::7 dev vmbr0",
        // Another table, and a default route with two next hops.
        "route add default via 10.9.0.8 table 300",
        "route add default metric 9 nexthop via 10.9.0.3 dev vmbr0 nexthop via 10.9.0.4 dev vmbr0",
        "route add default metric 10 via inet6 2001:db8::5 dev vmbr0",
    ] {
        namespace.ip(command);
    }
    let host = namespace.inside(|| read().expect("read"));
    let named = |name: &str| -> &Interface {
        host.interfaces.iter().find(|interface| interface.name == name).expect(name)
    };
    let (bridge, port, tunnel) = (named("vmbr0"), named("up0"), named("tun0"));
    assert_eq!((bridge.kind.as_str(), bridge.ethernet, bridge.master), ("bridge", true, None));
    assert_eq!((port.kind.as_str(), port.mtu, port.master), ("veth", 1400, Some(bridge.index)));
    assert_eq!((tunnel.kind.as_str(), tunnel.ethernet), ("tun", false));
    assert!(host.interfaces.iter().all(|interface| interface.xdp_program.is_none()));
    assert_eq!(host.interfaces.iter().filter(|interface| interface.loopback).count(), 1);

    for own in addresses(&["127.0.0.1", "::1", "10.9.0.2", "2001:db8::2", "10.9.1.2"]) {
        assert!(host.addresses.own.contains(&own), "{own}");
    }
    for not_own in addresses(&["10.9.1.1", "10.9.0.1", "10.9.0.255", "2001:db8::1"]) {
        assert!(!host.addresses.own.contains(&not_own), "{not_own}");
    }
    let gateways = addresses(&["10.9.0.1", "10.9.0.3", "10.9.0.4", "2001:db8::1", "2001:db8::5"]);
    assert_eq!(host.addresses.gateways, gateways);
}

fn in_runtime<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

/// Whether a change waits to be told. What the kernel has queued is seen in the first
/// turn of the runtime, however short the wait.
async fn told(watch: &mut Watch) -> bool {
    tokio::time::timeout(Duration::from_millis(1), watch.changed()).await.is_ok()
}

async fn drain(watch: &mut Watch) {
    while told(watch).await {}
}

#[test]
fn changes_are_told_and_other_peoples_routes_are_not() {
    let namespace = Namespace::make("watch");
    for command in ["link set lo up", "link add br0 type bridge", "link set br0 up"] {
        namespace.ip(command);
    }
    let namespace = &namespace;
    namespace.inside(|| {
        in_runtime(async {
            let mut watch = Watch::open().expect("a socket");
            assert!(!told(&mut watch).await);
            for (command, matters) in [
                ("addr add 10.9.0.2/24 dev br0", true),
                ("route add 198.51.100.0/24 dev br0", false),
                ("route del 198.51.100.0/24 dev br0", false),
                ("route add default via 10.9.0.1 dev br0", true),
                ("route del default via 10.9.0.1 dev br0", true),
                ("link add name br1 type bridge", true),
                ("link set br0 mtu 1400", true),
                ("addr del 10.9.0.2/24 dev br0", true),
            ] {
                namespace.ip(command);
                // The kernel queues the notice before the command is done.
                assert_eq!(told(&mut watch).await, matters, "{command}");
                drain(&mut watch).await;
            }
            let waits = watch.changed();
            let other = async { namespace.ip("addr add 10.9.0.3/24 dev br0") };
            let (told, ()) =
                tokio::join!(tokio::time::timeout(Duration::from_secs(10), waits), other);
            told.expect("in time").expect("told");
        });
    });
}

#[test]
fn notices_that_were_lost_count_as_a_change() {
    let namespace = Namespace::make("overrun");
    namespace.ip("link add br0 type bridge");
    let batch = tempfile::NamedTempFile::new().expect("a file");
    let lines = |verb: &str| -> String {
        (0..600u32)
            .map(|i| format!("addr {verb} 10.9.{}.{}/32 dev br0\n", i / 256, i % 256))
            .collect()
    };
    std::fs::write(batch.path(), lines("add") + &lines("del")).expect("written");
    let (namespace, batch) = (&namespace, batch.path().display().to_string());
    namespace.inside(|| {
        in_runtime(async {
            let mut watch = Watch::open().expect("a socket");
            watch.shrink(4096);
            namespace.ip(&format!("-batch {batch}"));
            let mut times = 0;
            while told(&mut watch).await {
                times += 1;
            }
            assert!((1..1_200).contains(&times), "{times}: some were lost");
            namespace.ip("link set br0 up");
            assert!(told(&mut watch).await, "it goes on listening");
        });
    });
}

#[test]
fn an_attached_program_is_told_by_its_id() {
    // `ifinfomsg`, then IFLA_IFNAME and IFLA_XDP { IFLA_XDP_ATTACHED, IFLA_XDP_PROG_ID }.
    let mut payload = vec![0; 16];
    payload[4] = 3;
    let mut push = |kind: u16, value: &[u8]| {
        let length = u16::try_from(4 + value.len()).expect("short");
        payload.extend(length.to_ne_bytes());
        payload.extend(kind.to_ne_bytes());
        payload.extend(value);
        payload.resize(payload.len().next_multiple_of(4), 0);
    };
    push(libc::IFLA_IFNAME, b"eth0\0");
    let id = 77u32.to_ne_bytes();
    let nested = [&[5, 0, 2, 0, 1, 0, 0, 0, 8, 0, 4, 0][..], &id].concat();
    push(libc::IFLA_XDP | 0x8000, &nested);
    let interface = parse::interface(&payload).expect("an interface");
    assert_eq!((interface.index, interface.name.as_str()), (3, "eth0"));
    assert_eq!(interface.xdp_program, Some(77));
}

#[test]
fn clocks_and_boot() {
    let (wall, boot) = now();
    let (later_wall, later_boot) = now();
    assert!(later_boot >= boot && boot > 0);
    assert!(wall.seconds() > 1_700_000_000 && later_wall.seconds() - wall.seconds() < 60);
    let id = boot_id().expect("an id");
    assert_eq!(id, boot_id().expect("an id"));
    assert_ne!(id, [0; 16]);
}

proptest! {
    #[test]
    fn no_message_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let _ = parse::interface(&bytes);
        let _ = parse::own_address(&bytes);
        parse::gateways(&bytes, &mut Vec::new());
        prop_assert!(netlink::messages(&bytes).count() <= bytes.len() / 16);
    }
}
