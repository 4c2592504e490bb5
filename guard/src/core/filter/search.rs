//! The search of one line with all expressions of a filter, in Fail2Ban's order.
//!
//! Input: a subject. Output: what the first expression captured that finds something in
//! the daemon's own words. Invariant: what the client wrote neither names an address
//! nor decides whether the line counts: not as the source, not as a flag, not for
//! `ignoreregex`, and not by keeping an expression from matching.

use std::cell::OnceCell;
use std::net::IpAddr;

use super::captured::{Captured, Piece};
use super::claimed::{Claims, may_report_failure};
use super::expression::{Expression, Span};
use super::lines::claims_of;
use super::{Expressions, Finding, Subject, text_at};

/// Stands for the client's text once that is out of the game: part of no address, no
/// name and no white space.
const BLANK: u8 = 1;

/// Many of them.
const BLANKS: &str = match std::str::from_utf8(&[BLANK; 256]) {
    Ok(blanks) => blanks,
    Err(_) => "",
};

/// How often one expression may find something of the client's before all that is the
/// client's is blanked.
const ROUNDS: usize = 4;

/// One line, as it is searched.
struct Search<'e> {
    subject: &'e Subject<'e>,
    claims: OnceCell<Claims>,
    /// Whether all of the client's text is blanked.
    blanked: bool,
}

/// An expression, its number from 1, and where the text that it is tried on begins.
struct Place<'e> {
    expression: &'e Expression,
    number: usize,
    start: usize,
}

/// What a match took from the client.
enum Claimed {
    /// This much of the address.
    Address(Span),
    /// The whole of what says which connection the line belongs to, or what it means.
    Flag,
}

impl Expressions {
    /// Searches the subject, and notes what was captured. Returns whether anything was
    /// found. `text` is working space.
    pub(super) fn search(
        &self,
        subject: &Subject<'_>,
        text: &mut String,
        captured: &mut Captured,
        finding: &mut Finding,
    ) -> bool {
        fill(text, subject.line);
        let mut search = Search { subject, claims: OnceCell::new(), blanked: false };
        let found = self.attempt(&mut search, text, captured, finding);
        // The client may have kept an expression from matching, or brought a helper's to.
        let excused = |found: &Captured| found.no_failure.is_some() || found.gained.is_some();
        if (found && !excused(captured)) || !may_report_failure(subject) {
            return found;
        }
        let claims = search.claims();
        if !claims.reports_failure || !claims.elaborate {
            return found;
        }
        fill(text, subject.line);
        search.blank_all(text);
        let mut second = Captured::default();
        if self.attempt(&mut search, text, &mut second, finding) && (!found || !excused(&second)) {
            *captured = second;
            return true;
        }
        found
    }

    fn attempt(
        &self,
        search: &mut Search<'_>,
        text: &mut String,
        captured: &mut Captured,
        finding: &mut Finding,
    ) -> bool {
        if self.ignores_first() && self.ignores(search, text, 0, finding) {
            return false;
        }
        let mut start = 0;
        let mut outer = Captured::default();
        if let Some(prefix) = &self.prefix {
            let given_up = |_| finding.step_limit = finding.step_limit.or(Some(0));
            if prefix.search(0, (text, 0), &mut outer, given_up).is_none() {
                return false;
            }
            if let Some(content) = outer.content.take().map(Piece::span) {
                text.truncate(content.end);
                if !text.ends_with('\n') {
                    text.push('\n');
                }
                start = content.start;
            }
        }
        let mut from = 0;
        loop {
            let given_up = |n| finding.step_limit = finding.step_limit.or(Some(n + 1));
            let place = (&text[start..], start);
            let Some(number) = self.fail.search(from, place, captured, given_up) else {
                return false;
            };
            let place =
                Place { expression: self.fail.expression(number), number: number + 1, start };
            if search.is_unclaimed(&place, captured, text, &outer, finding) {
                finding.expression = Some(number + 1);
                // Of several lines only those count that were matched.
                return self.max_lines > 1 || !self.ignores(search, text, start, finding);
            }
            from = number + 1;
        }
    }

    /// Whether an `ignoreregex` matches, and that not by the client's doing.
    fn ignores(
        &self,
        search: &Search<'_>,
        text: &str,
        start: usize,
        finding: &mut Finding,
    ) -> bool {
        if self.ignore.is_empty() {
            return false;
        }
        let first = |text: &str, finding: &mut Finding| {
            let given_up = |_| finding.step_limit = finding.step_limit.or(Some(0));
            self.ignore.position(text, given_up)
        };
        let Some(mut number) = first(&text[start..], finding) else { return false };
        if !search.blanked && search.claims().elaborate {
            let mut without_client = text.to_owned();
            search.blank(&mut without_client);
            let Some(other) = first(&without_client[start..], finding) else { return false };
            number = other;
        }
        finding.ignored_by = Some(number + 1);
        true
    }
}

impl Search<'_> {
    fn claims(&self) -> &Claims {
        self.claims.get_or_init(|| claims_of(self.subject))
    }

    /// Whether any match of the expression, of which `found` is the first, takes nothing
    /// of the client's for the daemon's. If so, `found` is that one.
    fn is_unclaimed(
        &mut self,
        place: &Place<'_>,
        found: &mut Captured,
        text: &mut String,
        outer: &Captured,
        finding: &mut Finding,
    ) -> bool {
        let start = place.start;
        for round in 0..=ROUNDS + 1 {
            if round > 0 {
                let again = place.expression.search(&text[start..]);
                let Some(Some(again)) = tried(again, place.number, finding) else { return false };
                *found = again;
                found.move_by(start);
            }
            found.fill_in(outer);
            found.content = None;
            found.searched = start..text.len();
            match self.claimed(found) {
                None => {
                    found.source = self.source(found);
                    return true;
                }
                Some(Claimed::Address(span)) => {
                    let address = found.address.map(|a| text_at(self.subject.line, &a.span()));
                    finding.planted = finding.planted.or(address.and_then(|a| a.parse().ok()));
                    if round < ROUNDS {
                        blank(text, &span);
                    } else {
                        self.blank_all(text);
                    }
                }
                Some(Claimed::Flag) => self.blank_all(text),
            }
        }
        false
    }

    /// What of that which decides about the line is the client's.
    fn claimed(&self, found: &Captured) -> Option<Claimed> {
        self.subject.daemon?;
        let claims = self.claims();
        let address = [found.address, found.prefix_length, found.name, found.id];
        let overlap = |piece: &Piece| claims.overlap(&piece.span());
        if let Some(span) = address.iter().flatten().find_map(overlap) {
            return Some(Claimed::Address(span));
        }
        let flags = [found.connection, found.no_failure, found.gained, found.forget];
        let claimed = flags.iter().flatten().any(|piece| claims.contains(&piece.span()));
        claimed.then_some(Claimed::Flag)
    }

    /// What the address is, if the client's text was told from it.
    fn source(&self, found: &Captured) -> Option<IpAddr> {
        let (span, address) = self.claims.get()?.host.as_ref()?;
        (found.address?.span() == *span).then_some(*address)
    }

    fn blank_all(&mut self, text: &mut String) {
        self.blank(text);
        self.blanked = true;
    }

    fn blank(&self, text: &mut String) {
        for span in &self.claims().spans {
            blank(text, span);
        }
    }
}

/// Blanks a span as far as the text before the final newline has it. Every byte stays
/// where it is.
fn blank(text: &mut String, span: &Span) {
    let end = span.end.min(text.len().saturating_sub(1));
    if span.start < end {
        let mut start = text.floor_char_boundary(span.start);
        let end = text.ceil_char_boundary(end);
        while start < end {
            let part = text.floor_char_boundary(end.min(start + BLANKS.len()));
            text.replace_range(start..part, &BLANKS[..part - start]);
            start = part;
        }
    }
}

/// The line as expressions see it: it ends in a newline.
pub(super) fn fill(text: &mut String, line: &str) {
    text.clear();
    text.push_str(line);
    text.push('\n');
}

/// The result of a search that was not given up; otherwise that is noted.
fn tried<T>(
    result: Result<T, super::expression::StepLimit>,
    number: usize,
    finding: &mut Finding,
) -> Option<T> {
    result.inspect_err(|_| finding.step_limit = finding.step_limit.or(Some(number))).ok()
}
