//! `guardctl` called `fail2ban-regex` takes that program's command lines and prints its
//! numbers, its addresses and its exit codes.

use anyhow::{Result, ensure};
use guard_tests::fail2ban::Package;

use super::client::{Client, Printed};
use super::sides::Sides;

/// Of a report, totals and lines of each kind; other outputs are compared as they are.
fn numbers(printed: &Printed) -> Vec<String> {
    let report = printed.out.contains("Running tests");
    let line = |line: &&str| !report || line.contains(" total") || line.starts_with("Lines:");
    printed.out.lines().filter(line).map(str::to_owned).collect()
}

pub(crate) fn check(sides: &Sides<'_>) -> Result<()> {
    let mut theirs = Client::new(&Package::fetch()?, "fail2ban-regex", &[])?;
    let (log, filters) = sides.log_and_filters();
    let (log, filters) = (log.display().to_string(), filters.display().to_string());
    let config = format!("--config={filters}");
    let expression = r"^\s*login failed from <HOST>$";
    for line in [
        vec!["-V"],
        vec!["-c", &filters, &log, "app"],
        vec![config.as_str(), &log, "app"],
        vec!["--config", &filters, &log, "app", "--print-all-matched", "-v"],
        vec!["--verbosity", "1", "-D", "-t", &log, expression],
        vec!["-o", "ip", &log, expression],
        vec!["-o", "<ip>, again <ip>", "-c", &filters, &log, "app"],
        vec![&log, expression, "failed"],
        vec!["2026-11-23 04:00:00 login failed from 192.0.2.9", expression],
        // Not done.
        vec![&log, "no-such-filter-anywhere"],
        vec![&log],
        vec!["--no-such-option", &log, expression],
    ] {
        let words: Vec<String> = line.iter().map(|&word| word.to_owned()).collect();
        theirs.run(&words)?;
        let ours = sides.by_name("fail2ban-regex", &words)?;
        let theirs = theirs.printed()?;
        ensure!(theirs.code == ours.code, "{words:?}\n{theirs:#?}\n{ours:#?}");
        if theirs.code == Some(0) {
            ensure!(numbers(&theirs) == numbers(&ours), "{words:?}\n{theirs:#?}\n{ours:#?}");
        }
    }
    Ok(())
}
