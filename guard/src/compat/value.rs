//! What both sides of Fail2Ban's socket say, as data.

use std::sync::Arc;

/// A value of Python's, of the few kinds that are spoken.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `None`.
    Nothing,
    /// `True` or `False`.
    Boolean(bool),
    /// A whole number.
    Number(i64),
    /// A number with a fraction.
    Fraction(f64),
    /// Text.
    Text(Arc<str>),
    /// A list; a set comes as one too.
    List(Vec<Value>),
    /// A tuple.
    Tuple(Vec<Value>),
    /// Keys and values, in order.
    Dictionary(Vec<(Value, Value)>),
    /// An error that an answer tells of; in no request.
    Fault(Fault),
}

/// An error as Python names it: its class decides how a client words it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What kind it is.
    pub class: FaultClass,
    /// Its argument.
    pub argument: Arc<str>,
}

/// The kinds of error that clients tell apart, and those that Fail2Ban's server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultClass {
    /// There is no such jail; the argument is its name.
    UnknownJail,
    /// Such a jail is there already; the argument is its name.
    DuplicateJail,
    /// Words are missing.
    Index,
    /// A value is wrong.
    Value,
    /// Anything else.
    Other,
}

impl FaultClass {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::UnknownJail, Self::DuplicateJail, Self::Index, Self::Value, Self::Other];

    /// Python's module and class.
    pub fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::UnknownJail => ("fail2ban.exceptions", "UnknownJailException"),
            Self::DuplicateJail => ("fail2ban.exceptions", "DuplicateJailException"),
            Self::Index => ("builtins", "IndexError"),
            Self::Value => ("builtins", "ValueError"),
            Self::Other => ("builtins", "Exception"),
        }
    }
}

impl Fault {
    /// No jail has this name.
    pub fn unknown_jail(name: &str) -> Self {
        Self { class: FaultClass::UnknownJail, argument: name.into() }
    }

    /// The command has too few words.
    pub fn too_short() -> Self {
        // What Python says of a list that is too short; some look for it.
        Self { class: FaultClass::Index, argument: "list index out of range".into() }
    }

    /// A value is wrong, in words.
    pub fn value(message: impl Into<Arc<str>>) -> Self {
        Self { class: FaultClass::Value, argument: message.into() }
    }

    /// It cannot be done, in words.
    pub fn other(message: impl Into<Arc<str>>) -> Self {
        Self { class: FaultClass::Other, argument: message.into() }
    }
}

impl Value {
    /// Text.
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// A list of texts.
    pub fn texts<T: Into<Arc<str>>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::List(texts.into_iter().map(Self::text).collect())
    }

    /// A count; more than can be counted is shown as the most.
    pub fn count(count: impl TryInto<i64>) -> Self {
        Self::Number(count.try_into().unwrap_or(i64::MAX))
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What is in it, if it is a list or a tuple.
    pub fn items(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) | Self::Tuple(items) => Some(items),
            _ => None,
        }
    }
}
