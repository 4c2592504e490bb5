//! Bans, handed over to Fail2Ban.
//!
//! Input: the bans that guard holds, from the agent or, where that is dead, from the store.
//! Output: Fail2Ban bans the same addresses; what it cannot ban is returned. Fail2Ban knows
//! addresses alone: of a network that an address was counted with, it gets that address.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::units::{FAIL2BAN, GUARD, is};
use crate::cli::{Failure, output};
use crate::compat::client::Client;
use crate::compat::value::Value;
use crate::config::agent::Settings;
use crate::control::client;
use crate::control::protocol::{BanRow, Request, Response};
use crate::core::addr::Prefix;
use crate::core::jail::JailName;
use crate::core::reason::Reason;
use crate::core::time::Timestamp;
use crate::daemon::run;
use crate::enforce::nft::expire::Lasting;
use crate::store::{Store, StoreError};

/// How long bans may take to be in the kernel, and Fail2Ban to be there.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
pub(super) const INTERVAL: Duration = Duration::from_millis(50);
/// Addresses in one command to Fail2Ban.
const AT_ONCE: usize = 500;

/// A ban that guard holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ours {
    jail: JailName,
    source: Prefix,
    reason: Reason,
}

impl Ours {
    /// In which jail.
    pub(super) fn jail(&self) -> &JailName {
        &self.jail
    }

    /// Whom Fail2Ban is to ban for it.
    fn address(&self) -> Option<Prefix> {
        match self.reason {
            _ if self.source.is_host() => Some(self.source),
            Reason::Failures { last, .. } => last.filter(Prefix::is_host),
            Reason::Manual { .. } => None,
        }
    }

    /// As what is to be lifted.
    fn over(&self) -> Lasting {
        let until = Some(Timestamp::from_micros(0));
        Lasting { jail: self.jail.clone(), source: self.source, until }
    }
}

/// What guard holds, whether or not its agent runs.
pub(super) fn held(settings: &Settings) -> Result<Vec<Ours>, Failure> {
    if is("is-active", GUARD) {
        match bans(&settings.socket) {
            Ok(bans) => {
                let ours = |BanRow { jail, address, reason, .. }| {
                    let source = address;
                    Ours { jail, source, reason }
                };
                return Ok(bans.into_iter().map(ours).collect());
            }
            Err(failure) => {
                output::talk(&format!("warning: {failure}; the bans are those that are stored"));
            }
        }
    }
    let not_done = |error: StoreError| Failure::NotDone(error.to_string());
    let mut store = match Store::open_existing(&settings.store()) {
        Err(StoreError::Missing { .. }) => return Ok(Vec::new()),
        other => other.map_err(not_done)?,
    };
    let now = run::now().wall;
    let stored = store.bans().map_err(not_done)?.into_iter();
    let lasting = stored.filter(|ban| ban.until.is_none_or(|until| until > now));
    let ours = lasting.map(|ban| Ours { jail: ban.jail, source: ban.source, reason: ban.reason });
    Ok(ours.collect())
}

pub(super) fn bans(socket: &Path) -> Result<Vec<BanRow>, Failure> {
    match client::ask(socket, &Request::Bans)? {
        Response::Bans { bans, .. } => Ok(bans),
        _ => Err(Failure::NotDone("the agent does not tell its bans".to_owned())),
    }
}

/// Has Fail2Ban ban whom guard bans, once it is there; what it does not ban as guard does.
pub(super) fn hand_over(socket: &Path, ours: &[Ours]) -> Result<Vec<Lasting>, Failure> {
    let mut jails: BTreeMap<&JailName, Vec<&Ours>> = BTreeMap::new();
    for ban in ours {
        jails.entry(&ban.jail).or_default().push(ban);
    }
    let mut left = Vec::new();
    let mut server = connected(socket)?;
    for (jail, bans) in jails {
        let words = |all: &[&str]| all.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        if let Err(problem) = told(&mut server, &words(&["status", jail.as_str()])) {
            let count = bans.len();
            output::talk(&format!("warning: {count} bans of {jail} are dropped: {problem}"));
            left.extend(bans.iter().map(|ban| ban.over()));
            continue;
        }
        let mut addresses = Vec::new();
        for ban in bans {
            match ban.address() {
                Some(address) => addresses.push(address),
                None => output::talk(&format!(
                    "warning: {} in {jail}: Fail2Ban bans no networks",
                    ban.source
                )),
            }
            if !ban.source.is_host() {
                left.push(ban.over());
            }
        }
        addresses.sort_unstable();
        addresses.dedup();
        for some in addresses.chunks(AT_ONCE) {
            let mut command = words(&["set", jail.as_str(), "banip"]);
            command.extend(some.iter().map(ToString::to_string));
            if let Err(problem) = told(&mut server, &command) {
                output::talk(&format!("warning: jail {jail}: {problem}"));
            }
        }
    }
    Ok(left)
}

/// Fail2Ban, once it has all of its jails.
fn connected(socket: &Path) -> Result<Client, Failure> {
    let start = Instant::now();
    loop {
        let ready = Client::connect(socket, Some(PATIENCE)).ok().and_then(|mut client| {
            told(&mut client, &["server-status".to_owned()]).ok()?;
            // Its client sends the configuration after the socket is there.
            let status = told(&mut client, &["status".to_owned()]).ok()?;
            let count = status.items()?.first()?.items()?.get(1)?.clone();
            (count != Value::Number(0)).then_some(client)
        });
        if let Some(client) = ready {
            return Ok(client);
        }
        let problem = match (is("is-active", FAIL2BAN), start.elapsed() > PATIENCE) {
            (false, _) => "Fail2Ban has ended".to_owned(),
            (true, true) => format!("Fail2Ban does not answer at {}", socket.display()),
            (true, false) => {
                sleep(INTERVAL);
                continue;
            }
        };
        return Err(Failure::NotDone(format!("{problem}; see journalctl --unit={FAIL2BAN}")));
    }
}

pub(super) fn told(server: &mut Client, words: &[String]) -> Result<Value, String> {
    let request = Value::texts(words.iter().map(String::as_str));
    let answer = server.ask(&request).map_err(|error| error.to_string())?;
    answer.map_err(|fault| fault.argument.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::Span;

    #[test]
    fn of_a_network_the_address_that_failed_is_handed_over() {
        let address = |source: &str, reason| {
            let source = source.parse().expect("a prefix");
            let jail = JailName::new("sshd").expect("a name");
            Ours { jail, source, reason }.address().map(|address| address.to_string())
        };
        let failed = |last: Option<&str>| {
            let last = last.map(|last| last.parse().expect("an address"));
            Reason::Failures { count: 3, within: Span::ZERO, last }
        };
        let by_hand = Reason::Manual { forced: false };
        let network = "2001:db8:0:1::/64";
        assert_eq!(address("192.0.2.1", failed(None)).as_deref(), Some("192.0.2.1"));
        assert_eq!(address("192.0.2.1", by_hand).as_deref(), Some("192.0.2.1"));
        let last = "2001:db8:0:1::7";
        assert_eq!(address(network, failed(Some(last))).as_deref(), Some(last));
        assert_eq!(address(network, failed(None)), None);
        assert_eq!(address(network, by_hand), None);
    }
}
