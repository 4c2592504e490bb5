//! Lines as entries: what a source would hand to a filter.
//!
//! Input: the text of a line. Output: an [`Entry`]. Invariant: the daemon is the one
//! that the line names, as in a log file, where nothing proves it.

use crate::core::entry::{Daemon, Dating, Entry};
use crate::core::jail::JailId;
use crate::core::time::Timestamp;

/// An entry of a line that is filled again and again, so that lines cost no allocation.
#[must_use]
pub fn blank(dating: Dating) -> Entry {
    Entry {
        time: Timestamp::default(),
        dating,
        line: String::new(),
        message_start: 0,
        daemon: None,
        jails: vec![JailId(0)],
    }
}

/// Puts a line into an entry.
pub fn fill(entry: &mut Entry, line: &str) {
    entry.line.clear();
    entry.line.push_str(line);
    (entry.message_start, entry.daemon) = origin(line);
}

/// The entry of one line.
pub fn entry(line: &str, dating: Dating, time: Timestamp) -> Entry {
    let mut entry = blank(dating);
    entry.time = time;
    fill(&mut entry, line);
    entry
}

/// Where the daemon's own message begins, and which daemon the line names.
///
/// The tag is the first word that ends in a colon and is not a time, such as
/// `sshd[1]:`; what has none is message from its beginning.
pub fn origin(line: &str) -> (usize, Option<Daemon>) {
    let mut start = 0;
    // A date, a host and a tag are few words.
    for word in line.split_inclusive(' ').take(10) {
        start += word.len();
        let Some(tag) = word.trim_end().strip_suffix(':') else { continue };
        let name = match tag.strip_suffix(']').and_then(|tag| tag.rsplit_once('[')) {
            Some((name, pid)) if pid.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => tag,
        };
        if name.is_empty() || name.bytes().all(|b| b.is_ascii_digit() || b == b':') {
            continue;
        }
        let daemon = Daemon::ALL.into_iter().find(|daemon| daemon.programs().contains(&name));
        return (start, daemon);
    }
    (0, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_says_whose_message_it_is() {
        for (line, message, daemon) in [
            ("pve sshd[1]: Invalid user: x", "Invalid user: x", Some(Daemon::Sshd)),
            ("Nov 22 10:00:00 pve sshd-session[1]: x", "x", Some(Daemon::Sshd)),
            ("2026-11-22T10:00:00+01:00 pve pvedaemon[1]: x", "x", Some(Daemon::Pvedaemon)),
            ("pve cron[1]: sshd[2]: x", "sshd[2]: x", None),
            ("pve sshdx[1]: x", "x", None),
            (
                "192.0.2.1 - - [22/Nov/2026:10:00:00] \"GET /\"",
                "192.0.2.1 - - [22/Nov/2026:10:00:00] \"GET /\"",
                None,
            ),
            ("", "", None),
        ] {
            let (start, found) = origin(line);
            assert_eq!((&line[start..], found), (message, daemon));
        }
    }
}
