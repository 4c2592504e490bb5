//! A sample file: what it asks for, line by line.
//!
//! Input: a file of the corpus. Output: [`Step`]s in order. A comment line `failJSON`
//! says what the next line must give; any other line that is no comment must give
//! nothing. Further comments choose options of the filter, or name another file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

/// Options of a filter by name; those that begin with `test.` are meant for the runner.
pub(super) type Options = BTreeMap<String, String>;

/// What a line must give; empty for nothing.
pub(super) type Expected = Map<String, Value>;

/// One thing that a file asks for.
#[derive(Debug)]
pub(super) enum Step {
    /// These options count for all filters from now on.
    FileOptions(Options),
    /// From now on lines are tried with each of these options.
    FilterOptions(Vec<Options>),
    /// This file comes after all others.
    AddFile(String),
    /// A line to try.
    Line(Line),
}

/// A line to try.
#[derive(Debug)]
pub(super) struct Line {
    /// From 1.
    pub(super) number: usize,
    pub(super) text: String,
    pub(super) expected: Expected,
    /// Whether the file says what the line must give.
    pub(super) is_sample: bool,
}

/// Reads a sample file.
///
/// # Errors
/// When it cannot be read, or says something that is not understood.
pub(super) fn read(path: &Path) -> Result<Vec<Step>> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    let mut steps = Vec::new();
    let mut lines = (1..).zip(text.split('\n'));
    while let Some((number, line)) = lines.next() {
        let place = || format!("{}:{number}", path.display());
        let Some((what, json)) = order(line) else {
            if !line.starts_with('#') && !line.trim().is_empty() {
                let text = line.trim_end_matches('\r').to_owned();
                let expected = Expected::new();
                steps.push(Step::Line(Line { number, text, expected, is_sample: false }));
            }
            continue;
        };
        let json: Value = serde_json::from_str(json).with_context(place)?;
        steps.push(match (what, json) {
            ("failJSON", Value::Object(expected)) => {
                let Some((number, text)) = lines.next() else {
                    bail!("{}: there is no line after it", place())
                };
                let text = text.trim_end_matches('\r').to_owned();
                Step::Line(Line { number, text, expected, is_sample: true })
            }
            ("fileOptions", Value::Object(map)) => Step::FileOptions(options(&map)),
            ("filterOptions", Value::Object(map)) => Step::FilterOptions(vec![options(&map)]),
            ("filterOptions", Value::Array(all)) => {
                let map = |value: &Value| value.as_object().map(options);
                let all: Option<Vec<Options>> = all.iter().map(map).collect();
                Step::FilterOptions(all.with_context(place)?)
            }
            ("addFILE", Value::String(name)) => Step::AddFile(name),
            (what, _) => bail!("{}: {what} is of an unknown form", place()),
        });
    }
    Ok(steps)
}

/// The order that a comment gives, and its JSON.
fn order(line: &str) -> Option<(&str, &str)> {
    let text = line.strip_prefix('#')?.trim_start_matches('#');
    let text = text.strip_prefix(' ').unwrap_or(text);
    let (what, json) = text.split_once(':')?;
    let known = ["failJSON", "fileOptions", "filterOptions", "addFILE"];
    (known.contains(&what) && !json.is_empty()).then_some((what, json))
}

fn options(map: &Map<String, Value>) -> Options {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    map.iter().map(|(name, value)| (name.clone(), text(value))).collect()
}
