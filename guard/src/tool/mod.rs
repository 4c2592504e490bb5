//! What `guardctl` does without the agent: looks at filters, logs and the configuration.
//!
//! Input: jails and filters as the agent would run them, and lines. Output: reports that
//! the command line prints. Invariant: nothing here changes the host, and every verdict
//! on a line is that of the real filter or engine.

pub mod check;
pub mod examples;
pub mod forgery;
pub mod injection;
pub mod line;
pub mod log;
pub mod overlap;
pub mod replay;
pub mod sshd;
mod template;
pub mod trial;
pub mod verdict;
