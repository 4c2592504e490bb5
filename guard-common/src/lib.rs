//! What guard's kernel half and userspace half must agree on.
//!
//! - [`layout`]: keys and values of the maps, and how a port finds its classes;
//! - [`names`]: names of maps, programs and pins;
//! - [`packet`]: the header walk;
//! - [`table`]: the table of many IPv4 bans, its look-up and its writer;
//! - [`verdict`]: what becomes of a packet, decided by one function for both halves.

#![no_std]

#[cfg(any(test, feature = "user"))]
extern crate alloc;

pub mod layout;
pub mod names;
pub mod packet;
pub mod table;
pub mod verdict;
