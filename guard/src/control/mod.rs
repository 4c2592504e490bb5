//! The socket between `guardctl` and the agent.
//!
//! `AF_UNIX` stream, mode 0660, root and the group `guard`. One JSON object a line in
//! each direction, as many requests a connection as wanted. Bounds: see
//! [`server::Bounds`]. Beside it, [`figures`] are given to whoever may connect.

pub mod client;
pub mod event;
pub mod figures;
pub mod protocol;
pub mod server;
