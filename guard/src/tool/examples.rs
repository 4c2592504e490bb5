//! Examples of what a filter finds, and of what it must not find.
//!
//! Input: `filter.d/examples/NAME.toml` of the host, else of the vendor; the filter.
//! Output: each example that comes out otherwise. The file:
//!
//! ```toml
//! daemon = "sshd"                  # optional: whose lines these are
//! [[line]]
//! text = "pve sshd[1]: Invalid user admin from 10.3.0.1 port 40022"
//! host = "10.3.0.1"                # nobody, if absent
//! user = "admin"                   # optional
//! [[connection]]                   # lines that together are so many failures
//! name = "a known user"
//! host = "10.3.0.1"
//! failures = 1
//! lines = ["…", "…"]
//! ```
//!
//! Lines are as the journal gives them: `HOST IDENTIFIER[PID]: MESSAGE`.

use std::path::PathBuf;

use crate::config::Settings;
use crate::core::entry::{Daemon, Dating};
use crate::core::filter::{Filter, Memory};
use crate::core::time::Timestamp;
use crate::tool::line;

/// Connections that a filter remembers between the lines of an example.
const CONNECTIONS: usize = 64;

/// Examples of one filter.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Examples {
    #[serde(default)]
    daemon: Option<String>,
    #[serde(default)]
    line: Vec<Line>,
    #[serde(default)]
    connection: Vec<Connection>,
}

/// One line and who is found in it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    text: String,
    host: Option<String>,
    user: Option<String>,
}

/// Lines of one connection and how many failures they are.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Connection {
    name: String,
    host: Option<String>,
    failures: usize,
    lines: Vec<String>,
}

/// An example that came out otherwise.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Failed {
    /// The line, or the connection's name.
    pub example: String,
    /// What it should give.
    pub expected: String,
    /// What it gave.
    pub found: String,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "expected {}, found {}: {}", self.expected, self.found, self.example)
    }
}

/// Whose examples may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The host's only: its filter is not the vendor's.
    Host,
    /// The host's, else the vendor's.
    Vendor,
}

/// Reads the examples of a filter, with where they came from; `None` if it has none.
///
/// # Errors
/// In words, when there is a file that cannot be used.
pub fn read(
    settings: &Settings,
    filter: &str,
    whose: Whose,
) -> Result<Option<(PathBuf, Examples)>, String> {
    let name = PathBuf::from(format!("filter.d/examples/{filter}.toml"));
    let mut places = vec![settings.jail_directory.join(&name)];
    if whose == Whose::Vendor {
        places.push(settings.vendor_directory.join(&name));
    }
    for path in places {
        match std::fs::read_to_string(&path) {
            Ok(text) => return parsed(path, &text).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        }
    }
    match crate::config::built_in_text(&name) {
        Some(text) if whose == Whose::Vendor => {
            parsed(PathBuf::from("(built in)").join(name), text).map(Some)
        }
        _ => Ok(None),
    }
}

fn parsed(path: PathBuf, text: &str) -> Result<(PathBuf, Examples), String> {
    match toml::from_str(text) {
        Ok(examples) => Ok((path, examples)),
        Err(error) => Err(format!("{}: {}", path.display(), error.to_string().trim_end())),
    }
}

impl Examples {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.line.len() + self.connection.len()
    }

    /// Runs them all through the filter.
    pub fn run(&self, filter: &Filter) -> Vec<Failed> {
        let lines = self.line.iter().flat_map(|line| self.run_line(filter, line));
        let connections = self.connection.iter().filter_map(|c| self.run_connection(filter, c));
        lines.chain(connections).collect()
    }

    /// The filter alone must not be fooled, nor must it when guard knows the daemon.
    fn run_line(&self, filter: &Filter, example: &Line) -> Option<Failed> {
        let daemons: &[Option<Daemon>] = match self.daemon() {
            Some(daemon) => &[Some(daemon), None],
            None => &[None],
        };
        daemons.iter().find_map(|daemon| {
            let mut entry = line::entry(&example.text, Dating::Known, Timestamp::default());
            entry.daemon = *daemon;
            let found = filter.find(&entry, &mut Memory::new(CONNECTIONS)).failure;
            let (host, user) = match found {
                Some(found) => (Some(found.who.to_string()), found.user),
                None => (None, None),
            };
            if host != example.host {
                return Some(failed(&example.text, who(&example.host), who(&host)));
            }
            let wanted = example.user.as_ref()?;
            let differs = user.as_ref() != Some(wanted);
            differs.then(|| {
                let found =
                    user.map_or_else(|| "no user".to_owned(), |user| format!("user `{user}`"));
                failed(&example.text, format!("user `{wanted}`"), found)
            })
        })
    }

    fn run_connection(&self, filter: &Filter, example: &Connection) -> Option<Failed> {
        let mut memory = Memory::new(CONNECTIONS);
        let mut found = Vec::new();
        for (second, text) in (0..).zip(&example.lines) {
            let mut entry = line::entry(text, Dating::Known, Timestamp::from_seconds(second));
            entry.daemon = self.daemon();
            found.extend(filter.find(&entry, &mut memory).failure.map(|f| f.who.to_string()));
        }
        let right = found.len() == example.failures
            && found.iter().all(|host| Some(host) == example.host.as_ref());
        let expected = || format!("{} failures by {}", example.failures, who(&example.host));
        let told = || match found.as_slice() {
            [] => "none".to_owned(),
            found => format!("{} by {}", found.len(), found.join(", ")),
        };
        (!right).then(|| failed(&example.name, expected(), told()))
    }

    fn daemon(&self) -> Option<Daemon> {
        let name = self.daemon.as_deref()?;
        Daemon::ALL.into_iter().find(|daemon| daemon.programs().contains(&name))
    }
}

fn failed(example: &str, expected: String, found: String) -> Failed {
    Failed { example: example.to_owned(), expected, found }
}

fn who(host: &Option<String>) -> String {
    host.clone().unwrap_or_else(|| "nobody".to_owned())
}
