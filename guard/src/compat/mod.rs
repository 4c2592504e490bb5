//! Fail2Ban's own socket, so that its clients work against guard unmodified.
//!
//! Input: what `fail2ban-client` and exporters send to Fail2Ban's server. Output: what
//! that server would answer. Invariants: a request that is anything but text, numbers and
//! lists is refused ([`pickle`]); everything is done through the same
//! [`Request`](crate::control::protocol::Request)s that `guardctl` sends, so nothing is
//! allowed here that is not allowed there.
//!
//! ```text
//! bytes ─ pickle ─► Value ─ command ─► Command ─ answer (asks the agent) ─► Reply ─ pickle ─► bytes
//! ```

pub mod pickle;
pub mod value;
