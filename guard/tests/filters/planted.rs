//! Planted addresses: whatever a client writes into any field of any message, nobody
//! but the true sender is found, and in messages about failures the sender is found.

use std::sync::LazyLock;

use guard::core::entry::Daemon;
use guard::core::filter::{Filter, Memory};
use proptest::prelude::*;

use crate::support;

const SENDER: &str = "198.51.100.1";
const PLANTED: &str = "203.0.113.9";

/// A message: `{c}` is the client's text, `{h}` the sender.
struct Message {
    daemon: Daemon,
    text: &'static str,
    /// Whether the shipped filter finds the sender in it, whatever the client wrote.
    failure: bool,
}

static MESSAGES: LazyLock<Vec<Message>> = LazyLock::new(|| {
    let text = include_str!("../../../tests/fixtures/client-fields.txt");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let message = |line: &'static str| {
        let (head, text) = line.split_once(": ").expect("`DAEMON KIND: MESSAGE`");
        let (daemon, failure) = match head {
            "sshd failed" => (Daemon::Sshd, true),
            "sshd other" => (Daemon::Sshd, false),
            "pvedaemon failed" => (Daemon::Pvedaemon, true),
            "pvedaemon other" => (Daemon::Pvedaemon, false),
            _ => panic!("`{head}` is no daemon and kind"),
        };
        Message { daemon, text, failure }
    };
    lines.map(message).collect()
});

/// Filters that people might write, none of which guards against the client's text.
fn careless() -> Vec<Filter> {
    [
        vec!["<HOST>"],
        vec![r".*[^0-9.:]<HOST>"],
        vec!["from <HOST>", "rhost=<HOST>", r"\[<HOST>\]", "user .* <HOST> port"],
        vec![r"sshd.*: .*from <HOST>", "<F-NOFAIL>Accepted</F-NOFAIL>.*<HOST>"],
        vec!["<SUBNET>"],
        vec![r"(?=.*\d)<HOST>(?!x)"],
    ]
    .iter()
    .map(|expressions| support::filter(expressions))
    .chain([support::guide()])
    .collect()
}

/// Text that a client might send: pieces of messages, planted addresses, anything.
fn client_text() -> impl Strategy<Value = String> {
    let message = (0..MESSAGES.len(), "[a-z ]{0,4}").prop_map(|(number, name)| {
        MESSAGES[number].text.replace("{h}", PLANTED).replace("{c}", &name)
    });
    let piece = prop_oneof![
        4 => Just(PLANTED.to_owned()),
        1 => Just("2001:db8::bad".to_owned()),
        2 => Just(format!(" from {PLANTED} port 22")),
        2 => Just(format!(" {PLANTED} port 22: ")),
        1 => Just(format!(" rhost={PLANTED} user=")),
        3 => message,
        2 => prop::sample::select(vec![
            " [preauth]", " ssh2", " ssh2: ", ": ", "'", "\"", " from ", " for ", " msg=", ")",
            " (serial 0) CA RSA SHA256:v3dp", " by user ", "invalid user ", " [", "]", "\\n",
            " not allowed because not listed in AllowUsers", "é", "\u{1}", "\u{2028}", "%", "<HOST>",
        ]).prop_map(str::to_owned),
        2 => r"\PC{0,8}",
    ];
    prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

fn line(message: &Message, texts: &[String]) -> String {
    let mut out = match message.daemon {
        Daemon::Sshd => "pve sshd-session[77]: ".to_owned(),
        Daemon::Pvedaemon => "pve pvedaemon[77]: ".to_owned(),
    };
    let mut texts = texts.iter().cycle();
    for (number, part) in message.text.replace("{h}", SENDER).split("{c}").enumerate() {
        if number > 0 {
            out.push_str(texts.next().map_or("", String::as_str));
        }
        out.push_str(part);
    }
    out
}

/// Whom a filter finds in a line that the daemon itself wrote.
fn found(filter: &Filter, line: &str, daemon: Daemon) -> Option<String> {
    let finding = filter.find(&support::entry(line, Some(daemon), 0), &mut Memory::new(8_192));
    // What is no address bans nobody.
    finding.failure.and_then(|found| found.who.address()).map(|address| address.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn nobody_but_the_sender_is_found(
        number in 0..MESSAGES.len(),
        texts in prop::collection::vec(client_text(), 1..4),
    ) {
        thread_local! {
            static FILTERS: (Vec<Filter>, Filter, Filter) =
                (careless(), support::shipped("sshd"), support::shipped("proxmox"));
        }
        let message = &MESSAGES[number];
        let line = line(message, &texts);
        let sender = Some(SENDER.to_owned());
        FILTERS.with(|(careless, sshd, proxmox)| {
            for filter in careless.iter().chain([sshd, proxmox]) {
                let found = found(filter, &line, message.daemon);
                prop_assert!(found.as_deref().is_none_or(|h| h == SENDER), "{line}: {found:?}");
            }
            let own = if message.daemon == Daemon::Sshd { sshd } else { proxmox };
            if message.failure {
                prop_assert_eq!(found(own, &line, message.daemon), sender.clone(), "{}", line);
                let any = &careless[0];
                prop_assert_eq!(found(any, &line, message.daemon), sender.clone(), "{}", line);
            }
            if message.daemon == Daemon::Pvedaemon && message.failure && message.text.contains(" user=") {
                let guide = careless.last().expect("the guide's");
                prop_assert_eq!(found(guide, &line, message.daemon), sender.clone(), "{}", line);
            }
            Ok(())
        })?;
    }

    #[test]
    fn no_line_makes_it_panic(line in r"(pve (sshd|sudo|pvedaemon)\[1\]: )?(?s:.){0,60}", known in 0_usize..3) {
        thread_local! {
            static FILTERS: (Vec<Filter>, Filter) = (careless(), support::shipped("sshd"));
        }
        let daemon = [None, Some(Daemon::Sshd), Some(Daemon::Pvedaemon)][known];
        FILTERS.with(|(careless, sshd)| {
            for filter in careless.iter().chain([sshd]) {
                filter.find(&support::entry(&line, daemon, 0), &mut Memory::new(8_192));
            }
        });
    }
}

#[test]
fn the_guides_filter_bans_the_sender_and_not_the_planted() {
    let line = "pve pvedaemon[1]: authentication failure; rhost=::ffff:198.51.100.1 \
                user=x authentication failure; rhost=203.0.113.9 user=a msg=no such user";
    let entry = support::entry(line, Some(Daemon::Pvedaemon), 0);
    let finding = support::guide().find(&entry, &mut Memory::new(8_192));
    assert_eq!(finding.failure.map(|found| found.who.to_string()).as_deref(), Some(SENDER));
    assert_eq!(finding.planted.map(|host| host.to_string()).as_deref(), Some(PLANTED));
    // The same text of a daemon that nobody vouches for has no spans to reject.
    let unknown = support::entry(line, None, 0);
    let finding = support::guide().find(&unknown, &mut Memory::new(8_192));
    assert_eq!(finding.failure.map(|found| found.who.to_string()).as_deref(), Some(PLANTED));
}

#[test]
fn other_programs_of_the_unit_ban_nobody() {
    let filter = support::filter(&["from <HOST>"]);
    for (line, host) in [
        ("pve sshd[1]: Invalid user a from 198.51.100.1 port 1", Some(SENDER)),
        ("pve sudo[1]: Invalid user a from 198.51.100.1 port 1", None),
        ("pve bash[1]: sshd[1]: Invalid user a from 198.51.100.1 port 1", None),
        ("pve x sshd[1]: Invalid user a from 198.51.100.1 port 1", None),
    ] {
        assert_eq!(found(&filter, line, Daemon::Sshd).as_deref(), host, "{line}");
    }
}

#[test]
fn a_message_that_no_form_describes_is_believed_with_one_address_only() {
    let filter = support::filter(&["from <HOST>"]);
    for (message, host) in [
        ("Something new from 198.51.100.1 port 1", Some(SENDER)),
        ("Something new from 198.51.100.1 port 1, 198.51.100.1 again", Some(SENDER)),
        ("Something new: from 203.0.113.9 from 198.51.100.1 port 1", None),
        ("Something new from 198.51.100.1 port 1: 2001:db8::1", None),
    ] {
        let line = format!("pve sshd[1]: {message}");
        assert_eq!(found(&filter, &line, Daemon::Sshd).as_deref(), host, "{message}");
        let line = format!("pve pvedaemon[1]: {message}");
        assert_eq!(found(&filter, &line, Daemon::Pvedaemon), None, "{message}");
    }
}

#[test]
fn the_client_cannot_hide_behind_ignoreregex_or_break_a_match() {
    let text = guard::core::filter::FilterText {
        failregex: vec![r"Invalid user (?:\S+|[^ ]+) from <HOST>".to_owned()],
        ignoreregex: vec![r"from 192\.0\.2\.\d+".to_owned(), "user backup ".to_owned()],
        ..Default::default()
    };
    let filter = Filter::compile(&text, Default::default()).expect("a filter");
    for (user, host) in [
        ("a", Some(SENDER)),
        ("backup", None),
        ("a from 192.0.2.1", Some(SENDER)),
        ("a b c", Some(SENDER)),
    ] {
        let line = format!("pve sshd[1]: Invalid user {user} from 198.51.100.1 port 1");
        assert_eq!(found(&filter, &line, Daemon::Sshd).as_deref(), host, "{user}");
    }
    let line = "pve sshd[1]: Invalid user a from 192.0.2.7 port 1";
    assert_eq!(found(&filter, line, Daemon::Sshd), None);
}

#[test]
fn the_client_cannot_turn_a_failure_into_a_helper_line() {
    let filter = support::filter(&[
        r"(?P<mlfid>sshd\[1\]): Failed publickey for invalid user (?:(?! from ).)* from <HOST> port",
        r"(?P<mlfid>sshd\[1\]): <F-NOFAIL>Failed publickey</F-NOFAIL> for .* from <HOST> port",
    ]);
    for (user, host) in [
        ("root", None),
        ("invalid user a", Some(SENDER)),
        ("invalid user a from 203.0.113.9 port 22", Some(SENDER)),
    ] {
        let line =
            format!("pve sshd[1]: Failed publickey for {user} from 198.51.100.1 port 1 ssh2");
        assert_eq!(found(&filter, &line, Daemon::Sshd).as_deref(), host, "{user}");
    }
}
