//! Every shipped filter finds in its examples what they say, and nobody in its
//! counterexamples.

use guard::core::entry::Daemon;
use guard::core::filter::Memory;

use crate::support;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Examples {
    daemon: String,
    line: Vec<Line>,
    #[serde(default)]
    connection: Vec<Connection>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    text: String,
    host: Option<String>,
    user: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Connection {
    name: String,
    host: Option<String>,
    failures: usize,
    lines: Vec<String>,
}

fn check(name: &str) {
    let text = support::repository(&format!("config/filter.d/examples/{name}.toml"));
    let examples: Examples = toml::from_str(&text).expect("examples");
    let daemon = match examples.daemon.as_str() {
        "sshd" => Daemon::Sshd,
        "pvedaemon" => Daemon::Pvedaemon,
        other => panic!("unknown daemon {other}"),
    };
    let filter = support::shipped(name);
    for line in &examples.line {
        // Whether or not guard knows the daemon: the filter alone must not be fooled.
        for daemon in [Some(daemon), None] {
            let entry = support::entry(&line.text, daemon, 0);
            let found = filter.find(&entry, &mut Memory::new(8_192)).failure;
            let (host, user) = found.map_or((None, None), |found| (Some(found.who), found.user));
            assert_eq!(host.map(|host| host.to_string()), line.host, "{}", line.text);
            if line.user.is_some() {
                assert_eq!(user, line.user, "{}", line.text);
            }
        }
    }
    for connection in &examples.connection {
        let mut memory = Memory::new(8_192);
        let mut found = Vec::new();
        for (second, line) in (0..).zip(&connection.lines) {
            let finding = filter.find(&support::entry(line, Some(daemon), second), &mut memory);
            found.extend(finding.failure.map(|found| found.who.to_string()));
        }
        assert_eq!(found.len(), connection.failures, "{}: {found:?}", connection.name);
        assert!(found.iter().all(|h| Some(h) == connection.host.as_ref()), "{}", connection.name);
    }
}

#[test]
fn sshd() {
    check("sshd");
}

#[test]
fn proxmox() {
    check("proxmox");
}
