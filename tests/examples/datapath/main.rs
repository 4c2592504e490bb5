//! What the data plane costs: `cargo xtask bench datapath`.
//!
//! Input: none; it makes two network namespaces with a cable between them. A sender of
//! live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`) and the receiver share one core. Output: a
//! table in Markdown: frames a second that a receiver got rid of, median of seven
//! interleaved runs with their spread, and what a packet costs without any interface
//! (`BPF_PROG_TEST_RUN`). Everything is ours as it ships: host scope, ports, ends,
//! counters.

mod programs;
mod receivers;
mod traffic;

use anyhow::Result;
use guard_tests::namespace;

use programs::Set;
use receivers::Receiver;
use traffic::Cable;

/// Interleaved runs of which the median counts.
const RUNS: usize = 7;
/// Bans in the large sets, and in the middle one.
const MANY: u32 = 1 << 20;
const SOME: u32 = 1 << 10;

fn main() -> Result<()> {
    namespace::require_root()?;
    namespace::sweep()?;
    let cable = Cable::new()?;
    let mut receivers = vec![Receiver::floor()?];
    for (set, count) in [(Set::Random, 1), (Set::Random, SOME)] {
        receivers.push(Receiver::hash_map(set, count)?);
        receivers.push(Receiver::table(set, count)?);
    }
    for set in Set::ALL {
        receivers.push(Receiver::hash_map(set, MANY)?);
        receivers.push(Receiver::table(set, MANY)?);
    }
    for _ in 0..RUNS {
        for receiver in &mut receivers {
            let rate = cable.flood(receiver)?;
            receiver.rates.push(rate);
        }
    }
    println!("| receiver | bans | Mpps (least–most) | of the floor | bytes a ban | loaded in |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let floor = traffic::median(&receivers[0].rates);
    for receiver in &receivers {
        println!("{}", receiver.row(floor)?);
    }
    println!();
    println!("| program | bans | clean | banned | other port | neighbour | banned, cold |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for line in traffic::nanoseconds(&mut receivers, RUNS)? {
        println!("{line}");
    }
    Ok(())
}
