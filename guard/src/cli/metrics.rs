//! `guardctl metrics`: the agent's figures for Prometheus, printed, written to a file, or
//! served.
//!
//! The agent speaks no HTTP and listens on no network: `--listen` is a process of its own,
//! which needs no rights but to read one socket (`guard-metrics.service`).

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::cli::{Context, Failure, output};
use crate::control::client::ClientError;
use crate::control::{figures, protocol};
use crate::core::figures::Figures;
use crate::metrics::{Format, exposition};

/// Peers at a time; further ones wait.
const PEERS: usize = 16;
/// How long a peer may take for its request, and for all of it.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// Bytes of a request's head.
const HEAD: usize = 8 << 10;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    guardctl metrics                                      print them\n  \
    guardctl metrics --listen 127.0.0.1:9779              serve them at /metrics\n  \
    guardctl metrics --listen unix:/run/guard-metrics/http.sock\n  \
    guardctl metrics --textfile /var/lib/prometheus/node-exporter/guard.prom")]
pub(super) struct Arguments {
    /// Serve them by HTTP until stopped, at ADDRESS:PORT or unix:PATH.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "textfile")]
    listen: Option<Place>,
    /// Let --listen use an address that other hosts can reach. Anybody there can read them.
    #[arg(long, requires = "listen")]
    public: bool,
    /// Write them to a file for node_exporter's textfile collector, whole or not at all.
    #[arg(long, value_name = "FILE")]
    textfile: Option<PathBuf>,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Address(SocketAddr),
    Path(PathBuf),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("unix: wants a path, such as unix:/run/guard-metrics/http.sock".into()),
            Some(path) => Ok(Self::Path(path.into())),
            None => text.parse().map(Self::Address).map_err(|_| {
                "write an address and a port, such as 127.0.0.1:9779 or [::1]:9779, or unix:PATH"
                    .to_owned()
            }),
        }
    }
}

pub(super) fn metrics(context: &Context, arguments: &Arguments) -> Result<(), Failure> {
    if let Some(place) = &arguments.listen {
        return listen(context, place, arguments.public);
    }
    let Some(file) = &arguments.textfile else {
        let figures = ask(context)?;
        return match context.json {
            true => output::json(&figures),
            false => output::print(&exposition(Some(figures), Format::OpenMetrics)),
        };
    };
    // That there is no agent is worth knowing for whoever reads the file, too.
    let (figures, failure) = match ask(context) {
        Ok(figures) => (Some(figures), None),
        Err(failure @ Failure::Client(ClientError::NotRunning(_))) => (None, Some(failure)),
        Err(failure) => return Err(failure),
    };
    // The exporter is another user.
    output::replace(file, exposition(figures, Format::Prometheus).as_bytes(), 0o644)
        .map_err(|error| Failure::NotDone(format!("writing {}: {error}", file.display())))?;
    failure.map_or(Ok(()), Err)
}

fn ask(context: &Context) -> Result<Figures, Failure> {
    match context.ask(&protocol::Request::Figures)? {
        protocol::Response::Figures(figures) => Ok(*figures),
        _ => Err(Failure::NotDone("the agent answered something else".to_owned())),
    }
}

fn listen(context: &Context, place: &Place, public: bool) -> Result<(), Failure> {
    if let Place::Address(address) = place
        && !address.ip().is_loopback()
        && !public
    {
        return Err(Failure::Usage(format!(
            "{address} can be reached from other hosts, and whoever reaches it can read the \
             metrics; say --public if that is meant"
        )));
    }
    let socket: Arc<Path> = context.settings.figures_socket().into();
    let failed = |error: std::io::Error| {
        let place = match place {
            Place::Address(address) => address.to_string(),
            Place::Path(path) => path.display().to_string(),
        };
        Failure::NotDone(format!("listening at {place}: {error}"))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(failed)?.block_on(serve(place, socket)).map_err(failed)
}

async fn serve(place: &Place, socket: Arc<Path>) -> std::io::Result<()> {
    match place {
        Place::Address(address) => {
            let listener = TcpListener::bind(address).await?;
            // With port 0 only the kernel knows which it is.
            output::talk(&format!("metrics are at http://{}/metrics", listener.local_addr()?));
            converse_with_all(async || Ok(listener.accept().await?.0), socket).await
        }
        Place::Path(path) => {
            if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
                fs::remove_file(path)?;
            }
            let listener = UnixListener::bind(path)?;
            output::talk(&format!("metrics are at {}, path /metrics", path.display()));
            converse_with_all(async || Ok(listener.accept().await?.0), socket).await
        }
    }
}

/// Answers the peers that `accept` gives, so many at a time, for ever.
async fn converse_with_all<S>(
    accept: impl AsyncFn() -> std::io::Result<S>,
    socket: Arc<Path>,
) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let places = Arc::new(Semaphore::new(PEERS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        match accept().await {
            Ok(stream) => {
                tokio::spawn(converse(stream, Arc::clone(&socket), place));
            }
            Err(error) => {
                // Out of descriptors, most likely: they come back as peers leave.
                output::talk(&format!("accepting: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One request of one peer; its place is free again when this ends.
async fn converse<S, P>(stream: S, socket: Arc<Path>, place: P)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answering = service_fn(move |request| {
        let socket = Arc::clone(&socket);
        async move { Ok::<_, Infallible>(answer(&request, socket).await) }
    });
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE.0)
        .keep_alive(false)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), answering);
    // A peer that breaks off or says nonsense is its own business.
    let _ = timeout(PATIENCE.1, conversation).await;
    drop(place);
}

async fn answer(request: &Request<Incoming>, socket: Arc<Path>) -> Response<Full<Bytes>> {
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "guard's metrics are at /metrics\n");
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        let allowed = hyper::header::HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = accept.map_or(Format::Prometheus, Format::accepted);
    let told = spawn_blocking(move || figures::read(&socket)).await;
    let figures = match told {
        Ok(Ok(figures)) => Some(figures),
        Ok(Err(error)) => {
            output::talk(&error.to_string());
            None
        }
        Err(error) => {
            output::talk(&error.to_string());
            None
        }
    };
    typed(StatusCode::OK, format.content_type(), exposition(figures, format))
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", text.to_owned())
}

fn typed(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_to_listen_at() {
        let place = |text: &str| text.parse::<Place>();
        let address = "[::1]:9779".parse().expect("an address");
        assert_eq!(place("[::1]:9779"), Ok(Place::Address(address)));
        assert_eq!(place("unix:/run/x"), Ok(Place::Path("/run/x".into())));
        for text in ["localhost:9779", "127.0.0.1", "unix:", ""] {
            assert!(place(text).is_err(), "{text}");
        }
    }
}
