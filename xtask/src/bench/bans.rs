//! One request with many addresses, until the kernel holds them all.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use guard_tests::command;
use guard_tests::deadline::wait_until;

use super::figures::Goal;
use super::rig::Rig;

/// The goal, in seconds for 100,000 addresses.
const GOAL: f64 = 1.0;
const GOAL_COUNT: f64 = 100_000.0;
/// How long Fail2Ban may take.
const PEER_PATIENCE: Duration = Duration::from_secs(300);
/// Addresses in one of Fail2Ban's commands.
const PEER_CHUNK: usize = 500;

pub(super) fn measure(rig: &mut Rig, count: usize, peer_count: usize) -> Result<Vec<Goal>> {
    let addresses = addresses(count);
    let seconds = ours(rig, &addresses)?;
    let per_goal = seconds * GOAL_COUNT / as_float(count)?;
    println!("guard: {count} bans in {seconds:.3} s");
    let peer = if peer_count > 0 {
        rig.change_to_peer()?;
        let seconds = theirs(rig, &addresses[..peer_count.min(count)])?;
        let rate = as_float(peer_count)? / seconds;
        println!("Fail2Ban: {peer_count} bans in {seconds:.3} s, {rate:.0}/s");
        Some(GOAL_COUNT / rate)
    } else {
        None
    };
    Ok(vec![Goal::at_most("100,000 bans", "s", per_goal, GOAL, peer)])
}

/// From the start of the command until it answers, which it does when the bans are
/// stored and in the kernel; the kernel is asked afterwards.
fn ours(rig: &Rig, addresses: &[Ipv4Addr]) -> Result<f64> {
    let host = &rig.guarded.host;
    let mut ban = host.command("guardctl")?;
    ban.args(["ban", "proxmox", "-"]);
    let input: String = addresses.iter().map(|address| format!("{address}\n")).collect();
    let start = Instant::now();
    let answer = command::finish_with_input(ban, input.as_bytes())?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(answer.trim() == addresses.len().to_string(), "guardctl ban answered {answer:?}");
    let listed: BTreeSet<String> = rig.guarded.bans()?.into_iter().collect();
    for address in addresses {
        ensure!(listed.contains(&format!("proxmox {address}")), "{address} is not listed");
    }
    Ok(seconds)
}

/// From the start of the first command until the set holds them all.
fn theirs(rig: &Rig, addresses: &[Ipv4Addr]) -> Result<f64> {
    let host = &rig.guarded.host;
    let start = Instant::now();
    for chunk in addresses.chunks(PEER_CHUNK) {
        let mut ban = host.command("fail2ban-client")?;
        ban.args(["set", "proxmox", "banip"]);
        ban.args(chunk.iter().map(Ipv4Addr::to_string));
        command::finish(ban)?;
    }
    wait_until("Fail2Ban's set holds all", PEER_PATIENCE, || {
        let list = ["nft", "--json", "list", "set", "inet", "f2b-table", "addr-set-proxmox"];
        let output = host.exec_output(&list)?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(addresses.iter().all(|address| text.contains(&format!("\"{address}\""))))
    })?;
    Ok(start.elapsed().as_secs_f64())
}

/// Distinct addresses all over 11.0.0.0 to 74.255.255.255, the same in each run.
pub(super) fn addresses(count: usize) -> Vec<Ipv4Addr> {
    // An odd multiplier permutes the numbers below a power of two.
    let first = u32::from(Ipv4Addr::new(11, 0, 0, 0));
    (0u32..)
        .map(|number| number.wrapping_mul(2_654_435_761) % (1 << 30))
        .map(|spread| Ipv4Addr::from(first + spread))
        .take(count)
        .collect()
}

fn as_float(count: usize) -> Result<f64> {
    Ok(f64::from(u32::try_from(count).context("more than four billion bans")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_distinct_and_public() {
        let addresses = addresses(100_000);
        let distinct: BTreeSet<_> = addresses.iter().collect();
        assert_eq!(distinct.len(), 100_000);
        assert!(addresses.iter().all(|it| !it.is_private() && !it.is_loopback()));
    }
}
