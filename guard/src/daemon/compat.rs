//! Fail2Ban's socket beside the control socket.

use crate::compat::server;
use crate::config::agent::Settings;
use crate::control::protocol::{Request, Response};
use crate::control::server::{Bounds, Server};

/// The socket for Fail2Ban's clients, if there is to be one. Without it guard does all
/// that it is for, so it does not keep the agent from starting.
pub(super) fn bind(settings: &Settings) -> Option<Server> {
    let path = settings.fail2ban_socket.as_ref()?;
    match Server::bind(path, Bounds::default()) {
        Ok(server) => Some(server),
        Err(error) => {
            tracing::error!(target: "fail2ban.server",
                "{error}; Fail2Ban's clients are not answered");
            None
        }
    }
}

/// Answers Fail2Ban's clients until the future is dropped.
pub(super) async fn serve<A, F>(server: Option<&Server>, ask: A)
where
    A: Fn(Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    match server {
        Some(server) => server::serve(server, Bounds::default(), ask).await,
        None => std::future::pending().await,
    }
}
