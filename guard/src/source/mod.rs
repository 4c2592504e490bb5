//! Where entries come from. Each source hands [`Batch`]es, in order and with the
//! position after each, to the engine, and goes on from a stored position.

pub mod file;
pub mod journal;

#[cfg(doc)]
use crate::core::entry::Batch;
