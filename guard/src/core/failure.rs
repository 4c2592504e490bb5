//! What a filter finds in an entry: Fail2Ban logs it as "Found".

use crate::core::addr::Prefix;
use crate::core::jail::JailId;
use crate::core::time::Timestamp;

/// One failed attempt by one source, as one jail counts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The jail that counts it.
    pub jail: JailId,
    /// Who failed.
    pub source: Prefix,
    /// When the daemon logged it.
    pub time: Timestamp,
    /// The user name that was tried, if the filter captures one. Client-controlled.
    pub user: Option<String>,
}
