//! From the return of the write of the third failure to the first dropped probe.
//!
//! Half of guard's bans come from failures back to back, half with pauses of 0.5 to 5 s
//! on an otherwise quiet journal. Each ban is of an attacker of its own. The failures go
//! through a pipe into a unit whose output journald takes, as those of a daemon do.

use std::time::Duration;

use anyhow::{Context, Result};

use super::figures::{Goal, Samples, millis};
use super::rig::Rig;

/// The goals, in milliseconds.
const MEDIAN: f64 = 25.0;
const HIGH: f64 = 60.0;
/// Fail2Ban's attackers begin here, so that they are none of guard's.
const PEER_FIRST: usize = 30_000;
/// Say how far it is each so many bans.
const PROGRESS: usize = 20;

pub(super) fn measure(rig: &mut Rig, bans: usize, peer_bans: usize) -> Result<Vec<Goal>> {
    let (quick, slow) = (bans.div_ceil(2), bans / 2);
    let mut pauses = Pauses::default();
    let back_to_back = series(rig, "guard, back to back", 0, quick, || [Duration::ZERO; 2])?;
    let with_gaps = series(rig, "guard, with gaps", quick, slow, || pauses.pair())?;
    let peer = if peer_bans > 0 {
        rig.change_to_peer()?;
        series(rig, "Fail2Ban", PEER_FIRST, peer_bans, || [Duration::ZERO; 2])?
    } else {
        Vec::new()
    };

    let all = Samples::new([back_to_back.as_slice(), with_gaps.as_slice()].concat());
    let peer = Samples::new(peer);
    println!("\nFrom the third failure written to the first dropped probe (1 kHz)\n");
    println!("{}", Samples::header());
    println!("{}", Samples::new(back_to_back).line("guard, back to back"));
    println!("{}", Samples::new(with_gaps).line("guard, with gaps"));
    println!("{}", all.line("guard, all"));
    println!("{}\n", peer.line("Fail2Ban, back to back"));

    let in_millis =
        |samples: &Samples, percent| samples.percentile(percent).map(|it| it.as_secs_f64() * 1e3);
    let median = in_millis(&all, 50).context("no bans were measured")?;
    let high = in_millis(&all, 99).context("no bans were measured")?;
    Ok(vec![
        Goal::at_most("median", "ms", median, MEDIAN, in_millis(&peer, 50)),
        Goal::at_most("p99", "ms", high, HIGH, in_millis(&peer, 99)),
    ])
}

fn series(
    rig: &Rig,
    name: &str,
    first: usize,
    count: usize,
    mut pauses: impl FnMut() -> [Duration; 2],
) -> Result<Vec<Duration>> {
    let mut latencies = Vec::with_capacity(count);
    for number in 0..count {
        let attacker = Rig::attacker(first + number)?;
        let latency = rig
            .ban_and_probe(attacker, pauses())
            .with_context(|| format!("{name}: ban {} of {count}", number + 1))?
            .latency();
        latencies.push(latency);
        if (number + 1) % PROGRESS == 0 || number + 1 == count {
            println!("{name}: {} of {count} bans, the last in {}", number + 1, millis(latency));
        }
    }
    Ok(latencies)
}

/// Pauses of 0.5 to 5 s, the same in each run (a linear congruential generator).
#[derive(Debug, Default)]
struct Pauses(u64);

impl Pauses {
    fn pair(&mut self) -> [Duration; 2] {
        [self.one(), self.one()]
    }

    fn one(&mut self) -> Duration {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_millis(500 + (self.0 >> 33) % 4501)
    }
}
