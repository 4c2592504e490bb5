//! Tests of the agent's configuration, against the shipped file.

use proptest::prelude::*;

use super::*;
use crate::config::notify::Means;
use crate::core::jail::JailName;

const SHIPPED: &str = include_str!("../../../../config/guard.toml");

fn parse(text: &str) -> Result<Settings, Diagnostics> {
    Settings::parse(Path::new("guard.toml"), text)
}

/// The shipped file with the comment sign before each documented default removed.
fn documented() -> String {
    let is_key = |line: &str| {
        let key = line.strip_prefix('#').and_then(|line| line.split_once(" = "));
        let of_key = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        key.is_some_and(|(key, _)| key.bytes().all(of_key))
    };
    let line = |line: &str| if is_key(line) { line[1..].to_owned() } else { line.to_owned() };
    SHIPPED.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_shipped_file_changes_nothing() {
    assert_eq!(parse(SHIPPED).expect("it parses"), Settings::default());
}

#[test]
fn every_key_is_documented_with_its_default() {
    let documented = documented();
    assert_eq!(parse(&documented).expect("it parses"), Settings::default());
    let mut missing = Vec::new();
    // Those of `[[notify]]` have no default that could stand alone; `reference` sees them.
    for asked in Settings::keys().into_iter().filter(|asked| asked.table != "notify") {
        if !documented.lines().any(|line| line.starts_with(&format!("{} = ", asked.key))) {
            missing.push(asked.key);
        }
    }
    assert_eq!(missing, ["limits", "notify"], "a table has no line `key = value`");
    assert!(documented.contains("\n[limits]\n"));
}

#[test]
fn the_example_of_a_list_of_tables_is_right() {
    let example = SHIPPED.split_once("# [[notify]]").expect("an example").1;
    let lines = example.lines().map(|line| line.strip_prefix("# ").unwrap_or(line));
    let text = format!("[[notify]]{}", lines.collect::<Vec<_>>().join("\n"));
    let settings = parse(&text).expect("it parses");
    let [hook] = settings.notify.as_slice() else { panic!("{text}") };
    assert!(hook.bans && !hook.unbans && hook.jails.is_empty(), "{hook:?}");
    assert_eq!((hook.per_minute, hook.timeout), (30, Span::from_seconds(10)));
}

#[test]
fn every_key_is_taken() {
    let text = r#"
        backend = "nft"
        interfaces = ["eno1", "vmbr0"]
        scope = "all"
        generic-xdp = true
        allow = ["192.0.2.0/24", "2001:db8::1"]
        jail-directory = "/a"
        vendor-directory = "/b"
        state-directory = "/c"
        socket = "/d"
        fail2ban-socket = "/g"
        helper-socket = "/f"
        bpf-directory = "/e"
        log = "journal"
        [limits]
        bans = 1_000
        tracked-failures = 0x10
        connections = 7
        exact-counters = 0
        known-sources = 9
        history = "1d 12h"
        match-steps = 2000
        [[notify]]
        jails = ["sshd"]
        events = ["unban"]
        command = ["/x", "y"]
        per-minute = 3
        timeout = "4s"
    "#;
    let prefix = |text: &str| text.parse::<Prefix>().expect("a prefix");
    let expected = Settings {
        backend: Backend::Nft,
        interfaces: Interfaces::Named(vec!["eno1".into(), "vmbr0".into()]),
        scope: Scope::All,
        generic_xdp: true,
        allow: [prefix("192.0.2.0/24"), prefix("2001:db8::1")].into_iter().collect(),
        jail_directory: "/a".into(),
        vendor_directory: "/b".into(),
        state_directory: "/c".into(),
        socket: "/d".into(),
        fail2ban_socket: Some("/g".into()),
        helper_socket: "/f".into(),
        bpf_directory: "/e".into(),
        log: LogTarget::Journal,
        limits: Limits {
            bans: 1_000,
            tracked_failures: 16,
            connections: 7,
            exact_counters: 0,
            known_sources: 9,
            history: Span::from_seconds(36 * 3_600),
            match_steps: 2_000,
        },
        notify: vec![Hook {
            jails: vec![JailName::new("sshd").expect("a name")],
            bans: false,
            unbans: true,
            means: Means::Program(vec!["/x".into(), "y".into()]),
            per_minute: 3,
            timeout: Span::from_seconds(4),
        }],
    };
    assert_eq!(parse(text).expect("it parses"), expected);
}

#[test]
fn fail2bans_socket_lies_beside_the_other_or_is_off() {
    let socket = |text: &str| parse(text).expect("it parses").fail2ban_socket;
    assert_eq!(socket("socket = \"/x/y\""), Some("/x/fail2ban.sock".into()));
    assert_eq!(socket("socket = \"/x/y\"\nfail2ban-socket = \"/z\""), Some("/z".into()));
    assert_eq!(socket("fail2ban-socket = \"off\""), None);
    assert!(parse("fail2ban-socket = \"on\"").is_err());
}

#[test]
fn all_problems_are_told_at_once() {
    let text = "backend = \"xpd\"\nintrefaces = \"auto\"\nscope = 1\nallow = [\"10.0.0.0/33\"]\n\
                socket = \"guard.sock\"\ninterfaces = [\"lo\"]\n[limits]\nbans = 0\nban = 1\n\
                history = \"-1\"\n\
                [limit]\n";
    let told: Vec<_> = parse(text)
        .expect_err("problems")
        .0
        .iter()
        .map(|diagnostic| {
            let place = diagnostic.place.as_ref().expect("a place");
            let help = diagnostic.help.as_deref().expect("a help");
            format!(
                "{}:{}:{} {} ({help})",
                place.line, place.column, place.length, diagnostic.message
            )
        })
        .collect();
    let expected = [
        "1:11:5 backend = \"xpd\" is unknown (did you mean \"xdp\"?)",
        "6:15:4 `\"lo\"` is loopback, which is never banned (`ip link` lists the names of this host's interfaces)",
        "3:9:1 scope = 1 is no string (write one of \"host\", \"all\")",
        "4:10:13 `\"10.0.0.0/33\"` is neither an address nor a prefix (write such as [\"192.0.2.1\", \"2001:db8::/32\"])",
        "5:10:12 socket = \"guard.sock\" is no absolute path (begin it with /)",
        "8:8:1 bans = 0 is out of range (write a whole number from 1 to 16777216)",
        "10:11:4 history = \"-1\" is no length of time (write a length of time in quotes, such as \"36h\" or \"1d\")",
        "9:1:3 unknown key `ban` (did you mean `bans`?)",
        "2:1:10 unknown key `intrefaces` (did you mean `interfaces`?)",
        "11:2:5 unknown key `limit` (did you mean `limits`?)",
    ];
    assert_eq!(told, expected);
}

#[test]
fn broken_syntax_is_told_with_the_rest() {
    let error = parse("backend = nft\nscope = \"hots\"\ngeneric-xdp = \n").expect_err("broken");
    let lines: Vec<_> = error.0.iter().map(|d| d.place.as_ref().expect("a place").line).collect();
    assert!(lines.contains(&1) && lines.contains(&2) && lines.contains(&3), "{error}");
    assert!(parse("bans = 1\nbans = 2\n").is_err());
}

#[test]
fn a_named_file_must_exist_and_the_usual_one_need_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("guard.toml");
    let error = Settings::load(Some(&path)).expect_err("it is missing").to_string();
    assert!(error.starts_with(&format!("error: {}: cannot read", path.display())), "{error}");
    std::fs::write(&path, "scope = \"all\"\n").expect("written");
    assert_eq!(Settings::load(Some(&path)).expect("it is there").scope, Scope::All);
    if !Path::new(Settings::PATH).exists() {
        assert_eq!(Settings::load(None).expect("defaults"), Settings::default());
    }
}

proptest! {
    #[test]
    fn any_text_is_settings_or_problems_within_the_file(
        bytes: Vec<u8>,
        near in "((backend|allow|limits|socket|x) ?[=.\\[] ?[\"\\[\\]a-z0-9,é]{0,6}\n){0,4}",
    ) {
        for text in [String::from_utf8_lossy(&bytes).into_owned(), near] {
            let Err(problems) = parse(&text) else { continue };
            for problem in &problems.0 {
                let place = problem.place.as_ref().expect("a place");
                prop_assert!(place.line <= 1 + text.matches('\n').count());
                prop_assert!(place.column <= 1 + place.source.chars().count());
                let _ = problem.render(false);
            }
        }
    }
}
