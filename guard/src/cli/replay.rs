//! `guardctl replay LOG…`: who would have been banned, when and why.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use crate::cli::{Context, Failure, layout, output, progress::Progress};
use crate::config::{self, glob};
use crate::core::date::Zone;
use crate::core::jail::{Jail, JailId, JournalMatch, LogSource};
use crate::core::time::Timestamp;
use crate::daemon::report::local;
use crate::source::journal::{self, Counters, Place, Start};
use crate::tool::log::LogFile;
use crate::tool::replay::{Period, Replay};

/// Lines between two looks at the progress.
const STRIDE: u64 = 1 << 13;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    guardctl replay /var/log/auth.log\n  \
    guardctl replay systemd-journal --since 2d --jail sshd\n  \
    guardctl replay /var/log/auth.log.1 /var/log/auth.log --until '2026-11-22 12:00'\n  \
    guardctl --json replay /srv/journal | jq '.bans[].address'\n\n\
    A file is read by the jails whose logpath names it; if there is none, by all.\n\
    Nothing is banned, and the agent is not asked. This host's own addresses count\n\
    like any other, since the log may be another's.")]
pub(super) struct Arguments {
    /// Files, oldest first; `systemd-journal`; or a directory of journal files.
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<String>,
    /// Only what was logged since: a date, a time such as '2026-11-22 10:00', or how long
    /// ago, such as 2d.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only what was logged before, written as --since.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only this jail; may be given several times.
    #[arg(long, value_name = "NAME")]
    jail: Vec<String>,
    /// How files are encoded.
    #[arg(short, long, default_value = "UTF-8")]
    encoding: String,
}

pub(super) fn replay(context: &Context, arguments: &Arguments) -> Result<(), Failure> {
    let now = crate::host::now().0;
    let moment = |text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => point(text, now).map(Some).map_err(Failure::Usage),
    };
    let period = Period { since: moment(&arguments.since)?, until: moment(&arguments.until)? };
    let jails = chosen(context, &arguments.jail)?;
    let settings = &context.settings;
    let zone = Zone::new(jiff::tz::TimeZone::system());
    let limits = settings.limits.engine();
    let mut replay = Replay::new(jails.clone(), settings.allow.clone(), limits, period, zone);
    for log in &arguments.logs {
        let path = Path::new(log);
        replay.next_log();
        if path.is_dir() {
            of_journal(context, Place::Directory(path.to_owned()), &jails, period, &mut replay)?;
        } else if log.starts_with("systemd-journal") && !path.exists() {
            of_journal(context, Place::System, &jails, period, &mut replay)?;
        } else {
            of_file(context, path, &arguments.encoding, &jails, now, &mut replay)?;
        }
    }
    if context.json {
        return output::json(&json!({
            "lines": replay.lines,
            "from": replay.span.map(|(from, _)| from),
            "to": replay.span.map(|(_, to)| to),
            "jails": replay.jails,
            "bans": replay.bans,
            "left-out": replay.left_out,
        }));
    }
    for left_out in &replay.left_out {
        output::talk(&format!("note: {left_out}"));
    }
    output::print(&in_words(&replay, layout::columns()))
}

/// The configured jails, or those of them that are named.
fn chosen(context: &Context, names: &[String]) -> Result<Vec<Jail>, Failure> {
    let loaded = config::jails(&context.settings);
    for problem in loaded.diagnostics.errors() {
        output::talk(&problem.to_string());
    }
    for name in names {
        if !loaded.jails.iter().any(|jail| jail.name.as_str() == name) {
            return Err(Failure::NotDone(format!("Sorry but the jail '{name}' does not exist")));
        }
    }
    let wanted =
        |jail: &Jail| names.is_empty() || names.iter().any(|name| name == jail.name.as_str());
    let jails: Vec<Jail> = loaded.jails.into_iter().filter(wanted).collect();
    if jails.is_empty() {
        return Err(Failure::Configuration("no jail is enabled".to_owned()));
    }
    Ok(jails)
}

fn of_file(
    context: &Context,
    path: &Path,
    encoding: &str,
    jails: &[Jail],
    now: Timestamp,
    replay: &mut Replay,
) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::NotDone(error.to_string());
    let ids = || (0..).map(JailId).zip(jails);
    let naming = ids().filter(|(_, jail)| names(jail, path)).map(|(id, _)| id);
    let mut readers: Vec<JailId> = naming.collect();
    if readers.is_empty() {
        readers =
            ids().filter(|(_, jail)| jail.source != LogSource::OwnBans).map(|j| j.0).collect();
        if jails.len() > 1 {
            output::talk(&format!(
                "note: no jail's logpath names {}: every jail reads it (choose with --jail)",
                path.display()
            ));
        }
    }
    let file = LogFile::open(path, encoding).map_err(|error| failed(&error))?;
    let progress = Progress::bytes(file.length, context.json);
    let mut lines = 0;
    file.each(|line, done| {
        lines += 1;
        if lines % STRIDE == 0 {
            progress.reached(done);
        }
        if !line.is_empty() {
            replay.line(line, &readers, now);
        }
        ControlFlow::Continue(())
    })
    .map_err(|error| failed(&error))
}

/// Whether a jail's `logpath` names a file.
fn names(jail: &Jail, path: &Path) -> bool {
    let LogSource::Files(files) = &jail.source else { return false };
    let whole = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let same = |other: PathBuf| std::fs::canonicalize(&other).unwrap_or(other) == whole;
    files.patterns.iter().flat_map(|pattern| glob::matching(&pattern.path)).any(same)
}

fn of_journal(
    context: &Context,
    place: Place,
    jails: &[Jail],
    period: Period,
    replay: &mut Replay,
) -> Result<(), Failure> {
    let subscriptions: Vec<(JailId, JournalMatch)> = (0..)
        .map(JailId)
        .zip(jails)
        .filter_map(|(id, jail)| Some((id, jail.journal_match()?.clone())))
        .collect();
    if subscriptions.is_empty() {
        return Err(Failure::NotDone("no jail reads the journal".to_owned()));
    }
    let start = Start::Since(period.since.unwrap_or_default());
    let options = journal::Options { place, subscriptions, start, boot: None, interest: None };
    let progress = Progress::bytes(None, context.json);
    let mut done = 0;
    journal::read_stored(options, Arc::new(Counters::default()), |batch| {
        done += batch.entries.len() as u64;
        progress.reached(done);
        for entry in batch.entries {
            replay.entry(entry);
        }
        match period.until {
            Some(until) if batch.position.time >= until => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    })
    .map_err(|error| Failure::NotDone(error.to_string()))
}

/// A point in time as people write it; `now` is what lengths count from.
pub(super) fn point(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let text = text.trim();
    if let Some(seconds) = text.strip_prefix('@').and_then(|seconds| seconds.parse().ok()) {
        return Ok(Timestamp::from_seconds(seconds));
    }
    let zone = jiff::tz::TimeZone::system();
    let civil = text.parse::<jiff::civil::DateTime>().or_else(|_| {
        text.parse::<jiff::civil::Date>()
            .map(|date| date.to_datetime(jiff::civil::Time::midnight()))
    });
    if let Ok(civil) = civil {
        let zoned = civil.to_zoned(zone).map_err(|error| error.to_string())?;
        return Ok(Timestamp::from_micros(zoned.timestamp().as_microsecond()));
    }
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp::from_micros(instant.as_microsecond()));
    }
    match config::ban_time(text.trim_start_matches('-')) {
        Ok(Some(span)) => Ok(now - span),
        _ => Err(format!(
            "`{text}` is no time: write a date such as 2026-11-22, a time such as \
             '2026-11-22 10:00', or how long ago, such as 2d"
        )),
    }
}

/// What the jails read, and whom they would have banned.
pub(super) fn in_words(replay: &Replay, columns: usize) -> String {
    let number = |count: u64| if count == 0 { "-".to_owned() } else { count.to_string() };
    let rows: Vec<Vec<String>> = replay
        .jails
        .iter()
        .map(|jail| {
            vec![
                jail.jail.to_string(),
                number(jail.lines),
                number(jail.failures),
                number(jail.sources as u64),
                number(jail.bans),
                number(jail.allowed),
                number(jail.planted),
                number(jail.given_up),
            ]
        })
        .collect();
    let header = ["JAIL", "LINES", "FAILED", "SOURCES", "BANS", "ALLOWED", "PLANTED", "GIVEN UP"];
    let mut text = layout::table(&header, &rows, columns);
    if !replay.bans.is_empty() {
        let rows: Vec<Vec<String>> = replay
            .bans
            .iter()
            .map(|ban| {
                vec![
                    ban.jail.to_string(),
                    ban.address.to_string(),
                    layout::minutes(ban.since),
                    ban.until.map_or_else(|| "never ends".to_owned(), layout::minutes),
                    ban.why.clone(),
                ]
            })
            .collect();
        text.push('\n');
        let header = ["JAIL", "ADDRESS", "BANNED AT", "UNTIL", "WHY"];
        text.push_str(&layout::table(&header, &rows, columns));
    }
    text.push_str(&match replay.span {
        Some((from, to)) => {
            format!("\n{} lines from {} to {}\n", replay.lines, local(from), local(to))
        }
        None => format!("\n{} lines\n", replay.lines),
    });
    text
}
