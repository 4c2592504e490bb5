//! Whether an entry is of the daemon that it claims to be of.
//!
//! Any local user can write to the journal under any `SYSLOG_IDENTIFIER`, from a
//! program of any name (`_COMM`), and without pam_systemd what a user starts over SSH
//! stays in `ssh.service`. Journald itself states `_UID` and `_SYSTEMD_UNIT`. Only
//! both together, root and the daemon's own unit, prove who wrote an entry.

use super::fields::{Field, Fields};
use crate::core::entry::Daemon;

/// What an entry says of its writer, and whether that is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It claims to be of no daemon that guard knows.
    Other,
    /// It is of this daemon.
    Proven(Daemon),
    /// It claims to be of a daemon that guard knows, and is not proven to be.
    Claimed,
}

pub(super) fn origin(fields: &Fields) -> Origin {
    let mut origin = Origin::Other;
    for daemon in Daemon::ALL {
        if !claims(fields, daemon) {
            continue;
        }
        // Whoever claims to be two daemons at once is at most one of them.
        if origin != Origin::Other || !proves(fields, daemon) {
            return Origin::Claimed;
        }
        origin = Origin::Proven(daemon);
    }
    origin
}

fn claims(fields: &Fields, daemon: Daemon) -> bool {
    let named = |field| {
        let value = fields.value(field);
        daemon.programs().iter().any(|program| names(value, program.as_bytes()))
    };
    named(Field::Identifier) || named(Field::Comm) || in_unit(fields, daemon)
}

fn proves(fields: &Fields, daemon: Daemon) -> bool {
    fields.value(Field::Uid) == b"0" && in_unit(fields, daemon)
}

/// Whether a name is the program's, or would pass for it at the head of a line:
/// `pvedaemon worke` (a worker's `_COMM`), or `sshd[1]: …`, which nobody honest sends.
fn names(value: &[u8], program: &[u8]) -> bool {
    value.strip_prefix(program).is_some_and(|rest| {
        !rest.first().is_some_and(|next| next.is_ascii_alphanumeric() || b"-_.".contains(next))
    })
}

/// Whether the entry is from one of the daemon's units, or from an instance of one:
/// socket activation starts `ssh@….service` for each connection.
fn in_unit(fields: &Fields, daemon: Daemon) -> bool {
    let unit = fields.value(Field::Unit);
    daemon.units().iter().any(|own| {
        let own = own.as_bytes();
        let stem = own.strip_suffix(b".service").unwrap_or(own);
        let instance = || {
            unit.strip_prefix(stem).is_some_and(|rest| rest.starts_with(b"@"))
                && unit.ends_with(b".service")
        };
        unit == own || instance()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[(&str, &str)]) -> Origin {
        let mut taken = Fields::default();
        for (name, value) in fields {
            taken.take(name.as_bytes(), value.as_bytes());
        }
        origin(&taken)
    }

    #[test]
    fn root_in_the_unit_and_nobody_else() {
        let entry = |uid, unit, identifier, comm| {
            of(&[
                ("_UID", uid),
                ("_SYSTEMD_UNIT", unit),
                ("SYSLOG_IDENTIFIER", identifier),
                ("_COMM", comm),
            ])
        };
        let (sshd, pvedaemon) = (Origin::Proven(Daemon::Sshd), Origin::Proven(Daemon::Pvedaemon));
        for (uid, unit, identifier, comm, expected) in [
            ("0", "ssh.service", "sshd", "sshd", sshd),
            ("0", "sshd.service", "sshd-session", "sshd-session", sshd),
            ("0", "ssh@3-10.3.0.254:22-10.3.0.1:5000.service", "sshd", "sshd", sshd),
            ("0", "ssh.service", "unix_chkpwd", "unix_chkpwd", sshd),
            ("0", "pvedaemon.service", "pvedaemon", "pvedaemon worke", pvedaemon),
            ("1000", "ssh.service", "sshd", "sshd", Origin::Claimed),
            ("1000", "ssh.service", "bash", "bash", Origin::Claimed),
            ("0", "session-3.scope", "sshd", "logger", Origin::Claimed),
            ("0", "session-3.scope", "root", "sshd", Origin::Claimed),
            ("0", "user@0.service", "sshd", "sshd", Origin::Claimed),
            ("00", "ssh.service", "sshd", "sshd", Origin::Claimed),
            ("", "ssh.service", "sshd", "sshd", Origin::Claimed),
            ("0", "", "sshd", "sshd", Origin::Claimed),
            ("0", "xssh.service", "sshd", "sshd", Origin::Claimed),
            ("0", "ssh.service.scope", "sshd", "sshd", Origin::Claimed),
            ("0", "ssh@x.scope", "sshd", "sshd", Origin::Claimed),
            ("0", "pvedaemon.service", "sshd", "pvedaemon", Origin::Claimed),
            ("1000", "session-3.scope", "sshd[1]: Failed", "x", Origin::Claimed),
            ("1000", "session-3.scope", "x", "pvedaemon worke", Origin::Claimed),
            ("1000", "session-3.scope", "sshd-keygen", "sshdx", Origin::Other),
            ("0", "cron.service", "CRON", "cron", Origin::Other),
            ("", "", "kernel", "", Origin::Other),
        ] {
            let found = entry(uid, unit, identifier, comm);
            assert_eq!(found, expected, "{uid} {unit} {identifier} {comm}");
        }
    }

    #[test]
    fn of_a_field_that_comes_twice_the_first_counts() {
        let twice = |first, second| {
            of(&[("_UID", "1000"), ("SYSLOG_IDENTIFIER", first), ("SYSLOG_IDENTIFIER", second)])
        };
        assert_eq!(twice("sshd", "x"), Origin::Claimed);
        assert_eq!(twice("x", "sshd"), Origin::Other);
    }
}
