//! Text and JSON on stdout, talk on stderr.

use std::io::{self, Write};

use serde::Serialize;

use crate::cli::Failure;
use crate::core::enforced::Coverage;

/// Prints data. Whoever closes the pipe early has read enough.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::NotDone(format!("writing to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints data as JSON, indented.
pub(super) fn json<T: Serialize>(value: &T) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::NotDone(format!("writing JSON: {error}")))?;
    text.push('\n');
    print(&text)
}

/// Says something to the person.
pub(super) fn talk(text: &str) {
    // Nowhere else to say it.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether to use colours on a stream that is a terminal, or not.
pub(super) fn colour(is_terminal: bool) -> bool {
    // https://no-color.org: any value that is not empty.
    is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Control characters in escaped form, so that a log line cannot steer the terminal.
pub(super) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\t' { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// In words that an interface lets everybody in.
pub(super) fn uncovered(interface: &Coverage) -> String {
    format!(
        "{} is not guarded: whoever comes in there is not stopped by a ban ({})",
        interface.interface, interface.reason
    )
}

/// Lays out rows in columns, two spaces apart, without spaces at line ends.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().map(|&text| text.to_owned()).collect();
    let lines = || std::iter::once(&header).chain(rows);
    let width = |column: usize| {
        lines().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..header.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for line in lines() {
        let padded: Vec<String> =
            line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![
            vec!["sshd".to_owned(), "10.3.0.1".to_owned()],
            vec!["x".to_owned(), String::new()],
        ];
        assert_eq!(table(&["JAIL", "ADDRESS"], &rows), "JAIL  ADDRESS\nsshd  10.3.0.1\nx\n");
    }
}
