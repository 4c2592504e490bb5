//! Who must not be banned is not, by a log or by hand, and that is told.

use super::*;

#[test]
fn nobody_bans_the_host_itself_without_force() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "null")?;
    world.agent = world.agent.setting("allow", &format!("[\"{NEIGHBOUR}\"]"));
    world.agent.start()?;
    for own in [HOST, HOST_V6, IpAddr::from([127, 0, 0, 1])] {
        let output = world.agent.guardctl_output(&["ban", "sshd", &own.to_string()])?;
        let bans = world.agent.guardctl(&["bans", "list"])?;
        ensure!(!bans.contains(&own.to_string()), "{own}: {output:?}\n{bans}");
        world.sshd_failures(own, 4)?;
    }
    // Nor whom the configuration allows, by a log.
    world.sshd_failures(NEIGHBOUR, 4)?;
    world.sshd_failures(ATTACKER, 3)?;
    world.agent.wait_for_log(&format!("[sshd] Ban {ATTACKER}"), PATIENCE)?;
    ensure!(world.log_count("Ban ")? == 1, "{}", world.agent.log()?);
    // With force it is said what that means, before it is done.
    let output = world.agent.guardctl_output(&["ban", "sshd", &HOST.to_string(), "--force"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success() && output.stdout == b"1\n", "{output:?}");
    let expected = format!(
        "{HOST}: {HOST} is this host's own address; --force cuts it off from the ports of sshd all \
         the same, until `guardctl unban sshd {HOST}`\n"
    );
    ensure!(said == expected, "{said}");
    ensure!(world.agent.guardctl(&["bans", "list"])?.contains(&HOST.to_string()), "not banned");
    // Who may be banned is, and nothing is said of it.
    let output = world.agent.guardctl_output(&["ban", "sshd", "192.0.2.7", "--force"])?;
    ensure!(output.stdout == b"1\n" && output.stderr.is_empty(), "{output:?}");
    Ok(())
}

#[test]
fn nobody_bans_the_way_out() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "null")?;
    world.agent.start()?;
    let (gateway, wide) = (NEIGHBOUR.to_string(), format!("{NEIGHBOUR}/31"));
    let route = |verb: &str| -> Result<()> {
        let mut ip = lan.host.command("ip");
        let done = ip.args(["route", verb, "default", "via", &gateway]).status()?;
        ensure!(done.success(), "ip route {verb}: {done}");
        Ok(())
    };
    let stands = |world: &World<'_>, so: bool| {
        wait_until(&format!("{gateway} is a gateway: {so}"), PATIENCE, || {
            let explained = world.agent.guardctl(&["explain", &gateway])?;
            Ok(explained.contains(&format!("{gateway} is this host's gateway")) == so)
        })
    };
    // It comes while the agent runs, as from DHCP.
    route("add")?;
    stands(&world, true)?;
    world.sshd_failures(NEIGHBOUR, 3)?;
    let told = format!("[sshd] Ignore {gateway}: {gateway} is this host's gateway");
    world.agent.wait_for_log(&told, PATIENCE)?;
    for whom in [&gateway, &wide] {
        let output = world.agent.guardctl_output(&["ban", "sshd", whom])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1), "{output:?}");
        ensure!(said.contains(&format!("{gateway} is this host's gateway")), "{said}");
    }
    world.sshd_failures(ATTACKER, 3)?;
    world.agent.wait_for_log(&format!("[sshd] Ban {ATTACKER}"), PATIENCE)?;

    // And goes.
    route("del")?;
    stands(&world, false)?;
    world.sshd_failures(NEIGHBOUR, 3)?;
    world.agent.wait_for_log(&format!("[sshd] Ban {gateway}"), PATIENCE)?;
    world.agent.stop()
}
