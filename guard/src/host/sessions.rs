//! Where administrators are logged in from, as systemd-logind knows it.
//!
//! Input: logind's open sessions. Output: addresses of the far end of those of sshd whose
//! user is root or in one of the groups of [`GROUPS`]. Invariant: a session of anybody else
//! counts for nothing, nor does one that is over though programs of it go on; so only who
//! may change the bans anyway keeps an address from being banned. Hosts without logind have
//! no such sessions.

use std::fs;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use systemd::login;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::accounts::Accounts;

/// Who administers guard, and who administers the host.
const GROUPS: [&str; 2] = ["guard", "sudo"];

/// Where logind keeps a file for each session. (Its format is logind's own: what its
/// library tells is asked there, and a file that says nothing changes nothing.)
const DIRECTORY: &str = "/run/systemd/sessions";

/// Where that comes into being, which may be later than guard starts.
const ABOVE: &str = "/run/systemd";

/// Notice of sessions that begin and end.
#[derive(Debug)]
pub(super) struct SessionWatch {
    /// None if the kernel has no more such notices to give; then sessions are looked for as
    /// often as everything else.
    notices: Option<AsyncFd<OwnedFd>>,
}

impl SessionWatch {
    pub(super) fn open() -> Self {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok();
        #[expect(deprecated, reason = "what comes instead is unsafe; an owned descriptor is sound")]
        let register = |fd| AsyncFd::with_interest(fd, Interest::READABLE).ok();
        let watch = Self { notices: inotify.and_then(register) };
        watch.listen();
        watch
    }

    /// Listens where sessions are, or will be. Doing so again does no harm.
    fn listen(&self) {
        let Some(notices) = &self.notices else { return };
        let changes = WatchFlags::MOVED_TO | WatchFlags::DELETE;
        if inotify::add_watch(notices, DIRECTORY, changes).is_err() {
            // Neither is there on hosts without systemd.
            let _ = inotify::add_watch(notices, ABOVE, WatchFlags::CREATE);
            // It may have come in between.
            let _ = inotify::add_watch(notices, DIRECTORY, changes);
        }
    }

    /// Waits until a session began or ended. Safe to cancel.
    pub(super) async fn changed(&self) {
        let Some(notices) = &self.notices else { return std::future::pending().await };
        let Ok(mut ready) = notices.readable().await else {
            return std::future::pending().await;
        };
        let mut events = [0; 4096];
        while rustix::io::read(notices, &mut events).is_ok_and(|length| length > 0) {}
        ready.clear_ready();
        self.listen();
    }
}

/// Addresses from which administrators are logged in now, sorted.
pub(super) fn administrators() -> Vec<IpAddr> {
    // Without logind there is no directory of sessions.
    let Ok(sessions) = login::get_sessions() else { return Vec::new() };
    if sessions.is_empty() {
        return Vec::new();
    }
    let Ok(accounts) = Accounts::read() else { return Vec::new() };
    let mut addresses: Vec<IpAddr> = sessions
        .iter()
        .filter_map(|session| {
            let user = login::get_session_uid(session.as_str()).ok()?;
            let host = login::get_session_remote_host(session.as_str()).ok()??;
            // One that ended since has no file.
            let kept = fs::read_to_string(Path::new(DIRECTORY).join(session)).ok()?;
            (administers(user, &accounts) && is_open_login(&kept)).then(|| address(&host))?
        })
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

fn administers(user: u32, accounts: &Accounts) -> bool {
    user == 0 || GROUPS.iter().any(|group| accounts.members(group).contains(&user))
}

/// Whether logind's file of a session says neither that it is closing nor that somebody
/// else than sshd opened it.
fn is_open_login(kept: &str) -> bool {
    let says = |key: &str| kept.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    says("STATE") != Some("closing") && says("SERVICE").is_none_or(|service| service == "sshd")
}

/// The address in what sshd told PAM: with `UseDNS` that is a name, which proves nothing.
fn address(host: &str) -> Option<IpAddr> {
    let (host, _zone) = host.split_once('%').unwrap_or((host, ""));
    host.parse().ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_administrators_count() {
        let accounts = Accounts::of(
            "root:x:0:0::/:/bin/sh\nann:x:1000:1000::/:/bin/sh\nbob:x:1001:1001::/:/bin/sh\neve:x:1002:1002::/:/bin/sh\n",
            "sudo:x:27:ann\nguard:x:990:bob\n",
        );
        let counts = [0, 1000, 1001, 1002, 4711].map(|user| administers(user, &accounts));
        assert_eq!(counts, [true, true, true, false, false]);
    }

    #[test]
    fn what_is_over_or_not_of_sshd_does_not_count() {
        for (kept, open) in [
            ("UID=0\nSTATE=active\nSERVICE=sshd\n", true),
            ("UID=0\nSTATE=online\nSERVICE=sshd\n", true),
            ("UID=0\nSTATE=closing\nSERVICE=sshd\n", false),
            ("UID=0\nSTATE=active\nSERVICE=login\n", false),
            ("", true),
        ] {
            assert_eq!(is_open_login(kept), open, "{kept}");
        }
    }

    #[test]
    fn names_are_no_addresses() {
        let told = ["192.0.2.1", "fe80::1%eth0", "::ffff:192.0.2.1", "host.example", ""];
        let addresses = told.map(address);
        let [v4, v6] = ["192.0.2.1", "fe80::1"].map(|text| text.parse().ok());
        assert_eq!(addresses, [v4, v6, v4, None, None]);
    }
}
