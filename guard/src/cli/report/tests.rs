//! What reports say, and that nothing in them can be more than text.

use super::html::{escaped, page};
use super::model::Report;
use super::text::{bytes, duration, text};
use crate::core::jail::JailName;
use crate::core::time::{Span, Timestamp};
use crate::store::Totals;
use crate::store::record::{DropHour, MadeBan, Record};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_700_000_000 + seconds)
}

fn made(jail: &str, source: &str, seconds: i64, micros: Option<i64>) -> MadeBan {
    MadeBan {
        jail: JailName::new(jail).expect("a name"),
        source: source.parse().expect("a source"),
        since: at(seconds),
        failures: micros.map(|_| 3),
        took: micros.map(Span::from_micros),
    }
}

/// Two hours.
fn record() -> Record {
    let sshd = JailName::new("sshd").expect("a name");
    Record {
        bans: vec![
            made("sshd", "192.0.2.1", 10, Some(900)),
            made("sshd", "192.0.2.9", 20, Some(5_000)),
            made("proxmox", "192.0.2.1", 3_700, Some(2_000_000)),
            made("sshd", "2001:db8:1:2::/64", 3_800, None),
            made("sshd", "192.0.2.1", 99_999, Some(1)),
        ],
        drops: vec![
            DropHour { hour: at(-800), packets: 40, bytes: 2_400 },
            DropHour { hour: at(2_800), packets: 2, bytes: 120 },
        ],
        in_force: vec![(sshd.clone(), 2)],
        totals: vec![Totals { jail: sshd, failures: 77, bans: 12 }],
        begins: Some(at(-5)),
    }
}

fn report() -> Report {
    Report::new("pve".to_owned(), &record(), at(0), at(7_200))
}

#[test]
fn numbers_are_those_of_the_record_up_to_the_end_of_the_report() {
    let report = report();
    assert_eq!((report.bans, report.by_hand, report.sources, report.in_force), (4, 1, 3, 2));
    assert_eq!((report.dropped_packets, report.dropped_bytes), (42, 2_520));
    assert_eq!(report.begins, None, "what was before is not asked for");
    let jails: Vec<_> = report.jails.iter().map(|line| (line.jail.as_str(), line.bans)).collect();
    assert_eq!(jails, [("sshd", 3), ("proxmox", 1)]);
    assert_eq!(report.jails[0].failures_ever, 77);
    let top = &report.top_sources[0];
    assert_eq!((top.source.to_string(), top.bans, top.failures), ("192.0.2.1".to_owned(), 2, 6));
    assert_eq!(top.jails.len(), 2);
    let network = &report.top_networks[0];
    assert_eq!((network.network.to_string(), network.bans), ("192.0.2.0/24".to_owned(), 3));
    assert_eq!(report.top_networks[1].network.to_string(), "2001:db8:1::/48");
    assert_eq!(report.times.known, 3);
    assert_eq!(report.times.median, Some(Span::from_micros(5_000)));
    assert_eq!(report.times.most, Some(Span::from_micros(2_000_000)));
    let classes: Vec<u64> = report.times.classes.iter().map(|(_, bans)| *bans).collect();
    assert_eq!(classes, [2, 0, 0, 1, 0, 0]);
}

#[test]
fn columns_have_no_gap_and_hold_all() {
    let report = report();
    assert_eq!(report.step, Span::from_seconds(300));
    let begins: Vec<i64> = report.columns.iter().map(|column| column.from.seconds()).collect();
    assert!(begins.windows(2).all(|two| two[1] - two[0] == 300), "{begins:?}");
    assert!(begins[0] <= at(0).seconds() && begins[begins.len() - 1] <= at(7_200).seconds());
    let bans: u64 = report.columns.iter().flat_map(|column| &column.bans).sum();
    let drops: u64 = report.columns.iter().map(|column| column.dropped_packets).sum();
    assert_eq!((bans, drops), (4, 42), "also those of the hour in which it begins");
    // Any time span has a bounded number of columns.
    for seconds in [1, 60, 86_400, 31 * 86_400, 50 * 366 * 86_400] {
        let from = Timestamp::from_micros(at(0).micros() - seconds * 1_000_000);
        let columns = Report::new(String::new(), &Record::default(), from, at(0)).columns.len();
        assert!((1..=620).contains(&columns), "{columns} columns for {seconds} s");
    }
}

#[test]
fn text_fits_a_mail() {
    let text = text(&report());
    for words in
        ["Bans made      4 of 3 sources", "42 packets", "192.0.2.0/24", "5 ms in the middle"]
    {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    // Of many days and jails too.
    let jails = ["a-jail-with-a-long-name", "another-such-jail", "sshd"];
    let bans = (0..300_usize).map(|n| {
        let source = format!("2001:db8:1111:{:x}::/64", 0x1000 + n % 30);
        let seconds = i64::try_from(n).expect("small") * 7_200;
        made(jails[n % 3], &source, seconds, Some(seconds))
    });
    let record = Record { bans: bans.collect(), ..record() };
    let host = "a-node-of-the-cluster.of-a-data-centre.example.org".to_owned();
    let text = super::text::text(&Report::new(host, &record, at(0), at(25 * 86_400)));
    assert!(text.lines().count() < 70, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.lines().all(|line| !line.ends_with(' ')) && !text.contains('\x1b'), "{text}");
    let from = at(0);
    let nothing = super::text::text(&Report::new("h".into(), &Record::default(), from, at(60)));
    assert!(nothing.contains("Nothing happened yet"), "{nothing}");
}

#[test]
fn a_page_needs_nothing_and_runs_nothing() {
    let hostile = r#"</title><script>alert("x")</script><img src=http://192.0.2.1/>'&"#;
    let page = page(&Report::new(hostile.to_owned(), &record(), at(0), at(7_200)));
    assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
    assert!(page.contains("&lt;script&gt;alert(&quot;x&quot;)"), "it is there as text");
    assert!(page.contains("Content-Security-Policy") && page.contains("default-src 'none'"));
    // Nothing names a place to fetch from but the empty icon.
    for word in ["src=", "url(", "@import", "http://", "https://"] {
        let written = page.replace(&escaped(hostile), "");
        assert!(!written.contains(word), "{word} in\n{written}");
    }
    assert_eq!(page.matches("href=").count(), 1);
    assert_eq!(escaped("a\u{0}\u{1b}<b>&'\""), "a\u{fffd}\u{fffd}&lt;b&gt;&amp;&#39;&quot;");
}

#[test]
fn units_are_chosen() {
    let times = [(999, "999 µs"), (5_000, "5 ms"), (1_250_000, "1.2 s"), (61_000_000, "1m 1s")];
    for (micros, words) in times {
        assert_eq!(duration(Span::from_micros(micros)), words);
    }
    assert_eq!((bytes(9_999), bytes(10_000_000)), ("9999 B".to_owned(), "10 MB".to_owned()));
    assert_eq!(bytes(u64::MAX), "18446744 TB");
}
