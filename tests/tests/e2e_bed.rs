//! The container hosts themselves: without guard an attacker can try for ever.

use std::fs;

use anyhow::Result;
use guard_tests::container::{Container, Login, USER};
use guard_tests::deadline::wait_until;
use guard_tests::lan::{ATTACKER, NEIGHBOUR};
use guard_tests::probe::PATIENCE;
use guard_tests::root::Suite;

#[test]
fn bookworm_is_a_host_that_can_be_attacked() -> Result<()> {
    can_be_attacked(Suite::Bookworm)
}

#[test]
fn trixie_is_a_host_that_can_be_attacked() -> Result<()> {
    can_be_attacked(Suite::Trixie)
}

fn can_be_attacked(suite: Suite) -> Result<()> {
    let mut host = Container::new(suite)?;
    fs::write(host.root().join("srv/kept"), "by the disk")?;
    host.boot()?;

    for _ in 0..4 {
        assert_eq!(host.login(ATTACKER, "nobody-here", "guess")?, Login::Denied);
    }
    assert_eq!(host.login(NEIGHBOUR, USER.0, "guess")?, Login::Denied);
    assert_eq!(host.login(ATTACKER, USER.0, USER.1)?, Login::Accepted);
    let logged = host.journal("ssh.service")?;
    assert_eq!(logged.matches("Failed password for invalid user nobody-here").count(), 4);
    assert!(logged.contains("Failed password for alice from 10.3.0.2"), "{logged}");

    host.pvedaemon_says("authentication failure; rhost=::ffff:10.3.0.1 user=x@pam msg=no")?;
    wait_until(
        "the line in the journal, under the unit that journald vouches for",
        PATIENCE,
        || {
            let lines = host.exec(&[
                "journalctl",
                "--no-pager",
                "--output=short",
                "_UID=0",
                "_SYSTEMD_UNIT=pvedaemon.service",
                "SYSLOG_IDENTIFIER=pvedaemon",
            ])?;
            Ok(lines.contains("]: authentication failure; rhost=::ffff:10.3.0.1 user=x@pam msg=no"))
        },
    )?;

    host.reboot()?;
    assert_eq!(host.exec(&["cat", "/srv/kept"])?, "by the disk");
    let boots = host.exec(&["journalctl", "--no-pager", "--unit=ssh.service"])?;
    assert!(boots.contains("nobody-here"), "the journal of the boot before is kept");
    host.cut_power()?;
    host.boot()?;
    assert_eq!(host.exec(&["cat", "/srv/kept"])?, "by the disk");
    Ok(())
}
