//! What the kernel holds, in numbers: for metrics, which are asked for often.
//!
//! Input: the enforcer and what it should hold. Output: [`Tally`]. Reading back all bans of
//! a large set takes long, so the last tally is given again until that takes no more than
//! a fiftieth of the enforcer's time.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::core::addr::Prefix;
use crate::core::enforced::Held;
use crate::core::figures::MapFill;
use crate::core::jail::JailName;
use crate::enforce::{EnforceError, Enforcer, Moment};

/// The part of the enforcer's time that tallies may take, as its inverse.
const SHARE: u32 = 50;

/// What the kernel holds, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// By jail.
    pub jails: HashMap<JailName, JailTally>,
    /// By map.
    pub maps: Vec<MapFill>,
}

/// What the kernel holds for one jail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JailTally {
    /// Bans.
    pub held: u64,
    /// Bans that it should hold beside these.
    pub missing: u64,
    /// Packets that their sources were denied, where that is counted.
    pub dropped_packets: Option<u64>,
    /// The same in bytes.
    pub dropped_bytes: Option<u64>,
}

/// The last tally and when the next is due.
#[derive(Debug, Default)]
pub struct Tallies {
    last: Option<(Tally, Instant)>,
}

impl Tallies {
    /// What the kernel holds of what it should: `wanted` is the number of bans by jail.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn tally(
        &mut self,
        enforcer: &mut dyn Enforcer,
        wanted: &[(JailName, u64)],
        now: Moment,
    ) -> Result<Tally, EnforceError> {
        let start = Instant::now();
        if let Some((tally, due)) = &self.last
            && start < *due
        {
            return Ok(tally.clone());
        }
        // What no interface asks for enforces nothing.
        let coverage = enforcer.coverage();
        let idle = !coverage.is_empty() && coverage.iter().all(|one| one.means == "none");
        let held = if idle { Vec::new() } else { enforcer.held(now)? };
        let tally = tally(&held, wanted, enforcer.map_capacity());
        let took = start.elapsed();
        // Of few bans a tally is always new.
        if took > Duration::from_millis(20) {
            self.last = Some((tally.clone(), Instant::now() + took * SHARE));
        } else {
            self.last = None;
        }
        Ok(tally)
    }
}

fn tally(held: &[Held], wanted: &[(JailName, u64)], capacity: Option<u64>) -> Tally {
    let mut jails: HashMap<JailName, JailTally> = HashMap::new();
    for (name, _) in wanted {
        jails.insert(name.clone(), JailTally::default());
    }
    for one in held {
        let Some(jail) = jails.get_mut(&one.jail) else { continue };
        jail.held += 1;
        if let Some(dropped) = one.dropped {
            *jail.dropped_packets.get_or_insert(0) += dropped.packets;
            *jail.dropped_bytes.get_or_insert(0) += dropped.bytes;
        }
    }
    for (name, wanted) in wanted {
        if let Some(jail) = jails.get_mut(name) {
            jail.missing = wanted.saturating_sub(jail.held);
        }
    }
    Tally { jails, maps: capacity.map(|capacity| maps(held, capacity)).unwrap_or_default() }
}

/// Sources in each map; one that several jails ban is there once.
fn maps(held: &[Held], capacity: u64) -> Vec<MapFill> {
    const NAMES: [&str; 4] = ["ipv4", "ipv6", "ipv4-networks", "ipv6-networks"];
    let mut seen: HashSet<Prefix> = HashSet::with_capacity(held.len());
    let mut entries = [0; 4];
    for one in held.iter().filter(|one| seen.insert(one.source)) {
        let map = usize::from(!one.source.is_host()) * 2 + usize::from(!one.source.is_ipv4());
        entries[map] += 1;
    }
    let fill = |(map, entries): (&str, u64)| MapFill { map: map.to_owned(), entries, capacity };
    NAMES.into_iter().zip(entries).map(fill).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::enforced::Dropped;

    #[test]
    fn what_is_missing_is_told_apart_from_what_is_held() {
        let [sshd, proxmox] = ["sshd", "proxmox"].map(|name| JailName::new(name).expect("a name"));
        let held = |jail: &JailName, source: &str, packets| Held {
            jail: jail.clone(),
            source: source.parse().expect("a source"),
            dropped: Some(Dropped { packets, bytes: packets * 60, sampled: false }),
        };
        let all = [
            held(&sshd, "192.0.2.1", 3),
            held(&sshd, "2001:db8::/64", 4),
            held(&proxmox, "192.0.2.1", 3),
        ];
        let tally = tally(&all, &[(sshd.clone(), 3), (proxmox.clone(), 1)], Some(100));
        let [sshd, proxmox] = [sshd, proxmox].map(|name| tally.jails[&name].clone());
        assert_eq!((sshd.held, sshd.missing, sshd.dropped_packets), (2, 1, Some(7)));
        assert_eq!((proxmox.held, proxmox.missing, proxmox.dropped_bytes), (1, 0, Some(180)));
        let entries: Vec<u64> = tally.maps.iter().map(|map| map.entries).collect();
        assert_eq!(entries, [1, 0, 0, 1], "an address that two jails ban is one entry");
    }
}
