//! Where a jail's log lines come from: `backend`, `logpath` and `journalmatch`.
//!
//! Input: a jail's options. Output: [`LogSource`]. Whoever reads Fail2Ban's log or
//! guard's own, or the journal of one of their units, gets guard's own bans, without
//! reading a log. With `backend = auto` and no log file, a filter that says what to look
//! for in the journal reads that, as in Fail2Ban 1.1 (`systemd_if_nologs`). Invariant:
//! what is read instead of what is written is told.

use crate::config::diagnostic::{Checked, Diagnostic, Diagnostics, nearest};
use crate::config::resolve::{Resolved, taken};
use crate::config::text::Text;
use crate::config::{glob, journalmatch, option_list, options};
use crate::core::entry::Daemon;
use crate::core::jail::{JournalMatch, LogFiles, LogPattern, LogSource};

/// Units whose log holds bans.
const OWN_UNITS: [&str; 2] = ["guard.service", "fail2ban.service"];

/// Backends that read files, in guard all in the same way.
const FILE_BACKENDS: [&str; 4] = ["auto", "pyinotify", "polling", "gamin"];

/// Where the lines of a jail come from; nothing if an error is told. `own_logs` are
/// files that bans are written to. The jail is expanded anew if it reads the journal in
/// place of files.
pub(crate) fn log_source(
    jail: &mut Resolved<'_>,
    own_logs: &[String],
    found: &mut Diagnostics,
) -> Option<LogSource> {
    let value = jail.option("backend").cloned().unwrap_or_else(|| Text::generated("auto"));
    let backend = taken(option_list::parse_one(&value), found)?;
    let name = backend.name.as_str().to_lowercase();
    for (option, value) in &backend.options {
        found.push(
            Diagnostic::warning(format!("backend option `{option}` has no effect"))
                .at(value)
                .help("guard reads the system's journal, or the files of logpath"),
        );
    }
    if name == "systemd" {
        return journal(jail, found);
    }
    if !FILE_BACKENDS.contains(&name.as_str()) {
        let near = nearest(&name, FILE_BACKENDS.into_iter().chain(["systemd"]));
        found.push(
            Diagnostic::error(format!("unknown backend `{name}`"))
                .at(&backend.name)
                .help("write systemd for the journal, or auto for the files of logpath")
                .maybe_help(near.map(|near| format!("did you mean `{near}`?"))),
        );
        return None;
    }
    files(jail, name == "auto", own_logs, found)
}

fn files(
    jail: &mut Resolved<'_>,
    may_turn: bool,
    own_logs: &[String],
    found: &mut Diagnostics,
) -> Option<LogSource> {
    let value = jail.option("logpath").cloned().unwrap_or_default();
    let patterns = log_patterns(&value, found)?;
    let (own, others): (Vec<_>, Vec<_>) =
        patterns.into_iter().partition(|pattern| own_logs.iter().any(|log| means(pattern, log)));
    if others.is_empty() && !own.is_empty() {
        return Some(LogSource::OwnBans);
    }
    if let Some(own) = own.first() {
        found.push(
            Diagnostic::warning(format!("`{}` is not read beside other files", own.path))
                .at(&value)
                .help("guard's own bans are a source by themselves: make another jail for them"),
        );
    }
    let skip = boolean(jail, "skip_if_nologs", false, found);
    let may_turn = boolean(jail, "systemd_if_nologs", true, found)? && may_turn;
    let has_match = jail.filter.as_ref().is_some_and(|filter| !filter.journalmatch.is_blank());
    let none_exists = others.iter().all(|pattern| glob::matching(&pattern.path).is_empty());
    let place = jail.scope().key("logpath").unwrap_or(jail.name()).clone();
    let paths = value.as_str().split_whitespace().collect::<Vec<_>>().join(" ");
    if none_exists && may_turn && has_match {
        let what = match value.is_blank() {
            true => "the jail has no logpath: it reads the journal".to_owned(),
            false => format!("no file matches `{paths}`: the jail reads the journal instead"),
        };
        found.push(Diagnostic::warning(what).at(&place).help(
            "write `backend = systemd` if that is meant, or `systemd_if_nologs = false` to wait for the files",
        ));
        jail.set("backend", "systemd", found);
        return journal(jail, found);
    }
    if others.is_empty() {
        found.push(Diagnostic::error("the jail reads nothing: it has no logpath").at(&place).help(
            "name log files with `logpath`, or write `backend = systemd` and a `journalmatch`",
        ));
        return None;
    }
    if none_exists {
        found.push(
            Diagnostic::warning(format!("no file matches `{paths}` yet: the jail waits for one"))
                .at(&place)
                .help("correct the path, or write `backend = systemd` if the daemon logs to the journal"),
        );
    }
    skip?;
    let encoding = match jail.option("logencoding").map(|value| value.as_str().trim()) {
        None => "utf-8".to_owned(),
        Some(label) if label.eq_ignore_ascii_case("auto") => "utf-8".to_owned(),
        Some(label) => label.to_lowercase(),
    };
    // A file that comes later is found then, whatever `skip_if_nologs` says.
    Some(LogSource::Files(LogFiles { patterns: others, encoding, may_be_missing: true }))
}

fn boolean(jail: &Resolved<'_>, key: &str, default: bool, found: &mut Diagnostics) -> Option<bool> {
    let value = jail.option(key);
    value.map_or(Some(default), |value| taken(options::boolean(key, value), found))
}

/// One path a line, each with `head` or `tail` after it or nothing.
fn log_patterns(value: &Text, found: &mut Diagnostics) -> Option<Vec<LogPattern>> {
    let lines = value.split(|c| c == '\n');
    lines.iter().map(|line| taken(log_pattern(line), found)).collect()
}

fn log_pattern(line: &Text) -> Checked<LogPattern> {
    let (path, word) = line.as_str().rsplit_once(' ').unwrap_or((line.as_str(), "head"));
    let path = path.trim_end();
    let from_end = match word.to_lowercase().as_str() {
        "head" => false,
        "tail" => true,
        _ => {
            let at = line.part(line.len() - word.len()..line.len());
            return Err(Diagnostic::error(format!("logpath: `{word}` is neither head nor tail"))
                .at(&at)
                .help("write one path a line, without white space; `?` stands for any character")
                .into());
        }
    };
    if !path.starts_with('/') {
        return Err(Diagnostic::error(format!("logpath: `{path}` is no absolute path"))
            .at(line)
            .help("begin it with /")
            .into());
    }
    Ok(LogPattern { path: path.to_owned(), from_end })
}

/// Whether a pattern means a file, which need not exist.
fn means(pattern: &LogPattern, file: &str) -> bool {
    let (Some((place, name)), Some((directory, own))) =
        (pattern.path.rsplit_once('/'), file.rsplit_once('/'))
    else {
        return false;
    };
    place == directory && glob::matches(name, own)
}

fn journal(jail: &Resolved<'_>, found: &mut Diagnostics) -> Option<LogSource> {
    let filter = jail.filter.as_ref()?;
    if filter.journalmatch.is_blank() {
        found.push(
            Diagnostic::warning(format!(
                "filter `{}` has no journalmatch: every entry of the journal is matched",
                filter.name
            ))
            .at(&filter.name)
            .help("name the unit: `journalmatch = _SYSTEMD_UNIT=NAME.service`"),
        );
    }
    let matches = taken(journalmatch::parse(&filter.journalmatch), found)?;
    if is_own(&matches) {
        return Some(LogSource::OwnBans);
    }
    Some(LogSource::Journal(with_aliases(matches)))
}

/// Whether every entry that it accepts is of a unit that bans.
fn is_own(matches: &JournalMatch) -> bool {
    let own = |value: &String| OWN_UNITS.contains(&value.as_str());
    let of_own_unit = |fields: &Vec<crate::core::jail::FieldMatch>| {
        fields.iter().any(|f| f.field == "_SYSTEMD_UNIT" && f.values.iter().all(own))
    };
    !matches.alternatives.is_empty() && matches.alternatives.iter().all(of_own_unit)
}

/// Adds the other names of a daemon's units and programs: distributions call sshd's unit
/// `ssh` or `sshd`, and OpenSSH 9.8 logs from `sshd-session`. Whose an entry really is,
/// its source decides by what journald states.
fn with_aliases(mut matches: JournalMatch) -> JournalMatch {
    for field in matches.alternatives.iter_mut().flatten() {
        for daemon in Daemon::ALL {
            let names = match field.field.as_str() {
                "_SYSTEMD_UNIT" => daemon.units(),
                "_COMM" | "SYSLOG_IDENTIFIER" => daemon.programs(),
                _ => continue,
            };
            if field.values.iter().any(|value| names.contains(&value.as_str())) {
                for name in names {
                    if !field.values.iter().any(|value| value == name) {
                        field.values.push((*name).to_owned());
                    }
                }
            }
        }
    }
    matches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_where_to_begin() {
        let parsed = |text: &str| log_pattern(&Text::generated(text));
        for (text, path, from_end) in [
            ("/var/log/a.log", "/var/log/a.log", false),
            ("/var/log/*/a.log tail", "/var/log/*/a.log", true),
            ("/var/log/a.log  HEAD", "/var/log/a.log", false),
        ] {
            let expected = LogPattern { path: path.to_owned(), from_end };
            assert_eq!(parsed(text).expect(text), expected);
        }
        let told = |text: &str| parsed(text).expect_err(text).message;
        assert_eq!(told("/a /b"), "logpath: `/b` is neither head nor tail");
        assert_eq!(told("a.log"), "logpath: `a.log` is no absolute path");
    }

    #[test]
    fn the_names_of_one_daemon_stand_for_each_other() {
        let wide = |text: &str| {
            with_aliases(journalmatch::parse(&Text::generated(text)).expect(text)).to_string()
        };
        let units = "_SYSTEMD_UNIT=sshd.service _SYSTEMD_UNIT=ssh.service";
        let programs = "_COMM=sshd _COMM=sshd-session _COMM=sshd-auth";
        assert_eq!(
            wide("_SYSTEMD_UNIT=sshd.service + _COMM=sshd"),
            format!("{units} + {programs}")
        );
        assert_eq!(wide("_SYSTEMD_UNIT=nginx.service"), "_SYSTEMD_UNIT=nginx.service");
        assert_eq!(wide("UNIT=sshd.service _PID=1"), "UNIT=sshd.service _PID=1");
    }

    #[test]
    fn own_units_and_no_others() {
        let own = |text: &str| is_own(&journalmatch::parse(&Text::generated(text)).expect(text));
        assert!(own("_SYSTEMD_UNIT=fail2ban.service PRIORITY=5"));
        assert!(own("_SYSTEMD_UNIT=guard.service + _SYSTEMD_UNIT=fail2ban.service _UID=0"));
        assert!(!own("_SYSTEMD_UNIT=fail2ban.service + _COMM=sshd"));
        assert!(!own("_COMM=fail2ban-server"));
        assert!(!own(""));
    }
}
