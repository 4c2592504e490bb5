//! IPv6: who has one address of a network has the others too.

use guard::core::addr::Prefix;
use guard::core::allow::AllowList;
use guard::core::effects::{Effects, Report};
use guard::core::engine::{Engine, Stored};
use guard::core::host::HostAddresses;
use guard::core::input::{Input, Manual};
use guard::core::jail::{IgnoreCommand, Jail, JailId};
use guard::core::question::{Answer, Ask, Said};
use guard::core::reason::Reason;
use guard::core::time::Span;

use super::returning::recidive;
use super::{LIMITS, at, bans, batch, engine, engine_of, entry, inside, jails, source};

fn prefix(text: &str) -> Prefix {
    text.parse().expect("a prefix")
}

/// A failure of each of these addresses in the first jail, a second apart.
fn fail(engine: &mut Engine, addresses: &[&str], from: i64) -> Effects {
    let mut last = Effects::default();
    for (now, address) in (from..).zip(addresses) {
        let mut entry = entry(1, 0, now);
        entry.line = format!("failed from {address}");
        last = engine.handle(at(now), batch(vec![entry], 1, now));
    }
    last
}

fn banned(engine: &Engine) -> Vec<String> {
    bans(engine).into_keys().map(|(jail, source)| format!("{jail} {source}")).collect()
}

fn of_length(ipv6_prefix: u8) -> Engine {
    let jails = jails().into_iter().map(|jail| Jail { ipv6_prefix, ..jail }).collect();
    engine_of(jails, Stored::default(), at(0)).0
}

fn unban(engine: &mut Engine, now: i64, whom: &str) -> Effects {
    let sources = Some(vec![prefix(whom)]);
    engine.handle(at(now), Input::Manual(Manual::Unban { jail: Some(JailId(0)), sources }))
}

fn ban(engine: &mut Engine, now: i64, whom: &str) {
    let sources = vec![prefix(whom)];
    let manual = Manual::Ban { jail: JailId(0), sources, ban_time: None, force: false };
    engine.handle(at(now), Input::Manual(manual));
}

#[test]
fn addresses_of_one_network_count_together_and_are_banned_with_it() {
    let three = ["2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:1::3"];
    for (length, expected) in [
        (128, None),
        (65, None),
        (64, Some("0 2001:db8:0:1::/64")),
        (56, Some("0 2001:db8::/56")),
        (48, Some("0 2001:db8::/48")),
    ] {
        let mut engine = of_length(length);
        fail(&mut engine, &three, 1);
        assert_eq!(banned(&engine), expected.into_iter().collect::<Vec<_>>(), "/{length}");
    }
    // The network beside it, and IPv4, count for themselves.
    let mut engine = of_length(64);
    fail(&mut engine, &["2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:2::1"], 1);
    fail(&mut engine, &["192.0.2.1", "192.0.2.2", "192.0.2.3"], 4);
    assert!(banned(&engine).is_empty());
}

#[test]
fn a_ban_of_a_network_tells_who_failed_last() {
    let mut engine = of_length(64);
    let effects = fail(&mut engine, &["2001:db8::1", "2001:db8::2", "2001:db8::3"], 1);
    let [Report::Found(failure), Report::Banned(ban)] = &effects.report[..] else {
        panic!("{:?}", effects.report)
    };
    assert_eq!((failure.source, ban.source), (prefix("2001:db8::3"), prefix("2001:db8::/64")));
    let last = Some(prefix("2001:db8::3"));
    assert_eq!(ban.reason, Reason::Failures { count: 3, within: Span::from_seconds(2), last });
    assert_eq!(ban.reason.to_string(), "3 failures in 2s, the last by 2001:db8::3");
}

#[test]
fn a_network_with_somebody_who_must_not_be_banned_is_taken_apart() {
    for (own, listed) in [("2001:db8::a", "192.0.2.9"), ("192.0.2.8", "2001:db8:0:0:1::/80")] {
        let host = HostAddresses { own: vec![prefix(own).address()], ..HostAddresses::default() };
        let allow: AllowList = [prefix(listed)].into_iter().collect();
        let (mut engine, _) =
            Engine::restore(jails(), allow, LIMITS, host, Stored::default(), at(0));
        fail(&mut engine, &["2001:db8::1", "2001:db8::2", "2001:db8::3"], 1);
        assert!(banned(&engine).is_empty());
        fail(&mut engine, &["2001:db8::3", "2001:db8::3"], 4);
        assert_eq!(banned(&engine), ["0 2001:db8::3"]);
        // The network beside it is not.
        fail(&mut engine, &["2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:1::3"], 6);
        assert_eq!(banned(&engine), ["0 2001:db8::3", "0 2001:db8:0:1::/64"]);
    }
}

#[test]
fn a_network_that_gets_an_own_address_is_let_in() {
    let mut engine = of_length(64);
    fail(&mut engine, &["2001:db8::1", "2001:db8::2", "2001:db8::3"], 1);
    let own = vec![prefix("2001:db8::a").address()];
    let host = HostAddresses { own, ..HostAddresses::default() };
    engine.handle(at(9), Input::HostAddresses(host));
    assert!(banned(&engine).is_empty());
}

#[test]
fn who_logs_in_is_let_in_and_not_all_of_a_prefix_that_was_banned_by_hand() {
    let mut engine = of_length(64);
    let sources = ["203.0.113.0/24", "203.0.113.5", "203.0.113.6"].map(prefix).to_vec();
    let by_hand = Manual::Ban { jail: JailId(0), sources, ban_time: None, force: false };
    engine.handle(at(1), Input::Manual(by_hand));
    let sessions = vec![prefix("203.0.113.5").address()];
    let host = HostAddresses { sessions, ..HostAddresses::default() };
    engine.handle(at(2), Input::HostAddresses(host));
    let mut left = banned(&engine);
    left.sort_unstable();
    assert_eq!(left, ["0 203.0.113.0/24", "0 203.0.113.6"]);
    // Nobody new is banned together with who is logged in, by hand neither.
    let sources = vec![prefix("203.0.113.4/31")];
    let by_hand = Manual::Ban { jail: JailId(0), sources, ban_time: None, force: false };
    engine.handle(at(3), Input::Manual(by_hand));
    assert_eq!(banned(&engine).len(), 2);
}

#[test]
fn an_unban_of_an_address_is_one_of_its_network() {
    let mut engine = of_length(64);
    let three = ["2001:db8::1", "2001:db8::2", "2001:db8::3"];
    fail(&mut engine, &three, 1);
    let effects = unban(&mut engine, 9, "2001:db8::77");
    assert!(banned(&engine).is_empty());
    let outcome = effects.outcome.expect("an outcome");
    assert_eq!(outcome.changed, 1);
    let network = prefix("2001:db8::/64");
    assert_eq!(outcome.with_network, [(prefix("2001:db8::77"), network)]);
    // Whoever is let in starts afresh, also with what is read later.
    fail(&mut engine, &three, 5);
    assert!(banned(&engine).is_empty());
    fail(&mut engine, &three[..2], 10);
    let effects = unban(&mut engine, 12, "2001:db8::4");
    assert_eq!(effects.outcome.expect("an outcome").unchanged, [prefix("2001:db8::4")]);
    fail(&mut engine, &three[..2], 13);
    assert!(banned(&engine).is_empty());
    fail(&mut engine, &three[..1], 15);
    assert_eq!(banned(&engine), ["0 2001:db8::/64"]);
    // So does a ban from when the jail counted otherwise.
    let mut stored = Stored::default();
    stored.bans.extend(engine.bans());
    let others = jails().into_iter().map(|jail| Jail { ipv6_prefix: 128, ..jail }).collect();
    let (mut engine, _) = engine_of(others, stored, at(16));
    assert_eq!(banned(&engine), ["0 2001:db8::/64"]);
    unban(&mut engine, 17, "2001:db8::1");
    assert!(banned(&engine).is_empty());
}

#[test]
fn what_was_banned_by_hand_is_unbanned_as_it_was_banned() {
    let mut engine = of_length(64);
    ban(&mut engine, 1, "2001:db8::/64");
    ban(&mut engine, 1, "2001:db8::1");
    assert_eq!(banned(&engine), ["0 2001:db8::/64", "0 2001:db8::1"]);
    let outcome = unban(&mut engine, 2, "2001:db8::1").outcome.expect("an outcome");
    assert_eq!(banned(&engine), ["0 2001:db8::/64"]);
    assert_eq!(outcome.still_banned, [(prefix("2001:db8::1"), prefix("2001:db8::/64"))]);
    ban(&mut engine, 3, "2001:db8::1");
    unban(&mut engine, 4, "2001:db8::/64");
    assert_eq!(banned(&engine), ["0 2001:db8::1"]);
}

#[test]
fn bans_of_networks_are_read_by_a_jail_that_reads_bans() {
    let mut all = jails();
    all.push(recidive());
    let (mut engine, _) = engine_of(all, Stored::default(), at(0));
    for now in [1, 200] {
        let addresses = [now, now + 1, now + 2].map(|n| inside(3, n).to_string());
        fail(&mut engine, &addresses.each_ref().map(String::as_str), now);
        let count = if now == 1 { 1 } else { 2 };
        assert_eq!(bans(&engine).len(), count, "{:?}", banned(&engine));
    }
    assert!(bans(&engine).contains_key(&(2, source(3))));
}

#[test]
fn a_command_is_asked_about_the_address_that_failed_last() {
    let arguments = vec!["/bin/known".to_owned(), "<ip>".to_owned()];
    let mut all = jails();
    all[0].ignore_command = Some(IgnoreCommand { arguments, cache: None });
    let (mut engine, _) = engine_of(all, Stored::default(), at(0));
    let mut effects = fail(&mut engine, &["2001:db8::1", "2001:db8::2", "2001:db8::3"], 1);
    let question = effects.ask.remove(0);
    assert_eq!(question.ask, Ask::Run(vec!["/bin/known".into(), "2001:db8::3".into()]));
    // Somebody who must not be banned appears beside it meanwhile.
    let own = vec![prefix("2001:db8::a").address()];
    engine.handle(at(4), Input::HostAddresses(HostAddresses { own, ..HostAddresses::default() }));
    let said = Ok(Said::Exited(1));
    engine.handle(at(5), Input::Answer(Answer { id: question.id, said }));
    assert_eq!(banned(&engine), ["0 2001:db8::3"]);
}

#[test]
fn an_address_is_explained_with_its_network() {
    let (mut engine, _) = engine(Stored::default(), at(0));
    fail(&mut engine, &["2001:db8::1", "2001:db8::2"], 1);
    let standing = engine.standing(JailId(0), prefix("2001:db8::9"), at(3));
    assert_eq!(standing.failures, [at(1), at(2)]);
    assert_eq!(standing.counted_with, Some(prefix("2001:db8::/64")));
    fail(&mut engine, &["2001:db8::3"], 3);
    let banned = engine.standing(JailId(0), prefix("2001:db8::9"), at(4)).ban;
    assert_eq!(banned.map(|ban| ban.source), Some(prefix("2001:db8::/64")));
    let beside = engine.standing(JailId(0), prefix("2001:db8:0:1::9"), at(4));
    assert_eq!((beside.ban, beside.failures.len()), (None, 0));
    let alone = engine.standing(JailId(0), prefix("192.0.2.1"), at(4));
    assert_eq!(alone.counted_with, None);
}
