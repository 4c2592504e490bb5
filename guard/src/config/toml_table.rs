//! Reading a TOML table key by key, with a place for every problem.
//!
//! Input: a file and a reader that takes each key it knows into a slot. Output: filled
//! slots, and diagnostics for syntax, wrong values and keys that nobody took. Invariant:
//! a slot keeps its default when its value has a problem.

use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::diagnostic::{Checked, Diagnostic, Diagnostics, nearest};
use crate::config::text::SourceFile;
use crate::config::time;
use crate::core::time::Span;

/// A table that is being read.
pub(crate) struct Table<'a> {
    file: &'a Arc<SourceFile>,
    table: Option<&'a DeTable<'a>>,
    /// Its name; empty for the top.
    name: &'static str,
    known: Vec<&'static str>,
    /// Every key that was asked for, in this table and all others.
    asked: &'a mut Vec<Asked>,
    diagnostics: &'a mut Diagnostics,
}

/// A key that a reader knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The table in which it stands; empty for the top.
    pub(crate) table: &'static str,
    /// The key.
    pub(crate) key: &'static str,
    /// What may be written, such as `"true" or "false"`; empty where only its meaning
    /// says so.
    pub(crate) form: String,
}

/// A value that is being read.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a> {
    file: &'a Arc<SourceFile>,
    value: &'a Spanned<DeValue<'a>>,
    key: &'static str,
}

impl<'a> Table<'a> {
    /// Reads a file: `read` takes every key that it knows.
    pub(crate) fn read(
        file: &Arc<SourceFile>,
        diagnostics: &mut Diagnostics,
        read: impl FnOnce(&mut Table<'_>),
    ) {
        let (table, errors) = DeTable::parse_recoverable(file.text());
        for error in errors {
            let place = file.place(error.span().unwrap_or(0..0));
            diagnostics.push(
                Diagnostic::error(error.message().to_owned())
                    .in_place(place)
                    .help("the file is written in TOML, such as key = \"value\""),
            );
        }
        let mut asked = Vec::new();
        let mut top = Table {
            file,
            table: Some(table.get_ref()),
            name: "",
            known: Vec::new(),
            asked: &mut asked,
            diagnostics,
        };
        read(&mut top);
        top.refuse_the_rest();
    }

    /// The keys that `read` knows, in the order in which it asks for them; those of a
    /// table come before the table's own.
    pub(crate) fn keys(read: impl FnOnce(&mut Table<'_>)) -> Vec<Asked> {
        let file = SourceFile::new("", "");
        let mut diagnostics = Diagnostics::default();
        let mut asked = Vec::new();
        let mut top = Table {
            file: &file,
            table: None,
            name: "",
            known: Vec::new(),
            asked: &mut asked,
            diagnostics: &mut diagnostics,
        };
        read(&mut top);
        asked
    }

    /// Takes a key with a reader of its own.
    pub(crate) fn take(&mut self, key: &'static str, read: impl FnOnce(&Value<'_>) -> Checked<()>) {
        self.take_form(key, String::new, read);
    }

    /// As [`Table::take`], with what may be written.
    fn take_form(
        &mut self,
        key: &'static str,
        form: impl FnOnce() -> String,
        read: impl FnOnce(&Value<'_>) -> Checked<()>,
    ) {
        if !self.known.contains(&key) {
            self.known.push(key);
            // Only who asks for the keys, and has no table, wants to know.
            let form = if self.table.is_none() { form() } else { String::new() };
            self.asked.push(Asked { table: self.name, key, form });
        }
        let Some(value) = self.value(key) else { return };
        if let Err(diagnostic) = read(&value) {
            self.diagnostics.push(*diagnostic);
        }
    }

    fn value(&self, key: &'static str) -> Option<Value<'a>> {
        let value = self.table?.get(key)?;
        Some(Value { file: self.file, value, key })
    }

    /// The string that a key has, if it is one.
    pub(crate) fn string(&self, key: &'static str) -> Option<&'a str> {
        self.value(key)?.value.get_ref().as_str()
    }

    /// Takes one of several words.
    pub(crate) fn word<T: Copy>(&mut self, key: &'static str, slot: &mut T, words: &[(&str, T)]) {
        let all = || {
            let all: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            format!("one of {}", all.join(", "))
        };
        self.take_form(key, all, |value| {
            let all = format!("write {}", all());
            let Some(word) = value.string() else {
                return Err(value.wrong("is no string").help(all).into());
            };
            if let Some((_, found)) = words.iter().find(|(known, _)| *known == word) {
                *slot = *found;
                return Ok(());
            }
            let near = nearest(word, words.iter().map(|(word, _)| *word));
            let near = near.map(|near| format!("did you mean \"{near}\"?"));
            Err(value.wrong("is unknown").help(all).maybe_help(near).into())
        });
    }

    /// Takes `true` or `false`.
    pub(crate) fn boolean(&mut self, key: &'static str, slot: &mut bool) {
        self.take_form(
            key,
            || "true or false".to_owned(),
            |value| {
                let found = value.value.get_ref().as_bool();
                *slot = found
                    .ok_or_else(|| value.wrong("is no boolean").help("write true or false"))?;
                Ok(())
            },
        );
    }

    /// Takes a whole number within bounds.
    pub(crate) fn number(&mut self, key: &'static str, slot: &mut u32, range: RangeInclusive<u32>) {
        let form = || format!("a whole number from {} to {}", range.start(), range.end());
        self.take_form(key, form, |value| {
            let help = format!("write {}", form());
            let Some(number) = value.value.get_ref().as_integer() else {
                return Err(value.wrong("is no whole number").help(help).into());
            };
            let digits = number.as_str().replace('_', "");
            match u32::from_str_radix(&digits, number.radix()) {
                Ok(number) if range.contains(&number) => *slot = number,
                _ => return Err(value.wrong("is out of range").help(help).into()),
            }
            Ok(())
        });
    }

    /// Takes a length of time as jails write it, such as `"1d"`.
    pub(crate) fn span(&mut self, key: &'static str, slot: &mut Span) {
        self.take_form(
            key,
            || "a length of time, such as \"36h\" or \"1d\"".to_owned(),
            |value| {
                let help = "write a length of time in quotes, such as \"36h\" or \"1d\"";
                let length = value.string().and_then(|text| time::span(text).ok());
                *slot = length.ok_or_else(|| value.wrong("is no length of time").help(help))?;
                Ok(())
            },
        );
    }

    /// Takes an absolute path.
    pub(crate) fn path(&mut self, key: &'static str, slot: &mut PathBuf) {
        self.take_form(
            key,
            || "an absolute path".to_owned(),
            |value| {
                let Some(path) = value.string() else {
                    return Err(value.wrong("is no string").help("write a path in quotes").into());
                };
                if !path.starts_with('/') || path.contains('\0') {
                    return Err(value.wrong("is no absolute path").help("begin it with /").into());
                }
                *slot = PathBuf::from(path);
                Ok(())
            },
        );
    }

    /// Takes an absolute path, or `"off"` for none.
    pub(crate) fn path_or_off(&mut self, key: &'static str, slot: &mut Option<PathBuf>) {
        if self.string(key) == Some("off") {
            *slot = None;
            return self.take(key, |_| Ok(()));
        }
        let mut path = PathBuf::new();
        self.path(key, &mut path);
        if !path.as_os_str().is_empty() {
            *slot = Some(path);
        }
    }

    /// Takes a table within the table.
    pub(crate) fn table(&mut self, key: &'static str, read: impl FnOnce(&mut Table<'_>)) {
        let value = self.value(key);
        let table = value.and_then(|value| value.value.get_ref().as_table());
        self.take(key, |value| match table {
            Some(_) => Ok(()),
            None => Err(value.wrong("is no table").help(format!("write [{key}]")).into()),
        });
        let diagnostics = &mut *self.diagnostics;
        let mut inner = Table {
            file: self.file,
            table,
            name: key,
            known: Vec::new(),
            asked: &mut *self.asked,
            diagnostics,
        };
        read(&mut inner);
        inner.refuse_the_rest();
    }

    fn refuse_the_rest(self) {
        let mut rest: Vec<_> = self
            .table
            .into_iter()
            .flat_map(DeTable::keys)
            .filter(|key| !self.known.contains(&key.get_ref().as_ref()))
            .collect();
        rest.sort_by_key(|key| key.span().start);
        for key in rest {
            let near = nearest(key.get_ref(), self.known.iter().copied());
            self.diagnostics.push(
                Diagnostic::error(format!("unknown key `{}`", key.get_ref()))
                    .in_place(self.file.place(key.span()))
                    .help(format!("the keys here are {}", self.known.join(", ")))
                    .maybe_help(near.map(|near| format!("did you mean `{near}`?"))),
            );
        }
    }
}

impl<'a> Value<'a> {
    /// The string that it is.
    pub(crate) fn string(&self) -> Option<&'a str> {
        self.value.get_ref().as_str()
    }

    /// The items of the list that it is.
    pub(crate) fn list(&self, expected: &str) -> Checked<Vec<Value<'a>>> {
        let list = self.value.get_ref().as_array();
        let list =
            list.ok_or_else(|| self.wrong("is no list").help(format!("write {expected}")))?;
        Ok(list.iter().map(|value| Value { value, ..*self }).collect())
    }

    /// As it stands in the file.
    pub(crate) fn written(&self) -> &'a str {
        let Range { start, end } = self.value.span();
        self.file.text().get(start..end).unwrap_or_default()
    }

    /// A problem with this value.
    pub(crate) fn error(&self, message: String) -> Diagnostic {
        Diagnostic::error(message).in_place(self.file.place(self.value.span()))
    }

    fn wrong(&self, what: &str) -> Diagnostic {
        self.error(format!("{} = {} {what}", self.key, self.written()))
    }
}
