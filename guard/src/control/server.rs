//! The agent's side of the socket.
//!
//! Input: connections. Output: requests handed to a handler, its answers sent back.
//! Invariant: nobody but root and the group `guard` is heard, and no peer can hold more
//! than its share: see [`Bounds`]. When all places are taken, the connection that has
//! kept one longest without a request gives way, so whoever asks at once is answered.

use std::collections::VecDeque;
use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{AbortHandle, JoinSet, yield_now};
use tokio::time::timeout;

use crate::accounts::Accounts;
use crate::control::event::{Events, WATCHERS, Watcher};
use crate::control::protocol::{Request, Response};

/// The group that may ask.
const GROUP: &str = "guard";

/// Bounds on what a peer can cost.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at a time; a further one takes the place of the one that waits longest
    /// with no request in hand.
    pub connections: usize,
    /// Bytes of one request: room for 100,000 IPv6 addresses.
    pub request_bytes: u64,
    /// How long a peer may take to send a request, or to take an answer.
    pub patience: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { connections: 32, request_bytes: 8 << 20, patience: Duration::from_secs(10) }
    }
}

/// The listening socket; its file goes when it is dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    group: Option<u32>,
    bounds: Bounds,
    events: Option<Events>,
}

/// Why the socket cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("making the socket {}: {cause}", path.display())]
pub struct ServerError {
    path: PathBuf,
    cause: io::Error,
}

impl Server {
    /// Listens at `path`; a socket file that a dead agent left is replaced.
    ///
    /// # Errors
    /// When the path cannot be used, or another agent listens there.
    pub fn bind(path: &Path, bounds: Bounds) -> Result<Self, ServerError> {
        let failed = |cause| ServerError { path: path.to_owned(), cause };
        Self::listen(path, bounds).map_err(failed)
    }

    fn listen(path: &Path, bounds: Bounds) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    "another agent listens there; stop it first",
                ));
            }
            fs::remove_file(path)?;
        }
        // Nobody can connect before the mode is set: there is no accept until then,
        // and peers are checked by their credentials besides.
        let listener = UnixListener::bind(path)?;
        let group = Accounts::read()?.group(GROUP);
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
        if let Some(group) = group {
            chown(path, None, Some(group))?;
        }
        Ok(Self { listener, path: path.to_owned(), group, bounds, events: None })
    }

    /// Lets whoever asks for it watch these events.
    #[must_use]
    pub fn telling(mut self, events: Events) -> Self {
        self.events = Some(events);
        self
    }

    /// Serves until the future is dropped.
    pub async fn serve<H, F>(&self, handler: H)
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        let (handler, bounds) = (Arc::new(handler), self.bounds);
        let events = self.events.clone();
        let conversation = move |stream, busy: Arc<AtomicBool>| {
            let (handler, events) = (Arc::clone(&handler), events.clone());
            async move { converse(stream, bounds, &*handler, events.as_ref(), &busy).await }
        };
        self.serve_with(conversation).await;
    }

    /// Serves until the future is dropped, in another language than JSON: `conversation`
    /// says with its flag whether a whole request is in hand, and keeps to the bounds on
    /// requests itself.
    pub async fn serve_with<C, F>(&self, conversation: C)
    where
        C: Fn(UnixStream, Arc<AtomicBool>) -> F,
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        // Conversations end with this future.
        let mut conversations = JoinSet::new();
        let mut places = Places::default();
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: they come back as peers leave.
                    tracing::warn!(target: "fail2ban.transmitter", "accepting: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            if !self.may_speak(&stream) {
                continue;
            }
            while conversations.try_join_next().is_some() {}
            while conversations.len() >= self.bounds.connections {
                places.give_up_one();
                conversations.join_next().await;
            }
            let busy = Arc::new(AtomicBool::new(false));
            let spoken = conversation(stream, Arc::clone(&busy));
            let handle = conversations.spawn(async move {
                if let Err(error) = spoken.await {
                    tracing::debug!(target: "fail2ban.transmitter", "peer lost: {error}");
                }
            });
            places.0.push_back(Place { handle, busy });
            // What this peer has sent already is read before the next one is let in.
            yield_now().await;
        }
    }

    /// Root, the agent's own user, or a member of the group.
    fn may_speak(&self, stream: &UnixStream) -> bool {
        let Ok(peer) = stream.peer_cred() else { return false };
        let own = rustix::process::geteuid().as_raw();
        let member = || {
            self.group.is_some_and(|group| {
                let members = || Accounts::read().map(|accounts| accounts.members(GROUP));
                peer.gid() == group || members().is_ok_and(|all| all.contains(&peer.uid()))
            })
        };
        let heard = peer.uid() == 0 || peer.uid() == own || member();
        if !heard {
            let user = peer.uid();
            tracing::warn!(target: "fail2ban.transmitter", "user {user} is not allowed to ask");
        }
        heard
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = fs::remove_file(&self.path);
    }
}

/// Conversations, the oldest first.
#[derive(Debug, Default)]
struct Places(VecDeque<Place>);

#[derive(Debug)]
struct Place {
    handle: AbortHandle,
    /// Whether a whole request is in hand.
    busy: Arc<AtomicBool>,
}

impl Places {
    /// Ends the oldest conversation that has no request in hand, if there is one.
    fn give_up_one(&mut self) {
        self.0.retain(|place| !place.handle.is_finished());
        let idle = self.0.iter().position(|place| !place.busy.load(Ordering::Relaxed));
        if let Some(place) = idle.and_then(|index| self.0.remove(index)) {
            place.handle.abort();
        }
    }
}

async fn converse<H, F>(
    mut stream: UnixStream,
    bounds: Bounds,
    handler: &H,
    events: Option<&Events>,
    busy: &AtomicBool,
) -> io::Result<()>
where
    H: Fn(Request) -> F,
    F: Future<Output = Response>,
{
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut reader).take(bounds.request_bytes);
        timeout(bounds.patience, bounded.read_until(b'\n', &mut line)).await??;
        if line.is_empty() {
            return Ok(());
        }
        let whole = line.ends_with(b"\n");
        busy.store(true, Ordering::Relaxed);
        let response = match serde_json::from_slice(&line) {
            _ if !whole => Response::Error(format!(
                "a request is one line of at most {} bytes",
                bounds.request_bytes
            )),
            Ok(Request::Watch) => match events.and_then(Events::watch) {
                // It keeps its place as long as it reads.
                Some(watcher) => {
                    return tell(&mut reader, &mut writer, watcher, bounds.patience).await;
                }
                None => Response::Error(format!("there are {WATCHERS} who watch already")),
            },
            Ok(request) => handler(request).await,
            Err(error) => Response::Error(format!("not a request: {error}")),
        };
        let text = line_of(&response)?;
        // Whoever does not take the answer may lose it.
        busy.store(false, Ordering::Relaxed);
        timeout(bounds.patience, writer.write_all(&text)).await??;
        if !whole {
            return Ok(());
        }
    }
}

/// Tells a peer what happens, until it leaves. However slowly it reads, nobody waits for
/// it: what it is too slow for it loses.
async fn tell(
    reader: &mut (impl AsyncReadExt + Unpin),
    writer: &mut (impl AsyncWriteExt + Unpin),
    mut watcher: Watcher,
    patience: Duration,
) -> io::Result<()> {
    timeout(patience, writer.write_all(&line_of(&Response::Watching)?)).await??;
    let mut rest = [0];
    loop {
        let event = tokio::select! {
            event = watcher.next() => event,
            _ = reader.read(&mut rest) => None,
        };
        let Some(event) = event else { return Ok(()) };
        // Who takes nothing for so long has gone, and leaves its place to others.
        let line = line_of(&Response::Event((*event).clone()))?;
        timeout(patience, writer.write_all(&line)).await??;
    }
}

fn line_of(response: &Response) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(response)?;
    text.push(b'\n');
    Ok(text)
}

#[cfg(test)]
mod tests;
