//! The test bed: real namespaces, a real journal, real systemd hosts, the real agent.
//!
//! - [`namespace`]: network namespaces and veth pairs; [`lan`]: an attacker, its
//!   neighbour and a host on one cable.
//! - [`probe`]: what a client meets at a port: an open door, a refusal or silence.
//! - [`journal_files`]: journal files written entry by entry while the agent follows.
//! - [`agent`]: the agent with a configuration of its own, and the other verbs.
//! - [`root`] and [`container`]: Debian hosts with systemd, journald and sshd;
//!   [`installed`]: the same with guard on them; [`package`]: guard as a Debian package.
//! - [`packets`]: packet cases as data, and what is true while they are judged;
//!   [`test_run`]: the eBPF programs, run on single packets by the kernel.
//! - [`bpffs`]: a place for pins; [`pinned`]: the program that is pinned there.
//! - [`fail2ban`]: the predecessor, as Debian packages it; [`peers`]: how it is fetched, and others.
//! - `conformance`: Fail2Ban's sample corpus, run against guard.
//! - [`pace`]: how much to try on a machine that is imitated.
//! - [`flood`]: datagrams without a pause while something changes.
//! - [`burst`]: probes at 1 kHz for measuring how fast a ban takes effect.
//!
//! Whatever is made here is removed when the value that stands for it is dropped, and
//! only that: processes are ended by their id. What a killed run left behind is
//! removed by the next one ([`namespace::sweep`]). Everything that waits does so for
//! an event and has a deadline.

#![deny(unsafe_code)]

pub mod agent;
pub mod bpffs;
pub mod burst;
pub mod command;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod container;
pub mod deadline;
pub mod fail2ban;
pub mod flood;
pub mod installed;
pub mod journal_files;
pub mod lan;
pub mod namespace;
pub mod pace;
pub mod package;
#[cfg(feature = "kernel")]
pub mod packets;
pub mod peers;
#[cfg(feature = "kernel")]
pub mod pinned;
pub mod probe;
pub mod root;
#[cfg(feature = "kernel")]
pub mod test_run;
