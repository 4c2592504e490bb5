//! Which jails an entry is for.
//!
//! libsystemd gives the union of what the jails want; here every field is looked at
//! once, whatever the number of jails.

use super::JournalError;
use crate::core::jail::{FieldMatch, JailId, JournalMatch};

/// All subscriptions, taken apart.
#[derive(Debug)]
pub(super) struct Router {
    /// Fields that matter, each once.
    fields: Vec<RoutedField>,
    /// How many conditions there are: pairs of a field and accepted values.
    conditions: usize,
    /// For each jail its alternatives, each a list of conditions that all must hold.
    jails: Vec<(JailId, Vec<Vec<usize>>)>,
    /// What to ask libsystemd for: an OR of these; `None` for every entry.
    wanted: Option<Vec<Vec<FieldMatch>>>,
}

#[derive(Debug)]
struct RoutedField {
    name: String,
    /// Condition and the values of which one must be there.
    conditions: Vec<(usize, Vec<String>)>,
}

/// What holds for one entry; used again for the next.
#[derive(Debug, Default)]
pub(super) struct Holds {
    seen: Vec<bool>,
    conditions: Vec<bool>,
}

impl Router {
    /// Takes subscriptions apart.
    ///
    /// # Errors
    /// When a field is not one that an entry can have.
    pub(super) fn new(subscriptions: &[(JailId, JournalMatch)]) -> Result<Self, JournalError> {
        let mut router =
            Self { fields: Vec::new(), conditions: 0, jails: Vec::new(), wanted: None };
        let mut wanted: Vec<Vec<FieldMatch>> = Vec::new();
        for (jail, matches) in subscriptions {
            let alternatives: Vec<_> =
                matches.alternatives.iter().map(|fields| merged(fields)).collect();
            let mut conditions = Vec::new();
            for alternative in &alternatives {
                alternative.iter().try_for_each(check)?;
                conditions.push(alternative.iter().map(|field| router.condition(field)).collect());
            }
            router.jails.push((*jail, conditions));
            for alternative in alternatives {
                if !wanted.contains(&alternative) {
                    wanted.push(alternative);
                }
            }
        }
        router.jails.sort_by_key(|(jail, _)| *jail);
        let everything = |(_, conditions): &(JailId, Vec<Vec<usize>>)| {
            conditions.is_empty() || conditions.iter().any(Vec::is_empty)
        };
        if !router.jails.iter().any(everything) {
            router.wanted = Some(wanted);
        }
        Ok(router)
    }

    /// What to ask libsystemd for, an OR of ANDs; `None` for every entry.
    pub(super) fn wanted(&self) -> Option<&[Vec<FieldMatch>]> {
        self.wanted.as_deref()
    }

    /// Whether there is nobody to read for.
    pub(super) fn is_idle(&self) -> bool {
        self.jails.is_empty()
    }

    /// Forgets the entry.
    pub(super) fn clear(&self, holds: &mut Holds) {
        holds.seen.clear();
        holds.seen.resize(self.fields.len(), false);
        holds.conditions.clear();
        holds.conditions.resize(self.conditions, false);
    }

    /// Takes a field of the entry; only the first value of each counts.
    pub(super) fn take(&self, name: &[u8], value: &[u8], holds: &mut Holds) {
        let Some(index) = self.fields.iter().position(|field| field.name.as_bytes() == name) else {
            return;
        };
        if std::mem::replace(&mut holds.seen[index], true) {
            return;
        }
        for (condition, values) in &self.fields[index].conditions {
            holds.conditions[*condition] =
                values.iter().any(|accepted| accepted.as_bytes() == value);
        }
    }

    /// The jails that accept the entry, in configuration order.
    pub(super) fn jails(&self, holds: &Holds) -> Vec<JailId> {
        let accepts = |alternatives: &Vec<Vec<usize>>| {
            alternatives.is_empty()
                || alternatives.iter().any(|all| all.iter().all(|one| holds.conditions[*one]))
        };
        self.jails
            .iter()
            .filter(|(_, alternatives)| accepts(alternatives))
            .map(|(jail, _)| *jail)
            .collect()
    }

    /// The number of a condition; equal ones share it.
    fn condition(&mut self, wanted: &FieldMatch) -> usize {
        let index = self.fields.iter().position(|field| field.name == wanted.field);
        let index = index.unwrap_or_else(|| {
            let name = wanted.field.clone();
            self.fields.push(RoutedField { name, conditions: Vec::new() });
            self.fields.len() - 1
        });
        let conditions = &mut self.fields[index].conditions;
        if let Some((number, _)) = conditions.iter().find(|(_, values)| *values == wanted.values) {
            return *number;
        }
        conditions.push((self.conditions, wanted.values.clone()));
        self.conditions += 1;
        self.conditions - 1
    }
}

/// The same field several times in one alternative is one field with all the values,
/// as libsystemd means it.
fn merged(fields: &[FieldMatch]) -> Vec<FieldMatch> {
    let mut merged: Vec<FieldMatch> = Vec::new();
    for field in fields {
        match merged.iter_mut().find(|known| known.field == field.field) {
            Some(known) => known.values.extend(field.values.iter().cloned()),
            None => merged.push(field.clone()),
        }
    }
    merged
}

/// Names of fields as journald takes them.
fn check(wanted: &FieldMatch) -> Result<(), JournalError> {
    let allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let name = wanted.field.as_bytes();
    let good = (1..=64).contains(&name.len())
        && name.iter().copied().all(allowed)
        && !name[0].is_ascii_digit()
        && !wanted.values.is_empty();
    if good {
        return Ok(());
    }
    let value = wanted.values.first().cloned().unwrap_or_default();
    Err(JournalError::Match { field: wanted.field.clone(), value })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `_COMM=sshd _UID=0 + X=y`
    fn matches(text: &str) -> JournalMatch {
        let alternative = |text: &str| {
            text.split_whitespace()
                .map(|term| {
                    let (field, value) = term.split_once('=').expect("a term");
                    FieldMatch { field: field.into(), values: vec![value.into()] }
                })
                .collect()
        };
        let alternatives = text.split('+').map(alternative).collect();
        JournalMatch { alternatives }
    }

    fn routed(router: &Router, entry: &str) -> Vec<u16> {
        let mut holds = Holds::default();
        router.clear(&mut holds);
        for term in entry.split_whitespace() {
            let (name, value) = term.split_once('=').expect("a term");
            router.take(name.as_bytes(), value.as_bytes(), &mut holds);
        }
        router.jails(&holds).into_iter().map(|jail| jail.0).collect()
    }

    #[test]
    fn or_of_and_of_or() {
        let router = Router::new(&[
            (JailId(2), matches("_COMM=sshd _COMM=login + _SYSTEMD_UNIT=ssh.service _UID=0")),
            (JailId(0), matches("_COMM=sshd")),
        ])
        .expect("good matches");
        for (entry, expected) in [
            ("_COMM=sshd", &[0, 2][..]),
            ("_COMM=login", &[2]),
            ("_COMM=sshdx", &[]),
            ("_SYSTEMD_UNIT=ssh.service", &[]),
            ("_SYSTEMD_UNIT=ssh.service _UID=0", &[2]),
            ("_SYSTEMD_UNIT=ssh.service _UID=00", &[]),
            ("", &[]),
            // Of a field that comes twice the first counts.
            ("_COMM=x _COMM=sshd", &[]),
            ("_COMM=sshd _COMM=x", &[0, 2]),
        ] {
            assert_eq!(routed(&router, entry), expected, "{entry}");
        }
        assert_eq!(router.wanted().map(<[_]>::len), Some(3));
    }

    #[test]
    fn no_match_is_every_entry() {
        let everything = (JailId(1), JournalMatch::default());
        let router = Router::new(&[(JailId(0), matches("_COMM=sshd")), everything]).expect("good");
        assert!(router.wanted().is_none());
        assert_eq!(routed(&router, "_COMM=cron"), [1]);
        assert_eq!(routed(&router, "_COMM=sshd"), [0, 1]);
    }

    #[test]
    fn what_is_no_field_is_refused_by_name() {
        for text in ["_comm=sshd", "1A=x", "=x", "A-B=x"] {
            let error = Router::new(&[(JailId(0), matches(text))]).expect_err(text);
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
