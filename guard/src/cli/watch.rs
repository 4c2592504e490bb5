//! `guardctl watch`: what happens, as it happens; `--drops`: packets that are dropped, too.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use crate::cli::{Context, Failure, events, layout, output};
use crate::control::client::{self, Watching};
use crate::control::event::Event;
use crate::control::protocol::{Request, Response};
use crate::core::addr::Prefix;
use crate::core::jail::JailName;
use crate::core::time::{Span, Timestamp};
use crate::daemon::run;
use crate::enforce::xdp::{DroppedPacket, Drops};

/// How long is waited before the kernel is told to go on, and told of what was missed.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    guardctl watch --drops\n  \
    guardctl watch --drops --count 10\n  \
    guardctl --json watch --drops | jq -r .source\n\n\
    A line that begins with spaces goes on with the one before.")]
pub(super) struct Arguments {
    /// Show packets that are dropped in XDP or tcx, too; works without the agent. (nft tells
    /// nothing of single packets.)
    #[arg(long)]
    drops: bool,
    /// With --drops: at most so many packets a second on each CPU; the kernel leaves out the
    /// others.
    #[arg(long, value_name = "PACKETS", default_value_t = 100)]
    rate: u64,
    /// End after so many events, or with --drops after so many packets.
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
}

/// A packet as `--json` prints it.
#[derive(serde::Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row<'a> {
    event: &'static str,
    time: Timestamp,
    interface: &'a str,
    source: String,
    destination: String,
    protocol: &'a str,
    port: Option<u16>,
    bytes: u32,
    /// The jails that ban the source; empty where the agent does not tell.
    jails: Vec<&'a str>,
}

pub(super) fn watch(context: &Context, arguments: &Arguments) -> Result<(), Failure> {
    let socket = &context.settings.socket;
    if arguments.drops {
        return watch_drops(context, arguments);
    }
    let mut watching = client::watch(socket)?;
    let mut shown = 0;
    while arguments.count != Some(shown) {
        let Some(event) = watching.next_event()? else {
            return Err(Failure::NotDone("the agent has ended".to_owned()));
        };
        tell(context.json, &event)?;
        shown += 1;
    }
    Ok(())
}

fn tell(json: bool, event: &Event) -> Result<(), Failure> {
    if !json {
        let line = layout::streamed(&events::line(event), layout::columns());
        return output::print(&format!("{line}\n"));
    }
    let line = serde_json::to_string(event).map_err(|e| Failure::NotDone(e.to_string()))?;
    output::print(&format!("{line}\n"))
}

/// Tells events beside the packets, as long as there are any.
fn tell_beside(json: bool, mut watching: Watching) {
    thread::spawn(move || {
        while let Ok(Some(event)) = watching.next_event() {
            if tell(json, &event).is_err() {
                return;
            }
        }
    });
}

fn watch_drops(context: &Context, arguments: &Arguments) -> Result<(), Failure> {
    let broken = |error: crate::enforce::EnforceError| Failure::NotDone(error.to_string());
    let directory = &context.settings.bpf_directory;
    let mut drops = Drops::watch(directory, arguments.rate).map_err(broken)?;
    // Without the agent packets are dropped all the same.
    if let Ok(watching) = client::watch(&context.settings.socket) {
        tell_beside(context.json, watching);
    }
    let mut bans = Bans::default();
    let (mut shown, mut missed) = (0, 0);
    loop {
        for packet in drops.next(PATIENCE).map_err(broken)? {
            bans.know(context, &packet);
            print(context, &packet, &bans)?;
            shown += 1;
            if arguments.count == Some(shown) {
                return Ok(());
            }
        }
        let now = drops.missed().map_err(broken)?;
        if now > missed {
            output::talk(&format!("{} more were not shown (--rate)", now - missed));
            missed = now;
        }
    }
}

fn print(context: &Context, packet: &DroppedPacket, bans: &Bans) -> Result<(), Failure> {
    let now = run::now();
    let ago = now.boot_nanos.saturating_sub(packet.boot_nanos) / 1000;
    let time = now.wall - Span::from_micros(i64::try_from(ago).unwrap_or(0));
    let row = Row {
        event: "dropped",
        time,
        interface: &packet.interface,
        source: packet.source.to_string(),
        destination: packet.destination.to_string(),
        protocol: packet.protocol,
        port: packet.port,
        bytes: packet.bytes,
        jails: bans.of(packet),
    };
    if context.json {
        let line = serde_json::to_string(&row).map_err(|e| Failure::NotDone(e.to_string()))?;
        return output::print(&format!("{line}\n"));
    }
    output::print(&format!("{}\n", layout::streamed(&in_words(&row), layout::columns())))
}

/// A packet in one line.
fn in_words(row: &Row<'_>) -> String {
    let port = row.port.map(|port| format!("/{port}")).unwrap_or_default();
    format!(
        "{} dropped   {} {} > {} {}{port} {} B [{}]",
        layout::live(row.time),
        row.interface,
        row.source,
        row.destination,
        row.protocol,
        row.bytes,
        row.jails.join(" ")
    )
}

/// Who is banned by which jail, as the agent told last.
#[derive(Debug, Default)]
struct Bans {
    known: Vec<(JailName, Prefix)>,
    asked: Option<Instant>,
}

impl Bans {
    /// Asks the agent when it has not told yet who the sender is; not too often.
    fn know(&mut self, context: &Context, packet: &DroppedPacket) {
        let lately = self.asked.is_some_and(|asked| asked.elapsed() < PATIENCE);
        if lately || !self.of(packet).is_empty() {
            return;
        }
        self.asked = Some(Instant::now());
        // Without the agent it is not known; the packet is shown all the same.
        if let Ok(Response::Bans { bans, .. }) = context.ask(&Request::Bans) {
            self.known = bans.into_iter().map(|row| (row.jail, row.address)).collect();
        }
    }

    fn of(&self, packet: &DroppedPacket) -> Vec<&str> {
        let source = Prefix::from(packet.source);
        let its = self.known.iter().filter(|(_, banned)| banned.contains(&source));
        let jails: BTreeSet<&str> = its.map(|(jail, _)| jail.as_str()).collect();
        jails.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_have_a_line_each_unless_their_addresses_are_long() {
        let row = |source: &str, destination: &str| {
            let row = Row {
                event: "dropped",
                time: Timestamp::from_seconds(0),
                interface: "eno1",
                source: source.to_owned(),
                destination: destination.to_owned(),
                protocol: "tcp",
                port: Some(22),
                bytes: 74,
                jails: vec!["sshd"],
            };
            layout::streamed(&in_words(&row), layout::USUAL)
        };
        let short = row("192.0.2.123", "198.51.100.20");
        assert!(short.ends_with(" dropped   eno1 192.0.2.123 > 198.51.100.20 tcp/22 74 B [sshd]"));
        assert_eq!(short.lines().count(), 1, "{short}");
        let address = "2001:db8:1111:2222:3333:4444:5555:6666";
        let long = row(address, address);
        assert!(long.lines().count() == 2 && long.contains("\n    2001:db8:"), "{long}");
        assert!(long.lines().all(|line| line.len() <= 80 && !line.ends_with(' ')), "{long}");
    }
}
