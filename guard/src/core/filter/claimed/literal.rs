//! A text that is looked for at a place, or backwards from one.
//!
//! Input: a literal and a text. Output: whether, or where, it stands there. Invariant:
//! the answer is that of comparing byte by byte; eight are compared at once.

/// Bytes that are compared at once.
const WORD: usize = 8;

/// A text of at least one byte.
#[derive(Clone, Debug)]
pub(super) struct Literal {
    bytes: Box<[u8]>,
    /// The first eight of them, zeros after fewer, and where those are.
    word: u64,
    mask: u64,
    /// Where in it the byte is that is looked for first.
    rare: usize,
}

impl Literal {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let mask = u64::MAX >> (64 - 8 * bytes.len().clamp(1, WORD));
        let letter = bytes.iter().position(u8::is_ascii_lowercase);
        Self { bytes: bytes.into(), word: word(bytes), mask, rare: letter.unwrap_or(0) }
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether a text goes on with it from `at` on.
    #[inline]
    pub(super) fn stands(&self, text: &[u8], at: usize) -> bool {
        let Some(rest) = text.get(at..) else { return false };
        match rest.split_first_chunk() {
            Some((first, rest)) => {
                u64::from_le_bytes(*first) & self.mask == self.word
                    && (self.bytes.len() <= WORD || rest.starts_with(&self.bytes[WORD..]))
            }
            None => rest.starts_with(&self.bytes),
        }
    }

    /// The last place, from `low` up to `high`, where it stands.
    pub(super) fn last(&self, text: &[u8], low: usize, high: usize) -> Option<usize> {
        // Where the byte is looked for.
        let end = (high + self.rare + 1).min(text.len());
        let mut part = text.get(low + self.rare..end)?;
        loop {
            let found = last(part, self.bytes[self.rare])?;
            if self.stands(text, low + found) {
                return Some(low + found);
            }
            part = &part[..found];
        }
    }
}

/// The first eight bytes of a text, zeros after a shorter one.
#[inline]
pub(super) fn word(text: &[u8]) -> u64 {
    let bytes = text.first_chunk().copied().unwrap_or_else(|| {
        let mut bytes = [0; WORD];
        bytes[..text.len()].copy_from_slice(text);
        bytes
    });
    u64::from_le_bytes(bytes)
}

/// Every byte of a word the same.
const EACH: u64 = u64::MAX / 255;

/// Where a byte stands last.
#[inline]
pub(super) fn last(mut text: &[u8], byte: u8) -> Option<usize> {
    const LOW: u64 = EACH * 0x7F;
    let sought = u64::from(byte) * EACH;
    while let Some((rest, chunk)) = text.split_last_chunk::<WORD>() {
        let differ = u64::from_le_bytes(*chunk) ^ sought;
        // The highest bit of each byte that does not differ.
        let same = !(((differ & LOW) + LOW) | differ | LOW);
        if same != 0 {
            return Some(rest.len() + WORD - 1 - same.leading_zeros() as usize / 8);
        }
        text = rest;
    }
    text.iter().rposition(|other| *other == byte)
}

/// Where a byte stands first; the text's length if nowhere.
#[inline]
pub(super) fn find(text: &[u8], byte: u8) -> usize {
    let sought = u64::from(byte) * EACH;
    let mut at = 0;
    while let Some(chunk) = text[at..].first_chunk::<WORD>() {
        let differ = u64::from_le_bytes(*chunk) ^ sought;
        // The lowest of its bits is the highest one of the first byte that does not differ.
        let same = differ.wrapping_sub(EACH) & !differ & (EACH << 7);
        if same != 0 {
            return at + same.trailing_zeros() as usize / 8;
        }
        at += WORD;
    }
    while at < text.len() && text[at] != byte {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn it_stands_where_its_bytes_do(
            text in "[ a-cé\\x00\\x01`]{0,40}",
            literal in "[ a-c]{1,3}|[a-b]{7,10}",
            planted in any::<prop::sample::Index>(),
            ends in any::<[prop::sample::Index; 2]>(),
        ) {
            let mut text = text.into_bytes();
            let place = planted.index(text.len() + 1);
            text.splice(place..place, literal.bytes());
            let sought = Literal::new(literal.as_bytes());
            let there = |at: &usize| text.get(*at..).is_some_and(|t| t.starts_with(literal.as_bytes()));
            for at in 0..text.len() + 2 {
                prop_assert_eq!(sought.stands(&text, at), there(&at), "{}", at);
            }
            let byte = literal.as_bytes()[0];
            let first = text.iter().position(|other| *other == byte);
            prop_assert_eq!(Some(find(&text, byte)), first);
            prop_assert_eq!(find(&text, b'~'), text.len());
            let [low, high] = ends.map(|end| end.index(text.len() + 1));
            prop_assert_eq!(sought.last(&text, low, high), (low..=high).rev().find(there));
        }
    }
}
