//! The report of a trial, laid out as `fail2ban-regex` lays it out.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;

use super::Arguments;
use crate::cli::{Failure, output};
use crate::core::filter::FilterText;
use crate::core::time::Timestamp;
use crate::tool::trial::{Hits, Trial};

/// Lines of one kind that are printed unless more are asked for; one more is kept to
/// know that there are more.
pub(super) const MOST_LINES: usize = 20;

/// What is tried on what, told before it is.
pub(super) struct Head {
    text: String,
    silent: bool,
}

impl Head {
    pub(super) fn new(silent: bool) -> Self {
        let text = "\nRunning tests\n=============\n\n".to_owned();
        Self { text, silent }
    }

    pub(super) fn filter(&mut self, name: &str, directory: &Path, options: &[(String, String)]) {
        let directory = directory.display();
        self.line(&format!("Use   failregex filter file : {name}, basedir: {directory}"));
        if !options.is_empty() {
            let options: Vec<String> =
                options.iter().map(|(name, value)| format!("'{name}': '{value}'")).collect();
            self.line(&format!("Use   filter options : {{{}}}", options.join(", ")));
        }
    }

    pub(super) fn expression(&mut self, kind: &str, text: &str) {
        self.line(&format!("Use {kind:>11} line : {}", short(text)));
    }

    pub(super) fn settings(&mut self, text: &FilterText) {
        if text.max_lines > 0 {
            self.line(&format!("Use         maxlines : {}", text.max_lines));
        }
        if !text.date_pattern.is_empty() {
            self.line(&format!("Use      datepattern : {}", text.date_pattern.replace('\n', " ")));
        }
    }

    pub(super) fn log(&mut self, words: &[String]) {
        for words in words {
            self.line(words);
        }
        self.line("");
    }

    pub(super) fn print(&self) -> Result<(), Failure> {
        if self.silent { Ok(()) } else { output::print(&self.text) }
    }

    fn line(&mut self, text: &str) {
        self.text.push_str(&output::visible(text));
        self.text.push('\n');
    }
}

/// At most 53 characters of a text.
pub(super) fn short(text: &str) -> String {
    let text = text.replace('\n', "\\n");
    if text.chars().count() <= 53 {
        return text;
    }
    let start: String = text.chars().take(50).collect();
    format!("{start}...")
}

pub(super) fn in_words(trial: &Trial, arguments: &Arguments, seconds: f64) -> String {
    let verbose = arguments.verbose > 0;
    let mut out = "\nResults\n=======\n".to_owned();
    // Writing to a string cannot fail.
    if let Some(prefix) = &trial.prefregex {
        let _ = write!(out, "\nPrefregex: {} total\n", prefix.hits);
        list(&mut out, None, std::slice::from_ref(&prefix.expression));
    }
    expressions(&mut out, "Failregex", &trial.failregex, verbose);
    expressions(&mut out, "Ignoreregex", &trial.ignoreregex, verbose);
    let dates: Vec<String> = trial
        .date_hits()
        .filter(|(_, hits)| verbose || *hits > 0)
        .map(|(name, hits)| format!("[{hits}] {name}"))
        .collect();
    out.push_str("\nDate template hits:\n");
    list(&mut out, Some("[# of hits] date format"), &dates);
    let counts = &trial.counts;
    let _ = write!(
        out,
        "\nLines: {} lines, {} ignored, {} matched, {} missed\n[processed in {seconds:.2} sec]\n\n",
        counts.tested, counts.ignored, counts.matched, counts.missed
    );
    let kept = &trial.kept;
    if arguments.print_all_matched {
        lines(&mut out, "matched", counts.matched, &kept.matched, true);
    }
    if !arguments.print_no_ignored {
        lines(&mut out, "ignored", counts.ignored, &kept.ignored, arguments.print_all_ignored);
    }
    if !arguments.print_no_missed {
        lines(&mut out, "missed", counts.missed, &kept.missed, arguments.print_all_missed);
    }
    out
}

fn expressions(out: &mut String, title: &str, all: &[Hits], verbose: bool) {
    let total: u64 = all.iter().map(|one| one.hits).sum();
    let _ = write!(out, "\n{title}: {total} total\n");
    let mut shown = Vec::new();
    for (number, one) in (1..).zip(all) {
        if one.hits > 0 || verbose {
            shown.push(format!("{number:2}) [{}] {}", one.hits, one.expression));
        }
        for (who, time) in &one.found {
            shown.push(format!("    {who}  {}", clock(*time)));
        }
    }
    list(out, Some(" #) [# of hits] regular expression"), &shown);
}

/// Lines of one kind, or how many there are.
fn lines(out: &mut String, kind: &str, count: u64, kept: &[String], all: bool) {
    if count == 0 {
        return;
    }
    let title = format!("{}{}", kind[..1].to_uppercase(), &kind[1..]);
    if all || count < MOST_LINES as u64 {
        let kept: Vec<String> = kept.iter().map(|line| output::visible(line.trim_end())).collect();
        list(out, Some(&format!("{title} line(s):")), &kept);
    } else {
        let _ = writeln!(
            out,
            "{title} line(s): too many to print.  Use --print-all-{kind} to print all {count} lines"
        );
    }
}

/// A list as a branch of a tree; nothing if it is empty.
fn list(out: &mut String, header: Option<&str>, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    if let Some(header) = header {
        let _ = writeln!(out, "|- {header}");
    }
    for line in lines {
        let _ = writeln!(out, "|  {line}");
    }
    out.push_str("`-\n");
}

/// A time as C's `ctime` writes it, in the host's zone.
fn clock(time: Timestamp) -> String {
    let zone = jiff::tz::TimeZone::system();
    match jiff::Timestamp::from_microsecond(time.micros()) {
        Ok(instant) => instant.to_zoned(zone).strftime("%a %b %d %H:%M:%S %Y").to_string(),
        Err(_) => time.seconds().to_string(),
    }
}

pub(super) fn in_json(trial: &Trial, seconds: f64) -> serde_json::Value {
    let dates: Vec<_> = trial
        .date_hits()
        .filter(|(_, hits)| *hits > 0)
        .map(|(name, hits)| json!({ "name": name, "hits": hits }))
        .collect();
    json!({
        "lines": trial.counts,
        "prefregex": trial.prefregex,
        "failregex": trial.failregex,
        "ignoreregex": trial.ignoreregex,
        "dates": dates,
        "dated": trial.dated,
        "given-up": trial.given_up,
        "seconds": seconds,
        "kept": trial.kept,
    })
}
