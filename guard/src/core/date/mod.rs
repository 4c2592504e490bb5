//! Dates in log lines: finding them, and the points in time that they mean.
//!
//! Input: a line, the time at which it is read and what was found in earlier lines.
//! Output: [`Dating`], with the part of the line that is its date. Invariant: nothing is
//! allocated for a line once the first ones are read, and no line takes long.
//!
//! ```text
//! datepattern ─ defaults, pattern ─► templates ─ order ─► match ─ fields, zone ─► time
//!                                        └─ fast: the same by hand
//! ```

mod defaults;
mod fast;
mod fields;
mod order;
mod pattern;
mod template;
mod zone;

use std::ops::Range;

use crate::core::time::{Span, Timestamp};

use fields::Clock;
use order::Order;
use template::Shared;

pub use zone::{UnknownZone, Zone};

/// A line without a date is as old as the one before it, if that is not older than this.
const RECENT: Span = Span::from_seconds(60);

/// The forms of dates that a log has. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Dates {
    templates: Vec<Shared>,
    zone: Zone,
}

impl Default for Dates {
    /// All default forms, in UTC.
    fn default() -> Self {
        Self { templates: defaults::all(), zone: Zone::default() }
    }
}

/// What is remembered of earlier lines. One for each log that is read.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    order: Order,
    clock: Clock,
    last: Option<Timestamp>,
}

/// The time of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dating {
    /// When it was logged.
    pub time: Timestamp,
    /// How that is known.
    pub from: DateFrom,
    /// The part of the line that is its date; filters see the line without it.
    pub cut: Range<usize>,
}

/// How the time of a line is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DateFrom {
    /// The source says it.
    #[default]
    Source,
    /// The line has a date.
    Line,
    /// A line shortly before it has a date.
    EarlierLine,
    /// It is the time at which the line was read.
    Reading,
}

impl Memory {
    /// How often each form was found, by its name; the often found first.
    pub fn hits(&self) -> impl Iterator<Item = (&str, u32)> {
        self.order.hits()
    }
}

impl Dates {
    /// Reads a `datepattern`: one form a line, empty for the default forms. Dates that
    /// name no zone are meant in `zone`.
    ///
    /// # Errors
    /// The form that cannot be used, and why.
    pub fn compile(date_pattern: &str, zone: Zone) -> Result<Self, (String, String)> {
        let mut templates: Vec<Shared> = Vec::new();
        for pattern in date_pattern.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let found = defaults::templates(pattern).map_err(|why| (pattern.to_owned(), why))?;
            for template in found {
                if !templates.iter().any(|known| known.name == template.name) {
                    templates.push(template);
                }
            }
        }
        if templates.is_empty() {
            templates = defaults::all();
        }
        Ok(Self { templates, zone })
    }

    /// Finds the date of a line that is read at `now`.
    pub fn read(&self, line: &str, now: Timestamp, memory: &mut Memory) -> Dating {
        if memory.order.is_empty() {
            memory.order = Order::new(&self.templates);
        }
        let found = memory.order.find(line, now.seconds());
        let cut = found.as_ref().map_or(0..0, |found| found.cut.clone());
        let fields = found.and_then(|found| found.fields).filter(|_| !cut.is_empty());
        let time = fields.and_then(|fields| memory.clock.instant(&fields, now, &self.zone));
        if let Some(time) = time {
            memory.last = Some(time);
            return Dating { time, from: DateFrom::Line, cut };
        }
        match memory.last.filter(|last| *last > now - RECENT) {
            Some(last) => Dating { time: last, from: DateFrom::EarlierLine, cut: 0..0 },
            None => Dating { time: now, from: DateFrom::Reading, cut },
        }
    }
}

#[cfg(test)]
mod tests;
