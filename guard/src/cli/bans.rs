//! `guardctl bans list`: who is banned, as the kernel holds it.

use std::collections::BTreeMap;

use crate::cli::{Context, Failure, layout, output};
use crate::control::protocol::{BanRow, Request, Response};
use crate::core::jail::JailName;
use crate::core::time::Timestamp;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List the bans, of all jails or of one.
    #[command(after_help = "Examples:\n  \
        guardctl bans list\n  \
        guardctl bans list sshd\n  \
        guardctl --json bans list | jq -r '.[].address'\n\n\
        The list is read from the kernel. A ban that is stored and not there is marked\n\
        NOT ENFORCED. A line that begins with spaces goes on with the one before.")]
    List {
        /// Only this jail's.
        jail: Option<String>,
    },
}

pub(super) fn bans(context: &Context, verb: &Verb) -> Result<(), Failure> {
    let Verb::List { jail } = verb;
    let only = jail
        .as_deref()
        .map(|name| JailName::new(name).map_err(|error| Failure::Usage(error.to_string())))
        .transpose()?;
    let Response::Bans { bans: mut rows, uncovered } = context.ask(&Request::Bans)? else {
        return Err(Failure::NotDone("the agent answered something else".to_owned()));
    };
    rows.retain(|row| only.as_ref().is_none_or(|name| *name == row.jail));
    if context.json {
        return output::json(&rows);
    }
    if let (Some(name), true) = (&only, rows.is_empty()) {
        context.jail(name.as_str())?;
    }
    output::print(&text(&rows, crate::host::now().0, layout::columns()))?;
    for interface in &uncovered {
        output::talk(&format!("warning: {}", output::uncovered(interface)));
    }
    let mut missing: BTreeMap<&str, usize> = BTreeMap::new();
    for why in rows.iter().filter_map(|row| row.not_enforced_because.as_deref()) {
        *missing.entry(why).or_default() += 1;
    }
    for (why, count) in missing {
        output::talk(&format!("warning: {count} of these are not in the kernel: {why}"));
    }
    Ok(())
}

/// The bans as a table.
pub(super) fn text(rows: &[BanRow], now: Timestamp, columns: usize) -> String {
    let lines: Vec<Vec<String>> = rows.iter().map(|row| line(row, now)).collect();
    let header = ["JAIL", "ADDRESS", "SINCE", "UNTIL", "DROPPED", "REASON"];
    layout::table(&header, &lines, columns)
}

fn line(row: &BanRow, now: Timestamp) -> Vec<String> {
    let dropped = match (row.enforced, row.dropped) {
        (false, _) => "NOT ENFORCED".to_owned(),
        (true, None) => "-".to_owned(),
        (true, Some(dropped)) => dropped.to_string(),
    };
    vec![
        row.jail.to_string(),
        row.address.to_string(),
        layout::moment(row.since, now),
        row.until.map_or_else(|| "never ends".to_owned(), |until| layout::moment(until, now)),
        dropped,
        row.reason.to_string(),
    ]
}
