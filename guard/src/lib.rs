//! guard bans the addresses that a host's logs accuse, in the network driver.
//!
//! ```text
//!  journal ─► source ──Entry──► filter ──Failure──► engine ──Delta──► enforce (xdp | nft)
//!                                                    │  ▲
//!                               store (SQLite) ◄─────┘  └───── control ◄── guardctl
//! ```
//!
//! Six words carry it. An [`Entry`](core::entry::Entry) is one log record with its
//! trusted fields. A [`Failure`](core::failure::Failure) is what a filter finds in it
//! (Fail2Ban logs it as "Found"). The engine counts failures and decides; a
//! [`Ban`](core::delta::Ban) carries its [`Reason`](core::reason::Reason), a
//! [`Delta`](core::delta::Delta) is one change of the ban set. Around the engine,
//! [`Input`](core::input::Input) is all that can happen to it and
//! [`Effects`](core::effects::Effects) all that it wants done. Everything else keeps
//! Fail2Ban's terms.
//!
//! # Layers
//!
//! `core` → {`config`, `accounts`} → {`source`, `store`, `enforce`, `control`, `host`, `helper`, `metrics`} (these never
//! import each other) → `compat` → {`daemon`, `tool`} → `cli` → the binary. `cargo xtask check` checks it.

#![deny(unsafe_code)]

pub mod compat;
pub mod config;
pub mod core;

#[cfg(feature = "agent")]
pub mod accounts;
#[cfg(feature = "agent")]
pub mod cli;
#[cfg(feature = "agent")]
pub mod control;
#[cfg(feature = "agent")]
pub mod daemon;
#[cfg(feature = "agent")]
pub mod enforce;
#[cfg(feature = "agent")]
pub mod helper;
#[cfg(feature = "agent")]
pub mod host;
#[cfg(feature = "agent")]
pub mod metrics;
#[cfg(feature = "agent")]
pub mod source;
#[cfg(feature = "agent")]
pub mod store;
#[cfg(feature = "agent")]
pub mod tool;
