//! The host that is measured on: guard and Fail2Ban, one at a time.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use guard_tests::burst::{self, Measured};
use guard_tests::command;
use guard_tests::deadline::wait_until;
use guard_tests::installed::{Installed, PROXMOX, UNIT};
use guard_tests::lan::{HOST, NEIGHBOUR};
use guard_tests::root::Suite;

use crate::workspace;

/// The peer's unit.
const PEER_UNIT: &str = "fail2ban.service";
/// How long the peer may take for anything.
const PEER_PATIENCE: Duration = Duration::from_secs(60);
/// Everything in this prefix is an attacker, outside on the same cable.
const ATTACKERS: Ipv4Addr = Ipv4Addr::new(10, 4, 0, 0);

/// As on Debian 13 and Proxmox VE 9; Debian 12 would use iptables.
const PEER_ACTION: &str = "\
[DEFAULT]
banaction = nftables
banaction_allports = nftables[type=allports]
";

/// The host, booted, with guard running.
pub(crate) struct Rig {
    /// Host and network.
    pub(crate) guarded: Installed,
}

impl Rig {
    /// Boots it.
    pub(crate) fn new(program: &Path, backend: &str) -> Result<Self> {
        println!("Booting a Debian 12 host with guard ({backend}) and Fail2Ban.");
        let mut guarded = Installed::with_program(Suite::BookwormWithPeer, backend, program)?;
        let peer = guarded.host.root().join("etc/fail2ban");
        let guide = workspace::root().join("tests/fixtures/guide");
        command::run("cp", ["-rT".as_ref(), guide.as_os_str(), peer.as_os_str()])?;
        fs::write(peer.join("jail.d/00_action.conf"), PEER_ACTION)?;
        guarded.host.boot()?;
        guarded.wait_until_active()?;
        let lan = &guarded.host.lan;
        lan.host.ip(&format!("route add {ATTACKERS}/16 via {NEIGHBOUR}"))?;
        // So that any of its addresses can be a source and answers come back to it.
        lan.outside.ip(&format!("route add local {ATTACKERS}/16 dev lo"))?;
        Ok(Self { guarded })
    }

    /// The attacker with a number.
    pub(crate) fn attacker(number: usize) -> Result<Ipv4Addr> {
        let offset = u32::try_from(number)? + 256;
        ensure!(offset < 1 << 16, "only 65,280 attackers fit");
        Ok(Ipv4Addr::from(u32::from(ATTACKERS) + offset))
    }

    /// Ends guard and starts Fail2Ban on the host as it is after a reboot.
    pub(crate) fn change_to_peer(&mut self) -> Result<()> {
        println!("Changing to Fail2Ban.");
        let host = &mut self.guarded.host;
        host.exec(&["systemctl", "disable", "--quiet", UNIT])?;
        host.reboot()?;
        host.exec(&["systemctl", "unmask", "--quiet", PEER_UNIT])?;
        host.exec(&["systemctl", "start", PEER_UNIT])?;
        wait_until("Fail2Ban has started its jails", PEER_PATIENCE, || {
            let status = host.exec_output(&["fail2ban-client", "status"])?;
            let status = String::from_utf8_lossy(&status.stdout);
            Ok(status.contains("proxmox") && status.contains("sshd"))
        })
    }

    /// Process id of Fail2Ban's server, as the host counts.
    pub(crate) fn peer_pid(&self) -> Result<u32> {
        Ok(self.guarded.host.unit(PEER_UNIT, "MainPID")?.parse()?)
    }

    /// Three failed logins of `source` at Proxmox, with pauses between them, while it
    /// probes the web interface's port; until no probe is answered.
    pub(crate) fn ban_and_probe(
        &self,
        source: Ipv4Addr,
        pauses: [Duration; 2],
    ) -> Result<Measured> {
        let std::net::IpAddr::V4(host) = HOST else { unreachable!("the host has an IPv4 address") };
        let limit = pauses.iter().sum::<Duration>() + Duration::from_secs(20);
        let destination = SocketAddrV4::new(host, PROXMOX);
        let outside = &self.guarded.host.lan.outside;
        burst::until_silent(outside, source, destination, limit, || {
            for pause in [Duration::ZERO, pauses[0], pauses[1]] {
                std::thread::sleep(pause);
                self.guarded.guess_proxmox_passwords(source.into(), "root@pam", 1)?;
            }
            Ok(Instant::now())
        })
    }
}
