//! The literals of a pickle: numbers and texts in all their forms.

use std::sync::Arc;

use super::decode::What;
use crate::compat::value::Value;

/// Bytes, and how far they are read.
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    /// Whether nothing follows.
    pub(super) fn is_done(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub(super) fn byte(&mut self) -> Result<u8, What> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], What> {
        let end = self.at.checked_add(length).ok_or(What::Short)?;
        let taken = self.bytes.get(self.at..end).ok_or(What::Short)?;
        self.at = end;
        Ok(taken)
    }

    /// A length or index of so many bytes, the lowest first.
    pub(super) fn length(&mut self, bytes: usize) -> Result<usize, What> {
        let bytes = self.take(bytes)?.iter().rev();
        let number = bytes.fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        usize::try_from(number).map_err(|_| What::Short)
    }

    pub(super) fn line(&mut self) -> Result<&'a [u8], What> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or(What::Short)?;
        self.at += end + 1;
        Ok(&rest[..end])
    }

    pub(super) fn number(&mut self, instruction: u8) -> Result<Value, What> {
        fn parsed<T: std::str::FromStr>(line: &[u8]) -> Result<T, What> {
            let text = std::str::from_utf8(line).map_err(|_| What::Number)?;
            text.trim().parse().map_err(|_| What::Number)
        }
        Ok(match instruction {
            b'G' => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(self.take(8)?);
                Value::Fraction(f64::from_be_bytes(bytes))
            }
            b'F' => Value::Fraction(parsed(self.line()?)?),
            b'I' => match self.line()? {
                b"00" => Value::Boolean(false),
                b"01" => Value::Boolean(true),
                line => Value::Number(parsed(line)?),
            },
            b'L' => {
                let line = self.line()?;
                Value::Number(parsed(line.strip_suffix(b"L").unwrap_or(line))?)
            }
            _ => {
                let length = match instruction {
                    b'K' => 1,
                    b'M' => 2,
                    b'J' => 4,
                    _ => usize::from(self.byte()?),
                };
                let bytes = self.take(length)?;
                let signed = matches!(instruction, b'J' | 0x8a);
                let negative = signed && bytes.last().is_some_and(|byte| byte & 0x80 != 0);
                let mut all = [if negative { 0xff } else { 0 }; 8];
                all.get_mut(..length).ok_or(What::Number)?.copy_from_slice(bytes);
                Value::Number(i64::from_le_bytes(all))
            }
        })
    }

    pub(super) fn text(&mut self, instruction: u8) -> Result<Arc<str>, What> {
        let bytes = match instruction {
            b'V' => self.line()?,
            b'S' => {
                let line = self.line()?.trim_ascii();
                let quoted = |quote| line.strip_prefix(quote)?.strip_suffix(quote);
                quoted(b"'").or_else(|| quoted(b"\"")).ok_or(What::Text)?
            }
            other => {
                let width = match other {
                    0x8c | b'U' | b'C' => 1,
                    0x8d => 8,
                    _ => 4,
                };
                let length = self.length(width)?;
                self.take(length)?
            }
        };
        // Those of protocol 0 are written with escapes; without any they are what they say.
        if matches!(instruction, b'V' | b'S') && bytes.contains(&b'\\') {
            return Err(What::Text);
        }
        Ok(std::str::from_utf8(bytes).map_err(|_| What::Text)?.into())
    }
}
