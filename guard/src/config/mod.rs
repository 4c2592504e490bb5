//! wip
pub mod diagnostic;
mod ini;
mod journalmatch;
mod option_list;
mod ports;
mod text;
mod time;
