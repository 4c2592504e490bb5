//! `%(name)s`: values made of other values.
//!
//! Input: [`Merged`] files and the section that a value is read for. Output: the value,
//! everything expanded, each character with its place. `%(name)s` looks in the section,
//! then in `[DEFAULT]`; `%(section/name)s` in another section, then in `[DEFAULT]`;
//! `%(known/name)s` is the value that a later one overrides; `%(__name__)s` is the
//! section's name; `%%` is `%`. Invariant: it ends, and its result is bounded.

use std::collections::BTreeMap;

use crate::config::diagnostic::{Checked, Diagnostic, nearest};
use crate::config::layers::{Merged, Section};
use crate::config::text::Text;

/// References within references; Python's limit is 10.
const DEEPEST: usize = 40;
/// References that one value may lead to, however short it becomes.
const MOST_REFERENCES: usize = 10_000;
/// Bytes of an expanded value.
const LONGEST: usize = 1 << 20;

/// Already expanded values by name.
pub(crate) type Values = BTreeMap<String, Text>;

/// No values.
pub(crate) static NOTHING: Values = Values::new();

/// Where names are looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    /// All files.
    pub(crate) merged: &'a Merged,
    /// The section that values are read for.
    pub(crate) section: &'a str,
    /// Values that count before those of the section.
    pub(crate) fixed: &'a Values,
    /// Values of `known/name` that count before the history of the section: in a jail,
    /// what its filter says.
    pub(crate) known: &'a Values,
}

/// One value among all that a key was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version<'a> {
    section: &'a str,
    key: &'a str,
    index: usize,
}

impl<'a> Scope<'a> {
    /// The value of a key, if it has one.
    pub(crate) fn value(&self, key: &str) -> Option<Checked<Text>> {
        if let Some(fixed) = self.fixed.get(key) {
            return Some(Ok(fixed.clone()));
        }
        self.own(key).map(|(version, raw)| {
            Expansion { scope: self, stack: vec![version], references: 0 }.expand(raw)
        })
    }

    /// The value of a key, empty if it has none.
    pub(crate) fn value_or_empty(&self, key: &str) -> Checked<Text> {
        self.value(key).unwrap_or_else(|| Ok(Text::default()))
    }

    /// A key as it stands where its value was given last.
    pub(crate) fn key(&self, key: &str) -> Option<&'a Text> {
        let sections = [self.merged.section(self.section), Some(&self.merged.defaults)];
        sections.into_iter().flatten().find_map(|section| Some(&section.keys.get(key)?.last()?.key))
    }

    /// The value that `name` or `known/name` or `section/name` means in a `<tag>`.
    pub(crate) fn tag_value(&self, name: &str) -> Option<Checked<Text>> {
        let Some((section, key)) = name.split_once('/') else { return self.value(name) };
        match section {
            "known" => {
                let (version, raw) = self.known_version(key, None).or_else(|| self.own(key))?;
                Some(Expansion { scope: self, stack: vec![version], references: 0 }.expand(raw))
            }
            _ => {
                let other = find_section(self.merged, section)?;
                Scope { section: other, fixed: &NOTHING, ..*self }.value(key)
            }
        }
    }

    /// Whether a section or `[DEFAULT]` gives a key a value.
    fn own(&self, key: &str) -> Option<(Version<'a>, &'a Text)> {
        let sections = [self.merged.section(self.section), Some(&self.merged.defaults)];
        sections
            .into_iter()
            .zip([self.section, "DEFAULT"])
            .find_map(|(section, name)| last_version(name, section?, key))
    }

    /// What `known/key` means for a reader in `from`: the value that it overrides, or
    /// that the last value of the section overrides, or that of `[DEFAULT]`.
    fn known_version(
        &self,
        key: &str,
        from: Option<Version<'a>>,
    ) -> Option<(Version<'a>, &'a Text)> {
        let earlier = |section: &'a str| {
            let (key, settings) = self.merged.section(section)?.keys.get_key_value(key)?;
            let until = match from {
                Some(from) if from.section == section && from.key == key.as_str() => from.index,
                _ => settings.len() - 1,
            };
            let index = until.checked_sub(1)?;
            Some((Version { section, key, index }, &settings[index].value))
        };
        match from {
            Some(from) if from.section == "DEFAULT" && from.key == key => earlier("DEFAULT"),
            _ => earlier(self.section)
                .or_else(|| last_version("DEFAULT", &self.merged.defaults, key)),
        }
    }
}

fn last_version<'a>(
    name: &'a str,
    section: &'a Section,
    key: &str,
) -> Option<(Version<'a>, &'a Text)> {
    let (key, settings) = section.keys.get_key_value(key)?;
    let index = settings.len() - 1;
    Some((Version { section: name, key, index }, &settings[index].value))
}

/// A section by its name, in any case where no other has exactly this name.
fn find_section<'a>(merged: &'a Merged, name: &str) -> Option<&'a str> {
    if name.eq_ignore_ascii_case("DEFAULT") {
        return Some("DEFAULT");
    }
    let names = || merged.sections.iter().map(|section| section.name.as_str());
    names().find(|known| *known == name).or_else(|| {
        let mut alike = names().filter(|known| known.eq_ignore_ascii_case(name));
        alike.next().filter(|_| alike.next().is_none())
    })
}

/// Expands one value; the stack holds what is being expanded.
struct Expansion<'s, 'a> {
    scope: &'s Scope<'a>,
    stack: Vec<Version<'a>>,
    references: usize,
}

impl Expansion<'_, '_> {
    fn expand(&mut self, raw: &Text) -> Checked<Text> {
        let mut out = Text::default();
        let text = raw.as_str();
        let mut at = 0;
        while let Some(percent) = text[at..].find('%').map(|offset| at + offset) {
            out.push_part(raw, at..percent);
            let rest = &text[percent..];
            if rest.starts_with("%%") {
                out.push_part(raw, percent..percent + 1);
                at = percent + 2;
                continue;
            }
            let end = rest.find(')').filter(|end| rest[*end..].starts_with(")s"));
            let Some(end) = end.filter(|end| rest.starts_with("%(") && *end > 2) else {
                let length = rest.find(char::is_whitespace).unwrap_or(rest.len());
                return Err(Diagnostic::error("`%` begins no reference")
                    .at(&raw.part(percent..percent + length))
                    .help("write %(name)s to insert a value, or %% for the character itself")
                    .into());
            };
            let reference = raw.part(percent..percent + end + 2);
            let name = rest[2..end].to_lowercase();
            out.push(&self.resolve(&rest[2..end], &name, &reference)?);
            if out.len() > LONGEST {
                return Err(refused(&reference, "makes a value of more than a mebibyte"));
            }
            at = percent + end + 2;
        }
        out.push_part(raw, at..text.len());
        Ok(out)
    }

    fn resolve(&mut self, written: &str, name: &str, reference: &Text) -> Checked<Text> {
        let scope = self.scope;
        self.references += 1;
        if self.references > MOST_REFERENCES {
            return Err(refused(reference, "is one reference too many"));
        }
        if let Some(fixed) = scope.fixed.get(name) {
            return Ok(fixed.clone());
        }
        if name == "__name__" {
            return Ok(Text::generated(scope.section));
        }
        let found = match (written.split_once('/'), name.split_once('/')) {
            (Some((section, _)), Some((lower, key))) => {
                if lower == "known" {
                    if let Some(known) = scope.known.get(key) {
                        return Ok(known.clone());
                    }
                    scope.known_version(key, self.stack.last().copied())
                } else {
                    let other = find_section(scope.merged, section);
                    other
                        .and_then(|other| last_version(other, scope.merged.section(other)?, key))
                        .or_else(|| last_version("DEFAULT", &scope.merged.defaults, key))
                }
            }
            _ => scope.own(name),
        };
        let Some((version, raw)) = found else {
            let names =
                scope.merged.section(scope.section).into_iter().chain([&scope.merged.defaults]);
            let near =
                nearest(name, names.flat_map(|section| section.keys.keys().map(String::as_str)));
            return Err(Diagnostic::error(format!("`{written}` has no value"))
                .at(reference)
                .help(format!("define it in this section or in [DEFAULT], or write %%({written})s to mean the characters"))
                .maybe_help(near.map(|near| format!("did you mean `%({near})s`?")))
                .into());
        };
        if self.stack.contains(&version) {
            return Err(refused(reference, "refers to itself"));
        }
        if self.stack.len() >= DEEPEST {
            return Err(refused(reference, "refers to values that refer to values, too deep"));
        }
        self.stack.push(version);
        let expanded = self.expand(raw);
        self.stack.pop();
        expanded
    }
}

fn refused(reference: &Text, why: &str) -> Box<Diagnostic> {
    Diagnostic::error(format!("`{reference}` {why}"))
        .at(reference)
        .help("give one of the values involved without a reference")
        .into()
}

/// Whether anything in the files refers to a key, as `%(key)s` or `<key>`.
pub(crate) fn is_referenced(merged: &Merged, key: &str) -> bool {
    let sections = merged.sections.iter().chain([&merged.defaults]);
    sections.flat_map(|section| section.keys.values().flatten()).any(|setting| {
        let text = setting.value.as_str().to_lowercase();
        ["%(", "/"].iter().any(|before| text.contains(&format!("{before}{key})s")))
            || ["<", "/"].iter().any(|before| text.contains(&format!("{before}{key}>")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::diagnostic::Diagnostics;
    use crate::config::layers::Tree;

    /// Reads `key` of `[a]` from files by name.
    fn value(files: &[(&str, &str)], key: &str) -> Checked<String> {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).expect("written");
        }
        let tree =
            Tree { vendor: directory.path().join("none"), directory: directory.path().into() };
        let merged = tree.read("x", &mut Diagnostics::default());
        let fixed = Values::from([("fixed".to_owned(), Text::generated("f%(a)s"))]);
        let known = Values::from([("filtered".to_owned(), Text::generated("k%k"))]);
        let scope = Scope { merged: &merged, section: "a", fixed: &fixed, known: &known };
        scope.value(key).expect("a key").map(|text| text.to_string())
    }

    #[test]
    fn references() {
        let file = "[DEFAULT]\nx = d\ny = %(x)s\nthere = %(in_b)s\n[a]\nx = s\n\
                    in_b = here\n[b]\nin_b = %(x)s!\n[a]\n";
        for (written, expected) in [
            ("%(x)s", "s"),
            ("%(y)s", "s"),
            ("%(default/x)s %(DEFAULT/y)s", "d s"),
            ("%(b/in_b)s", "s!"),
            ("%(b/y)s", "s"),
            ("%(known/x)s", "d"),
            ("%(known/filtered)s", "k%k"),
            ("100%% %(__name__)s", "100% a"),
            ("%(X)s", "s"),
            ("%(fixed)s", "f%(a)s"),
            ("%(there)s", "here"),
        ] {
            let found = value(&[("x.conf", &format!("{file}key = {written}\n"))], "key");
            assert_eq!(found.expect(written), expected, "{written}");
        }
    }

    #[test]
    fn known_is_the_value_before_in_every_layer() {
        let files = [
            ("x.conf", "[DEFAULT]\nn = 0\n[a]\nkey = 1 %(known/n)s\n"),
            ("x.local", "[DEFAULT]\nn = %(known/n)s5\n[a]\nkey = 2 %(known/key)s\n"),
        ];
        assert_eq!(value(&files, "key").expect("a value"), "2 1 05");
    }

    #[test]
    fn what_has_no_value_is_named_where_it_stands() {
        for (written, told) in [
            ("%(nope)s", "`nope` has no value"),
            ("%(c/x)s", "`c/x` has no value"),
            ("50% off", "`%` begins no reference"),
            ("%(x)d", "`%` begins no reference"),
            ("%()s", "`%` begins no reference"),
            ("%(x", "`%` begins no reference"),
            ("%(key)s", "`%(key)s` refers to itself"),
            ("%(p)s", "`%(p)s` refers to itself"),
            ("%(known/key)s", "`known/key` has no value"),
        ] {
            let file = format!("[a]\nkey = {written}\np = %(q)s\nq = %(p)s\n");
            let error = value(&[("x.conf", &file)], "key").expect_err(written);
            assert_eq!(error.message, told);
            assert!(error.place.is_some() && error.help.is_some());
        }
        let error =
            value(&[("x.conf", "[a]\nports = 1\nkey = %(port)s\n")], "key").expect_err("none");
        assert_eq!(error.help.as_deref(), Some("did you mean `%(ports)s`?"));
    }

    #[test]
    fn what_grows_without_end_is_refused() {
        let doubling = |last: &str| {
            let mut file = format!("[a]\nk0 = {last}\n");
            for i in 1..30 {
                file += &format!("k{i} = %(k{0})s%(k{0})s\n", i - 1);
            }
            value(&[("x.conf", &file)], "k29").expect_err("refused").message
        };
        assert!(doubling("").ends_with("one reference too many"));
        assert!(doubling(&"x".repeat(4096)).ends_with("more than a mebibyte"));
    }
}
