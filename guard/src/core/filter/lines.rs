//! Several lines that expressions are tried on together (`maxlines`).
//!
//! Input: lines in order. Output: the last of them as one text, and after a match which
//! of them it used up. Invariant: at most so many lines as were asked for, and at most
//! [`MOST_BYTES`] of them, are kept; the oldest go first. What the client controls is
//! judged line by line.

use std::collections::VecDeque;

use super::Subject;
use super::claimed::{Claims, claims};
use super::expression::{Named, Span};

/// Lines that are kept at most, whatever `maxlines` says.
pub(super) const MOST_LINES: usize = 500;
/// Bytes of lines that are kept at most; a single line may be longer.
const MOST_BYTES: usize = 256 << 10;

/// The last lines of a log.
#[derive(Clone, Debug, Default)]
pub(super) struct LineBuffer {
    lines: VecDeque<String>,
    /// Where in each line its message begins.
    starts: VecDeque<usize>,
    text: String,
    placed: Vec<Placed>,
    /// Lines that went only because those kept are too long, since that was told last.
    evicted: u64,
}

/// A line within the text of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    span: Span,
    /// Where in the line its message begins.
    message_start: usize,
}

/// What a match used up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    /// Numbers of the lines that it lies on, but for those that it skipped.
    pub matched: Vec<usize>,
    /// Numbers of the lines that stay, in their new order.
    stay: Vec<usize>,
}

impl LineBuffer {
    /// Adds a line; those beyond `most` lines go.
    pub(super) fn push(&mut self, line: &str, message_start: usize, most: usize) {
        let mut spare = String::new();
        let mut bytes = self.lines.iter().map(String::len).sum::<usize>() + line.len();
        while !self.lines.is_empty() && (self.lines.len() >= most || bytes > MOST_BYTES) {
            self.evicted += u64::from(self.lines.len() < most);
            spare = self.lines.pop_front().unwrap_or_default();
            self.starts.pop_front();
            bytes -= spare.len();
        }
        spare.clear();
        spare.push_str(line);
        self.lines.push_back(spare);
        self.starts.push_back(message_start);
        self.join();
    }

    /// Lines that went for room since this was asked last.
    pub(super) fn given_up(&mut self) -> u64 {
        std::mem::take(&mut self.evicted)
    }

    /// The lines as one text, without the last newline.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Where the lines are in it.
    pub(super) fn placed(&self) -> &[Placed] {
        &self.placed
    }

    /// Where in the text the last line's message begins.
    pub(super) fn message_start(&self) -> usize {
        self.placed.last().map_or(0, |line| line.span.start + line.message_start)
    }

    /// The text of some of the lines, each with its newline.
    pub(super) fn text_of(&self, numbers: &[usize]) -> String {
        numbers.iter().filter_map(|number| self.lines.get(*number)).fold(
            String::new(),
            |mut text, line| {
                text.push_str(line);
                text.push('\n');
                text
            },
        )
    }

    /// Which lines a match lies on. `searched` is where the text begins that was searched.
    pub(super) fn used(&self, named: &Named, searched: usize) -> Used {
        // A match that begins or ends at a newline has nothing of the line behind it.
        let begin = named.whole.start + searched;
        let begin = begin + usize::from(self.text.as_bytes().get(begin) == Some(&b'\n'));
        let end = (named.whole.end + searched).saturating_sub(1).max(begin);
        let line_at = |place: usize| {
            let after = self.placed.partition_point(|line| line.span.end < place);
            after.min(self.placed.len().saturating_sub(1))
        };
        let (first, last) = (line_at(begin), line_at(end));
        let mut matched: Vec<usize> = (first..=last).collect();
        let mut stay: Vec<usize> = (0..first).collect();
        let skipped = named.groups.iter().filter(|(name, _)| name.starts_with("skiplines"));
        let skipped = skipped.flat_map(|(_, span)| {
            self.text.get(span.start + searched..span.end + searched).unwrap_or_default().lines()
        });
        let mut from = 0;
        for line in skipped {
            let same = |number: &usize| self.lines[*number] == line;
            if let Some(place) = matched[from..].iter().position(same) {
                stay.push(matched.remove(from + place));
                from += place;
            }
        }
        stay.extend(last + 1..self.lines.len());
        Used { matched, stay }
    }

    /// Drops the lines that a match used up.
    pub(super) fn drop_used(&mut self, used: &Used) {
        let mut take = |number: &usize| std::mem::take(&mut self.lines[*number]);
        let lines = used.stay.iter().map(&mut take).collect();
        let starts = used.stay.iter().map(|number| self.starts[*number]).collect();
        (self.lines, self.starts) = (lines, starts);
        self.join();
    }

    fn join(&mut self) {
        self.text.clear();
        self.placed.clear();
        for (line, message_start) in self.lines.iter().zip(&self.starts) {
            if !self.placed.is_empty() {
                self.text.push('\n');
            }
            let start = self.text.len();
            self.text.push_str(line);
            let span = start..self.text.len();
            self.placed.push(Placed { span, message_start: *message_start });
        }
    }
}

/// What the client controls in the subject, on each of its lines.
pub(super) fn claims_of(subject: &Subject<'_>) -> Claims {
    if subject.lines.len() <= 1 {
        return claims(subject);
    }
    let mut all = Claims::default();
    for line in subject.lines {
        let alone = Subject {
            line: &subject.line[line.span.clone()],
            message_start: line.message_start,
            daemon: subject.daemon,
            lines: &[],
        };
        let own = claims(&alone);
        let moved = |span: Span| span.start + line.span.start..span.end + line.span.start;
        all.spans.extend(own.spans.into_iter().map(moved));
        all.reports_failure |= own.reports_failure;
        all.elaborate |= own.elaborate;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(lines: &[&str]) -> LineBuffer {
        let mut buffer = LineBuffer::default();
        for line in lines {
            buffer.push(line, 0, 4);
        }
        buffer
    }

    fn named(whole: Span, skipped: &[Span]) -> Named {
        let group = |span: &Span| ("skiplines0".to_owned(), span.clone());
        Named { whole, groups: skipped.iter().map(group).collect() }
    }

    #[test]
    fn the_oldest_lines_go() {
        let mut four = buffer(&["a", "b", "c", "d", "e"]);
        assert_eq!((four.text(), four.evicted), ("b\nc\nd\ne", 0), "as many as are wanted");
        let long = "x".repeat(MOST_BYTES);
        assert_eq!(buffer(&[&long, "a"]).text(), "a");
        let mut one = buffer(&["a", &long]);
        assert_eq!(one.text(), long);
        assert_eq!((one.given_up(), one.given_up()), (1, 0), "one was wanted and went");
        assert_eq!(buffer(&[&long[1..], "a"]).evicted, 0, "there is just room");
        assert_eq!(four.given_up(), 0);
    }

    #[test]
    fn a_match_uses_its_lines_and_leaves_those_that_it_skipped() {
        let mut four = buffer(&["aa", "bb", "cc", "dd"]);
        // From the first line over the skipped second one into the third.
        let used = four.used(&named(0..8, std::slice::from_ref(&(3..6))), 0);
        assert_eq!((used.matched.as_slice(), used.stay.as_slice()), (&[0, 2][..], &[1, 3][..]));
        four.drop_used(&used);
        assert_eq!(four.text(), "bb\ndd");
    }

    #[test]
    fn a_newline_at_the_edge_brings_no_further_line() {
        let four = buffer(&["aa", "bb", "cc", "dd"]);
        assert_eq!(four.used(&named(3..6, &[]), 0).matched, [1], "its own newline");
        assert_eq!(four.used(&named(2..5, &[]), 0).matched, [1], "the newline before");
        assert_eq!(four.used(&named(9..12, &[]), 0).matched, [3], "the last newline");
        assert_eq!(four.used(&named(0..1, &[]), 3).matched, [1], "a part that was searched");
    }
}
