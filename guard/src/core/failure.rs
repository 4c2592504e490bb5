//! What a filter finds in an entry: Fail2Ban logs it as "Found".

use crate::core::addr::Prefix;
use crate::core::jail::JailId;
use crate::core::time::Timestamp;

/// Who a filter says it was.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// An address or a prefix.
    Address(Prefix),
    /// A host's name, to be resolved before it can be banned (`usedns`).
    Name(String),
    /// Something else that `<F-ID>` captured, which no enforcer can ban.
    Id(String),
}

impl Who {
    /// The address, if it is one.
    pub fn address(&self) -> Option<Prefix> {
        match self {
            Self::Address(prefix) => Some(*prefix),
            Self::Name(_) | Self::Id(_) => None,
        }
    }
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(prefix) => prefix.fmt(f),
            Self::Name(text) | Self::Id(text) => f.write_str(text),
        }
    }
}

/// What a filter finds, before a jail counts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Who failed.
    pub who: Who,
    /// When the daemon logged it.
    pub time: Timestamp,
    /// The user name that was tried, if the filter captures one. Client-controlled.
    pub user: Option<String>,
}

/// One failed attempt by one source, as one jail counts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The jail that counts it.
    pub jail: JailId,
    /// Who failed; in what is stored, the network that it is counted with.
    pub source: Prefix,
    /// When the daemon logged it.
    pub time: Timestamp,
    /// The user name that was tried, if the filter captures one. Client-controlled.
    pub user: Option<String>,
}
