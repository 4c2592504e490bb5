//! What single packets cost, without any interface (`BPF_PROG_TEST_RUN`).

use anyhow::{Context, Result};
use aya::programs::{TestRun, TestRunOptions};
use guard_tests::pinned::Pinned;

use crate::programs::{self, CLEAN};
use crate::receivers::Receiver;
use crate::traffic::{PORT, median, packet};

/// The same packet again and again.
const REPEAT: u32 = 1 << 18;
/// Packets from different sources, one by one.
const SINGLE: u32 = 2_000;

/// Nanoseconds of one packet that is clean, banned, for another port, from the neighbour of
/// a banned address; and of a banned one when each has another source.
pub(crate) struct Costs {
    pub(crate) name: String,
    pub(crate) nanos: [f64; 5],
}

/// What the columns of [`Costs`] are.
pub(crate) const KINDS: [&str; 5] = ["clean", "banned", "other port", "neighbour", "banned, cold"];

/// Medians of so many interleaved runs. The first is a program that passes without looking.
pub(crate) fn costs(receivers: &[Receiver], runs: usize) -> Result<Vec<Costs>> {
    let mut pass = programs::constant(2)?;
    let pass = programs::program(&mut pass)?;
    let once = |frame: &[u8], repeat| -> Result<f64> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        Ok(pass.test_run(options)?.duration.as_nanos() as f64)
    };
    let guards: Vec<&Receiver> = receivers.iter().filter(|it| it.guard.is_some()).collect();
    let mut rows = vec![("passes without looking".to_owned(), Vec::<[f64; 5]>::new())];
    for receiver in &guards {
        rows.push((format!("{}, {}", receiver.name, receiver.bans_in_words()), Vec::new()));
    }
    for _ in 0..runs {
        let alone = once(&packet(guards[0].family, 1, PORT)?, REPEAT)?;
        rows[0].1.push([alone; 5]);
        for (receiver, row) in guards.iter().zip(&mut rows[1..]) {
            let pinned = &receiver.guard.as_ref().context("it is guard")?.pinned;
            let time = |source, port| -> Result<f64> {
                let frame = packet(receiver.family, source, port)?;
                Ok(pinned.run(&frame, REPEAT)?.1.as_nanos() as f64)
            };
            let banned = receiver.set.address(receiver.bans / 2);
            row.1.push([
                time(receiver.set.address(CLEAN | 12_345), PORT)?,
                time(banned, PORT)?,
                time(banned, PORT + 1)?,
                time(banned ^ 0x4000_0000, PORT)?,
                cold(pinned, receiver, &once)?,
            ]);
        }
    }
    let costs = |(name, figures): (String, Vec<[f64; 5]>)| {
        let column = |place| median(&figures.iter().map(|row| row[place]).collect::<Vec<_>>());
        Costs { name, nanos: std::array::from_fn(column) }
    };
    Ok(rows.into_iter().map(costs).collect())
}

/// Single runs, less what starting and stopping the clock takes.
fn cold(
    pinned: &Pinned,
    receiver: &Receiver,
    once: &impl Fn(&[u8], u32) -> Result<f64>,
) -> Result<f64> {
    let (mut ours, mut nothing) = (Vec::new(), Vec::new());
    for number in 0..SINGLE {
        let number = number.wrapping_mul(0x9e37_79b1) % receiver.bans;
        let frame = packet(receiver.family, receiver.set.address(number), PORT)?;
        ours.push(pinned.run(&frame, 1)?.1.as_nanos() as f64);
        nothing.push(once(&frame, 1)?);
    }
    Ok(median(&ours) - median(&nothing))
}
