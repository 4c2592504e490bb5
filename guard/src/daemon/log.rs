//! The log, in Fail2Ban's format, so that whatever reads fail2ban.log goes on working.
//!
//! ```text
//! 2025-08-27 16:44:17,521 fail2ban.actions        [2825]: NOTICE  [sshd] Ban 10.3.0.1
//! ```
//!
//! Input: `tracing` events. Logger names are the events' targets; an event with a field
//! `notice` has Fail2Ban's level NOTICE, which `tracing` does not know. Invariant: a
//! log file that was renamed is followed by a new one at the next line, and a log that
//! cannot be written never holds up the agent.

use std::fmt::{self, Write as _};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use jiff::Zoned;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

use crate::config::agent::LogTarget;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
#[error("opening the log {}: {cause}; `log` in guard.toml names the file, or \"journal\"", path.display())]
pub struct LogError {
    path: PathBuf,
    cause: io::Error,
}

/// What is logged at least, as Python numbers levels, and what whoever chose that called it.
static THRESHOLD: AtomicU8 = AtomicU8::new(INFO);
static CHOSEN: Mutex<Option<String>> = Mutex::new(None);
const INFO: u8 = 20;
const NOTICE: u8 = 25;

/// Levels as Fail2Ban names and numbers them.
const LEVELS: [(&str, u8); 8] = [
    ("CRITICAL", 50),
    ("ERROR", 40),
    ("WARNING", 30),
    ("NOTICE", NOTICE),
    ("INFO", INFO),
    ("DEBUG", 10),
    ("TRACEDEBUG", 7),
    ("HEAVYDEBUG", 5),
];

/// Logs what is at least as grave as this, a name or a number, from now on.
///
/// # Errors
/// When there is no such level.
pub fn set_level(level: &str) -> Result<(), String> {
    let level = level.to_ascii_uppercase();
    let named = LEVELS.iter().find(|(name, _)| *name == level).map(|(_, number)| *number);
    let number = named.or_else(|| level.parse().ok());
    let number = number.ok_or_else(|| format!("Invalid log level '{level}'"))?;
    THRESHOLD.store(number, Ordering::Relaxed);
    *CHOSEN.lock().unwrap_or_else(PoisonError::into_inner) = Some(level);
    Ok(())
}

/// Logs as much as at the start.
pub fn reset_level() {
    THRESHOLD.store(INFO, Ordering::Relaxed);
    *CHOSEN.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// How much is logged, as it was chosen.
pub fn level() -> String {
    let chosen = CHOSEN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    chosen.unwrap_or_else(|| "INFO".to_owned())
}

/// Sends all `tracing` events to where the configuration says from now on.
///
/// # Errors
/// When the file cannot be opened.
pub fn start(target: &LogTarget) -> Result<(), LogError> {
    let sink = match target {
        LogTarget::File(path) => {
            let failed = |cause| LogError { path: path.clone(), cause };
            Sink::File(Mutex::new(LogFile::open(path).map_err(failed)?))
        }
        LogTarget::Journal => Sink::Journal,
    };
    let subscriber = Registry::default().with(Log { sink });
    // A second call within one process (tests) keeps the first log.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

struct Log {
    sink: Sink,
}

enum Sink {
    File(Mutex<LogFile>),
    Journal,
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let (threshold, number) =
            (THRESHOLD.load(Ordering::Relaxed), number(*event.metadata().level()));
        // Of these some are notices.
        if number.max(NOTICE * u8::from(number == INFO)) < threshold {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        if number < threshold && !text.notice {
            return;
        }
        let name = level_name(*event.metadata().level(), text.notice);
        let target = event.metadata().target();
        match &self.sink {
            Sink::File(file) => {
                let time = Zoned::now().strftime("%Y-%m-%d %H:%M:%S,%3f").to_string();
                let process = std::process::id();
                let line = format!("{time} {target:<24}[{process}]: {name:<7} {}\n", text.message);
                if let Ok(mut file) = file.lock() {
                    file.append(line.as_bytes());
                }
            }
            Sink::Journal => {
                let priority = priority(name);
                let line = format!("<{priority}>{target}: {name} {}\n", text.message);
                // Nowhere to say that the log cannot be written.
                let _ = io::stderr().lock().write_all(line.as_bytes());
            }
        }
    }
}

/// The message of an event on one line, and whether it is a notice.
#[derive(Default)]
struct Text {
    message: String,
    notice: bool,
}

impl Visit for Text {
    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "notice" {
            self.notice = value;
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let mut text = String::new();
            // Writing to a string does not fail.
            let _ = write!(text, "{value:?}");
            // What an attacker wrote must not look like a line of its own.
            for c in text.chars() {
                if c.is_control() {
                    self.message.extend(c.escape_default());
                } else {
                    self.message.push(c);
                }
            }
        }
    }
}

fn level_name(level: Level, notice: bool) -> &'static str {
    match level {
        _ if notice => "NOTICE",
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG | Level::TRACE => "DEBUG",
    }
}

/// As Python numbers levels.
fn number(level: Level) -> u8 {
    match level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => INFO,
        Level::DEBUG | Level::TRACE => 10,
    }
}

/// As in `sd-daemon(3)`.
fn priority(name: &str) -> u8 {
    match name {
        "ERROR" => 3,
        "WARNING" => 4,
        "NOTICE" => 5,
        "INFO" => 6,
        _ => 7,
    }
}

/// A file that is opened anew when somebody renamed or removed it.
struct LogFile {
    path: PathBuf,
    file: File,
    identity: (u64, u64),
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
        let found = file.metadata()?;
        Ok(Self { path: path.to_owned(), file, identity: (found.dev(), found.ino()) })
    }

    fn append(&mut self, line: &[u8]) {
        let there = fs::metadata(&self.path).map(|found| (found.dev(), found.ino()));
        if there.ok() != Some(self.identity)
            && let Ok(anew) = Self::open(&self.path)
        {
            *self = anew;
        }
        // A full disk must not stop the bans; the store's own errors tell of it.
        let _ = self.file.write_all(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renamed_file_is_followed_by_a_new_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, old) = (directory.path().join("guard.log"), directory.path().join("old"));
        let mut log = LogFile::open(&path).expect("a log");
        log.append(b"before\n");
        fs::rename(&path, &old).expect("renamed");
        log.append(b"after\n");
        assert_eq!(fs::read_to_string(old).expect("the old file"), "before\n");
        assert_eq!(fs::read_to_string(path).expect("the new file"), "after\n");
    }

    #[test]
    fn lines_look_as_fail2ban_writes_them_and_cannot_be_forged() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("guard.log");
        let file = Mutex::new(LogFile::open(&path).expect("a log"));
        let log = Log { sink: Sink::File(file) };
        tracing::subscriber::with_default(Registry::default().with(log), || {
            tracing::info!(target: "fail2ban.actions", notice = true, "[sshd] Ban 10.3.0.1");
            tracing::info!(target: "fail2ban.filter", "[sshd] Found\n{}", "fake line");
            tracing::debug!(target: "fail2ban.filter", "not shown");
        });
        let text = fs::read_to_string(path).expect("the log");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        let (time, rest) = lines[0].split_at(23);
        assert!(time.as_bytes()[19] == b',' && time[20..].parse::<u16>().is_ok(), "{time}");
        let process = std::process::id();
        let expected = format!(" fail2ban.actions        [{process}]: NOTICE  [sshd] Ban 10.3.0.1");
        assert_eq!(rest, expected);
        assert!(lines[1].ends_with(r"INFO    [sshd] Found\nfake line"), "{}", lines[1]);
    }
}
