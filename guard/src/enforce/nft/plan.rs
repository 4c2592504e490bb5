//! From what the kernel holds to what it shall hold, as one transaction.
//!
//! Input: the [`Desired`] table, what was [`Found`], and the sources in the sets that
//! may stay. Output: a filled [`Batch`]. Pure: nothing here talks to the kernel.
//!
//! What is as it shall be is not touched, so that no packet meets a set while it is
//! being replaced. Chains and sets of other names in the table are left alone; the
//! rules of `f2b-chain` and the sets named after jails are ours.

use std::collections::{HashMap, HashSet};

use crate::core::addr::Prefix;
use crate::core::delta::{Ban, JailPorts, Snapshot};
use crate::core::time::Timestamp;
use crate::enforce::nft::batch::Batch;
use crate::enforce::nft::found::{Found, FoundChain, Sources};
use crate::enforce::nft::nets::{Allowed, Nets};
use crate::enforce::nft::rule::{Family, Rule};

/// The table as it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Desired {
    /// Sets in the order in which they are made: of each jail for IPv4, then for IPv6 and
    /// for prefixes of the jails with such bans.
    pub(super) sets: Vec<DesiredSet>,
}

/// A jail's set of one family, and its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DesiredSet {
    pub(super) family: Family,
    pub(super) name: String,
    pub(super) rules: Vec<Rule>,
    pub(super) sources: HashSet<Prefix>,
}

impl DesiredSet {
    fn of_jail(jail: &JailPorts, family: Family, sources: HashSet<Prefix>) -> Self {
        let name = jail.name.as_str();
        Self {
            family,
            name: family.set_name(name),
            rules: Rule::of_jail(name, &jail.ports, family),
            sources,
        }
    }
}

impl Desired {
    /// The table that holds what a snapshot bans at `now`.
    pub(super) fn of_snapshot(snapshot: &Snapshot, now: Timestamp) -> Self {
        let mut sources: HashMap<(usize, Family), HashSet<Prefix>> = HashMap::new();
        for ban in &snapshot.bans {
            if is_live(ban, now) {
                let set = (ban.jail.index(), Family::of(ban.source));
                sources.entry(set).or_default().insert(ban.source);
            }
        }
        let allowed: Allowed = snapshot.allowed.iter().copied().collect();
        let mut sets = Vec::new();
        for family in Family::ALL {
            for (index, jail) in snapshot.jails.iter().enumerate() {
                let held = match sources.remove(&(index, family)) {
                    Some(held) if family.is_nets() => {
                        Nets::from_iter(held).elements(&allowed).into_iter().collect()
                    }
                    Some(held) => held,
                    None if family == Family::V4 => HashSet::new(),
                    None => continue,
                };
                sets.push(DesiredSet::of_jail(jail, family, held));
            }
        }
        Self { sets }
    }

    fn set(&self, name: &str) -> Option<&DesiredSet> {
        self.sets.iter().find(|set| set.name == name)
    }
}

/// Whether a ban has not ended at a time.
pub(super) fn is_live(ban: &Ban, now: Timestamp) -> bool {
    ban.until.is_none_or(|until| until > now)
}

/// Fills `batch` with what makes the table as desired. `held` has the sources of the
/// plain sets that were found; a set that is not in it is made anew.
pub(super) fn fill(batch: &mut Batch, desired: &Desired, found: Option<&Found>, held: &Sources) {
    let kept = found.filter(|found| !found.dormant);
    if found.is_some() && kept.is_none() {
        batch.delete_table();
    }
    if kept.is_none() {
        batch.create_table();
    }
    let stays = kept.filter(|found| sets_stay(desired, found, held));
    let order = order(desired, stays);
    let rules: Vec<&Rule> = order.iter().flat_map(|set| &set.rules).collect();
    let rules_kept = stays.and_then(|found| kept_rules(found, &rules));

    if let Some(found) = kept {
        if rules_kept.is_none() && found.chain != FoundChain::Absent {
            batch.delete_rules();
        }
        for set in &found.sets {
            let ours = Family::of_set_name(&set.name).is_some();
            if ours && (stays.is_none() || desired.set(&set.name).is_none()) {
                batch.delete_set(&set.name);
            }
        }
        if found.chain == FoundChain::Foreign {
            batch.delete_chain();
        }
    }
    if kept.is_none_or(|found| found.chain != FoundChain::Ours) {
        batch.create_chain();
    }
    let in_kernel = |set: &DesiredSet| held.get(&set.name).filter(|_| stays.is_some());
    for set in order.iter().filter(|set| in_kernel(set).is_none()) {
        batch.create_set(set.family, &set.name);
    }
    for rule in &rules[rules_kept.unwrap_or(0)..] {
        batch.append_rule(rule);
    }
    batch.join();

    let none = HashSet::new();
    let differences: Vec<_> = order
        .iter()
        .map(|set| {
            let held = in_kernel(set).unwrap_or(&none);
            let mut missing: Vec<Prefix> = set.sources.difference(held).copied().collect();
            // Ranges are made in order, as `nft` does.
            if set.family.is_nets() {
                missing.sort_unstable();
            }
            let surplus: Vec<Prefix> = held.difference(&set.sources).copied().collect();
            (set, missing, surplus)
        })
        .collect();
    for (set, missing, surplus) in &differences {
        if set.family.is_nets() {
            batch.exchange(set.family, &set.name, surplus, missing);
        } else {
            batch.add(set.family, &set.name, missing);
        }
    }
    for (set, _, surplus) in &differences {
        if !set.family.is_nets() {
            batch.remove(set.family, &set.name, surplus);
        }
    }
}

/// Whether the sets that are there can stay: those of the desired names are plain, and
/// with new ones after them the IPv4 sets come in configuration order.
fn sets_stay(desired: &Desired, found: &Found, held: &Sources) -> bool {
    let wanted = |family| desired.sets.iter().filter(move |set| set.family == family);
    let mut names = wanted(Family::V4).map(|set| set.name.as_str());
    found.sets.iter().all(|set| match desired.set(&set.name) {
        None => true,
        Some(wanted) => {
            set.plain == Some(wanted.family)
                && held.contains_key(&set.name)
                && (wanted.family != Family::V4 || names.next() == Some(&set.name))
        }
    })
}

/// The desired sets in the order in which they will be listed: IPv4 in configuration
/// order, then IPv6 and prefixes, those that stay first.
fn order<'d>(desired: &'d Desired, stays: Option<&Found>) -> Vec<&'d DesiredSet> {
    let place = |set: &DesiredSet| {
        let found = stays.into_iter().flat_map(|found| &found.sets);
        found.map(|found| &found.name).position(|name| *name == set.name).unwrap_or(usize::MAX)
    };
    let mut order: Vec<_> = desired.sets.iter().collect();
    order.sort_by_key(|set| match set.family {
        Family::V4 => (0, Family::V4),
        family => (1 + place(set).min(usize::MAX - 1), family),
    });
    order
}

/// How many of the rules stay as they are; `None` when all must be made anew.
fn kept_rules(found: &Found, rules: &[&Rule]) -> Option<usize> {
    let kept = found.rules.len();
    let same = found.chain == FoundChain::Ours
        && kept <= rules.len()
        && found.rules.iter().zip(rules).all(|(found, rule)| found.as_ref() == Some(*rule));
    same.then_some(kept)
}
