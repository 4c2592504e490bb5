//! Debian's `/etc/fail2ban` as it is installed, with its jail `sshd` on the journal: it
//! bans whom sshd accuses, also where a socket starts it, which the filter does not name,
//! and nobody whom somebody else accuses in sshd's name.

use anyhow::{Result, ensure};
use guard_tests::agent::{Agent, PATIENCE, beside_this_program};
use guard_tests::fail2ban::Package;
use guard_tests::journal_files::{JournalFiles, Record};
use guard_tests::lan::Lan;

/// So many failures lead to a ban by the stock `maxretry`.
const RETRIES: u32 = 5;

#[test]
fn the_stock_sshd_jail_reads_the_real_unit() -> Result<()> {
    let lan = Lan::new()?;
    let directory = tempfile::tempdir()?;
    let mut journal = JournalFiles::new(&directory.path().join("journal"))?;
    let mut agent = Agent::new(&lan.host, beside_this_program()?)?
        .setting("backend", "\"null\"")
        .journal(journal.directory());
    agent.copy(&Package::fetch()?.configuration())?;
    agent.write("jail.local", "[sshd]\nenabled = true\nbackend = systemd\n")?;
    agent.start()?;
    let root = |unit: &'static str, program: &'static str| {
        move |pid, message: &str| Record::new(unit, program, pid, message)
    };
    let user = |pid, message: &str| {
        Record::new("session-3.scope", "sshd", pid, message).with("_UID", "1000")
    };
    let forged: &dyn Fn(u32, &str) -> Record = &user;
    let debian_12: &dyn Fn(u32, &str) -> Record = &root("ssh.service", "sshd");
    let activated: &dyn Fn(u32, &str) -> Record = &root("ssh@7-a:22-b:9.service", "sshd");
    for (i, (record, address)) in
        [(forged, "203.0.113.1"), (debian_12, "203.0.113.2"), (activated, "203.0.113.4")]
            .into_iter()
            .enumerate()
    {
        for time in 0..RETRIES {
            let pid = 100 * u32::try_from(i)? + time + 500;
            let message = format!("Failed password for root from {address} port 4000 ssh2");
            journal.append_one(&record(pid, &message))?;
        }
        if address != "203.0.113.1" {
            agent.wait_for_log(&format!("[sshd] Ban {address}"), PATIENCE)?;
        }
    }
    let log = agent.log()?;
    ensure!(!log.contains("203.0.113.1"), "a forged entry was believed: {log}");
    agent.stop()
}
