//! Answers as `fail2ban-client` prints them.

use crate::compat::python::{repr, text};
use crate::compat::value::{Fault, FaultClass, Value};

/// A value that answers these words.
pub fn shown(words: &[String], value: &Value) -> String {
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    match word(0) {
        "ping" => return format!("Server replied: {}", text(value)),
        "version" => return text(value),
        "start" => return "Jail started".to_owned(),
        "stop" if *value == Value::Nothing => {
            let what = if words.len() == 1 { "Shutdown successful" } else { "Jail stopped" };
            return what.to_owned();
        }
        "flushlogs" => return format!("logs: {}", text(value)),
        "echo" => return joined(value, " "),
        "status" => return status(words, value),
        _ => {}
    }
    let below = |head: &str| format!("{head}:\n`- {}", text(value));
    match word(1) {
        "syslogsocket" => return below("Current syslog socket is"),
        "logtarget" => return below("Current logging target is"),
        "loglevel" => return format!("Current logging level is {}", repr(value)),
        "dbfile" | "dbpurgeage" if *value == Value::Nothing => {
            return "Database currently disabled".to_owned();
        }
        "dbfile" => return below("Current database file is"),
        "dbpurgeage" => return format!("{}seconds", below("Current database purge age is")),
        _ => {}
    }
    let items = value.items().unwrap_or_default();
    let listed = |none: &str, head: &str, numbered: bool| match items {
        [] => none.to_owned(),
        items => {
            let mut out = format!("{head}:");
            for (number, item) in items.iter().enumerate() {
                let branch = if number + 1 == items.len() { "`-" } else { "|-" };
                let number = if numbered { format!("[{number}]: ") } else { String::new() };
                out.push_str(&format!("\n{branch} {number}{}", text(item)));
            }
            out
        }
    };
    let in_a_row = |none: &str, head: String| match items {
        [] => none.to_owned(),
        _ => format!("{head}:\n{}", joined(value, ", ")),
    };
    let jail = word(1);
    match word(2) {
        "logpath" | "addlogpath" | "dellogpath" => {
            listed("No file is currently monitored", "Current monitored log file(s)", false)
        }
        "logencoding" => format!("Current log encoding is set to:\n{}", text(value)),
        "journalmatch" | "addjournalmatch" | "deljournalmatch" => match items {
            [] => "No journal match filter set".to_owned(),
            items => {
                let alternatives = items.iter().map(|words| joined(words, " "));
                let alternatives = alternatives.collect::<Vec<_>>().join(" + ");
                format!("Current match filter:\n{alternatives}")
            }
        },
        "datepattern" => {
            let set = match items {
                [Value::Nothing, name] => text(name),
                [pattern, name] => format!("{} ({})", text(pattern), text(name)),
                _ => "Not set/required".to_owned(),
            };
            format!("Current date pattern set to: {set}")
        }
        "ignoreip" | "addignoreip" | "delignoreip" => {
            let head = "These IP addresses/networks are ignored";
            listed("No IP address/network is ignored", head, false)
        }
        "failregex" | "addfailregex" | "delfailregex" | "ignoreregex" | "addignoreregex"
        | "delignoreregex" => {
            let head = "The following regular expression are defined";
            listed("No regular expression is defined", head, true)
        }
        "actions" => in_a_row(
            &format!("No actions for jail {jail}"),
            format!("The jail {jail} has the following actions"),
        ),
        "banip" if word(0) == "get" && value.items().is_some() => match word(3) {
            "" => joined(value, " "),
            "--with-time" => joined(value, "\n"),
            separator => joined(value, separator),
        },
        _ => text(value),
    }
}

/// An error.
pub fn fault(fault: &Fault) -> String {
    match fault.class {
        FaultClass::UnknownJail => {
            format!("Sorry but the jail '{}' does not exist", fault.argument)
        }
        FaultClass::DuplicateJail => format!("The jail '{}' already exists", fault.argument),
        FaultClass::Index => "Sorry but the command is invalid".to_owned(),
        FaultClass::Value | FaultClass::Other => fault.argument.to_string(),
    }
}

fn joined(value: &Value, separator: &str) -> String {
    value.items().unwrap_or_default().iter().map(text).collect::<Vec<_>>().join(separator)
}

/// A tree of names and values.
fn status(words: &[String], value: &Value) -> String {
    let rows = |value: &Value| -> Vec<(String, Value)> {
        let row = |row: &Value| match row.items() {
            Some([name, value]) => (text(name), value.clone()),
            _ => (String::new(), Value::Nothing),
        };
        value.items().unwrap_or_default().iter().map(row).collect()
    };
    let leaf = |value: &Value| match value {
        Value::List(_) => joined(value, " "),
        other => text(other),
    };
    let branch = |at: usize, all: usize| if at + 1 == all { "`-" } else { "|-" };
    let mut lines = Vec::new();
    let parts = rows(value);
    match words.get(1) {
        None => {
            lines.push("Status".to_owned());
            for (at, (name, value)) in parts.iter().enumerate() {
                lines.push(format!("{} {name}:\t{}", branch(at, parts.len()), leaf(value)));
            }
        }
        Some(jail) => {
            lines.push(format!("Status for the jail: {jail}"));
            for (at, (name, value)) in parts.iter().enumerate() {
                lines.push(format!("{} {name}", branch(at, parts.len())));
                let margin = if at + 1 == parts.len() { "   " } else { "|  " };
                let inner = rows(value);
                for (at, (name, value)) in inner.iter().enumerate() {
                    let branch = branch(at, inner.len());
                    lines.push(format!("{margin}{branch} {name}:\t{}", leaf(value)));
                }
            }
        }
    }
    lines.join("\n")
}
