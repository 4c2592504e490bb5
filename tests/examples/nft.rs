//! What many bans cost through nftables: `cargo xtask bench nft`.
//!
//! Ours and `nft -f` with the same addresses, by turns, each time in a new network
//! namespace. Output, a line each: who, what, and the milliseconds of every run, sorted.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use guard::core::delta::{Ban, Delta, JailPorts, Snapshot};
use guard::core::jail::{JailId, JailName};
use guard::core::ports::{Ports, Protocols};
use guard::core::reason::Reason;
use guard::core::time::Timestamp;
use guard::enforce::nft::Nft;
use guard::enforce::{Enforcer, Moment};
use guard_tests::namespace::{self, Namespace};

/// Bans that come at once.
const MANY: u32 = 100_000;
/// Bans that come one by one, after those.
const SINGLE: u32 = 21;
/// Runs of each.
const RUNS: usize = 7;

const NOW: Moment = Moment { wall: Timestamp::from_seconds(1_800_000_000), boot_nanos: 0 };

/// Milliseconds by who and what.
#[derive(Default)]
struct Times(Vec<(&'static str, &'static str, Vec<f64>)>);

impl Times {
    fn take<T>(
        &mut self,
        who: &'static str,
        what: &'static str,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let start = Instant::now();
        let result = work()?;
        let millis = start.elapsed().as_secs_f64() * 1e3;
        match self.0.iter_mut().find(|row| (row.0, row.1) == (who, what)) {
            Some(row) => row.2.push(millis),
            None => self.0.push((who, what, vec![millis])),
        }
        Ok(result)
    }
}

fn main() -> Result<()> {
    namespace::require_root()?;
    namespace::sweep()?;
    let mut times = Times::default();
    for _ in 0..RUNS {
        ours(&mut times)?;
        peer(&mut times)?;
    }
    for (who, what, mut millis) in times.0 {
        millis.sort_unstable_by(f64::total_cmp);
        let millis: Vec<String> = millis.iter().map(|one| format!("{one:.3}")).collect();
        println!("{who}\t{what}\t{}", millis.join(" "));
    }
    Ok(())
}

fn ours(times: &mut Times) -> Result<()> {
    let bans: Vec<Ban> = (0..MANY).map(ban).collect();
    let empty = snapshot(Vec::new())?;
    let full = snapshot(bans.clone())?;
    let namespace = Namespace::new("nft")?;
    namespace.run(|| {
        let mut nft = Nft::open()?;
        nft.replace(&empty, NOW)?;
        let deltas: Vec<Delta> = bans.iter().copied().map(Delta::Ban).collect();
        times.take("guard", "100,000 bans", || Ok(nft.apply(&deltas, NOW)?))?;
        for number in MANY..MANY + SINGLE {
            let one = [Delta::Ban(ban(number))];
            times.take("guard", "one ban more", || Ok(nft.apply(&one, NOW)?))?;
        }
        let held = times.take("guard", "reading 100,021 bans", || Ok(nft.held(NOW)?.len()))?;
        ensure!(held == (MANY + SINGLE) as usize, "{held} bans are in force");
        times.take("guard", "100,000 instead of 100,021", || Ok(nft.replace(&full, NOW)?))?;
        let unban = |ban: &Ban| Delta::Unban { jail: ban.jail, source: ban.source };
        let unbans: Vec<Delta> = bans.iter().map(unban).collect();
        times.take("guard", "100,000 unbans", || Ok(nft.apply(&unbans, NOW)?))?;
        times.take("guard", "100,000 instead of none", || Ok(nft.replace(&full, NOW)?))?;
        ensure!(nft.held(NOW)?.len() == bans.len(), "not all bans are in force");
        Ok(())
    })
}

fn peer(times: &mut Times) -> Result<()> {
    let namespace = Namespace::new("nft-peer")?;
    let empty = snapshot(Vec::new())?;
    namespace.run(|| Ok(Nft::open()?.replace(&empty, NOW)?))?;
    let list: Vec<String> = (0..MANY).map(|number| address(number).to_string()).collect();
    let add = |list: &str| format!("add element inet f2b-table addr-set-sshd {{ {list} }}\n");
    let all = add(&list.join(", "));
    times.take("nft -f", "100,000 bans", || script(&namespace, &all))?;
    for number in MANY..MANY + SINGLE {
        let one = add(&address(number).to_string());
        times.take("nft -f", "one ban more", || script(&namespace, &one))?;
    }
    Ok(())
}

fn script(namespace: &Namespace, text: &str) -> Result<()> {
    let mut nft = namespace.command("nft");
    let mut nft = nft.args(["-f", "-"]).stdin(Stdio::piped()).spawn().context("start nft")?;
    nft.stdin.take().context("its input")?.write_all(text.as_bytes())?;
    ensure!(nft.wait()?.success(), "nft refused");
    Ok(())
}

/// Addresses spread over all of IPv4; different ones, for the factor is odd.
fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(number.wrapping_mul(2_654_435_761))
}

fn ban(number: u32) -> Ban {
    Ban {
        jail: JailId(0),
        source: address(number).into(),
        since: NOW.wall,
        until: None,
        reason: Reason::Manual { forced: false },
    }
}

fn snapshot(bans: Vec<Ban>) -> Result<Snapshot> {
    let name = JailName::new("sshd")?;
    let jail = JailPorts { name, ports: Ports::new(Protocols::Tcp, [22..=22]) };
    Ok(Snapshot { serial: 1, jails: vec![jail], bans, ..Snapshot::default() })
}
