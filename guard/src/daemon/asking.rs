//! Takes the engine's questions outside: to `guard-helper`, or to a file.
//!
//! Input: questions, which are durable by now. Output: [`Command::Answer`], one for each
//! question. Invariant: a helper that is not there, goes away or sends nonsense gives
//! answers too: errors. It is connected to when there is a question for it.

use std::collections::HashSet;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::timeout;

use crate::core::question::{self, Ask, Question, Said};
use crate::daemon::perform::Command;
use crate::helper::protocol::{Answer, MOST_BYTES, Request, Response, Task};

/// How long it may take to be connected, and to be rid of a question.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest file of addresses.
const MOST_OF_FILE: u64 = 1 << 20;

/// Works for ever.
pub async fn work(
    questions: &mut UnboundedReceiver<Question>,
    commands: &UnboundedSender<Command>,
    socket: &Path,
) {
    let mut link: Option<Link> = None;
    loop {
        let answered = async {
            match &mut link {
                Some(link) => link.next().await,
                None => std::future::pending().await,
            }
        };
        let lost = tokio::select! {
            answered = answered => match answered {
                Ok(Response { id, answer }) => {
                    if let Some(link) = &mut link {
                        link.open.remove(&id);
                    }
                    tell(commands, id, said(answer));
                    None
                }
                Err(cause) => Some(cause),
            },
            question = questions.recv() => match question {
                None => return std::future::pending().await,
                Some(Question { id, ask: Ask::Read(path) }) => {
                    read_aside(commands, id, path);
                    None
                }
                Some(Question { id, ask: Ask::Run(arguments) }) => {
                    let task = Task::Run { arguments, timeout: None };
                    ask(&mut link, socket, Request { id, task }, commands).await
                }
                Some(Question { id, ask: Ask::Resolve(name) }) => {
                    let task = Task::Resolve { name };
                    ask(&mut link, socket, Request { id, task }, commands).await
                }
            },
        };
        if let Some(cause) = lost {
            for id in link.take().map(|link| link.open).into_iter().flatten() {
                tell(commands, id, Err(format!("guard-helper went away: {cause}")));
            }
        }
    }
}

/// Sends a request; the trouble if the helper was there and is lost.
async fn ask(
    link: &mut Option<Link>,
    socket: &Path,
    request: Request,
    commands: &UnboundedSender<Command>,
) -> Option<io::Error> {
    if link.is_none() {
        match Link::open(socket).await {
            Ok(opened) => *link = Some(opened),
            Err(why) => tell(commands, request.id, Err(why)),
        }
    }
    match link {
        Some(link) => link.send(&request).await.err(),
        None => None,
    }
}

fn tell(commands: &UnboundedSender<Command>, id: u64, said: Result<Said, String>) {
    // An engine that stops asks again at its next start.
    let _ = commands.send(Command::Answer(question::Answer { id, said }));
}

fn said(answer: Answer) -> Result<Said, String> {
    match answer {
        Answer::Exited { code, .. } => Ok(Said::Exited(code)),
        Answer::Addresses(addresses) => Ok(Said::Addresses(addresses)),
        Answer::Failed(why) => Err(why.escape_debug().to_string()),
    }
}

/// Reads a file where it may take its time.
fn read_aside(commands: &UnboundedSender<Command>, id: u64, path: PathBuf) {
    // A file that nobody serves any more must not keep an engine from ending.
    let commands = commands.downgrade();
    tokio::task::spawn_blocking(move || {
        let content = read(&path).map_err(|cause| format!("cannot be read: {cause}"));
        if let Some(commands) = commands.upgrade() {
            tell(&commands, id, content.map(Said::Content));
        }
    });
}

fn read(path: &Path) -> io::Result<String> {
    // To open a pipe would wait for its other end.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = std::fs::File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut content = String::new();
    if file.take(MOST_OF_FILE + 1).read_to_string(&mut content)? as u64 > MOST_OF_FILE {
        return Err(io::Error::other("it has more than 1 MiB"));
    }
    Ok(content)
}

/// A connection to the helper.
pub(super) struct Link {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    /// What came and is no whole line yet.
    rest: Vec<u8>,
    /// Questions without an answer.
    pub(super) open: HashSet<u64>,
}

impl Link {
    /// Connects to the helper.
    pub(super) async fn open(socket: &Path) -> Result<Self, String> {
        within(UnixStream::connect(socket)).await.map(Self::new).map_err(|cause| {
            let path = socket.display();
            format!(
                "guard-helper cannot be reached at {path}: {cause}; is guard-helper.socket started?"
            )
        })
    }

    fn new(stream: UnixStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self { reader, writer, rest: Vec::new(), open: HashSet::new() }
    }

    pub(super) async fn send(&mut self, request: &Request) -> io::Result<()> {
        self.open.insert(request.id);
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        within(self.writer.write_all(&line)).await
    }

    /// The next answer. Nothing is lost when the future is dropped before.
    pub(super) async fn next(&mut self) -> io::Result<Response> {
        loop {
            if let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Ok(serde_json::from_slice(&line)?);
            }
            if self.rest.len() > MOST_BYTES {
                return Err(io::Error::other("it sent a line that is too long"));
            }
            if self.reader.read_buf(&mut self.rest).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
