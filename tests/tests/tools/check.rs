//! `guardctl check`: what is wrong, and by which line it can be abused.

use std::process::Stdio;

use anyhow::Result;

use crate::host::Host;

const OWN: (&str, &str) =
    ("jail.local", "[sshd]\nenabled = true\nport = 22\n[proxmox]\nenabled = true\n");

/// An SSH server that says what it is set to, as the real one does.
fn sshd(port: u16, tries: u32) -> String {
    format!(
        "#!/bin/sh\n[ \"$*\" = -T ] || exit 9\n\
         printf 'port {port}\\nlistenaddress [::]:{port}\\nlistenaddress 0.0.0.0:{port}\\n\
         maxauthtries {tries}\\nloglevel INFO\\n'\n"
    )
}

#[test]
fn guards_own_jails_are_sound() -> Result<()> {
    let mut host = Host::new(&[OWN])?;
    host.program("sshd", &sshd(22, 6))?;
    let told = host.guardctl(&["check"])?;
    assert_eq!((told.code, told.err.as_str()), (Some(0), ""), "{}", told.out);
    assert!(told.out.ends_with("0 errors, 0 warnings, 0 notes\n"), "{}", told.out);
    assert!(told.out.contains("proxmox  proxmox  2            10 pass\n"), "{}", told.out);
    assert_eq!(host.guardctl(&["check", "--quiet"])?.out, "");
    Ok(())
}

#[test]
fn the_guides_filter_is_shown_with_a_line_that_exploits_it() -> Result<()> {
    let guide = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/guide");
    let mut host = Host::new(&[])?;
    host.program("sshd", &sshd(22, 6))?;
    host.write("guard.toml", &format!("jail-directory = {:?}\n", guide.display().to_string()))?;
    let told = host.guardctl(&["check"])?;
    assert_eq!(told.code, Some(1), "{}", told.out);
    let json = host.json(&["check"])?;
    let found = json["found"].as_array().expect("findings");
    assert_eq!(found.len(), 1, "{json:#}");
    let injection = &found[0]["injection"];
    assert_eq!((&found[0]["jail"], &found[0]["line"]), (&"proxmox".into(), &2.into()));
    assert_eq!((&injection["way"], &injection["guarded"]), (&"wildcard".into(), &true.into()));
    let line = injection["line"].as_str().expect("a line");
    assert!(told.out.contains(line), "{}", told.out);
    let honest = "pve pvedaemon[1234]: authentication failure; rhost=198.51.100.1 user=";
    assert!(line.starts_with(honest), "{line}");
    assert!(line.contains("rhost=203.0.113.9"), "{line}");
    Ok(())
}

#[test]
fn what_other_daemons_clients_can_do_is_warned_of_and_no_more() -> Result<()> {
    let jail = |name: &str, expression: &str| {
        (
            format!("filter.d/{name}.conf"),
            format!(
                "[Definition]\nfailregex = {expression}\njournalmatch = _SYSTEMD_UNIT=myd.service\n"
            ),
            format!("[{name}]\nenabled = true\nfilter = {name}\nport = 1\n"),
        )
    };
    for (expression, way) in [
        (r"^\S+ myd\[\d+\]: login of \S+ from <HOST>", Some("wildcard")),
        (r"^\S+ myd\[\d+\]: login of \S+ from <HOST>$", None),
        (r"bad login from <HOST>", Some("unanchored")),
        (r"^\S+ myd\[\d+\]: bad login from <HOST>", None),
        (r"^\S+ myd\[\d+\]: login of (?:(?! from ).)* from <HOST>", Some("wildcard")),
        (r"^\S+ myd\[\d+\]: <HOST>: bad login of .*", None),
    ] {
        let (path, filter, section) = jail("f", expression);
        let host = Host::new(&[(&path, &filter), ("jail.local", &section)])?;
        let json = host.json(&["check"])?;
        let found = json["found"].as_array().expect("findings");
        let ways: Vec<&str> = found.iter().filter_map(|f| f["injection"]["way"].as_str()).collect();
        assert_eq!(ways, Vec::from_iter(way), "{expression}: {json:#}");
        assert_eq!(found.len(), ways.len(), "{json:#}");
    }
    Ok(())
}

#[test]
fn a_journalmatch_that_any_user_meets_is_warned_of() -> Result<()> {
    for (matches, open) in [
        ("SYSLOG_IDENTIFIER=myd", true),
        ("SYSLOG_IDENTIFIER=myd _UID=0", false),
        ("_COMM=myd", true),
        ("_COMM=sshd", false),
        ("_SYSTEMD_UNIT=myd.service", false),
    ] {
        let filter = format!(
            "[Definition]\nfailregex = ^\\S+ myd: failed <HOST>$\njournalmatch = {matches}\n"
        );
        let host = Host::new(&[
            ("filter.d/f.conf", &filter),
            ("jail.local", "[a]\nenabled = true\nfilter = f\nport = 1\n"),
        ])?;
        let told = host.guardctl(&["check"])?;
        let warned = told.out.contains("every local user can write entries with");
        assert_eq!(warned, open, "{matches}: {}", told.out);
        if open {
            assert!(told.out.contains("f.conf:3:16: [a] every local user"), "{}", told.out);
        }
    }
    Ok(())
}

#[test]
fn the_ssh_servers_settings_are_compared() -> Result<()> {
    let mut host = Host::new(&[OWN])?;
    for (port, tries, told) in [
        (22, 6, &[][..]),
        (2222, 6, &["etc/jail.local:3:8: [sshd] sshd listens on port 2222, but"][..]),
        (22, 2, &["takes at least 3 connections"][..]),
    ] {
        host.program("sshd", &sshd(port, tries))?;
        let said = host.guardctl(&["check", "--quiet"])?;
        assert_eq!(said.out.matches("warning: ").count(), told.len(), "{}", said.out);
        assert!(told.iter().all(|told| said.out.contains(told)), "{}", said.out);
    }
    host.program("sshd", "#!/bin/sh\necho 'no hostkeys available' >&2\nexit 1\n")?;
    let said = host.guardctl(&["check"])?;
    assert_eq!(said.code, Some(0));
    assert!(said.out.contains("sshd was not compared with sshd's settings:"), "{}", said.out);
    assert!(said.out.contains("no hostkeys available"), "{}", said.out);
    Ok(())
}

#[test]
fn examples_of_the_host_are_run() -> Result<()> {
    let host = Host::new(&[
        (
            "filter.d/f.conf",
            "[Definition]\nfailregex = ^\\S+ myd: failed <HOST>$\n\
             journalmatch = _SYSTEMD_UNIT=myd.service\n",
        ),
        (
            "filter.d/examples/f.toml",
            "[[line]]\ntext = \"pve myd: failed 192.0.2.1\"\nhost = \"192.0.2.1\"\n\
             [[line]]\ntext = \"pve myd: failed 192.0.2.2\"\n",
        ),
        ("jail.local", "[a]\nenabled = true\nfilter = f\nport = 1\n"),
    ])?;
    let told = host.guardctl(&["check"])?;
    assert_eq!(told.code, Some(1));
    let words = "expected nobody, found 192.0.2.2: pve myd: failed 192.0.2.2";
    assert!(told.out.contains(words), "{}", told.out);
    assert!(told.out.contains("1 of 2 FAIL"), "{}", told.out);
    host.write("etc/filter.d/examples/f.toml", "[[lines]]\n")?;
    let told = host.guardctl(&["check"])?;
    assert!(told.out.contains("unknown field `lines`"), "{}", told.out);
    Ok(())
}

#[test]
fn every_error_is_told_with_its_place() -> Result<()> {
    let host = Host::new(&[(
        "jail.local",
        "[sshd]\nenabled = true\nmaxretry = no\n[proxmox]\nenabled = true\nfindtime = x\n",
    )])?;
    let told = host.guardctl(&["check"])?;
    assert_eq!(told.code, Some(78));
    for place in ["jail.local:3:12: [sshd] maxretry", "jail.local:6:12: [proxmox] findtime"] {
        assert!(told.out.contains(place), "{}", told.out);
    }
    host.write("guard.toml", "backend = \"fast\"\njail-directory = 3\n")?;
    let told = host.guardctl(&["check"])?;
    assert_eq!(told.code, Some(78));
    for place in ["guard.toml:1:11:", "guard.toml:2:18:"] {
        assert!(told.out.contains(place), "{}", told.out);
    }
    Ok(())
}

#[test]
fn who_stops_reading_has_read_enough() -> Result<()> {
    let host = Host::new(&[OWN])?;
    let mut child =
        host.command(&["check"])?.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    drop(child.stdout.take());
    let output = child.wait_with_output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
