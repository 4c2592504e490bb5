//! Python's serialisation, as far as Fail2Ban's socket needs it.
//!
//! A pickle is a program for a small machine, and a general one can make the reader
//! import and call anything. Here only the instructions exist that build text, numbers,
//! booleans, `None`, lists, tuples, dictionaries and sets; every other one ends the
//! reading with an error, whether or not it would be harmless. Invariants: no input makes
//! more values than [`Bounds::values`], nests deeper than [`Bounds::depth`], or needs
//! memory out of proportion to its own length.
//!
//! Source: the comments of CPython's `pickletools`, protocols 0 to 5.

mod decode;
mod encode;
mod reader;

pub use decode::{Bounds, PickleError, decode, decode_answer};
pub use encode::encode;

#[cfg(test)]
mod tests;
