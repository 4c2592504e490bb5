//! What people write, as values that cannot be wrong.
//!
//! Input: `guard.toml`, which configures the agent, and below `jail-directory` jails and
//! filters in Fail2Ban's language. Output: [`Settings`] and [`Jail`]s, and a
//! [`Diagnostic`] for everything that is wrong or has no effect, with its place in the
//! file and what to do. Invariant: nothing that is written is silently left out.
//!
//! ```text
//! files ─ ini ─► layers (order, includes, merge) ─ interpolate, tags ─► filter, jail ─► Jail
//! guard.toml ─ toml_table ─► agent ─► Settings
//! ```

mod action;
pub mod agent;
mod allow;
mod built_in;
pub mod described;
pub mod diagnostic;
mod escalation;
mod filter;
mod filter_alone;
pub mod glob;
mod ignore_command;
mod includes;
mod ini;
mod interpolate;
mod jail;
mod journalmatch;
mod layers;
mod log_source;
mod named_filter;
mod option_list;
mod options;
mod ports;
pub mod reference;
mod resolve;
mod safely;
mod tags;
mod text;
mod time;
mod toml_table;
mod written;

use std::path::Path;

use crate::core::date::Zone;
use crate::core::filter::{Filter, FilterText, Limits};
use crate::core::jail::Jail;
use crate::core::time::Span;

pub use agent::Settings;
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use filter_alone::filter_alone;
pub use named_filter::{NamedFilter, named_filter, parse_journal_match};
pub use written::WrittenJail;

/// The jails of a host.
#[derive(Debug)]
pub struct Loaded {
    /// Enabled jails without an error, in the order in which their sections first
    /// appear in the files.
    pub jails: Vec<Jail>,
    /// What is wrong. An error with a jail's name says that this jail is left out.
    pub diagnostics: Diagnostics,
    /// Where the jails stand in the files, in the same order as `jails`.
    pub written: Vec<WrittenJail>,
}

/// The text of a vendor file that is built in, by its path below `vendor-directory`.
pub fn built_in_text(path: &Path) -> Option<&'static str> {
    built_in::text(path)
}

/// A length of time as `bantime` takes it, such as `600`, `1h 30m` or `2d`; `None` for a
/// negative one, which is for ever.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn ban_time(text: &str) -> Result<Option<Span>, Box<Diagnostic>> {
    time::length("the time", &text::Text::generated(text))
}

/// Reads the jails below `jail-directory`, over those that come with guard. A jail with
/// an error is left out, the others are there.
pub fn jails(settings: &Settings) -> Loaded {
    let mut diagnostics = Diagnostics::default();
    let (tree, merged) = read(settings, &mut diagnostics);
    let services = ports::Services::load(Path::new("/etc/services"));
    let limits = Limits { steps: settings.limits.match_steps as usize, ..Limits::default() };
    let zone = Zone::new(jiff::tz::TimeZone::system());
    let compile = |text: &FilterText| {
        let complaint =
            |problem: crate::core::filter::CompileProblem| (problem.expression, problem.message);
        let text = FilterText { host_zone: zone.clone(), ..text.clone() };
        Filter::compile(&text, limits)
            .map_err(|problems| problems.into_iter().map(complaint).collect())
    };
    let own_logs = own_logs(settings);
    let mut builder = jail::Builder {
        tree: &tree,
        merged: &merged,
        services: &services,
        own_logs: &own_logs,
        compile: &compile,
        diagnostics,
        written: Vec::new(),
    };
    let jails = builder.jails();
    let jail::Builder { mut diagnostics, written, .. } = builder;
    if jails.is_empty() && !diagnostics.has_errors() {
        diagnostics.push(Diagnostic::warning("no jail is enabled").in_file(&tree.directory).help(
            "write `enabled = true` into the section of a jail, such as [sshd], in jail.local",
        ));
    }
    Loaded { jails, diagnostics, written }
}

/// The files that jails are made of.
fn read(settings: &Settings, diagnostics: &mut Diagnostics) -> (layers::Tree, layers::Merged) {
    let tree = layers::Tree {
        vendor: settings.vendor_directory.clone(),
        directory: settings.jail_directory.clone(),
    };
    if let Err(error) = std::fs::read_dir(&tree.directory) {
        diagnostics.push(
            Diagnostic::error(format!("cannot read the jail-directory: {error}"))
                .in_file(&tree.directory)
                .help("make it, or name another in guard.toml, such as jail-directory = \"/etc/fail2ban\""),
        );
    }
    let mut merged = tree.read("jail", diagnostics);
    merged.describe_itself(&tree);
    (tree, merged)
}

/// Files that guard, or Fail2Ban in its place, writes its bans to.
fn own_logs(settings: &Settings) -> Vec<String> {
    let mut logs: Vec<String> =
        ["/var/log/fail2ban.log", "/var/log/guard/guard.log"].map(str::to_owned).into();
    if let agent::LogTarget::File(path) = &settings.log {
        logs.push(path.to_string_lossy().into_owned());
    }
    logs
}
