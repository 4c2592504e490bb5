//! What a report says: numbers made of the store's record. No I/O, and no clock.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use crate::core::addr::Prefix;
use crate::core::jail::JailName;
use crate::core::time::{Span, Timestamp};
use crate::store::record::Record;

/// Lines of a list.
const LINES: usize = 15;
/// Columns of a chart, about.
const COLUMNS: i64 = 60;
/// Widths that a column may stand for, in seconds.
const STEPS: [i64; 9] =
    [60, 300, 900, 3_600, 3 * 3_600, 6 * 3_600, 86_400, 7 * 86_400, 30 * 86_400];
/// Ends of the classes of times, in microseconds, and what they are called.
const CLASSES: [(i64, &str); 6] = [
    (10_000, "< 10 ms"),
    (100_000, "< 100 ms"),
    (1_000_000, "< 1 s"),
    (10_000_000, "< 10 s"),
    (60_000_000, "< 1 min"),
    (i64::MAX, "more"),
];

/// A report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Report {
    /// Whose.
    pub(super) host: String,
    /// From then on.
    pub(super) from: Timestamp,
    /// Until then.
    pub(super) to: Timestamp,
    /// Where the record begins, if that is within the time: before it nothing is known.
    pub(super) begins: Option<Timestamp>,
    /// Bans made.
    pub(super) bans: u64,
    /// Of those, by hand.
    pub(super) by_hand: u64,
    /// Different sources banned.
    pub(super) sources: u64,
    /// Bans in force now.
    pub(super) in_force: u64,
    /// Packets dropped.
    pub(super) dropped_packets: u64,
    /// Bytes dropped.
    pub(super) dropped_bytes: u64,
    /// How long a column of the charts stands for.
    pub(super) step: Span,
    /// The jails, those with most bans first.
    pub(super) jails: Vec<JailLine>,
    /// Bans and drops over time, without a gap.
    pub(super) columns: Vec<ColumnOf>,
    /// Who was banned most.
    pub(super) top_sources: Vec<SourceLine>,
    /// Networks (/24, /48) from which most were banned.
    pub(super) top_networks: Vec<NetworkLine>,
    /// From the last failure until the ban was decided.
    pub(super) times: Times,
}

/// A jail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct JailLine {
    pub(super) jail: JailName,
    /// In the time of the report.
    pub(super) bans: u64,
    /// Now.
    pub(super) in_force: u64,
    /// Since it first started.
    pub(super) failures_ever: u64,
    /// Since it first started.
    pub(super) bans_ever: u64,
}

/// What happened in one step of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ColumnOf {
    pub(super) from: Timestamp,
    /// By jail, in the order of [`Report::jails`].
    pub(super) bans: Vec<u64>,
    pub(super) dropped_packets: u64,
}

/// Somebody who was banned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct SourceLine {
    pub(super) source: Prefix,
    pub(super) bans: u64,
    pub(super) failures: u64,
    pub(super) jails: Vec<JailName>,
    pub(super) last: Timestamp,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct NetworkLine {
    pub(super) network: Prefix,
    pub(super) bans: u64,
    pub(super) sources: u64,
}

/// How long bans took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Times {
    /// Of how many bans it is known.
    pub(super) known: u64,
    pub(super) median: Option<Span>,
    /// 95 % took no longer.
    pub(super) most: Option<Span>,
    /// How many by class.
    pub(super) classes: Vec<(String, u64)>,
}

impl Report {
    /// The report of a record that was read from `from` on.
    pub(super) fn new(host: String, record: &Record, from: Timestamp, to: Timestamp) -> Self {
        let bans: Vec<_> = record.bans.iter().filter(|ban| ban.since <= to).collect();
        let mut by_jail: BTreeMap<&JailName, u64> = BTreeMap::new();
        for ban in &bans {
            *by_jail.entry(&ban.jail).or_default() += 1;
        }
        let jails = jails(record, &by_jail);
        let step = step(from, to);
        let mut columns = empty_columns(from, to, step, jails.len());
        let column = |at: Timestamp| {
            let passed = (at - columns_begin(from, step)).micros() / step.micros();
            usize::try_from(passed).unwrap_or(usize::MAX)
        };
        let place: HashMap<&JailName, usize> =
            jails.iter().enumerate().map(|(index, line)| (&line.jail, index)).collect();
        for ban in &bans {
            if let (Some(to), Some(jail)) =
                (columns.get_mut(column(ban.since)), place.get(&ban.jail))
            {
                to.bans[*jail] += 1;
            }
        }
        for hour in &record.drops {
            // The hour in which the report begins belongs to its first column.
            if let Some(to) = columns.get_mut(column(hour.hour.max(from))) {
                to.dropped_packets += hour.packets;
            }
        }
        let sources: BTreeSet<Prefix> = bans.iter().map(|ban| ban.source).collect();
        Self {
            host,
            from,
            to,
            begins: record.begins.filter(|begins| *begins > from),
            bans: count(bans.len()),
            by_hand: count(bans.iter().filter(|ban| ban.failures.is_none()).count()),
            sources: count(sources.len()),
            in_force: record.in_force.iter().map(|(_, bans)| bans).sum(),
            dropped_packets: record.drops.iter().map(|hour| hour.packets).sum(),
            dropped_bytes: record.drops.iter().map(|hour| hour.bytes).sum(),
            step,
            columns,
            top_sources: top_sources(record, to),
            top_networks: top_networks(record, to),
            times: Times::of(bans.iter().filter_map(|ban| ban.took).collect()),
            jails,
        }
    }
}

fn jails(record: &Record, bans: &BTreeMap<&JailName, u64>) -> Vec<JailLine> {
    let mut names: BTreeSet<&JailName> = bans.keys().copied().collect();
    names.extend(record.totals.iter().map(|totals| &totals.jail));
    names.extend(record.in_force.iter().map(|(jail, _)| jail));
    let mut lines: Vec<JailLine> = names
        .into_iter()
        .map(|jail| {
            let totals = record.totals.iter().find(|totals| totals.jail == *jail);
            let in_force = record.in_force.iter().find(|(name, _)| name == jail);
            JailLine {
                jail: jail.clone(),
                bans: bans.get(jail).copied().unwrap_or(0),
                in_force: in_force.map_or(0, |(_, bans)| *bans),
                failures_ever: totals.map_or(0, |totals| totals.failures),
                bans_ever: totals.map_or(0, |totals| totals.bans),
            }
        })
        .collect();
    lines.sort_by(|a, b| b.bans.cmp(&a.bans).then_with(|| a.jail.cmp(&b.jail)));
    lines
}

/// The shortest step with which there are not too many columns.
fn step(from: Timestamp, to: Timestamp) -> Span {
    let seconds = (to - from).seconds().max(1);
    let fits = |step: &&i64| seconds / **step < COLUMNS;
    Span::from_seconds(*STEPS.iter().find(fits).unwrap_or(&STEPS[STEPS.len() - 1]))
}

/// Columns begin at whole steps, so that they are the same in the next report.
fn columns_begin(from: Timestamp, step: Span) -> Timestamp {
    Timestamp::from_micros(from.micros().div_euclid(step.micros()) * step.micros())
}

fn empty_columns(from: Timestamp, to: Timestamp, step: Span, jails: usize) -> Vec<ColumnOf> {
    let begin = columns_begin(from, step);
    let columns = (to - begin).micros() / step.micros() + 1;
    // However long ago it is said to be since.
    let columns = columns.min(10_000);
    let at = |column| Timestamp::from_micros(begin.micros() + column * step.micros());
    (0..columns)
        .map(|column| ColumnOf { from: at(column), bans: vec![0; jails], dropped_packets: 0 })
        .collect()
}

fn top_sources(record: &Record, to: Timestamp) -> Vec<SourceLine> {
    let mut lines: HashMap<Prefix, SourceLine> = HashMap::new();
    for ban in record.bans.iter().filter(|ban| ban.since <= to) {
        let line = lines.entry(ban.source).or_insert_with(|| SourceLine {
            source: ban.source,
            bans: 0,
            failures: 0,
            jails: Vec::new(),
            last: ban.since,
        });
        line.bans += 1;
        line.failures += ban.failures.unwrap_or(0);
        line.last = line.last.max(ban.since);
        if let Err(place) = line.jails.binary_search(&ban.jail) {
            line.jails.insert(place, ban.jail.clone());
        }
    }
    let mut lines: Vec<SourceLine> = lines.into_values().collect();
    lines.sort_by(|a, b| {
        (b.bans, b.failures, b.last)
            .cmp(&(a.bans, a.failures, a.last))
            .then(a.source.cmp(&b.source))
    });
    lines.truncate(LINES);
    lines
}

fn top_networks(record: &Record, to: Timestamp) -> Vec<NetworkLine> {
    let mut networks: BTreeMap<Prefix, (u64, BTreeSet<Prefix>)> = BTreeMap::new();
    for ban in record.bans.iter().filter(|ban| ban.since <= to) {
        let length = if ban.source.is_ipv4() { 24 } else { 48 };
        let network = Prefix::new(ban.source.address(), length.min(ban.source.length()));
        let (bans, sources) = networks.entry(network.unwrap_or(ban.source)).or_default();
        *bans += 1;
        sources.insert(ban.source);
    }
    let mut lines: Vec<NetworkLine> = networks
        .into_iter()
        .map(|(network, (bans, sources))| NetworkLine {
            network,
            bans,
            sources: count(sources.len()),
        })
        .collect();
    lines.sort_by(|a, b| {
        (b.bans, b.sources).cmp(&(a.bans, a.sources)).then(a.network.cmp(&b.network))
    });
    lines.truncate(LINES);
    lines
}

impl Times {
    fn of(mut times: Vec<Span>) -> Self {
        times.sort_unstable();
        let mut classes: Vec<(String, u64)> =
            CLASSES.iter().map(|(_, name)| ((*name).to_owned(), 0)).collect();
        for time in &times {
            let class = CLASSES.partition_point(|(end, _)| *end <= time.micros());
            classes[class.min(CLASSES.len() - 1)].1 += 1;
        }
        let at = |part: usize| times.get((times.len() * part).div_ceil(100).max(1) - 1).copied();
        Self { known: count(times.len()), median: at(50), most: at(95), classes }
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
