//! Prints what a packet costs in each program: `cargo run --release --example nanoseconds`
//! (as root). The best of seven runs of a million.

use std::net::IpAddr;

use guard_tests::packets::{Packet, World};
use guard_tests::test_run::{Loaded, Program, boot_nanos};

fn main() -> anyhow::Result<()> {
    let mut loaded = Loaded::new(1024)?;
    let world = World::at(boot_nanos())?;
    let packet = |source: &str, port| -> anyhow::Result<Packet> {
        let source: IpAddr = source.parse()?;
        Ok(Packet { source: Some(source), port: Some(port), ..Packet::default() })
    };
    let kinds = [
        ("clean", packet("203.0.113.8", 22)?),
        ("clean IPv6", packet("2001:db8:bad::8", 22)?),
        ("other port", packet("203.0.113.9", 23)?),
        ("ended", packet("203.0.113.50", 22)?),
        ("dropped", packet("203.0.113.9", 22)?),
        ("dropped IPv6", packet("2001:db8:bad::9", 22)?),
    ];
    let with_prefixes = [
        ("clean", packet("203.0.113.8", 22)?),
        ("clean IPv6", packet("2001:db8:bad::8", 22)?),
        ("dropped", packet("203.0.113.9", 22)?),
        ("in a prefix", packet("192.0.2.1", 22)?),
        ("IPv6 prefix", packet("2001:db8:aaaa:1::1", 22)?),
    ];
    println!("no prefix banned:");
    let mut without = world.clone();
    without.nets.clear();
    loaded.fill(&without)?;
    print(&mut loaded, &kinds)?;
    println!("a few prefixes banned:");
    loaded.fill(&world)?;
    print(&mut loaded, &with_prefixes)
}

fn print(loaded: &mut Loaded, kinds: &[(&str, Packet)]) -> anyhow::Result<()> {
    for program in Program::ALL {
        for (name, packet) in kinds {
            let bytes = match program {
                Program::TcxIp => packet.ip()?,
                _ => packet.ethernet()?,
            };
            let mut best = u128::MAX;
            for _ in 0..7 {
                best = best.min(loaded.time(program, &bytes, 1_000_000)?.as_nanos());
            }
            println!("{:16} {name:12} {best:4} ns", program.name());
        }
    }
    Ok(())
}
