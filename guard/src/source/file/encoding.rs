//! How a file's bytes become text: `logencoding`.

use std::borrow::Cow;

/// A way to read bytes as text. What is no text in it becomes U+FFFD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8; also what `auto` means.
    Utf8,
    /// Only the lower half is text.
    Ascii,
    /// ISO 8859-1: each byte is one character.
    Latin1,
    /// UTF-16.
    Wide {
        /// The less significant byte comes first.
        little: bool,
    },
    /// Any other in which a newline is one byte that nothing else contains.
    Other(&'static encoding_rs::Encoding),
}

/// How lines are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// By the byte 10.
    Byte,
    /// By that and a zero byte after it, at an even offset.
    LittlePair,
    /// By a zero byte and that after it, at an even offset.
    BigPair,
}

impl Encoding {
    /// The encoding of a label, as Python's codecs or the WHATWG call it; `None` for one
    /// that guard does not know.
    pub fn named(label: &str) -> Option<Self> {
        let label = label.trim().to_ascii_lowercase().replace('_', "-");
        Some(match label.as_str() {
            "" | "auto" | "utf-8" | "utf8" | "u8" | "utf-8-sig" => Self::Utf8,
            "ascii" | "us-ascii" | "646" => Self::Ascii,
            "latin1" | "latin-1" | "iso-8859-1" | "iso8859-1" | "8859" | "l1" => Self::Latin1,
            "utf-16" | "utf16" | "utf-16le" | "utf-16-le" => Self::Wide { little: true },
            "utf-16be" | "utf-16-be" => Self::Wide { little: false },
            other => {
                let found = encoding_rs::Encoding::for_label(other.as_bytes()).or_else(|| {
                    encoding_rs::Encoding::for_label(other.replace('-', "").as_bytes())
                });
                match found? {
                    // What the standard lets nobody decode.
                    it if it == encoding_rs::REPLACEMENT => return None,
                    it => Self::Other(it),
                }
            }
        })
    }

    pub(super) fn framing(self) -> Framing {
        match self {
            Self::Wide { little: true } => Framing::LittlePair,
            Self::Wide { little: false } => Framing::BigPair,
            _ => Framing::Byte,
        }
    }

    /// The text of a line; borrowed whenever that is possible.
    pub(super) fn decode(self, bytes: &[u8]) -> Cow<'_, str> {
        match self {
            Self::Utf8 => String::from_utf8_lossy(bytes),
            Self::Ascii if bytes.is_ascii() => String::from_utf8_lossy(bytes),
            Self::Ascii => bytes.iter().map(|&byte| ascii(byte)).collect::<String>().into(),
            Self::Latin1 => encoding_rs::mem::decode_latin1(bytes),
            Self::Wide { little } => {
                let order = if little { u16::from_le_bytes } else { u16::from_be_bytes };
                let (pairs, odd) = bytes.as_chunks::<2>();
                let units = pairs.iter().map(|&pair| order(pair));
                let mut text: String = char::decode_utf16(units)
                    .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
                    .collect();
                text.extend((!odd.is_empty()).then_some(char::REPLACEMENT_CHARACTER));
                text.into()
            }
            Self::Other(encoding) => encoding.decode_without_bom_handling(bytes).0,
        }
    }
}

fn ascii(byte: u8) -> char {
    if byte.is_ascii() { char::from(byte) } else { char::REPLACEMENT_CHARACTER }
}

impl Framing {
    /// Bytes of a newline, and of the unit that lines are whole numbers of.
    pub(super) fn width(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::LittlePair | Self::BigPair => 2,
        }
    }

    /// Where the first newline of `bytes`, which begin at an even offset, begins.
    pub(super) fn newline(self, bytes: &[u8]) -> Option<usize> {
        let wanted: &[u8; 2] = match self {
            Self::Byte => return memchr::memchr(b'\n', bytes),
            Self::LittlePair => b"\n\0",
            Self::BigPair => b"\0\n",
        };
        bytes.as_chunks::<2>().0.iter().position(|pair| pair == wanted).map(|pair| 2 * pair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_python_and_of_the_web() {
        for (label, bytes, text) in [
            ("auto", &b"\xc3\xa9\xff"[..], "\u{e9}\u{fffd}"),
            ("UTF-8", b"a\0b", "a\0b"),
            ("ascii", b"a\xe9\xe9", "a\u{fffd}\u{fffd}"),
            ("latin1", b"\xe9\x80", "\u{e9}\u{80}"),
            ("iso8859_1", b"\xe9", "\u{e9}"),
            ("cp1252", b"\x80", "\u{20ac}"),
            ("iso8859-15", b"\xa4", "\u{20ac}"),
            ("koi8_r", b"\xc1", "\u{430}"),
            ("utf_16_le", b"a\0\xe9\0", "a\u{e9}"),
            ("utf-16-be", b"\0a\0\xe9\xd8", "a\u{e9}\u{fffd}"),
        ] {
            let encoding = Encoding::named(label).unwrap_or_else(|| panic!("{label}"));
            assert_eq!(encoding.decode(bytes), text, "{label}");
        }
        for unknown in ["utf-32", "rot13", "hz", "no such"] {
            assert_eq!(Encoding::named(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_newline_of_two_bytes_lies_on_an_even_place() {
        assert_eq!(Framing::Byte.newline(b"a\n"), Some(1));
        assert_eq!(Framing::LittlePair.newline(b"a\x0a\0\0\x0a\0"), Some(4));
        assert_eq!(Framing::BigPair.newline(b"\x0a\0\0\x0a"), Some(2));
        assert_eq!(Framing::BigPair.newline(b"a\0\x0aa"), None);
    }
}
