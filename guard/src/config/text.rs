//! Text that knows where in which file each part of it stands.
//!
//! Input: pieces of [`SourceFile`]s. Output: [`Text`], which survives joining of
//! continuation lines, interpolation and splitting, so that a diagnostic can point at
//! the characters that somebody wrote. Invariant: offsets never leave their file.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A configuration file in memory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SourceFile {
    path: PathBuf,
    text: String,
}

impl SourceFile {
    /// A file with its text.
    pub(crate) fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { path: path.into(), text: text.into() })
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// All of it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The place of a byte range: of its first line, if it spans several.
    pub(crate) fn place(&self, range: Range<usize>) -> Place {
        let start = floor_char_boundary(&self.text, range.start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |n| start + n);
        let end = floor_char_boundary(&self.text, range.end).clamp(start, line_end);
        let source = self.text[line_start..line_end].trim_end_matches('\r').to_owned();
        Place {
            file: self.path.clone(),
            line: 1 + self.text[..line_start].matches('\n').count(),
            column: 1 + self.text[line_start..start].chars().count().min(source.chars().count()),
            length: self.text[start..end].chars().count().max(1),
            source,
        }
    }
}

/// A stretch of one line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column of the first character, from 1, counted in characters.
    pub column: usize,
    /// Characters, at least 1.
    pub length: usize,
    /// The whole line, without its end.
    pub source: String,
}

/// A string whose parts know where they were written.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Text {
    string: String,
    /// Ascending by `start`; a part reaches to the start of the next.
    origins: Vec<Origin>,
}

#[derive(Clone, PartialEq, Eq)]
struct Origin {
    start: usize,
    file: Arc<SourceFile>,
    offset: usize,
}

impl Text {
    /// A part of a file.
    pub(crate) fn of(file: &Arc<SourceFile>, range: Range<usize>) -> Self {
        let origin = Origin { start: 0, file: Arc::clone(file), offset: range.start };
        Self { string: file.text[range].to_owned(), origins: vec![origin] }
    }

    /// Text that nobody wrote in a file.
    pub(crate) fn generated(string: impl Into<String>) -> Self {
        Self { string: string.into(), origins: Vec::new() }
    }

    /// The characters.
    pub(crate) fn as_str(&self) -> &str {
        &self.string
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.string.len()
    }

    /// Whether there is nothing but white space.
    pub(crate) fn is_blank(&self) -> bool {
        self.string.trim().is_empty()
    }

    /// Appends characters that have no place of their own.
    pub(crate) fn push_str(&mut self, string: &str) {
        self.string.push_str(string);
    }

    /// Appends another text with its places.
    pub(crate) fn push(&mut self, other: &Self) {
        self.push_part(other, 0..other.len());
    }

    /// Appends a part of another text with its places.
    pub(crate) fn push_part(&mut self, other: &Self, range: Range<usize>) {
        let base = self.string.len();
        let first = other.origins.partition_point(|origin| origin.start <= range.start);
        if let Some(covering) = first.checked_sub(1).map(|index| &other.origins[index]) {
            let offset = covering.offset + (range.start - covering.start);
            self.begin(Origin { start: base, file: Arc::clone(&covering.file), offset });
        }
        for origin in other.origins[first..].iter().take_while(|next| next.start < range.end) {
            let start = base + (origin.start - range.start);
            self.begin(Origin { start, ..origin.clone() });
        }
        self.string.push_str(&other.string[range]);
    }

    /// Notes where a part begins, unless it goes on where the last one ends.
    fn begin(&mut self, origin: Origin) {
        let goes_on = |last: &Origin| {
            last.offset + (origin.start - last.start) == origin.offset
                && Arc::ptr_eq(&last.file, &origin.file)
        };
        if !self.origins.last().is_some_and(goes_on) {
            self.origins.push(origin);
        }
    }

    /// A part of the text; the range lies on character boundaries.
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        let mut part = Self::default();
        part.push_part(self, range);
        part
    }

    /// Without white space around it.
    pub(crate) fn trimmed(&self) -> Self {
        let start = self.len() - self.string.trim_start().len();
        let length = self.string.trim().len();
        self.part(start..start + length)
    }

    /// The pieces between characters that `separates` accepts, without empty ones,
    /// each without white space around it.
    pub(crate) fn split(&self, separates: impl Fn(char) -> bool) -> Vec<Self> {
        let base = self.string.as_ptr() as usize;
        self.string
            .split(separates)
            .map(|piece| {
                let start = piece.as_ptr() as usize - base;
                self.part(start..start + piece.len()).trimmed()
            })
            .filter(|piece| piece.len() > 0)
            .collect()
    }

    /// Where the range was written, if it was written in a file.
    pub(crate) fn place_of(&self, range: Range<usize>) -> Option<Place> {
        let index = self.origins.partition_point(|origin| origin.start <= range.start);
        let origin = &self.origins[index.checked_sub(1)?];
        let until = self.origins.get(index).map_or(range.end, |next| next.start.min(range.end));
        let start = origin.offset + (range.start - origin.start);
        Some(origin.file.place(start..start + until.saturating_sub(range.start)))
    }

    /// Where the text begins, if it was written in a file.
    pub(crate) fn place(&self) -> Option<Place> {
        self.place_of(0..self.len())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.string, f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.string)
    }
}

fn floor_char_boundary(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_keep_their_places_when_joined() {
        let one = SourceFile::new("one", "a = först\nb = %(a)s!");
        let two = SourceFile::new("two", "\n\n   zwei");
        let mut joined = Text::of(&one, 4..10);
        joined.push_str(" ");
        joined.push(&Text::of(&two, 5..9));
        assert_eq!(joined.as_str(), "först zwei");
        let place = joined.place_of(7..11).expect("a place");
        assert_eq!((place.file.as_path(), place.line, place.column), (Path::new("two"), 3, 4));
        assert_eq!((place.length, place.source.as_str()), (4, "   zwei"));
        let place = joined.part(3..6).place().expect("a place");
        assert_eq!((place.line, place.column, place.length), (1, 7, 3));
    }

    #[test]
    fn pieces_are_trimmed_and_never_empty() {
        let file = SourceFile::new("f", "ports =  ssh , ,8006,");
        let pieces = Text::of(&file, 7..21).split(|c| c == ',');
        let columns: Vec<_> =
            pieces.iter().map(|p| (p.as_str(), p.place().expect("a place").column)).collect();
        assert_eq!(columns, [("ssh", 10), ("8006", 17)]);
    }

    #[test]
    fn a_place_never_leaves_its_file() {
        let file = SourceFile::new("f", "é\n");
        for start in 0..9 {
            let place = file.place(start..start + 5);
            assert!(place.line <= 2 && place.column <= 2, "{place:?}");
        }
    }
}
