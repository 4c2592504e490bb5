//! Another configuration for the running agent: all of it, or nothing.

use guard_tests::flood::{Flooded, flooded};
use rustix::mount::UnmountFlags;

use super::counted::counters;
use super::*;

const ALTERNATE: u16 = 2222;

fn jail(name: &str, port: u16) -> String {
    format!(
        "[{name}]\nenabled = true\nbackend = systemd\nfilter = sshd\nport = {port}\nmaxretry = 3\n"
    )
}

/// What `guardctl reload` says when it refuses.
fn refusal(world: &World<'_>) -> Result<String> {
    let output = world.agent.guardctl_output(&["reload"])?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn xdp_bans_and_counters_of_kept_jails_stay() -> Result<()> {
    bans_and_counters_of_kept_jails_stay("xdp")
}

#[test]
fn nft_bans_and_counters_of_kept_jails_stay() -> Result<()> {
    bans_and_counters_of_kept_jails_stay("nft")
}

fn bans_and_counters_of_kept_jails_stay(backend: &str) -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, backend)?;
    let _alternate = Service::listen(&lan.host, ALTERNATE)?;
    world.agent = world.agent.limit("tracked-failures", "2").limit("connections", "2");
    world.agent.start()?;
    let pid = world.agent.pid();
    // Forgotten for the attacker's second failure.
    world.sshd_failures(NEIGHBOUR_V6, 1)?;
    world.sshd_failures(ATTACKER, 3)?;
    world.sshd_failures(NEIGHBOUR, 2)?;
    world.agent.guardctl(&["ban", "proxmox", &ATTACKER_V6.to_string()])?;
    world.agent.wait_for_log(&format!("[sshd] Ban {ATTACKER}"), PATIENCE)?;
    wait_until("two failures are found", PATIENCE, || {
        Ok(world.log_count(&format!("[sshd] Found {NEIGHBOUR} - "))? == 2)
    })?;
    world.wait_for_answer(ATTACKER, SSH, false)?;
    world.wait_for_answer(ATTACKER, ALTERNATE, true)?;
    world.wait_for_answer(ATTACKER_V6, PROXMOX, false)?;

    if backend == "xdp" {
        let pin = world.agent.path("bpf/maps-v5/META");
        std::fs::remove_file(&pin)?;
        world.agent.wait_for_log("the pin of map META was gone; put right", PATIENCE)?;
    }
    let before = counters(&world.agent)?;
    let kept = |series: &str| before.get(series).copied().unwrap_or_default();
    ensure!(kept("guard_sources_evicted_total{jail=\"sshd\"}") == 1.0, "{before:?}");
    ensure!(kept("guard_connections_evicted_total{jail=\"sshd\"}") > 0.0, "{before:?}");
    ensure!(kept("guard_repairs_total") == f64::from(u8::from(backend == "xdp")), "{before:?}");

    // One jail guards other ports, one goes, one comes.
    world.agent.write("jail.d/01_sshd.conf", &jail("sshd", ALTERNATE))?;
    world.agent.write("jail.d/02_proxmox.conf", "")?;
    world.agent.write("jail.d/03_late.conf", &jail("late", 80))?;
    let said = world.agent.guardctl(&["reload"])?;
    ensure!(said == "kept: sshd\nstarted: late\nstopped, with all their bans: proxmox\n", "{said}");
    ensure!(world.agent.pid() == pid);
    let after = counters(&world.agent)?;
    for (series, count) in before.iter().filter(|(series, _)| !series.contains("\"proxmox\"")) {
        ensure!(after.get(series) >= Some(count), "{series} was {count}: {after:?}");
    }
    // In force when it is answered, for bans that were there before too.
    ensure!(world.answer(ATTACKER, ALTERNATE)? != Answer::Connected);
    ensure!(world.answer(ATTACKER, SSH)? == Answer::Connected);
    ensure!(world.answer(ATTACKER_V6, PROXMOX)? == Answer::Connected);
    ensure!(world.answer(NEIGHBOUR, ALTERNATE)? == Answer::Connected);
    // The third failure, counted with the two from before.
    world.sshd_failures(NEIGHBOUR, 1)?;
    world.agent.wait_for_log(&format!("[sshd] Ban {NEIGHBOUR}"), PATIENCE)?;
    world.wait_for_answer(NEIGHBOUR, ALTERNATE, false)?;
    ensure!(world.log_count(&format!("[late] Found {NEIGHBOUR} - "))? == 1);
    ensure!(world.log_count("Restore Ban")? == 0, "{}", world.agent.log()?);
    // What ended does not come back with its jail.
    world.agent.write("jail.d/02_proxmox.conf", &jail("proxmox", PROXMOX))?;
    let said = world.agent.guardctl(&["reload"])?;
    ensure!(said == "kept: sshd, late\nstarted: proxmox\n", "{said}");
    ensure!(world.answer(ATTACKER_V6, PROXMOX)? == Answer::Connected);
    world.agent.stop()
}

#[test]
fn nothing_of_a_broken_configuration_is_in_force() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "null")?;
    world.agent.start()?;
    world.sshd_failures(ATTACKER, 2)?;
    wait_until("two failures are found", PATIENCE, || {
        Ok(world.log_count(&format!("[sshd] Found {ATTACKER} - "))? == 2)
    })?;
    world.agent.write("filter.d/broken.conf", "[Definition]\nfailregex = ^oops( <HOST>$\n")?;
    for (filter, port, named) in [
        ("absent", "1", "absent"),
        ("sshd", "nosuchservice", "50_new.conf:7"),
        ("broken", "1", "broken.conf:2"),
    ] {
        let new =
            format!("[new]\nenabled = true\nbackend = systemd\nfilter = {filter}\nport = {port}\n");
        world.agent.write("jail.d/50_new.conf", &format!("[sshd]\nmaxretry = 9\n{new}"))?;
        let said = refusal(&world)?;
        ensure!(
            said.contains(named) && said.contains("nothing was changed"),
            "{filter}, {port}: {said}"
        );
    }
    world.agent.write("jail.d/50_new.conf", "")?;
    for (key, value, named) in [
        ("state-directory", "\"/elsewhere\"", "state-directory cannot change"),
        ("scope", "\"galaxy\"", "galaxy"),
    ] {
        let file = world.agent.path("guard.toml");
        let text = std::fs::read_to_string(&file)?;
        world.agent.set(key, value)?;
        world.agent.hang_up()?;
        world.agent.wait_for_log(named, PATIENCE)?;
        std::fs::write(&file, text)?;
    }
    // All that time the agent went on as it was: the third failure is one too many.
    world.sshd_failures(ATTACKER, 1)?;
    world.agent.wait_for_log(&format!("[sshd] Ban {ATTACKER}"), PATIENCE)?;
    let status = world.agent.guardctl(&["status"])?;
    ensure!(status.contains("proxmox, sshd") && !status.contains("new"), "{status}");
    world.agent.stop()
}

#[test]
fn a_configuration_that_cannot_start_gives_way_to_the_one_before() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "nft")?;
    world.agent.start()?;
    world.sshd_failures(ATTACKER, 3)?;
    world.agent.wait_for_log(&format!("[sshd] Ban {ATTACKER}"), PATIENCE)?;
    // Nothing in the files is wrong, but the programs cannot be pinned there.
    let directory = world.agent.path("bpf");
    rustix::mount::unmount(&directory, UnmountFlags::DETACH)?;
    std::fs::remove_dir(&directory)?;
    std::fs::write(&directory, "")?;
    world.agent.set("backend", "\"xdp\"")?;
    // Were it in force, the ban would be lifted.
    world.agent.set("allow", &format!("[\"{ATTACKER}\"]"))?;
    world.agent.write("jail.d/02_proxmox.conf", "")?;
    let said = refusal(&world)?;
    ensure!(said.contains("bpf") && said.contains("nothing was changed"), "{said}");
    ensure!(world.answer(ATTACKER, SSH)? != Answer::Connected);
    let status = world.agent.guardctl(&["status"])?;
    ensure!(status.contains("proxmox, sshd"), "{status}");
    world.sshd_failures(NEIGHBOUR, 3)?;
    world.agent.wait_for_log(&format!("[sshd] Ban {NEIGHBOUR}"), PATIENCE)?;
    world.wait_for_answer(NEIGHBOUR, SSH, false)?;
    world.agent.stop()
}

#[test]
fn sighup_reloads_too() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "null")?;
    world.agent.start()?;
    world.agent.write("jail.d/03_late.conf", &jail("late", 80))?;
    world.agent.hang_up()?;
    world.agent.wait_for_log("configuration reloaded", PATIENCE)?;
    let status = world.agent.guardctl(&["status"])?;
    ensure!(status.contains("late, proxmox, sshd"), "{status}");
    world.agent.stop()
}

#[test]
fn no_banned_packet_passes_while_it_reloads() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "xdp")?;
    let udp =
        |max: u32| format!("{}protocol = udp\nbantime = -1\nmaxretry = {max}\n", jail("sshd", SSH));
    world.agent.write("jail.d/01_sshd.conf", &udp(3))?;
    world.agent.start()?;
    world.agent.guardctl(&["ban", "sshd", &ATTACKER.to_string()])?;
    let Flooded { sent, passed, received } = flooded(&lan, SSH, |flood| {
        for round in 4..10 {
            world.agent.write("jail.d/01_sshd.conf", &udp(round))?;
            // A setting of the enforcer changes, too.
            world.agent.set("generic-xdp", if round % 2 == 0 { "true" } else { "false" })?;
            world.agent.guardctl(&["reload"])?;
            flood.goes_on()?;
        }
        Ok(())
    })?;
    ensure!(sent > 1_000 && received > 100, "{sent} sent, {received} of the neighbour received");
    ensure!(passed == 0, "{passed} of {sent} banned packets passed");
    world.agent.stop()
}
