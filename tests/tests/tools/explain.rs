//! `guardctl explain`: what becomes of a line, and how an address stands.

use anyhow::{Context, Result};
use guard_tests::agent::{Agent, PATIENCE, beside_this_program};
use guard_tests::deadline::wait_until;
use guard_tests::journal_files::{JournalFiles, Record};
use guard_tests::namespace::{Namespace, require_root};

use crate::host::Host;

#[test]
fn every_jail_says_what_it_makes_of_a_line() -> Result<()> {
    let host = Host::new(&[(
        "jail.local",
        "[sshd]\nenabled = true\nmaxretry = 4\nignoreip = 203.0.113.99\n\
         [proxmox]\nenabled = true\n",
    )])?;
    for (line, jail, decision, who) in [
        ("Invalid user a from 203.0.113.1 port 1", 0, "counted", Some("203.0.113.1")),
        ("Invalid user a from 203.0.113.99 port 1", 0, "allowed", Some("203.0.113.99")),
        ("Invalid user a from 127.0.0.1 port 1", 0, "allowed", Some("127.0.0.1")),
        ("Connection from 203.0.113.1 port 1 on 203.0.113.2 port 22", 0, "helper", None),
        ("Server listening on 0.0.0.0 port 22.", 0, "no-match", None),
        ("Invalid user a from 203.0.113.1 port 1", 1, "no-match", None),
    ] {
        let line = format!("pve sshd[7]: {line}");
        let json = host.json(&["explain", &line])?;
        let verdict = &json[jail];
        assert_eq!(verdict["decision"], decision, "{line}: {json:#}");
        assert_eq!(verdict["who"].as_str(), who, "{line}");
    }
    let planted = "pve pvedaemon[7]: authentication failure; rhost=203.0.113.1 user=x rhost=203.0.113.2 user=y msg=z";
    let told = host.guardctl(&["explain", "--jail", "proxmox", planted])?;
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.out.contains("203.0.113.1 failed: counts as 1 of 3 within 2d"), "{}", told.out);
    assert!(told.out.contains("  expression 1: "), "{}", told.out);
    let dated = "Nov 22 10:00:00 pve sshd[7]: Invalid user a from 203.0.113.1 port 1";
    assert!(host.guardctl(&["explain", dated])?.out.contains("-22 10:00:00\n"));
    assert_eq!(host.guardctl(&["explain", "--jail", "none", "x"])?.code, Some(1));
    // Nobody is there to be asked.
    host.write("guard.toml", "socket = \"/nowhere/guard.sock\"\n")?;
    assert_eq!(host.guardctl(&["explain", "203.0.113.1"])?.code, Some(3));
    Ok(())
}

#[test]
fn the_agent_says_how_an_address_stands() -> Result<()> {
    require_root()?;
    let namespace = Namespace::new("explain")?;
    let directory = tempfile::tempdir()?;
    let mut journal = JournalFiles::new(&directory.path().join("journal"))?;
    let mut agent = Agent::new(&namespace, beside_this_program()?)?
        .setting("backend", "\"null\"")
        .setting("allow", "[\"192.0.2.99\"]")
        .journal(journal.directory());
    agent.write("jail.local", "[sshd]\nenabled = true\nmaxretry = 3\n")?;
    agent.start()?;
    let failed = |process, host: &str| {
        Record::sshd(process, &format!("Failed password for root from {host} port 4000 ssh2"))
    };
    journal.append(&[failed(1, "192.0.2.1"), failed(2, "192.0.2.1")])?;
    journal.append(&[failed(3, "192.0.2.2"), failed(4, "192.0.2.2"), failed(5, "192.0.2.2")])?;
    agent.wait_for_log("Ban 192.0.2.2", PATIENCE)?;
    let explain = |address: &str| -> Result<serde_json::Value> {
        Ok(serde_json::from_str(&agent.guardctl(&["--json", "explain", address])?)?)
    };
    wait_until("two failures", PATIENCE, || {
        Ok(explain("192.0.2.1")?[0]["failures"].as_array().map(Vec::len) == Some(2))
    })?;
    assert!(explain("192.0.2.1")?[0]["ban"].is_null());
    let banned = explain("192.0.2.2")?;
    assert_eq!(banned[0]["ban"]["reason"]["count"], 3, "{banned:#}");
    assert_eq!(banned[0]["failures"].as_array().map(Vec::len), Some(0));
    assert_eq!(explain("192.0.2.99")?[0]["allowed"]["why"], "listed");
    assert!(explain("192.0.2.98")?[0]["allowed"].is_null());
    let text = agent.guardctl(&["explain", "192.0.2.2"])?;
    assert!(text.contains("3 failures in "), "{text}");
    let text = agent.guardctl(&["explain", "192.0.2.1"])?;
    assert!(text.contains("2 of 3 failures within 10m: "), "{text}");
    agent.stop().context("stop the agent")
}
