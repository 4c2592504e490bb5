//! Pickles into values: a machine with a stack, marks and a memory, and nothing that
//! builds an object.

use std::collections::HashMap;
use std::sync::Arc;

use crate::compat::pickle::reader::Reader;
use crate::compat::value::{Fault, FaultClass, Value};

/// Bounds on what one pickle may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Values, marks and remembered texts together.
    pub values: usize,
    /// Lists in lists.
    pub depth: u8,
    /// Bytes of texts that are said again by reference: a few bytes stand for as many as
    /// there are in the text.
    pub text: usize,
}

impl Default for Bounds {
    /// Room for the configuration of a few thousand jails, which `fail2ban-client reload`
    /// sends.
    fn default() -> Self {
        Self { values: 1 << 19, depth: 16, text: 16 << 20 }
    }
}

/// Why bytes are not taken as a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reading a pickle, byte {at}: {what}")]
pub struct PickleError {
    /// Where reading stopped.
    pub at: usize,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum What {
    #[error("it ends too early")]
    Short,
    #[error("instruction {0:#04x} builds more than text, numbers and lists")]
    Instruction(u8),
    #[error("it does not fit what came before")]
    Misplaced,
    #[error("this is no text in UTF-8")]
    Text,
    #[error("this is no number of 64 bits")]
    Number,
    #[error("more values than are read")]
    Many,
    #[error("lists in lists, deeper than is read")]
    Deep,
    #[error("a list that is used twice is not read")]
    Shared,
    #[error("something follows the end")]
    Long,
    #[error("an error of an unknown kind")]
    Class,
}

/// The value of a pickle that holds only data.
///
/// # Errors
/// When it holds anything else, is broken, or exceeds the bounds.
pub fn decode(bytes: &[u8], bounds: Bounds) -> Result<Value, PickleError> {
    Machine::new(bytes, bounds, false).run()
}

/// As [`decode`], for the answer of a server: errors may be in it, which are read as
/// [`Value::Fault`]. Nothing is called to build them.
///
/// # Errors
/// As [`decode`].
pub fn decode_answer(bytes: &[u8], bounds: Bounds) -> Result<Value, PickleError> {
    Machine::new(bytes, bounds, true).run()
}

struct Machine<'a> {
    read: Reader<'a>,
    bounds: Bounds,
    /// Whether errors may be read.
    answer: bool,
    stack: Vec<Slot>,
    /// Texts by number; `None` where something else was remembered.
    memory: HashMap<u32, Option<Arc<str>>>,
    made: usize,
    /// Bytes of texts that were said again.
    again: usize,
}

enum Slot {
    Mark,
    /// A value, and how deep lists are nested in it.
    Value(Value, u8),
    /// What is called to make an error or, as Fail2Ban sends addresses, a text.
    Class(Class),
}

#[derive(Clone, Copy)]
enum Class {
    Fault(FaultClass),
    Text,
}

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8], bounds: Bounds, answer: bool) -> Self {
        let (stack, memory) = (Vec::new(), HashMap::new());
        let read = Reader { bytes, at: 0 };
        Self { read, bounds, answer, stack, memory, made: 0, again: 0 }
    }

    fn run(mut self) -> Result<Value, PickleError> {
        let what = loop {
            match self.step() {
                Ok(None) => {}
                Ok(Some(value)) if self.read.is_done() => return Ok(value),
                Ok(Some(_)) => break What::Long,
                Err(what) => break what,
            }
        };
        Err(PickleError { at: self.read.at, what })
    }

    /// One instruction; the value, if it is the last.
    fn step(&mut self) -> Result<Option<Value>, What> {
        let instruction = self.read.byte()?;
        match instruction {
            // Protocol and frames say nothing that is needed.
            0x80 => drop(self.read.byte()?),
            0x95 => drop(self.read.take(8)?),
            b'.' => {
                let (value, _) = self.pop()?;
                return if self.stack.is_empty() { Ok(Some(value)) } else { Err(What::Misplaced) };
            }
            b'(' => self.put(Slot::Mark)?,
            b'N' => self.push(Value::Nothing, 0)?,
            0x88 => self.push(Value::Boolean(true), 0)?,
            0x89 => self.push(Value::Boolean(false), 0)?,
            b'K' | b'M' | b'J' | 0x8a | b'I' | b'L' | b'G' | b'F' => {
                let number = self.read.number(instruction)?;
                self.push(number, 0)?;
            }
            b'X' | 0x8c | 0x8d | b'T' | b'U' | b'B' | b'C' | b'V' | b'S' => {
                let text = self.read.text(instruction)?;
                self.push(Value::Text(text), 0)?;
            }
            b']' | 0x8f => self.push(Value::List(Vec::new()), 0)?,
            b'}' => self.push(Value::Dictionary(Vec::new()), 0)?,
            b')' => self.push(Value::Tuple(Vec::new()), 0)?,
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.since_mark()?;
                self.extend(items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.extend_pairs(vec![key, value])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.extend_pairs(items)?;
            }
            b'l' | b't' => {
                let (items, depth) = self.nested(0, instruction)?;
                let make = if instruction == b'l' { Value::List } else { Value::Tuple };
                self.push(make(items), depth)?;
            }
            0x85..=0x87 => {
                let (items, depth) = self.nested(usize::from(instruction - 0x84), instruction)?;
                self.push(Value::Tuple(items), depth)?;
            }
            b'd' => {
                let items = self.since_mark()?;
                self.push(Value::Dictionary(Vec::new()), 0)?;
                self.extend_pairs(items)?;
            }
            b'q' | b'r' | b'p' | 0x94 => self.remember(instruction)?,
            b'h' | b'j' | b'g' => self.recall(instruction)?,
            0x93 | b'c' | b'R' if self.answer => self.fault(instruction)?,
            other => return Err(What::Instruction(other)),
        }
        Ok(None)
    }

    // What is on the stack.

    fn put(&mut self, slot: Slot) -> Result<(), What> {
        self.made += 1;
        if self.made > self.bounds.values {
            return Err(What::Many);
        }
        self.stack.push(slot);
        Ok(())
    }

    fn push(&mut self, value: Value, depth: u8) -> Result<(), What> {
        self.put(Slot::Value(value, depth))
    }

    fn pop(&mut self) -> Result<(Value, u8), What> {
        match self.stack.pop() {
            Some(Slot::Value(value, depth)) => Ok((value, depth)),
            Some(Slot::Mark | Slot::Class(_)) | None => Err(What::Misplaced),
        }
    }

    /// Everything since the last mark.
    fn since_mark(&mut self) -> Result<Vec<(Value, u8)>, What> {
        let mark = self.stack.iter().rposition(|slot| matches!(slot, Slot::Mark));
        let items = self.stack.split_off(mark.ok_or(What::Misplaced)? + 1);
        self.stack.pop();
        let value = |slot| match slot {
            Slot::Value(value, depth) => Ok((value, depth)),
            Slot::Mark | Slot::Class(_) => Err(What::Misplaced),
        };
        items.into_iter().map(value).collect()
    }

    /// The last `count` values, or all since the mark for a count of none; and how deep a
    /// list of them is.
    fn nested(&mut self, count: usize, instruction: u8) -> Result<(Vec<Value>, u8), What> {
        let items = match instruction {
            b'l' | b't' => self.since_mark()?,
            _ => {
                let mut items = Vec::with_capacity(count);
                for _ in 0..count {
                    items.push(self.pop()?);
                }
                items.reverse();
                items
            }
        };
        let deepest = items.iter().map(|(_, depth)| *depth).max();
        let depth = self.deeper(deepest)?;
        Ok((items.into_iter().map(|(item, _)| item).collect(), depth))
    }

    /// How deep something is that holds what is so deep.
    fn deeper(&self, deepest: Option<u8>) -> Result<u8, What> {
        let depth = deepest.map_or(0, |deepest| deepest.saturating_add(1));
        if depth > self.bounds.depth { Err(What::Deep) } else { Ok(depth) }
    }

    fn extend(&mut self, items: Vec<(Value, u8)>) -> Result<(), What> {
        let within = self.deeper(items.iter().map(|(_, depth)| *depth).max())?;
        match self.stack.last_mut() {
            Some(Slot::Value(Value::List(list), depth)) => {
                *depth = within.max(*depth);
                list.extend(items.into_iter().map(|(item, _)| item));
                Ok(())
            }
            _ => Err(What::Misplaced),
        }
    }

    fn extend_pairs(&mut self, items: Vec<(Value, u8)>) -> Result<(), What> {
        let within = self.deeper(items.iter().map(|(_, depth)| *depth).max())?;
        if !items.len().is_multiple_of(2) {
            return Err(What::Misplaced);
        }
        let mut items = items.into_iter().map(|(item, _)| item);
        match self.stack.last_mut() {
            Some(Slot::Value(Value::Dictionary(pairs), depth)) => {
                *depth = within.max(*depth);
                while let (Some(key), Some(value)) = (items.next(), items.next()) {
                    pairs.push((key, value));
                }
                Ok(())
            }
            _ => Err(What::Misplaced),
        }
    }

    // What is remembered.

    fn index(&mut self, instruction: u8) -> Result<u32, What> {
        let index = match instruction {
            b'q' | b'h' => self.read.length(1)?,
            b'r' | b'j' => self.read.length(4)?,
            // In the order in which they come.
            0x94 => self.memory.len(),
            _ => {
                let text = std::str::from_utf8(self.read.line()?).map_err(|_| What::Number)?;
                text.trim().parse().map_err(|_| What::Number)?
            }
        };
        u32::try_from(index).map_err(|_| What::Number)
    }

    fn remember(&mut self, instruction: u8) -> Result<(), What> {
        let index = self.index(instruction)?;
        let text = match self.stack.last() {
            Some(Slot::Value(Value::Text(text), _)) => Some(Arc::clone(text)),
            Some(_) => None,
            None => return Err(What::Misplaced),
        };
        self.made += 1;
        if self.made > self.bounds.values {
            return Err(What::Many);
        }
        self.memory.insert(index, text);
        Ok(())
    }

    fn recall(&mut self, instruction: u8) -> Result<(), What> {
        let index = self.index(instruction)?;
        match self.memory.get(&index) {
            Some(Some(text)) => {
                self.again += text.len();
                if self.again > self.bounds.text {
                    return Err(What::Many);
                }
                let text = Value::Text(Arc::clone(text));
                self.push(text, 0)
            }
            Some(None) => Err(What::Shared),
            None => Err(What::Misplaced),
        }
    }

    // Errors in answers.

    fn fault(&mut self, instruction: u8) -> Result<(), What> {
        if instruction == b'R' {
            let (arguments, _) = self.pop()?;
            let Some(Slot::Class(class)) = self.stack.pop() else { return Err(What::Misplaced) };
            let first = arguments.items().and_then(<[Value]>::first);
            let argument: Arc<str> = first.and_then(Value::as_text).unwrap_or_default().into();
            let value = match class {
                Class::Text => Value::Text(argument),
                Class::Fault(class) => Value::Fault(Fault { class, argument }),
            };
            return self.push(value, 0);
        }
        let text = |value: &Value| value.as_text().unwrap_or_default().to_owned();
        let (module, name) = if instruction == b'c' {
            let word = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
            (word(self.read.line()?), word(self.read.line()?))
        } else {
            let (name, module) = (self.pop()?.0, self.pop()?.0);
            (text(&module), text(&name))
        };
        if (module.as_str(), name.as_str()) == ("builtins", "str") {
            return self.put(Slot::Class(Class::Text));
        }
        let known = FaultClass::ALL.into_iter().find(|class| class.name() == (&module, &name));
        // Its class is of no matter to whoever only shows its words.
        let other = (module == "builtins").then_some(FaultClass::Other);
        let class = known.or(other).ok_or(What::Class)?;
        self.put(Slot::Class(Class::Fault(class)))
    }
}
