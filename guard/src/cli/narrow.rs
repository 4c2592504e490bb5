//! What guardctl prints, with data as wide as hosts have it every day: a jail of 20 characters,
//! IPv6 addresses and networks, a user of 32. It fits 80 columns, whether somebody looks at it
//! or a pipe takes it.

use super::layout::USUAL;
use super::*;
use crate::control::event::{BanTold, Event, What};
use crate::control::protocol::{BanRow, JailStatus, Reloaded, Standing, StandingBan};
use crate::core::addr::Prefix;
use crate::core::date::Zone;
use crate::core::enforced::{Capabilities, Coverage, Dropped};
use crate::core::jail::JailName;
use crate::core::reason::{Allowed, Reason};
use crate::core::surplus::Evictions;
use crate::core::time::{Span, Timestamp};
use crate::enforce::probe::{Probed, ProbedInterface};
use crate::tool::check::{CheckedJail, Report};
use crate::tool::replay::{JailSummary, Period, Replay, ReplayedBan};
use crate::tool::verdict::{Decision, Verdict};

const JAIL: &str = "recidive-all-of-them";
const USER: &str = "a-user-name-of-thirty-two-letter";
const NOW: Timestamp = Timestamp::from_seconds(1_795_444_209);

fn jail() -> JailName {
    JailName::new(JAIL).expect("a name")
}

fn network() -> Prefix {
    "2001:db8:1111:2222::/64".parse().expect("a network")
}

fn address() -> Prefix {
    "2001:db8:1111:2222:3333:4444:5555:6666".parse().expect("an address")
}

fn reason() -> Reason {
    let within = Span::from_seconds(86_399);
    Reason::Failures { count: 1_000, within, last: Some(address()) }
}

fn until() -> Timestamp {
    NOW + Span::from_seconds(604_800)
}

/// Fails unless every line fits, has no colour and ends with no space.
fn fits(text: &str) {
    assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{text:?}");
    for line in text.lines() {
        // Fail2Ban's tree has tabs.
        let wide = line.chars().fold(0, |at, c| if c == '\t' { (at / 8 + 1) * 8 } else { at + 1 });
        assert!(wide <= USUAL, "{wide} columns: {line}\n{text}");
        assert!(!line.contains('\x1b'), "colour: {line:?}");
        assert!(!line.ends_with(' '), "a space at the end: {line:?}");
    }
}

/// The text without its breaks.
fn whole(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn ban() -> BanRow {
    BanRow {
        jail: jail(),
        address: network(),
        since: NOW,
        until: Some(until()),
        reason: reason(),
        enforced: true,
        not_enforced_because: None,
        dropped: Some(Dropped { packets: 123_456_789, bytes: 0, sampled: true }),
    }
}

#[test]
fn a_table_of_bans() {
    let forever = BanRow { until: None, enforced: false, ..ban() };
    let text = bans::text(&[ban(), forever], NOW, USUAL);
    fits(&text);
    assert!(whole(&text).contains(&reason().to_string()), "{text}");
    assert!(text.contains("NOT ENFORCED") && text.contains("never ends"), "{text}");
}

#[test]
fn a_ban_of_an_ipv4_address_by_a_jail_of_guards_own_has_one_line() {
    for name in ["sshd", "proxmox"] {
        let row = BanRow {
            jail: JailName::new(name).expect("a name"),
            address: "192.0.2.1".parse().expect("an address"),
            reason: Reason::Failures { count: 5, within: Span::from_seconds(598), last: None },
            dropped: Some(Dropped { packets: 1_234, bytes: 0, sampled: false }),
            ..ban()
        };
        let text = bans::text(&[row], NOW, USUAL);
        fits(&text);
        assert_eq!(text.lines().count(), 2, "{text}");
        // The words in front are what scripts take.
        let words: Vec<&str> = text.lines().nth(1).expect("a row").split_whitespace().collect();
        assert_eq!(words[..2], [name, "192.0.2.1"]);
    }
}

#[test]
fn how_an_address_stands() {
    let standing = Standing {
        jail: jail(),
        max_retry: 1_000,
        find_time: Span::from_seconds(86_399),
        failures: vec![NOW; 12],
        counted_with: Some(network()),
        ban: Some(StandingBan {
            source: network(),
            since: NOW,
            until: Some(until()),
            reason: reason(),
        }),
        enforced: true,
        dropped: Some(Dropped { packets: u64::MAX, bytes: 0, sampled: true }),
        allowed: Some(Allowed::Session { address: address() }),
    };
    let lost = Standing { enforced: false, ..standing.clone() };
    let text = explain::in_words(address(), &[standing, lost], USUAL);
    fits(&text);
    assert!(whole(&text).contains(&format!("banned with {} since", network())), "{text}");
    // A sentence begins two columns in, and goes on four columns in.
    let deepest = text.lines().map(|line| line.len() - line.trim_start().len()).max();
    assert_eq!(deepest, Some(4), "{text}");
}

fn verdict(decision: Decision) -> Verdict {
    Verdict {
        jail: jail(),
        decision,
        number: Some(3),
        expression: Some("^x from <HOST>$".to_owned()),
        who: Some(address().to_string()),
        counted_with: Some(network()),
        user: Some(USER.to_owned()),
        time: Some(NOW),
        captured: [("user".to_owned(), USER.to_owned())].into(),
        planted: Some(address()),
        given_up: Some(2),
        max_retry: 1_000,
        find_time: Span::from_seconds(86_399),
        ban_time: Some(Span::from_seconds(604_799)),
    }
}

#[test]
fn what_becomes_of_a_line() {
    for decision in [
        Decision::Counted,
        Decision::NoAddress,
        Decision::Helper,
        Decision::Allowed { why: Allowed::Listed { entry: network() } },
    ] {
        fits(&explain::verdict_in_words(&verdict(decision), USUAL));
    }
    // What is quoted stays in one line, however long it is.
    let expression = format!("^{} from <HOST>$", "a b ".repeat(40));
    let long = Verdict { expression: Some(expression.clone()), ..verdict(Decision::Counted) };
    let text = explain::verdict_in_words(&long, USUAL);
    assert!(text.contains(&format!("  expression 3: {expression}\n")), "{text}");
}

#[test]
fn what_interfaces_can_do() {
    let interface = |means: &str, reason: &str, attached| ProbedInterface {
        driver: Some("virtio_net".to_owned()),
        native_xdp: None,
        other_program: Some(4_294_967_295),
        attached,
        choice: Coverage {
            interface: "enp129s0f1np1v0".to_owned(),
            means: means.to_owned(),
            reason: reason.to_owned(),
            dropped: None,
        },
    };
    let mut found = probe::Found {
        bpf: Probed {
            bpf: Some("loading a program: operation not permitted; ".repeat(4)),
            tcx: Some(false),
            clsact: None,
            interfaces: vec![
                interface(
                    "generic XDP",
                    "the XDP program 12, which is not guard's, is on it and stays; tried natively",
                    false,
                ),
                interface("native XDP", "hardware", true),
            ],
        },
        nft: Some("asking nftables: ".to_owned() + &"it is not there ".repeat(9)),
        backend: Backend::Xdp,
        backend_reason: "XDP can be used here, ".repeat(6),
        redirections: vec!["TCP to port 2200 is sent to this host port 22, ".repeat(4)],
    };
    let text = probe::in_words(&found, USUAL);
    fits(&text);
    // Each says on its first line what guards it.
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("enp129")).collect();
    assert!(rows[0].ends_with("generic XDP (not yet)") && rows[1].ends_with("hardware"), "{text}");
    found.redirections.clear();
    fits(&probe::in_words(&found, USUAL));
}

#[test]
fn what_happens() {
    let told = BanTold {
        jail: jail(),
        address: network(),
        since: NOW,
        until: Some(until()),
        reason: reason(),
    };
    let because = Allowed::Listed { entry: network() };
    for what in [
        What::Banned(told.clone()),
        What::Restored(told),
        What::Ignored { jail: jail(), address: address(), because },
        What::Planted { jail: jail(), address: address() },
        What::Full { jail: jail(), address: address() },
        What::NotEnforced { cause: "the kernel refused it, ".repeat(9) },
    ] {
        let line = events::line(&Event { time: NOW, what });
        fits(&(layout::streamed(&line, USUAL) + "\n"));
    }
    let usual = BanTold {
        jail: JailName::new("sshd").expect("a name"),
        address: "192.0.2.123".parse().expect("an address"),
        since: NOW,
        until: Some(NOW + Span::from_seconds(600)),
        reason: Reason::Failures { count: 5, within: Span::from_seconds(598), last: None },
    };
    let line = events::line(&Event { time: NOW, what: What::Banned(usual) });
    assert_eq!(layout::streamed(&line, USUAL), line, "one line");
}

#[test]
fn bans_of_the_past() {
    let limits = Settings::default().limits.engine();
    let zone = Zone::new(jiff::tz::TimeZone::UTC);
    let allow = crate::core::allow::AllowList::default();
    let mut replay = Replay::new(Vec::new(), allow, limits, Period::default(), zone);
    replay.jails = vec![JailSummary {
        jail: jail(),
        lines: 9_999_999,
        failures: 999_999,
        sources: 99_999,
        bans: 9_999,
        allowed: 99_999,
        planted: 99_999,
        given_up: 9_999_999,
    }];
    replay.bans = vec![ReplayedBan {
        jail: jail(),
        address: network(),
        since: NOW,
        until: Some(until()),
        reason: reason(),
        why: reason().to_string(),
    }];
    replay.lines = u64::MAX;
    replay.span = Some((NOW, until()));
    let text = replay::in_words(&replay, USUAL);
    fits(&text);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with("GIVEN UP") && lines[1].ends_with("9999999"), "{text}");
}

#[test]
fn jails_that_are_checked_and_reloaded() {
    let checked = CheckedJail { name: JAIL.to_owned(), filter: JAIL.to_owned(), expressions: 999 };
    let report = Report { jails: vec![checked], ..Report::default() };
    fits(&check::closing(&report, USUAL));
    let change = Reloaded { kept: vec![jail(); 12], ..Reloaded::default() };
    fits(&reload::text(&change, USUAL));
}

#[test]
fn status_has_fail2bans_lines() {
    let dropped = Some(Dropped { packets: 12_345_678_901, bytes: 1 << 43, sampled: true });
    let one = JailStatus {
        name: jail(),
        currently_failed: u32::MAX as usize,
        total_failed: u64::MAX,
        evictions: Evictions::default(),
        journal_matches: "_SYSTEMD_UNIT=ssh.service + _COMM=sshd".to_owned(),
        files: None,
        total_banned: u64::MAX,
        banned: vec![network()],
        not_enforced: Vec::new(),
        dropped,
    };
    fits(&status::one_jail(&one));
    // Lists are one line, as Fail2Ban has them and as scripts read them.
    let many = JailStatus { banned: vec![network(); 99], ..one.clone() };
    assert_eq!(status::one_jail(&many).lines().count(), status::one_jail(&one).lines().count());
    let all = Status {
        version: "0.1.0".to_owned(),
        backend: "xdp".to_owned(),
        backend_reason: "BPF can be used".to_owned(),
        capabilities: Capabilities { counts_drops: true, ends_bans: true, survives_agent: true },
        jails: vec![one],
        interfaces: vec![Coverage {
            interface: "enp129s0f1np1v0".to_owned(),
            means: "generic XDP".to_owned(),
            reason: String::new(),
            dropped,
        }],
        problems: Vec::new(),
        forged_entries: 0,
        put_right: 0,
        notified: crate::control::protocol::Notified::default(),
    };
    fits(&status::overview(&all));
}
