//! The agent's side of Fail2Ban's socket.
//!
//! Input: connections of Fail2Ban's clients. Output: answers. The socket, who may connect
//! and how many at a time are those of the control socket
//! ([`Server`](crate::control::server::Server)); requests are bounded here as there.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::compat::answer::{answer, refused};
use crate::compat::command::Command;
use crate::compat::pickle::{self, decode, encode};
use crate::compat::value::Value;
use crate::compat::{CLOSE, END};
use crate::control::protocol::{Request, Response};
use crate::control::server::{Bounds, Server};

/// Serves until the future is dropped; `ask` is the agent.
pub async fn serve<A, F>(server: &Server, bounds: Bounds, ask: A)
where
    A: Fn(Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let conversation = move |stream, busy| converse(stream, bounds, ask.clone(), busy);
    server.serve_with(conversation).await;
}

async fn converse<A, F>(
    mut stream: UnixStream,
    bounds: Bounds,
    ask: A,
    busy: Arc<AtomicBool>,
) -> io::Result<()>
where
    A: Fn(Request) -> F + Send + Sync,
    F: Future<Output = Response> + Send,
{
    let mut received = Vec::new();
    loop {
        let Some(message) = message(&mut stream, &mut received, bounds).await? else {
            return Ok(());
        };
        if message == CLOSE {
            return Ok(());
        }
        busy.store(true, Ordering::Relaxed);
        // Nothing of the request is kept but what it means.
        let command = decode(&message, pickle::Bounds::default()).map(|request| {
            drop(message);
            Command::parse(&request)
        });
        let reply = match command {
            Ok(Ok(command)) => answer(command, &ask).await,
            Ok(Err(fault)) => refused(fault),
            Err(error) => {
                tracing::warn!(target: "fail2ban.transmitter", "a request is refused: {error}");
                Value::text(format!("ERROR: {error}"))
            }
        };
        let mut bytes = encode(&reply);
        bytes.extend(END);
        busy.store(false, Ordering::Relaxed);
        timeout(bounds.patience, stream.write_all(&bytes)).await??;
    }
}

/// The next message without its end; nothing if the peer left.
async fn message(
    stream: &mut UnixStream,
    received: &mut Vec<u8>,
    bounds: Bounds,
) -> io::Result<Option<Vec<u8>>> {
    let whole = async {
        let most = usize::try_from(bounds.request_bytes).unwrap_or(usize::MAX);
        let mut seen = 0;
        loop {
            if let Some(at) = memmem::find(&received[seen..], END) {
                let mut message = received.split_off(seen + at);
                std::mem::swap(&mut message, received);
                received.drain(..END.len());
                return Ok(Some(message));
            }
            seen = received.len().saturating_sub(END.len() - 1);
            if received.len() > most {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("a request is at most {most} bytes"),
                ));
            }
            if stream.read_buf(received).await? == 0 {
                return Ok(None);
            }
        }
    };
    timeout(bounds.patience, whole).await?
}
