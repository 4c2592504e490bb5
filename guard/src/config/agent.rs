//! `guard.toml`: the agent's own configuration.
//!
//! Input: a file. Output: [`Settings`], or every problem of the file at once: the agent
//! does not start half-configured. Invariant: the shipped `config/guard.toml` documents
//! each key with the default that [`Settings::default`] has; a test compares them.

use std::path::{Path, PathBuf};

use crate::config::diagnostic::{Diagnostic, Diagnostics};
use crate::config::notify::Hook;
use crate::config::safely;
use crate::config::text::SourceFile;
use crate::config::toml_table::{Asked, Table};
use crate::core::addr::Prefix;
use crate::core::allow::AllowList;
use crate::core::engine;
use crate::core::time::Span;

/// What the agent is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `backend`: what drops packets.
    pub backend: Backend,
    /// `interfaces`: where banned sources can come in.
    pub interfaces: Interfaces,
    /// `scope`: what bans protect.
    pub scope: Scope,
    /// `generic-xdp`: whether XDP may run in the kernel's generic mode.
    pub generic_xdp: bool,
    /// `allow`: sources that no jail can ban.
    pub allow: AllowList,
    /// `jail-directory`: jails and filters of this host.
    pub jail_directory: PathBuf,
    /// `vendor-directory`: jails and filters that come with guard.
    pub vendor_directory: PathBuf,
    /// `state-directory`: where the store lies.
    pub state_directory: PathBuf,
    /// `socket`: where `guardctl` meets the agent.
    pub socket: PathBuf,
    /// `fail2ban-socket`: where Fail2Ban's clients meet the agent, if they may; beside
    /// `socket` unless it says otherwise.
    pub fail2ban_socket: Option<PathBuf>,
    /// `helper-socket`: where the agent meets `guard-helper`.
    pub helper_socket: PathBuf,
    /// `bpf-directory`: where maps and links are pinned.
    pub bpf_directory: PathBuf,
    /// `log`: where the agent's log goes.
    pub log: LogTarget,
    /// `[limits]`.
    pub limits: Limits,
    /// `[[notify]]`: who is told of bans.
    pub notify: Vec<Hook>,
}

/// What drops packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// The best that the host can do.
    Auto,
    /// XDP and tcx programs.
    Xdp,
    /// nftables.
    Nft,
    /// Nothing: decide and log only.
    Null,
}

/// Where banned sources can come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interfaces {
    /// Every interface but loopback, also those that appear later.
    Auto,
    /// These, by name; not empty.
    Named(Vec<String>),
}

/// What bans protect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This host's own addresses.
    Host,
    /// Also what the host forwards.
    All,
}

/// Where the agent's log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// A file, followed through rotation.
    File(PathBuf),
    /// The system's journal.
    Journal,
}

/// Bounds on what an attacker could make grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `bans`: at the same time, over all jails.
    pub bans: u32,
    /// `tracked-failures`: kept over all jails.
    pub tracked_failures: u32,
    /// `connections`: per jail, of which lines are remembered.
    pub connections: u32,
    /// `exact-counters`: IPv4 bans of which each has its own counters (XDP).
    pub exact_counters: u32,
    /// `known-sources`: of which earlier bans are remembered, over all jails.
    pub known_sources: u32,
    /// `history`: for how long, beyond three times the length of the last ban.
    pub history: Span,
    /// `match-steps`: of a backtracking expression on one line.
    pub match_steps: u32,
}

impl Limits {
    /// What of this bounds the engine.
    pub fn engine(&self) -> engine::Limits {
        let count = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
        engine::Limits {
            tracked_failures: count(self.tracked_failures),
            bans: count(self.bans),
            connections: count(self.connections),
            known_sources: count(self.known_sources),
            history: self.history,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            backend: Backend::Auto,
            interfaces: Interfaces::Auto,
            scope: Scope::Host,
            generic_xdp: false,
            allow: AllowList::default(),
            jail_directory: "/etc/guard".into(),
            vendor_directory: "/usr/lib/guard".into(),
            state_directory: "/var/lib/guard".into(),
            socket: "/run/guard/guard.sock".into(),
            fail2ban_socket: Some("/run/guard/fail2ban.sock".into()),
            helper_socket: "/run/guard-helper/helper.sock".into(),
            bpf_directory: "/run/guard/bpf".into(),
            log: LogTarget::File("/var/log/guard/guard.log".into()),
            limits: Limits {
                bans: 1 << 20,
                tracked_failures: 1 << 20,
                connections: 1 << 13,
                exact_counters: 1 << 16,
                known_sources: 1 << 18,
                history: Span::from_seconds(86_400),
                match_steps: 50_000,
            },
            notify: Vec::new(),
        }
    }
}

impl Settings {
    /// Where the file lies unless somebody names another.
    pub const PATH: &str = "/etc/guard/guard.toml";

    /// The store's file.
    pub fn store(&self) -> PathBuf {
        self.state_directory.join("guard.sqlite3")
    }

    /// Where the agent gives its figures to whoever may connect, beside the other socket.
    pub fn figures_socket(&self) -> PathBuf {
        self.socket.with_file_name("metrics.sock")
    }

    /// Reads `path`, or the usual file if it is there, else the defaults.
    ///
    /// # Errors
    /// Every problem of the file, each with its place; also when a file that was named
    /// is missing.
    pub fn load(path: Option<&Path>) -> Result<Self, Diagnostics> {
        let file = path.unwrap_or(Path::new(Self::PATH));
        match safely::read(file) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Self::parse(file, &text),
                Err(error) => {
                    let at = error.utf8_error().valid_up_to();
                    let text = String::from_utf8_lossy(error.as_bytes());
                    let place = SourceFile::new(file, text).place(at..at + 1);
                    let problem = Diagnostic::error("this is not UTF-8").in_place(place);
                    Err(Diagnostics(vec![problem.help("save the file in UTF-8")]))
                }
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && path.is_none() => {
                Ok(Self::default())
            }
            Err(error) => Err(Diagnostics(vec![
                Diagnostic::error(format!("cannot read the configuration: {error}"))
                    .in_file(file)
                    .help("name the file with --config, or leave it out to use the defaults"),
            ])),
        }
    }

    /// Reads a text; `path` is where it came from, for messages.
    ///
    /// # Errors
    /// Every problem of the text, each with its place.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Diagnostics> {
        let file = SourceFile::new(path, text);
        let mut settings = Self::default();
        let mut diagnostics = Diagnostics::default();
        Table::read(&file, &mut diagnostics, |table| settings.take(table));
        if diagnostics.0.is_empty() { Ok(settings) } else { Err(diagnostics) }
    }

    /// Every key that there is.
    pub(crate) fn keys() -> Vec<Asked> {
        Table::keys(|table| Self::default().take(table))
    }

    /// Takes every key that there is from the table.
    fn take(&mut self, table: &mut Table<'_>) {
        table.word(
            "backend",
            &mut self.backend,
            &[
                ("auto", Backend::Auto),
                ("xdp", Backend::Xdp),
                ("nft", Backend::Nft),
                ("null", Backend::Null),
            ],
        );
        table.interfaces("interfaces", &mut self.interfaces);
        table.word("scope", &mut self.scope, &[("host", Scope::Host), ("all", Scope::All)]);
        table.boolean("generic-xdp", &mut self.generic_xdp);
        table.allow("allow", &mut self.allow);
        table.path("jail-directory", &mut self.jail_directory);
        table.path("vendor-directory", &mut self.vendor_directory);
        table.path("state-directory", &mut self.state_directory);
        table.path("socket", &mut self.socket);
        self.fail2ban_socket = Some(self.socket.with_file_name("fail2ban.sock"));
        table.path_or_off("fail2ban-socket", &mut self.fail2ban_socket);
        table.path("helper-socket", &mut self.helper_socket);
        table.path("bpf-directory", &mut self.bpf_directory);
        table.log("log", &mut self.log);
        table.table("limits", |limits| {
            limits.number("bans", &mut self.limits.bans, 1..=1 << 24);
            limits.number("tracked-failures", &mut self.limits.tracked_failures, 1..=1 << 24);
            limits.number("connections", &mut self.limits.connections, 1..=1 << 20);
            limits.number("exact-counters", &mut self.limits.exact_counters, 0..=1 << 24);
            limits.number("known-sources", &mut self.limits.known_sources, 1..=1 << 24);
            limits.span("history", &mut self.limits.history);
            limits.number("match-steps", &mut self.limits.match_steps, 1_000..=10_000_000);
        });
        table.tables("notify", |hook| self.notify.extend(Hook::take(hook)));
    }
}

impl Table<'_> {
    fn interfaces(&mut self, key: &'static str, slot: &mut Interfaces) {
        self.take(key, |value| {
            if let Some(word) = value.string() {
                return match word {
                    "auto" => {
                        *slot = Interfaces::Auto;
                        Ok(())
                    }
                    _ => Err(value
                        .error(format!("interfaces = \"{word}\" is neither \"auto\" nor a list"))
                        .help(format!("write \"auto\", or [\"{word}\"] to name an interface"))
                        .into()),
                };
            }
            let mut names: Vec<String> = Vec::new();
            for item in value.list("\"auto\" or a list of interface names")? {
                let name = item.string().unwrap_or_default();
                let what = if name.is_empty()
                    || name.len() > 15
                    || name.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control())
                    || matches!(name, "." | ".." | "auto")
                {
                    "is no interface name"
                } else if name == "lo" {
                    "is loopback, which is never banned"
                } else if names.iter().any(|known| known == name) {
                    "is named twice"
                } else {
                    names.push(name.to_owned());
                    continue;
                };
                return Err(item
                    .error(format!("`{}` {what}", item.written()))
                    .help("`ip link` lists the names of this host's interfaces")
                    .into());
            }
            if names.is_empty() {
                return Err(value
                    .error("interfaces = [] guards nothing".to_owned())
                    .help("write \"auto\" to cover every way into the host")
                    .into());
            }
            *slot = Interfaces::Named(names);
            Ok(())
        });
    }

    fn allow(&mut self, key: &'static str, slot: &mut AllowList) {
        self.take(key, |value| {
            let mut prefixes: Vec<Prefix> = Vec::new();
            for item in value.list("a list of addresses and prefixes")? {
                let parsed = item.string().unwrap_or_default().parse();
                prefixes.push(parsed.map_err(|_| {
                    item.error(format!("`{}` is neither an address nor a prefix", item.written()))
                        .help("write such as [\"192.0.2.1\", \"2001:db8::/32\"]")
                })?);
            }
            *slot = prefixes.into_iter().collect();
            Ok(())
        });
    }

    fn log(&mut self, key: &'static str, slot: &mut LogTarget) {
        // Not only a path.
        self.take(key, |_| Ok(()));
        if self.string(key) == Some("journal") {
            *slot = LogTarget::Journal;
            return;
        }
        let mut file = PathBuf::new();
        self.path(key, &mut file);
        if !file.as_os_str().is_empty() {
            *slot = LogTarget::File(file);
        }
    }
}

#[cfg(test)]
mod tests;
