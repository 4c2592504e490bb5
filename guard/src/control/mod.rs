//! The socket between `guardctl` and the agent.
//!
//! `AF_UNIX` stream, mode 0660, root and the group `guard`. One JSON object a line in
//! each direction, as many requests a connection as wanted. Bounds: see
//! [`server::Bounds`].

pub mod client;
pub mod protocol;
pub mod server;
