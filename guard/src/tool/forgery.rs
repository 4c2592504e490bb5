//! Whether local users can write what a jail reads from the journal.
//!
//! Input: a `journalmatch`. Output: the alternatives that anybody on the host can meet.
//! Any user can log under any `SYSLOG_IDENTIFIER` and from a program of any name
//! (`_COMM`, `_EXE`); only what journald states of the process's owner and unit holds
//! them off. Of daemons that guard knows, forged entries are dropped in any case.

use crate::core::entry::Daemon;
use crate::core::jail::{FieldMatch, JournalMatch};

/// Alternatives of the match that a local user can meet, as they are written. A match
/// without any accepts every entry; the configuration says so itself.
pub fn forgeable(matches: &JournalMatch) -> Vec<String> {
    let open = matches
        .alternatives
        .iter()
        .filter(|fields| !fields.iter().any(proves) && !fields.iter().any(names_a_known_daemon));
    open.map(|fields| JournalMatch { alternatives: vec![fields.clone()] }.to_string()).collect()
}

/// Whether a field holds off other users' processes.
fn proves(field: &FieldMatch) -> bool {
    match field.field.as_str() {
        "_UID" => true,
        // A user's own services and sessions are his to fill.
        "_SYSTEMD_UNIT" | "UNIT" => {
            field.field == "_SYSTEMD_UNIT"
                && field.values.iter().all(|unit| {
                    !unit.starts_with("user@")
                        && !unit.starts_with("session-")
                        && !unit.ends_with(".scope")
                })
        }
        "_TRANSPORT" => {
            field.values.iter().all(|t| ["kernel", "audit", "driver"].contains(&t.as_str()))
        }
        _ => false,
    }
}

fn names_a_known_daemon(field: &FieldMatch) -> bool {
    ["_COMM", "SYSLOG_IDENTIFIER"].contains(&field.field.as_str())
        && field
            .values
            .iter()
            .all(|name| Daemon::ALL.iter().any(|daemon| daemon.programs().contains(&name.as_str())))
}

/// The daemon that guard knows behind every entry of a match, if there is one.
pub fn known_daemon(matches: &JournalMatch) -> Option<Daemon> {
    Daemon::ALL.into_iter().find(|daemon| {
        let unit = |field: &FieldMatch| {
            field.field == "_SYSTEMD_UNIT"
                && field.values.iter().all(|unit| daemon.units().contains(&unit.as_str()))
        };
        let named = |field: &FieldMatch| {
            ["_COMM", "SYSLOG_IDENTIFIER"].contains(&field.field.as_str())
                && field.values.iter().all(|name| daemon.programs().contains(&name.as_str()))
        };
        !matches.alternatives.is_empty()
            && matches.alternatives.iter().all(|all| all.iter().any(|f| unit(f) || named(f)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `_COMM=x _UID=0 + A=y`
    fn matches(text: &str) -> JournalMatch {
        let field = |term: &str| {
            let (field, value) = term.split_once('=').expect("a term");
            FieldMatch { field: field.into(), values: vec![value.into()] }
        };
        let alternative = |text: &str| text.split_whitespace().map(field).collect();
        JournalMatch { alternatives: text.split(" + ").map(alternative).collect() }
    }

    #[test]
    fn owner_or_unit_hold_off_local_users() {
        for safe in [
            "_SYSTEMD_UNIT=nginx.service",
            "_UID=0 SYSLOG_IDENTIFIER=myd",
            "_TRANSPORT=kernel",
            "_COMM=sshd",
            "SYSLOG_IDENTIFIER=pvedaemon + _SYSTEMD_UNIT=x.service",
        ] {
            assert_eq!(forgeable(&matches(safe)), [""; 0], "{safe}");
        }
        for (open, shown) in [
            ("SYSLOG_IDENTIFIER=myd", "SYSLOG_IDENTIFIER=myd"),
            ("_UID=0 A=1 + _COMM=myd", "_COMM=myd"),
            ("_SYSTEMD_UNIT=session-3.scope", "_SYSTEMD_UNIT=session-3.scope"),
            ("_TRANSPORT=syslog", "_TRANSPORT=syslog"),
        ] {
            assert_eq!(forgeable(&matches(open)), [shown], "{open}");
        }
    }

    #[test]
    fn the_daemon_is_known_when_every_alternative_is_its_own() {
        let known = |text| known_daemon(&matches(text));
        assert_eq!(
            known("_SYSTEMD_UNIT=ssh.service + _SYSTEMD_UNIT=sshd.service"),
            Some(Daemon::Sshd)
        );
        assert_eq!(known("_SYSTEMD_UNIT=sshd.service + _COMM=sshd"), Some(Daemon::Sshd));
        assert_eq!(known("_SYSTEMD_UNIT=pvedaemon.service"), Some(Daemon::Pvedaemon));
        assert_eq!(known("_SYSTEMD_UNIT=ssh.service + A=1"), None);
        assert_eq!(known_daemon(&JournalMatch::default()), None);
    }
}
