//! What needs another kernel than the one that happens to run, or its devices: bonds,
//! VLANs, and each feature that a kernel is known to have. `cargo xtask test vm` runs it
//! in machines; each kernel is described in `tests/fixtures/kernels.toml`.

#[expect(dead_code, reason = "the bed of the XDP tests has more than is needed here")]
#[path = "../xdp/bed.rs"]
mod bed;
mod clock;
mod devices;
mod features;
