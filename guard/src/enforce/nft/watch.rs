//! What others change in `f2b-table`, as the kernel tells of it.
//!
//! Input: the messages of the multicast group of nf_tables. Output: whether somebody else
//! touched the table, and who. When messages were lost, it may have been touched.

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;
use rustix::io::Errno;

use crate::enforce::EnforceError;
use crate::enforce::nft::TABLE;
use crate::enforce::nft::batch::{SUBSYSTEM, kind};
use crate::enforce::nft::connection::{ANSWER, errno, refusal};
use crate::enforce::nft::wire::{Message, Messages};

/// `NFNLGRP_NFTABLES`.
const GROUP: u32 = 7;
/// Room for what the kernel tells of changes, in bytes; it tells of each element.
const ROOM: usize = 4 << 20;

/// A socket that hears of changes.
#[derive(Debug)]
pub(super) struct Watch {
    socket: Socket,
    /// Somebody else touched our table in the transaction that is being told.
    touched: bool,
}

impl Watch {
    pub(super) fn open() -> Result<Self, EnforceError> {
        let opened = || {
            let mut socket = Socket::new(NETLINK_NETFILTER)?;
            socket.bind_auto()?;
            socket.set_non_blocking(true)?;
            // What does not fit is told as lost; then everything is read.
            let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, ROOM);
            socket.add_membership(GROUP)?;
            Ok(socket)
        };
        let socket =
            opened().map_err(|error| refusal("listen for changes of the rules", &error))?;
        Ok(Self { socket, touched: false })
    }

    /// What others than the socket `own` did to our table since the last look, in words.
    /// `alone` tells whether nobody else changed any rule; it is asked when some of it was
    /// not told.
    pub(super) fn look(
        &mut self,
        own: u32,
        alone: impl FnOnce() -> Result<bool, EnforceError>,
    ) -> Result<Option<String>, EnforceError> {
        let (mut broken, mut lost) = (None, false);
        let mut datagram = Vec::with_capacity(ANSWER);
        loop {
            datagram.clear();
            match self.socket.recv_from(&mut datagram, 0) {
                // Port 0 is the kernel; other processes can send to this socket too.
                Ok((_, sender)) if sender.port_number() == 0 => {
                    for message in Messages(&datagram) {
                        broken = self.hear(message, own).or(broken);
                    }
                }
                Ok(_) => {}
                Err(error) => match errno(&error) {
                    Errno::AGAIN => break,
                    Errno::INTR => {}
                    Errno::NOBUFS => lost = true,
                    _ => return Err(refusal("listen for changes of the rules", &error).into()),
                },
            }
        }
        if lost && broken.is_none() && !alone()? {
            let told = "so much changed in nf_tables that some of it was not told";
            broken = Some(told.to_owned());
        }
        Ok(broken)
    }

    /// Takes note of a message; at the end of a transaction, what it did to our table.
    fn hear(&mut self, message: Message<'_>, own: u32) -> Option<String> {
        if message.kind >> 8 != SUBSYSTEM {
            return None;
        }
        let attributes = message.attributes();
        if message.kind & 0xff != kind::NEW_GENERATION {
            self.touched |= message.port != own && attributes.text(1) == Some(TABLE);
            return None;
        }
        // NFTA_GEN_PROC_PID, NFTA_GEN_PROC_NAME
        let process = attributes.text(3).unwrap_or("somebody");
        let id = attributes.number(2).map_or(String::new(), |id| format!(" (process {id})"));
        let touched = std::mem::take(&mut self.touched);
        touched.then(|| format!("{process}{id} changed table inet {TABLE}"))
    }
}
