//! Now and then, how much the kernel has dropped goes into the store's record.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::interval;

use crate::control::protocol::{Request, Response};
use crate::daemon::perform::Command;

/// How often. The kernel counts on when the agent is away; an hour's line may have what
/// belongs to the last minutes of the hour before.
const PERIOD: Duration = Duration::from_secs(300);

/// Asks and records, from the start on; never ends.
pub async fn work(commands: &mpsc::UnboundedSender<Command>) {
    let mut ticks = interval(PERIOD);
    loop {
        ticks.tick().await;
        let (to, figures) = oneshot::channel();
        let _ = commands.send(Command::Ask(Request::Figures, to));
        let Ok(Response::Figures(figures)) = figures.await else { continue };
        if let Some(drops) = figures.traffic.iter().find(|traffic| traffic.verdict == "drop") {
            let (packets, bytes) = (drops.packets, drops.bytes);
            let _ = commands.send(Command::Dropped { packets, bytes });
        }
    }
}
