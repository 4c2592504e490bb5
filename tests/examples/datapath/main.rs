//! What the data plane costs: `cargo xtask bench datapath`.
//!
//! Input: `--quick`, or nothing; the directory of the documentation, to write there. It
//! makes pairs of network namespaces with a cable between them; a sender of live frames
//! (`BPF_F_TEST_XDP_LIVE_FRAMES`) and the receiver share one core. Output: tables in
//! Markdown and a plot: frames a second that a receiver got rid of, with their ratio to a
//! program that looks at nothing, median of seven interleaved runs with their spread; what
//! a packet costs without any interface (`BPF_PROG_TEST_RUN`); what a guest behind a bridge
//! notices. Guard is as it ships: host scope, ports, ends, counters, loaded with the
//! capabilities of its unit.

mod guest;
mod plot;
mod programs;
mod receivers;
mod report;
mod single;
mod traffic;

use std::path::PathBuf;

use anyhow::Result;
use guard_tests::namespace;

use programs::{Set, Sources};
use receivers::Receiver;
use report::Report;

/// Bans in the large sets, and in the middle one.
const MANY: u32 = 1 << 20;
const SOME: u32 = 1 << 10;

/// How much is measured.
struct Effort {
    /// Interleaved runs of which the median counts.
    runs: usize,
    /// Frames of a run that are dropped in XDP, and of one that meets the host's stack.
    frames: (u32, u32),
    /// Seconds of one transfer to the guest.
    seconds: u32,
}

/// One line of the first table: who receives which frames.
pub(crate) struct Row {
    receiver: usize,
    sources: Sources,
    /// Frames a second of each run.
    rates: Vec<f64>,
}

fn main() -> Result<()> {
    namespace::require_root()?;
    namespace::sweep()?;
    let (mut quick, mut directory) = (false, None);
    for argument in std::env::args().skip(1) {
        if argument == "--quick" { quick = true } else { directory = Some(PathBuf::from(argument)) }
    }
    let effort = if quick {
        Effort { runs: 3, frames: (1 << 18, 1 << 16), seconds: 1 }
    } else {
        Effort { runs: 7, frames: (1 << 20, 1 << 18), seconds: 3 }
    };
    let (receivers, mut rows) = receivers()?;
    for _ in 0..effort.runs {
        for row in &mut rows {
            let receiver = &receivers[row.receiver];
            let meets_stack =
                matches!(row.sources, Sources::Clean) || receiver.name.starts_with("nft");
            let frames = if meets_stack { effort.frames.1 } else { effort.frames.0 };
            row.rates.push(receiver.flood(row.sources, frames, CORE)?);
        }
    }
    let pairs = on_both_cores(effort.runs, effort.frames.0)?;
    let costs = single::costs(&receivers, effort.runs)?;
    let guest = guest::throughput(effort.runs.min(5), effort.seconds)?;
    let report =
        Report { receivers: &receivers, rows: &rows, pairs: &pairs, costs: &costs, guest: &guest };
    let text = report.markdown()?;
    println!("{text}");
    if let Some(directory) = directory {
        report::put_between_marks(&directory.join("benchmarks.md"), &text)?;
        std::fs::write(directory.join("benchmarks-datapath.svg"), plot::svg(&report.bars()))?;
    }
    Ok(())
}

/// The core that sends and receives.
const CORE: usize = 1;

/// Everybody who receives, and what. The first row is the floor.
fn receivers() -> Result<(Vec<Receiver>, Vec<Row>)> {
    let mut receivers = Vec::new();
    let mut rows = Vec::new();
    let mut add = |receiver: Receiver, clean: bool| {
        let number = receivers.len();
        let mut row = |sources| rows.push(Row { receiver: number, sources, rates: Vec::new() });
        if receiver.name != PASSES {
            row(Sources::Banned(receiver.bans.max(1)));
        }
        if clean {
            row(Sources::Clean);
        }
        receivers.push(receiver);
    };
    add(Receiver::constant(FLOOR, 1)?, false);
    for bans in [1, SOME, MANY] {
        add(Receiver::guard(Set::Random, bans)?, true);
    }
    for set in [Set::Consecutive, Set::Stride256, Set::Stride65536] {
        add(Receiver::guard(set, MANY)?, false);
    }
    add(Receiver::guard_hash_map(Set::Random, MANY)?, false);
    add(Receiver::guard_v6(Set::Random, MANY)?, false);
    for bans in [1, SOME] {
        add(Receiver::xdp_filter(Set::Random, bans)?, false);
    }
    for bans in [1, SOME, MANY] {
        add(Receiver::nft(Set::Random, bans, "drop", "nft, `drop`")?, true);
    }
    add(Receiver::nft(Set::Random, SOME, "reject", "nft, `reject`")?, false);
    add(Receiver::constant(PASSES, 2)?, true);
    Ok((receivers, rows))
}

const FLOOR: &str = "XDP, drops without looking (floor)";
const PASSES: &str = "XDP, passes without looking";

/// A receiver on two cores at a time: its words, and the rates of both together.
pub(crate) type Pair = (String, Vec<f64>);

fn on_both_cores(runs: usize, frames: u32) -> Result<Vec<Pair>> {
    let both =
        |make: &dyn Fn() -> Result<Receiver>| -> Result<[Receiver; 2]> { Ok([make()?, make()?]) };
    let floor = both(&|| Receiver::constant(FLOOR, 1))?;
    let few = both(&|| Receiver::guard(Set::Random, SOME))?;
    let mut pairs = Vec::new();
    for [first, second] in [floor, few] {
        let mut rates = Vec::new();
        for _ in 0..runs {
            let sources = Sources::Banned(first.bans.max(1));
            let sum = std::thread::scope(|scope| -> Result<f64> {
                let other = scope.spawn(|| second.flood(sources, frames, 0));
                let rate = first.flood(sources, frames, 1)?;
                Ok(rate + other.join().expect("it does not panic")?)
            })?;
            rates.push(sum);
        }
        pairs.push((format!("{} | {}", first.name, first.bans_in_words()), rates));
    }
    Ok(pairs)
}
