//! Any text in any field that a client can fill, in any message of sshd and pvedaemon:
//! nobody but the true sender is found, even by careless filters.
//!
//! The first byte chooses the message, lines are the texts of its fields in turn.

#![no_main]

use std::sync::LazyLock;

use guard::core::entry::{Daemon, Dating, Entry};
use guard::core::filter::{Filter, FilterText, Limits, Memory};
use guard::core::jail::JailId;
use guard::core::time::Timestamp;
use libfuzzer_sys::fuzz_target;

const SENDER: &str = "198.51.100.1";

static MESSAGES: LazyLock<Vec<(Daemon, &str)>> = LazyLock::new(|| {
    let text = include_str!("../../fixtures/client-fields.txt");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let message = |line: &'static str| {
        let (head, text) = line.split_once(": ").expect("`DAEMON KIND: MESSAGE`");
        let sshd = head.starts_with("sshd ");
        (if sshd { Daemon::Sshd } else { Daemon::Pvedaemon }, text)
    };
    lines.map(message).collect()
});

/// Filters none of which guards against the client's text.
static CARELESS: LazyLock<Vec<Filter>> = LazyLock::new(|| {
    let expressions: [&[&str]; 6] = [
        &["<HOST>"],
        &[r".*[^0-9.:]<HOST>"],
        &["from <HOST>", "rhost=<HOST>", r"\[<HOST>\]", "user .* <HOST> port"],
        &[r"sshd.*: .*from <HOST>", "<F-NOFAIL>Accepted</F-NOFAIL>.*<HOST>"],
        &["<SUBNET>"],
        &[r"pvedaemon\[.*authentication failure; rhost=<HOST> user=.* msg=.*"],
    ];
    let filter = |expressions: &&[&str]| {
        let failregex = expressions.iter().map(|text| (*text).to_owned()).collect();
        Filter::compile(&FilterText { failregex, ..FilterText::default() }, Limits::default())
            .expect("a filter")
    };
    expressions.iter().map(filter).collect()
});

fuzz_target!(|text: &str| {
    let Some(first) = text.chars().next() else { return };
    let (daemon, message) = MESSAGES[first as usize % MESSAGES.len()];
    let fields: Vec<&str> = text[first.len_utf8()..].split('\n').collect();
    let mut fields = fields.iter().cycle();
    let before = match daemon {
        Daemon::Sshd => "pve sshd-session[77]: ",
        Daemon::Pvedaemon => "pve pvedaemon[77]: ",
    };
    let mut line = before.to_owned();
    for (number, part) in message.replace("{h}", SENDER).split("{c}").enumerate() {
        if number > 0 {
            line.push_str(fields.next().copied().unwrap_or_default());
        }
        line.push_str(part);
    }
    let entry = Entry {
        time: Timestamp::from_seconds(0),
        dating: Dating::Known,
        line,
        message_start: before.len(),
        daemon: Some(daemon),
        jails: vec![JailId(0)],
    };
    for filter in &*CARELESS {
        let finding = filter.find(&entry, &mut Memory::new(4));
        // What is no address bans nobody.
        if let Some(found) = finding.failure.and_then(|found| found.who.address()) {
            assert_eq!(found.to_string(), SENDER, "in `{}`", entry.line);
        }
    }
});
