//! What is told of a ban: the same as JSON and as an environment.
//!
//! Nothing of it is written by a client but its address.

use serde_json::{Map, Value};

use crate::core::effects::Report;
use crate::core::jail::JailName;
use crate::core::reason::Reason;
use crate::core::time::Timestamp;

/// What is told.
pub(super) struct Facts<'a> {
    /// The jail.
    pub(super) jail: &'a JailName,
    /// Whether a ban began; else one ended.
    pub(super) is_ban: bool,
    /// As one line of JSON.
    pub(super) json: String,
    /// As variables, `GUARD_` and the name of the fact.
    pub(super) environment: Vec<(String, String)>,
}

/// The facts of a report, if it is about a ban's beginning or end.
pub(super) fn of<'a>(
    report: &Report,
    names: &'a [JailName],
    host: &str,
    now: Timestamp,
) -> Option<Facts<'a>> {
    let (jail, source, ban) = match report {
        Report::Banned(ban) => (ban.jail, ban.source, Some(ban)),
        Report::Unbanned { jail, source } => (*jail, *source, None),
        _ => return None,
    };
    let jail = names.get(jail.index())?;
    let mut facts = Map::new();
    let mut fact = |name: &str, value: Value| facts.insert(name.to_owned(), value);
    fact("event", if ban.is_some() { "ban" } else { "unban" }.into());
    fact("host", host.into());
    fact("jail", jail.as_str().into());
    fact("address", source.to_string().into());
    fact("time", utc(now).into());
    if let Some(ban) = ban {
        fact("since", utc(ban.since).into());
        fact("until", ban.until.map_or(Value::Null, |until| utc(until).into()));
        fact("reason", ban.reason.to_string().into());
        if let Reason::Failures { count, .. } = ban.reason {
            fact("failures", count.into());
        }
    }
    let environment = facts.iter().map(|(name, value)| {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        (format!("GUARD_{}", name.to_uppercase()), value)
    });
    let environment = environment.collect();
    Some(Facts { jail, is_ban: ban.is_some(), environment, json: Value::Object(facts).to_string() })
}

/// As RFC 3339 has it.
fn utc(time: Timestamp) -> String {
    match jiff::Timestamp::from_second(time.seconds()) {
        Ok(time) => time.to_string(),
        Err(_) => format!("@{}", time.seconds()),
    }
}
