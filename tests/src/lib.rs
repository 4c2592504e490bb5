//! The real-kernel test harness.
//!
//! - [`packets`]: packet cases as data, and what is true while they are judged;
//! - [`test_run`]: the eBPF programs, run on single packets by the kernel.

pub mod packets;
pub mod test_run;
