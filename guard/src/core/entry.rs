//! One log record, as a source hands it to the engine.

use crate::core::jail::JailId;
use crate::core::time::Timestamp;

/// One log record, formatted as Fail2Ban formats it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When the daemon logged it; for a line that holds its own date, when it was read.
    pub time: Timestamp,
    /// Whether `time` is all there is to know.
    pub dating: Dating,
    /// The line that filters see. From the journal: `HOST IDENTIFIER[PID]: MESSAGE`,
    /// newlines inside as the two characters `\n`, no final newline. From a file: the
    /// line, its date included.
    pub line: String,
    /// Byte offset in `line` at which the daemon's own message begins.
    pub message_start: usize,
    /// The daemon that wrote it, if guard knows that daemon: proven for a journal's
    /// entry, for a file's line as the line has it.
    pub daemon: Option<Daemon>,
    /// Jails whose source and `journalmatch` accept the entry, in configuration
    /// order. Never empty.
    pub jails: Vec<JailId>,
}

/// Where the time of an entry is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dating {
    /// The source knows it; the line holds no date.
    #[default]
    Known,
    /// The line holds it: filters read it by their `datepattern` and cut it out.
    InLine,
}

impl Entry {
    /// What the daemon wrote, without the prefix that the source put before it.
    pub fn message(&self) -> &str {
        &self.line[self.message_start..]
    }
}

/// Daemons whose messages guard knows in detail: which journal entries are truly
/// theirs, and which spans of their lines the client controls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Daemon {
    /// OpenSSH's server.
    Sshd,
    /// Proxmox VE's API daemon.
    Pvedaemon,
}

impl Daemon {
    /// Every daemon that guard knows.
    pub const ALL: [Self; 2] = [Self::Sshd, Self::Pvedaemon];

    /// Systemd units that the daemon runs in.
    pub const fn units(self) -> &'static [&'static str] {
        match self {
            Self::Sshd => &["ssh.service", "sshd.service"],
            Self::Pvedaemon => &["pvedaemon.service"],
        }
    }

    /// Program names under which it logs (`_COMM` and `SYSLOG_IDENTIFIER`). OpenSSH
    /// 9.8 split `sshd-session` off, 10.0 `sshd-auth`.
    pub const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Sshd => &["sshd", "sshd-session", "sshd-auth"],
            Self::Pvedaemon => &["pvedaemon"],
        }
    }
}

/// A place in a source from which reading goes on after a restart.
///
/// Its text is the source's own business: a journal cursor, or a file's identity
/// and offset.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Which source: `journal`, or a file's path.
    pub source: String,
    /// Where in it.
    pub place: String,
    /// Of the journal: the wall-clock time of the last entry before it. Of a file: a
    /// time before which nothing was written to any file that is not dealt with here.
    pub time: Timestamp,
}

impl Position {
    /// Whether the source is a log file.
    pub fn is_of_file(&self) -> bool {
        self.source.starts_with("file:")
    }
}

/// Entries that a source read in one go, and the position after the last of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// In the order in which they were logged; may be empty when only the position
    /// moved.
    pub entries: Vec<Entry>,
    /// Where the source goes on once the batch's effects are durable.
    pub position: Position,
}
