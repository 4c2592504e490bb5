//! Reads configuration files, and refuses those that anybody could have written.
//!
//! Who writes the configuration decides who is banned, and names programs that are run.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::Path;

/// The bytes of a file.
///
/// # Errors
/// When it cannot be read, or when every user may write to it or replace it.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let refused = |why: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned()));
    if is_open_to_all(&file.metadata()?) {
        return refused("every user may write to it; chmod o-w closes it");
    }
    if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty())
        && is_open_to_all(&directory.metadata()?)
    {
        return refused("every user may write to its directory; chmod o-w closes that");
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether every user may write there; in a directory with the sticky bit nobody can
/// replace what is another's.
#[cfg(unix)]
fn is_open_to_all(found: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let mode = found.mode();
    mode & 0o002 != 0 && !(found.is_dir() && mode & 0o1000 != 0)
}

#[cfg(not(unix))]
fn is_open_to_all(_: &Metadata) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs::{Permissions, create_dir, set_permissions, write};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_everybody_may_write_is_refused_and_what_a_group_may_is_not() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = root.path().join("jail.d");
        let file = directory.join("own.conf");
        create_dir(&directory).expect("made");
        write(&file, "text").expect("written");
        let mode = |path: &Path, mode| {
            set_permissions(path, Permissions::from_mode(mode)).expect("set");
        };
        mode(&directory, 0o775);
        for (file_mode, directory_mode, fine) in [
            (0o644, 0o755, true),
            (0o664, 0o775, true),
            (0o644, 0o1777, true),
            (0o646, 0o755, false),
            (0o644, 0o757, false),
        ] {
            mode(&file, file_mode);
            mode(&directory, directory_mode);
            let text = read(&file);
            assert_eq!(text.is_ok(), fine, "{file_mode:o} in {directory_mode:o}: {text:?}");
        }
    }
}
