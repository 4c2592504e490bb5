//! The socket on which the agent gives its figures: who connects is told and asked nothing.
//!
//! `AF_UNIX` stream, mode 0660, root and the group `guard-metrics`. Output: one line of JSON,
//! [`Figures`], then the end. Invariant: not one byte is read from a peer, so that whoever
//! serves metrics to a network has no way to do anything but to read them.

use std::fs;
use std::future::Future;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::accounts::Accounts;
use crate::control::client::ClientError;
use crate::control::protocol::Response;
use crate::core::figures::Figures;

/// The group that may connect.
const GROUP: &str = "guard-metrics";
/// Peers at a time; further ones wait.
const PEERS: usize = 8;
/// How long a peer may take to read.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a client waits for figures.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// More than any agent tells.
const LONGEST: u64 = 16 << 20;

/// The listening socket; its file goes when it is dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Listens at `path`, of which the agent is known to be the only user; a socket file
    /// that a dead agent left is replaced.
    ///
    /// # Errors
    /// When the path cannot be used.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
            fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        let group = Accounts::read()?.group(GROUP);
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
        if let Some(group) = group {
            chown(path, None, Some(group))?;
        }
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Tells whoever connects what `figures` gives, until the future is dropped.
    pub async fn serve<H, F>(&self, figures: H)
    where
        H: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        let figures = Arc::new(figures);
        let mut peers = JoinSet::new();
        loop {
            while peers.len() >= PEERS {
                peers.join_next().await;
            }
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let figures = Arc::clone(&figures);
                    peers.spawn(async move {
                        // Whoever does not read has nothing to lose.
                        let _ = timeout(PATIENCE, tell(stream, figures())).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(target: "fail2ban.transmitter", "accepting: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            while peers.try_join_next().is_some() {}
        }
    }
}

async fn tell(mut stream: UnixStream, figures: impl Future<Output = Response>) -> io::Result<()> {
    // An error tells nothing: then there are no figures.
    if let Response::Figures(figures) = figures.await {
        let mut text = serde_json::to_vec(&figures)?;
        text.push(b'\n');
        stream.write_all(&text).await?;
    }
    Ok(())
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = fs::remove_file(&self.path);
    }
}

/// The figures of the agent that listens at `path`.
///
/// # Errors
/// When there is none, when this user may not connect, or it tells nothing.
pub fn read(path: &Path) -> Result<Figures, ClientError> {
    let stream = std::os::unix::net::UnixStream::connect(path);
    let stream = stream.map_err(|cause| ClientError::connecting(path, cause))?;
    let told = || -> io::Result<Figures> {
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let mut text = String::new();
        stream.take(LONGEST).read_to_string(&mut text)?;
        if text.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the agent tells nothing; its log tells why",
            ));
        }
        Ok(serde_json::from_str(&text)?)
    };
    told().map_err(|cause| ClientError::Broken { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_connects_is_told_without_a_word_and_a_dead_agents_file_is_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("metrics.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
        assert!(matches!(read(&path), Err(ClientError::NotRunning(_))), "nobody listens");
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let server = Server::bind(&path).expect("a server");
            let asking = path.clone();
            let refused = || async { Response::Error("not now".to_owned()) };
            let client = tokio::task::spawn_blocking(move || read(&asking));
            let answer = tokio::select! {
                answer = client => answer.expect("the client"),
                () = server.serve(refused) => unreachable!("it never ends"),
            };
            let error = answer.expect_err("there are no figures").to_string();
            assert!(error.contains("tells nothing"), "{error}");
        });
        assert!(!path.exists(), "its file goes with it");
    }
}
