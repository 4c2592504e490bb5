//! The helper's side of the socket.
//!
//! Input: connections. Output: requests done, answers in the order in which they come to
//! be. Invariants: nobody but root and the agent's user is heard; so many programs and
//! look-ups run at a time, so many requests wait, and a peer that sends nonsense is cut
//! off.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::program::{self, Told};
use super::protocol::{Answer, MOST_BYTES, Request, Response, Task};
use crate::core::question::is_host_name;

/// Look-ups at a time; each takes a thread.
pub(super) const LOOKUPS: usize = 8;
/// Programs at a time; each takes a thread that waits for its end.
pub(super) const PROGRAMS: usize = 8;
/// Programs at a time that tell others of bans; likewise.
pub(super) const TELLERS: usize = 4;
/// Requests that are being done or wait; further ones are refused.
const MOST_REQUESTS: usize = 4_096;
/// Connections at a time.
const CONNECTIONS: usize = 16;
/// How long a program may take unless the request says otherwise, and at most.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));
/// How long a look-up may take.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(10);
/// How long a peer may take to take an answer.
const PEER_PATIENCE: Duration = Duration::from_secs(10);

/// What connections share.
#[derive(Clone, Debug)]
pub struct Server {
    agent_user: Option<u32>,
    requests: Arc<Semaphore>,
    programs: Arc<Semaphore>,
    tellers: Arc<Semaphore>,
    lookups: Arc<Semaphore>,
}

impl Server {
    /// Hears root, and `agent_user`.
    pub fn new(agent_user: Option<u32>) -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        let (requests, programs) = (places(MOST_REQUESTS), places(PROGRAMS));
        let (tellers, lookups) = (places(TELLERS), places(LOOKUPS));
        Self { agent_user, requests, programs, tellers, lookups }
    }

    /// Serves until the future is dropped.
    pub async fn serve(&self, listener: &UnixListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut conversations = JoinSet::new();
        loop {
            while conversations.try_join_next().is_some() {}
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    eprintln!("<4>guard-helper: accepting: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let server = self.clone();
            conversations.spawn(async move {
                if server.hears(&stream) {
                    server.converse(stream).await;
                }
                drop(place);
            });
        }
    }

    fn hears(&self, stream: &UnixStream) -> bool {
        let user = stream.peer_cred().ok().map(|peer| peer.uid());
        let heard = user.is_some_and(|user| user == 0 || Some(user) == self.agent_user);
        if !heard {
            eprintln!("<4>guard-helper: user {user:?} is not allowed to ask");
        }
        heard
    }

    /// Reads requests until the peer leaves. What is not done by then is given up.
    async fn converse(&self, stream: UnixStream) {
        let (reader, mut writer) = stream.into_split();
        let (answers, mut inbox) = mpsc::unbounded_channel::<Response>();
        let mut tasks = JoinSet::new();
        // Bounded by the requests that may wait.
        tasks.spawn(async move {
            while let Some(response) = inbox.recv().await {
                let Ok(mut line) = serde_json::to_vec(&response) else { return };
                line.push(b'\n');
                if !matches!(timeout(PEER_PATIENCE, writer.write_all(&line)).await, Ok(Ok(()))) {
                    return;
                }
            }
        });
        let mut reader = BufReader::new(reader);
        loop {
            while tasks.try_join_next().is_some() {}
            let request = match next_line(&mut reader).await {
                Ok(Some(line)) => serde_json::from_slice::<Request>(&line),
                Ok(None) => return,
                Err(error) => Err(serde_json::Error::io(error)),
            };
            let Request { id, task } = match request {
                Ok(request) => request,
                Err(error) => {
                    let answer = Answer::Failed(format!("malformed request: {error}"));
                    let _ = answers.send(Response { id: 0, answer });
                    drop(answers);
                    // The answers that are on their way still go out.
                    while tasks.join_next().await.is_some() {}
                    return;
                }
            };
            let (server, answers) = (self.clone(), answers.clone());
            let Ok(place) = Arc::clone(&self.requests).try_acquire_owned() else {
                let answer = Answer::Failed(format!("{MOST_REQUESTS} requests wait already"));
                let _ = answers.send(Response { id, answer });
                continue;
            };
            tasks.spawn(async move {
                let answer = server.answer(task).await;
                let _ = answers.send(Response { id, answer });
                drop(place);
            });
        }
    }

    async fn answer(&self, task: Task) -> Answer {
        match task {
            Task::Run { arguments, timeout } => {
                let Ok(_turn) = self.programs.acquire().await else { return closing() };
                let limit = timeout.map_or(PATIENCE.0, Duration::from_millis).min(PATIENCE.1);
                program::run(&arguments, Told::default(), limit).await
            }
            Task::Tell { arguments, environment, input, timeout } => {
                let Ok(_turn) = self.tellers.acquire().await else { return closing() };
                let limit = Duration::from_millis(timeout).min(PATIENCE.1);
                program::run(&arguments, Told { environment, input }, limit).await
            }
            Task::Resolve { name } => {
                if !is_host_name(&name) {
                    return Answer::Failed(format!("`{}` is no host name", name.escape_debug()));
                }
                let Ok(turn) = Arc::clone(&self.lookups).acquire_owned().await else {
                    return closing();
                };
                // A look-up cannot be ended from outside: its turn lasts as long as it.
                let lookup = tokio::task::spawn_blocking(move || {
                    let found = addresses(&name);
                    drop(turn);
                    found
                });
                match timeout(LOOKUP_PATIENCE, lookup).await {
                    Ok(Ok(Ok(addresses))) => Answer::Addresses(addresses),
                    Ok(Ok(Err(cause))) => Answer::Failed(cause.to_string()),
                    Ok(Err(cause)) => Answer::Failed(cause.to_string()),
                    Err(_) => Answer::Failed(format!("no answer within {LOOKUP_PATIENCE:?}")),
                }
            }
        }
    }
}

fn closing() -> Answer {
    Answer::Failed("guard-helper ends".to_owned())
}

/// What `getaddrinfo` says.
fn addresses(name: &str) -> io::Result<Vec<IpAddr>> {
    let mut addresses: Vec<IpAddr> =
        (name, 0).to_socket_addrs()?.map(|address| address.ip()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    // An answer has its bound; the agent takes fewer.
    addresses.truncate(256);
    Ok(addresses)
}

/// The next line without its end; nothing when the peer left.
async fn next_line(reader: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let most = u64::try_from(MOST_BYTES).unwrap_or(u64::MAX);
    reader.take(most).read_until(b'\n', &mut line).await?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) => {
            let what = if line.len() + 1 < MOST_BYTES { "unfinished" } else { "too long" };
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("the line is {what}")))
        }
    }
}
