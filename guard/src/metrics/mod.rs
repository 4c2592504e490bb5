//! The agent's figures as Prometheus reads them.
//!
//! Input: [`Figures`], or that there is no agent. Output: an exposition in OpenMetrics'
//! text format, or in Prometheus' own older one. Names follow both: `guard_`, base units,
//! `_total` for what only grows. Invariant: labels are names of jails, interfaces, queues
//! and reasons; no address is ever one, so nobody outside can make series.

mod classic;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::core::enforced::Dropped;
use crate::core::figures::{Figures, Histogram, JailCounts, SourceCounts};
use crate::core::time::{Span, Timestamp};

const SECONDS: Option<&Unit> = Some(&Unit::Seconds);
const BYTES: Option<&Unit> = Some(&Unit::Bytes);

/// Labels of one series: names and values.
type Labels<'s, const N: usize> = [(&'static str, &'s str); N];

/// How an exposition is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4, which node_exporter's text files are in.
    Prometheus,
}

impl Format {
    /// The format for an HTTP request with this `Accept` field.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// What HTTP calls it.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The exposition of an agent's figures; of no more than that it is not there without them.
pub fn exposition(figures: Option<Figures>, format: Format) -> String {
    let mut registry = Registry::with_prefix("guard");
    registry.register_collector(Box::new(Exposed(figures)));
    let mut page = String::new();
    // Writing to a string does not fail.
    let _ = text::encode(&mut page, &registry);
    match format {
        Format::OpenMetrics => page,
        Format::Prometheus => classic::of(&page),
    }
}

#[derive(Debug)]
struct Exposed(Option<Figures>);

impl Collector for Exposed {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        let up = i64::from(self.0.is_some());
        page.gauge("up", "Whether the agent runs and answers", None, [([], up)])?;
        self.0.as_ref().map_or(Ok(()), |figures| {
            agent(&mut page, figures)?;
            jails(&mut page, &figures.jails)?;
            kernel(&mut page, figures)?;
            sources(&mut page, &figures.sources)?;
            inside(&mut page, figures)
        })
    }
}

fn agent(page: &mut Page<'_>, figures: &Figures) -> fmt::Result {
    let labels = [("version", figures.version.as_str()), ("backend", figures.backend.as_str())];
    page.0.encode_descriptor("build", "The agent", None, MetricType::Info)?.encode_info(&labels)?;
    let at = |time: Timestamp| seconds(time.micros());
    let time = SECONDS;
    let help = "When the agent's process started, since the epoch";
    page.gauge("start_time", help, time, [([], at(figures.started))])?;
    let help = "When the configuration in force was read, since the epoch";
    page.gauge("configuration_loaded_time", help, time, [([], at(figures.loaded))])?;
    let reloads = [
        ([("outcome", "done")], figures.reloads),
        ([("outcome", "refused")], figures.reloads_refused),
    ];
    page.counter("reloads", "Configurations read anew", None, reloads)?;
    let problems = count(figures.problems.len());
    page.gauge("problems", "Problems that guardctl status tells of", None, [([], problems)])?;
    let help = "Bans there may be (limits.bans)";
    page.gauge("bans_limit", help, None, [([], figures.bans_limit)])?;
    let help = "Bans not made because limits.bans is reached";
    page.counter("bans_refused", help, None, [([], figures.bans_refused)])
}

/// One series for each jail.
fn of<V>(
    jails: &[JailCounts],
    value: fn(&JailCounts) -> V,
) -> impl Iterator<Item = (Labels<'_, 1>, V)> {
    jails.iter().map(move |jail| ([("jail", jail.name.as_str())], value(jail)))
}

fn evictions(page: &mut Page<'_>, jails: &[JailCounts]) -> fmt::Result {
    let help = "Sources whose failures were forgotten because limits.tracked-failures is reached";
    page.counter("sources_evicted", help, None, of(jails, |jail| jail.evictions.sources))?;
    let help = "Oldest failures of a source, forgotten because it has four times maxretry of them";
    page.counter("source_failures_evicted", help, None, of(jails, |jail| jail.evictions.failures))?;
    let help = "Connections that a filter forgot because limits.connections is reached";
    page.counter("connections_evicted", help, None, of(jails, |jail| jail.evictions.connections))?;
    let help = "Lines not tried together with later ones because they are too long";
    page.counter("lines_evicted", help, None, of(jails, |jail| jail.evictions.lines))?;
    let help = "Sources whose earlier bans were forgotten because limits.known-sources is reached";
    page.counter(
        "known_sources_evicted",
        help,
        None,
        of(jails, |jail| jail.evictions.known_sources),
    )?;
    let help = "Failures not counted because too many wait for the addresses of names";
    page.counter(
        "named_failures_refused",
        help,
        None,
        of(jails, |jail| jail.evictions.named_failures),
    )?;
    let help = "Bans made without asking ignorecommand because too many wait for its answer";
    page.counter("bans_unasked", help, None, of(jails, |jail| jail.evictions.unasked_bans))
}

fn jails(page: &mut Page<'_>, jails: &[JailCounts]) -> fmt::Result {
    let help = "Failures found since the jail first started";
    page.counter("failures", help, None, of(jails, |jail| jail.failures))?;
    let reasons = jails.iter().flat_map(|jail| {
        let labels = |why| [("jail", jail.name.as_str()), ("reason", why)];
        jail.ignored.iter().map(move |(why, count)| (labels(why.as_str()), *count))
    });
    page.counter("failures_ignored", "Failures that did not count, by why", None, reasons)?;
    let help = "Addresses not believed because the client can write where they stood";
    page.counter("addresses_planted", help, None, of(jails, |jail| jail.planted))?;
    let help = "Lines on which an expression gave up";
    page.counter("lines_given_up", help, None, of(jails, |jail| jail.given_up))?;
    let help = "Sources with a failure within findtime";
    page.gauge("failing_sources", help, None, of(jails, |jail| jail.failing))?;
    evictions(page, jails)?;
    let help = "Bans made since the jail first started";
    page.counter("bans_made", help, None, of(jails, |jail| jail.bans_made))?;
    let help = "Bans that ended or were lifted";
    page.counter("bans_lifted", help, None, of(jails, |jail| jail.bans_lifted))?;
    page.gauge("bans_held", "Bans that the kernel holds", None, of(jails, |jail| jail.held))?;
    let help = "Bans that the kernel should hold and does not";
    page.gauge("bans_not_enforced", help, None, of(jails, |jail| jail.not_enforced))?;
    let packets = of(jails, |jail| jail.dropped_packets);
    let help = "Packets dropped of the sources of the bans held at present, over all their jails";
    page.gauge("bans_held_dropped_packets", help, None, known(packets))?;
    let bytes = of(jails, |jail| jail.dropped_bytes);
    let help = "Bytes dropped of the sources of the bans held at present, over all their jails";
    page.gauge("bans_held_dropped", help, BYTES, known(bytes))
}

fn kernel(page: &mut Page<'_>, figures: &Figures) -> fmt::Result {
    let of = |traffic: fn(&crate::core::figures::Traffic) -> u64| {
        let series = figures.traffic.iter();
        series.map(move |one| ([("verdict", one.verdict.as_str())], traffic(one)))
    };
    let help = "Packets that came in, by what became of them";
    page.counter("traffic_packets", help, None, of(|one| one.packets))?;
    let help = "Bytes that came in, by what became of them";
    page.counter("traffic", help, BYTES, of(|one| one.bytes))?;
    let help = "Whether bans are in force on the interface, and by what means";
    let covered = figures.interfaces.iter().map(|one| {
        let labels = [("interface", one.interface.as_str()), ("means", one.means.as_str())];
        (labels, i64::from(one.means != "none"))
    });
    page.gauge("interface_guarded", help, None, covered)?;
    let dropped = |of: fn(&Dropped) -> u64| {
        let counted = figures.interfaces.iter();
        counted
            .map(move |one| ([("interface", one.interface.as_str())], one.dropped.as_ref().map(of)))
    };
    let help = "Packets dropped on the interface";
    page.counter("interface_dropped_packets", help, None, known(dropped(|all| all.packets)))?;
    let help = "Bytes dropped on the interface";
    page.counter("interface_dropped", help, BYTES, known(dropped(|all| all.bytes)))?;
    let maps = || figures.maps.iter();
    let entries = maps().map(|map| ([("map", map.map.as_str())], map.entries));
    page.gauge("map_entries", "Sources in the kernel's maps", None, entries)?;
    let capacity = maps().map(|map| ([("map", map.map.as_str())], map.capacity));
    page.gauge("map_capacity", "Sources that the kernel's maps can hold", None, capacity)?;
    let help = "How often something that others changed in the kernel was put right";
    page.counter("repairs", help, None, [([], figures.repairs)])
}

fn sources(page: &mut Page<'_>, sources: &[SourceCounts]) -> fmt::Result {
    fn of<V>(
        sources: &[SourceCounts],
        value: fn(&SourceCounts) -> V,
    ) -> impl Iterator<Item = (Labels<'_, 1>, V)> {
        sources.iter().map(move |one| ([("source", one.source.as_str())], value(one)))
    }
    page.counter("entries_read", "Log entries read", None, of(sources, |one| one.read))?;
    let help = "Log entries that a filter had to look at";
    page.counter("entries_accepted", help, None, of(sources, |one| one.accepted))?;
    let help = "Log entries cut because they were too long";
    page.counter("entries_cut", help, None, of(sources, |one| one.cut))?;
    let help = "Journal entries that claimed to be of a daemon and were not";
    page.counter("entries_forged", help, None, known(of(sources, |one| one.forged)))?;
    let help = "Journal entries that could not be read";
    page.counter("entries_unreadable", help, None, known(of(sources, |one| one.unreadable)))?;
    let help = "Times that the place to go on from was gone, so that entries may be missed";
    page.counter("places_lost", help, None, of(sources, |one| one.lost))?;
    let lag = of(sources, |one| one.lag.map(|lag| seconds(lag.micros())));
    let help = "Age of the newest entry of the last batch when the batch was dealt with";
    page.gauge("source_lag", help, SECONDS, known(lag))
}

fn inside(page: &mut Page<'_>, figures: &Figures) -> fmt::Result {
    let queues = || figures.queues.iter();
    let waiting = queues().map(|queue| ([("queue", queue.queue.as_str())], queue.waiting));
    page.gauge("queue_waiting", "What waits", None, waiting)?;
    let capacity = queues().map(|queue| ([("queue", queue.queue.as_str())], queue.capacity));
    let help = "What may wait before whoever brings more is held up";
    page.gauge("queue_capacity", help, None, known(capacity))?;
    let works = i64::from(figures.store.works);
    page.gauge("store_works", "Whether the store took the last transaction", None, [([], works)])?;
    let help = "Transactions that the store refused";
    page.counter("store_refusals", help, None, [([], figures.store.refused)])?;
    page.gauge("watchers", "Who watches events now", None, [([], figures.watchers)])?;
    let help = "Events that watchers lost because they were too slow";
    page.counter("events_lost", help, None, [([], figures.events_lost)])?;
    let help = "Time that a transaction of the store takes";
    page.histogram("store_transaction", help, &figures.transactions)?;
    let help = "Time from the failure that led to a ban, as its daemon logged it, until the \
                kernel had acknowledged the ban";
    page.histogram("enforcement_latency", help, &figures.enforcement)
}

/// Leaves out what is not known.
fn known<'s, const N: usize, V>(
    series: impl Iterator<Item = (Labels<'s, N>, Option<V>)>,
) -> impl Iterator<Item = (Labels<'s, N>, V)> {
    series.filter_map(|(labels, value)| Some((labels, value?)))
}

/// Seconds of microseconds; a float is exact to the microsecond for centuries.
#[expect(clippy::cast_precision_loss, reason = "what is lost is less than a microsecond")]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// What is written, family by family.
struct Page<'page>(DescriptorEncoder<'page>);

impl Page<'_> {
    fn counter<'s, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        series: impl IntoIterator<Item = (Labels<'s, N>, u64)>,
    ) -> fmt::Result {
        self.family(name, help, unit, MetricType::Counter, series, |value, encoder| {
            ConstCounter::new(value).encode(encoder)
        })
    }

    fn gauge<'s, const N: usize, V>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        series: impl IntoIterator<Item = (Labels<'s, N>, V)>,
    ) -> fmt::Result
    where
        ConstGauge<V>: EncodeMetric,
    {
        self.family(name, help, unit, MetricType::Gauge, series, |value, encoder| {
            ConstGauge::new(value).encode(encoder)
        })
    }

    /// What has no series is left out.
    fn family<'s, const N: usize, V>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        kind: MetricType,
        series: impl IntoIterator<Item = (Labels<'s, N>, V)>,
        encode: impl Fn(V, MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let mut series = series.into_iter().peekable();
        if series.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, unit, kind)?;
        for (labels, value) in series {
            // The encoder writes braces around no label at all.
            if N == 0 {
                return encode(value, family);
            }
            encode(value, family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) -> fmt::Result {
        let bound = |bound: Option<Span>| bound.map_or(f64::INFINITY, |one| seconds(one.micros()));
        let buckets: Vec<(f64, u64)> =
            histogram.buckets().map(|(end, count)| (bound(end), count)).collect();
        let (sum, count) = (seconds(histogram.sum().micros()), histogram.count());
        let mut family = self.0.encode_descriptor(name, help, SECONDS, MetricType::Histogram)?;
        family.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

#[cfg(test)]
mod tests;
