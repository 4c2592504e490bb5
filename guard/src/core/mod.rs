//! The whole program without I/O: matching, counting, deciding.
//!
//! Nothing in here reads a clock, a file or a socket, draws a random number, logs
//! or knows tokio: time and everything else comes in as a value, and what is to be
//! done goes out as [`effects::Effects`]. In data-flow order:
//!
//! ```text
//! entry → filter → failure → engine (window, allow, decision) → ledger → delta → effects
//! ```

pub mod addr;
pub mod adjustment;
pub mod allow;
pub mod date;
pub mod delta;
pub mod effects;
pub mod enforced;
pub mod engine;
pub mod entry;
pub mod escalation;
pub mod failure;
pub mod figures;
pub mod filter;
pub mod history;
pub mod host;
pub mod input;
pub mod jail;
pub mod ledger;
pub mod ports;
pub mod question;
pub mod reason;
pub mod surplus;
pub mod time;
pub mod window;
