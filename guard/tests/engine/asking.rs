//! What needs an answer from outside: commands, names and files.

use std::net::{IpAddr, Ipv4Addr};

use guard::core::effects::{Change, Effects, Report};
use guard::core::engine::{Engine, Stored};
use guard::core::entry::Entry;
use guard::core::filter::{self, Filter, FilterText, UseDns};
use guard::core::input::{Input, Manual};
use guard::core::jail::{AllowElsewhere, AnswerCache, IgnoreCommand, Jail};
use guard::core::question::{Answer, Ask, Question, Said};
use guard::core::reason::Allowed;
use guard::core::time::Span;

use super::{BAN_TIME, at, bans, batch, engine_of, entry, jails, source};

const COMMAND: [&str; 3] = ["/bin/known", "<ip> of <F-ID>", "<failures>"];

pub(super) fn asking(cache: Option<AnswerCache>) -> Vec<Jail> {
    let arguments = COMMAND.map(str::to_owned).to_vec();
    let [mut sshd, other]: [Jail; 2] = jails().try_into().expect("two jails");
    sshd.ignore_command = Some(IgnoreCommand { arguments, cache });
    vec![sshd, other]
}

/// Jails whose filter finds names of hosts.
pub(super) fn addressless() -> Vec<Jail> {
    let text = FilterText {
        name: "names".to_owned(),
        failregex: vec!["^failed from <HOST>$".to_owned()],
        use_dns: UseDns::Warn,
        ..FilterText::default()
    };
    let filter = Filter::compile(&text, filter::Limits::default()).expect("a filter");
    jails().into_iter().map(|jail| Jail { filter: filter.clone(), ..jail }).collect()
}

fn three(n: u8, time: i64) -> Input {
    batch(vec![entry(n, 0, time), entry(n, 0, time), entry(n, 0, time)], 1, time)
}

fn only_question(effects: &Effects) -> &Question {
    let [question] = &*effects.ask else { panic!("not one question: {:?}", effects.ask) };
    question
}

fn say(engine: &mut Engine, now: i64, question: &Question, said: Result<Said, String>) -> Effects {
    engine.handle(at(now), Input::Answer(Answer { id: question.id, said }))
}

fn ban(engine: &mut Engine, n: u8, now: i64, ban_time: Option<Span>) {
    let (jail, sources) = (guard::core::jail::JailId(1), vec![source(n)]);
    let order = Manual::Ban { jail, sources, ban_time: Some(ban_time), force: false };
    engine.handle(at(now), Input::Manual(order));
}

#[test]
fn the_command_is_asked_before_a_ban_and_decides() {
    for (said, banned) in [
        (Ok(Said::Exited(0)), false),
        (Ok(Said::Exited(1)), true),
        (Ok(Said::Exited(127)), true),
        (Err("guard-helper is not there".to_owned()), true),
    ] {
        let (mut engine, _) = engine_of(asking(None), Stored::default(), at(0));
        let effects = engine.handle(at(5), three(1, 5));
        assert!(effects.enforce.is_empty() && bans(&engine).is_empty(), "not yet");
        let question = only_question(&effects).clone();
        let arguments = ["/bin/known", "192.0.2.1 of 192.0.2.1", "3"].map(str::to_owned);
        assert_eq!(question.ask, Ask::Run(arguments.to_vec()));
        let effects = say(&mut engine, 7, &question, said.clone());
        let expected = banned.then_some(((0, source(1)), Some(5 + BAN_TIME)));
        assert_eq!(bans(&engine).into_iter().next(), expected, "{said:?}");
        let ignored = |r: &Report| matches!(r, Report::Ignored { allowed: Allowed::Command, .. });
        assert_eq!(effects.report.iter().any(ignored), !banned);
        let in_vain = |report: &Report| matches!(report, Report::Unanswered { .. });
        let broken = !matches!(said, Ok(Said::Exited(0 | 1)));
        assert_eq!(effects.report.iter().any(in_vain), broken);
        assert_eq!(engine.troubles().len(), usize::from(broken));
        assert!(say(&mut engine, 8, &question, said).report.is_empty(), "asked once");
    }
}

#[test]
fn without_an_answer_in_time_the_ban_is_made() {
    let (mut engine, _) = engine_of(asking(None), Stored::default(), at(0));
    let effects = engine.handle(at(5), three(1, 5));
    assert_eq!(effects.wake_at, Some(at(35)));
    engine.handle(at(34), Input::Tick);
    assert!(bans(&engine).is_empty());
    engine.handle(at(35), Input::Tick);
    assert_eq!(bans(&engine)[&(0, source(1))], Some(5 + BAN_TIME), "since the last failure");
}

#[test]
fn an_unban_while_the_answer_is_awaited_ends_the_matter() {
    for sources in [Some(vec![source(1)]), None] {
        let (mut engine, _) = engine_of(asking(None), Stored::default(), at(0));
        let question = only_question(&engine.handle(at(5), three(1, 5))).clone();
        let order = Manual::Unban { jail: None, sources };
        let effects = engine.handle(at(6), Input::Manual(order));
        assert!(effects.persist.iter().any(|change| matches!(change, Change::Decided { .. })));
        say(&mut engine, 7, &question, Ok(Said::Exited(1)));
        assert!(bans(&engine).is_empty());
    }
}

#[test]
fn answers_are_kept_as_ignorecache_says() {
    let key = "<ip>".to_owned();
    let cache = AnswerCache { key, max_count: 2, max_time: Span::from_seconds(300) };
    let (mut engine, _) = engine_of(asking(Some(cache)), Stored::default(), at(0));
    let question = only_question(&engine.handle(at(5), three(1, 5))).clone();
    say(&mut engine, 5, &question, Ok(Said::Exited(0)));
    assert!(engine.handle(at(304), three(1, 304)).ask.is_empty(), "still known");
    assert!(bans(&engine).is_empty());
    assert_eq!(engine.handle(at(304), three(2, 304)).ask.len(), 1, "the neighbour is not");
    assert_eq!(engine.handle(at(305), three(1, 305)).ask.len(), 1);
}

#[test]
fn a_thousand_bans_wait_and_further_ones_are_made_at_once() {
    let (mut engine, _) = engine_of(asking(None), Stored::default(), at(0));
    let line = |n: u32| Entry {
        line: format!("failed from {}", Ipv4Addr::from(0x0a00_0000 + n)),
        ..entry(1, 0, 5)
    };
    let lines = |range: std::ops::Range<u32>| range.flat_map(|n| [line(n), line(n), line(n)]);
    // Fewer sources at a time than are tracked.
    let effects = engine.handle(at(5), batch(lines(0..900).collect(), 1, 5));
    assert_eq!((effects.ask.len(), bans(&engine).len()), (900, 0));
    let effects = engine.handle(at(5), batch(lines(900..1_003).collect(), 2, 5));
    assert_eq!((effects.ask.len(), bans(&engine).len()), (100, 3));
}

fn listing(what: AllowElsewhere) -> Vec<Jail> {
    let [sshd, mut other]: [Jail; 2] = jails().try_into().expect("two jails");
    other.allow_elsewhere = vec![what];
    vec![sshd, other]
}

fn addresses(numbers: &[u8]) -> Said {
    Said::Addresses(numbers.iter().map(|&n| source(n).address()).collect::<Vec<IpAddr>>())
}

#[test]
fn a_name_in_ignoreip_is_resolved_now_and_then_and_lifts_bans() {
    let what = AllowElsewhere::Name("office.example".to_owned());
    let (mut engine, effects) = engine_of(listing(what.clone()), Stored::default(), at(0));
    let question = only_question(&effects).clone();
    assert_eq!(question.ask, Ask::Resolve("office.example".to_owned()));
    ban(&mut engine, 1, 1, None);
    ban(&mut engine, 2, 1, None);
    let effects = say(&mut engine, 2, &question, Ok(addresses(&[1, 1])));
    assert_eq!(bans(&engine).into_keys().collect::<Vec<_>>(), [(1, source(2))]);
    let known = Change::Listed { place: what.clone(), entries: Some(vec![source(1)]) };
    assert!(effects.persist.contains(&known), "{:?}", effects.persist);
    assert_eq!(effects.wake_at, Some(at(302)));

    // No answer, no such host, too many: what was known last goes on to count.
    let mut now = 302;
    for said in [Err("timed out".to_owned()), Ok(addresses(&[]))] {
        let question = only_question(&engine.handle(at(now), Input::Tick)).clone();
        say(&mut engine, now, &question, said);
        assert_eq!(engine.troubles().len(), 1);
        ban(&mut engine, 1, now, None);
        assert_eq!(bans(&engine).len(), 1, "still allowed");
        now += 60;
    }
    let question = only_question(&engine.handle(at(now), Input::Tick)).clone();
    say(&mut engine, now, &question, Ok(addresses(&[3])));
    assert!(engine.troubles().is_empty());
    ban(&mut engine, 1, now, None);
    assert_eq!(bans(&engine).len(), 2, "no longer allowed");

    // The next start knows it before anybody answers; another jail never allowed it.
    let lists = vec![(what, vec![source(3)])];
    let (mut engine, effects) = engine_of(
        listing(AllowElsewhere::Name("office.example".to_owned())),
        Stored { lists: lists.clone(), ..Stored::default() },
        at(0),
    );
    assert_eq!(effects.ask.len(), 1);
    ban(&mut engine, 3, 1, None);
    assert!(bans(&engine).is_empty());
    engine.handle(at(2), three(3, 2));
    assert_eq!(bans(&engine).into_keys().collect::<Vec<_>>(), [(0, source(3))]);
    let (_, effects) = engine_of(jails(), Stored { lists, ..Stored::default() }, at(0));
    let place = AllowElsewhere::Name("office.example".to_owned());
    assert_eq!(effects.persist, [Change::Listed { place, entries: None }], "not asked for");
}

#[test]
fn a_file_in_ignoreip_is_read_again() {
    let what = AllowElsewhere::File("/etc/office".into());
    let (mut engine, effects) = engine_of(listing(what), Stored::default(), at(0));
    let mut question = only_question(&effects).clone();
    assert_eq!(question.ask, Ask::Read("/etc/office".into()));
    let mut now = 0;
    for (content, allowed) in [("192.0.2.1\n", true), ("", false), ("192.0.2.0/24 # all", true)] {
        say(&mut engine, now, &question, Ok(Said::Content(content.to_owned())));
        ban(&mut engine, 1, now, None);
        assert_eq!(bans(&engine).is_empty(), allowed, "{content}");
        now += 30;
        question = only_question(&engine.handle(at(now), Input::Tick)).clone();
    }
}
