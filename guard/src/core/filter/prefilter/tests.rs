use super::*;
use crate::core::filter::{FilterText, Limits};

fn filter(prefregex: &str, failregex: &[&str]) -> Filter {
    let text = FilterText {
        prefregex: prefregex.to_owned(),
        failregex: failregex.iter().map(|text| (*text).to_owned()).collect(),
        ..FilterText::default()
    };
    Filter::compile(&text, Limits::default()).expect("a filter")
}

fn candidates(filters: &[&Filter], line: &str, dating: Dating) -> Vec<usize> {
    let mut found = Candidates::default();
    Prefilter::new(filters).candidates(line, dating, &mut found);
    (0..filters.len()).filter(|filter| found.contains(*filter)).collect()
}

#[test]
fn a_filter_is_a_candidate_where_both_its_parts_may_match() {
    let plain = filter("", &["^failed login from <HOST>$", "(?i)denied <HOST>"]);
    let prefixed = filter("^daemon: <F-CONTENT>.+</F-CONTENT>$", &["login from <HOST>"]);
    let open = filter("", &["<HOST>"]);
    let filters = [&plain, &prefixed, &open];
    for (line, expected) in [
        ("daemon: failed login from 1.2.3.4", &[0, 1, 2][..]),
        ("other: login from 1.2.3.4", &[2]),
        ("daemon: logout from 1.2.3.4", &[2]),
        ("DENIED 1.2.3.4", &[0, 2]),
        ("", &[2]),
    ] {
        assert_eq!(candidates(&filters, line, Dating::Known), expected, "{line}");
    }
}

#[test]
fn a_date_may_stand_within_a_literal() {
    let filter = filter("", &[r"^\[\] login failed from <HOST>$"]);
    let line = "[Nov 22 17:40:22] login failed from 1.2.3.4";
    assert_eq!(candidates(&[&filter], line, Dating::InLine), [0]);
    assert_eq!(candidates(&[&filter], line, Dating::Known), [0usize; 0]);
    assert_eq!(candidates(&[&filter], "[Nov 22 17:40:22] logged in", Dating::InLine), [0usize; 0]);
}
