//! What the exposition says; that others can read it is tested with a live agent.

use super::*;
use crate::core::enforced::Coverage;
use crate::core::figures::{MapFill, Queue, StoreCounts, Traffic};
use crate::core::jail::JailName;
use crate::core::surplus::Evictions;

fn figures() -> Figures {
    let jail = JailCounts {
        name: JailName::new("sshd").expect("a name"),
        failing: 2,
        failures: 31,
        bans_made: 7,
        bans_lifted: 3,
        ignored: vec![("listed".to_owned(), 5)],
        planted: 1,
        evictions: Evictions {
            sources: 12,
            failures: 13,
            connections: 14,
            lines: 15,
            known_sources: 16,
            named_failures: 17,
            unasked_bans: 18,
        },
        given_up: 0,
        held: 4,
        not_enforced: 0,
        dropped_packets: Some(90),
        dropped_bytes: None,
    };
    let mut enforcement = Histogram::new(&[1_000, 10_000]);
    enforcement.add(Span::from_micros(1_500));
    enforcement.add(Span::from_micros(20_000));
    let odd = "e\"t\\h0".to_owned();
    Figures {
        version: "1.2.3".to_owned(),
        time: Timestamp::from_seconds(100),
        started: Timestamp::from_micros(50_250_000),
        loaded: Timestamp::from_seconds(60),
        reloads: 1,
        reloads_refused: 2,
        backend: "xdp".to_owned(),
        bans_limit: 100,
        bans_refused: 0,
        jails: vec![jail],
        interfaces: vec![Coverage {
            interface: odd,
            means: "none".into(),
            reason: "x".into(),
            dropped: None,
        }],
        problems: vec!["one".to_owned()],
        traffic: vec![Traffic { verdict: "drop".to_owned(), packets: 11, bytes: 660 }],
        maps: vec![MapFill { map: "ipv4".to_owned(), entries: 4, capacity: 100 }],
        repairs: 0,
        queues: vec![Queue { queue: "store".to_owned(), waiting: 0, capacity: None }],
        sources: Vec::new(),
        store: StoreCounts { works: true, refused: 0 },
        transactions: Histogram::new(&[100]),
        enforcement,
        watchers: 0,
        events_lost: 0,
    }
}

#[test]
fn each_figure_is_told_under_its_name() {
    let page = exposition(Some(figures()), Format::OpenMetrics);
    for line in [
        "guard_up 1",
        "guard_build_info{version=\"1.2.3\",backend=\"xdp\"} 1",
        "guard_start_time_seconds 50.25",
        "guard_reloads_total{outcome=\"refused\"} 2",
        "guard_failures_total{jail=\"sshd\"} 31",
        "guard_failures_ignored_total{jail=\"sshd\",reason=\"listed\"} 5",
        "guard_sources_evicted_total{jail=\"sshd\"} 12",
        "guard_source_failures_evicted_total{jail=\"sshd\"} 13",
        "guard_connections_evicted_total{jail=\"sshd\"} 14",
        "guard_lines_evicted_total{jail=\"sshd\"} 15",
        "guard_known_sources_evicted_total{jail=\"sshd\"} 16",
        "guard_named_failures_refused_total{jail=\"sshd\"} 17",
        "guard_bans_unasked_total{jail=\"sshd\"} 18",
        "guard_bans_held{jail=\"sshd\"} 4",
        "guard_bans_held_dropped_packets{jail=\"sshd\"} 90",
        "guard_traffic_bytes_total{verdict=\"drop\"} 660",
        r#"guard_interface_guarded{interface="e\"t\\h0",means="none"} 0"#,
        "guard_map_capacity{map=\"ipv4\"} 100",
        "guard_enforcement_latency_seconds_bucket{le=\"0.001\"} 0",
        "guard_enforcement_latency_seconds_bucket{le=\"0.01\"} 1",
        "guard_enforcement_latency_seconds_bucket{le=\"+Inf\"} 2",
        "guard_enforcement_latency_seconds_sum 0.0215",
        "# TYPE guard_reloads counter",
    ] {
        assert!(page.lines().any(|found| found == line), "no {line} in\n{page}");
    }
    assert!(page.ends_with("# EOF\n"));
    // What is not known is not told, rather than told as nothing.
    for name in ["bans_held_dropped_bytes", "queue_capacity", "entries_read"] {
        assert!(!page.contains(name), "{name} in\n{page}");
    }
}

#[test]
fn an_agent_that_does_not_answer_is_told_and_nothing_else() {
    let page = exposition(None, Format::Prometheus);
    let samples: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(samples, ["guard_up 0"]);
}

#[test]
fn who_asks_for_openmetrics_gets_it() {
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3";
    assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
    assert_eq!(Format::accepted("*/*"), Format::Prometheus);
}
