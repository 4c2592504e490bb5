//! Where entries come from. Each source hands [`Batch`]es, in order and with the
//! position after each, to the engine, and goes on from a stored position.

pub mod file;
pub mod journal;

use std::time::{SystemTime, UNIX_EPOCH};

#[cfg(doc)]
use crate::core::entry::Batch;
use crate::core::time::Timestamp;

/// The wall clock.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
