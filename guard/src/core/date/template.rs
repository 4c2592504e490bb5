//! One form of date: where it may stand, how it is found and what it says.
//!
//! Input: a line. Output: a [`Match`]. Invariant: a search ends and, but for the first
//! one, allocates nothing.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::fast::{self, Form};
use super::fields::{Field, Fields};
use super::pattern::{self, Parsed};

/// Steps that a pattern may take back on one line, if it needs to backtrack.
const STEPS: usize = 50_000;

/// A form of date. Compiled when it is first used.
#[derive(Debug)]
pub(super) struct Template {
    /// What tells it from others.
    pub name: String,
    parsed: Parsed,
    /// How much it counts beside others that are found as often.
    pub weight: f64,
    /// The same form, read by hand where that is certain.
    form: Option<Form>,
    compiled: OnceLock<Option<Compiled>>,
}

#[derive(Debug)]
struct Compiled {
    engine: Engine,
    /// The parts and their groups.
    fields: Vec<(usize, Field)>,
}

#[derive(Debug)]
enum Engine {
    Linear(regex::Regex),
    Backtracking(Box<fancy_regex::Regex>),
}

/// Working space of one template.
pub(super) type Places = Option<regex::CaptureLocations>;

/// A date in a line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Match {
    /// What was matched.
    pub span: Range<usize>,
    /// What is to be cut out.
    pub cut: Range<usize>,
    /// What it says; nothing if that makes no sense.
    pub fields: Option<Fields>,
}

impl Template {
    /// A template of a pattern, which is compiled at once.
    ///
    /// # Errors
    /// What in it cannot be used.
    pub(super) fn new(name: &str, pattern: &str) -> Result<Self, String> {
        let template = Self::later(name, pattern::parse(pattern)?, 1.0, None);
        compile(&template.parsed).map(|compiled| {
            let _ = template.compiled.set(Some(compiled));
            template
        })
    }

    /// A template that is compiled when it is needed.
    pub(super) fn later(name: &str, parsed: Parsed, weight: f64, form: Option<Form>) -> Self {
        Self { name: name.to_owned(), parsed, weight, form, compiled: OnceLock::new() }
    }

    /// Whether it is bound to the begin or the end of a line.
    pub(super) fn is_anchored(&self) -> bool {
        self.parsed.anchored
    }

    fn compiled(&self) -> Option<&Compiled> {
        self.compiled.get_or_init(|| compile(&self.parsed).ok()).as_ref()
    }

    /// The first such date that begins at `from` or later and ends at `to` or earlier.
    pub(super) fn find(
        &self,
        line: &str,
        from: usize,
        to: usize,
        places: &mut Places,
    ) -> Option<Match> {
        let text = line.get(..to)?;
        if let Some(form) = self.form
            && let Some((at, end, fields)) =
                fast::read(form, text.as_bytes(), from, self.is_anchored())
        {
            return Some(Match { span: from..end, cut: at..end, fields: Some(fields) });
        }
        let compiled = self.compiled()?;
        match &compiled.engine {
            Engine::Linear(regex) => {
                let places = places.get_or_insert_with(|| regex.capture_locations());
                let span = regex.captures_read_at(places, text, from)?.range();
                let group = |number| places.get(number).map(|(start, end)| start..end);
                Some(compiled.read(text, span, group))
            }
            Engine::Backtracking(regex) => {
                let captures = regex.captures_from_pos(text, from).ok()??;
                let group = |number| captures.get(number).map(|found| found.range());
                Some(compiled.read(text, group(0)?, group))
            }
        }
    }
}

impl Compiled {
    fn read(
        &self,
        text: &str,
        span: Range<usize>,
        group: impl Fn(usize) -> Option<Range<usize>>,
    ) -> Match {
        let mut fields = Some(Fields::default());
        for (number, field) in &self.fields {
            if let Some(part) = group(*number) {
                let set = |mut fields: Fields| fields.set(*field, &text[part]).map(|()| fields);
                fields = fields.and_then(set);
            }
        }
        // A group that took no part cuts nothing out.
        let cut = group(1).unwrap_or(span.start..span.start);
        Match { span, cut, fields }
    }
}

fn compile(parsed: &Parsed) -> Result<Compiled, String> {
    let engine = if parsed.backtracking {
        let regex = fancy_regex::RegexBuilder::new(&parsed.expression)
            .backtrack_limit(STEPS)
            .build()
            .map_err(|error| error.to_string())?;
        Engine::Backtracking(Box::new(regex))
    } else {
        let regex = regex::Regex::new(&parsed.expression).map_err(|error| error.to_string())?;
        Engine::Linear(regex)
    };
    let names: Vec<Option<&str>> = match &engine {
        Engine::Linear(regex) => regex.capture_names().collect(),
        Engine::Backtracking(regex) => regex.capture_names().collect(),
    };
    let field = |(number, name): (usize, &Option<&str>)| Some((number, pattern::field((*name)?)?));
    let fields = names.iter().enumerate().filter_map(field).collect();
    Ok(Compiled { engine, fields })
}

/// Templates that may be shared.
pub(super) type Shared = Arc<Template>;
