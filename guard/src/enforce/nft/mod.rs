//! Bans in nftables, with the table that Fail2Ban makes:
//!
//! ```text
//! table inet f2b-table {
//!     set addr-set-sshd {
//!         type ipv4_addr
//!         elements = { 10.3.0.1 }
//!     }
//!
//!     chain f2b-chain {
//!         type filter hook input priority filter - 1; policy accept;
//!         tcp dport 22 ip saddr @addr-set-sshd reject with icmp port-unreachable
//!     }
//! }
//! ```
//!
//! Input: snapshots and deltas. Output: the table in the network namespace in which
//! the enforcer was opened, made over netlink; no program is run. The IPv4 set and
//! rule of each jail are there from the start, in configuration order; the IPv6 ones
//! come with the jail's first IPv6 ban.
//!
//! Invariant: each `apply` is one transaction, and each `replace` too: the kernel does
//! all of it or nothing. (Where the socket's send buffer cannot be raised, a large
//! batch is done in several; see `connection.rs`.)
//!
//! The layout has no time-outs and no counters: bans end when the agent ends them, and
//! hold while it is dead.
//!
//! ```text
//! plan (what to change) → batch (messages) → connection (socket) → kernel
//!   ▲                       rule, expression (what a rule is)          │
//!   └──────────────── found (what there is) ◄──────────────────────────┘
//! ```

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use rustix::io::Errno;

use crate::core::addr::Prefix;
use crate::core::delta::{Ban, Delta, JailPorts, Snapshot};
use crate::core::host::Host;
use crate::core::jail::{JailId, JailName};
use crate::core::time::Timestamp;
use crate::enforce::nft::connection::{Connection, Refusal};
use crate::enforce::nft::found::{Addresses, Found, read_addresses};
use crate::enforce::nft::plan::Desired;
use crate::enforce::nft::rule::{Family, Rule};
use crate::enforce::{Capabilities, Coverage, EnforceError, Enforcer, Held, Moment};

mod batch;
mod connection;
mod expression;
mod found;
mod message;
mod plan;
mod rule;
mod wire;

/// Fail2Ban's table, of the family `inet`.
const TABLE: &str = "f2b-table";
/// Its chain.
const CHAIN: &str = "f2b-chain";

/// How often something is tried again because others changed the kernel's rules at the
/// same time.
const ATTEMPTS: usize = 8;

/// Holds the bans in `table inet f2b-table`.
#[derive(Debug)]
pub struct Nft {
    connection: Connection,
    /// The jails of the last snapshot.
    jails: Vec<JailPorts>,
    /// Those that have an IPv6 set.
    with_v6: HashSet<JailId>,
    interfaces: Vec<String>,
}

impl Nft {
    /// Opens a socket in the calling thread's network namespace. Changes nothing.
    ///
    /// # Errors
    /// [`EnforceError::Unavailable`] without `CAP_NET_ADMIN`, or when the kernel has no
    /// nf_tables.
    pub fn open() -> Result<Self, EnforceError> {
        Ok(Self {
            connection: Connection::open()?,
            jails: Vec::new(),
            with_v6: HashSet::new(),
            interfaces: Vec::new(),
        })
    }

    /// One attempt to make the table as desired. With `rebuild` the whole table is made
    /// anew, with `sure` the kernel refuses if somebody changed its rules since they
    /// were read.
    fn make(&mut self, desired: &Desired, rebuild: bool, sure: bool) -> Result<(), Refusal> {
        let generation = self.connection.generation()?;
        let named = |name: &str| desired.sets.iter().any(|set| set.name == name);
        let (mut found, held) = read(&mut self.connection, |_, name, _| named(name))?;
        if let Some(found) = &mut found {
            found.dormant |= rebuild;
        }
        let mut batch = self.connection.batch();
        plan::fill(&mut batch, desired, found.as_ref(), &held);
        if batch.is_empty() {
            return Ok(());
        }
        self.connection.commit(&batch, sure.then_some(generation))
    }

    fn make_desired(&mut self, desired: &Desired) -> Result<(), Refusal> {
        let mut rebuild = false;
        for _ in 1..ATTEMPTS {
            match self.make(desired, rebuild, true) {
                Err(Refusal { cause: Errno::RESTART | Errno::INTR, .. }) => {}
                // Something in the table that is not ours holds what must go.
                Err(Refusal { cause: Errno::BUSY, .. }) if !rebuild => rebuild = true,
                other => return other,
            }
        }
        self.make(desired, rebuild, false)
    }

    fn jail(&self, id: JailId) -> Result<&JailPorts, EnforceError> {
        self.jails.get(id.index()).ok_or_else(|| {
            EnforceError::Unavailable(format!(
                "nft: jail number {} is not in the last snapshot of {} jails",
                id.0,
                self.jails.len()
            ))
        })
    }

    /// What is left to do when the last change of each jail and source counts.
    fn changes(&self, deltas: &[Delta], now: Timestamp) -> Result<Vec<Change>, EnforceError> {
        let mut last = HashMap::with_capacity(deltas.len());
        for delta in deltas {
            match delta {
                Delta::Ban(ban) => last.insert((ban.jail, ban.source), is_live(ban, now)),
                Delta::Unban { jail, source } => last.insert((*jail, *source), false),
            };
        }
        let mut changes: Vec<Change> = Vec::new();
        let mut places = HashMap::new();
        for delta in deltas {
            let (Delta::Ban(Ban { jail, source, .. }) | Delta::Unban { jail, source }) = delta;
            let Some(banned) = last.remove(&(*jail, *source)) else { continue };
            self.jail(*jail)?;
            let family = Family::of(source.address());
            if banned {
                single(*source)?;
            } else if !source.is_host() || family == Family::V6 && !self.with_v6.contains(jail) {
                continue;
            }
            let place = *places.entry((*jail, family)).or_insert_with(|| {
                changes.push(Change { jail: *jail, family, add: Vec::new(), remove: Vec::new() });
                changes.len() - 1
            });
            let change = &mut changes[place];
            let list = if banned { &mut change.add } else { &mut change.remove };
            list.push(source.address());
        }
        Ok(changes)
    }
}

/// What changes in one set.
#[derive(Debug)]
struct Change {
    jail: JailId,
    family: Family,
    add: Vec<IpAddr>,
    remove: Vec<IpAddr>,
}

impl Enforcer for Nft {
    fn name(&self) -> &'static str {
        "nft"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { counts_drops: false, ends_bans: false, survives_agent: true }
    }

    fn replace(&mut self, desired: &Snapshot, now: Moment) -> Result<(), EnforceError> {
        let unknown = desired.bans.iter().find(|ban| ban.jail.index() >= desired.jails.len());
        if let Some(ban) = unknown {
            return Err(EnforceError::Unavailable(format!(
                "nft: jail number {} of {} is not in the snapshot",
                ban.jail.0, ban.source
            )));
        }
        let table = Desired::of_snapshot(desired, now.wall);
        self.make_desired(&table)?;
        self.jails.clone_from(&desired.jails);
        let live = desired.bans.iter().filter(|ban| is_live(ban, now.wall));
        let is_v6 = |ban: &&Ban| !ban.source.is_ipv4() && ban.source.is_host();
        self.with_v6 = live.clone().filter(is_v6).map(|ban| ban.jail).collect();
        // The others are in force by now.
        live.map(|ban| ban.source).try_for_each(single).map(|_| ())
    }

    fn apply(&mut self, deltas: &[Delta], now: Moment) -> Result<(), EnforceError> {
        let mut batch = self.connection.batch();
        let mut new_v6 = Vec::new();
        let changes = self.changes(deltas, now.wall)?;
        for (id, family) in changes.iter().map(|change| (change.jail, change.family)) {
            let first = family == Family::V6 && !self.with_v6.contains(&id);
            if first && !new_v6.contains(&id) {
                let jail = self.jail(id)?;
                let name = jail.name.as_str();
                batch.create_set(family, &family.set_name(name));
                for rule in Rule::of_jail(name, &jail.ports, family) {
                    batch.append_rule(&rule);
                }
                new_v6.push(id);
            }
        }
        batch.join();
        for Change { jail, family, add, remove } in &changes {
            let set = family.set_name(self.jail(*jail)?.name.as_str());
            batch.add(*family, &set, add);
            batch.ensure_removed(*family, &set, remove);
        }
        if !batch.is_empty() {
            self.connection.commit(&batch, None)?;
        }
        self.with_v6.extend(new_v6);
        Ok(())
    }

    fn follow(&mut self, host: &Host) -> Result<(), EnforceError> {
        let guarded = host.interfaces.iter().filter(|interface| !interface.loopback);
        self.interfaces = guarded.map(|interface| interface.name.clone()).collect();
        Ok(())
    }

    fn held(&mut self, _now: Moment) -> Result<Vec<Held>, EnforceError> {
        let mut attempt = 1;
        let sets = loop {
            let Self { connection, jails, .. } = &mut *self;
            match read(connection, |found, set, family| is_enforced(jails, found, set, family)) {
                Err(Refusal { cause: Errno::INTR, .. }) if attempt < ATTEMPTS => attempt += 1,
                other => break other?.1,
            }
        };
        let mut held = Vec::new();
        for (set, addresses) in sets {
            let jail = Family::of_set_name(&set).and_then(|(_, jail)| JailName::new(jail).ok());
            if let Some(jail) = jail {
                held.extend(addresses.into_iter().map(|address| Held {
                    jail: jail.clone(),
                    source: Prefix::host(address),
                    dropped: None,
                }));
            }
        }
        Ok(held)
    }

    fn coverage(&self) -> Vec<Coverage> {
        let covered = |interface: &String| Coverage {
            interface: interface.clone(),
            means: "nft".to_owned(),
            reason: "the input hook sees all that comes in for this host".to_owned(),
        };
        self.interfaces.iter().map(covered).collect()
    }

    fn detach(&mut self) -> Result<(), EnforceError> {
        let mut batch = self.connection.batch();
        batch.delete_table();
        match self.connection.commit(&batch, None) {
            Err(Refusal { cause: Errno::NOENT, .. }) => {}
            other => other?,
        }
        self.with_v6.clear();
        Ok(())
    }
}

/// What the kernel holds, and the addresses in the plain sets that `wanted` names.
fn read(
    connection: &mut Connection,
    wanted: impl Fn(&Found, &str, Family) -> bool,
) -> Result<(Option<Found>, Addresses), Refusal> {
    let mut held = HashMap::new();
    let Some(found) = Found::read(connection)? else { return Ok((None, held)) };
    for set in &found.sets {
        if let Some(family) = set.plain
            && wanted(&found, &set.name, family)
            && let Some(addresses) = read_addresses(connection, &set.name)?
        {
            held.insert(set.name.clone(), addresses);
        }
    }
    Ok((Some(found), held))
}

/// Whether the kernel refuses what comes from the set's addresses: for a jail that is
/// known all its rules must be in effect, for another some rule.
fn is_enforced(jails: &[JailPorts], found: &Found, set: &str, family: Family) -> bool {
    let Some((named, jail)) = Family::of_set_name(set) else { return false };
    if named != family {
        return false;
    }
    match jails.iter().find(|known| known.name.as_str() == jail) {
        Some(known) => Rule::of_jail(jail, &known.ports, family)
            .iter()
            .all(|rule| found.effective().any(|effective| effective == rule)),
        None => found.effective().any(|rule| rule.set == set && rule.family == family),
    }
}

fn is_live(ban: &Ban, now: Timestamp) -> bool {
    ban.until.is_none_or(|until| until > now)
}

/// A hash set holds addresses, not prefixes.
fn single(source: Prefix) -> Result<(), EnforceError> {
    if source.is_host() {
        return Ok(());
    }
    Err(EnforceError::Unavailable(format!(
        "nft: {source} is a prefix: this backend bans single addresses (use backend xdp)"
    )))
}
