//! The note that guard was detached, which the agent heeds at its next start.
//!
//! It lies beside the store, so it holds over reboots: who was locked out stays in until
//! the administrator says otherwise (`guardctl attach`).

use std::io::{self, Write as _};
use std::path::PathBuf;

use crate::config::agent::Settings;
use crate::store::files;

/// Why nothing is enforced, and how to change that; `None` when guard was not detached.
pub fn reason(settings: &Settings) -> Option<String> {
    note(settings).exists().then(|| {
        "detached by `guardctl detach`; to enforce again, run `guardctl attach` and `guardctl \
         reload`"
            .to_owned()
    })
}

/// Takes note.
///
/// # Errors
/// When the note cannot be written.
pub fn take_note(settings: &Settings) -> io::Result<()> {
    let mut file = files::open_or_make(&note(settings))?;
    file.set_len(0)?;
    file.write_all(b"guardctl attach removes this\n")
}

/// Forgets it; `false` when there was no note.
///
/// # Errors
/// When the note cannot be removed.
pub fn forget(settings: &Settings) -> io::Result<bool> {
    match std::fs::remove_file(note(settings)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        other => other.map(|()| true),
    }
}

fn note(settings: &Settings) -> PathBuf {
    settings.state_directory.join("detached")
}
