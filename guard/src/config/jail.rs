//! From the sections of the jail files to jails that can run.
//!
//! Input: [`Merged`] jail files. Output: one [`Jail`] for each enabled section, in the
//! order of the sections. A jail with an error is left out, and every error of it is
//! told, with the place of the value; the others start.

use crate::config::action::ban_ports;
use crate::config::allow::allowed;
use crate::config::diagnostic::{Checked, Diagnostic, Diagnostics};
use crate::config::escalation::escalation;
use crate::config::filter::FilterSource;
use crate::config::ignore_command::ignore_command;
use crate::config::interpolate::{NOTHING, Scope};
use crate::config::layers::{Merged, Section, Tree};
use crate::config::log_source::log_source;
use crate::config::ports::Services;
use crate::config::resolve::{Resolved, taken};
use crate::config::text::Text;
use crate::config::written::WrittenJail;
use crate::config::{options, time};
use crate::core::filter::{Filter, FilterText};
use crate::core::jail::{Jail, JailName};
use crate::core::time::Span;

/// What Fail2Ban's server takes where nothing is written.
const MAX_RETRY: u32 = 3;
const FIND_TIME: Span = Span::from_seconds(600);
const BAN_TIME: Span = Span::from_seconds(600);

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
    /// Log files that bans are written to.
    pub(crate) own_logs: &'a [String],
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
        let name = section.name.as_str();
        let scope = Scope { merged: self.merged, section: name, fixed: &NOTHING, known: &NOTHING };
        if !self.enabled(&scope, section)? {
            return None;
        }
        let mut found = Diagnostics::default();
        let jail = self.enabled_jail(section, &mut found);
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
        let mut options = Resolved::read(self.tree, self.merged, section, found)?;
        options::warn(&options.scope(), section, found);
        let source = log_source(&mut options, self.own_logs, found);
        let ports = ban_ports(&options.scope(), self.services, found);
        let max_retry = max_retry(options.option("maxretry"), found);
        let find_time = find_time(options.option("findtime"), found);
        let ban_time = ban_time(options.option("bantime"), found);
        let ipv6_prefix = ipv6_prefix(&options.scope(), found);
        let nothing = Text::default();
        let allowed = allowed(options.option("ignoreip").unwrap_or(&nothing), found);
        let escalation = escalation(&options, found);
        let ignore_command = ignore_command(&options, found);
        let timezone = options.option("logtimezone").unwrap_or(&nothing);
        let filter = options.filter.as_ref().and_then(|source| {
            let text = source.text(timezone, found);
            compiled(source, &text, self.compile, found)
        });
        let allowed = allowed?;
        let written = WrittenJail::new(section, &options);
        let jail = Jail {
            name: name?,
            ports: ports?,
            max_retry: max_retry?,
            find_time: find_time?,
            ban_time: ban_time?,
            ipv6_prefix: ipv6_prefix?,
            allow: allowed.list,
            filter: filter?,
            source: source?,
            escalation: escalation?,
            ignore_command: ignore_command?,
            allow_elsewhere: allowed.elsewhere,
        };
        Some((jail, written))
    }
}

fn max_retry(value: Option<&Text>, found: &mut Diagnostics) -> Option<u32> {
    let Some(value) = value else { return Some(MAX_RETRY) };
    match value.as_str().trim().parse() {
        Ok(count) if count > 0 => Some(count),
        _ => {
            found.push(
                Diagnostic::error(format!("maxretry = `{value}` is no number of failures"))
                    .at(value)
                    .help("write a whole number from 1, such as `maxretry = 5`"),
            );
            None
        }
    }
}

fn find_time(value: Option<&Text>, found: &mut Diagnostics) -> Option<Span> {
    let Some(value) = value else { return Some(FIND_TIME) };
    let length = taken(time::length("findtime", value), found)?;
    if let Some(span) = length.filter(|span| *span > Span::ZERO) {
        return Some(span);
    }
    found.push(
        Diagnostic::error(format!("findtime = `{value}` is no time in which failures count"))
            .at(value)
            .help("write a length of more than nothing, such as `findtime = 10m`"),
    );
    None
}

/// `Some(None)` is for ever.
fn ban_time(value: Option<&Text>, found: &mut Diagnostics) -> Option<Option<Span>> {
    let Some(value) = value else { return Some(Some(BAN_TIME)) };
    let length = taken(time::length("bantime", value), found)?;
    if length == Some(Span::ZERO) {
        found.push(
            Diagnostic::error(format!("bantime = `{value}` bans for no time at all"))
                .at(value)
                .help("write a length such as `bantime = 1h`, or -1 for ever"),
        );
        return None;
    }
    Some(length)
}

/// Leading bits of IPv6 addresses that are counted and banned as one.
fn ipv6_prefix(scope: &Scope<'_>, found: &mut Diagnostics) -> Option<u8> {
    let Some(value) = scope.value("ipv6prefix") else { return Some(Jail::IPV6_PREFIX) };
    let value = taken(value, found)?;
    let text = value.as_str().trim();
    match text.strip_prefix('/').unwrap_or(text).parse() {
        Ok(length @ 1..=128) => Some(length),
        _ if text.is_empty() => Some(Jail::IPV6_PREFIX),
        _ => {
            found.push(
                Diagnostic::error(format!("ipv6prefix = `{value}` is no length of a prefix"))
                    .at(&value)
                    .help("write 64 to count and ban networks of that length, 128 for single addresses"),
            );
            None
        }
    }
}

fn compiled(
    source: &FilterSource,
    text: &FilterText,
    compile: &dyn Fn(&FilterText) -> Result<Filter, Vec<Complaint>>,
    found: &mut Diagnostics,
) -> Option<Filter> {
    let complaints = match compile(text) {
        Ok(filter) => return Some(filter),
        Err(complaints) => complaints,
    };
    for (expression, message) in complaints {
        let what = format!("filter `{}` does not compile: {message}", source.name);
        found.push(if expression.is_empty() {
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
