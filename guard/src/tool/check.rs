//! The whole configuration, looked at as the agent would read it, and beyond.
//!
//! Input: the agent's settings. Output: a [`Report`]: what is wrong with the files, which
//! examples fail, by which lines clients could have others banned, what the SSH server
//! is set to. Invariant: a warning about a line is given only if the real filter does
//! what the warning says.

use std::collections::BTreeMap;

use crate::config::diagnostic::Place;
use crate::config::{self, Diagnostic, Settings, Severity, WrittenJail};
use crate::core::entry::Daemon;
use crate::core::jail::{Jail, LogSource};
use crate::tool::examples::{self, Whose};
use crate::tool::injection::{self, Injection, Way};
use crate::tool::{forgery, sshd};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Good to know.
    Note,
    /// It works, though not as one would wish.
    Warning,
    /// What it concerns does not work.
    Error,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// How much it matters.
    pub level: Level,
    /// What, where, and what to do.
    pub diagnostic: Diagnostic,
    /// The line that proves it.
    pub injection: Option<Injection>,
}

/// The examples of one filter.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ExamplesRun {
    /// The filter.
    pub filter: String,
    /// The jail through whose filter they were run.
    pub jail: String,
    /// The file.
    pub from: String,
    /// How many there are.
    pub count: usize,
    /// Those that came out otherwise.
    pub failed: Vec<examples::Failed>,
}

/// A jail that starts.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CheckedJail {
    /// Its name.
    pub name: String,
    /// Its filter.
    pub filter: String,
    /// How many expressions it looks with.
    pub expressions: usize,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The jails that start, in order.
    pub jails: Vec<CheckedJail>,
    /// Everything found, in the order of the checks.
    pub found: Vec<Found>,
    /// Examples that were run.
    pub examples: Vec<ExamplesRun>,
    /// What `sshd -T` said; nothing if no jail guards it, the reason if it said nothing.
    pub sshd: Option<Result<sshd::SshdSettings, String>>,
}

impl Report {
    /// The level of the worst finding.
    pub fn worst(&self) -> Option<Level> {
        self.found.iter().map(|found| found.level).max()
    }

    /// How many findings there are of a level.
    pub fn count(&self, level: Level) -> usize {
        self.found.iter().filter(|found| found.level == level).count()
    }

    fn prove(&mut self, diagnostic: Diagnostic, injection: Injection) {
        let same = |known: &Found| {
            known.injection.as_ref() == Some(&injection)
                && known.diagnostic.place == diagnostic.place
        };
        if !self.found.iter().any(same) {
            let (level, injection) = (Level::Warning, Some(injection));
            self.found.push(Found { level, diagnostic, injection });
        }
    }

    fn add(&mut self, level: Level, diagnostic: Diagnostic) {
        let found = Found { level, diagnostic, injection: None };
        // Jails share filters: what is said once need not be said again.
        let same = |known: &Found| {
            known.diagnostic.message == found.diagnostic.message
                && known.diagnostic.place == found.diagnostic.place
                && found.diagnostic.place.is_some()
        };
        if !self.found.iter().any(same) {
            self.found.push(found);
        }
    }
}

/// Checks jails and filters. `progress` is told what is being looked at.
pub fn check(settings: &Settings, mut progress: impl FnMut(&str)) -> Report {
    let mut report = Report::default();
    progress("the configuration");
    let loaded = config::jails(settings);
    for diagnostic in loaded.diagnostics.0 {
        let level = match diagnostic.severity {
            Severity::Error => Level::Error,
            Severity::Warning => Level::Warning,
            Severity::Note => Level::Note,
        };
        report.found.push(Found { level, diagnostic, injection: None });
    }
    for (jail, written) in loaded.jails.iter().zip(&loaded.written) {
        progress(jail.name.as_str());
        report.jails.push(CheckedJail {
            name: jail.name.to_string(),
            filter: written.filter.clone(),
            expressions: written.failregex.len(),
        });
        run_examples(settings, jail, written, &mut report);
        look_for_injections(settings, jail, written, &mut report);
        look_for_forgery(jail, written, &mut report);
    }
    let guarding: Vec<(&Jail, &WrittenJail)> =
        loaded.jails.iter().zip(&loaded.written).filter(|(jail, w)| guards_sshd(jail, w)).collect();
    if !guarding.is_empty() {
        progress("sshd -T");
        compare_with_sshd(&guarding, sshd::ask(), &mut report);
    }
    report
}

fn run_examples(settings: &Settings, jail: &Jail, written: &WrittenJail, report: &mut Report) {
    let shipped =
        |place: &Option<Place>| WrittenJail::is_shipped(place.as_ref(), &settings.vendor_directory);
    // A host's own filter under a vendor's name is not the one that the examples are for.
    let all_shipped = written.failregex.iter().all(|(_, place)| shipped(place));
    let whose = if all_shipped { Whose::Vendor } else { Whose::Host };
    let about = |message: String| {
        let place = written.failregex.first().and_then(|(_, place)| place.as_ref());
        written.warning(place, message)
    };
    match examples::read(settings, &written.filter, whose) {
        Ok(None) => {}
        Ok(Some((path, examples))) => {
            let failed = examples.run(&jail.filter);
            for one in &failed {
                let message = format!("an example of filter `{}` fails: {one}", written.filter);
                let help = format!("the example is in {}; mend it or the filter", path.display());
                report.add(Level::Warning, about(message).help(help));
            }
            report.examples.push(ExamplesRun {
                filter: written.filter.clone(),
                jail: jail.name.to_string(),
                from: path.display().to_string(),
                count: examples.count(),
                failed,
            });
        }
        Err(problem) => {
            let help = "see the header of guard's own filter.d/examples/sshd.toml for the form";
            report.add(Level::Warning, about(format!("examples: {problem}")).help(help));
        }
    }
}

fn look_for_injections(
    settings: &Settings,
    jail: &Jail,
    written: &WrittenJail,
    report: &mut Report,
) {
    let daemon = jail.journal_match().and_then(forgery::known_daemon);
    let program = program(jail, written, daemon);
    let (guarded, open): (Vec<Injection>, Vec<Injection>) =
        injection::injections(&jail.filter, &program, daemon).into_iter().partition(|i| i.guarded);
    let place_of = |injection: &Injection| {
        written.failregex.get(injection.expression - 1).and_then(|(_, place)| place.as_ref())
    };
    for injection in open {
        let message = format!(
            "a client can have others banned through this expression: {}",
            how(injection.way)
        );
        let diagnostic = written.warning(place_of(&injection), message).help(remedy(injection.way));
        report.prove(diagnostic, injection);
    }
    // Guard's own rest on what it knows of the daemon; others should hold by themselves.
    let shipped = |injection: &Injection| {
        WrittenJail::is_shipped(place_of(injection), &settings.vendor_directory)
    };
    let mut guarded = guarded.into_iter().filter(|injection| !shipped(injection));
    if let Some(first) = guarded.next() {
        let others = guarded.count();
        let others = match others {
            0 => String::new(),
            1 => " (and one more of this filter)".to_owned(),
            n => format!(" (and {n} more of this filter)"),
        };
        let message = format!(
            "through this expression{others} a client can have others banned by Fail2Ban: {}; \
             guard knows this daemon's messages and is not fooled",
            how(first.way)
        );
        let diagnostic = written.warning(place_of(&first), message).help(remedy(first.way));
        report.prove(diagnostic, first);
    }
}

fn how(way: Way) -> &'static str {
    match way {
        Way::Wildcard => "its wildcards take what the client wrote for the daemon's words",
        Way::Unanchored => "nothing ties it to the beginning of the message",
    }
}

fn remedy(way: Way) -> &'static str {
    match way {
        Way::Wildcard => {
            "tie the expression to both ends with ^ and $, and let nothing match the daemon's own \
             words a second time, such as user=[^ ]* in place of user=.*"
        }
        Way::Unanchored => {
            "begin the expression with ^ and the daemon's tag, such as ^\\S+ NAME\\[\\d+\\]: "
        }
    }
}

/// What the jail's daemon calls itself in the log, as far as the jail tells.
fn program(jail: &Jail, written: &WrittenJail, daemon: Option<Daemon>) -> String {
    if let Some(name) = daemon.and_then(|daemon| daemon.programs().first()) {
        return (*name).to_owned();
    }
    let mut fields = jail.journal_match().into_iter().flat_map(|m| m.alternatives.iter().flatten());
    let named = fields.find_map(|field| match (field.field.as_str(), field.values.first()) {
        ("SYSLOG_IDENTIFIER" | "_COMM", Some(name)) => Some(name.clone()),
        ("_SYSTEMD_UNIT", Some(unit)) => unit.strip_suffix(".service").map(str::to_owned),
        _ => None,
    });
    let plain =
        |name: &String| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    named.filter(plain).unwrap_or_else(|| written.filter.clone())
}

fn look_for_forgery(jail: &Jail, written: &WrittenJail, report: &mut Report) {
    let LogSource::Journal(matches) = &jail.source else { return };
    for open in forgery::forgeable(matches) {
        let message =
            format!("every local user can write entries with {open}, and have others banned");
        report.add(
            Level::Warning,
            written.warning(written.journal_match.as_ref(), message).help(
                "add what journald itself states: `_UID=0` beside it, or \
                 `_SYSTEMD_UNIT=NAME.service`",
            ),
        );
    }
}

fn guards_sshd(jail: &Jail, written: &WrittenJail) -> bool {
    let reads = jail.journal_match().and_then(forgery::known_daemon) == Some(Daemon::Sshd);
    reads || written.filter == "sshd"
}

fn compare_with_sshd(
    guarding: &[(&Jail, &WrittenJail)],
    asked: Result<sshd::SshdSettings, String>,
    report: &mut Report,
) {
    match &asked {
        Ok(settings) => {
            for (jail, written) in guarding {
                for advice in sshd::advice(settings, jail) {
                    let place = match advice.about {
                        sshd::About::Port => written.port.as_ref(),
                        sshd::About::MaxRetry => written.max_retry.as_ref(),
                        sshd::About::Jail => None,
                    };
                    report.add(
                        Level::Warning,
                        written.warning(place, advice.message).help(advice.help),
                    );
                }
            }
        }
        Err(why) => {
            let names: Vec<&str> = guarding.iter().map(|(jail, _)| jail.name.as_str()).collect();
            let message =
                format!("{} was not compared with sshd's settings: {why}", names.join(", "));
            report.add(Level::Note, Diagnostic::note(message));
        }
    }
    report.sshd = Some(asked);
}

/// How often each level was found, for a summary.
pub fn summary(report: &Report) -> BTreeMap<&'static str, usize> {
    [("errors", Level::Error), ("warnings", Level::Warning), ("notes", Level::Note)]
        .into_iter()
        .map(|(name, level)| (name, report.count(level)))
        .collect()
}
