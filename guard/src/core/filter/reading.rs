//! What a filter makes of an entry before it searches: its time, and the text without
//! its date, perhaps together with the lines before.
//!
//! Input: an entry and what is remembered of earlier ones. Output: [`Seen`]. Invariant:
//! an entry of the journal, tried alone, is taken as it is, at no cost; a line is copied
//! only if its date does not stand at one of its ends.

use std::ops::Range;

use super::Expressions;
use super::lines::{LineBuffer, Placed, Used};
use crate::core::date::{self, DateFrom};
use crate::core::entry::{Dating, Entry};
use crate::core::time::Timestamp;

/// What is needed of earlier lines.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    dates: date::Memory,
    /// The line without its date, if that stood in the middle of it.
    joined: String,
    buffer: LineBuffer,
}

/// What is searched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'t> {
    pub time: Timestamp,
    pub date_from: DateFrom,
    pub line: &'t str,
    pub message_start: usize,
    /// Where in `line` the lines are; nothing for a line alone.
    pub lines: &'t [Placed],
}

/// What was made of an entry.
#[derive(Clone, Debug)]
pub(super) struct Noted {
    time: Timestamp,
    date_from: DateFrom,
    message_start: usize,
    /// The part of the line that is searched; nothing if that is [`Reading::joined`].
    part: Option<Range<usize>>,
}

/// Whether an entry is searched as it is.
pub(super) fn is_plain(entry: &Entry, expressions: &Expressions) -> bool {
    entry.dating == Dating::Known && expressions.max_lines <= 1
}

impl<'t> Seen<'t> {
    /// An entry as it is.
    pub(super) fn plain(entry: &'t Entry) -> Self {
        Self {
            time: entry.time,
            date_from: DateFrom::Source,
            line: &entry.line,
            message_start: entry.message_start,
            lines: &[],
        }
    }
}

impl Reading {
    /// Reads an entry's date, if it has one, and takes the line to the others.
    pub(super) fn note(&mut self, entry: &Entry, expressions: &Expressions) -> Noted {
        let mut noted = Noted {
            time: entry.time,
            date_from: DateFrom::Source,
            message_start: entry.message_start,
            part: Some(0..entry.line.len()),
        };
        if entry.dating == Dating::InLine {
            let dating = expressions.dates.read(&entry.line, entry.time, &mut self.dates);
            (noted.time, noted.date_from) = (dating.time, dating.from);
            let cut = dating.cut;
            if !cut.is_empty() {
                noted.part = self.without(&entry.line, &cut);
                noted.message_start = match entry.message_start {
                    start if start >= cut.end => start - cut.len(),
                    start => start.min(cut.start),
                };
            }
        }
        if expressions.max_lines > 1 {
            let line = noted.part.clone().map_or(self.joined.as_str(), |part| &entry.line[part]);
            self.buffer.push(line, noted.message_start, expressions.max_lines);
        }
        noted
    }

    /// The part of a line that is left without another; nothing if it is now joined.
    fn without(&mut self, line: &str, cut: &Range<usize>) -> Option<Range<usize>> {
        if cut.start == 0 {
            return Some(cut.end..line.len());
        }
        if cut.end == line.len() {
            return Some(0..cut.start);
        }
        self.joined.clear();
        self.joined.push_str(&line[..cut.start]);
        self.joined.push_str(&line[cut.end..]);
        None
    }

    /// What is searched of an entry that was noted.
    pub(super) fn seen<'t>(
        &'t self,
        entry: &'t Entry,
        noted: &Noted,
        expressions: &Expressions,
    ) -> Seen<'t> {
        let alone = Seen {
            time: noted.time,
            date_from: noted.date_from,
            line: noted.part.clone().map_or(self.joined.as_str(), |part| &entry.line[part]),
            message_start: noted.message_start,
            lines: &[],
        };
        if expressions.max_lines <= 1 {
            return alone;
        }
        Seen {
            line: self.buffer.text(),
            message_start: self.buffer.message_start(),
            lines: self.buffer.placed(),
            ..alone
        }
    }

    /// Lines given up for room since this was asked last.
    pub(super) fn given_up(&mut self) -> u64 {
        self.buffer.given_up()
    }

    /// The lines that are tried together.
    pub(super) fn buffer(&self) -> &LineBuffer {
        &self.buffer
    }

    /// Drops the lines that a match used up.
    pub(super) fn drop_used(&mut self, used: &Used) {
        self.buffer.drop_used(used);
    }
}
