//! What `get JAIL …` tells of a jail, and what `set JAIL …` can change of it.

use crate::compat::value::{Fault, Value};
use crate::config;
use crate::control::protocol::JailFacts;
use crate::core::addr::Prefix;
use crate::core::adjustment::Adjustment;
use crate::core::time::Span;

/// The value of one of a jail's properties.
///
/// # Errors
/// When there is no such property, or guard has none like it.
pub(crate) fn property(jail: &JailFacts, name: &str, words: &[String]) -> Result<Value, Fault> {
    let option = |name: &str| jail.options.get(name).map(String::as_str);
    let text = |name: &str, otherwise: &str| Value::text(option(name).unwrap_or(otherwise));
    let lines = |name: &str| {
        let lines = option(name).unwrap_or_default().lines().filter(|line| !line.is_empty());
        Value::texts(lines)
    };
    Ok(match name {
        "bantime" => Value::Number(jail.ban_time.map_or(-1, Span::seconds)),
        "findtime" => Value::Number(jail.find_time.seconds()),
        "maxretry" => Value::Number(jail.max_retry.into()),
        "maxlines" => number(option("maxlines"), 1),
        // None of the lines is kept.
        "maxmatches" => Value::Number(0),
        "ignoreip" => Value::texts(jail.ignored.iter().map(String::as_str)),
        // Not to be changed: nobody bans this host's own addresses.
        "ignoreself" => Value::Boolean(true),
        "ignorecommand" => match option(name) {
            None | Some("") => Value::Boolean(false),
            Some(command) => Value::text(command),
        },
        "ignorecache" => option(name).map_or(Value::Nothing, Value::text),
        "logpath" => Value::texts(jail.files.iter().flatten().map(String::as_str)),
        "logencoding" => match option(name) {
            None | Some("auto" | "") => Value::text("UTF-8"),
            Some(encoding) => Value::text(encoding),
        },
        "journalmatch" => {
            let words = |words: &Vec<String>| Value::texts(words.iter().map(String::as_str));
            Value::List(jail.journal_matches.iter().map(words).collect())
        }
        "prefregex" => text(name, ""),
        "failregex" | "ignoreregex" => lines(name),
        "usedns" => text(name, "warn"),
        "logtimezone" => option(name).map_or(Value::Nothing, Value::text),
        "datepattern" => match (option(name), &jail.files) {
            (Some(pattern), _) => Value::Tuple(vec![Value::text(pattern), Value::text(pattern)]),
            (None, Some(_)) => Value::Tuple(vec![Value::Nothing, Value::text("Default Detectors")]),
            (None, None) => Value::Nothing,
        },
        "actions" => Value::texts(jail.actions.iter().map(String::as_str)),
        "action" | "actionproperties" | "actionmethods" => {
            let action = words.first().ok_or_else(Fault::too_short)?;
            return Err(Fault::other(format!(
                "guard bans by itself: action '{action}' is not run and has no properties"
            )));
        }
        _ => match name.strip_prefix("bantime.") {
            Some("increment") => {
                let on = |value: &str| {
                    let value = value.to_ascii_lowercase();
                    Value::Boolean(matches!(value.as_str(), "1" | "on" | "true" | "yes"))
                };
                option(name).map_or(Value::Nothing, on)
            }
            Some("maxtime" | "rndtime") => {
                let length = option(name).and_then(|text| config::ban_time(text).ok());
                let seconds = |length: Option<Span>| length.map_or(-1, Span::seconds);
                length.map_or(Value::Nothing, |length| Value::Number(seconds(length)))
            }
            Some(_) => option(name).map_or(Value::Nothing, Value::text),
            None => {
                return Err(Fault::other("Invalid command (no get action or not yet implemented)"));
            }
        },
    })
}

fn number(text: Option<&str>, otherwise: i64) -> Value {
    Value::Number(text.and_then(|text| text.trim().parse().ok()).unwrap_or(otherwise))
}

/// What is to be done to a jail.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// Change it; then tell this property.
    Adjust(Adjustment, &'static str),
    /// Nothing, for it is so already: the value.
    Same(Value),
}

/// The change that `set JAIL NAME …` asks for.
///
/// # Errors
/// When there is no such property, its value is wrong, or it cannot change while the agent
/// runs.
pub(crate) fn change(name: &str, words: &[String]) -> Result<Change, Fault> {
    let first = || words.first().map(String::as_str).ok_or_else(Fault::too_short);
    Ok(match name {
        "maxretry" => {
            let count = first()?.trim().parse().ok().filter(|count| *count > 0);
            let wrong =
                || Fault::value(format!("maxretry is a whole number from 1: '{}'", words[0]));
            Change::Adjust(Adjustment::MaxRetry(count.ok_or_else(wrong)?), "maxretry")
        }
        "findtime" => {
            let span = length(name, first()?)?;
            let wrong = || Fault::value(format!("findtime is more than nothing: '{}'", words[0]));
            Change::Adjust(Adjustment::FindTime(span.ok_or_else(wrong)?), "findtime")
        }
        "bantime" => Change::Adjust(Adjustment::BanTime(length(name, first()?)?), "bantime"),
        "addignoreip" => {
            let entries = words.iter().map(|word| prefix(word)).collect::<Result<_, _>>()?;
            Change::Adjust(Adjustment::Allow(entries), "ignoreip")
        }
        "delignoreip" => Change::Adjust(Adjustment::Disallow(prefix(first()?)?), "ignoreip"),
        "ignoreself"
            if matches!(first()?.to_ascii_lowercase().as_str(), "1" | "on" | "true" | "yes") =>
        {
            Change::Same(Value::Boolean(true))
        }
        "ignoreself" => {
            return Err(Fault::other("guard never bans this host's own addresses"));
        }
        "idle" if first()? == "off" => Change::Same(Value::Boolean(false)),
        "idle" => {
            return Err(Fault::other(
                "guard has no idle jails: stop the jail, and reload to start it",
            ));
        }
        "ignorecommand" | "ignorecache" | "addlogpath" | "dellogpath" | "logencoding"
        | "addjournalmatch" | "deljournalmatch" | "prefregex" | "addfailregex" | "delfailregex"
        | "addignoreregex" | "delignoreregex" | "usedns" | "datepattern" | "logtimezone"
        | "maxmatches" | "maxlines" => return Err(fixed(name)),
        "addaction" | "delaction" | "action" => {
            return Err(Fault::other("guard bans by itself: no jail has actions to be changed"));
        }
        _ if name.starts_with("bantime.") => return Err(fixed(name)),
        _ => {
            return Err(Fault::other(format!(
                "Invalid command '{name}' (no set action or not yet implemented)"
            )));
        }
    })
}

fn fixed(name: &str) -> Fault {
    Fault::other(format!(
        "{name} does not change while the jail runs: write it into the jail's files and reload"
    ))
}

/// A length of time; nothing for ever.
fn length(name: &str, text: &str) -> Result<Option<Span>, Fault> {
    let length = config::ban_time(text).ok().filter(|length| *length != Some(Span::ZERO));
    length.ok_or_else(|| {
        Fault::value(format!("{name} is a length of time such as 600, 10m or 1d: '{text}'"))
    })
}

/// An address or a network.
pub(crate) fn prefix(text: &str) -> Result<Prefix, Fault> {
    text.parse().map_err(|_| {
        Fault::value(format!("'{text}' is neither an address nor a network; nothing was changed"))
    })
}
