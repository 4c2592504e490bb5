//! The XDP enforcer against the real kernel: what it drops, what outlives it, how it
//! covers interfaces, and that nothing passes while it changes.
//!
//! Each test has namespaces and a bpffs of its own.

mod bans;
mod bed;
mod gap;
mod interfaces;
mod keep;
mod nets;
mod table;
mod watch;
