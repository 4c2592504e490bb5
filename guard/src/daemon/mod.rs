//! The agent: threads, clocks and signals around the engine.
//!
//! ```text
//! readers' threads ─Batch─► perform (engine + store) ─Job─► enforcing (enforcer) ─► log, answers
//!                            ▲ Command
//!  socket, signals, netlink ─┘  (run: tokio, one thread)
//! ```
//!
//! [`agent`] is all of it with one configuration; [`run`] keeps the socket and puts another
//! one in its place when the configuration is read anew ([`reload`]).

pub mod agent;
pub mod answer;
pub mod asking;
pub mod backend;
mod compat;
pub mod detached;
pub mod enforcing;
pub mod figures;
pub mod keep;
pub mod keeper;
pub mod keeping;
pub mod log;
pub mod meters;
pub mod notices;
pub mod perform;
mod process;
pub mod recording;
pub mod reload;
pub mod report;
pub mod run;
mod signals;
pub mod sources;
pub mod stored;
pub mod tally;
pub mod teller;
pub mod unstored;
