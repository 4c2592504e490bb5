//! `guardctl regex LOG FILTER [IGNOREREGEX]`: a filter tried on a log, as with
//! `fail2ban-regex`.

mod report;
mod rows;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::cli::{Context, Failure, output, progress::Progress};
use crate::config::{self, NamedFilter};
use crate::core::date::Zone;
use crate::core::entry::Entry;
use crate::core::filter::{FilterText, Limits, UseDns};
use crate::core::jail::{JailId, JournalMatch};
use crate::core::time::Timestamp;
use crate::source::journal::{self, Counters, Place, Start};
use crate::tool::log::LogFile;
use crate::tool::trial::{Options, Outcome, Trial};

/// Lines between two looks at the progress.
const STRIDE: u64 = 1 << 13;

/// As fail2ban-regex ends after an error.
const FAILED: u8 = 255;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    guardctl regex /var/log/auth.log sshd\n  \
    guardctl regex /var/log/auth.log 'sshd[mode=aggressive]' --print-all-missed\n  \
    guardctl regex systemd-journal sshd -m _SYSTEMD_UNIT=ssh.service\n  \
    guardctl regex 'pve app[1]: bad login from 192.0.2.1' '^\\S+ app\\[\\d+\\]: bad login from <HOST>$'\n  \
    guardctl regex -o '<ip> <F-USER>' /var/log/auth.log sshd | sort | uniq -c\n\n\
    Exit codes: 0 tried, whatever matched; 2 wrong usage; 255 the log or the filter\n\
    cannot be used.")]
pub(super) struct Arguments {
    /// A file, `-` for standard input, a log line, or `systemd-journal`.
    log: String,
    /// A filter's name, perhaps with options; the path of its file; or an expression.
    filter: String,
    /// An expression for lines to be left out.
    ignoreregex: Option<String>,
    /// Look for filters in this directory, such as /etc/fail2ban.
    #[arg(short = 'c', long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// How dates are written in the log.
    #[arg(short, long, value_name = "PATTERN")]
    datepattern: Option<String>,
    /// The zone of dates that name none, such as UTC+0200.
    #[arg(long, alias = "TZ", value_name = "ZONE")]
    timezone: Option<String>,
    /// How the file is encoded.
    #[arg(short, long, default_value = "UTF-8")]
    encoding: String,
    /// Take host names as they are.
    #[arg(short, long)]
    raw: bool,
    /// Whether <HOST> is a name too: yes, warn, no or raw. Names are never resolved here.
    #[arg(long, value_name = "HOW", value_parser = ["yes", "warn", "no", "raw"])]
    usedns: Option<String>,
    /// So many lines are tried together.
    #[arg(short = 'L', long, value_name = "COUNT")]
    maxlines: Option<usize>,
    /// Which journal entries to read, in place of the filter's own choice.
    #[arg(short = 'm', long, value_name = "MATCH")]
    journalmatch: Option<String>,
    /// Read the journal files in this directory.
    #[arg(long, value_name = "DIR")]
    journal_directory: Option<PathBuf>,
    /// Accepted for fail2ban-regex's sake.
    #[arg(short = 'l', long, value_name = "LEVEL", hide = true)]
    log_level: Option<String>,
    /// Show every expression, and who it found.
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Stop at the first expression that matches a line, as the agent does.
    #[arg(long)]
    no_check_all: bool,
    /// Print only what was found: id, ip, user, msg, row, host, a group's name, or a text
    /// with tags such as '<ip> <F-USER> <time>'.
    #[arg(short, long, value_name = "FORM")]
    out: Option<String>,
    /// Print no missed line.
    #[arg(long, conflicts_with = "print_all_missed")]
    print_no_missed: bool,
    /// Print no ignored line.
    #[arg(long, conflicts_with = "print_all_ignored")]
    print_no_ignored: bool,
    /// Print all matched lines.
    #[arg(long)]
    print_all_matched: bool,
    /// Print all missed lines.
    #[arg(long)]
    print_all_missed: bool,
    /// Print all ignored lines.
    #[arg(long)]
    print_all_ignored: bool,
}

/// Where the lines come from.
enum Log {
    File(PathBuf),
    Lines(Vec<String>),
    Journal,
}

impl Arguments {
    fn log(&self) -> Log {
        let path = Path::new(&self.log);
        if path.is_file() || self.log == "-" {
            Log::File(path.to_owned())
        } else if self.log.starts_with("systemd-journal") {
            Log::Journal
        } else {
            Log::Lines(self.log.split('\n').map(str::to_owned).collect())
        }
    }
}

pub(super) fn regex(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let log = arguments.log();
    let mut told = report::Head::new(arguments.out.is_some() || context.json);
    let (text, journal_match) = match filter(context, arguments, &log, &mut told) {
        Ok(found) => found,
        Err(problem) => return refuse(&told, &problem),
    };
    let keep = |all: bool, none: bool, some: usize| match (all, none) {
        (true, _) => usize::MAX,
        (_, true) => 0,
        _ => some,
    };
    let options = Options {
        check_all: !arguments.no_check_all && arguments.out.is_none(),
        keep: [
            keep(arguments.print_all_ignored, arguments.print_no_ignored, report::MOST_LINES),
            keep(arguments.print_all_matched, true, 0),
            keep(arguments.print_all_missed, arguments.print_no_missed, report::MOST_LINES),
        ],
        keep_found: arguments.verbose > 0,
        examine: arguments.out.is_some(),
    };
    let limits =
        Limits { steps: context.settings.limits.match_steps as usize, ..Limits::default() };
    let mut trial = match Trial::new(&text, limits, options) {
        Ok(trial) => trial,
        Err(problems) => {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            return refuse(&told, &problems.join("\n"));
        }
    };
    told.log(&log_words(&log, arguments, &journal_match));
    told.print()?;
    let begun = Instant::now();
    let mut rows = arguments.out.as_deref().map(rows::Rows::new);
    let hidden = context.json;
    let result = match log {
        Log::File(path) => of_file(&path, arguments, hidden, &mut trial, rows.as_mut()),
        Log::Lines(lines) => {
            let now = crate::host::now().0;
            for line in lines.iter().filter(|line| counts(line)) {
                let outcome = trial.line(line, now);
                if tell(rows.as_mut(), outcome, &trial, line).is_break() {
                    break;
                }
            }
            Ok(())
        }
        Log::Journal => of_journal(arguments, journal_match, hidden, &mut trial, rows.as_mut()),
    };
    if let Err(problem) = result {
        output::talk(&format!("ERROR: {problem}"));
        return Ok(FAILED);
    }
    let seconds = begun.elapsed().as_secs_f64();
    match rows {
        Some(rows) => rows.finish()?,
        None if context.json => output::json(&report::in_json(&trial, seconds))?,
        None => output::print(&report::in_words(&trial, arguments, seconds))?,
    }
    if trial.given_up > 0 {
        output::talk(&format!(
            "warning: on {} lines an expression took more than {} steps and was given up",
            trial.given_up, limits.steps
        ));
    }
    Ok(0)
}

fn refuse(told: &report::Head, problem: &str) -> Result<u8, Failure> {
    told.print()?;
    output::talk(&format!("ERROR: {problem}"));
    Ok(FAILED)
}

/// The filter's text with what the command line changes in it, and what it reads.
fn filter(
    context: &Context,
    arguments: &Arguments,
    log: &Log,
    told: &mut report::Head,
) -> Result<(FilterText, Option<JournalMatch>), String> {
    let of_journal = matches!(log, Log::Journal);
    let settings = &context.settings;
    let (directory, vendor) = match &arguments.directory {
        Some(directory) => (directory.as_path(), Path::new("/nowhere")),
        None => (settings.jail_directory.as_path(), settings.vendor_directory.as_path()),
    };
    let named = config::named_filter(directory, vendor, &arguments.filter, of_journal);
    let (mut text, own_match) = match named {
        Some(Ok(NamedFilter { name, directory, options, text, journal_match, diagnostics })) => {
            told.filter(&name, &directory, &options);
            for problem in &diagnostics.0 {
                output::talk(&problem.to_string());
            }
            (text, journal_match)
        }
        Some(Err(problem)) => return Err(problem.to_string()),
        None => {
            told.expression("failregex", &arguments.filter);
            let text = FilterText {
                failregex: vec![arguments.filter.clone()],
                host_zone: Zone::new(jiff::tz::TimeZone::system()),
                use_dns: UseDns::Warn,
                ..FilterText::default()
            };
            (text, None)
        }
    };
    if let Some(ignoreregex) = &arguments.ignoreregex {
        told.expression("ignoreregex", ignoreregex);
        text.ignoreregex.push(ignoreregex.clone());
    }
    if let Some(pattern) = &arguments.datepattern {
        text.date_pattern.clone_from(pattern);
    }
    if let Some(zone) = &arguments.timezone {
        text.log_timezone.clone_from(zone);
    }
    if let Some(lines) = arguments.maxlines {
        text.max_lines = lines;
    }
    text.use_dns = match arguments.usedns.as_deref() {
        _ if arguments.raw => UseDns::Raw,
        Some("yes") => UseDns::Yes,
        Some("warn") => UseDns::Warn,
        Some("no") => UseDns::No,
        Some(_) => UseDns::Raw,
        None => text.use_dns,
    };
    told.settings(&text);
    let journal_match = match &arguments.journalmatch {
        Some(matches) => {
            Some(config::parse_journal_match(matches).map_err(|problem| problem.to_string())?)
        }
        None => own_match,
    };
    Ok((text, journal_match))
}

fn log_words(log: &Log, arguments: &Arguments, matches: &Option<JournalMatch>) -> Vec<String> {
    match log {
        Log::File(path) => vec![
            format!("Use         log file : {}", path.display()),
            format!("Use         encoding : {}", arguments.encoding),
        ],
        Log::Journal => {
            let mut words = vec!["Use         systemd journal".to_owned()];
            words.extend(matches.iter().map(|m| format!("Use    journal match : {m}")));
            words
        }
        Log::Lines(lines) => match lines.as_slice() {
            [line] => vec![format!("Use      single line : {}", report::short(line))],
            lines => vec![format!("Use      multi line : {} line(s)", lines.len())],
        },
    }
}

/// Comments and empty lines are not tried.
fn counts(line: &str) -> bool {
    !line.is_empty() && !line.starts_with('#')
}

fn of_file(
    path: &Path,
    arguments: &Arguments,
    hidden: bool,
    trial: &mut Trial,
    mut rows: Option<&mut rows::Rows>,
) -> Result<(), String> {
    let file = LogFile::open(path, &arguments.encoding).map_err(|error| error.to_string())?;
    let progress = Progress::bytes(file.length, hidden);
    let now = crate::host::now().0;
    let mut lines = 0;
    file.each(|line, done| {
        lines += 1;
        if lines % STRIDE == 0 {
            progress.reached(done);
        }
        if !counts(line) {
            return ControlFlow::Continue(());
        }
        let outcome = trial.line(line, now);
        tell(rows.as_deref_mut(), outcome, trial, line)
    })
    .map_err(|error| error.to_string())
}

fn of_journal(
    arguments: &Arguments,
    matches: Option<JournalMatch>,
    hidden: bool,
    trial: &mut Trial,
    mut rows: Option<&mut rows::Rows>,
) -> Result<(), String> {
    let place = arguments.journal_directory.clone().map_or(Place::System, Place::Directory);
    let options = journal::Options {
        place,
        subscriptions: vec![(JailId(0), matches.unwrap_or_default())],
        start: Start::Since(Timestamp::from_seconds(0)),
        boot: None,
        interest: None,
    };
    let progress = Progress::bytes(None, hidden);
    let mut done = 0;
    journal::read_stored(options, Arc::new(Counters::default()), |batch| {
        for entry in &batch.entries {
            let outcome = trial.entry(entry);
            if tell(rows.as_deref_mut(), outcome, trial, shown(entry)).is_break() {
                return ControlFlow::Break(());
            }
        }
        done += batch.entries.len() as u64;
        progress.reached(done);
        ControlFlow::Continue(())
    })
    .map_err(|error| error.to_string())
}

fn shown(entry: &Entry) -> &str {
    &entry.line
}

/// Prints what was found in a line, if that is wanted.
fn tell(
    rows: Option<&mut rows::Rows>,
    outcome: Outcome,
    trial: &Trial,
    line: &str,
) -> ControlFlow<()> {
    match (rows, &trial.last) {
        (Some(rows), Some((_, Some(attempt), examined))) if outcome == Outcome::Matched => {
            rows.tell(attempt, examined, line)
        }
        _ => ControlFlow::Continue(()),
    }
}
