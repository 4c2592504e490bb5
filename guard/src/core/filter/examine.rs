//! All that a filter captures, for those who want to look at it.
//!
//! Input: an entry. Output: [`Examined`], the finding together with every named group,
//! and for a connection those of its earlier lines. Invariant: the finding is the one
//! that [`Filter::find`] gives.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::captured::Captured;
use super::expression::is_alternate;
use super::ordered::Ordered;
use super::{Expressions, Filter, Finding, Memory, Subject, search};
use crate::core::entry::Entry;

/// A finding and what it was made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// What the filter finds.
    pub finding: Finding,
    /// Captured text by the names of groups, such as `user`, `ip4`, `dns` or `fid`; of a
    /// connection also what earlier lines captured. Empty without a match.
    pub groups: BTreeMap<String, String>,
    /// User names that were tried in the connection.
    pub users: BTreeSet<String>,
    /// Lines that make up the failure.
    pub lines: usize,
}

/// What an examination remembers between lines.
#[derive(Clone, Debug, Default)]
pub struct Examination {
    connections: HashMap<String, Merged>,
    examined: Examined,
}

/// What the lines of a connection say together.
#[derive(Clone, Debug, Default)]
struct Merged {
    groups: BTreeMap<String, String>,
    users: BTreeSet<String>,
    /// Lines of failures that were not told yet.
    lines: usize,
    /// Lines that are no failures by themselves.
    helper_lines: usize,
    pending: bool,
    /// The last line was no failure.
    excused: bool,
}

impl Filter {
    /// Looks at one entry like [`Filter::find`], and tells everything that it captures.
    pub fn examine(
        &self,
        entry: &Entry,
        memory: &mut Memory,
        examination: &mut Examination,
    ) -> Examined {
        examination.examined = Examined::default();
        let finding = self.look(entry, memory, Some(&mut *examination));
        Examined { finding, ..std::mem::take(&mut examination.examined) }
    }
}

impl Examination {
    /// Takes in a line that the expression of a `number`, from 1, matched. `lines` is how many lines the match lies on.
    pub(super) fn add(
        &mut self,
        expressions: &Expressions,
        number: usize,
        subject: &Subject<'_>,
        captured: &Captured,
        text: &str,
        lines: usize,
    ) {
        let mut groups = BTreeMap::new();
        let mut whole = String::new();
        search::fill(&mut whole, subject.line);
        let mut add = |named: Option<super::expression::Named>, text: &str| {
            let named = named.unwrap_or_default();
            let found = named.groups.into_iter().filter(|(name, _)| name != "content");
            groups.extend(found.map(|(name, span)| (name, text[span].to_owned())));
        };
        for prefix in expressions.prefix.iter().flat_map(Ordered::iter) {
            add(prefix.named(&whole), &whole);
        }
        let searched = text.get(captured.searched.clone()).unwrap_or_default();
        if let Some(expression) = expressions.fail.iter().nth(number.wrapping_sub(1)) {
            add(expression.named(searched), searched);
        }
        fill_in_alternates(&mut groups);
        self.examined = match groups.get("mlfid").cloned() {
            None => Examined { groups, lines, ..Examined::default() },
            Some(connection) => self.merge(connection, groups, lines),
        };
    }

    /// Merges a line with the earlier ones of its connection.
    fn merge(
        &mut self,
        connection: String,
        mut groups: BTreeMap<String, String>,
        lines: usize,
    ) -> Examined {
        let says = |name: &str| groups.get(name).is_some_and(|text| !text.is_empty());
        let (gained, forgets) = (says("mlfgained"), says("mlfforget"));
        let mut excused = gained || says("nofail");
        groups.remove("mlfforget");
        let known = self.connections.contains_key(&connection);
        let mut merged = self.connections.remove(&connection).unwrap_or_default();
        merged.pending &= !gained;
        if !merged.excused && !merged.pending {
            // Those were told with an earlier failure.
            merged.lines = 0;
        }
        if known || !forgets {
            merged.users.extend(groups.get("user").filter(|user| !user.is_empty()).cloned());
        }
        merged.groups.remove("nofail");
        merged.groups.remove("mlfgained");
        merged.groups.extend(groups);
        let was_gained = gained;
        let mut counts = !was_gained;
        if merged.pending || merged.users.len() > 1 {
            (merged.pending, excused, counts) = (false, false, true);
        }
        if !excused {
            merged.lines += std::mem::take(&mut merged.helper_lines);
            merged.lines += if counts { lines } else { 0 };
        } else if !forgets {
            merged.helper_lines += lines;
        }
        let has_id = ["ip4", "ip6", "dns", "fid"].iter().any(|id| merged.groups.contains_key(*id));
        merged.pending = !excused && !has_id;
        merged.excused = excused;
        let examined = Examined {
            finding: Finding::default(),
            groups: merged.groups.clone(),
            users: merged.users.clone(),
            lines: merged.lines,
        };
        if !forgets {
            self.connections.insert(connection, merged);
        }
        examined
    }
}

/// Gives a group that captured nothing the text of its first alternate that did:
/// `alt_user_1` stands in for `user`.
fn fill_in_alternates(groups: &mut BTreeMap<String, String>) {
    let alternates: Vec<(String, String)> = groups
        .iter()
        .filter(|(name, text)| name.starts_with("alt_") && !text.is_empty())
        .map(|(name, text)| (name.clone(), text.clone()))
        .collect();
    for (alternate, text) in alternates {
        let name = alternate["alt_".len()..].trim_end_matches(|c: char| c.is_ascii_digit());
        let name = name.strip_suffix('_').unwrap_or(&alternate["alt_".len()..]);
        if !is_alternate(&alternate, name) {
            continue;
        }
        let name = match name {
            "id" => "fid",
            "port" => "fport",
            other => other,
        };
        let known = groups.entry(name.to_owned()).or_default();
        if known.is_empty() {
            *known = text;
        }
    }
}
