//! Where the parts of a jail stand, for those who have something to say about them.
//!
//! Input: a jail's section and its filter, everything expanded. Output:
//! [`WrittenJail`], places and expressions. Invariant: expressions are those of the
//! compiled filter, in its order.

use std::path::Path;

use crate::config::diagnostic::{Diagnostic, Place};
use crate::config::layers::Section;
use crate::config::resolve::Resolved;
use crate::config::text::Text;

/// A jail as it is written.
#[derive(Clone, Debug)]
pub struct WrittenJail {
    /// Its name.
    pub name: String,
    /// Its filter's name.
    pub filter: String,
    /// Where its section begins.
    pub section: Option<Place>,
    /// Where `port` is given.
    pub port: Option<Place>,
    /// Where `maxretry` is given.
    pub max_retry: Option<Place>,
    /// Where `journalmatch` is given.
    pub journal_match: Option<Place>,
    /// `failregex`, one each, with its place.
    pub failregex: Vec<(String, Option<Place>)>,
}

impl WrittenJail {
    /// Takes down where things stand.
    pub(crate) fn new(section: &Section, options: &Resolved<'_>) -> Self {
        // What only actions name is no option of the jail's own.
        let place = |key: &str| options.scope().value(key)?.ok()?.place();
        let expression = |text: &Text| (text.to_string(), text.place());
        let filter = options.filter.as_ref();
        let failregex = filter.map(|source| source.failregex.as_slice()).unwrap_or_default();
        Self {
            name: section.name.to_string(),
            filter: options.named.name.to_string(),
            section: section.name.place(),
            port: place("port"),
            max_retry: place("maxretry"),
            journal_match: filter.and_then(|source| source.journalmatch.place()),
            failregex: failregex.iter().filter(|t| !t.is_blank()).map(expression).collect(),
        }
    }

    /// Whether guard ships a place's file.
    pub fn is_shipped(place: Option<&Place>, vendor_directory: &Path) -> bool {
        place.is_some_and(|place| {
            place.file.starts_with("(built in)") || place.file.starts_with(vendor_directory)
        })
    }

    /// A warning about a place of this jail, or about its section.
    pub fn warning(&self, place: Option<&Place>, message: impl Into<String>) -> Diagnostic {
        let warning = Diagnostic::warning(message).in_jail(&self.name);
        match place.or(self.section.as_ref()) {
            Some(place) => warning.in_place(place.clone()),
            None => warning,
        }
    }
}
