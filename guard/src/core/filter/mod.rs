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
mod claimed;
mod convert;
mod expression;
mod memory;
mod ordered;
mod prefilter;
mod search;
mod tags;

use std::sync::Arc;

use crate::core::addr::Prefix;
use crate::core::entry::{Daemon, Entry};
use crate::core::failure::{Attempt, Who};
use crate::core::time::Timestamp;

use expression::{Captured, Expression, Span};
use memory::Line;
use ordered::Ordered;

pub use memory::Memory;
pub use prefilter::{Candidates, Prefilter};

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
    /// Connections of which something else is remembered now: [`Memory::state`] says what.
    pub correlate: Vec<Arc<str>>,
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
    /// Whether it must see every line, even those in which it can find nothing.
    every_line: bool,
}

impl Filter {
    /// Compiles a filter.
    ///
    /// # Errors
    /// Every expression that cannot be used, and what keeps the filter as a whole from
    /// ever finding anybody.
    pub fn compile(text: &FilterText, limits: Limits) -> Result<Self, Vec<CompileProblem>> {
        let mut problems = Vec::new();
        let mut compile = |expression: &str| {
            Expression::compile(expression, limits)
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
            _ => compile(&text.prefregex),
        };
        let fail: Vec<Option<Expression>> = fail_text.iter().map(|text| compile(text)).collect();
        let ignore: Vec<Expression> = ignore_text.iter().filter_map(|text| compile(text)).collect();
        problems.extend(incomplete(prefix.as_ref(), &fail_text, &fail));
        if !problems.is_empty() {
            return Err(problems);
        }
        let fail: Vec<Expression> = fail.into_iter().flatten().collect();
        Ok(Self(Arc::new(Expressions {
            prefix: prefix.map(|prefix| Ordered::new(vec![prefix], limits)),
            fail: Ordered::new(fail, limits),
            ignore: Ordered::new(ignore, limits),
            every_line: text.max_lines > 1,
        })))
    }

    /// The same filter, its expressions tried one after the other. It finds the same, a
    /// hundred times slower, and so is what the automata are held against.
    pub fn one_by_one(&self) -> Self {
        let Expressions { prefix, fail, ignore, every_line } = &*self.0;
        Self(Arc::new(Expressions {
            prefix: prefix.as_ref().map(Ordered::one_by_one),
            fail: fail.one_by_one(),
            ignore: ignore.one_by_one(),
            every_line: *every_line,
        }))
    }

    /// Looks at one entry. Without a match nothing is allocated.
    pub fn find(&self, entry: &Entry, memory: &mut Memory) -> Finding {
        let mut finding = Finding::default();
        memory.expire(entry.time, &mut finding.correlate);
        let mut text = std::mem::take(&mut memory.text);
        let subject =
            Subject { line: &entry.line, message_start: entry.message_start, daemon: entry.daemon };
        let captured = self.0.search(&subject, &mut text, &mut finding);
        memory.text = text;
        if let Some(captured) = captured {
            let attempt = judge(&subject, entry.time, &captured, memory, &mut finding.correlate);
            finding.failure = attempt.map(|(address, user)| Attempt {
                who: Who::Address(address),
                time: entry.time,
                user,
            });
        }
        finding
    }
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
}

/// Whether what was captured completes a failure.
fn judge(
    subject: &Subject<'_>,
    time: Timestamp,
    captured: &Captured,
    memory: &mut Memory,
    changes: &mut memory::Changes,
) -> Option<(Prefix, Option<String>)> {
    let text = |span: &Option<Span>| span.as_ref().map(|span| text_at(subject.line, span));
    let address = address(subject.line, captured);
    let user = text(&captured.user);
    let Some(connection) = text(&captured.connection) else {
        return address.map(|address| (address, user.map(str::to_owned)));
    };
    let line = Line {
        address,
        user,
        no_failure: captured.no_failure.is_some(),
        gained: captured.gained.is_some(),
        forget: captured.forget.is_some(),
    };
    memory.merge(connection, time, &line, changes)
}

/// The address that was captured; none when the text is no address.
fn address(line: &str, captured: &Captured) -> Option<Prefix> {
    let host = text_at(line, captured.address.as_ref()?).parse::<Prefix>().ok()?;
    match &captured.prefix_length {
        None => Some(host),
        Some(span) => Prefix::new(host.address(), text_at(line, span).parse().ok()?).ok(),
    }
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
