//! The real-kernel test harness.
