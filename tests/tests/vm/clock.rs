//! Bans end when they should whatever happens to the wall clock: a machine of one's own is
//! where it can be set.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use guard::enforce::Enforcer;
use guard_tests::deadline::wait_until;
use guard_tests::lan::{ATTACKER, HOST, NEIGHBOUR};
use guard_tests::probe::{self, Answer, GLANCE};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use crate::bed::{Bed, Opens, SSH, assert_open, assert_silent, ban, now, snapshot};

const DAY: i64 = 86_400;

fn step(seconds: i64) -> Result<()> {
    let time = clock_gettime(ClockId::Realtime);
    let time = Timespec { tv_sec: time.tv_sec + seconds, ..time };
    clock_settime(ClockId::Realtime, time).context("set the clock")
}

#[test]
fn bans_end_on_time_across_steps_of_the_wall_clock_without_the_agent() -> Result<()> {
    std::env::var("GUARD_KERNEL").context("sets the clock: only in a machine of its own")?;
    let bed = Bed::new()?;
    let (mut xdp, followed) = bed.open(bed.bpffs.options())?;
    followed?;
    let length = Duration::from_secs(8);
    let start = Instant::now();
    xdp.replace(&snapshot(vec![ban(0, ATTACKER, Some(length)), ban(0, NEIGHBOUR, None)]), now())?;
    drop(xdp);
    for seconds in [DAY, -2 * DAY, DAY] {
        step(seconds)?;
        assert_silent(&bed.lan.outside, ATTACKER, HOST, SSH)?;
    }
    ensure!(start.elapsed() < length, "the machine is too slow for this test");
    wait_until("the end of the ban", length * 3, || {
        let to = std::net::SocketAddr::new(HOST, SSH);
        let answer = probe::connect(&bed.lan.outside, ATTACKER, to, GLANCE)?;
        Ok(answer == Answer::Connected)
    })?;
    ensure!(start.elapsed() >= length, "let out early");
    assert_silent(&bed.lan.outside, NEIGHBOUR, HOST, SSH)?;
    // Adopted after a step, what is left is what should be.
    step(DAY)?;
    let (mut xdp, followed) = bed.open(bed.bpffs.options())?;
    followed?;
    let held = crate::bed::held(&mut xdp)?;
    step(-DAY)?;
    ensure!(held == [format!("sshd {NEIGHBOUR}")], "{held:?}");
    assert_open(&bed.lan.outside, ATTACKER, HOST, SSH)
}
