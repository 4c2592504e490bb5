//! A filter tried on many lines, with a count of everything.
//!
//! Input: a filter's text and lines, or entries of the journal. Output: [`Trial`], the
//! numbers that `fail2ban-regex` shows: lines ignored, matched and missed, and how often
//! each expression matched. As there, every expression is tried on every line, and a
//! line that only tells more of a connection counts as ignored. Invariant: matched,
//! ignored and missed lines add up to those that were tried.

use crate::core::date::{self, DateFrom, Dates, Zone};
use crate::core::entry::{Dating, Entry};
use crate::core::failure::Attempt;
use crate::core::filter::{
    CompileProblem, Examination, Examined, Filter, FilterText, Finding, Limits, Memory,
};
use crate::core::time::Timestamp;
use crate::tool::{line, overlap};

/// Connections remembered between lines.
const CONNECTIONS: usize = 8_192;

/// Matches nothing that is ever logged, and names an address.
const NEVER: &str = r"^\x00\x00\x00<HOST>$";

/// What a trial does besides counting.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Try the other expressions after one that matches.
    pub check_all: bool,
    /// Lines of each outcome that are kept: ignored, matched, missed.
    pub keep: [usize; 3],
    /// Keep who was found by which expression.
    pub keep_found: bool,
    /// Tell all that was captured.
    pub examine: bool,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An `ignoreregex` matched, or the line is no failure by itself.
    Ignored,
    /// A failure, or a part of one.
    Matched,
    /// Nothing matched.
    Missed,
}

/// One expression and how often it matched.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Hits {
    /// As it is written.
    pub expression: String,
    /// Lines.
    pub hits: u64,
    /// Who was found and when, if that is kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<(String, Timestamp)>,
}

/// Lines by their outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// All.
    pub tested: u64,
    /// [`Outcome::Ignored`].
    pub ignored: u64,
    /// [`Outcome::Matched`].
    pub matched: u64,
    /// [`Outcome::Missed`].
    pub missed: u64,
}

/// Kept lines by their outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Kept {
    /// [`Outcome::Ignored`].
    pub ignored: Vec<String>,
    /// [`Outcome::Matched`].
    pub matched: Vec<String>,
    /// [`Outcome::Missed`].
    pub missed: Vec<String>,
}

/// A filter at work on lines.
#[derive(Debug)]
pub struct Trial {
    filter: Filter,
    memory: Memory,
    options: Options,
    max_lines: usize,
    /// Each expression alone, for lines on which another matched before.
    alone: Vec<Option<Filter>>,
    /// For each expression the later ones that may match the same line.
    partners: Vec<Vec<usize>>,
    /// Whether an expression's match may be no failure.
    excuses: Vec<bool>,
    prefix: Option<fancy_regex::Regex>,
    dates: Dates,
    date_memory: date::Memory,
    examination: Examination,
    entry: Entry,
    /// `prefregex`, if there is one.
    pub prefregex: Option<Hits>,
    /// `failregex`, in order.
    pub failregex: Vec<Hits>,
    /// `ignoreregex`, in order.
    pub ignoreregex: Vec<Hits>,
    /// Lines.
    pub counts: Counts,
    /// Lines that were kept.
    pub kept: Kept,
    /// Lines with a date.
    pub dated: u64,
    /// Lines on which an expression was given up because it took too many steps.
    pub given_up: u64,
    /// What was found in the last line.
    pub last: Option<(Outcome, Option<Attempt>, Examined)>,
}

impl Trial {
    /// Compiles the filter.
    ///
    /// # Errors
    /// Every expression that cannot be used.
    pub fn new(
        text: &FilterText,
        limits: Limits,
        options: Options,
    ) -> Result<Self, Vec<CompileProblem>> {
        let filter = Filter::compile(text, limits)?;
        let written = |lines: &[String]| -> Vec<Hits> {
            let lines = lines.iter().filter(|line| !line.trim().is_empty());
            lines.map(|line| Hits { expression: line.clone(), ..Hits::default() }).collect()
        };
        let converted = filter.converted();
        let excuses = |text: &&str| text.contains("<nofail>") || text.contains("<mlfgained>");
        let (failregex, ignoreregex) = (written(&text.failregex), written(&text.ignoreregex));
        let partners = match options.check_all && text.max_lines <= 1 {
            true => overlap::later_partners(&converted.fail),
            false => vec![Vec::new(); failregex.len()],
        };
        let mut alone = vec![None; failregex.len()];
        for &number in partners.iter().flatten() {
            let one = failregex.get(number).map(|hits: &Hits| hits.expression.clone());
            let text = FilterText {
                failregex: one.into_iter().chain([NEVER.to_owned()]).collect(),
                ignoreregex: Vec::new(),
                ..text.clone()
            };
            if let Some(slot) = alone.get_mut(number)
                && slot.is_none()
            {
                *slot = Filter::compile(&text, limits).ok();
            }
        }
        let zone = match text.log_timezone.trim() {
            "" => text.host_zone.clone(),
            zone => Zone::parse(zone).unwrap_or_default(),
        };
        let dates = Dates::compile(&text.date_pattern, zone)
            .map_err(|(expression, message)| vec![CompileProblem { expression, message }])?;
        let excuses = converted.fail.iter().map(excuses).collect();
        let prefix = converted.prefix.and_then(|prefix| fancy_regex::Regex::new(prefix).ok());
        let prefregex = prefix
            .as_ref()
            .map(|_| Hits { expression: text.prefregex.trim().to_owned(), ..Hits::default() });
        Ok(Self {
            max_lines: text.max_lines,
            memory: Memory::new(CONNECTIONS),
            filter,
            options,
            alone,
            partners,
            excuses,
            prefix,
            dates,
            date_memory: date::Memory::default(),
            examination: Examination::default(),
            entry: line::blank(Dating::Known),
            prefregex,
            failregex,
            ignoreregex,
            counts: Counts::default(),
            kept: Kept::default(),
            dated: 0,
            given_up: 0,
            last: None,
        })
    }

    /// Tries a line of a file, which is read at `now`.
    pub fn line(&mut self, text: &str, now: Timestamp) -> Outcome {
        let mut entry = std::mem::replace(&mut self.entry, line::blank(Dating::Known));
        let dating = self.dates.read(text, now, &mut self.date_memory);
        self.dated += u64::from(dating.from == DateFrom::Line);
        entry.line.clear();
        entry.line.push_str(&text[..dating.cut.start]);
        entry.line.push_str(&text[dating.cut.end..]);
        (entry.message_start, entry.daemon) = line::origin(&entry.line);
        entry.time = dating.time;
        let outcome = self.judge(&entry, text);
        self.entry = entry;
        outcome
    }

    /// Tries an entry of the journal.
    pub fn entry(&mut self, entry: &Entry) -> Outcome {
        self.judge(entry, &entry.line)
    }

    /// How often each form of date was found, by its name; the often found first.
    pub fn date_hits(&self) -> impl Iterator<Item = (&str, u32)> {
        self.date_memory.hits()
    }

    fn judge(&mut self, entry: &Entry, shown: &str) -> Outcome {
        let examine = self.options.examine || self.max_lines > 1;
        let examined = match examine {
            true => self.filter.examine(entry, &mut self.memory, &mut self.examination),
            false => Examined {
                finding: self.filter.find(entry, &mut self.memory),
                ..Examined::default()
            },
        };
        let finding = &examined.finding;
        self.given_up += u64::from(finding.step_limit.is_some());
        let (mut ignored, mut matched) = (false, false);
        if let Some(number) = finding.ignored_by {
            ignored = true;
            if let Some(hits) = self.ignoreregex.get_mut(number - 1) {
                hits.hits += 1;
            }
        } else if let Some(number) = finding.expression {
            self.count(number - 1, finding, &mut ignored, &mut matched);
            for at in 0..self.partners.get(number - 1).map_or(0, Vec::len) {
                let other = self.partners[number - 1][at];
                let Some(alone) = &self.alone[other] else { continue };
                let second = alone.find(entry, &mut self.memory);
                if second.expression == Some(1) {
                    self.count(other, &second, &mut ignored, &mut matched);
                }
            }
        }
        if (finding.ignored_by.is_none() || finding.expression.is_some())
            && let (Some(prefix), Some(hits)) = (&self.prefix, &mut self.prefregex)
        {
            hits.hits += u64::from(prefix.is_match(&entry.line).unwrap_or(false));
        }
        let outcome = match (ignored, matched) {
            (true, _) => Outcome::Ignored,
            (false, true) => Outcome::Matched,
            (false, false) => Outcome::Missed,
        };
        self.add(outcome, shown, examined.lines);
        self.last = examine.then(|| (outcome, examined.finding.failure.clone(), examined));
        outcome
    }

    /// Counts the match of one expression.
    fn count(&mut self, index: usize, finding: &Finding, ignored: &mut bool, matched: &mut bool) {
        match &finding.failure {
            Some(_) => *matched = true,
            None if self.excuses.get(index).copied().unwrap_or(false) => *ignored = true,
            // It waits for a line with the address.
            None => *matched = true,
        }
        let Some(hits) = self.failregex.get_mut(index) else { return };
        hits.hits += 1;
        if self.options.keep_found
            && let Some(found) = &finding.failure
        {
            hits.found.push((found.who.to_string(), found.time));
        }
    }

    fn add(&mut self, outcome: Outcome, shown: &str, lines: usize) {
        self.counts.tested += 1;
        let (count, kept, limit) = match outcome {
            Outcome::Ignored => (&mut self.counts.ignored, &mut self.kept.ignored, 0),
            Outcome::Matched => (&mut self.counts.matched, &mut self.kept.matched, 1),
            Outcome::Missed => (&mut self.counts.missed, &mut self.kept.missed, 2),
        };
        *count += 1;
        if kept.len() < self.options.keep[limit] {
            kept.push(shown.to_owned());
        }
        // Of several lines together the earlier ones had not matched by themselves.
        if outcome == Outcome::Matched && self.max_lines > 1 {
            let earlier = (lines.saturating_sub(1) as u64).min(self.counts.missed);
            self.counts.missed -= earlier;
            self.counts.matched += earlier;
            let kept = &mut self.kept.missed;
            let left = kept.len().saturating_sub(usize::try_from(earlier).unwrap_or(0));
            kept.truncate(left);
        }
    }
}
