//! `guardctl`'s side of the socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::control::event::Event;
use crate::control::protocol::{Request, Response};

/// How long an answer may take: a hundred thousand bans must be stored and enforced.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("the agent is not running (no answer at {}); start it with `systemctl start guard`", .0.display())]
    NotRunning(PathBuf),
    /// The socket is there, but not for this user.
    #[error("not allowed to talk to the agent at {}: be root or in the group guard", .0.display())]
    NotAllowed(PathBuf),
    /// It listens, and that is all.
    #[error(
        "the agent at {} does not answer; `systemctl kill --signal=KILL guard` has systemd start another, and while `systemctl stop guard` holds, unban and detach work without it",
        .0.display()
    )]
    Hangs(PathBuf),
    /// The conversation broke off.
    #[error("talking to the agent at {}: {cause}", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What happened.
        cause: io::Error,
    },
}

impl ClientError {
    /// Why a socket cannot be reached.
    pub(super) fn connecting(path: &Path, cause: io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Self::NotRunning(path.to_owned())
            }
            io::ErrorKind::PermissionDenied => Self::NotAllowed(path.to_owned()),
            _ => Self::Broken { path: path.to_owned(), cause },
        }
    }
}

/// Events of the agent, as they happen.
#[derive(Debug)]
pub struct Watching {
    path: PathBuf,
    lines: BufReader<UnixStream>,
}

/// Begins to watch the agent; what happens after this is told.
///
/// # Errors
/// When there is no agent, no permission, or no place for one more watcher.
pub fn watch(socket: &Path) -> Result<Watching, ClientError> {
    let stream =
        UnixStream::connect(socket).map_err(|cause| ClientError::connecting(socket, cause))?;
    let mut watching = Watching { path: socket.to_owned(), lines: BufReader::new(stream) };
    let mut begin = || -> io::Result<()> {
        let stream = watching.lines.get_ref();
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let mut text = serde_json::to_vec(&Request::Watch)?;
        text.push(b'\n');
        (&*stream).write_all(&text)?;
        match watching.response()? {
            Some(Response::Watching) => watching.lines.get_ref().set_read_timeout(None),
            Some(Response::Error(error)) => Err(io::Error::other(error)),
            Some(_) => Err(io::Error::other("the agent answered something else")),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    };
    begin().map_err(|cause| ClientError::Broken { path: socket.to_owned(), cause })?;
    Ok(watching)
}

impl Watching {
    /// Waits for the next event; `None` when the agent has ended.
    ///
    /// # Errors
    /// When the conversation breaks off.
    pub fn next_event(&mut self) -> Result<Option<Event>, ClientError> {
        match self.response() {
            Ok(Some(Response::Event(event))) => Ok(Some(event)),
            Ok(Some(_)) => Err(self.broken(io::Error::other("this is no event"))),
            Ok(None) => Ok(None),
            Err(cause) => Err(self.broken(cause)),
        }
    }

    fn response(&mut self) -> io::Result<Option<Response>> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        Ok(Some(serde_json::from_str(&line)?))
    }

    fn broken(&self, cause: io::Error) -> ClientError {
        ClientError::Broken { path: self.path.clone(), cause }
    }
}

/// Asks the agent one thing.
///
/// # Errors
/// When there is no agent, no permission, or no proper answer.
pub fn ask(socket: &Path, request: &Request) -> Result<Response, ClientError> {
    let stream =
        UnixStream::connect(socket).map_err(|cause| ClientError::connecting(socket, cause))?;
    converse(stream, request).map_err(|cause| match cause.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            ClientError::Hangs(socket.to_owned())
        }
        _ => ClientError::Broken { path: socket.to_owned(), cause },
    })
}

fn converse(stream: UnixStream, request: &Request) -> io::Result<Response> {
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    let mut text = serde_json::to_vec(request)?;
    text.push(b'\n');
    (&stream).write_all(&text)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the agent closed the connection; its log tells why",
        ));
    }
    Ok(serde_json::from_str(&answer)?)
}
