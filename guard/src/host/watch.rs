//! Notice of changes to the host's network, and of sessions that begin and end.

use std::future::poll_fn;
use std::io;
use std::os::fd::AsRawFd as _;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket as _, SocketAddr, TokioSocket};

use super::HostError;
use super::netlink::{Message, messages};
use super::parse::is_default_route;
use super::sessions::SessionWatch;

/// A socket that hears of links, addresses and routes in the network namespace of the
/// thread that opened it.
pub struct Watch {
    socket: TokioSocket,
    sessions: SessionWatch,
}

impl Watch {
    /// Begins to listen. Whatever changes from now on is told, so open it before
    /// [`read`](super::read).
    ///
    /// # Errors
    /// When the kernel gives no socket.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open() -> Result<Self, HostError> {
        let groups = libc::RTMGRP_LINK
            | libc::RTMGRP_IPV4_IFADDR
            | libc::RTMGRP_IPV6_IFADDR
            | libc::RTMGRP_IPV4_ROUTE
            | libc::RTMGRP_IPV6_ROUTE;
        let open = || {
            let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
            socket.socket_mut().bind(&SocketAddr::new(0, groups.cast_unsigned()))?;
            Ok(socket)
        };
        let socket = open().map_err(failed)?;
        Ok(Self { socket, sessions: SessionWatch::open() })
    }

    /// Waits until something changed that [`read`](super::read) would tell. Changes
    /// come in flocks: wait a little (50 ms) before reading, then call this again.
    ///
    /// Safe to cancel: a change that was not yet told stays to be told.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn changed(&mut self) -> Result<(), HostError> {
        loop {
            let Self { socket, sessions } = self;
            let received = tokio::select! {
                received = poll_fn(|context| socket.poll_recv_from_full(context)) => received,
                () = sessions.changed() => return Ok(()),
            };
            match received {
                Ok((datagram, _)) if messages(&datagram).any(|message| matters(&message)) => {
                    return Ok(());
                }
                Ok(_) => {}
                // The kernel had to drop notices: something changed, whatever it was.
                Err(cause) if cause.raw_os_error() == Some(libc::ENOBUFS) => return Ok(()),
                Err(cause) => return Err(failed(cause)),
            }
        }
    }
}

#[cfg(test)]
impl Watch {
    /// Makes room for few notices only.
    pub(super) fn shrink(&self, bytes: i32) {
        self.socket.socket_ref().set_rx_buf_sz(bytes).expect("a smaller buffer");
    }
}

/// Routes other than default ones come and go by the thousand on a router.
fn matters(message: &Message<'_>) -> bool {
    match message.kind {
        libc::RTM_NEWROUTE | libc::RTM_DELROUTE => is_default_route(message.payload),
        _ => true,
    }
}

fn failed(cause: io::Error) -> HostError {
    HostError::Netlink { what: "changes of its network", cause }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("socket", &self.socket.as_raw_fd()).finish()
    }
}
