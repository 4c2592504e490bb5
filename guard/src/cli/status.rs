//! `guardctl status [JAIL]`: Fail2Ban's tree, with what is wrong on stderr.

use std::fmt::Write;

use crate::cli::{Context, Failure, output};
use crate::control::protocol::{JailStatus, Status};
use crate::core::addr::Prefix;
use crate::core::enforced::{Coverage, Dropped};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    guardctl status                   the jails\n  \
    guardctl status sshd              one jail\n  \
    guardctl --json status | jq .backend")]
pub(super) struct Arguments {
    /// The jail; all jails' names if absent.
    jail: Option<String>,
}

pub(super) fn status(context: &Context, arguments: &Arguments) -> Result<(), Failure> {
    let status = context.status()?;
    let jail = arguments.jail.as_deref().map(|name| find(&status, name)).transpose()?;
    if context.json {
        return match jail {
            Some(jail) => output::json(jail),
            None => output::json(&status),
        };
    }
    output::print(&jail.map_or_else(|| overview(&status), one_jail))?;
    for problem in problems(&status) {
        output::talk(&format!("warning: {problem}"));
    }
    Ok(())
}

/// The jail of a name.
pub(super) fn find<'s>(status: &'s Status, name: &str) -> Result<&'s JailStatus, Failure> {
    let found = status.jails.iter().find(|jail| jail.name.as_str() == name);
    found.ok_or_else(|| Failure::NotDone(format!("Sorry but the jail '{name}' does not exist")))
}

fn overview(status: &Status) -> String {
    let mut names: Vec<&str> = status.jails.iter().map(|jail| jail.name.as_str()).collect();
    names.sort_unstable();
    let mut text = format!(
        "Status\n|- Number of jail:\t{}\n`- Jail list:\t{}\n",
        status.jails.len(),
        names.join(", ")
    );
    if !status.interfaces.is_empty() {
        text += "Interfaces\n";
    }
    for (place, interface) in status.interfaces.iter().enumerate() {
        let branch = if place + 1 == status.interfaces.len() { "`-" } else { "|-" };
        let dropped = interface.dropped.map(|dropped| format!(", dropped {}", amount(dropped)));
        let Coverage { interface, means, .. } = interface;
        // Writing to a string does not fail.
        let _ = writeln!(text, "{branch} {interface}:\t{means}{}", dropped.unwrap_or_default());
    }
    text
}

/// Packets and bytes in words.
fn amount(dropped: Dropped) -> String {
    let about = if dropped.sampled { "≈" } else { "" };
    let bytes = indicatif::BinaryBytes(dropped.bytes);
    format!("{about}{} packets, {about}{bytes}", indicatif::HumanCount(dropped.packets))
}

fn one_jail(jail: &JailStatus) -> String {
    let source = match &jail.files {
        Some(files) => format!("File list:\t{}", files.join(" ")),
        None => format!("Journal matches:\t{}", jail.journal_matches),
    };
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "Status for the jail: {}\n\
         |- Filter\n\
         |  |- Currently failed:\t{}\n\
         |  |- Total failed:\t{}\n\
         |  `- {}\n\
         `- Actions\n   \
            |- Currently banned:\t{}\n   \
            |- Total banned:\t{}\n   \
            {}\
            `- Banned IP list:\t{}\n",
        jail.name,
        jail.currently_failed,
        jail.total_failed,
        source,
        jail.banned.len(),
        jail.total_banned,
        jail.dropped.map_or_else(String::new, |all| format!("|- Dropped:\t{}\n   ", amount(all))),
        jail.banned.iter().map(Prefix::to_string).collect::<Vec<_>>().join(" "),
    );
    text
}

fn problems(status: &Status) -> Vec<String> {
    let mut problems = status.problems.clone();
    for interface in status.interfaces.iter().filter(|interface| interface.means == "none") {
        problems.push(output::uncovered(interface));
    }
    for jail in &status.jails {
        if !jail.not_enforced.is_empty() {
            problems.push(format!(
                "{} bans of {} are not in the kernel (`guardctl bans list` shows which); guard \
                 puts them back now",
                jail.not_enforced.len(),
                jail.name
            ));
        }
        if jail.evicted > 0 {
            problems.push(format!(
                "{} sources of {} were forgotten: limits.tracked-failures is reached",
                jail.evicted, jail.name
            ));
        }
    }
    problems
}
