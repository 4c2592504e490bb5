//! Sets of bytes, and what a text may go on with.
//!
//! Input: an expression for one character, or a text. Output: the set, or how far it
//! reaches. Invariant: a set holds all bytes of characters that are not ASCII or none, so
//! that characters can be taken byte by byte.

use regex_syntax::hir::{Class, Hir, HirKind};

use super::literal::{find, last};

/// What a text may go on with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Begin {
    pub bytes: Bytes,
    /// Whether it may be over.
    pub ends: bool,
}

/// A set of bytes, in the form in which it is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Set {
    All,
    AllBut(u8),
    /// From a lowest one, so many more.
    Range(u8, u8),
    Of(Bytes),
}

/// A set of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bytes([u64; 4]);

impl Bytes {
    #[inline]
    pub(super) fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte / 64)] >> (byte % 64) & 1 == 1
    }

    pub(super) fn add(&mut self, low: u8, high: u8) {
        for byte in low..=high {
            self.0[usize::from(byte / 64)] |= 1 << (byte % 64);
        }
    }

    pub(super) fn one(byte: u8) -> Self {
        let mut one = Self::default();
        one.add(byte, byte);
        one
    }

    pub(super) fn united(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(bits, other)| *bits |= other);
        self
    }

    pub(super) fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).any(|(bits, other)| bits & other != 0)
    }

    fn count(&self) -> u32 {
        self.0.iter().map(|bits| bits.count_ones()).sum()
    }

    /// Whether it has bytes of characters that are not ASCII.
    pub(super) fn is_wide(&self) -> bool {
        self.0[2..] != [0, 0]
    }
}

impl From<Bytes> for Set {
    fn from(bytes: Bytes) -> Self {
        match bytes.count() {
            256 => Self::All,
            255 => (0..=u8::MAX).find(|byte| !bytes.has(*byte)).map_or(Self::All, Self::AllBut),
            _ => {
                let mut has = (0..=u8::MAX).filter(|byte| bytes.has(*byte));
                let (low, high) = (has.next().unwrap_or(0), has.next_back().unwrap_or(0));
                let mut range = Bytes::default();
                range.add(low, high);
                if range == bytes { Self::Range(low, high - low) } else { Self::Of(bytes) }
            }
        }
    }
}

impl Set {
    /// How many bytes of it a text begins with.
    #[inline]
    pub(super) fn run(&self, text: &[u8]) -> usize {
        match self {
            Self::All => text.len(),
            Self::AllBut(other) => find(text, *other),
            Self::Range(low, more) => while_in(text, |byte| byte.wrapping_sub(*low) <= *more),
            Self::Of(bytes) => while_in(text, |byte| bytes.has(byte)),
        }
    }

    /// Where the last run of its bytes begins that the text ends with.
    #[inline]
    pub(super) fn begin(&self, text: &[u8]) -> usize {
        if let Self::AllBut(other) = self {
            return last(text, *other).map_or(0, |at| at + 1);
        }
        text.iter().rposition(|byte| !self.has(*byte)).map_or(0, |at| at + 1)
    }

    pub(super) fn has(&self, byte: u8) -> bool {
        self.run(&[byte]) == 1
    }
}

#[inline]
fn while_in(text: &[u8], is_in: impl Fn(u8) -> bool) -> usize {
    let mut length = 0;
    while length < text.len() && is_in(text[length]) {
        length += 1;
    }
    length
}

impl Begin {
    /// Whether a text that goes on with this byte, or is over, may be one.
    #[inline]
    pub(super) fn allows(&self, byte: Option<u8>) -> bool {
        byte.map_or(self.ends, |byte| self.bytes.has(byte))
    }

    pub(super) fn united(self, other: Self) -> Self {
        Self { bytes: self.bytes.united(other.bytes), ends: self.ends || other.ends }
    }
}

/// The set of an expression for one character whose bytes can be taken one by one.
pub(super) fn one_byte(hir: &Hir) -> Option<Bytes> {
    const WIDE: (char, char) = ('\u{80}', char::MAX);
    let mut set = Bytes::default();
    match hir.kind() {
        HirKind::Literal(literal) => match *literal.0 {
            [byte @ ..0x80] => set.add(byte, byte),
            _ => return None,
        },
        HirKind::Class(Class::Unicode(class)) => {
            for range in class.ranges() {
                let (low, high) = (range.start(), range.end());
                let wide = (low.max(WIDE.0), high);
                if high >= WIDE.0 && wide != WIDE {
                    return None;
                }
                let byte = |c: char| u8::try_from(c).ok().filter(u8::is_ascii);
                let high = if high >= WIDE.0 { u8::MAX } else { byte(high)? };
                set.add(byte(low).unwrap_or(0x80), high);
            }
        }
        _ => return None,
    }
    Some(set)
}

/// The bytes with which an expression begins that is not empty, if that is simple.
pub(super) fn begin_of(hir: &Hir) -> Option<Bytes> {
    match hir.kind() {
        HirKind::Concat(parts) => begin_of(parts.first()?),
        HirKind::Repetition(repetition) if repetition.min > 0 => begin_of(&repetition.sub),
        HirKind::Literal(literal) => literal.0.first().map(|byte| Bytes::one(*byte)),
        _ => one_byte(hir),
    }
}
