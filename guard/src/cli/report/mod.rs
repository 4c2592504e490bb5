//! `guardctl report`: what was done, as text for a terminal or mail, or as one page.
//!
//! Input: the store's record, read beside a running agent or without one. Output: text,
//! JSON, or a page that needs nothing else.

mod html;
mod model;
#[cfg(test)]
mod tests;
mod text;

use std::path::PathBuf;

use crate::cli::{Context, Failure, output, replay};
use crate::store::record;
use model::Report;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    guardctl report                            the last 7 days, as text\n  \
    guardctl report --since 24h | mail -s guard root\n  \
    guardctl report --since 2026-11-01 --html /root/guard.html")]
pub(super) struct Arguments {
    /// From then on: a date, a time such as '2026-11-22 10:00', or how long ago, such as 7d.
    #[arg(long, value_name = "TIME", default_value = "7d")]
    since: String,
    /// Write a page with charts to a file, which root alone can read.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(super) fn report(context: &Context, arguments: &Arguments) -> Result<(), Failure> {
    let now = crate::host::now().0;
    let since = replay::point(&arguments.since, now).map_err(Failure::Usage)?;
    if since >= now {
        return Err(Failure::Usage(format!("`{}` is not in the past", arguments.since)));
    }
    let record = record::read(&context.settings.store(), since)
        .map_err(|error| Failure::NotDone(error.to_string()))?;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let report = Report::new(host, &record, since, now);
    if let Some(path) = &arguments.html {
        output::replace(path, html::page(&report).as_bytes(), 0o600)
            .map_err(|error| Failure::NotDone(format!("writing {}: {error}", path.display())))?;
        if !context.json {
            return Ok(());
        }
    }
    if context.json {
        return output::json(&report);
    }
    output::print(&text::text(&report))
}
