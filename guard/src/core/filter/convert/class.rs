//! What stands in brackets.

use super::escape::set;
use super::{Converter, Stop};

/// One thing in a class.
enum Item {
    Character(char),
    Set(String),
}

impl Converter {
    /// After `[`.
    pub(super) fn class(&mut self) -> Result<(), Stop> {
        self.out.push('[');
        if self.eat("^") {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            if !first && self.eat("]") {
                break;
            }
            first = false;
            let low = match self.item()? {
                Item::Set(set) => {
                    self.out.push_str(&set);
                    // Python takes a dash after a set as itself only before the bracket.
                    if self.peek() == Some('-') && self.input.get(self.at + 1) != Some(&']') {
                        return Err("bad character range after a set".into());
                    }
                    continue;
                }
                Item::Character(c) => c,
            };
            self.push_in_class(low);
            if self.peek() == Some('-') && self.input.get(self.at + 1).is_some_and(|c| *c != ']') {
                self.at += 1;
                match self.item()? {
                    Item::Character(high) if low <= high => {
                        self.out.push('-');
                        self.push_in_class(high);
                    }
                    _ => return Err("bad character range".into()),
                }
            }
        }
        self.out.push(']');
        Ok(())
    }

    fn item(&mut self) -> Result<Item, Stop> {
        let c = self.next().ok_or("unterminated character set")?;
        if c != '\\' {
            return Ok(Item::Character(c));
        }
        let c = self.next().ok_or("unterminated character set")?;
        if let Some(set) = set(c, self.flags.ascii) {
            return Ok(Item::Set(if c.is_ascii_uppercase() {
                format!("[^{set}]")
            } else {
                set.to_owned()
            }));
        }
        Ok(Item::Character(match c {
            'b' => '\x08',
            '1'..='7' => match self.octal_after(c) {
                Some(c) => c,
                None => return Err(format!(r"bad escape \{c}").into()),
            },
            c => self.character(c)?,
        }))
    }

    /// In a class Rust gives a meaning to more characters, and to some only in pairs:
    /// whatever is no letter or digit is written by its number.
    fn push_in_class(&mut self, c: char) {
        if c.is_ascii_alphanumeric() || !c.is_ascii() {
            self.out.push(c);
        } else {
            self.out.push_str(&format!("\\x{{{:02X}}}", u32::from(c)));
        }
    }
}
