//! A netlink socket that speaks nf_tables.
//!
//! Input: requests and batches. Output: the kernel's messages, or a [`Refusal`] that
//! says what was refused and why. The kernel does all of a request within the system
//! call that sends it or the one that reads the answer, so nothing here ever waits.
//!
//! Invariant: the socket stays in the network namespace in which it was opened.

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;
use rustix::net::sockopt;

use crate::enforce::EnforceError;
use crate::enforce::nft::batch::{Batch, INET, SUBSYSTEM, Transaction, kind};
use crate::enforce::nft::wire::{
    Header, Message, Messages, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE,
    NLMSG_ERROR, Writer,
};

/// The kernel makes its answers no larger than 32 KiB when it is given that much room.
pub(super) const ANSWER: usize = 64 << 10;
/// What the kernel keeps of a send buffer for itself.
const RESERVED: usize = 32;
/// Numbers of messages start again from 1 when they are beyond this.
const SEQUENCES: u32 = 1 << 30;

/// The kernel said no.
#[derive(Debug)]
pub(super) struct Refusal {
    /// What was tried, on what.
    pub(super) operation: String,
    pub(super) cause: Errno,
    /// The kernel's own words, where it has some.
    explanation: Option<String>,
}

impl Refusal {
    /// Somebody changed the rules while they were read.
    pub(super) fn interrupted(operation: &str) -> Self {
        refused(operation, Errno::INTR)
    }
}

impl From<Refusal> for EnforceError {
    fn from(refusal: Refusal) -> Self {
        let Refusal { operation, cause, explanation } = refusal;
        match cause {
            Errno::PERM | Errno::ACCESS => Self::Unavailable(format!(
                "nf_tables: {operation}: not permitted: it takes CAP_NET_ADMIN in this network \
                 namespace (run as root, or give the unit AmbientCapabilities=CAP_NET_ADMIN), \
                 and a table that no other program owns"
            )),
            Errno::PROTONOSUPPORT | Errno::OPNOTSUPP | Errno::AFNOSUPPORT => {
                Self::Unavailable(format!(
                    "nf_tables: {operation}: this kernel has no nf_tables for the family inet: \
                     run `modprobe nf_tables`, or use a kernel with CONFIG_NF_TABLES_INET"
                ))
            }
            Errno::MSGSIZE | Errno::NOBUFS | Errno::NOMEM => Self::Kernel {
                operation: format!(
                    "nf_tables: {operation} (the kernel has no room for the message: raise \
                     net.core.wmem_max, or the memory limit)"
                ),
                cause: cause.into(),
            },
            _ => {
                let hint = explanation.map(|text| format!(" ({text})")).unwrap_or_default();
                Self::Kernel {
                    operation: format!("nf_tables: {operation}{hint}"),
                    cause: cause.into(),
                }
            }
        }
    }
}

/// An open socket.
#[derive(Debug)]
pub(super) struct Connection {
    socket: Socket,
    port: u32,
    sequence: u32,
}

impl Connection {
    /// Opens a socket in the calling thread's network namespace and asks whether the
    /// kernel has nf_tables and lets us use it.
    pub(super) fn open() -> Result<Self, EnforceError> {
        let opened = || {
            let mut socket = Socket::new(NETLINK_NETFILTER)?;
            let port = socket.bind_auto()?.port_number();
            socket.set_non_blocking(true)?;
            // Errors quote the header of what they refuse, and explain.
            socket.set_cap_ack(true)?;
            socket.set_ext_ack(true)?;
            Ok((socket, port))
        };
        let (socket, port) =
            opened().map_err(|error| refusal("open a netfilter socket", &error))?;
        let mut connection = Self { socket, port, sequence: 1 };
        match connection.generation() {
            // Without nf_tables the kernel does not know the subsystem of the request.
            Err(Refusal { cause: Errno::INVAL, operation, explanation }) => {
                Err(Refusal { cause: Errno::OPNOTSUPP, operation, explanation }.into())
            }
            Err(other) => Err(other.into()),
            Ok(_) => Ok(connection),
        }
    }

    /// The number of the kernel's current rules: each transaction, whoever makes it,
    /// raises it.
    pub(super) fn generation(&mut self) -> Result<u32, Refusal> {
        let mut generation = None;
        let subject = "read the generation of the rules";
        self.ask(
            kind::GET_GENERATION,
            false,
            subject,
            |_| {},
            |message| {
                // NFTA_GEN_ID
                generation = message.attributes().number(1).or(generation);
            },
        )?;
        generation.ok_or_else(|| no_answer(subject))
    }

    /// The number by which others know this socket.
    pub(super) fn port(&self) -> u32 {
        self.port
    }

    /// A batch to be filled, for [`Connection::commit`].
    pub(super) fn batch(&self) -> Batch {
        Batch::new(self.sequence)
    }

    /// Sends a request, and gives every message of the answer to `each`. With `dump`
    /// the request is for all objects that match. `EINTR` when the rules were changed
    /// meanwhile.
    pub(super) fn ask(
        &mut self,
        kind: u16,
        dump: bool,
        subject: &str,
        write: impl FnOnce(&mut Writer),
        each: impl FnMut(Message<'_>),
    ) -> Result<(), Refusal> {
        self.ask_family(INET, kind, dump, subject, write, each)
    }

    /// As [`Connection::ask`], about tables of another family.
    pub(super) fn ask_family(
        &mut self,
        family: u8,
        kind: u16,
        dump: bool,
        subject: &str,
        write: impl FnOnce(&mut Writer),
        mut each: impl FnMut(Message<'_>),
    ) -> Result<(), Refusal> {
        let sequence = self.sequence;
        self.number_from(sequence + 1);
        let mut writer = Writer::default();
        let flags = NLM_F_REQUEST | if dump { NLM_F_DUMP } else { NLM_F_ACK };
        let kind = SUBSYSTEM << 8 | kind;
        let header = Header { kind, flags, sequence, family, resource: 0 };
        writer.message(header, write);
        self.send(writer.bytes()).map_err(|error| refusal(subject, &error))?;
        let mut interrupted = false;
        let mut result = None;
        while result.is_none() {
            let received = self.receive(|message| {
                if message.sequence != sequence {
                    return;
                }
                interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.kind {
                    NLMSG_ERROR | NLMSG_DONE => result = Some(outcome(&message, subject)),
                    _ => each(message),
                }
            });
            if !received.map_err(|error| refusal(subject, &error))? {
                return Err(no_answer(subject));
            }
        }
        match result {
            Some(Ok(())) if interrupted => Err(refused(subject, Errno::INTR)),
            Some(result) => result,
            None => Err(no_answer(subject)),
        }
    }

    /// Makes a batch so, all of it or nothing. `ERESTART` when `generation` is not the
    /// current one.
    ///
    /// Where the send buffer cannot be made large enough for all of it (that takes
    /// `CAP_NET_ADMIN` on the host, which an unprivileged container does not have), it
    /// is done in several transactions, in the order in which it was written.
    pub(super) fn commit(&mut self, batch: &Batch, generation: Option<u32>) -> Result<(), Refusal> {
        let limit = self.send_buffer(batch.length());
        self.number_from(batch.next_sequence() + 1);
        for transaction in batch.transactions(limit, generation) {
            self.transact(batch, &transaction)?;
        }
        Ok(())
    }

    fn transact(&mut self, batch: &Batch, transaction: &Transaction) -> Result<(), Refusal> {
        let whole = || batch.subject(transaction.acknowledged).unwrap_or("commit").to_owned();
        self.send(&transaction.bytes).map_err(|error| refusal(&whole(), &error))?;
        let mut seen = false;
        let mut first_error = None;
        let mut note = |message: Message<'_>| {
            let of_frame = message.sequence == transaction.framed;
            let subject = batch.subject(message.sequence);
            if message.kind != NLMSG_ERROR || !(of_frame || subject.is_some()) {
                return;
            }
            seen |= message.sequence == transaction.acknowledged;
            let subject = subject.unwrap_or("commit the changes");
            if let Err(error) = outcome(&message, subject) {
                first_error.get_or_insert(error);
            }
        };
        loop {
            match self.receive(&mut note) {
                Ok(true) => {}
                Ok(false) => break,
                // So many errors that some were lost: the first ones are there.
                Err(error) if errno(&error) == Errno::NOBUFS => {}
                Err(error) => return Err(refusal(&whole(), &error)),
            }
        }
        match first_error {
            Some(error) => Err(error),
            None if seen => Ok(()),
            None => Err(no_answer(&whole())),
        }
    }

    /// Raises the send buffer to hold `needed` bytes if it may be, and tells how many
    /// it holds.
    fn send_buffer(&self, needed: usize) -> usize {
        let held = |socket| sockopt::socket_send_buffer_size(socket).unwrap_or(0);
        let wanted = needed + 2 * RESERVED + 64;
        if held(&self.socket) < wanted {
            let raised = sockopt::set_socket_send_buffer_size_force(&self.socket, wanted)
                .or_else(|_| sockopt::set_socket_send_buffer_size(&self.socket, wanted));
            if let Err(error) = raised {
                tracing::debug!("send buffer of {wanted} bytes: {error}");
            }
        }
        held(&self.socket).saturating_sub(RESERVED)
    }

    fn number_from(&mut self, sequence: u32) {
        self.sequence = if sequence < SEQUENCES { sequence } else { 1 };
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let sent = self.socket.send_to(bytes, &SocketAddr::new(0, 0), 0)?;
        if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Reads one datagram; `false` when there is none.
    fn receive(&self, mut each: impl FnMut(Message<'_>)) -> io::Result<bool> {
        let mut datagram = Vec::with_capacity(ANSWER);
        let sender = match self.socket.recv_from(&mut datagram, 0) {
            Ok((_, sender)) => sender,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(error),
        };
        // Port 0 is the kernel; other processes can send to this socket too.
        if sender.port_number() == 0 {
            Messages(&datagram).for_each(&mut each);
        }
        Ok(true)
    }
}

fn outcome(message: &Message<'_>, subject: &str) -> Result<(), Refusal> {
    match message.error() {
        None | Some((0, _)) => Ok(()),
        Some((number, explanation)) => Err(Refusal {
            explanation: explanation.map(str::to_owned),
            ..refused(subject, Errno::from_raw_os_error(number))
        }),
    }
}

pub(super) fn refusal(operation: &str, error: &io::Error) -> Refusal {
    refused(operation, errno(error))
}

fn refused(operation: &str, cause: Errno) -> Refusal {
    Refusal { operation: operation.to_owned(), cause, explanation: None }
}

pub(super) fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

fn no_answer(operation: &str) -> Refusal {
    Refusal {
        explanation: Some("the kernel gave no answer".to_owned()),
        ..refused(operation, Errno::PROTO)
    }
}
