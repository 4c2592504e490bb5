//! Reads a stored journal in one of several ways and says what that cost:
//! `journal DIRECTORY MATCH message|five|guard [--filters DIRECTORY] FILTER`
//!
//! `MATCH` is one `FIELD=value`, which libsystemd looks for in all ways. `message` and
//! `five` are bare loops around libsystemd that read one field or five of each entry.
//! `guard` is what the agent does with its journal: the source, and the engine with one
//! jail of the filter, one after the other in one thread; all but storing and enforcing
//! what comes of it.
//!
//! Output, one line: entries, failures found, nanoseconds. The filter is compiled before
//! the clock starts; guard's time holds the opening of the journal, that of the bare loops
//! does not.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use guard::config::{Settings, jails};
use guard::core::allow::AllowList;
use guard::core::effects::Report;
use guard::core::engine::{Engine, Limits, Stored};
use guard::core::host::HostAddresses;
use guard::core::input::Input;
use guard::core::jail::JailId;
use guard::core::time::{Span, Timestamp};
use guard::daemon::sources::journal_interest;
use guard::source::journal::{Counters, Options, Place, Start, read_stored};
use systemd::journal::OpenDirectoryOptions;

const FIVE: [&std::ffi::CStr; 5] =
    [c"MESSAGE", c"SYSLOG_IDENTIFIER", c"_PID", c"_HOSTNAME", c"_SOURCE_REALTIME_TIMESTAMP"];

/// Entries, failures, nanoseconds.
type Cost = (u64, u64, u128);

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory: PathBuf = arguments.next().context("which journal?")?.into();
    let wanted = arguments.next().context("which match?")?;
    let way = arguments.next().context("which way?")?;
    let (entries, failures, nanoseconds) = match way.as_str() {
        "message" => bare(&directory, &wanted, &FIVE[..1])?,
        "five" => bare(&directory, &wanted, &FIVE)?,
        "guard" => {
            let rest: Vec<String> = arguments.collect();
            match rest.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                [filter] => guard(&directory, &wanted, None, filter)?,
                ["--filters", filters, filter] => {
                    guard(&directory, &wanted, Some(Path::new(filters)), filter)?
                }
                _ => bail!("which filter?"),
            }
        }
        other => bail!("no way is called {other}"),
    };
    println!("{entries} {failures} {nanoseconds}");
    Ok(())
}

fn bare(directory: &Path, wanted: &str, fields: &[&std::ffi::CStr]) -> Result<Cost> {
    let mut journal =
        OpenDirectoryOptions::default().open_directory(directory.display().to_string())?;
    let (field, value) = wanted.split_once('=').context("a match is FIELD=value")?;
    journal.match_add(field, value)?;
    journal.seek_head()?;
    let mut entries = 0;
    let start = Instant::now();
    while journal.next()? > 0 {
        entries += 1;
        for field in fields {
            black_box(journal.get_data(*field)?);
        }
    }
    Ok((entries, 0, start.elapsed().as_nanos()))
}

fn guard(directory: &Path, wanted: &str, filters: Option<&Path>, filter: &str) -> Result<Cost> {
    let mut engine = engine(wanted, filters, filter)?;
    let subscriptions = engine
        .jails()
        .filter_map(|(id, jail)| Some((id, jail.journal_match()?.clone())))
        .collect::<Vec<(JailId, _)>>();
    let options = Options {
        place: Place::Directory(directory.to_owned()),
        subscriptions,
        boot: None,
        start: Start::Since(Timestamp::from_seconds(0)),
        interest: Some(journal_interest(&engine)),
    };
    let counters = Arc::new(Counters::default());
    let mut failures = 0;
    let start = Instant::now();
    read_stored(options, Arc::clone(&counters), |batch| {
        let now = batch.position.time;
        let effects = engine.handle(now, Input::Entries(batch));
        let found = |report: &&Report| matches!(report, Report::Found(_));
        failures += effects.report.iter().filter(found).count() as u64;
        ControlFlow::Continue(())
    })?;
    let nanoseconds = start.elapsed().as_nanos();
    Ok((counters.read.load(Ordering::Relaxed), failures, nanoseconds))
}

/// An engine with one jail.
fn engine(wanted: &str, filters: Option<&Path>, filter: &str) -> Result<Engine> {
    let place = tempfile::tempdir()?;
    let mut settings = Settings { jail_directory: place.path().to_owned(), ..Settings::default() };
    if let Some(filters) = filters {
        std::os::unix::fs::symlink(filters, place.path().join("filter.d"))?;
        settings.vendor_directory = place.path().join("vendor");
    }
    let text = format!(
        "[measured]\nenabled = true\nbackend = systemd\nfilter = {filter}\njournalmatch = {wanted}\n"
    );
    std::fs::write(place.path().join("jail.local"), text)?;
    let loaded = jails(&settings);
    ensure!(loaded.jails.len() == 1, "{}", loaded.diagnostics);
    let limits = Limits {
        tracked_failures: 65_536,
        bans: 1 << 20,
        connections: 8_192,
        known_sources: 65_536,
        history: Span::from_seconds(86_400),
    };
    let (engine, _) = Engine::restore(
        loaded.jails,
        AllowList::default(),
        limits,
        HostAddresses::default(),
        Stored::default(),
        Timestamp::from_seconds(0),
    );
    Ok(engine)
}
