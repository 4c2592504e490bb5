//! What a client meets at a port of the host.
//!
//! A ban in the driver is silence ([`Answer::Silence`]); Fail2Ban's nft rules refuse
//! ([`Answer::Refused`]); an open port answers.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::namespace::Namespace;

/// How long a connection that should work may take, and one that is dropped is waited
/// for. One lost packet is sent again after a second, so this bears two.
pub const PATIENCE: Duration = Duration::from_secs(4);
/// How long silence must last to be called so, where a ban is known to be in force.
pub const SILENCE: Duration = Duration::from_millis(1500);

/// How long each of many attempts is waited for while something else happens.
pub const GLANCE: Duration = Duration::from_millis(100);

/// What a connection attempt met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The port is open.
    Connected,
    /// Something said no: a closed port, or a rule that rejects.
    Refused,
    /// Nothing came back.
    Silence,
}

impl std::fmt::Display for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Connected => "connected",
            Self::Refused => "refused",
            Self::Silence => "no answer",
        })
    }
}

/// Connects by TCP from `source` in `from` and waits at most `patience`.
///
/// # Errors
/// When the attempt itself cannot be made, such as for a source that is not there.
pub fn connect(
    from: &Namespace,
    source: IpAddr,
    destination: SocketAddr,
    patience: Duration,
) -> Result<Answer> {
    from.run(|| {
        let family = if destination.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = rustix::net::socket(family, SocketType::STREAM, None).context("socket")?;
        // The kernel ends a blocking connect() after the send timeout.
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(patience))?;
        rustix::net::bind(&socket, &SocketAddr::new(source, 0))
            .with_context(|| format!("bind to {source}"))?;
        match rustix::net::connect(&socket, &destination) {
            Ok(()) => Ok(Answer::Connected),
            Err(Errno::CONNREFUSED | Errno::CONNRESET) => Ok(Answer::Refused),
            Err(Errno::INPROGRESS | Errno::AGAIN | Errno::TIMEDOUT) => Ok(Answer::Silence),
            Err(error) => Err(error).with_context(|| format!("connect {source} to {destination}")),
        }
    })
}

/// A service that takes every connection and closes it.
#[derive(Debug)]
pub struct Service {
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Listens on `port` of all addresses inside `at`, both families.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn listen(at: &Namespace, port: u16) -> Result<Self> {
        let listener = at.run(|| {
            TcpListener::bind(("::", port)).with_context(|| format!("listen on port {port}"))
        })?;
        let accepting = listener.try_clone()?;
        let thread = thread::spawn(move || while accepting.accept().is_ok() {});
        Ok(Self { listener, thread: Some(thread) })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Wakes the thread out of accept().
        rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
