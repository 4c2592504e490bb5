use super::*;
use crate::core::entry::Dating;
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
fn addresses_are_canonical_and_names_are_none() {
    let filter = compiled("", &["from <SUBNET>$", r"host <DNS>$", "id <F-ID/>$"], &[]);
    for (line, expected) in [
        ("from ::ffff:192.0.2.1", Some("192.0.2.1")),
        ("from [2001:db8::1]", Some("2001:db8::1")),
        ("from 192.0.2.77/24", Some("192.0.2.0/24")),
        ("from 192.0.2.1/33", None),
        ("from 999.0.2.1", None),
        ("host example.com", None),
        ("host 192.0.2.1", Some("192.0.2.1")),
        ("id 192.0.2.1", Some("192.0.2.1")),
        ("id session", None),
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
