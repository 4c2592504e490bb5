//! Names of hosts and files in allow-lists (`ignoreip`).
//!
//! Each is looked up at the start and then every so often; what it stands for is stored.
//! While it cannot be looked up, what was known last counts, and the trouble is told. A
//! ban of an address that turns out to be allowed is lifted.

use super::Engine;
use super::asking::Purpose;
use crate::core::addr::Prefix;
use crate::core::allow::AllowList;
use crate::core::effects::{Change, Effects, Report};
use crate::core::jail::{AllowElsewhere, JailId};
use crate::core::question::{Ask, Said};
use crate::core::time::{Span, Timestamp};

/// How often a name is resolved anew: Fail2Ban's cache keeps it as long.
const RESOLVE_AGAIN: Span = Span::from_seconds(300);
/// How often a file is read anew.
const READ_AGAIN: Span = Span::from_seconds(30);
/// When to look again after trouble.
const TRY_AGAIN: Span = Span::from_seconds(60);
/// More addresses than this are not taken from one name, and from one file.
const MOST_ADDRESSES: usize = 64;
const MOST_IN_FILE: usize = 10_000;

/// One name or file.
#[derive(Clone, Debug)]
pub(super) struct Place {
    what: AllowElsewhere,
    jails: Vec<JailId>,
    entries: Vec<Prefix>,
    /// When to look again; `None` while it is being looked up.
    due: Option<Timestamp>,
    trouble: Option<String>,
}

impl Place {
    /// What it stands for, to be stored.
    pub(super) fn change(&self) -> Change {
        Change::Listed { place: self.what.clone(), entries: Some(self.entries.clone()) }
    }
}

impl Engine {
    /// Collects the names and files of all jails, with what they stood for.
    pub(super) fn restore_lists(
        &mut self,
        stored: Vec<(AllowElsewhere, Vec<Prefix>)>,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        for (jail, cell) in (0..).map(JailId).zip(&self.cells) {
            for what in &cell.jail.allow_elsewhere {
                match self.places.iter_mut().find(|place| place.what == *what) {
                    Some(place) => place.jails.push(jail),
                    None => self.places.push(Place {
                        what: what.clone(),
                        jails: vec![jail],
                        entries: Vec::new(),
                        due: Some(now),
                        trouble: None,
                    }),
                }
            }
        }
        for (what, entries) in stored {
            match self.places.iter_mut().find(|place| place.what == what) {
                Some(place) => place.entries = entries,
                None => effects.persist.push(Change::Listed { place: what, entries: None }),
            }
        }
        self.fill_lists();
        self.look_up(now, effects);
    }

    /// Asks what is due.
    pub(super) fn look_up(&mut self, now: Timestamp, effects: &mut Effects) {
        for (number, place) in self.places.iter_mut().enumerate() {
            if place.due.is_some_and(|due| due <= now) {
                place.due = None;
                let ask = match &place.what {
                    AllowElsewhere::Name(name) => Ask::Resolve(name.clone()),
                    AllowElsewhere::File(path) => Ask::Read(path.clone()),
                };
                self.asking.ask(now, ask, Purpose::List(number), effects);
            }
        }
    }

    /// When something is due next.
    pub(super) fn next_look(&self) -> Option<Timestamp> {
        self.places.iter().filter_map(|place| place.due).min()
    }

    /// What is wrong outside, in words: names and files that cannot be looked up, and
    /// commands that do not answer.
    pub fn troubles(&self) -> Vec<String> {
        let of_place = |place: &Place| {
            let trouble = place.trouble.as_ref()?;
            let known = place.entries.len();
            Some(format!("ignoreip: {}: {trouble}; {known} known addresses count", place.what))
        };
        let command = self
            .asking
            .trouble()
            .map(|trouble| format!("ignorecommand: {trouble}; without its answer, bans are made"));
        self.places.iter().filter_map(of_place).chain(command).collect()
    }

    pub(super) fn hear_list(
        &mut self,
        now: Timestamp,
        number: usize,
        said: Result<Said, String>,
        effects: &mut Effects,
    ) {
        let Some(place) = self.places.get_mut(number) else { return };
        let (entries, trouble) = match said {
            Ok(Said::Addresses(addresses)) if addresses.is_empty() => {
                (None, Some("there is no such host".to_owned()))
            }
            Ok(Said::Addresses(addresses)) => {
                let (entries, trouble) =
                    at_most(addresses.into_iter().map(Prefix::host).collect(), MOST_ADDRESSES);
                (Some(entries), trouble)
            }
            Ok(Said::Content(text)) => {
                let (entries, trouble) = listed(&text);
                (Some(entries), trouble)
            }
            Ok(Said::Exited(_)) => (None, Some("the answer is for another question".to_owned())),
            Err(why) => (None, Some(why)),
        };
        let again = match &place.what {
            _ if trouble.is_some() => TRY_AGAIN,
            AllowElsewhere::Name(_) => RESOLVE_AGAIN,
            AllowElsewhere::File(_) => READ_AGAIN,
        };
        place.due = Some(now + again);
        let what = place.what.clone();
        if place.trouble != trouble {
            place.trouble.clone_from(&trouble);
            if let Some(why) = trouble {
                effects.report.push(Report::ListTrouble { place: what.clone(), why });
            }
        }
        let Some(entries) = entries.filter(|entries| *entries != place.entries) else { return };
        place.entries.clone_from(&entries);
        let known = Some(entries.clone());
        effects.persist.push(Change::Listed { place: what.clone(), entries: known });
        effects.report.push(Report::ListChanged { place: what, entries });
        self.fill_lists();
        self.lift_forbidden(effects);
        self.tell_allowed(effects);
    }

    /// Gives each jail what its names and files stand for.
    fn fill_lists(&mut self) {
        for (jail, cell) in (0..).map(JailId).zip(&mut self.cells) {
            let of_jail = self.places.iter().filter(|place| place.jails.contains(&jail));
            cell.elsewhere =
                of_jail.flat_map(|place| &place.entries).copied().collect::<AllowList>();
        }
    }
}

/// The addresses and prefixes in a file: between white space and commas, without
/// comments from `#` or `;` to the end of a line.
fn listed(text: &str) -> (Vec<Prefix>, Option<String>) {
    let lines = text.lines().map(|line| line.split(['#', ';']).next().unwrap_or_default());
    let words = lines.flat_map(|line| line.split(|c: char| c == ',' || c.is_whitespace()));
    let mut entries = Vec::new();
    let mut odd = None;
    for word in words.filter(|word| !word.is_empty()) {
        match word.parse() {
            Ok(prefix) => entries.push(prefix),
            Err(_) => odd = odd.or(Some(word)),
        }
    }
    let (entries, too_many) = at_most(entries, MOST_IN_FILE);
    let odd = odd.map(|word| {
        let start: String = word.chars().take(60).collect();
        format!("`{}` is neither an address nor a prefix", start.escape_debug())
    });
    (entries, odd.or(too_many))
}

fn at_most(mut entries: Vec<Prefix>, most: usize) -> (Vec<Prefix>, Option<String>) {
    entries.sort_unstable();
    entries.dedup();
    let found = entries.len();
    entries.truncate(most);
    let trouble = (found > most).then(|| format!("{found} addresses: only {most} are taken"));
    (entries, trouble)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_addresses() {
        let (entries, trouble) =
            listed("192.0.2.1, 2001:db8::/32 # office\n; none\n\n192.0.2.1\t10.0.0.0/8\r\n");
        let entries: Vec<String> = entries.iter().map(ToString::to_string).collect();
        assert_eq!(entries, ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"]);
        assert_eq!(trouble, None);
        let (entries, trouble) = listed("host.example\n192.0.2.1");
        assert_eq!(entries.len(), 1);
        assert_eq!(trouble.as_deref(), Some("`host.example` is neither an address nor a prefix"));
    }
}
