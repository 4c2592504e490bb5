//! Logs as they lie on a disk, read once from beginning to end.
//!
//! Input: a file, standard input, or the journal. Output: lines, or entries, one after
//! the other, and how far that is. Invariant: a line costs no allocation, and however
//! long it is, no more than [`LINE_BYTES`] of it are looked at.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::Path;

use encoding_rs::{Encoding, UTF_8};

/// Bytes of a line that are looked at.
pub const LINE_BYTES: usize = 1 << 20;

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file is not there, or the like.
    #[error("reading {path}: {cause}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        cause: std::io::Error,
    },
    /// No encoding has that name.
    #[error("`{0}` is no encoding: write utf-8, latin1 or another name that the web knows")]
    Encoding(String),
}

/// A log file.
#[derive(Debug)]
pub struct LogFile {
    path: String,
    encoding: &'static Encoding,
    input: Input,
    /// Its length in bytes, if it has one.
    pub length: Option<u64>,
}

#[derive(Debug)]
enum Input {
    File(File),
    Standard,
}

impl LogFile {
    /// Opens a file, or standard input for `-`.
    ///
    /// # Errors
    /// When it cannot be opened, or there is no such encoding.
    pub fn open(path: &Path, encoding: &str) -> Result<Self, LogError> {
        let label = if encoding.eq_ignore_ascii_case("auto") { "utf-8" } else { encoding };
        let found = Encoding::for_label(label.as_bytes());
        let encoding = found.ok_or_else(|| LogError::Encoding(encoding.to_owned()))?;
        let name = path.display().to_string();
        if path == Path::new("-") {
            let input = Input::Standard;
            return Ok(Self { path: "standard input".to_owned(), encoding, input, length: None });
        }
        let failed = |cause| LogError::Read { path: name.clone(), cause };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let length = metadata.is_file().then_some(metadata.len());
        Ok(Self { path: name, encoding, input: Input::File(file), length })
    }

    /// Hands over each line, without its end, and how many bytes were read by then.
    ///
    /// # Errors
    /// When it cannot be read any further.
    pub fn each(self, mut line: impl FnMut(&str, u64) -> ControlFlow<()>) -> Result<(), LogError> {
        let mut reader: Box<dyn BufRead> = match self.input {
            Input::File(file) => Box::new(BufReader::with_capacity(BUFFER_BYTES, file)),
            Input::Standard => Box::new(BufReader::with_capacity(BUFFER_BYTES, std::io::stdin())),
        };
        let failed = |cause| LogError::Read { path: self.path.clone(), cause };
        let mut bytes = Vec::new();
        let mut done = 0;
        loop {
            bytes.clear();
            let limit = LINE_BYTES as u64;
            let mut read =
                (&mut *reader).take(limit).read_until(b'\n', &mut bytes).map_err(failed)?;
            if read == 0 {
                return Ok(());
            }
            let whole = bytes.last() == Some(&b'\n');
            if !whole && read == LINE_BYTES {
                read += skip_line(&mut reader).map_err(failed)?;
            }
            done += read as u64;
            while matches!(bytes.last(), Some(b'\n' | b'\r')) {
                bytes.pop();
            }
            let text = match std::str::from_utf8(&bytes) {
                Ok(text) if self.encoding == UTF_8 || text.is_ascii() => text.into(),
                _ => self.encoding.decode_without_bom_handling(&bytes).0,
            };
            if line(&text, done).is_break() {
                return Ok(());
            }
        }
    }
}

/// Reads past the end of a line; how many bytes that were.
fn skip_line(reader: &mut impl BufRead) -> std::io::Result<usize> {
    let mut skipped = 0;
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(skipped);
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(buffer.len(), |end| end + 1);
        reader.consume(length);
        skipped += length;
        if end.is_some() {
            return Ok(skipped);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8], encoding: &str) -> Vec<String> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        std::fs::write(&path, bytes).expect("written");
        let mut all = Vec::new();
        let file = LogFile::open(&path, encoding).expect("open");
        let mut last = 0;
        file.each(|line, done| {
            all.push(line.to_owned());
            last = done;
            ControlFlow::Continue(())
        })
        .expect("read");
        assert_eq!(last, bytes.len() as u64);
        all
    }

    #[test]
    fn lines_end_where_they_end() {
        assert_eq!(lines(b"a\r\n\nb\nlast", "utf-8"), ["a", "", "b", "last"]);
        assert_eq!(lines(b"", "utf-8"), [""; 0]);
    }

    #[test]
    fn encodings_are_those_that_are_named() {
        assert_eq!(lines(b"f\xfcr\n", "latin1"), ["für"]);
        assert_eq!(lines("für\n".as_bytes(), "utf-8"), ["für"]);
        assert_eq!(lines(b"f\xfcr\n", "utf-8"), ["f\u{fffd}r"]);
        assert!(LogFile::open(Path::new("-"), "klingon").is_err());
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut bytes = vec![b'x'; LINE_BYTES + 300_000];
        bytes.extend(b"\nnext\n");
        let lines = lines(&bytes, "utf-8");
        assert_eq!((lines[0].len(), lines[1].as_str()), (LINE_BYTES, "next"));
    }
}
