//! `guardctl explain ADDR|LINE`: why somebody is banned or not, and what becomes of a
//! line.

use std::fmt::Write as _;

use crate::cli::{Context, Failure, layout, output};
use crate::config;
use crate::control::protocol::{Request, Response, Standing};
use crate::core::addr::Prefix;
use crate::core::date::Zone;
use crate::core::time::Span;
use crate::daemon::report::local;
use crate::tool::verdict::{self, Decision, Verdict};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    guardctl explain 192.0.2.1        how does it stand in each jail?\n  \
    guardctl explain 'pve sshd[1]: Invalid user admin from 192.0.2.1 port 4000'\n  \
    tail -1 /var/log/auth.log | guardctl explain -\n\n\
    For an address the running agent is asked, for a line nobody: the jails are read\n\
    from the configuration, and the line is taken as proven to be of whom it names.")]
pub(super) struct Arguments {
    /// An address, a line of a log, or `-` for a line on standard input.
    #[arg(value_name = "ADDR|LINE", required = true, num_args = 1..)]
    what: Vec<String>,
    /// Only this jail.
    #[arg(long, value_name = "NAME")]
    jail: Option<String>,
}

pub(super) fn explain(context: &Context, arguments: &Arguments) -> Result<(), Failure> {
    let mut what = arguments.what.join(" ");
    if what == "-" {
        what.clear();
        std::io::stdin()
            .read_line(&mut what)
            .map_err(|error| Failure::NotDone(format!("reading standard input: {error}")))?;
    }
    let what = what.trim_end_matches(['\r', '\n']);
    match what.trim().parse::<Prefix>() {
        Ok(source) => of_address(context, arguments, source),
        Err(_) => of_line(context, arguments, what),
    }
}

fn of_address(context: &Context, arguments: &Arguments, source: Prefix) -> Result<(), Failure> {
    let Response::Explained(mut all) = context.ask(&Request::Explain { source })? else {
        return Err(Failure::NotDone("the agent answered something else".to_owned()));
    };
    if let Some(name) = &arguments.jail {
        all.retain(|standing| standing.jail.as_str() == name);
        if all.is_empty() {
            return Err(Failure::NotDone(format!("Sorry but the jail '{name}' does not exist")));
        }
    }
    if context.json {
        return output::json(&all);
    }
    output::print(&in_words(source, &all, layout::columns()))
}

/// How a source stands in each jail.
pub(super) fn in_words(source: Prefix, all: &[Standing], columns: usize) -> String {
    let mut text = format!("{source}\n");
    for standing in all {
        // Writing to a string does not fail.
        let _ = writeln!(text, "\n{}", standing.jail);
        for words in words_of(source, standing) {
            let _ = writeln!(text, "{}", layout::below(&words, columns));
        }
    }
    text
}

/// How a source stands in a jail, in sentences.
fn words_of(source: Prefix, standing: &Standing) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(ban) = &standing.ban {
        let until = ban
            .until
            .map_or_else(|| "for ever".to_owned(), |until| format!("until {}", local(until)));
        let with = match source == ban.source {
            true => String::new(),
            false => format!(" with {}", ban.source),
        };
        words.push(format!("banned{with} since {} {until}: {}", local(ban.since), ban.reason));
    }
    match (standing.ban.is_some(), standing.enforced) {
        (true, true) => {
            let dropped = standing.dropped.map(|dropped| format!(", {dropped} packets"));
            words.push(format!("the kernel drops it{}", dropped.unwrap_or_default()));
        }
        (true, false) => {
            words.push("the kernel does NOT hold the ban; guard puts it back now".to_owned());
        }
        (false, true) => words.push("the kernel holds a ban that guard does not want".to_owned()),
        (false, false) => words.push("not banned".to_owned()),
    }
    let (count, limit, within) = (standing.failures.len(), standing.max_retry, standing.find_time);
    words.push(match standing.failures.as_slice() {
        [] => format!("no failure within {within} (a ban comes at {limit})"),
        times => {
            let times: Vec<String> = times.iter().map(|time| local(*time)).collect();
            format!("{count} of {limit} failures within {within}: {}", times.join(", "))
        }
    });
    if let Some(network) = standing.counted_with {
        words.push(format!("counted and banned with {network}"));
    }
    if let Some(allowed) = &standing.allowed {
        words.push(format!("no log line can ban it: {allowed}"));
    }
    words
}

fn of_line(context: &Context, arguments: &Arguments, line: &str) -> Result<(), Failure> {
    let settings = &context.settings;
    let loaded = config::jails(settings);
    for problem in loaded.diagnostics.errors() {
        output::talk(&problem.to_string());
    }
    let host = crate::host::read().map(|host| host.addresses).unwrap_or_default();
    let entry = verdict::entry(line, crate::host::now().0, Zone::new(jiff::tz::TimeZone::system()));
    let wanted = |name: &str| arguments.jail.as_deref().is_none_or(|only| only == name);
    let all: Vec<Verdict> = loaded
        .jails
        .iter()
        .zip(&loaded.written)
        .filter(|(jail, _)| wanted(jail.name.as_str()))
        .map(|(jail, written)| {
            let expressions: Vec<String> =
                written.failregex.iter().map(|(text, _)| text.clone()).collect();
            verdict::verdict(jail, &expressions, &entry, &host, &settings.allow)
        })
        .collect();
    if all.is_empty() {
        return Err(match &arguments.jail {
            Some(name) => Failure::NotDone(format!("Sorry but the jail '{name}' does not exist")),
            None => Failure::Configuration("no jail is enabled".to_owned()),
        });
    }
    if context.json {
        return output::json(&all);
    }
    let all: Vec<String> = all.iter().map(|one| verdict_in_words(one, layout::columns())).collect();
    output::print(&all.join("\n"))
}

/// What a jail makes of a line. What is quoted is not broken.
pub(super) fn verdict_in_words(verdict: &Verdict, columns: usize) -> String {
    let mut text = format!("{}\n", verdict.jail);
    // Writing to a string does not fail.
    for quoted in quotes_of_line(verdict) {
        let _ = writeln!(text, "  {}", output::visible(&quoted));
    }
    for words in words_of_line(verdict) {
        let _ = writeln!(text, "{}", layout::below(&output::visible(&words), columns));
    }
    text
}

/// What matches, and what was captured.
fn quotes_of_line(verdict: &Verdict) -> Vec<String> {
    let mut words = Vec::new();
    if let (Some(number), Some(expression)) = (verdict.number, &verdict.expression) {
        words.push(format!("expression {number}: {expression}"));
    }
    if !verdict.captured.is_empty() {
        let captured: Vec<String> =
            verdict.captured.iter().map(|(name, text)| format!("{name} `{text}`")).collect();
        words.push(format!("captured: {}", captured.join(", ")));
    }
    words
}

/// What becomes of the line, in sentences.
fn words_of_line(verdict: &Verdict) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(planted) = verdict.planted {
        words.push(format!("{planted} is passed over: the client could have written it"));
    }
    if let Some(number) = verdict.given_up {
        words.push(format!("expression {number} took too many steps and was given up"));
    }
    let who = verdict.who.as_deref().unwrap_or("nobody");
    words.push(match &verdict.decision {
        Decision::NoMatch => "no expression matches".to_owned(),
        Decision::Ignored { by } => format!("ignored: ignoreregex {by} matches"),
        Decision::Helper => "no failure by itself: other lines of its connection decide".to_owned(),
        Decision::Allowed { why } => format!("{who} failed, but is never banned: {why}"),
        Decision::NoAddress => format!("{who} failed, but is no address that can be banned"),
        Decision::Counted => format!(
            "{who} failed: counts{} as 1 of {} within {}, then a ban {}",
            verdict.counted_with.map_or(String::new(), |network| format!(" with {network}")),
            verdict.max_retry,
            verdict.find_time,
            length(verdict.ban_time)
        ),
    });
    if let Some(time) = verdict.time {
        words.push(format!("logged at {}", local(time)));
    }
    words
}

fn length(ban_time: Option<Span>) -> String {
    ban_time.map_or_else(|| "for ever".to_owned(), |span| format!("for {span}"))
}
