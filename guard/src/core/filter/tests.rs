use super::*;
use crate::core::entry::Dating;
use crate::core::failure::Who;
use crate::core::jail::JailId;
use crate::core::time::Timestamp;

fn text(prefregex: &str, failregex: &[&str], ignoreregex: &[&str]) -> FilterText {
    let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
    FilterText {
        name: "test".to_owned(),
        prefregex: prefregex.to_owned(),
        failregex: lines(failregex),
        ignoreregex: lines(ignoreregex),
        ..FilterText::default()
    }
}

fn compiled(prefregex: &str, failregex: &[&str], ignoreregex: &[&str]) -> Filter {
    Filter::compile(&text(prefregex, failregex, ignoreregex), Limits::default()).expect("a filter")
}

fn find(filter: &Filter, line: &str) -> Finding {
    let entry = Entry {
        time: Timestamp::default(),
        dating: Dating::Known,
        line: line.to_owned(),
        message_start: 0,
        daemon: None,
        jails: vec![JailId(0)],
    };
    filter.find(&entry, &mut Memory::new(8_192))
}

fn host(filter: &Filter, line: &str) -> Option<String> {
    find(filter, line).failure.map(|found| found.who.to_string())
}

#[test]
fn every_problem_is_reported_with_the_expression_as_written() {
    let text = text("", &["a <HOST", "(<HOST>", "", "^<HOST>$", r"\q<HOST>"], &["["]);
    let problems = Filter::compile(&text, Limits::default()).expect_err("problems");
    let expressions: Vec<&str> = problems.iter().map(|p| p.expression.as_str()).collect();
    assert_eq!(expressions, ["(<HOST>", r"\q<HOST>", "[", "a <HOST"]);
    assert_eq!(
        problems[3].to_string(),
        "no address group: put <HOST> where the address is: `a <HOST`"
    );
}

#[test]
fn a_filter_that_can_find_nobody_is_a_problem() {
    for (prefregex, failregex, message) in [
        ("", &[][..], "the filter has no failregex"),
        ("", &["", " "], "the filter has no failregex"),
        ("", &["failed"], "no failregex has an address group: put <HOST>"),
        ("^<F-MLFID>a</F-MLFID>", &["failed"], "no failregex has an address group: put <HOST>"),
    ] {
        let problems = Filter::compile(&text(prefregex, failregex, &[]), Limits::default());
        let problems = problems.expect_err("problems");
        assert_eq!(problems.len(), 1);
        assert!(problems[0].message.starts_with(message), "{problems:?}");
    }
    // A connection that some lines bring an address to is enough.
    let connection = "^<F-MLFID>a</F-MLFID> <F-CONTENT>.*</F-CONTENT>$";
    let text = text(connection, &["failed", "<HOST>"], &[]);
    assert!(Filter::compile(&text, Limits::default()).is_ok());
}

#[test]
fn the_first_expression_that_matches_wins() {
    let filter = compiled("", &["from <HOST> by", "<HOST>", "to <HOST>"], &[]);
    assert_eq!(host(&filter, "192.0.2.1 from 192.0.2.2 by").as_deref(), Some("192.0.2.2"));
    assert_eq!(host(&filter, "to 192.0.2.1 192.0.2.2").as_deref(), Some("192.0.2.1"));
    assert_eq!(host(&filter, "nothing"), None);
}

#[test]
fn prefregex_comes_first_and_its_content_is_what_is_searched() {
    let filter = compiled("^a: <F-CONTENT>.+</F-CONTENT> end$", &["^<HOST>$"], &[]);
    assert_eq!(host(&filter, "a: 192.0.2.1 end").as_deref(), Some("192.0.2.1"));
    assert_eq!(host(&filter, "b: 192.0.2.1 end"), None);
    assert_eq!(host(&filter, "192.0.2.1"), None);
}

#[test]
fn ignoreregex_overrules() {
    let filter = compiled("", &["from <HOST>"], &["user root"]);
    assert_eq!(host(&filter, "user bob from 192.0.2.1").as_deref(), Some("192.0.2.1"));
    assert_eq!(host(&filter, "user root from 192.0.2.1"), None);
}

#[test]
fn addresses_are_canonical_and_other_text_is_an_id() {
    let filter = compiled("", &["from <SUBNET>$", r"host <DNS>$", "id <F-ID/>$"], &[]);
    for (line, expected) in [
        ("from ::ffff:192.0.2.1", Some("192.0.2.1")),
        ("from [2001:db8::1]", Some("2001:db8::1")),
        ("from 192.0.2.77/24", Some("192.0.2.0/24")),
        ("from 192.0.2.1/33", None),
        ("from 999.0.2.1", Some("999.0.2.1")),
        ("host example.com", None),
        ("host 192.0.2.1", Some("192.0.2.1")),
        ("id 192.0.2.1", Some("192.0.2.1")),
        ("id session", Some("session")),
    ] {
        assert_eq!(host(&filter, line).as_deref(), expected, "{line}");
    }
}

#[test]
fn without_a_connection_the_flags_say_nothing() {
    let filter = compiled("", &["<F-NOFAIL>closed</F-NOFAIL> <HOST>"], &[]);
    assert_eq!(host(&filter, "closed 192.0.2.1").as_deref(), Some("192.0.2.1"));
}

#[test]
fn an_expression_that_takes_too_long_is_reported_and_the_next_one_is_tried() {
    let filter = compiled("", &[r"^(?:(a|a|aa)+\1)+x<HOST>$", "<HOST>"], &[]);
    let line = format!("{} x192.0.2.1", "a".repeat(60));
    let finding = find(&filter, &line);
    assert_eq!(finding.step_limit, Some(1));
    assert_eq!(finding.failure.map(|found| found.who.to_string()).as_deref(), Some("192.0.2.1"));
    assert_eq!(find(&filter, "aax192.0.2.1").step_limit, None);
}

#[test]
fn a_megabyte_of_anything_ends() {
    let filter = compiled(
        "",
        &["^.*a.*b.*c <HOST>$", "(?!x)from <HOST>", "<F-USER>.*</F-USER> <HOST>x"],
        &[],
    );
    for piece in ["a", "1.1.", "::", "\0", "é", "from 1.2.3.4 "] {
        find(&filter, &piece.repeat((1 << 20) / piece.len()));
    }
}

/// Who fails in a line, where names count as `use_dns` says.
fn who(use_dns: UseDns, failregex: &str, line: &str) -> Option<Who> {
    let text = FilterText { use_dns, ..text("", &[failregex], &[]) };
    let filter = Filter::compile(&text, Limits::default()).expect("a filter");
    find(&filter, line).failure.map(|found| found.who)
}

#[test]
fn names_count_unless_usedns_is_no() {
    let name = || Some(Who::Name("a-b.example.com".to_owned()));
    let address = || Some(Who::Address("192.0.2.1".parse().expect("an address")));
    for (use_dns, of_name) in
        [(UseDns::No, None), (UseDns::Warn, name()), (UseDns::Yes, name()), (UseDns::Raw, name())]
    {
        assert_eq!(who(use_dns, "from <HOST>$", "from a-b.example.com"), of_name);
        assert_eq!(who(use_dns, "from <DNS>$", "from a-b.example.com"), of_name);
        assert_eq!(who(use_dns, "from <HOST>$", "from 192.0.2.1"), address());
        assert_eq!(who(use_dns, "from <DNS>$", "from 192.0.2.1"), address());
        assert_eq!(who(use_dns, "from <ADDR>$", "from a-b.example.com"), None);
    }
}

#[test]
fn an_id_counts_before_the_address_that_it_differs_from() {
    let expression = "session <F-ID>\\S+</F-ID> from <HOST>$";
    let id = Some(Who::Id("abc".to_owned()));
    assert_eq!(who(UseDns::No, expression, "session abc from 192.0.2.1"), id);
    let same = who(UseDns::No, expression, "session 192.0.2.1 from 192.0.2.1");
    assert_eq!(same.map(|who| who.to_string()).as_deref(), Some("192.0.2.1"));
}

/// A filter over several lines.
fn several(failregex: &str, ignoreregex: &[&str], max_lines: usize) -> Filter {
    let text = FilterText { max_lines, ..text("", &[failregex], ignoreregex) };
    Filter::compile(&text, Limits::default()).expect("a filter")
}

/// The lines that complete a failure.
fn failing<'t>(filter: &Filter, lines: &[&'t str], dating: Dating) -> Vec<&'t str> {
    let mut memory = Memory::new(8_192);
    let mut fails = |line: &&str| {
        let entry = Entry {
            time: Timestamp::from_seconds(1_794_657_600),
            dating,
            line: (*line).to_owned(),
            message_start: 0,
            daemon: None,
            jails: vec![JailId(0)],
        };
        filter.find(&entry, &mut memory).failure.is_some()
    };
    lines.iter().copied().filter(|line| fails(line)).collect()
}

#[test]
fn an_expression_may_span_lines() {
    let spanning = r"^(?P<id>\w+) from <HOST>$<SKIPLINES>^(?P=id) failed$";
    let lines = ["a from 192.0.2.1", "b from 192.0.2.2", "a failed", "b failed", "a failed"];
    let found = failing(&several(spanning, &[], 3), &lines, Dating::Known);
    // What was skipped stays; what was matched is used up.
    assert_eq!(found, ["a failed", "b failed"]);
    let found = failing(&several(spanning, &[], 2), &lines, Dating::Known);
    assert_eq!(found, [""; 0], "the first line is gone");
    let found = failing(&several(spanning, &["192.0.2.1"], 3), &lines, Dating::Known);
    assert_eq!(found, ["b failed"], "only lines of the match are ignored");
    let dated: Vec<String> =
        lines.iter().map(|line| format!("2026-11-14 12:00:00 {line}")).collect();
    let dated: Vec<&str> = dated.iter().map(String::as_str).collect();
    let spanning = r"^ (?P<id>\w+) from <HOST>$<SKIPLINES>^ (?P=id) failed$";
    let found = failing(&several(spanning, &[], 3), &dated, Dating::InLine);
    assert_eq!(found, [dated[2], dated[3]]);
}

#[test]
fn the_date_is_cut_out_and_is_the_time_of_the_failure() {
    let filter = compiled("", &["^ host x: from <HOST>$"], &[]);
    let mut entry = Entry {
        time: Timestamp::from_seconds(1_794_657_600),
        dating: Dating::InLine,
        line: "2026-11-14T11:59:00Z host x: from 192.0.2.1".to_owned(),
        message_start: 29,
        daemon: None,
        jails: vec![JailId(0)],
    };
    let finding = filter.find(&entry, &mut Memory::new(8));
    assert_eq!(finding.failure.map(|found| found.time.seconds()), Some(1_794_657_540));
    assert_eq!(finding.date_from, DateFrom::Line);
    // Without a date it is the time of reading; from a source that knows, nothing is cut.
    entry.line = " host x: from 192.0.2.1".to_owned();
    let finding = filter.find(&entry, &mut Memory::new(8));
    assert_eq!(finding.failure.map(|found| found.time), Some(entry.time));
    assert_eq!(finding.date_from, DateFrom::Reading);
    entry.line = "2026-11-14T11:59:00Z host x: from 192.0.2.1".to_owned();
    entry.dating = Dating::Known;
    assert_eq!(filter.find(&entry, &mut Memory::new(8)).failure, None);
}

#[test]
fn the_client_is_no_source_on_any_of_several_lines() {
    let filter = several("from <HOST> port", &[], 3);
    let entry = |line: &str| Entry {
        time: Timestamp::default(),
        dating: Dating::Known,
        line: format!("pve sshd[7]: {line}"),
        message_start: 13,
        daemon: Some(Daemon::Sshd),
        jails: vec![JailId(0)],
    };
    let mut memory = Memory::new(8);
    let planted = "Invalid user a from 203.0.113.9 port 1 from nowhere";
    assert_eq!(filter.find(&entry(planted), &mut memory).failure, None);
    assert_eq!(filter.find(&entry("Server listening"), &mut memory).failure, None);
    let line = "Invalid user b from 203.0.113.9 port 1 from 198.51.100.1 port 1";
    let found = filter.find(&entry(line), &mut memory).failure;
    assert_eq!(found.map(|found| found.who.to_string()).as_deref(), Some("198.51.100.1"));
}
