//! A jail's options as its files give them, everything expanded, nothing interpreted.
//!
//! Input: [`Merged`] jail files and a section. Output: [`Resolved`]: every option that a
//! jail has in Fail2Ban, and its filter. What the values mean is told elsewhere; this is
//! the same text that Fail2Ban's client would send to its server.

use crate::config::diagnostic::{Checked, Diagnostic, Diagnostics};
use crate::config::filter::{FilterFiles, FilterSource};
use crate::config::interpolate::{NOTHING, Scope, Values};
use crate::config::layers::{Merged, Section, Tree};
use crate::config::option_list::{self, Named};
use crate::config::text::Text;

/// Options that a jail has before its filter is read.
const FIRST: [&str; 3] = ["enabled", "backend", "filter"];

/// Options of a jail, as in Fail2Ban; its filter's `%(name)s` can name them.
pub(crate) const OPTIONS: [&str; 31] = [
    "enabled",
    "backend",
    "filter",
    "maxretry",
    "maxmatches",
    "findtime",
    "bantime",
    "bantime.increment",
    "bantime.factor",
    "bantime.formula",
    "bantime.multipliers",
    "bantime.maxtime",
    "bantime.rndtime",
    "bantime.overalljails",
    "ignorecommand",
    "ignoreself",
    "ignoreip",
    "ignorecache",
    "logtimezone",
    "logencoding",
    "logpath",
    "skip_if_nologs",
    "systemd_if_nologs",
    "action",
    "usedns",
    "prefregex",
    "failregex",
    "ignoreregex",
    "maxlines",
    "datepattern",
    "journalmatch",
];

/// One jail, everything expanded.
#[derive(Debug)]
pub(crate) struct Resolved<'a> {
    merged: &'a Merged,
    section: &'a Section,
    /// Its filter as named.
    pub(crate) named: Named,
    /// Its filter's files.
    files: FilterFiles,
    /// Values that count before those of the section.
    fixed: Values,
    /// What the filter says, for `%(known/name)s`.
    known: Values,
    /// Those of [`OPTIONS`] that have a value.
    pub(crate) given: Values,
    /// Its filter; none if an error is told.
    pub(crate) filter: Option<FilterSource>,
}

impl<'a> Resolved<'a> {
    /// Expands everything of a jail; nothing if an error is told.
    pub(crate) fn read(
        tree: &Tree,
        merged: &'a Merged,
        section: &'a Section,
        found: &mut Diagnostics,
    ) -> Option<Self> {
        let name = section.name.as_str();
        let scope = Scope { merged, section: name, fixed: &NOTHING, known: &NOTHING };
        let value = taken(scope.value_or_empty("filter"), found)?;
        if value.is_blank() {
            let help = match tree.is_complete() {
                true => "name one with `filter = NAME`, or give [DEFAULT] `filter = %(__name__)s`",
                false => "name one with `filter = NAME`",
            };
            found.push(
                Diagnostic::error("the jail is enabled but has no filter")
                    .at(&section.name)
                    .help(help),
            );
            return None;
        }
        let named = taken(option_list::parse_one(&value), found)?;
        let files = taken(FilterFiles::read(tree, &named, found), found)?;
        let (fixed, known, given) = (Values::new(), Values::new(), Values::new());
        let mut all = Self { merged, section, named, files, fixed, known, given, filter: None };
        all.expand(found);
        Some(all)
    }

    /// Gives one option another value, before all others.
    pub(crate) fn set(&mut self, key: &str, value: &str, found: &mut Diagnostics) {
        self.fixed.insert(key.to_owned(), Text::generated(value));
        self.expand(found);
    }

    fn expand(&mut self, found: &mut Diagnostics) {
        self.known = Values::new();
        let first = values(&self.scope(), &FIRST, found);
        self.known = self.files.known(&first);
        self.given = values(&self.scope(), &OPTIONS, found);
        self.filter = taken(self.files.resolve(&self.given), found);
    }

    /// Where its values are looked up.
    pub(crate) fn scope(&self) -> Scope<'_> {
        Scope {
            merged: self.merged,
            section: self.section.name.as_str(),
            fixed: &self.fixed,
            known: &self.known,
        }
    }

    /// Its name, where it stands last.
    pub(crate) fn name(&self) -> &'a Text {
        &self.section.name
    }

    /// One of [`OPTIONS`], if it has a value that is not blank.
    pub(crate) fn option(&self, key: &str) -> Option<&Text> {
        self.given.get(key).filter(|value| !value.is_blank())
    }
}

/// Those of the keys that have a value.
fn values(scope: &Scope<'_>, keys: &[&str], found: &mut Diagnostics) -> Values {
    let value = |key: &&str| Some(((*key).to_owned(), taken(scope.value(key)?, found)?));
    keys.iter().filter_map(value).collect()
}

/// The value, or else its problem goes to the others.
pub(crate) fn taken<T>(checked: Checked<T>, found: &mut Diagnostics) -> Option<T> {
    checked.map_err(|diagnostic| found.push(*diagnostic)).ok()
}
