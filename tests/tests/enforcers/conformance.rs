//! The contract of `guard::enforce`, over any enforcer.
//!
//! Input: a function that opens the enforcer; it is called inside a new network
//! namespace, and again to reopen it there. Output: a panic that says which promise is
//! broken. What is held is always read back through the enforcer, from the kernel.

use std::collections::BTreeSet;

use guard::core::addr::Prefix;
use guard::core::delta::{Ban, Delta, JailPorts, Snapshot};
use guard::core::host::Host;
use guard::core::jail::{JailId, JailName};
use guard::core::ports::{Ports, Protocols};
use guard::core::reason::Reason;
use guard::core::time::Span;
use guard::enforce::{Enforcer, Moment};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::world::{Namespace, now};

/// Bans as jail and source.
type Bans = BTreeSet<(String, Prefix)>;

pub(crate) fn done_twice_is_done_once(open: impl FnMut() -> Box<dyn Enforcer> + Send) {
    inside(open, |open| {
        let mut enforcer = open();
        let snapshot = snapshot(&[("sshd", 22), ("proxmox", 8006)], &[]);
        for _ in 0..2 {
            enforcer.replace(&snapshot, now()).expect("replace");
            assert_eq!(held(&mut *enforcer), bans(&[]));
        }
        let batch = [
            Delta::Ban(ban(0, "192.0.2.1")),
            Delta::Ban(ban(1, "192.0.2.1")),
            Delta::Ban(ban(1, "2001:db8::1")),
        ];
        for _ in 0..2 {
            enforcer.apply(&batch, now()).expect("ban");
            let all = [("sshd", "192.0.2.1"), ("proxmox", "192.0.2.1"), ("proxmox", "2001:db8::1")];
            assert_eq!(held(&mut *enforcer), bans(&all));
        }
        // One of two jails, and what was never there, in one batch.
        let batch = [
            unban(1, "192.0.2.1"),
            unban(0, "192.0.2.9"),
            unban(0, "2001:db8::9"),
            unban(1, "2001:db8::9"),
        ];
        for _ in 0..2 {
            enforcer.apply(&batch, now()).expect("unban");
            let rest = [("sshd", "192.0.2.1"), ("proxmox", "2001:db8::1")];
            assert_eq!(held(&mut *enforcer), bans(&rest));
        }
        // The last word on a source counts.
        let banned = Delta::Ban(ban(0, "192.0.2.5"));
        enforcer.apply(&[banned, unban(0, "192.0.2.5"), banned], now()).expect("apply");
        enforcer.apply(&[unban(0, "192.0.2.1"), banned], now()).expect("apply");
        let batch = [banned, Delta::Ban(ban(0, "192.0.2.6")), unban(0, "192.0.2.6")];
        enforcer.apply(&batch, now()).expect("apply");
        let rest = [("sshd", "192.0.2.5"), ("proxmox", "2001:db8::1")];
        assert_eq!(held(&mut *enforcer), bans(&rest));
        enforcer.apply(&[], now()).expect("nothing to do");
        assert_eq!(held(&mut *enforcer), bans(&rest));
    });
}

pub(crate) fn what_ended_is_left_out(open: impl FnMut() -> Box<dyn Enforcer> + Send) {
    inside(open, |open| {
        let mut enforcer = open();
        let now = now();
        let ended = Ban { until: Some(now.wall - Span::from_seconds(1)), ..ban(0, "192.0.2.1") };
        let ends_now = Ban { until: Some(now.wall), ..ban(0, "192.0.2.2") };
        let lasts = Ban { until: Some(now.wall + Span::from_seconds(60)), ..ban(0, "192.0.2.3") };
        let ended_v6 = Ban { source: source("2001:db8::1"), ..ended };
        let all = [ended, ends_now, lasts, ended_v6];
        enforcer.replace(&snapshot(&[("sshd", 22)], &all), now).expect("replace");
        assert_eq!(held(&mut *enforcer), bans(&[("sshd", "192.0.2.3")]));
        // A ban that is replaced by one that ended is no ban any more.
        let late = Ban { until: ended.until, ..lasts };
        enforcer.apply(&[Delta::Ban(late), Delta::Ban(ended_v6)], now).expect("apply");
        assert_eq!(held(&mut *enforcer), bans(&[]));
    });
}

pub(crate) fn what_survives_is_as_declared(open: impl FnMut() -> Box<dyn Enforcer> + Send) {
    inside(open, |open| {
        let mut enforcer = open();
        let jails = [("sshd", 22), ("proxmox", 8006)];
        let all = [ban(0, "192.0.2.1"), ban(1, "2001:db8::1")];
        let snapshot = snapshot(&jails, &all);
        enforcer.replace(&snapshot, now()).expect("replace");
        let before = held(&mut *enforcer);
        let survives = enforcer.capabilities().survives_agent;
        drop(enforcer);
        let mut reopened = open();
        let expected = if survives { before.clone() } else { Bans::new() };
        assert_eq!(held(&mut *reopened), expected, "held when it was opened again");
        reopened.replace(&snapshot, now()).expect("replace");
        assert_eq!(held(&mut *reopened), before);
        assert_eq!(reopened.capabilities().survives_agent, survives);
    });
}

pub(crate) fn detaching_leaves_nothing(open: impl FnMut() -> Box<dyn Enforcer> + Send) {
    inside(open, |open| {
        let mut enforcer = open();
        enforcer.detach().expect("detach what was never there");
        let all = [ban(0, "192.0.2.1"), ban(0, "2001:db8::1")];
        let snapshot = snapshot(&[("sshd", 22)], &all);
        enforcer.replace(&snapshot, now()).expect("replace");
        enforcer.detach().expect("detach");
        assert_eq!(held(&mut *enforcer), bans(&[]));
        enforcer.detach().expect("detach again");
        drop(enforcer);
        let mut reopened = open();
        assert_eq!(held(&mut *reopened), bans(&[]));
        reopened.replace(&snapshot, now()).expect("begin again");
        assert_eq!(held(&mut *reopened).len(), 2);
    });
}

/// Steps over a small universe, against a set in memory.
pub(crate) fn any_state_is_reached_from_any_other(open: impl FnMut() -> Box<dyn Enforcer> + Send) {
    inside(open, |open| {
        let config = ProptestConfig {
            cases: guard_tests::pace::cases(48),
            // The kernel's state does not go back to where a failed run began.
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let open = std::cell::RefCell::new(open);
        let run = |steps: Vec<Step>| walk(&mut *open.borrow_mut(), steps);
        let outcome = TestRunner::new(config).run(&prop::collection::vec(step(), 1..10), run);
        outcome.unwrap_or_else(|error| panic!("{error}"));
    });
}

/// One thing that can happen to an enforcer.
#[derive(Clone, Debug)]
enum Step {
    /// The state is replaced.
    Replace { jails: Vec<(&'static str, Ports)>, bans: Vec<(u16, Prefix, Life)> },
    /// Changes are made: a ban, or `None` for an unban.
    Apply(Vec<(u16, Prefix, Option<Life>)>),
    /// The agent goes and comes back.
    Reopen,
}

/// How long a ban lasts.
#[derive(Clone, Copy, Debug)]
enum Life {
    ForEver,
    AnHour,
    Ended,
}

fn step() -> impl Strategy<Value = Step> {
    let names = Just(vec!["sshd", "proxmox", "web.all", "a-b_c"]).prop_shuffle();
    let ports = prop::sample::select(vec![
        Ports::new(Protocols::Tcp, [22..=22]),
        Ports::new(Protocols::Tcp, [80..=80, 443..=443, 8006..=8006]),
        Ports::new(Protocols::TcpAndUdp, [53..=53, 8000..=8010]),
        Ports::new(Protocols::Udp, [1..=65_535]),
        Ports::new(Protocols::TcpAndUdp, []),
        Ports::new(Protocols::All, []),
    ]);
    let jails = (names, prop::collection::vec(ports, 1..=4))
        .prop_map(|(names, ports)| names.into_iter().zip(ports).collect::<Vec<_>>());
    // Addresses, and prefixes that contain them and each other.
    let sources = [
        "192.0.2.1",
        "192.0.2.2",
        "198.51.100.7",
        "2001:db8::1",
        "2001:db8::2",
        "192.0.2.0/30",
        "192.0.2.0/24",
        "192.0.0.0/16",
        "198.51.100.0/24",
        "255.255.255.0/24",
        "0.0.0.0/1",
        "2001:db8::/64",
        "2001:db8::/32",
        "2001:db8:1::/48",
    ];
    let source = || prop::sample::select(sources.map(source).to_vec());
    let life = || prop::sample::select(vec![Life::ForEver, Life::AnHour, Life::Ended]);
    let bans = prop::collection::btree_map((0..4_u16, source()), life(), 0..20)
        .prop_map(|bans| bans.into_iter().map(|((jail, source), life)| (jail, source, life)));
    let changes = prop::collection::vec((0..4_u16, source(), prop::option::of(life())), 0..12);
    prop_oneof![
        3 => (jails, bans).prop_map(|(jails, bans)| Step::Replace { jails, bans: bans.collect() }),
        4 => changes.prop_map(Step::Apply),
        1 => Just(Step::Reopen),
    ]
}

fn walk(
    open: &mut dyn FnMut() -> Box<dyn Enforcer>,
    steps: Vec<Step>,
) -> Result<(), TestCaseError> {
    let mut enforcer = open();
    let mut snapshot = Snapshot::default();
    enforcer.replace(&snapshot, now()).expect("replace by nothing");
    let mut model = Bans::new();
    for step in steps {
        let now = now();
        let named = |snapshot: &Snapshot, ban: &Ban| {
            (snapshot.jails[ban.jail.index()].name.to_string(), ban.source)
        };
        match step {
            Step::Replace { jails, bans } => {
                let jail = |(name, ports): (&str, Ports)| JailPorts { name: name_of(name), ports };
                snapshot.jails = jails.into_iter().map(jail).collect();
                let known = snapshot.jails.len();
                let bans = bans.into_iter().filter(|(jail, _, _)| usize::from(*jail) < known);
                snapshot.bans =
                    bans.map(|(jail, source, life)| lasting(jail, source, life, now)).collect();
                enforcer.replace(&snapshot, now).expect("replace");
                let live = snapshot.bans.iter().filter(|ban| is_live(ban, now));
                model = live.map(|ban| named(&snapshot, ban)).collect();
            }
            Step::Apply(changes) => {
                let known = snapshot.jails.len();
                let changes = changes.into_iter().filter(|(jail, _, _)| usize::from(*jail) < known);
                let mut deltas = Vec::new();
                for (jail, source, life) in changes {
                    let ban = lasting(jail, source, life.unwrap_or(Life::ForEver), now);
                    if life.is_some() && is_live(&ban, now) {
                        model.insert(named(&snapshot, &ban));
                    } else {
                        model.remove(&named(&snapshot, &ban));
                    }
                    deltas.push(match life {
                        Some(_) => Delta::Ban(ban),
                        None => Delta::Unban { jail: ban.jail, source },
                    });
                    let other = |held: &Ban| (held.jail, held.source) != (ban.jail, source);
                    snapshot.bans.retain(other);
                    snapshot.bans.extend(life.map(|_| ban));
                }
                enforcer.apply(&deltas, now).expect("apply");
            }
            Step::Reopen => {
                drop(enforcer);
                enforcer = open();
                if enforcer.capabilities().survives_agent {
                    let found = held(&mut *enforcer);
                    prop_assert!(found.is_subset(&model), "held when reopened: {found:?}");
                    // A set of ranges holds no prefix in another: that one is not told then.
                    for (jail, source) in &model {
                        let covered = found.iter().any(|(other, around)| {
                            other == jail
                                && around.contains(source)
                                && around.is_host() == source.is_host()
                        });
                        prop_assert!(covered, "[{jail}] {source} is not held when reopened");
                    }
                }
                enforcer.replace(&snapshot, now).expect("replace by the same");
            }
        }
        prop_assert_eq!(held(&mut *enforcer), model.clone());
    }
    enforcer.detach().expect("detach");
    prop_assert_eq!(held(&mut *enforcer), Bans::new());
    Ok(())
}

fn lasting(jail: u16, source: Prefix, life: Life, now: Moment) -> Ban {
    let until = match life {
        Life::ForEver => None,
        Life::AnHour => Some(now.wall + Span::from_seconds(3_600)),
        Life::Ended => Some(now.wall - Span::from_seconds(1)),
    };
    let reason = Reason::Manual { forced: false };
    Ban { jail: JailId(jail), source, since: now.wall, until, reason }
}

fn is_live(ban: &Ban, now: Moment) -> bool {
    ban.until.is_none_or(|until| until > now.wall)
}

/// Runs a check in a network namespace of its own that has nothing but loopback.
fn inside(
    mut open: impl FnMut() -> Box<dyn Enforcer> + Send,
    check: impl FnOnce(&mut dyn FnMut() -> Box<dyn Enforcer>) + Send,
) {
    let namespace = Namespace::new("contract");
    namespace.run(|| {
        check(&mut || {
            let mut enforcer = open();
            enforcer.follow(&Host::default()).expect("a host without interfaces");
            enforcer
        });
    });
}

/// What the enforcer holds, each ban once.
pub(crate) fn held(enforcer: &mut dyn Enforcer) -> Bans {
    let all = enforcer.held(now()).expect("read what is held");
    let counts = enforcer.capabilities().counts_drops;
    assert!(all.iter().all(|held| counts || held.dropped.is_none()), "drops as declared");
    let distinct: Bans = all.iter().map(|held| (held.jail.to_string(), held.source)).collect();
    assert_eq!(distinct.len(), all.len(), "each ban is listed once: {all:?}");
    distinct
}

/// A snapshot of jails with one TCP port each.
pub(crate) fn snapshot(jails: &[(&str, u16)], bans: &[Ban]) -> Snapshot {
    let jail = |(name, port): &(&str, u16)| JailPorts {
        name: name_of(name),
        ports: Ports::new(Protocols::Tcp, [*port..=*port]),
    };
    Snapshot {
        serial: 1,
        jails: jails.iter().map(jail).collect(),
        bans: bans.to_vec(),
        ..Snapshot::default()
    }
}

/// A ban without end.
pub(crate) fn ban(jail: u16, text: &str) -> Ban {
    lasting(jail, source(text), Life::ForEver, now())
}

/// An unban.
pub(crate) fn unban(jail: u16, text: &str) -> Delta {
    Delta::Unban { jail: JailId(jail), source: source(text) }
}

/// A set of bans, from text.
pub(crate) fn bans(bans: &[(&str, &str)]) -> Bans {
    bans.iter().map(|(jail, text)| ((*jail).to_owned(), source(text))).collect()
}

fn source(text: &str) -> Prefix {
    text.parse().expect("a source")
}

fn name_of(name: &str) -> JailName {
    JailName::new(name).expect("a jail's name")
}
