//! Both sides: a timeline into guard's engine, and into Fail2Ban's classes.

use std::net::Ipv4Addr;
use std::process::Command;

use guard::core::addr::Prefix;
use guard::core::allow::AllowList;
use guard::core::engine::{Engine, Limits, Seed, Stored};
use guard::core::entry::{Batch, Dating, Entry, Position};
use guard::core::filter::{self, Filter, FilterText};
use guard::core::host::HostAddresses;
use guard::core::input::{Input, Manual};
use guard::core::jail::{Escalation, Jail, JailId, JailName, JournalMatch, LogSource};
use guard::core::ports::{Ports, Protocols};
use guard::core::time::{Span, Timestamp};
use guard_tests::command::finish_with_input;
use guard_tests::fail2ban::Package;
use serde_json::{Value, json};

use super::timeline::{Escalates, JailPolicy, Step, Timeline, What};

/// The bans after a step: jail, source, end; sorted.
pub(crate) type Bans = Vec<(String, String, Option<i64>)>;

/// What guard decides.
pub(crate) fn guard(timeline: &Timeline) -> Vec<Bans> {
    let start = timeline.steps.first().map_or(0, |step| step.at);
    let jails = timeline.jails.iter().map(jail).collect();
    let mut engine = engine(jails, timeline.history, start);
    let names: Vec<&str> = timeline.jails.iter().map(|jail| jail.name).collect();
    let step = |(number, step): (usize, &Step)| {
        engine.handle(at(step.at), input(number, step));
        let bans = engine.bans().map(|ban| {
            let name = names[ban.jail.index()].to_owned();
            (name, ban.source.to_string(), ban.until.map(Timestamp::seconds))
        });
        sorted(bans.collect())
    };
    timeline.steps.iter().enumerate().map(step).collect()
}

/// What Fail2Ban decides, with these differences applied to it.
pub(crate) fn fail2ban(timelines: &[Timeline], differences: &[&str]) -> Vec<Vec<Bans>> {
    let package = Package::fetch().expect("Debian's fail2ban");
    let driver = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/policy/drive.py");
    let mut python = Command::new("python3");
    python.arg(driver).env("PYTHONPATH", package.python()).env("PYTHONDONTWRITEBYTECODE", "1");
    let lines: String =
        timelines.iter().map(|timeline| format!("{}\n", written(timeline, differences))).collect();
    let told = finish_with_input(python, lines.as_bytes()).expect("Fail2Ban's answer");
    let read = |line: &str| -> Vec<Bans> { serde_json::from_str(line).expect("bans") };
    let told: Vec<Vec<Bans>> =
        told.lines().map(|line| read(line).into_iter().map(sorted).collect()).collect();
    assert_eq!(told.len(), timelines.len());
    told
}

fn sorted(mut bans: Bans) -> Bans {
    bans.sort();
    bans
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn source(n: u8) -> Prefix {
    Prefix::from(Ipv4Addr::new(192, 0, 2, n))
}

pub(crate) fn engine(jails: Vec<Jail>, history: i64, start: i64) -> Engine {
    let limits = Limits {
        tracked_failures: 1_000,
        bans: 1_000,
        connections: 10,
        known_sources: 1_000,
        history: Span::from_seconds(history),
    };
    let (allow, host) = (AllowList::default(), HostAddresses::default());
    let (mut engine, _) = Engine::restore(jails, allow, limits, host, Stored::default(), at(start));
    engine.seed(Seed { secret: 1, process: 1 });
    engine
}

pub(crate) fn jail(policy: &JailPolicy) -> Jail {
    let failregex = match policy.reads_bans {
        true => r"^fail2ban\.actions\s+\[\d+\]: NOTICE\s+\[[^\]]*\] Ban <ADDR>$",
        false => "^failed from <ADDR>$",
    };
    let text = FilterText {
        name: "test".to_owned(),
        failregex: vec![failregex.to_owned()],
        ..FilterText::default()
    };
    let escalation = policy.escalates.as_ref().map(|escalates| Escalation {
        factor: f64::from(escalates.factor),
        multipliers: escalates.multipliers.iter().copied().map(f64::from).collect(),
        max_time: escalates.max_time.map(Span::from_seconds),
        random_time: Span::ZERO,
        over_all_jails: escalates.over_all_jails,
    });
    Jail {
        name: JailName::new(policy.name).expect("a name"),
        ports: Ports::new(Protocols::Tcp, [22..=22]),
        max_retry: policy.max_retry,
        find_time: Span::from_seconds(policy.find_time),
        ban_time: policy.ban_time.map(Span::from_seconds),
        // Fail2Ban knows of no networks.
        ipv6_prefix: 128,
        allow: AllowList::default(),
        filter: Filter::compile(&text, filter::Limits::default()).expect("a filter"),
        source: match policy.reads_bans {
            true => LogSource::OwnBans,
            false => LogSource::Journal(JournalMatch::default()),
        },
        escalation,
        ignore_command: None,
        allow_elsewhere: Vec::new(),
    }
}

fn input(number: usize, step: &Step) -> Input {
    match &step.what {
        What::Nothing => Input::Tick,
        What::Fail(failures) => {
            let entry = |&(jail, n, time): &(usize, u8, i64)| Entry {
                time: at(time),
                dating: Dating::Known,
                line: format!("failed from {}", source(n)),
                message_start: 0,
                daemon: None,
                jails: vec![JailId(u16::try_from(jail).expect("few jails"))],
            };
            let entries: Vec<Entry> = failures.iter().map(entry).collect();
            let time = entries.last().map_or(at(step.at), |entry| entry.time);
            let place = number.to_string();
            let position = Position { source: "journal".to_owned(), place, time };
            Input::Entries(Batch { entries, position })
        }
        What::Ban(jail, n) => by_hand(u16::try_from(*jail).expect("few jails"), source(*n)),
        What::Unban(n) => {
            Input::Manual(Manual::Unban { jail: None, sources: Some(vec![source(*n)]) })
        }
    }
}

pub(crate) fn by_hand(jail: u16, source: Prefix) -> Input {
    let (jail, sources) = (JailId(jail), vec![source]);
    Input::Manual(Manual::Ban { jail, sources, ban_time: None, force: false })
}

/// A timeline as the driver reads it.
fn written(timeline: &Timeline, differences: &[&str]) -> Value {
    let jail = |jail: &JailPolicy| {
        json!({
            "name": jail.name,
            "maxretry": jail.max_retry,
            "findtime": jail.find_time,
            "bantime": jail.ban_time.unwrap_or(-1),
            "reads_bans": jail.reads_bans,
            "extra": jail.escalates.as_ref().map_or_else(|| json!({}), extra),
        })
    };
    let step = |step: &Step| {
        let at = step.at;
        match &step.what {
            What::Nothing => json!({ "at": at }),
            What::Fail(failures) => {
                let line = |(jail, n, time): &(usize, u8, i64)| (*jail, source(*n), *time);
                json!({ "at": at, "lines": failures.iter().map(line).collect::<Vec<_>>() })
            }
            What::Ban(jail, n) => json!({ "at": at, "ban": (jail, source(*n)) }),
            What::Unban(n) => json!({ "at": at, "unban": source(*n) }),
        }
    };
    json!({
        "differences": differences,
        "history": timeline.history,
        "jails": timeline.jails.iter().map(jail).collect::<Vec<_>>(),
        "steps": timeline.steps.iter().map(step).collect::<Vec<_>>(),
    })
}

/// Fail2Ban's options, as its configuration writes them.
fn extra(escalates: &Escalates) -> Value {
    let words: Vec<String> = escalates.multipliers.iter().map(ToString::to_string).collect();
    let mut options = json!({
        "increment": "true",
        "factor": escalates.factor.to_string(),
        "overalljails": escalates.over_all_jails,
    });
    if !words.is_empty() {
        options["multipliers"] = words.join(" ").into();
    }
    if let Some(max_time) = escalates.max_time {
        options["maxtime"] = max_time.to_string().into();
    }
    options
}
