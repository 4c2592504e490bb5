//! The test bed itself: what the other tests rest on.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use guard_tests::burst;
use guard_tests::command;
use guard_tests::deadline::wait_until;
use guard_tests::journal_files::{JournalFiles, Record};
use guard_tests::lan::{ATTACKER, ATTACKER_V6, HOST, HOST_V6, Lan, NEIGHBOUR, NEIGHBOUR_V6};
use guard_tests::probe::{Answer, PATIENCE, SILENCE, Service, connect};

#[test]
fn a_client_tells_open_closed_and_silent_ports_apart() -> Result<()> {
    let lan = Lan::new()?;
    let _service = Service::listen(&lan.host, 8006)?;
    let mut drop = lan.host.command("nft");
    drop.arg("add table inet t; add chain inet t c { type filter hook input priority 0; }; add rule inet t c tcp dport 22 drop");
    command::finish(drop)?;

    for (source, host) in
        [(ATTACKER, HOST), (NEIGHBOUR, HOST), (ATTACKER_V6, HOST_V6), (NEIGHBOUR_V6, HOST_V6)]
    {
        let answer =
            |port, patience| connect(&lan.outside, source, SocketAddr::new(host, port), patience);
        assert_eq!(answer(8006, PATIENCE)?, Answer::Connected);
        assert_eq!(answer(8007, PATIENCE)?, Answer::Refused);
        assert_eq!(answer(22, SILENCE)?, Answer::Silence);
    }
    Ok(())
}

#[test]
fn journal_files_hold_what_was_written_while_they_grow_and_after_rotation() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut journal = JournalFiles::new(directory.path())?;
    let read = || {
        command::run(
            "journalctl",
            [
                "--directory".as_ref(),
                directory.path().as_os_str(),
                "--output=cat".as_ref(),
                "--no-pager".as_ref(),
                "_UID=0".as_ref(),
                "_SYSTEMD_UNIT=ssh.service".as_ref(),
            ],
        )
    };
    journal.append_one(&Record::sshd(7, "first"))?;
    wait_until("the first entry", PATIENCE, || Ok(read()? == "first\n"))?;
    journal.append_one(&Record::sshd(7, "second\nwith two lines"))?;
    wait_until("the second entry", PATIENCE, || Ok(read()? == "first\nsecond\nwith two lines\n"))?;
    journal.rotate()?;
    journal.append_one(&Record::pvedaemon(8, "of another unit"))?;
    journal.append_one(&Record::sshd(7, "third"))?;
    journal.finish()?;
    assert_eq!(read()?, "first\nsecond\nwith two lines\nthird\n");
    Ok(())
}

#[test]
fn a_burst_sees_when_a_rule_takes_effect() -> Result<()> {
    let lan = Lan::new()?;
    let _service = Service::listen(&lan.host, 8006)?;
    let (std::net::IpAddr::V4(source), std::net::IpAddr::V4(host)) = (ATTACKER, HOST) else {
        unreachable!("both are IPv4")
    };
    let destination = std::net::SocketAddrV4::new(host, 8006);
    let measured = burst::until_silent(
        &lan.outside,
        source,
        destination,
        Duration::from_secs(20),
        || {
            let mut reject = lan.host.command("nft");
            reject.arg(
                "add table inet t; add chain inet t c { type filter hook input priority 0; }; \
                 add rule inet t c ip saddr 10.3.0.1 tcp dport 8006 reject with icmp port-unreachable",
            );
            command::finish(reject)?;
            Ok(Instant::now())
        },
    )?;
    // The rule is in force when nft returns: the next probe meets it.
    assert!(measured.latency() < Duration::from_millis(50), "{measured:?}");
    Ok(())
}
