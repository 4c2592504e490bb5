//! A report as one page: style and charts are in it, nothing is fetched, nothing runs.
//!
//! Invariant: every text that is not written here goes through [`escaped`]; the page's own
//! policy (`Content-Security-Policy`) forbids scripts and all requests besides.

use std::fmt::{self, Write as _};

use super::model::Report;
use super::text::{bytes, duration, names, sum};
use crate::daemon::report::local;

/// Size of a chart.
const WIDTH: u64 = 720;
const HEIGHT: u64 = 180;
/// Room for the axes.
const LEFT: u64 = 46;
const BOTTOM: u64 = 22;
/// Colours of jails; further ones share the last.
const JAILS: u64 = 6;

const STYLE: &str = include_str!("style.css");

/// The page.
pub(super) fn page(report: &Report) -> String {
    let mut page = String::new();
    // Writing to a string does not fail.
    let _ = write_page(&mut page, report);
    page
}

/// A text that means nothing to a browser but itself.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Not allowed in HTML, or invisible.
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

fn write_page(page: &mut String, report: &Report) -> fmt::Result {
    let host = escaped(&report.host);
    let (from, to) = (escaped(&local(report.from)), escaped(&local(report.to)));
    write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <title>guard on {host}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header><h1>guard on {host}</h1>\n<p>{from} to {to}</p>\n"
    )?;
    if let Some(begins) = report.begins {
        let begins = escaped(&local(begins));
        writeln!(page, "<p>The record begins {begins}; of what was before nothing is known.</p>")?;
    }
    writeln!(page, "</header>\n<section class=\"facts\">")?;
    let times = &report.times;
    let time = times.median.map_or("–".to_owned(), duration);
    for (id, value, what) in [
        ("bans", report.bans.to_string(), "bans made"),
        ("sources", report.sources.to_string(), "sources"),
        ("in-force", report.in_force.to_string(), "bans in force now"),
        ("packets", report.dropped_packets.to_string(), "packets dropped"),
        ("bytes", bytes(report.dropped_bytes), "dropped"),
        ("median", time, "median time to a ban"),
    ] {
        let value = escaped(&value);
        writeln!(page, "<div><b id=\"{id}\">{value}</b><span>{what}</span></div>")?;
    }
    writeln!(page, "</section>")?;
    bans_over_time(page, report)?;
    drops_over_time(page, report)?;
    writeln!(page, "<div class=\"pair\">")?;
    by_jail(page, report)?;
    time_to_ban(page, report)?;
    writeln!(page, "</div>")?;
    sources(page, report)?;
    networks(page, report)?;
    writeln!(page, "</body>\n</html>")
}

/// A chart of columns, each of them a stack; `mark` is what a column says of itself.
fn chart(
    page: &mut String,
    (id, title): (&str, &str),
    columns: &[Vec<u64>],
    mark: impl Fn(usize) -> String,
    (first, last): (String, String),
) -> fmt::Result {
    let most = columns.iter().map(|stack| stack.iter().sum::<u64>()).max().unwrap_or(0).max(1);
    let total: u64 = columns.iter().flatten().sum();
    let (height, width) = (HEIGHT - BOTTOM - 8, WIDTH - LEFT);
    let title = escaped(title);
    write!(
        page,
        "<section><h2>{title}</h2>\n<svg id=\"{id}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"{title}: {total} in all, at most {most} in a column\">\n"
    )?;
    for part in [0, 1, 2] {
        let y = 8 + height - height * part / 2;
        let value = most * part / 2;
        writeln!(
            page,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y}\" y2=\"{y}\"/>\
             <text class=\"axis\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{value}</text>",
            LEFT - 6,
            y + 4
        )?;
    }
    let count = u64::try_from(columns.len()).unwrap_or(1).max(1);
    for (index, stack) in columns.iter().enumerate() {
        if stack.iter().sum::<u64>() == 0 {
            continue;
        }
        let at = u64::try_from(index).unwrap_or(0);
        // In tenths, so that columns of any number fill the width.
        let (begin, end) = (width * 10 * at / count, width * 10 * (at + 1) / count);
        let gap = if end - begin > 40 { 10 } else { 0 };
        write!(page, "<g><title>{}</title>", escaped(&mark(index)))?;
        let mut below = 0;
        for (series, value) in stack.iter().enumerate().filter(|(_, value)| **value > 0) {
            let foot = height * 10 * below / most;
            below += value;
            let tall = (height * 10 * below / most).max(foot + 5) - foot;
            let series = u64::try_from(series).unwrap_or(JAILS).min(JAILS - 1);
            write!(
                page,
                "<rect class=\"s{series}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
                tenths(LEFT * 10 + begin),
                tenths((8 + height) * 10 - foot - tall),
                tenths((end - begin - gap).max(1)),
                tenths(tall)
            )?;
        }
        writeln!(page, "</g>")?;
    }
    let y = HEIGHT - 6;
    write!(
        page,
        "<text class=\"axis\" x=\"{LEFT}\" y=\"{y}\">{}</text>\
         <text class=\"axis\" x=\"{WIDTH}\" y=\"{y}\" text-anchor=\"end\">{}</text>\n</svg>\n",
        escaped(&first),
        escaped(&last)
    )
}

fn tenths(number: u64) -> String {
    format!("{}.{}", number / 10, number % 10)
}

/// The ends of the axis of time.
fn ends(report: &Report) -> (String, String) {
    let minutes = |time| local(time).get(..16).unwrap_or_default().to_owned();
    let first = report.columns.first().map_or(report.from, |column| column.from);
    (minutes(first), minutes(report.to))
}

fn bans_over_time(page: &mut String, report: &Report) -> fmt::Result {
    let columns: Vec<Vec<u64>> = report.columns.iter().map(|column| column.bans.clone()).collect();
    let mark = |index: usize| {
        let column = &report.columns[index];
        let of = report.jails.iter().zip(&column.bans).filter(|(_, bans)| **bans > 0);
        let of: Vec<String> = of.map(|(line, bans)| format!("{} {bans}", line.jail)).collect();
        format!("{}: {} ({})", local(column.from), sum(column), of.join(", "))
    };
    let title = format!("Bans made, a column for each {}", report.step);
    chart(page, ("bans-over-time", &title), &columns, mark, ends(report))?;
    write!(page, "<p class=\"key\">")?;
    for (index, line) in report.jails.iter().filter(|line| line.bans > 0).enumerate() {
        let series = u64::try_from(index).unwrap_or(JAILS).min(JAILS - 1);
        let jail = escaped(line.jail.as_str());
        write!(page, "<span><i class=\"s{series}\"></i>{jail}</span> ")?;
    }
    writeln!(page, "</p></section>")
}

fn drops_over_time(page: &mut String, report: &Report) -> fmt::Result {
    if report.dropped_packets == 0 {
        return writeln!(
            page,
            "<section><h2>Packets dropped</h2><p>None, or none that were counted: nftables \
             counts none.</p></section>"
        );
    }
    let columns: Vec<Vec<u64>> =
        report.columns.iter().map(|column| vec![column.dropped_packets]).collect();
    let mark = |index: usize| {
        let column = &report.columns[index];
        format!("{}: {} packets", local(column.from), column.dropped_packets)
    };
    let title = format!("Packets dropped, a column for each {}", report.step);
    chart(page, ("drops-over-time", &title), &columns, mark, ends(report))?;
    writeln!(page, "</section>")
}

/// Rows with a bar behind the number.
fn bars(page: &mut String, id: &str, rows: &[(String, u64)]) -> fmt::Result {
    let most = rows.iter().map(|(_, value)| *value).max().unwrap_or(0).max(1);
    writeln!(page, "<table id=\"{id}\">")?;
    for (name, value) in rows {
        let percent = value * 100 / most;
        writeln!(
            page,
            "<tr><th>{}</th><td class=\"bar\"><svg viewBox=\"0 0 100 10\" \
             preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"s0\" \
             width=\"{percent}\" height=\"10\"/></svg></td><td>{value}</td></tr>",
            escaped(name)
        )?;
    }
    writeln!(page, "</table>")
}

fn by_jail(page: &mut String, report: &Report) -> fmt::Result {
    writeln!(page, "<section><h2>Bans made by jail</h2>")?;
    let rows: Vec<(String, u64)> =
        report.jails.iter().map(|line| (line.jail.to_string(), line.bans)).collect();
    bars(page, "by-jail", &rows)?;
    writeln!(page, "</section>")
}

fn time_to_ban(page: &mut String, report: &Report) -> fmt::Result {
    let times = &report.times;
    writeln!(page, "<section><h2>From the last failure to the ban</h2>")?;
    bars(page, "time-to-ban", &times.classes)?;
    if let Some(most) = times.most {
        let (known, most) = (times.known, escaped(&duration(most)));
        writeln!(page, "<p>Of {known} bans 95 % took no longer than {most}.</p>")?;
    }
    writeln!(page, "</section>")
}

fn sources(page: &mut String, report: &Report) -> fmt::Result {
    writeln!(
        page,
        "<section><h2>Who was banned most</h2>\n<table id=\"top-sources\"><tr><th>source</th>\
         <th>bans</th><th>failures</th><th>jails</th><th>last</th></tr>"
    )?;
    for line in &report.top_sources {
        let last = local(line.last);
        let cells = [
            line.source.to_string(),
            line.bans.to_string(),
            line.failures.to_string(),
            names(&line.jails),
            last,
        ];
        write!(page, "<tr>")?;
        for cell in cells {
            write!(page, "<td>{}</td>", escaped(&cell))?;
        }
        writeln!(page, "</tr>")?;
    }
    writeln!(page, "</table></section>")
}

fn networks(page: &mut String, report: &Report) -> fmt::Result {
    writeln!(
        page,
        "<section><h2>Networks</h2>\n<table id=\"top-networks\"><tr><th>network</th>\
         <th>bans</th><th>sources</th></tr>"
    )?;
    for line in &report.top_networks {
        let network = escaped(&line.network.to_string());
        writeln!(
            page,
            "<tr><td>{network}</td><td>{}</td><td>{}</td></tr>",
            line.bans, line.sources
        )?;
    }
    writeln!(page, "</table></section>")
}
