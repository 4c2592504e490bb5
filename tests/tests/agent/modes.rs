//! Who may write what decides about bans.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Result, ensure};
use guard_tests::lan::Lan;

use super::World;

#[test]
fn what_every_user_may_write_is_no_configuration() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "null")?;
    for name in ["etc/jail.d/01_sshd.conf", "guard.toml"] {
        let file = world.agent.path(name);
        let mode = |mode| set_permissions(&file, Permissions::from_mode(mode));
        world.agent.start()?;
        mode(0o646)?;
        let refused = world.agent.guardctl_output(&["reload"])?;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        let is_named = |said: &str| said.contains(name) && said.contains("every user may write");
        ensure!(!refused.status.success() && is_named(&said), "{name}: {refused:?}");
        world.agent.stop()?;
        let before = world.agent.log()?.len();
        let refused = world.agent.start();
        ensure!(refused.is_err() || name != "guard.toml", "it starts with {name}");
        if refused.is_ok() {
            // Its other jails start.
            let log = world.agent.log()?;
            ensure!(log.get(before..).is_some_and(is_named), "{log}");
            world.agent.stop()?;
        }
        mode(0o644)?;
    }
    Ok(())
}
