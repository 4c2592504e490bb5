//! Fail2Ban's own socket, so that its clients work against guard unmodified.
//!
//! Input: what `fail2ban-client` and exporters send to Fail2Ban's server. Output: what
//! that server would answer. Invariants: a request that is anything but text, numbers and
//! lists is refused ([`pickle`]); everything is done through the same
//! [`Request`](crate::control::protocol::Request)s that `guardctl` sends, so nothing is
//! allowed here that is not allowed there.
//!
//! ```text
//! bytes ─ pickle ─► Value ─ command ─► Command ─ answer (asks the agent) ─► Value ─ pickle ─► bytes
//! ```

#[cfg(feature = "agent")]
pub mod answer;
pub mod client;
pub mod command;
#[cfg(feature = "agent")]
mod orders;
pub mod pickle;
#[cfg(feature = "agent")]
mod properties;
pub mod python;
#[cfg(feature = "agent")]
pub mod server;
pub mod shown;
pub mod value;

/// What ends each message, in both directions.
pub const END: &[u8] = b"<F2B_END_COMMAND>";
/// What a client says when it leaves.
pub const CLOSE: &[u8] = b"<F2B_CLOSE_COMMAND>";
