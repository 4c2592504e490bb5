//! What a jail's files say, everything expanded, before anything is made of it.
//!
//! Input: [`Settings`]. Output: one [`Described`] for each section, enabled or not. These
//! are the values that Fail2Ban's client would send to its server (`fail2ban-client -d`),
//! each with the place where it was written, so that people can be shown where a value
//! comes from, and tests can compare the two.

use crate::config::diagnostic::{Diagnostics, Place};
use crate::config::interpolate::{NOTHING, Scope};
use crate::config::layers::{Merged, Section, Tree};
use crate::config::option_list::{self, Named};
use crate::config::resolve::{Resolved, taken};
use crate::config::text::Text;
use crate::config::{Settings, filter, options, read};

/// A jail as its files describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The section's name.
    pub name: String,
    /// Whether `enabled` says yes.
    pub enabled: bool,
    /// Its filter, with the options in brackets.
    pub filter: Listed,
    /// Its actions, with the options in brackets.
    pub actions: Vec<Listed>,
    /// Every option that has a value, sorted by name. Those that a filter can give too
    /// (`failregex`, `journalmatch`, `maxlines`, …) are what both give together, their
    /// tags replaced.
    pub options: Vec<Value>,
}

/// An option's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Which option.
    pub name: String,
    /// Its value, everything expanded; several lines are separated by newlines.
    pub value: String,
    /// Where it was written, or the first of its parts.
    pub place: Option<Place>,
}

/// A name with options: `name[option=value]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name.
    pub name: String,
    /// Its options in order, the last one of each name.
    pub options: Vec<Value>,
}

impl Described {
    /// An option's value, if it has one.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|value| value.name == name).map(|value| value.value.as_str())
    }
}

/// Every jail below `jail-directory` whose values can be expanded, in the order of the
/// sections, and what is wrong with the others. `enabled_only` leaves out the rest.
pub fn describe(settings: &Settings, enabled_only: bool) -> (Vec<Described>, Diagnostics) {
    let mut found = Diagnostics::default();
    let (tree, merged) = read(settings, &mut found);
    let described = merged
        .sections
        .iter()
        .filter_map(|section| {
            let mut problems = Diagnostics::default();
            let jail = section_described(&tree, &merged, section, enabled_only, &mut problems);
            let of_jail =
                |problem: crate::config::Diagnostic| problem.in_jail(section.name.as_str());
            found.extend(problems.0.into_iter().map(of_jail));
            jail
        })
        .collect();
    (described, found)
}

fn section_described(
    tree: &Tree,
    merged: &Merged,
    section: &Section,
    enabled_only: bool,
    found: &mut Diagnostics,
) -> Option<Described> {
    let name = section.name.as_str();
    let scope = Scope { merged, section: name, fixed: &NOTHING, known: &NOTHING };
    let enabled = taken(scope.value_or_empty("enabled"), found)?;
    let enabled = taken(options::boolean("enabled", &enabled), found)?;
    if enabled_only && !enabled {
        return None;
    }
    let jail = Resolved::read(tree, merged, section, found)?;
    let source = jail.filter.as_ref()?;
    let of_jail = |key: &&String| !filter::OPTIONS.contains(&key.as_str());
    let mut values: Vec<Value> = jail
        .given
        .keys()
        .filter(of_jail)
        .filter_map(|key| Some(value(key, jail.given.get(key)?)))
        .collect();
    let lines = |lines: &[Text]| {
        let mut all = Text::default();
        for (i, line) in lines.iter().enumerate() {
            if i > 0 {
                all.push_str("\n");
            }
            all.push(line);
        }
        all
    };
    for (key, found) in [
        ("prefregex", source.prefregex.clone()),
        ("failregex", lines(&source.failregex)),
        ("ignoreregex", lines(&source.ignoreregex)),
        ("journalmatch", source.journalmatch.clone()),
        ("maxlines", source.maxlines.clone()),
        ("datepattern", source.datepattern.clone()),
        ("usedns", source.usedns.clone()),
    ] {
        if !found.is_blank() {
            values.push(value(key, &found));
        }
    }
    values.sort_by(|a, b| a.name.cmp(&b.name));
    let action = jail.given.get("action").cloned().unwrap_or_default();
    let actions = taken(option_list::parse_many(&action), found)?;
    Some(Described {
        name: jail.name().to_string(),
        enabled,
        filter: listed(&jail.named),
        actions: actions.iter().map(listed).collect(),
        options: values,
    })
}

fn listed(named: &Named) -> Listed {
    let mut options: Vec<Value> = Vec::new();
    for (name, given) in &named.options {
        options.retain(|known| known.name != *name);
        options.push(value(name, given));
    }
    Listed { name: named.name.to_string(), options }
}

fn value(name: &str, text: &Text) -> Value {
    Value { name: name.to_owned(), value: text.to_string(), place: text.place() }
}
