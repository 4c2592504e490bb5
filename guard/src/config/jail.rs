//! From the sections of the jail files to jails that can run.
//!
//! Input: [`Merged`] jail files. Output: one [`Jail`] for each enabled section, in the
//! order of the sections. A jail with an error is left out, and every error of it is
//! told, with the place of the value; the others start.

use crate::config::action::ban_ports;
use crate::config::allow::allow_list;
use crate::config::diagnostic::{Checked, Diagnostic, Diagnostics, nearest};
use crate::config::filter::{FilterFiles, FilterSource};
use crate::config::interpolate::{Scope, Values};
use crate::config::layers::{Merged, Section, Tree};
use crate::config::options;
use crate::config::ports::Services;
use crate::config::text::Text;
use crate::config::written::WrittenJail;
use crate::config::{journalmatch, option_list, time};
use crate::core::filter::{Filter, FilterText};
use crate::core::jail::{Jail, JailName, JournalMatch, LogSource};
use crate::core::time::Span;

/// What the compiler says about one expression: the expression as it was given, and
/// what is wrong with it.
pub(crate) type Complaint = (String, String);

/// What every jail is built with.
pub(crate) struct Builder<'a> {
    /// Where filters lie.
    pub(crate) tree: &'a Tree,
    /// The jail files.
    pub(crate) merged: &'a Merged,
    /// Port names.
    pub(crate) services: &'a Services,
    /// Compiles a filter.
    pub(crate) compile: &'a dyn Fn(&FilterText) -> Result<Filter, Vec<Complaint>>,
    /// Collects what is wrong.
    pub(crate) diagnostics: Diagnostics,
    /// Where the sound jails stand.
    pub(crate) written: Vec<WrittenJail>,
}

impl Builder<'_> {
    /// Every jail that is enabled and sound.
    pub(crate) fn jails(&mut self) -> Vec<Jail> {
        let merged = self.merged;
        merged.sections.iter().filter_map(|section| self.jail(section)).collect()
    }

    /// One jail; nothing if it is not enabled, or if an error is told.
    fn jail(&mut self, section: &Section) -> Option<Jail> {
        let nothing = Values::new();
        let name = section.name.as_str();
        let scope = Scope { merged: self.merged, section: name, fixed: &nothing, known: &nothing };
        if !self.enabled(&scope, section)? {
            return None;
        }
        let mut found = Diagnostics::default();
        let jail = self.enabled_jail(section, scope, &mut found);
        let jail = jail.filter(|_| !found.has_errors());
        let jail = jail.map(|(jail, written)| {
            self.written.push(written);
            jail
        });
        let of_jail = |diagnostic: Diagnostic| diagnostic.in_jail(name);
        self.diagnostics.extend(found.0.into_iter().map(of_jail));
        jail
    }

    fn enabled(&mut self, scope: &Scope<'_>, section: &Section) -> Option<bool> {
        let value = self.told(scope.value_or_empty("enabled"), section)?;
        let enabled = options::boolean("enabled", &value);
        // Left out or not: somebody should look at it.
        self.told(enabled, section)
    }

    fn told<T>(&mut self, checked: Checked<T>, section: &Section) -> Option<T> {
        checked
            .map_err(|diagnostic| self.diagnostics.push(diagnostic.in_jail(section.name.as_str())))
            .ok()
    }

    fn enabled_jail(
        &self,
        section: &Section,
        scope: Scope<'_>,
        found: &mut Diagnostics,
    ) -> Option<(Jail, WrittenJail)> {
        let name = JailName::new(section.name.as_str())
            .map_err(|error| {
                let problem = Diagnostic::error(error.to_string()).at(&section.name);
                found.push(problem.help("rename the section"));
            })
            .ok();
        if section.broken || self.merged.defaults.broken || self.merged.broken {
            found.push(
                Diagnostic::error("left out, because files that it is made of have errors")
                    .at(&section.name)
                    .help("mend what is named above"),
            );
            return None;
        }
        // The filter comes first: the jail may refer to what it says.
        let files = self.filter_files(&scope, found)?;
        let first = options::values(&scope, &["enabled", "backend", "filter"], found);
        let known = files.known(&first);
        let scope = Scope { known: &known, ..scope };
        options::warn(&scope, section, found);

        let given = options::values(&scope, &options::FOR_FILTERS, found);
        let source = taken(files.resolve(&given), found);
        let mut jail = Parameters { scope: &scope, found };
        jail.backend();
        let ports = ban_ports(&scope, self.services, jail.found);
        let max_retry = jail.max_retry();
        let find_time = jail.find_time();
        let ban_time = jail.ban_time();
        let allow = allow_list(&scope, jail.found);
        let source = source?;
        let journal_match = jail.journal_match(&source);
        let filter = jail.filter(&source, self.compile);
        let written = WrittenJail::new(section, &scope, &source);
        let jail = Jail {
            name: name?,
            ports: ports?,
            max_retry: max_retry?,
            find_time: find_time?,
            ban_time: ban_time?,
            allow: allow?,
            filter: filter?,
            source: LogSource::Journal(journal_match?),
            escalation: None,
            ignore_command: None,
            allow_elsewhere: Vec::new(),
        };
        Some((jail, written))
    }

    fn filter_files(&self, scope: &Scope<'_>, found: &mut Diagnostics) -> Option<FilterFiles> {
        let value = taken(scope.value_or_empty("filter"), found)?;
        if value.is_blank() {
            found.push(
                Diagnostic::error("the jail is enabled but has no filter")
                    .at(scope.merged.section(scope.section).map_or(&value, |s| &s.name))
                    .help("name one with `filter = NAME`"),
            );
            return None;
        }
        let named = taken(option_list::parse_one(&value), found)?;
        taken(FilterFiles::read(self.tree, &named, found), found)
    }
}

/// The value, or else its problem goes to the others.
pub(crate) fn taken<T>(checked: Checked<T>, found: &mut Diagnostics) -> Option<T> {
    checked.map_err(|diagnostic| found.push(*diagnostic)).ok()
}

/// Reads the parameters of one jail.
struct Parameters<'a, 'f> {
    scope: &'a Scope<'a>,
    found: &'f mut Diagnostics,
}

impl Parameters<'_, '_> {
    /// A value; nothing if its problem is told.
    fn value(&mut self, key: &str) -> Option<Text> {
        taken(self.scope.value_or_empty(key), self.found)
    }

    /// Only the journal is read so far.
    fn backend(&mut self) {
        let (Some(value), Some(log_path)) = (self.value("backend"), self.value("logpath")) else {
            return;
        };
        let Some(backend) = taken(option_list::parse_one(&value), self.found) else { return };
        let name = backend.name.as_str();
        match name {
            "systemd" => {
                for (option, value) in &backend.options {
                    self.found.push(
                        Diagnostic::warning(format!("backend option `{option}` has no effect yet"))
                            .at(value)
                            .help("the system's journal is read"),
                    );
                }
            }
            "auto" if log_path.is_blank() => {}
            "auto" | "pyinotify" | "gamin" | "polling" => self.found.push(
                Diagnostic::error(format!(
                    "backend `{name}` reads log files, which guard does not yet"
                ))
                .at(if log_path.is_blank() { &value } else { &log_path })
                .help("set `backend = systemd` if the daemon logs to the journal"),
            ),
            _ => {
                let near = nearest(name, ["systemd", "auto", "pyinotify", "polling"]);
                let near = near.map(|near| format!("did you mean `{near}`?"));
                self.found.push(
                    Diagnostic::error(format!("unknown backend `{name}`"))
                        .at(&backend.name)
                        .help("write `backend = systemd`")
                        .maybe_help(near),
                );
            }
        }
    }

    fn max_retry(&mut self) -> Option<u32> {
        let value = self.value("maxretry")?;
        match value.as_str().trim().parse() {
            Ok(count) if count > 0 => Some(count),
            _ => {
                self.found.push(
                    Diagnostic::error(format!("maxretry = `{value}` is no number of failures"))
                        .at(&value)
                        .help("write a whole number from 1, such as `maxretry = 5`"),
                );
                None
            }
        }
    }

    fn find_time(&mut self) -> Option<Span> {
        let value = self.value("findtime")?;
        let length = taken(time::length("findtime", &value), self.found)?;
        if let Some(span) = length.filter(|span| *span > Span::ZERO) {
            return Some(span);
        }
        self.found.push(
            Diagnostic::error(format!("findtime = `{value}` is no time in which failures count"))
                .at(&value)
                .help("write a length of more than nothing, such as `findtime = 10m`"),
        );
        None
    }

    fn ban_time(&mut self) -> Option<Option<Span>> {
        let value = self.value("bantime")?;
        let length = taken(time::length("bantime", &value), self.found)?;
        if length == Some(Span::ZERO) {
            self.found.push(
                Diagnostic::error(format!("bantime = `{value}` bans for no time at all"))
                    .at(&value)
                    .help("write a length such as `bantime = 1h`, or -1 for ever"),
            );
            return None;
        }
        Some(length)
    }

    fn journal_match(&mut self, source: &FilterSource) -> Option<JournalMatch> {
        if source.journalmatch.is_blank() {
            self.found.push(
                Diagnostic::warning(format!(
                    "filter `{}` has no journalmatch: every entry of the journal is matched",
                    source.name
                ))
                .at(&source.name)
                .help("name the unit: `journalmatch = _SYSTEMD_UNIT=NAME.service`"),
            );
        }
        taken(journalmatch::parse(&source.journalmatch), self.found)
    }

    fn filter(
        &mut self,
        source: &FilterSource,
        compile: &dyn Fn(&FilterText) -> Result<Filter, Vec<Complaint>>,
    ) -> Option<Filter> {
        if !matches!(source.maxlines.as_str().trim(), "" | "1") {
            self.found.push(
                Diagnostic::warning("`maxlines` has no effect yet: each line is matched alone")
                    .at(&source.maxlines)
                    .help("expressions that span lines do not match"),
            );
        }
        let complaints = match compile(&source.text()) {
            Ok(filter) => return Some(filter),
            Err(complaints) => complaints,
        };
        for (expression, message) in complaints {
            let what = format!("filter `{}` does not compile: {message}", source.name);
            self.found.push(if expression.is_empty() {
                // About the filter as a whole; its expressions are where to look.
                Diagnostic::error(what)
                    .at(source.failregex.first().unwrap_or(&source.name))
                    .help("each expression, or the prefregex, says with <HOST> where it is")
            } else {
                Diagnostic::error(what)
                    .at(source.find(&expression).unwrap_or(&source.name))
                    .help(format!("the whole expression is: {expression}"))
            });
        }
        None
    }
}
