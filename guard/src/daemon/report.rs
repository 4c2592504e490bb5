//! What the engine reports, in Fail2Ban's words.

use jiff::Timestamp as Instant;
use jiff::tz::TimeZone;

use crate::core::effects::Report;
use crate::core::jail::{JailId, JailName};
use crate::core::surplus::Surplus;
use crate::core::time::Timestamp;

/// Writes reports to the log. `names` are the started jails by [`JailId`].
pub fn write(names: &[JailName], reports: &[Report]) {
    for report in reports {
        write_one(names, report);
    }
}

fn write_one(names: &[JailName], report: &Report) {
    let name = |jail: &JailId| names.get(jail.index()).map_or("?", JailName::as_str);
    match report {
        Report::Found(failure) => {
            let (jail, source, time) = (name(&failure.jail), failure.source, local(failure.time));
            tracing::info!(target: "fail2ban.filter", "[{jail}] Found {source} - {time}");
        }
        Report::Ignored { failure, allowed } => {
            let (jail, source) = (name(&failure.jail), failure.source);
            tracing::info!(target: "fail2ban.filter", "[{jail}] Ignore {source}: {allowed}");
        }
        Report::Banned(ban) => {
            let (jail, source) = (name(&ban.jail), ban.source);
            tracing::info!(target: "fail2ban.actions", notice = true, "[{jail}] Ban {source}");
        }
        Report::Increased { ban, count } => {
            let (jail, source) = (name(&ban.jail), ban.source);
            let until = match ban.until {
                Some(until) => format!("{} -> {}", until - ban.since, local(until)),
                None => "permanent -> infinite".to_owned(),
            };
            tracing::info!(target: "fail2ban.observer", notice = true,
                "[{jail}] Increase Ban {source} ({count} # {until})");
        }
        Report::Prolonged(ban) => {
            let (jail, source) = (name(&ban.jail), ban.source);
            let until =
                ban.until.map_or("for ever".to_owned(), |until| format!("until {}", local(until)));
            tracing::info!(target: "fail2ban.actions", notice = true,
                "[{jail}] Increase Ban {source} ({until})");
        }
        Report::Restored(ban) => {
            let (jail, source) = (name(&ban.jail), ban.source);
            tracing::info!(target: "fail2ban.actions", notice = true,
                "[{jail}] Restore Ban {source}");
        }
        Report::RestoredMore(count) => {
            tracing::info!(target: "fail2ban.actions", notice = true,
                "Restore Ban: {count} more bans are in force again, not listed here");
        }
        Report::AlreadyBanned { jail, source } => {
            let jail = name(jail);
            tracing::info!(target: "fail2ban.actions", notice = true,
                "[{jail}] {source} already banned");
        }
        Report::Unbanned { jail, source } => {
            let jail = name(jail);
            tracing::info!(target: "fail2ban.actions", notice = true, "[{jail}] Unban {source}");
        }
        Report::Evicted { jail, source } => {
            let jail = name(jail);
            tracing::debug!(target: "fail2ban.filter",
                "[{jail}] forgot the failures of {source}: limits.tracked-failures is reached");
        }
        Report::GivenUp { jail, what, count } => {
            let (jail, why) = (name(jail), words(*what));
            tracing::debug!(target: "fail2ban.filter", "[{jail}] gave up {count} {why}");
        }
        Report::Full { jail, source } => {
            let jail = name(jail);
            tracing::error!(target: "fail2ban.actions",
                "[{jail}] cannot ban {source}: limits.bans is reached");
        }
        Report::Planted { jail, source } => {
            let jail = name(jail);
            tracing::info!(target: "fail2ban.filter",
                "[{jail}] {source} stands where the client can write; it is not the source");
        }
        Report::Unanswered { jail, source, why } => {
            let jail = name(jail);
            tracing::error!(target: "fail2ban.filter",
                "[{jail}] ignorecommand was asked about {source} in vain: {why}; it counts as \
                 not ignored");
        }
        Report::Unresolved { jail, name: host, why } => {
            let jail = name(jail);
            tracing::warn!(target: "fail2ban.filter",
                "[{jail}] cannot tell the addresses of `{host}`: {why}; nobody is counted");
        }
        Report::ListTrouble { place, why } => {
            tracing::error!(target: "fail2ban.filter",
                "ignoreip: {place}: {why}; the addresses known last go on to count");
        }
        Report::ListChanged { place, entries } => {
            let entries: Vec<String> = entries.iter().take(16).map(ToString::to_string).collect();
            tracing::info!(target: "fail2ban.filter",
                "ignoreip: {place} stands for {}", entries.join(" "));
        }
        Report::StepLimit { jail, expression } => {
            let jail = name(jail);
            tracing::warn!(target: "fail2ban.filter",
                "[{jail}] failregex {expression} gave up on a line: too many steps");
        }
    }
}

/// What was given up, and because of what.
const fn words(what: Surplus) -> &'static str {
    match what {
        Surplus::Failures => "old failures: their source has four times maxretry of them",
        Surplus::Connections => "old connections: limits.connections is reached",
        Surplus::Lines => "old lines: those that are tried together are too long",
        Surplus::KnownSources => "sources with earlier bans: limits.known-sources is reached",
        Surplus::NamedFailures => "failures: too many wait for the addresses of names",
        Surplus::UnaskedBans => "questions to ignorecommand: too many wait for an answer",
    }
}

/// Local time as `2025-08-27 16:43:52`.
pub fn local(time: Timestamp) -> String {
    match Instant::from_microsecond(time.micros()) {
        Ok(instant) => {
            instant.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
        }
        Err(_) => format!("@{}", time.seconds()),
    }
}
