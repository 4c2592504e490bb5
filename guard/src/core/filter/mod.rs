//! From an [`Entry`] to "who failed", by a jail's filter.
//!
//! Input: an entry and what the filter remembers of the connections that the entry
//! may belong to. Output: a [`Finding`]. Invariant: an address that lies in a span of
//! the line that the client controls is never the source of a finding.
//!
//! ```text
//! FilterText ─ tags ─► Python expression ─ convert ─► Rust expression ─► Filter
//! Entry ─► ignoreregex, prefregex, failregex ─► claimed? ─► memory ─► Finding
//! ```

mod automaton;
mod captured;
mod claimed;
pub(in crate::core) mod convert;
mod examine;
mod expression;
mod lines;
mod memory;
mod ordered;
mod prefilter;
mod reading;
mod search;
mod sifting;
mod tags;
mod who;

use std::sync::Arc;

use smallvec::SmallVec;

use crate::core::addr::Prefix;
use crate::core::date::{DateFrom, Dates, Zone};
use crate::core::entry::{Daemon, Entry};
use crate::core::failure::Attempt;

use captured::Captured;
use convert::Lines;
use expression::{Expression, Meaning, Span};
use lines::{MOST_LINES, Placed, Used};
use ordered::Ordered;
use reading::{Reading, Seen, is_plain};
use who::judge;

pub use examine::{Examination, Examined};
pub use memory::Memory;
use prefilter::Sieve;
pub use prefilter::{Candidates, Glance, Prefilter};

/// A filter's text, with every interpolation done, as the configuration gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterText {
    /// The filter's name, for messages.
    pub name: String,
    /// `prefregex`; empty for none.
    pub prefregex: String,
    /// `failregex`, one expression a line.
    pub failregex: Vec<String>,
    /// `ignoreregex`, one expression a line.
    pub ignoreregex: Vec<String>,
    /// `maxlines`: how many lines expressions are tried on together; 0 and 1 are one.
    pub max_lines: usize,
    /// `datepattern`, several separated by newlines; empty for the default formats.
    pub date_pattern: String,
    /// `logtimezone`, such as `UTC` or `UTC+0200`; empty for the host's own.
    pub log_timezone: String,
    /// The host's own time zone.
    pub host_zone: Zone,
    /// `usedns`.
    pub use_dns: UseDns,
}

/// What becomes of host names that a filter finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UseDns {
    /// Only addresses are looked for.
    #[default]
    No,
    /// Names are resolved, and each time that is told.
    Warn,
    /// Names are resolved.
    Yes,
    /// Names are taken as they are, for actions that can use them.
    Raw,
}

/// How much an expression may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Steps back that an expression which needs to backtrack may take on one line.
    pub steps: usize,
    /// Bytes of the longest line on which such an expression is tried at all.
    pub backtracking_bytes: usize,
    /// Bytes of one compiled expression.
    pub compiled_bytes: usize,
}

impl Default for Limits {
    /// 50,000 steps, lines of 8 KiB, 16 MiB compiled: the slowest search then ends
    /// within about a tenth of a second.
    fn default() -> Self {
        Self { steps: 50_000, backtracking_bytes: 8 << 10, compiled_bytes: 16 << 20 }
    }
}

/// An expression that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}: `{expression}`")]
pub struct CompileProblem {
    /// The expression as it is written; empty when the filter as a whole is at fault.
    pub expression: String,
    /// What is wrong with it, and what helps.
    pub message: String,
}

/// What a filter finds in one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// Who failed, when the entry completes a failure.
    pub failure: Option<Attempt>,
    /// Number, from 1, of the `failregex` that matched, whether or not that completes a
    /// failure.
    pub expression: Option<usize>,
    /// Number, from 1, of the `ignoreregex` that matched.
    pub ignored_by: Option<usize>,
    /// An address that was found only where the client could have written it.
    pub planted: Option<Prefix>,
    /// Number, from 1, of a `failregex` that was given up on this line because it took
    /// too many steps; 0 for `prefregex` or an `ignoreregex`.
    pub step_limit: Option<usize>,
    /// How the time of the entry is known.
    pub date_from: DateFrom,
    /// Connections of which something else is remembered now: [`Memory::state`] says what.
    pub correlate: SmallVec<[Arc<str>; 1]>,
}

/// Expressions as [`Filter::converted`] gives them; `fancy_regex` reads all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted<'f> {
    /// `prefregex`; its group `content` is what `fail` is tried on.
    pub prefix: Option<&'f str>,
    /// `failregex`, in order.
    pub fail: Vec<&'f str>,
}

/// A compiled filter. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Filter(Arc<Expressions>);

#[derive(Debug)]
struct Expressions {
    /// None, or one.
    prefix: Option<Ordered>,
    fail: Ordered,
    ignore: Ordered,
    /// How many lines are tried together.
    max_lines: usize,
    dates: Dates,
    use_dns: UseDns,
    /// What turns away the lines in which nothing can be found.
    sieve: Option<Sieve>,
}

impl Filter {
    /// Compiles a filter.
    ///
    /// # Errors
    /// Every expression that cannot be used, and what keeps the filter as a whole from
    /// ever finding anybody.
    pub fn compile(text: &FilterText, limits: Limits) -> Result<Self, Vec<CompileProblem>> {
        let mut problems = Vec::new();
        let max_lines = text.max_lines.clamp(1, MOST_LINES);
        let (lines, each) = match max_lines {
            1 => (Lines::One, Lines::One),
            _ => (Lines::AsOne, Lines::Each),
        };
        let mut compile = |expression: &str, lines: Lines| {
            let meaning = Meaning { lines, names: text.use_dns != UseDns::No };
            Expression::compile(expression, meaning, limits)
                .map_err(|message| {
                    problems.push(CompileProblem { expression: expression.to_owned(), message });
                })
                .ok()
        };
        let written = |lines: &[String]| -> Vec<String> {
            lines.iter().filter(|line| !line.trim().is_empty()).cloned().collect()
        };
        let (fail_text, ignore_text) = (written(&text.failregex), written(&text.ignoreregex));
        let prefix = match text.prefregex.trim() {
            "" => None,
            _ => compile(&text.prefregex, lines),
        };
        let fail: Vec<Option<Expression>> =
            fail_text.iter().map(|text| compile(text, each)).collect();
        let ignore: Vec<Expression> =
            ignore_text.iter().filter_map(|text| compile(text, lines)).collect();
        problems.extend(incomplete(prefix.as_ref(), &fail_text, &fail));
        let dates = dates(text).map_err(|problem| problems.push(problem)).ok();
        let Some(dates) = dates.filter(|_| problems.is_empty()) else { return Err(problems) };
        let fail: Vec<Expression> = fail.into_iter().flatten().collect();
        let expressions = Expressions {
            prefix: prefix.map(|prefix| Ordered::new(vec![prefix], limits)),
            fail: Ordered::new(fail, limits),
            ignore: Ordered::new(ignore, limits),
            max_lines,
            dates,
            use_dns: text.use_dns,
            sieve: None,
        };
        Ok(Self(Arc::new(expressions.sieved())))
    }

    /// The expressions in the language of Rust's engines, everything converted, for those
    /// who take them apart.
    pub fn converted(&self) -> Converted<'_> {
        Converted {
            prefix: self.0.prefix.iter().flat_map(Ordered::iter).map(Expression::converted).next(),
            fail: self.0.fail.iter().map(Expression::converted).collect(),
        }
    }

    /// Looks at one entry. Without a match nothing is allocated.
    pub fn find(&self, entry: &Entry, memory: &mut Memory) -> Finding {
        self.look(entry, memory, None)
    }

    fn look(
        &self,
        entry: &Entry,
        memory: &mut Memory,
        examination: Option<&mut Examination>,
    ) -> Finding {
        let mut finding = Finding::default();
        if is_plain(entry, &self.0) {
            self.search(Seen::plain(entry), entry, memory, None, examination, &mut finding);
            return finding;
        }
        let mut reading = memory.reading.take().unwrap_or_default();
        let noted = reading.note(entry, &self.0);
        let seen = reading.seen(entry, &noted, &self.0);
        let used = self.search(seen, entry, memory, Some(&reading), examination, &mut finding);
        if let Some(used) = used {
            reading.drop_used(&used);
        }
        memory.reading = Some(reading);
        finding
    }

    /// Searches what was made of an entry. Tells which of several lines are used up.
    fn search(
        &self,
        seen: Seen<'_>,
        entry: &Entry,
        memory: &mut Memory,
        reading: Option<&Reading>,
        examination: Option<&mut Examination>,
        finding: &mut Finding,
    ) -> Option<Used> {
        finding.date_from = seen.date_from;
        memory.expire(seen.time, &mut finding.correlate);
        if self.0.turns_away(seen.line, memory) {
            return None;
        }
        let mut text = std::mem::take(&mut memory.text);
        let subject = Subject {
            line: seen.line,
            message_start: seen.message_start,
            daemon: entry.daemon,
            lines: seen.lines,
        };
        let mut captured = Captured::default();
        let mut used = None;
        let found = self.0.search(&subject, &mut text, &mut captured, finding);
        memory.note_match(found);
        if found {
            used = reading.and_then(|reading| self.0.used(reading, &captured, &text, finding));
            if let (Some(reading), Some(used)) = (reading, &used) {
                finding.ignored_by = self.0.ignores_lines(reading, used, finding);
            }
            if finding.ignored_by.is_none() {
                if let (Some(examination), Some(number)) = (examination, finding.expression) {
                    let lines = used.as_ref().map_or(1, |used| used.matched.len());
                    examination.add(&self.0, number, &subject, &captured, &text, lines);
                }
                let use_dns = self.0.use_dns;
                let found =
                    judge(&subject, seen.time, &captured, use_dns, memory, &mut finding.correlate);
                finding.failure = found.map(|(who, user)| Attempt { who, time: seen.time, user });
            }
        }
        memory.text = text;
        used
    }
}

impl Expressions {
    /// Which of several lines a match lies on.
    fn used(
        &self,
        reading: &Reading,
        captured: &Captured,
        text: &str,
        finding: &Finding,
    ) -> Option<Used> {
        if self.max_lines <= 1 {
            return None;
        }
        let expression = self.fail.iter().nth(finding.expression?.checked_sub(1)?)?;
        let named = expression.named(text.get(captured.searched.clone())?)?;
        Some(reading.buffer().used(&named, captured.searched.start))
    }

    /// The number of the `ignoreregex` that matches the lines of a match.
    fn ignores_lines(
        &self,
        reading: &Reading,
        used: &Used,
        finding: &mut Finding,
    ) -> Option<usize> {
        if self.ignore.is_empty() {
            return None;
        }
        let lines = reading.buffer().text_of(&used.matched);
        let given_up = |_| finding.step_limit = finding.step_limit.or(Some(0));
        self.ignore.position(&lines, given_up).map(|number| number + 1)
    }
}

/// How the dates of a filter's log are read.
fn dates(text: &FilterText) -> Result<Dates, CompileProblem> {
    let zone = match text.log_timezone.trim() {
        "" => Ok(text.host_zone.clone()),
        zone => Zone::parse(zone),
    };
    let zone = zone.map_err(|error| CompileProblem {
        expression: text.log_timezone.clone(),
        message: error.to_string(),
    })?;
    Dates::compile(&text.date_pattern, zone)
        .map_err(|(expression, message)| CompileProblem { expression, message })
}

/// What expressions are tried on.
#[derive(Clone, Copy, Debug)]
struct Subject<'t> {
    /// The text without its final newline: a line without its date, or several lines.
    line: &'t str,
    /// Where in it the daemon's own message begins.
    message_start: usize,
    /// Whose message it is, if guard knows that daemon.
    daemon: Option<Daemon>,
    /// Where in it the lines are, if it is several.
    lines: &'t [Placed],
}

/// The text of a span, widened to whole characters and within the line.
fn text_at<'t>(line: &'t str, span: &Span) -> &'t str {
    &line[line.floor_char_boundary(span.start)..line.ceil_char_boundary(span.end)]
}

/// What keeps expressions that compile from ever finding anybody.
fn incomplete(
    prefix: Option<&Expression>,
    texts: &[String],
    fail: &[Option<Expression>],
) -> Vec<CompileProblem> {
    let whole = |message: &str| {
        vec![CompileProblem { expression: String::new(), message: message.to_owned() }]
    };
    if texts.is_empty() {
        return whole("the filter has no failregex: add one that says where the address is");
    }
    let all = || prefix.into_iter().chain(fail.iter().flatten());
    if fail.iter().all(Option::is_some) && !all().any(Expression::names_address) {
        return whole("no failregex has an address group: put <HOST> where the address is");
    }
    let useful = |e: &Expression| e.names_address() || e.names_connection();
    if prefix.is_some_and(useful) {
        return Vec::new();
    }
    let useless = texts.iter().zip(fail).filter(|(_, e)| e.as_ref().is_some_and(|e| !useful(e)));
    useless
        .map(|(text, _)| CompileProblem {
            expression: text.clone(),
            message: "no address group: put <HOST> where the address is".to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
