//! The model, and what is drawn of it.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::draw::draw;
use super::state::{Column, Input, Key, Top};
use crate::control::event::{BanTold, Event, What};
use crate::core::enforced::Coverage;
use crate::core::figures::{Figures, Histogram, JailCounts, StoreCounts, Traffic};
use crate::core::jail::JailName;
use crate::core::reason::Reason;
use crate::core::surplus::Evictions;
use crate::core::time::{Span, Timestamp};

fn jail(name: &str, failures: u64, held: u64) -> JailCounts {
    JailCounts {
        name: JailName::new(name).expect("a name"),
        failing: 0,
        failures,
        bans_made: held,
        bans_lifted: 0,
        ignored: Vec::new(),
        planted: 0,
        evictions: Evictions::default(),
        given_up: 0,
        held,
        not_enforced: 0,
        dropped_packets: None,
        dropped_bytes: None,
    }
}

fn figures(seconds: i64, jails: Vec<JailCounts>, dropped: Option<u64>) -> Figures {
    let traffic = |packets| Traffic { verdict: "drop".to_owned(), packets, bytes: packets };
    let covered = |interface: &str, means: &str| Coverage {
        interface: interface.to_owned(),
        means: means.to_owned(),
        reason: "why".to_owned(),
        dropped: None,
    };
    Figures {
        version: "9.8.7".to_owned(),
        time: Timestamp::from_seconds(1_000 + seconds),
        started: Timestamp::from_seconds(1_000),
        loaded: Timestamp::from_seconds(1_000),
        reloads: 0,
        reloads_refused: 0,
        backend: "xdp".to_owned(),
        bans_limit: 100,
        bans_refused: 0,
        jails,
        interfaces: vec![covered("eth0", "native XDP")],
        problems: Vec::new(),
        traffic: dropped.into_iter().map(traffic).collect(),
        maps: Vec::new(),
        repairs: 0,
        queues: Vec::new(),
        sources: Vec::new(),
        store: StoreCounts { works: true, refused: 0 },
        transactions: Histogram::new(&[1]),
        enforcement: Histogram::new(&[1]),
        watchers: 1,
        events_lost: 0,
    }
}

fn found(last: u8) -> Event {
    let address = std::net::IpAddr::from([192, 0, 2, last]).into();
    let logged = Timestamp::from_seconds(2);
    let jail = JailName::new("sshd").expect("a name");
    Event { time: logged, what: What::Found { jail, address, logged } }
}

fn fed(inputs: impl IntoIterator<Item = Input>) -> Top {
    let mut top = Top::default();
    for input in inputs {
        assert!(top.take(input), "it goes on");
    }
    top
}

fn tell(figures: Figures) -> Input {
    Input::Figures(Box::new(figures))
}

/// What is on a screen of this size, line by line, and the colours in use.
fn screen(top: &Top, size: (u16, u16), colour: bool) -> (Vec<String>, Vec<Color>) {
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).expect("a terminal");
    terminal.draw(|frame| draw(frame, top, colour)).expect("drawn");
    let buffer = terminal.backend().buffer();
    let cells = buffer.content();
    let lines = cells.chunks(size.0.into());
    let lines =
        lines.map(|line| line.iter().map(ratatui::buffer::Cell::symbol).collect()).collect();
    let colours = cells.iter().map(|cell| cell.fg).filter(|colour| *colour != Color::Reset);
    (lines, colours.collect())
}

#[test]
fn rates_are_of_a_second_and_begin_anew_with_another_agent() {
    let of = |failures| vec![jail("sshd", failures, 0)];
    let top = fed([
        tell(figures(0, of(10), Some(100))),
        tell(figures(2, of(14), Some(200))),
        tell(figures(3, of(15), Some(201))),
    ]);
    assert_eq!(top.failures.newest(10), [2, 1]);
    assert_eq!(top.drops.as_ref().expect("counted").newest(10), [50, 1]);
    let mut other = figures(4, of(0), Some(0));
    other.started = Timestamp::from_seconds(1_003);
    let top = fed([tell(figures(3, of(15), Some(201))), tell(other)]);
    assert_eq!(top.failures.now(), None, "nothing to compare with");
    let top = fed([tell(figures(0, of(1), None)), tell(figures(1, of(1), None))]);
    assert!(top.drops.is_none(), "nft counts none");
}

#[test]
fn jails_are_sorted_by_any_column_both_ways() {
    let jails = vec![jail("b", 5, 1), jail("a", 1, 9), jail("c", 5, 3)];
    let mut top = fed([tell(figures(0, jails, None))]);
    let order =
        |top: &Top| -> String { top.jails().iter().map(|jail| jail.name.as_str()).collect() };
    assert_eq!((top.column, order(&top)), (Column::Held, "acb".to_owned()));
    top.take(Input::Key(Key::Left));
    assert_eq!((top.column, order(&top)), (Column::Failures, "bca".to_owned()), "b and c by name");
    top.take(Input::Key(Key::Reverse));
    assert_eq!(order(&top), "abc");
    for _ in 0..Column::ALL.len() {
        top.take(Input::Key(Key::Right));
    }
    assert_eq!(top.column, Column::Failures, "once around");
}

#[test]
fn events_are_newest_first_bounded_and_wait_while_paused() {
    let mut top = fed((1..=3).map(|last| Input::Event(found(last))));
    let newest = |top: &Top| top.events.front().cloned();
    assert_eq!(newest(&top), Some(found(3)));
    top.take(Input::Key(Key::Pause));
    top.take(Input::Event(found(4)));
    assert_eq!((newest(&top), top.paused), (Some(found(3)), true));
    top.take(Input::Key(Key::Pause));
    assert_eq!(newest(&top), Some(found(4)));
    // Who has scrolled keeps seeing the same.
    top.take(Input::Key(Key::Down));
    let seen = top.events[top.scrolled].clone();
    top.take(Input::Event(found(5)));
    assert_eq!(top.events[top.scrolled], seen);
    for _ in 0..5_000 {
        top.take(Input::Event(found(6)));
    }
    assert_eq!(top.events.len(), 1_000);
    assert!(top.scrolled < top.events.len());
    top.take(Input::Event(Event { what: What::Missed { events: 7 }, ..found(1) }));
    assert_eq!(top.missed, 7);
}

#[test]
fn escape_closes_help_and_then_the_whole() {
    let mut top = fed([Input::Key(Key::Help)]);
    assert!(top.take(Input::Key(Key::Close)) && !top.help);
    assert!(!top.take(Input::Key(Key::Close)));
    assert!(!top.take(Input::Key(Key::Quit)) && !top.take(Input::End));
}

#[test]
fn eighty_columns_show_everything() {
    let reason = Reason::Failures { count: 3, within: Span::from_seconds(2), last: None };
    let jail_name = JailName::new("sshd").expect("a name");
    let address = "2001:db8:1111:2222::/64".parse().expect("a network");
    let since = Timestamp::from_seconds(2);
    let ban = BanTold { jail: jail_name, address, since, until: None, reason };
    let mut second = figures(1, vec![jail("sshd", 7, 4), jail("proxmox", 0, 0)], Some(42));
    second.jails[0].dropped_packets = Some(1_234_567_890);
    let mut top = fed([
        tell(figures(0, vec![jail("sshd", 4, 3)], Some(0))),
        tell(second),
        Input::Event(found(9)),
        Input::Event(Event { time: since, what: What::Banned(ban) }),
    ]);
    let (lines, colours) = screen(&top, (80, 24), true);
    let text = lines.join("\n");
    for words in [
        "guard 9.8.7  xdp  up 1s  4 bans  0 failing  1 of 1 interfaces guarded",
        "no problems",
        "dropped/s           42",
        "failures/s           3",
        "bans/s               1",
        "BANS▼",
        "1234567890",
        "found     [sshd] 192.0.2.9",
        "ban       [sshd] 2001:db8:1111:2222::/64 for ever: 3 failures in 2s",
        " q  quit",
        " h  help",
    ] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
    assert!(lines[6].trim_start().starts_with("sshd"), "sorted by bans:\n{text}");
    assert!(!colours.is_empty());
    assert!(screen(&top, (80, 24), false).1.is_empty(), "no colour at all");
    top.take(Input::Key(Key::Help));
    let text = screen(&top, (80, 24), false).0.join("\n");
    assert!(text.contains("the other way round"), "{text}");
}

#[test]
fn a_sparkline_has_a_bar_for_each_second_as_high_as_its_rate() {
    // Failures in seconds 1 to 9: none, then one more each second; drops in the last alone.
    let failures = [0u64, 0, 1, 3, 6, 10, 15, 21, 28, 36];
    let dropped = [5u64, 5, 5, 5, 5, 5, 5, 5, 5, 12];
    let seconds = (0..).zip(failures.into_iter().zip(dropped));
    let mut top = fed(seconds.map(|(second, (failures, dropped))| {
        tell(figures(second, vec![jail("sshd", failures, 0)], Some(dropped)))
    }));
    let bars = |top: &Top, line: usize| {
        let line: String = screen(top, (80, 24), false).0[line].chars().skip(24).collect();
        line.trim_end().to_owned()
    };
    assert_eq!(bars(&top, 3), " ▁▂▃▄▅▆▇█", "failures, the oldest first");
    assert_eq!(bars(&top, 2), "        █", "drops");
    assert_eq!(bars(&top, 4), "", "no ban, no bar");
    // The highest one sets the measure.
    top.take(tell(figures(10, vec![jail("sshd", 52, 0)], Some(12))));
    assert_eq!(bars(&top, 3), "  ▁▁▂▂▃▃▄█");
    // Where there is room for three, they are the newest.
    let narrow: Vec<char> = screen(&top, (27, 24), false).0[3].chars().collect();
    assert_eq!(narrow[24..].iter().collect::<String>(), "▃▄█");
}

#[test]
fn what_is_wrong_is_said_in_words() {
    let mut wrong = figures(0, vec![jail("sshd", 0, 1)], None);
    wrong.jails[0].not_enforced = 2;
    wrong.problems.push("a \u{1b}[31m trick".to_owned());
    wrong.interfaces[0].means = "none".to_owned();
    let mut top = fed([tell(wrong)]);
    let line = |top: &Top| screen(top, (80, 24), false).0[1].clone();
    assert!(line(&top).contains("PROBLEM (and 2 more): 2 bans of sshd are not in the kernel"));
    assert!(screen(&top, (80, 24), false).0[0].contains("0 of 1 interfaces guarded"));
    top.take(Input::Gone("the agent is not running".to_owned()));
    assert!(line(&top).contains("NO ANSWER: the agent is not running"));
    top.take(tell(figures(1, Vec::new(), None)));
    assert!(line(&top).contains("no problems"), "it is back: {}", line(&top));
}

#[test]
fn any_size_is_drawn() {
    let jails = (0..50).map(|number| jail(&format!("jail-{number}"), number, number)).collect();
    let mut top = fed([tell(figures(0, jails, Some(1)))]);
    for last in 0..200 {
        top.take(Input::Event(found(last)));
    }
    for help in [false, true] {
        top.help = help;
        for size in [(1, 1), (5, 3), (20, 8), (80, 24), (300, 100), (80, 2), (2, 80)] {
            screen(&top, size, true);
        }
    }
    let text = screen(&top, (80, 40), false).0.join("\n");
    assert!(text.contains("jail-49"), "{text}");
}
