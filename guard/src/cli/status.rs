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

pub(super) fn overview(status: &Status) -> String {
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

pub(super) fn one_jail(jail: &JailStatus) -> String {
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
        problems.extend(given_up(jail));
    }
    problems
}

/// What a jail gave up since the agent's process started, and why; nothing of what it did not.
fn given_up(jail: &JailStatus) -> impl Iterator<Item = String> {
    let (name, all) = (&jail.name, jail.evictions);
    let told = [
        (all.sources, format!("sources of {name} were forgotten"), "limits.tracked-failures was"),
        (
            all.failures,
            format!("old failures of sources of {name} were forgotten"),
            "four times maxretry of one source was",
        ),
        (
            all.connections,
            format!("connections of {name} were forgotten"),
            "limits.connections was",
        ),
        (
            all.lines,
            format!("lines of {name} were not tried together with later ones"),
            "256 KiB of them was",
        ),
        (
            all.known_sources,
            format!("sources' earlier bans in {name} were forgotten"),
            "limits.known-sources was",
        ),
        (
            all.named_failures,
            format!("failures of {name} did not count"),
            "the number of those that may wait for the addresses of names was",
        ),
        (
            all.unasked_bans,
            format!("bans of {name} were made without asking ignorecommand"),
            "the number of those that may wait for it was",
        ),
    ];
    let told = told.into_iter().filter(|(count, ..)| *count > 0);
    told.map(|(count, what, bound)| {
        format!("{count} {what}: {bound} reached since the agent started")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::jail::JailName;
    use crate::core::surplus::Evictions;

    fn jail(evictions: Evictions) -> JailStatus {
        JailStatus {
            name: JailName::new("sshd").expect("a name"),
            currently_failed: 0,
            total_failed: 3,
            evictions,
            journal_matches: String::new(),
            files: None,
            total_banned: 0,
            banned: Vec::new(),
            not_enforced: Vec::new(),
            dropped: None,
        }
    }

    #[test]
    fn what_was_given_up_is_told_with_its_bound_and_what_was_not_is_not() {
        assert_eq!(given_up(&jail(Evictions::default())).count(), 0);
        let evictions = Evictions { sources: 1, connections: 70, ..Evictions::default() };
        let told: Vec<String> = given_up(&jail(evictions)).collect();
        assert_eq!(
            told,
            [
                "1 sources of sshd were forgotten: limits.tracked-failures was reached since the \
                 agent started",
                "70 connections of sshd were forgotten: limits.connections was reached since the \
                 agent started",
            ]
        );
        let all = Evictions {
            sources: 1,
            failures: 2,
            connections: 3,
            lines: 4,
            known_sources: 5,
            named_failures: 6,
            unasked_bans: 7,
        };
        let told: Vec<String> = given_up(&jail(all)).collect();
        for (number, (line, word)) in (1..).zip(told.iter().zip([
            "tracked-failures",
            "four times maxretry",
            "limits.connections",
            "256 KiB",
            "known-sources",
            "addresses of names",
            "ignorecommand",
        ])) {
            assert!(line.starts_with(&format!("{number} ")) && line.contains(word), "{line}");
        }
        assert_eq!(told.len(), 7);
    }

    #[test]
    fn programs_read_what_was_given_up_beside_the_other_figures() {
        let evictions = Evictions { sources: 1, lines: 2, ..Evictions::default() };
        let status = jail(evictions);
        let mut json = serde_json::to_value(&status).expect("JSON");
        assert_eq!((json["evicted"].as_u64(), json["evicted-lines"].as_u64()), (Some(1), Some(2)));
        assert_eq!(json["evicted-connections"], 0);
        let read: JailStatus = serde_json::from_value(json.clone()).expect("read again");
        assert_eq!(read, status);
        // An agent of an earlier release does not tell all of it.
        json.as_object_mut().expect("an object").remove("evicted-lines");
        let read: JailStatus = serde_json::from_value(json).expect("read without it");
        assert_eq!(read.evictions.lines, 0);
    }
}
