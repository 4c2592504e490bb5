//! What the agent shows of itself while it works: metrics for Prometheus, events, the
//! live view on a terminal, and the report of what was done.
//!
//! Each test has a real agent in a namespace, with a journal that the test writes. Whoever
//! reads what it shows is somebody else's program.

mod alerts;
mod metrics;
mod report;
mod top;
mod watch;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Child;

use anyhow::Result;
use guard_tests::agent::{Agent, PATIENCE, beside_this_program};
use guard_tests::deadline::{wait_for, wait_until};
use guard_tests::journal_files::{JournalFiles, Record};
use guard_tests::lan::{HOST, Lan};
use guard_tests::probe::{self, Answer, Service, connect};

const SSH: u16 = 22;

/// A program that runs on, ended when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A host whose journal the test writes.
struct World<'lan> {
    lan: &'lan Lan,
    journal: JournalFiles,
    agent: Agent<'lan>,
    _service: Service,
    _directory: tempfile::TempDir,
}

impl<'lan> World<'lan> {
    /// The guide's jails on XDP; the agent does not run yet.
    fn new(lan: &'lan Lan) -> Result<Self> {
        let service = Service::listen(&lan.host, SSH)?;
        let directory = tempfile::tempdir()?;
        let journal = JournalFiles::new(&directory.path().join("journal"))?;
        let agent = Agent::new(&lan.host, beside_this_program()?)?
            .setting("backend", "\"xdp\"")
            .journal(journal.directory());
        agent.copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/guide"))?;
        Ok(Self { lan, journal, agent, _service: service, _directory: directory })
    }

    fn sshd_failures(&mut self, source: IpAddr, times: u32) -> Result<()> {
        for time in 0..times {
            let message =
                format!("Failed password for root from {source} port {} ssh2", 4000 + time);
            // A connection of its own each time.
            self.journal.append_one(&Record::sshd(2000 + time, &message))?;
        }
        Ok(())
    }

    fn wait_for_answer(&self, source: IpAddr, open: bool) -> Result<()> {
        wait_until(&format!("{source} to port {SSH}: open {open}"), PATIENCE, || {
            let to = SocketAddr::new(HOST, SSH);
            let answer = connect(&self.lan.outside, source, to, probe::SILENCE)?;
            Ok((answer == Answer::Connected) == open)
        })
    }
}
