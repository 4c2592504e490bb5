//! What a switch that failed leaves in guard's store: nothing of Fail2Ban's.
//!
//! Input: the store before and after, without an agent. Output: the store as it was before.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::cli::Failure;
use crate::core::addr::Prefix;
use crate::core::jail::JailName;
use crate::daemon::run;
use crate::store::{Store, StoreError};

/// Whom a store bans, if there is one.
pub(super) fn stored(store: &Path) -> Result<Option<HashSet<(JailName, Prefix)>>, Failure> {
    let bans = match Store::open_existing(store) {
        Err(StoreError::Missing { .. }) => return Ok(None),
        opened => opened.and_then(|mut store| store.bans()),
    };
    let bans = bans.map_err(|error| Failure::NotDone(error.to_string()))?;
    Ok(Some(bans.into_iter().map(|ban| (ban.jail, ban.source)).collect()))
}

/// Ends all bans of a store but these.
pub(super) fn forget_but(store: &Path, had: &HashSet<(JailName, Prefix)>) -> Result<(), Failure> {
    let end = || {
        let mut store = Store::open_existing(store)?;
        let mut taken: BTreeMap<JailName, Vec<Prefix>> = BTreeMap::new();
        for ban in store.bans()? {
            if !had.contains(&(ban.jail.clone(), ban.source)) {
                taken.entry(ban.jail).or_default().push(ban.source);
            }
        }
        for (jail, sources) in taken {
            store.unban(Some(&jail), Some(&sources), run::now().wall, &[])?;
        }
        Ok(())
    };
    end().map_err(|error: StoreError| Failure::NotDone(error.to_string()))
}

/// Removes a store that this migration made.
pub(super) fn remove(store: &Path) -> Result<(), Failure> {
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let mut file = store.as_os_str().to_owned();
        file.push(suffix);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                let file = Path::new(&file).display();
                return Err(Failure::NotDone(format!("removing {file}: {error}")));
            }
            _ => {}
        }
    }
    Ok(())
}
