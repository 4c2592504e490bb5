//! Fail2Ban's own sample corpus, with its own filters: every check passes.

use std::fs;
use std::path::Path;

use guard_tests::conformance::{Corpus, Report};

fn run(filter: &str, log: &str) -> Report {
    try_run(filter, log).expect("a run")
}

fn try_run(filter: &str, log: &str) -> anyhow::Result<Report> {
    let place = tempfile::tempdir().expect("a directory");
    let write = |path: &str, text: &str| {
        let path = place.path().join(path);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("a directory");
        fs::write(path, text).expect("written");
    };
    write("filter.d/demo.conf", filter);
    write("logs/demo", log);
    let logs = place.path().join("logs");
    let corpus = Corpus { filters: place.path().to_owned(), logs, test_filters: None };
    corpus.run()
}

const FILTER: &str = "[Definition]\nfailregex = ^ demo: bad <F-USER>\\S+</F-USER> from <HOST>$\n";
const SAMPLE: &str = "# failJSON: {\"match\": true, \"host\": \"192.0.2.1\", \"time\": \
                      \"2005-08-14T11:00:00\", \"user\": \"bob\"}\n\
                      Aug 14 11:00:00 demo: bad bob from 192.0.2.1\n";

#[test]
fn every_check_of_debians_corpus_passes() {
    let corpus = Corpus::named_or_debians([None, None, None]).expect("Debian's package");
    let report = corpus.run().expect("a run");
    println!("{report}");
    assert!(report.is_good(), "{report}");
    // What Debian 12's package holds; a later one holds more.
    assert!(report.stock.checks >= 1_381, "{report}");
    assert!(report.own.checks >= 246, "{report}");
}

#[test]
fn a_sample_passes_and_each_thing_that_differs_fails() {
    let report = run(FILTER, SAMPLE);
    assert!(report.is_good(), "{report}");
    assert_eq!((report.stock.checks, report.stock.passed), (1, 1));
    for (right, wrong) in [
        ("192.0.2.1\",", "192.0.2.2\","),
        ("\"bob\"", "\"eve\""),
        ("11:00:00\"", "11:00:01\""),
        ("true", "false"),
        ("bad bob", "good bob"),
        ("failJSON: {", "failJSON: "),
    ] {
        let report = run(FILTER, &SAMPLE.replacen(right, wrong, 1));
        assert!(!report.is_good(), "{wrong}: {report}");
        assert_eq!(report.failures.len(), 1 + usize::from(wrong == "failJSON: "), "{report}");
    }
    let nothing = try_run(FILTER, &SAMPLE.replace("# failJSON", "# noJSON"));
    let error = nothing.expect_err("nothing to check").to_string();
    assert!(error.ends_with("holds no sample"), "{error}");
}

#[test]
fn what_is_never_checked_fails_the_run() {
    // A sample that no filter is for, and one whose options never hold.
    let skipped = format!("# filterOptions: {{\"test.condition\": \"name == 'x'\"}}\n{SAMPLE}");
    let report = run(FILTER, &skipped);
    assert!(!report.is_good() && report.stock.checks == 0, "{report}");
    assert!(report.to_string().contains("1 sample lines were never checked"), "{report}");
    let report = run("[Definition]\nfailregex = (<HOST>\n", SAMPLE);
    assert!(report.to_string().contains("does not compile"), "{report}");
    assert!(!report.is_good(), "{report}");
}

#[test]
fn options_and_constraints_choose_what_is_checked() {
    let filter = format!("{FILTER}\nmode = normal\n");
    let log = format!(
        "# filterOptions: [{{}}, {{\"mode\": \"extra\"}}]\n{}",
        SAMPLE.replace("{\"match\"", "{\"constraint\": \"opts.get('mode') == 'extra'\", \"match\"")
    );
    let report = run(&filter, &log);
    assert_eq!((report.stock.checks, report.failures.len()), (1, 0), "{report}");
    let report = run(&filter, &log.replace("== 'extra'", "~ 'extra'"));
    assert!(!report.is_good(), "{report}");
}
