//! `guardctl check`: is the configuration sound, and can it be abused?

use std::fmt::Write as _;
use std::fs;
use std::io::IsTerminal as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;

use crate::cli::{Failure, layout, output, progress::Progress};
use crate::config::notify::Means;
use crate::config::{Diagnostic, Settings, Severity};
use crate::tool::check::{self, Found, Level, Report};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    guardctl check                    look at /etc/guard and the jails there\n  \
    guardctl --config my.toml check   look at another configuration\n  \
    guardctl check --quiet            only what is wrong\n  \
    guardctl --json check | jq '.found[].message'\n\n\
    Examples of filters are read from filter.d/examples/NAME.toml beside the filter.\n\
    Exit codes: 0 sound (there may be notes), 1 warnings, 78 errors.")]
pub(super) struct Arguments {
    /// Print nothing but warnings and errors.
    #[arg(long, short)]
    quiet: bool,
}

pub(super) fn check(
    config: Option<&Path>,
    as_json: bool,
    arguments: &Arguments,
) -> Result<u8, Failure> {
    let report = match Settings::load(config) {
        Ok(settings) => {
            let progress = Progress::words(as_json || arguments.quiet);
            let file = config.unwrap_or(Path::new(Settings::PATH));
            let mut report =
                check::check(&settings, |what| progress.say(&format!("checking {what}")));
            report.found.extend(told_to_all(&settings, file).map(of_settings));
            report
        }
        Err(problems) => {
            Report { found: problems.0.into_iter().map(of_settings).collect(), ..Report::default() }
        }
    };
    if as_json {
        output::json(&in_json(&report))?;
    } else {
        output::print(&in_words(&report, arguments.quiet))?;
    }
    Ok(match report.worst() {
        None | Some(Level::Note) => 0,
        Some(Level::Warning) => 1,
        Some(Level::Error) => 78,
    })
}

/// That everybody on this host may read where notices go.
fn told_to_all(settings: &Settings, file: &Path) -> Option<Diagnostic> {
    let calls = settings.notify.iter().any(|hook| matches!(hook.means, Means::Webhook(_)));
    let mode = fs::metadata(file).ok()?.permissions().mode();
    (calls && mode & 0o004 != 0).then(|| {
        Diagnostic::warning("[[notify]] names a webhook, and every user may read that URL")
            .in_file(file)
            .help(format!(
                "if it is a secret: chgrp guard {file}; chmod 640 {file}",
                file = file.display()
            ))
    })
}

fn of_settings(diagnostic: Diagnostic) -> Found {
    let level = match diagnostic.severity {
        Severity::Error => Level::Error,
        Severity::Warning => Level::Warning,
        Severity::Note => Level::Note,
    };
    Found { level, diagnostic, injection: None }
}

fn in_words(report: &Report, quiet: bool) -> String {
    let colour = output::colour(std::io::stdout().is_terminal());
    let mut text = String::new();
    for found in report.found.iter().filter(|found| !quiet || found.level > Level::Note) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", found.diagnostic.render(colour));
        if let Some(injection) = &found.injection {
            let _ = writeln!(text, " the client {} sends:", injection.sender);
            let _ = writeln!(text, "   {}", output::visible(&injection.sent));
            let _ = writeln!(text, " the daemon logs:");
            let _ = writeln!(text, "   {}", output::visible(&injection.line));
            let _ = writeln!(text, " and the filter finds {}.", injection.planted);
        }
        text.push('\n');
    }
    if !quiet {
        text.push_str(&closing(report, layout::columns()));
    }
    text
}

/// What was looked at, and how it came out.
pub(super) fn closing(report: &Report, columns: usize) -> String {
    let mut text = String::new();
    let rows: Vec<Vec<String>> = report
        .jails
        .iter()
        .map(|jail| {
            let run = report.examples.iter().find(|run| run.jail == jail.name);
            let examples = match run {
                None => "none".to_owned(),
                Some(run) if run.failed.is_empty() => format!("{} pass", run.count),
                Some(run) => format!("{} of {} FAIL", run.failed.len(), run.count),
            };
            vec![jail.name.clone(), jail.filter.clone(), jail.expressions.to_string(), examples]
        })
        .collect();
    if !rows.is_empty() {
        let header = ["JAIL", "FILTER", "EXPRESSIONS", "EXAMPLES"];
        text.push_str(&layout::table(&header, &rows, columns));
        text.push('\n');
    }
    let count = |level, one: &str, many: &str| match report.count(level) {
        1 => format!("1 {one}"),
        n => format!("{n} {many}"),
    };
    let _ = writeln!(
        text,
        "{}, {}, {}",
        count(Level::Error, "error", "errors"),
        count(Level::Warning, "warning", "warnings"),
        count(Level::Note, "note", "notes"),
    );
    text
}

fn in_json(report: &Report) -> serde_json::Value {
    let found: Vec<_> = report
        .found
        .iter()
        .map(|found| {
            let diagnostic = &found.diagnostic;
            let place = diagnostic.place.as_ref();
            json!({
                "level": found.level,
                "message": diagnostic.message,
                "jail": diagnostic.jail,
                "file": diagnostic.file,
                "line": place.map(|place| place.line),
                "column": place.map(|place| place.column),
                "help": diagnostic.help,
                "injection": found.injection,
            })
        })
        .collect();
    let sshd = report.sshd.as_ref().map(|asked| match asked {
        Ok(settings) => json!(settings),
        Err(why) => json!({ "unknown": why }),
    });
    json!({
        "jails": report.jails,
        "found": found,
        "examples": report.examples,
        "sshd": sshd,
        "summary": check::summary(report),
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};

    use super::*;

    #[test]
    fn a_webhook_that_every_user_may_read_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("guard.toml");
        let (webhook, command) = ("webhook = \"https://h.example/x\"", "command = [\"/x\"]");
        for (mode, means, told) in [
            (0o644, webhook, true),
            (0o640, webhook, false),
            (0o600, webhook, false),
            (0o644, command, false),
        ] {
            let text = format!("[[notify]]\n{means}\n");
            write(&file, &text).expect("written");
            set_permissions(&file, Permissions::from_mode(mode)).expect("set");
            let settings = Settings::parse(&file, &text).expect("settings");
            let found = told_to_all(&settings, &file);
            assert_eq!(found.is_some(), told, "{mode:o} {means}: {found:?}");
        }
    }
}
