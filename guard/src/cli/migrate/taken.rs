//! What a switch that failed leaves in guard's store: nothing of Fail2Ban's.
//!
//! Input: the store before and after, without an agent. Output: the store as it was before.

use std::path::Path;

use crate::cli::Failure;
use crate::store::snapshot::Snapshot;
use crate::store::{Store, StoreError, files};

/// All that a store holds, if there is one.
pub(super) fn snapshot(store: &Path) -> Result<Option<Snapshot>, Failure> {
    match Store::open_existing(store).and_then(|store| store.snapshot()) {
        Ok(snapshot) => Ok(Some(snapshot)),
        Err(StoreError::Missing { .. }) => Ok(None),
        Err(error) => Err(Failure::NotDone(error.to_string())),
    }
}

/// Has a store hold that again, and nothing else.
pub(super) fn put_back(store: &Path, had: &Snapshot) -> Result<(), Failure> {
    let back = Store::open_existing(store).and_then(|store| store.put_back(had));
    back.map_err(|error| Failure::NotDone(error.to_string()))
}

/// Removes a store that this migration made.
pub(super) fn remove(store: &Path) -> Result<(), Failure> {
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let file = files::beside(store, suffix);
        files::remove(&file)
            .map_err(|error| Failure::NotDone(format!("removing {}: {error}", file.display())))?;
    }
    Ok(())
}
