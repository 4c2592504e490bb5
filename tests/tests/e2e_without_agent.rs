//! What becomes of bans while the agent is dead, and what `guardctl` does then.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use guard_tests::deadline::wait_until;
use guard_tests::installed::{Installed, UNIT};
use guard_tests::lan::{ATTACKER, ATTACKER_V6, NEIGHBOUR};
use guard_tests::probe::{self, Answer};
use guard_tests::root::Suite;

const SSH: u16 = 22;

/// `guard-expire.timer` looks every 30 s, and the machine may be busy.
const TIMER: Duration = Duration::from_secs(120);

#[test]
fn bans_in_nft_end_while_the_agent_is_dead_and_masked() -> Result<()> {
    let guarded = Installed::booted(Suite::Bookworm, "nft")?;
    guarded.guardctl(&["ban", "sshd", "10.3.0.1", "fd03::1", "--time", "10"])?;
    guarded.guardctl(&["ban", "sshd", "10.3.0.2", "--time", "1h"])?;
    guarded.host.exec(&["systemctl", "mask", UNIT])?;
    guarded.host.exec(&["systemctl", "kill", "--kill-whom=main", "--signal=KILL", UNIT])?;
    wait_until("the agent is dead", TIMER, || Ok(guarded.main_pid()? == 0))?;
    let table = || guarded.host.exec(&["nft", "list", "table", "inet", "f2b-table"]);
    wait_until("the ended bans are gone from nft", TIMER, || {
        let table = table()?;
        Ok(!table.contains("10.3.0.1") && !table.contains("fd03::1"))
    })
    .with_context(|| table().unwrap_or_default())?;
    ensure!(guarded.main_pid()? == 0, "the agent did it");
    guarded.reaches(ATTACKER, SSH)?;
    guarded.reaches(ATTACKER_V6, SSH)?;
    ensure!(table()?.contains("10.3.0.2"), "an hour is not over");
    guarded.wait_until_cut_off(NEIGHBOUR, SSH)?;

    // While the agent runs, it is left alone; and nothing is made that others removed.
    guarded.host.exec(&["nft", "delete", "table", "inet", "f2b-table"])?;
    guarded.guardctl(&["expire"])?;
    ensure!(table().is_err(), "made anew");
    guarded.host.exec(&["systemctl", "unmask", UNIT])?;
    guarded.host.exec(&["systemctl", "start", UNIT])?;
    guarded.wait_until_active()?;
    guarded.wait_for_bans(&["sshd 10.3.0.2"])?;
    ensure!(guarded.guardctl(&["expire"])?.is_empty(), "an agent runs");
    guarded.wait_for_bans(&["sshd 10.3.0.2"])
}

/// An agent that hangs is no agent: whoever is locked out gets in by what `guardctl` says.
#[test]
fn an_agent_that_hangs_keeps_nobody_out() -> Result<()> {
    let guarded = Installed::booted(Suite::Trixie, "xdp")?;
    guarded.guardctl(&["ban", "sshd", "10.3.0.1"])?;
    guarded.wait_until_cut_off(ATTACKER, SSH)?;
    let hang = || guarded.host.exec(&["systemctl", "kill", "--signal=STOP", UNIT]);

    // The watchdog has it replaced, and the one after it does what is ordered.
    let before = guarded.main_pid()?;
    hang()?;
    wait_until("another agent unbans", TIMER, || {
        let output = guarded.host.exec_output(&["guardctl", "unban", "--all"])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // It says why it could not.
        ensure!(output.status.success() || said.contains("the agent"), "{output:?}");
        Ok(output.status.success())
    })?;
    guarded.wait_until_active()?;
    ensure!(guarded.main_pid()? != before, "the same agent");
    guarded.reaches(ATTACKER, SSH)?;

    // Nor does it hold up whoever wants to be rid of it at once.
    guarded.guardctl(&["ban", "sshd", "10.3.0.1"])?;
    guarded.wait_until_cut_off(ATTACKER, SSH)?;
    hang()?;
    guarded.host.exec(&["systemctl", "stop", UNIT])?;
    ensure!(guarded.guardctl(&["unban", "--all"])? == "1\n");
    guarded.reaches(ATTACKER, SSH)?;
    ensure!(!guarded.guardctl(&["detach"])?.is_empty(), "nothing was there");
    guarded.host.exec(&["systemctl", "start", UNIT])?;
    guarded.wait_until_active()?;
    guarded.wait_for_bans(&[])?;
    guarded.reaches(ATTACKER, SSH)
}

#[test]
fn detached_from_xdp_it_stays_so() -> Result<()> {
    detached_it_stays_so("xdp", "native XDP on interface ")
}

#[test]
fn detached_from_nft_it_stays_so() -> Result<()> {
    detached_it_stays_so("nft", "nft table inet f2b-table")
}

fn detached_it_stays_so(backend: &str, trace: &str) -> Result<()> {
    let guarded = Installed::booted(Suite::Bookworm, backend)?;
    guarded.guardctl(&["ban", "sshd", "10.3.0.1"])?;
    guarded.wait_until_cut_off(ATTACKER, SSH)?;
    let refused = guarded.host.exec_output(&["guardctl", "detach"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(1) && said.contains("systemctl stop guard"), "{said}");
    guarded.host.exec(&["systemctl", "stop", UNIT])?;
    let foretold = guarded.guardctl(&["detach", "--dry-run"])?;
    ensure!(foretold.contains(&format!("would remove {trace}")), "{foretold}");
    guarded.wait_until_cut_off(ATTACKER, SSH)?;

    let told = guarded.guardctl(&["detach"])?;
    ensure!(told == foretold.replace("would remove", "removed"), "{told}");
    guarded.reaches(ATTACKER, SSH)?;
    let tables = guarded.host.exec(&["nft", "list", "tables"])?;
    ensure!(!tables.contains("f2b-table"), "{tables}");
    let pins = guarded.host.exec(&["find", "/run/guard/bpf", "-mindepth", "1"])?;
    ensure!(pins.lines().all(|pin| pin.contains(".debug")), "{pins}");
    ensure!(guarded.guardctl(&["detach"])?.is_empty(), "nothing is left");

    // The next start, and the one of a new boot, change nothing; the bans are known.
    guarded.host.exec(&["systemctl", "start", UNIT])?;
    guarded.wait_until_active()?;
    guarded.reaches(ATTACKER, SSH)?;
    let bans = guarded.guardctl(&["bans", "list", "--json"])?;
    ensure!(bans.contains("\"enforced\": false") || bans.contains("\"enforced\":false"), "{bans}");
    ensure!(bans.contains("guardctl attach"), "it is told why: {bans}");
    let status = guarded.guardctl(&["status", "--json"])?;
    ensure!(status.contains("detached by"), "{status}");

    guarded.guardctl(&["attach"])?;
    guarded.host.exec(&["systemctl", "restart", UNIT])?;
    guarded.wait_until_active()?;
    guarded.wait_for_bans(&["sshd 10.3.0.1"])?;
    guarded.wait_until_cut_off(ATTACKER, SSH)?;
    let to = std::net::SocketAddr::new(guard_tests::lan::HOST, SSH);
    let answer = probe::connect(&guarded.host.lan.outside, NEIGHBOUR, to, probe::PATIENCE)?;
    ensure!(answer == Answer::Connected, "the neighbour: {answer}");
    Ok(())
}
