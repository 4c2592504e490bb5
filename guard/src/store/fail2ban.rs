//! Fail2Ban's database, as it left it: who is banned, and who was how often.
//!
//! Input: `fail2ban.sqlite3` of format 4 (Fail2Ban 0.11 and later), which is only read;
//! Fail2Ban may have it open. Output: a row for each source and jail that is remembered,
//! and how many rows say nothing that guard can use. The last ban of each is in the table
//! `bips`; `bantime` is in seconds, -1 for ever.

use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};

use crate::core::addr::Prefix;
use crate::core::history::Past;
use crate::core::jail::JailName;
use crate::core::time::{Span, Timestamp};

/// The format that is read.
const FORMAT: i64 = 4;
/// `bantime` of a ban that does not end.
const FOR_EVER: i64 = -1;

/// The last ban of one source in one jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastBan {
    /// The jail.
    pub jail: JailName,
    /// Who.
    pub source: Prefix,
    /// When, how long, and how many bans it made.
    pub past: Past,
    /// Failures that led to it; 0 if that is not known.
    pub failures: u32,
}

/// What a database holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// All last bans, ended ones included, by jail and source.
    pub bans: Vec<LastBan>,
    /// Rows about something else than an address (`<F-ID>`), or that are damaged: what they
    /// say of jail and source.
    pub unusable: Vec<String>,
}

/// Why a database cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// SQLite does not let it.
    #[error("reading {}: {cause}", path.display())]
    Unreadable {
        /// The database.
        path: PathBuf,
        /// Why.
        cause: rusqlite::Error,
    },
    /// It is something else.
    #[error("{} is not Fail2Ban's database: it has no tables `fail2banDb` and `bips`", .0.display())]
    Foreign(PathBuf),
    /// It is of another format.
    #[error(
        "{} has format {found}, and only {FORMAT} can be read (Fail2Ban 0.11 and later bring older \
         ones to it when they start)", path.display()
    )]
    Format {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: i64,
    },
}

/// Reads a database.
///
/// # Errors
/// When it is not one, or of another format.
pub fn read(path: &Path) -> Result<Found, ImportError> {
    let failed = |cause| ImportError::Unreadable { path: path.to_owned(), cause };
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    let tables: i64 = connection
        .query_row(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' \
             AND name IN ('fail2banDb', 'bips')",
            [],
            |row| row.get(0),
        )
        .map_err(failed)?;
    if tables != 2 {
        return Err(ImportError::Foreign(path.to_owned()));
    }
    let found: i64 = connection
        .query_row("SELECT version FROM fail2banDb LIMIT 1", [], |row| row.get(0))
        .map_err(failed)?;
    if found != FORMAT {
        return Err(ImportError::Format { path: path.to_owned(), found });
    }
    let mut statement = connection
        .prepare("SELECT jail, ip, timeofban, bantime, bancount, data FROM bips ORDER BY jail, ip")
        .map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    let mut found = Found::default();
    while let Some(row) = rows.next().map_err(failed)? {
        match last_ban(row) {
            Some(ban) => found.bans.push(ban),
            None => found.unusable.push(format!("{} {}", shown(row, 0), shown(row, 1))),
        }
    }
    Ok(found)
}

fn last_ban(row: &Row<'_>) -> Option<LastBan> {
    let text = |column| row.get_ref(column).ok()?.as_str().ok();
    let number = |column| row.get::<_, i64>(column).ok();
    let length = match number(3)? {
        FOR_EVER => None,
        seconds @ 0.. => Some(Span::from_seconds(seconds.min(MOST_SECONDS))),
        // What was not known when an older database was brought to this format.
        _ => return None,
    };
    let since = number(2).filter(|since| (0..=MOST_SECONDS).contains(since))?;
    let count = u32::try_from(number(4)?).ok()?.max(1);
    Some(LastBan {
        jail: JailName::new(text(0)?).ok()?,
        source: text(1)?.parse().ok()?,
        past: Past { count, since: Timestamp::from_seconds(since), length },
        failures: failures(row.get_ref(5).ok()?).unwrap_or(0),
    })
}

/// Beyond this no time is meant: the year 9999.
const MOST_SECONDS: i64 = 253_402_300_799;

/// The number of failures in what Fail2Ban keeps as JSON.
fn failures(data: ValueRef<'_>) -> Option<u32> {
    let data: serde_json::Value = serde_json::from_slice(data.as_bytes().ok()?).ok()?;
    u32::try_from(data.get("failures")?.as_u64()?).ok()
}

fn shown(row: &Row<'_>, column: usize) -> String {
    let value = row.get_ref(column).ok().and_then(|value| value.as_bytes().ok());
    value.map_or_else(|| "?".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = "CREATE TABLE fail2banDb (version INTEGER);
        CREATE TABLE bips (ip TEXT NOT NULL, jail TEXT NOT NULL, timeofban INTEGER NOT NULL,
            bantime INTEGER NOT NULL, bancount INTEGER NOT NULL DEFAULT 1, data JSON,
            PRIMARY KEY (ip, jail));";

    fn database(format: i64, rows: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("fail2ban.sqlite3");
        let connection = Connection::open(&path).expect("a database");
        connection.execute_batch(SCHEMA).expect("tables");
        connection.execute("INSERT INTO fail2banDb VALUES (?1)", [format]).expect("its format");
        if !rows.is_empty() {
            connection.execute_batch(&format!("INSERT INTO bips VALUES {rows}")).expect("rows");
        }
        (directory, path)
    }

    #[test]
    fn bans_are_read_and_what_is_none_is_named() {
        let (_directory, path) = database(
            4,
            "('192.0.2.1', 'sshd', 1700000000, 600, 3, '{\"failures\": 5, \"matches\": [\"x\"]}'),
             ('2001:db8::1', 'sshd', 1700000001, -1, 0, NULL),
             ('192.0.2.0/24', 'web', 1700000002, 0, 1, '['),
             ('root', 'users', 1700000003, 600, 1, '{}'),
             ('192.0.2.9', 'sshd', 1700000004, -2, 1, '{}'),
             ('192.0.2.10', 'no jail!', 1700000004, 600, 1, '{}'),
             ('192.0.2.11', 'sshd', -5, 600, 1, '{}')",
        );
        let ban = |jail, source: &str, since, length: Option<i64>, count, failures| LastBan {
            jail: JailName::new(jail).expect("a name"),
            source: source.parse().expect("a source"),
            past: Past {
                count,
                since: Timestamp::from_seconds(since),
                length: length.map(Span::from_seconds),
            },
            failures,
        };
        let found = read(&path).expect("it is read");
        assert_eq!(
            found.bans,
            [
                ban("sshd", "192.0.2.1", 1_700_000_000, Some(600), 3, 5),
                ban("sshd", "2001:db8::1", 1_700_000_001, None, 1, 0),
                ban("web", "192.0.2.0/24", 1_700_000_002, Some(0), 1, 0),
            ]
        );
        assert_eq!(
            found.unusable,
            ["no jail! 192.0.2.10", "sshd 192.0.2.11", "sshd 192.0.2.9", "users root"]
        );
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        let (_directory, path) = database(3, "");
        assert!(matches!(read(&path), Err(ImportError::Format { found: 3, .. })));
        let directory = tempfile::tempdir().expect("a directory");
        let text = directory.path().join("text");
        std::fs::write(&text, "not a database, but long enough to be looked at").expect("a file");
        assert!(matches!(read(&text), Err(ImportError::Unreadable { .. })));
        assert!(matches!(
            read(&directory.path().join("nowhere")),
            Err(ImportError::Unreadable { .. })
        ));
        let other = directory.path().join("other");
        Connection::open(&other).expect("open").execute_batch("CREATE TABLE t (x)").expect("made");
        assert!(matches!(read(&other), Err(ImportError::Foreign(_))));
    }
}
