//! Who wrote a line of a file, by the prefix that a syslog daemon put before it:
//! `DATE HOST PROGRAM[PID]: MESSAGE`.
//!
//! A file proves nothing, so this serves only one end: to know which spans of the
//! message a client could have written, when the program is one that guard knows.

use crate::core::entry::Daemon;

/// Words among which the program is looked for: `<34>Nov 22 2026 10:00:00 host sshd[1]:`.
const WORDS: usize = 8;

/// The daemon that a line names, and where its message begins; 0 for a line without a
/// known daemon.
pub(super) fn daemon(line: &str) -> (Option<Daemon>, usize) {
    let mut start = 0;
    for word in line.split(' ').take(WORDS) {
        let end = start + word.len();
        if let Some(tag) = word.strip_suffix(':')
            && !tag.is_empty()
        {
            // The first tag is the program's; what follows is its message.
            let begin = if line[end..].starts_with(' ') { end + 1 } else { end };
            return match of_tag(tag) {
                Some(daemon) => (Some(daemon), begin),
                None => (None, 0),
            };
        }
        // No host, date or program has a quote: a client's words begin.
        if word.contains(['"', '\'']) {
            break;
        }
        start = end + 1;
    }
    (None, 0)
}

/// Of `sshd`, or of `sshd[123]`.
fn of_tag(tag: &str) -> Option<Daemon> {
    let program = match tag.strip_suffix(']') {
        Some(tag) => tag.rsplit_once('[')?.0,
        None => tag,
    };
    Daemon::ALL.into_iter().find(|daemon| daemon.programs().contains(&program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_forms_that_syslog_daemons_write() {
        for line in [
            "Nov  2 10:00:00 pve sshd[12]: Failed password",
            "Nov 22 10:00:00 pve sshd-session[12]: Failed password",
            "2026-11-22T10:00:00.123456+01:00 pve sshd[12]: Failed password",
            "<34>Nov 22 2026 10:00:00 pve sshd: Failed password",
            "pve sshd[12]: Failed password",
            "sshd[12]: Failed password",
        ] {
            let (daemon, start) = daemon(line);
            assert_eq!((daemon, &line[start..]), (Some(Daemon::Sshd), "Failed password"), "{line}");
        }
        let line = "Nov  2 10:00:00 pve pvedaemon[3]: authentication failure";
        assert_eq!(daemon(line).0, Some(Daemon::Pvedaemon));
        assert_eq!(daemon("Nov  2 10:00:00 pve sshd[12]:"), (Some(Daemon::Sshd), 29));
    }

    #[test]
    fn what_a_client_wrote_into_another_line_is_no_prefix() {
        for line in [
            "",
            "sshd",
            "Nov  2 10:00:00 pve nginx: sshd[1]: Failed password",
            "Nov  2 10:00:00 pve sshdx[1]: Failed password",
            "2026/11/22 10:00:00 [error] 1#1: *1 user sshd[1]: x",
            "[error] user \"x sshd[1]: y\"",
            "192.0.2.1 - - [22/Nov/2026:10:00:00 +0100] \"GET /sshd[1]: x",
            "a b c d e f g h sshd[1]: x",
        ] {
            assert_eq!(daemon(line), (None, 0), "{line}");
        }
    }
}
