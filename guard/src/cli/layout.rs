//! Tables and sentences in lines that fit.
//!
//! Input: cells or words, and how many columns there are. Output: lines that are no wider and
//! have no spaces at their ends. What does not fit goes on in the next line, which begins with
//! spaces. A word that is wider than all columns stays whole.

use std::io::{self, IsTerminal as _};

use crate::core::time::Timestamp;
use crate::daemon::report::local;

/// Columns where nobody says how many there are: in a pipe, in a file, in a mail.
pub(super) const USUAL: usize = 80;

/// By how much a line that goes on is indented.
const INDENT: usize = 4;

/// Seconds before and after now in which a time needs no year.
const NEAR: u64 = 183 * 86_400;

/// Columns of standard output: those of the terminal, if it has more than [`USUAL`].
pub(super) fn columns() -> usize {
    let out = io::stdout();
    if !out.is_terminal() {
        return USUAL;
    }
    let size = rustix::termios::tcgetwinsize(&out);
    size.map_or(USUAL, |size| usize::from(size.ws_col).max(USUAL))
}

/// Lays out rows in columns, two spaces apart. Of a row that does not fit, the last cells go
/// on in the next line.
pub(super) fn table(header: &[&str], rows: &[Vec<String>], columns: usize) -> String {
    let header: Vec<String> = header.iter().map(|&text| text.to_owned()).collect();
    let lines = || std::iter::once(&header).chain(rows);
    let width = |column: usize| lines().filter_map(|line| line.get(column)).map(wide).max();
    let widths: Vec<usize> = (0..header.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for line in lines() {
        let padded: Vec<String> =
            line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        let first = |cells: usize| padded[..cells].join("  ").trim_end().to_owned();
        // The first cell is always in the first line.
        let fitting = (1..=line.len()).rev().find(|&cells| wide(first(cells)) <= columns);
        let cells = fitting.unwrap_or(1.min(line.len()));
        text.push_str(&first(cells));
        text.push('\n');
        let rest: Vec<&str> =
            line[cells..].iter().map(String::as_str).filter(|cell| !cell.is_empty()).collect();
        if !rest.is_empty() {
            let rest = format!("{:INDENT$}{}", "", rest.join("  "));
            text.push_str(&folded(&rest, columns, INDENT));
            text.push('\n');
        }
    }
    text
}

/// Breaks a line between words so that it fits. All parts but the first are indented by
/// `indent`; the first keeps what it begins with.
pub(super) fn folded(line: &str, columns: usize, indent: usize) -> String {
    let mut text = String::new();
    let mut column = 0;
    let mut has_words = false;
    for (number, word) in line.split(' ').enumerate() {
        let room = column + usize::from(number > 0) + wide(word);
        if room > columns && has_words && !word.is_empty() {
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
            text.push_str(&" ".repeat(indent));
            column = indent;
        } else if number > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += wide(word);
        has_words |= !word.is_empty();
    }
    text.truncate(text.trim_end_matches(' ').len());
    text
}

/// A sentence that begins two columns in, below what it is about.
pub(super) fn below(sentence: &str, columns: usize) -> String {
    folded(&format!("  {sentence}"), columns, INDENT)
}

/// A line of a stream.
pub(super) fn streamed(line: &str, columns: usize) -> String {
    folded(line, columns, INDENT)
}

/// A time as short as a table needs it: month, day, hour and minute, or the date alone if it
/// is half a year away.
pub(super) fn moment(time: Timestamp, now: Timestamp) -> String {
    let near = time.seconds().abs_diff(now.seconds()) < NEAR;
    if near { part(time, 5, 16) } else { part(time, 0, 10) }
}

/// A time without its seconds.
pub(super) fn minutes(time: Timestamp) -> String {
    part(time, 0, 16)
}

/// A time without its year, for whom it is now.
pub(super) fn live(time: Timestamp) -> String {
    part(time, 5, 19)
}

/// Characters of a time as it is written in full.
fn part(time: Timestamp, from: usize, to: usize) -> String {
    let whole = local(time);
    // What no calendar has is written in another way.
    let ordinary = whole.len() == "2026-11-23 14:30:09".len();
    whole.get(from..to).filter(|_| ordinary).unwrap_or(&whole).to_owned()
}

fn wide(text: impl AsRef<str>) -> usize {
    text.as_ref().chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|&cell| cell.to_owned()).collect()
    }

    #[test]
    fn columns_line_up() {
        let rows = [row(&["sshd", "10.3.0.1"]), row(&["x", ""])];
        let expected = "JAIL  ADDRESS\nsshd  10.3.0.1\nx\n";
        assert_eq!(table(&["JAIL", "ADDRESS"], &rows, 80), expected);
        assert_eq!(table(&["JAIL", "ADDRESS"], &rows, 14), expected);
    }

    #[test]
    fn what_does_not_fit_goes_on_in_the_next_line() {
        let rows = [row(&["sshd", "10.3.0.1", "3 failures in 5s"]), row(&["x", "y", "z"])];
        let header = ["JAIL", "ADDRESS", "WHY"];
        assert_eq!(
            table(&header, &rows, 20),
            "JAIL  ADDRESS   WHY\nsshd  10.3.0.1\n    3 failures in 5s\nx     y         z\n"
        );
        assert_eq!(
            table(&header, &rows, 13),
            "JAIL  ADDRESS\n    WHY\nsshd\n    10.3.0.1\n    3\n    failures\n    in 5s\nx     y\n    \
             z\n"
        );
        // One column less than the row has, and as many as it has.
        assert_eq!(table(&header, &rows, 31).lines().count(), 4);
        assert_eq!(table(&header, &rows, 32).lines().count(), 3);
    }

    #[test]
    fn lines_break_between_words_and_words_never() {
        assert_eq!(folded("a bc def", 4, 2), "a bc\n  def");
        assert_eq!(folded("a bc def", 8, 2), "a bc def");
        assert_eq!(folded("  /a/long/path and", 6, 4), "  /a/long/path\n    and");
        assert_eq!(
            folded("BPF      yes, it has", 13, 9),
            "BPF      yes,\n         it\n         has"
        );
        assert_eq!(folded("a  b", 3, 1), "a\n b", "no space at the end of a line");
        assert_eq!(folded("", 3, 1), "");
        assert_eq!(folded("ä ö ü", 3, 1), "ä ö\n ü", "characters, not bytes");
    }

    #[test]
    fn a_time_needs_a_year_only_far_away() {
        let now = Timestamp::from_seconds(1_763_900_000);
        let day = 86_400;
        let at = |days: i64| moment(Timestamp::from_seconds(1_763_900_000 + days * day), now);
        let whole = local(now);
        assert_eq!(at(0), whole[5..16]);
        assert_eq!((at(182).len(), at(-182).len()), (11, 11));
        assert_eq!((at(184).len(), at(-184).len()), (10, 10));
        assert!(at(184).starts_with("2026-"), "{}", at(184));
        assert_eq!((minutes(now).as_str(), live(now).as_str()), (&whole[..16], &whole[5..]));
        let never = Timestamp::from_micros(i64::MAX);
        assert_eq!(moment(never, now), local(never));
    }
}
