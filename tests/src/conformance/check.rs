//! One check: what a filter gives for a line, beside what the corpus wants.

use guard::core::addr::Prefix;
use guard::core::entry::{Dating, Entry};
use guard::core::failure::Attempt;
use guard::core::filter::{Examination, Examined, Filter, Memory};
use guard::core::jail::JailId;
use guard::core::time::Timestamp;
use jiff::civil::DateTime;
use serde_json::Value;

use super::corpus::{Line, Options};
use super::{NOW, ZONE};

/// A filter with options, and what it remembers of earlier lines.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) title: String,
    pub(super) options: Options,
    filter: Filter,
    memory: Memory,
    examination: Examination,
}

impl Instance {
    pub(super) fn new(title: String, options: Options, filter: Filter) -> Self {
        let memory = Memory::new(8_192);
        Self { title, options, filter, memory, examination: Examination::default() }
    }

    /// Tries a line.
    ///
    /// # Errors
    /// What was expected and what came instead.
    pub(super) fn check(&mut self, line: &Line) -> Result<(), (String, String)> {
        let is_journal = self.options.get("logtype").is_some_and(|logtype| logtype == "journal");
        let prefix = self.options.get("test.prefix-line").filter(|_| is_journal);
        let entry = Entry {
            time: Timestamp::from_seconds(NOW),
            dating: if is_journal { Dating::Known } else { Dating::InLine },
            line: format!("{}{}", prefix.map_or("", String::as_str), line.text),
            message_start: 0,
            daemon: None,
            jails: vec![JailId(0)],
        };
        let examined = self.filter.examine(&entry, &mut self.memory, &mut self.examination);
        let wanted = line.expected.get("match").and_then(Value::as_bool).unwrap_or(false);
        // The corpus takes a line that only helps another for none, here too where there is
        // no connection that the other could belong to.
        let says = |name: &str| examined.groups.get(name).is_some_and(|text| !text.is_empty());
        let helps = says("nofail") && !examined.groups.contains_key("mlfid");
        match (examined.finding.failure.as_ref().filter(|_| !helps), wanted) {
            (None, false) => Ok(()),
            (None, true) => {
                let why = match (examined.finding.expression, examined.finding.ignored_by) {
                    (_, Some(number)) => format!("ignored by ignoreregex {number}"),
                    (Some(number), None) => {
                        format!("no failure, though failregex {number} matches")
                    }
                    (None, None) => "no match".to_owned(),
                };
                Err(("a failure".to_owned(), why))
            }
            (Some(found), false) => Err((
                "nothing".to_owned(),
                format!(
                    "a failure by {} of failregex {:?}",
                    found.who, examined.finding.expression
                ),
            )),
            (Some(found), true) => compare(line, found, &examined),
        }
    }
}

/// Compares everything that the corpus says about a failure.
fn compare(line: &Line, found: &Attempt, examined: &Examined) -> Result<(), (String, String)> {
    for (name, wanted) in &line.expected {
        let group = examined.groups.get(name);
        let (same, got) = match (name.as_str(), wanted) {
            ("match" | "desc" | "constraint", _) => continue,
            ("time", Value::String(text)) => {
                let expected = time(text);
                (expected == Some(found.time), shown(found.time).to_string())
            }
            ("attempts", wanted) if group.is_none() => {
                let lines = examined.lines as u64;
                (wanted.as_u64() == Some(lines), lines.to_string())
            }
            ("users", Value::Array(users)) if group.is_none() => {
                let mut names: Vec<&str> = users.iter().filter_map(Value::as_str).collect();
                names.sort_unstable();
                let tried: Vec<&str> = examined.users.iter().map(String::as_str).collect();
                (names == tried && names.len() == users.len(), format!("{tried:?}"))
            }
            ("host", Value::String(host)) if group.is_none() => {
                let who = found.who.to_string();
                let address = |text: &str| text.parse::<Prefix>().ok();
                let same =
                    who == *host || (address(&who).is_some() && address(&who) == address(host));
                (same, who)
            }
            (_, Value::Null) => (group.is_none(), format!("{group:?}")),
            (_, Value::String(text)) => (group == Some(text), format!("{group:?}")),
            (_, other) => (group == Some(&other.to_string()), format!("{group:?}")),
        };
        if !same {
            return Err((format!("{name} = {wanted}"), format!("{name} = {got}")));
        }
    }
    Ok(())
}

/// A local time of the corpus, with or without a fraction.
fn time(text: &str) -> Option<Timestamp> {
    let civil = DateTime::strptime("%Y-%m-%dT%H:%M:%S%.f", text).ok()?;
    let zone = jiff::tz::TimeZone::posix(ZONE).ok()?;
    let instant = zone.to_ambiguous_timestamp(civil).compatible().ok()?;
    Some(Timestamp::from_micros(instant.as_microsecond()))
}

/// A time as the corpus writes it.
fn shown(time: Timestamp) -> String {
    let zone = jiff::tz::TimeZone::posix(ZONE).ok();
    let instant = jiff::Timestamp::from_microsecond(time.micros()).ok();
    match (zone, instant) {
        (Some(zone), Some(instant)) => zone.to_datetime(instant).to_string(),
        _ => time.micros().to_string(),
    }
}
