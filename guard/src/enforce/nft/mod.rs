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
//! come with the jail's first IPv6 ban, and with its first ban of a prefix a set of
//! ranges, `net-set-JAIL` or `net6-set-JAIL`, with the same rules.
//!
//! Invariant: each `apply` is one transaction, and each `replace` too: the kernel does
//! all of it or nothing. (Where the socket's send buffer cannot be raised, a large
//! batch is done in several; see `connection.rs`.)
//!
//! The layout has no time-outs and no counters: bans end when the agent ends them. While
//! it is dead they hold until `guardctl expire` removes what is due ([`Nft::expire`]).
//!
//! ```text
//! plan (what to change) → batch (messages) → connection (socket) → kernel
//!   ▲                       rule, expression (what a rule is)          │
//!   └──────────────── found (what there is) ◄──────────────────────────┘
//! ```

use std::collections::{HashMap, HashSet};

use rustix::io::Errno;

use crate::core::addr::Prefix;
use crate::core::delta::{Delta, JailPorts, Snapshot};
use crate::core::host::Host;
use crate::core::jail::{JailId, JailName};
use crate::enforce::nft::changes::{Change, Changes};
use crate::enforce::nft::connection::{Connection, Refusal};
use crate::enforce::nft::found::{Found, Sources, read_sources};
use crate::enforce::nft::nets::{Allowed, Nets};
use crate::enforce::nft::plan::Desired;
use crate::enforce::nft::plan::is_live;
use crate::enforce::nft::rule::{Family, Rule};
use crate::enforce::nft::watch::Watch;
use crate::enforce::{Capabilities, Coverage, EnforceError, Enforcer, Held, Moment, Noticed};

mod batch;
mod changes;
mod connection;
pub mod expire;
mod expression;
mod found;
#[cfg(fuzzing)]
pub mod fuzzing;
mod message;
pub mod nat;
mod nets;
mod plan;
mod rule;
mod watch;
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
    /// The sets that come with the first ban and are there.
    present: HashSet<(JailId, Family)>,
    /// The banned prefixes, which the elements of the sets cover.
    nets: HashMap<(JailId, Family), Nets>,
    /// Who is let through inside of them.
    allowed: Allowed,
    interfaces: Vec<String>,
    watch: Watch,
    /// What was read last, for as long as the kernel's rules are of that generation.
    read: Option<Read>,
    /// The kernel's rules are of this generation unless others changed them.
    alone_since: Option<u32>,
    /// Messages that the last replacement took.
    replaced: usize,
}

/// The table as it was in one generation of the kernel's rules.
#[derive(Debug)]
struct Read {
    generation: u32,
    found: Option<Found>,
    sources: Sources,
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
            watch: Watch::open()?,
            read: None,
            alone_since: None,
            replaced: 0,
            jails: Vec::new(),
            present: HashSet::new(),
            nets: HashMap::new(),
            allowed: Allowed::new(),
            interfaces: Vec::new(),
        })
    }

    /// One attempt to make the table as desired. With `rebuild` the whole table is made
    /// anew, with `sure` the kernel refuses if somebody changed its rules since they
    /// were read.
    fn make(&mut self, desired: &Desired, rebuild: bool, sure: bool) -> Result<(), Refusal> {
        let mut read = self.read()?;
        let mut batch = self.connection.batch();
        if let Some(found) = &mut read.found {
            found.dormant |= rebuild;
        }
        plan::fill(&mut batch, desired, read.found.as_ref(), &read.sources);
        self.replaced = batch.messages();
        let generation = read.generation;
        if batch.is_empty() {
            self.read = Some(read);
            self.alone_since = Some(generation);
            return Ok(());
        }
        self.connection.commit(&batch, sure.then_some(generation))?;
        self.alone_since = sure.then(|| generation.wrapping_add(1));
        Ok(())
    }

    /// What the kernel holds. The kernel reads a set out in pieces, and goes over all that
    /// came before for each of them: what was read stays true for as long as nobody, of
    /// whom the kernel knows, changed any rule.
    fn read(&mut self) -> Result<Read, Refusal> {
        let generation = self.connection.generation()?;
        if let Some(read) = self.read.take_if(|read| read.generation == generation) {
            return Ok(read);
        }
        let ours = |name: &str| Family::of_set_name(name).is_some();
        let (found, sources) = read(&mut self.connection, ours)?;
        // Each dump told by itself whether it was interrupted; together they may be.
        if self.connection.generation()? != generation {
            return Err(Refusal::interrupted("read table f2b-table"));
        }
        Ok(Read { generation, found, sources })
    }

    /// Keeps what was read true over a transaction of our own, if that can be: no other
    /// came in between, and it made nothing `new` but elements.
    fn keep_read(&mut self, changes: &Changes, before: u32, new: bool) -> Result<(), Refusal> {
        let after = self.connection.generation()?;
        let ours = after == before.wrapping_add(1);
        self.alone_since = self.alone_since.filter(|since| ours && *since == before).map(|_| after);
        let Some(mut read) = self.read.take_if(|read| read.generation == before) else {
            return Ok(());
        };
        if !ours || new {
            return Ok(());
        }
        for change in &changes.sets {
            let Some(jail) = self.jails.get(change.jail.index()) else { return Ok(()) };
            let name = change.family.set_name(jail.name.as_str());
            let Some(sources) = read.sources.get_mut(&name) else { return Ok(()) };
            for gone in &change.remove {
                sources.remove(gone);
            }
            sources.extend(&change.add);
        }
        read.generation = after;
        self.read = Some(read);
        Ok(())
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

    /// The bans that a set of ranges with these elements holds.
    fn held_nets(&self, name: &str, family: Family, elements: &HashSet<Prefix>) -> Vec<Prefix> {
        let id = self.jails.iter().position(|jail| jail.name.as_str() == name);
        let id = id.and_then(|index| u16::try_from(index).ok()).map(JailId);
        match id.and_then(|id| self.nets.get(&(id, family))) {
            Some(known) => known.held(elements, &self.allowed),
            None => elements.iter().copied().collect(),
        }
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
        self.present.clear();
        self.nets.clear();
        self.allowed = desired.allowed.iter().copied().collect();
        for ban in desired.bans.iter().filter(|ban| is_live(ban, now.wall)) {
            let set = (ban.jail, Family::of(ban.source));
            self.present.insert(set);
            if !ban.source.is_host() {
                self.nets.entry(set).or_default().note(ban.source);
            }
        }
        Ok(())
    }

    fn apply(&mut self, deltas: &[Delta], now: Moment) -> Result<(), EnforceError> {
        let mut batch = self.connection.batch();
        let mut new = Vec::new();
        let changes = self.changes(deltas, now.wall)?;
        for set @ (id, family) in changes.sets.iter().map(|change| (change.jail, change.family)) {
            if family != Family::V4 && !self.present.contains(&set) {
                let jail = self.jail(id)?;
                let name = jail.name.as_str();
                batch.create_set(family, &family.set_name(name));
                for rule in Rule::of_jail(name, &jail.ports, family) {
                    batch.append_rule(&rule);
                }
                new.push(set);
            }
        }
        batch.join();
        for Change { jail, family, add, remove } in &changes.sets {
            let set = family.set_name(self.jail(*jail)?.name.as_str());
            if family.is_nets() {
                batch.exchange(*family, &set, remove, add);
            } else {
                batch.add(*family, &set, add);
                batch.ensure_removed(*family, &set, remove);
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        let before = self.connection.generation()?;
        if let Err(refusal) = self.connection.commit(&batch, None) {
            self.forget(changes);
            return Err(refusal.into());
        }
        self.keep_read(&changes, before, !new.is_empty())?;
        self.present.extend(new);
        Ok(())
    }

    fn follow(&mut self, host: &Host) -> Result<(), EnforceError> {
        let guarded = host.interfaces.iter().filter(|interface| !interface.loopback);
        self.interfaces = guarded.map(|interface| interface.name.clone()).collect();
        Ok(())
    }

    fn held(&mut self, _now: Moment) -> Result<Vec<Held>, EnforceError> {
        let mut attempt = 1;
        let read = loop {
            match self.read() {
                Err(Refusal { cause: Errno::INTR, .. }) if attempt < ATTEMPTS => attempt += 1,
                other => break other?,
            }
        };
        let mut held = Vec::new();
        for (set, sources) in &read.sources {
            let Some((family, name)) = Family::of_set_name(set) else { continue };
            let Ok(jail) = JailName::new(name) else { continue };
            let enforced = |found| is_enforced(&self.jails, found, set, family);
            if !read.found.as_ref().is_some_and(enforced) {
                continue;
            }
            let one = |source: &Prefix| Held { jail: jail.clone(), source: *source, dropped: None };
            match family.is_nets() {
                true => held.extend(self.held_nets(name, family, sources).iter().map(one)),
                false => held.extend(sources.iter().map(one)),
            }
        }
        self.read = Some(read);
        Ok(held)
    }

    fn inspect(&mut self) -> Result<Noticed, EnforceError> {
        let (connection, alone) = (&mut self.connection, self.alone_since);
        let port = connection.port();
        let broken = self.watch.look(port, || Ok(Some(connection.generation()?) == alone))?;
        Ok(Noticed { broken, ..Noticed::default() })
    }

    fn replaced(&self) -> usize {
        self.replaced
    }

    fn coverage(&self) -> Vec<Coverage> {
        let covered = |interface: &String| Coverage {
            interface: interface.clone(),
            means: "nft".to_owned(),
            reason: "the input hook sees all that comes in for this host".to_owned(),
            dropped: None,
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
        self.present.clear();
        self.nets.clear();
        Ok(())
    }
}

/// What the kernel holds, and the sources in the plain sets that `wanted` names.
fn read(
    connection: &mut Connection,
    wanted: impl Fn(&str) -> bool,
) -> Result<(Option<Found>, Sources), Refusal> {
    let mut held = HashMap::new();
    let Some(found) = Found::read(connection)? else { return Ok((None, held)) };
    for set in &found.sets {
        if let Some(family) = set.plain
            && wanted(&set.name)
            && let Some(sources) = read_sources(connection, &set.name, family)?
        {
            held.insert(set.name.clone(), sources);
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
