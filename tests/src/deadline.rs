//! Waiting for an event that the kernel or another process brings about.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often an event is looked for.
const INTERVAL: Duration = Duration::from_millis(5);

/// Looks until `look` gives a value, at most for `limit`.
///
/// # Errors
/// When `look` fails, or the limit is over; the error then says `what` did not happen.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        // Asked before the look: the last look is always a whole one.
        let over = start.elapsed() >= limit;
        if let Some(value) = look().with_context(|| format!("while waiting for {what}"))? {
            return Ok(value);
        }
        if over {
            bail!("{what}: not within {limit:?}");
        }
        thread::sleep(INTERVAL);
    }
}

/// As [`wait_for`], for a condition.
///
/// # Errors
/// As [`wait_for`].
pub fn wait_until(
    what: &str,
    limit: Duration,
    mut holds: impl FnMut() -> Result<bool>,
) -> Result<()> {
    wait_for(what, limit, || Ok(holds()?.then_some(())))
}
