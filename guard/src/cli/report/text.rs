//! A report as text, for a terminal and for mail: 80 columns, no colour.

use std::fmt::Write as _;

use super::model::{ColumnOf, Report};
use crate::cli::layout::{self, USUAL, minutes};
use crate::core::jail::JailName;
use crate::core::time::Span;
use crate::daemon::report::local;

/// Cells of a bar.
const BAR: u64 = 40;

/// The report in words.
pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_all(&mut text, report);
    text
}

fn write_all(text: &mut String, report: &Report) -> std::fmt::Result {
    let head = format!("guard on {}: {} to {}", report.host, local(report.from), local(report.to));
    writeln!(text, "{}", layout::streamed(&head, USUAL))?;
    if let Some(begins) = report.begins {
        writeln!(
            text,
            "(the record begins {}; of what was before nothing is known)",
            local(begins)
        )?;
    }
    writeln!(text)?;
    writeln!(text, "Bans made      {} of {} sources", report.bans, report.sources)?;
    writeln!(text, "  by hand      {}", report.by_hand)?;
    writeln!(text, "In force now   {}", report.in_force)?;
    let (packets, bytes) = (report.dropped_packets, bytes(report.dropped_bytes));
    writeln!(text, "Dropped        {packets} packets, {bytes}")?;
    if let (Some(median), Some(most)) = (report.times.median, report.times.most) {
        let (median, most) = (duration(median), duration(most));
        writeln!(text, "Time to a ban  {median} in the middle, 95 % within {most}")?;
    }
    if report.jails.is_empty() {
        return writeln!(text, "\nNothing happened yet.");
    }
    let rows: Vec<Vec<String>> = report
        .jails
        .iter()
        .map(|line| {
            let numbers = [line.bans, line.in_force, line.failures_ever, line.bans_ever];
            let mut row = vec![line.jail.to_string()];
            row.extend(numbers.map(|number| number.to_string()));
            row
        })
        .collect();
    let header = ["JAIL", "BANS", "IN FORCE", "FAILURES EVER", "BANS EVER"];
    writeln!(text, "\n{}", layout::table(&header, &rows, USUAL).trim_end())?;
    if report.bans == 0 {
        return Ok(());
    }
    let lines = over_time(report);
    writeln!(text, "\nBans over time")?;
    let most = lines.iter().map(|(_, bans)| *bans).max().unwrap_or(1).max(1);
    for (time, bans) in lines {
        let bar = "#".repeat(usize::try_from((bans * BAR).div_ceil(most)).unwrap_or(0));
        let width = usize::try_from(BAR).unwrap_or(0);
        writeln!(text, "{time}  {bar:<width$} {bans}")?;
    }
    let rows: Vec<Vec<String>> = report
        .top_sources
        .iter()
        .map(|line| {
            let numbers = [line.bans, line.failures].map(|number| number.to_string());
            let [bans, failures] = numbers;
            vec![
                line.source.to_string(),
                bans,
                failures,
                short(&names(&line.jails)),
                minutes(line.last),
            ]
        })
        .collect();
    let header = ["SOURCE", "BANS", "FAILURES", "JAILS", "LAST"];
    writeln!(text, "\n{}", layout::table(&header, &rows, USUAL).trim_end())?;
    let rows: Vec<Vec<String>> = report
        .top_networks
        .iter()
        .map(|line| vec![line.network.to_string(), line.bans.to_string(), line.sources.to_string()])
        .collect();
    let header = ["NETWORK", "BANS", "SOURCES"];
    writeln!(text, "\n{}", layout::table(&header, &rows, USUAL).trim_end())
}

/// Bans by the time that stands before them: of more than two days, by the day.
fn over_time(report: &Report) -> Vec<(String, u64)> {
    let days = (report.to - report.from).seconds() > 2 * 86_400;
    let mut lines: Vec<(String, u64)> = Vec::new();
    for column in &report.columns {
        let time = local(column.from);
        let time = time.get(..if days { 10 } else { 16 }).unwrap_or(&time).to_owned();
        match lines.last_mut() {
            Some((last, bans)) if *last == time => *bans += sum(column),
            _ => lines.push((time, sum(column))),
        }
    }
    lines
}

/// The beginning of a text that leaves room for others.
fn short(text: &str) -> String {
    const ROOM: usize = 16;
    if text.chars().count() <= ROOM {
        return text.to_owned();
    }
    text.chars().take(ROOM - 1).chain(['…']).collect()
}

/// All jails of a column together.
pub(super) fn sum(column: &ColumnOf) -> u64 {
    column.bans.iter().sum()
}

/// Names of jails.
pub(super) fn names(jails: &[JailName]) -> String {
    jails.iter().map(JailName::as_str).collect::<Vec<_>>().join(" ")
}

/// A short time in its own unit.
pub(super) fn duration(span: Span) -> String {
    match span.micros() {
        micros @ ..1_000 => format!("{micros} µs"),
        micros @ 1_000..1_000_000 => format!("{} ms", micros / 1_000),
        micros @ 1_000_000..60_000_000 => {
            format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000)
        }
        _ => span.to_string(),
    }
}

/// Bytes in their own unit.
pub(super) fn bytes(bytes: u64) -> String {
    let (mut rest, mut unit) = (bytes, 0);
    while rest >= 10_000 && unit < 4 {
        rest /= 1_000;
        unit += 1;
    }
    format!("{rest} {}", ["B", "kB", "MB", "GB", "TB"][unit])
}
