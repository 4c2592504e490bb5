//! What follows a backslash.

use super::{Before, Converter, Stop};

/// A set of characters that Python and Rust see differently, as the inside of a class.
pub(super) fn set(letter: char, ascii: bool) -> Option<&'static str> {
    Some(match (letter, ascii) {
        ('d' | 'D', false) => r"\d",
        ('d' | 'D', true) => "0-9",
        // Python counts the four separators U+001C to U+001F as white space.
        ('s' | 'S', false) => r"\s\x{1C}-\x{1F}",
        ('s' | 'S', true) => r"\x{09}-\x{0D}\x{20}",
        // Python's words are letters and numbers of any kind, and the underscore;
        // marks and other connectors are not in them.
        ('w' | 'W', false) => r"\p{L}\p{N}_",
        ('w' | 'W', true) => "0-9A-Za-z_",
        _ => return None,
    })
}

impl Converter {
    /// After a backslash outside a class.
    pub(super) fn escape(&mut self) -> Result<(), Stop> {
        let c = self.next().ok_or("a backslash at the end")?;
        if let Some(set) = set(c, self.flags.ascii) {
            let negated = if c.is_ascii_uppercase() { "^" } else { "" };
            if set == r"\d" {
                self.out.push_str(if negated.is_empty() { r"\d" } else { r"\D" });
            } else {
                self.out.push_str(&format!("[{negated}{set}]"));
            }
            self.before = Before::Atom;
            return Ok(());
        }
        match c {
            'A' | 'b' | 'B' | 'Z' => {
                self.out.push('\\');
                self.out.push(if c == 'Z' { 'z' } else { c });
                self.before = Before::Nothing;
            }
            '1'..='9' => {
                if let Some(c) = self.octal_after(c) {
                    self.literal(c);
                    return Ok(());
                }
                let mut number = c as usize - '0' as usize;
                if let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
                    self.at += 1;
                    number = number * 10 + digit as usize;
                }
                if number > self.captures {
                    return Err(format!("reference to the unknown group {number}").into());
                }
                self.out.push_str(&format!(r"(?:\{number})"));
                self.backtracking = true;
                self.before = Before::Atom;
            }
            _ => {
                let c = self.character(c)?;
                self.literal(c);
            }
        }
        Ok(())
    }

    /// The single character that an escape stands for, in a class or outside.
    pub(super) fn character(&mut self, c: char) -> Result<char, Stop> {
        Ok(match c {
            'a' => '\x07',
            'f' => '\x0C',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0B',
            'x' => self.hexadecimal(2)?,
            'u' => self.hexadecimal(4)?,
            'U' => self.hexadecimal(8)?,
            '0' => self.octal(0, 2),
            c if c.is_ascii_alphanumeric() => return Err(format!(r"bad escape \{c}").into()),
            c => c,
        })
    }

    /// Three octal digits, the first of which is `first`.
    pub(super) fn octal_after(&mut self, first: char) -> Option<char> {
        let is_octal = |c: Option<&char>| c.is_some_and(|c| ('0'..='7').contains(c));
        let three = ('0'..='3').contains(&first)
            && is_octal(self.input.get(self.at))
            && is_octal(self.input.get(self.at + 1));
        three.then(|| self.octal(first.to_digit(8).unwrap_or(0), 2))
    }

    fn octal(&mut self, mut value: u32, digits: usize) -> char {
        for _ in 0..digits {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else { break };
            value = value * 8 + digit;
            self.at += 1;
        }
        // At most 0o377, which is a character.
        char::from_u32(value).unwrap_or('\0')
    }

    fn hexadecimal(&mut self, digits: usize) -> Result<char, Stop> {
        let mut value = 0;
        for _ in 0..digits {
            let digit = self.next().and_then(|c| c.to_digit(16)).ok_or("incomplete escape")?;
            value = value * 16 + digit;
        }
        char::from_u32(value).ok_or_else(|| Stop::from("an escape that is no character"))
    }
}
