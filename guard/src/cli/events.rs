//! Events in words, for `guardctl watch` and `guardctl top`.

use crate::cli::{layout, output};
use crate::control::event::{BanTold, Event, What};
use crate::core::addr::Prefix;
use crate::core::jail::JailName;
use crate::daemon::report::local;

/// One line: time, what, whom.
pub(super) fn line(event: &Event) -> String {
    format!("{} {:<9} {}", layout::live(event.time), word(&event.what), about(&event.what))
}

/// What happened, in one word.
pub(super) fn word(what: &What) -> &'static str {
    match what {
        What::Found { .. } => "found",
        What::Ignored { .. } => "ignored",
        What::Banned(_) => "ban",
        What::Prolonged(_) => "prolonged",
        What::Restored(_) | What::RestoredMore { .. } => "restored",
        What::Unbanned { .. } => "unban",
        What::Full { .. } => "full",
        What::Planted { .. } => "planted",
        What::Repaired { .. } => "repaired",
        What::NotEnforced { .. } => "broken",
        What::EnforcedAgain { .. } => "mended",
        What::Reloaded(_) => "reloaded",
        What::ReloadRefused { .. } => "refused",
        What::Missed { .. } => "missed",
    }
}

/// Whom or what it is about.
pub(super) fn about(what: &What) -> String {
    match what {
        What::Found { jail, address, .. } | What::Unbanned { jail, address } => who(jail, *address),
        What::Ignored { jail, address, because } => format!("{}: {because}", who(jail, *address)),
        What::Banned(ban) => {
            of_ban(ban, ban.until.map(|until| format!("for {}", until - ban.since)))
        }
        What::Prolonged(ban) | What::Restored(ban) => {
            of_ban(ban, ban.until.map(|until| format!("until {}", local(until))))
        }
        What::RestoredMore { bans } => format!("{bans} more bans"),
        What::Full { jail, address } => {
            format!("{}: not banned, limits.bans is reached", who(jail, *address))
        }
        What::Planted { jail, address } => {
            format!("{}: stands where the client can write", who(jail, *address))
        }
        What::Repaired { what: words }
        | What::NotEnforced { cause: words }
        | What::ReloadRefused { problems: words } => output::visible(words),
        What::EnforcedAgain { bans } => format!("the kernel holds all {bans} bans again"),
        What::Reloaded(change) => {
            let counts = [&change.kept, &change.started, &change.stopped].map(Vec::len);
            let [kept, started, stopped] = counts;
            format!("configuration: {kept} jails kept, {started} started, {stopped} stopped")
        }
        What::Missed { events } => format!("{events} events: this watcher was too slow"),
    }
}

fn who(jail: &JailName, address: Prefix) -> String {
    format!("[{jail}] {address}")
}

fn of_ban(ban: &BanTold, lasts: Option<String>) -> String {
    let lasts = lasts.unwrap_or_else(|| "for ever".to_owned());
    format!("{} {lasts}: {}", who(&ban.jail, ban.address), ban.reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::reason::{Allowed, Reason};
    use crate::core::time::{Span, Timestamp};

    #[test]
    fn events_read_as_sentences_and_cannot_steer_the_terminal() {
        let jail = JailName::new("sshd").expect("a name");
        let address = "192.0.2.1".parse().expect("an address");
        let reason = Reason::Failures { count: 3, within: Span::from_seconds(2), last: None };
        let since = Timestamp::from_seconds(0);
        let ban = BanTold { jail: jail.clone(), address, since, until: None, reason };
        let until = Timestamp::from_seconds(5_400);
        let shorter = BanTold { until: Some(until), ..ban.clone() };
        let again = format!("restored [sshd] 192.0.2.1 until {}: 3 failures in 2s", local(until));
        let said = "a\u{1b}[2Jb".to_owned();
        for (what, expected) in [
            (What::Banned(ban), "ban [sshd] 192.0.2.1 for ever: 3 failures in 2s"),
            (What::Banned(shorter.clone()), "ban [sshd] 192.0.2.1 for 1h 30m: 3 failures in 2s"),
            // It began before, so that only its end says how long it goes on.
            (What::Restored(shorter), again.as_str()),
            (
                What::Ignored { jail, address, because: Allowed::Own { address } },
                "ignored [sshd] 192.0.2.1: 192.0.2.1 is this host's own address",
            ),
            (What::Repaired { what: said }, "repaired a\\u{1b}[2Jb"),
        ] {
            assert_eq!(format!("{} {}", word(&what), about(&what)), expected);
        }
    }
}
