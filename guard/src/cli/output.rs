//! Text and JSON on stdout, talk on stderr, files that are replaced in one step.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;

use crate::cli::Failure;
use crate::core::enforced::Coverage;

/// Prints data. Whoever closes the pipe early has read enough.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::NotDone(format!("writing to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints data as JSON, indented.
pub(super) fn json<T: Serialize>(value: &T) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::NotDone(format!("writing JSON: {error}")))?;
    text.push('\n');
    print(&text)
}

/// Says something to the person.
pub(super) fn talk(text: &str) {
    // Nowhere else to say it.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Replaces a file in one step: whoever reads it meets the old bytes or the new ones. `mode`
/// is the new file's, less the umask.
///
/// No link is followed, whoever may write in the directory: the new file is made anew beside
/// the old one.
///
/// # Errors
/// The file cannot be written, or something lies there that is no plain file, such as a link
/// or a device.
pub(super) fn replace(file: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let refused = |words: &str| io::Error::new(io::ErrorKind::InvalidInput, words);
    let name = file.file_name().ok_or_else(|| refused("this names no file"))?;
    match fs::symlink_metadata(file) {
        Ok(found) if !found.is_file() => {
            return Err(refused("what lies there is no plain file; name another one"));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Readers of a directory take files by their last part, such as `.prom`: not this one.
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}", std::process::id()));
    let aside = file.with_file_name(beside);
    let mut to =
        File::options().write(true).create_new(true).mode(mode).open(&aside).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", aside.display()))
        })?;
    let written =
        to.write_all(bytes).and_then(|()| to.sync_all()).and_then(|()| fs::rename(&aside, file));
    if written.is_err() {
        // The first failure is the one to tell.
        let _ = fs::remove_file(&aside);
    }
    written
}

/// Whether to use colours on a stream that is a terminal, or not.
pub(super) fn colour(is_terminal: bool) -> bool {
    // https://no-color.org: any value that is not empty.
    is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Control characters in escaped form, so that a log line cannot steer the terminal.
pub(super) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\t' { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// In words that an interface lets everybody in.
pub(super) fn uncovered(interface: &Coverage) -> String {
    format!(
        "{} is not guarded: whoever comes in there is not stopped by a ban ({})",
        interface.interface, interface.reason
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("guard.prom");
        replace(&file, b"old", 0o600).expect("written");
        replace(&file, b"new", 0o600).expect("written again");
        assert_eq!(fs::read_to_string(&file).expect("the file"), "new");
        assert_eq!(fs::metadata(&file).expect("the file").permissions().mode() & 0o777, 0o600);
        assert!(replace(&directory.path().join("none/guard.prom"), b"x", 0o600).is_err());
        fs::remove_file(&file).expect("removed");
        fs::create_dir(&file).expect("a directory in its place");
        assert!(replace(&file, b"x", 0o600).is_err());
        let left = fs::read_dir(directory.path()).expect("a directory").count();
        assert_eq!(left, 1, "only what was there");
    }

    #[test]
    fn no_link_is_followed_and_what_others_made_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        fs::write(at("theirs"), "theirs").expect("written");
        symlink(at("theirs"), at("page")).expect("a link");
        assert!(replace(&at("page"), b"x", 0o600).is_err());
        // A link where the new file is made: another page is written, this one is not.
        let aside = at(&format!(".report.{}", std::process::id()));
        symlink(at("theirs"), &aside).expect("a link");
        assert!(replace(&at("report"), b"x", 0o600).is_err());
        assert!(fs::symlink_metadata(&aside).is_ok(), "a link of others is gone");
        assert!(!at("report").exists());
        replace(&at("another"), b"x", 0o600).expect("written");
        assert_eq!(fs::read_to_string(at("theirs")).expect("the file"), "theirs");
    }
}
