//! Port classes: which bit of a ban stands for which jail, and which ports each bit
//! cuts off.
//!
//! Up to 64 jails have a bit each, so the kernel's own entries tell the jails of a ban.
//! With more, jails that cut off the same share one. A jail keeps its bit from one
//! configuration to the next as long as its ports are the same, and a new one gets a
//! bit that no entry uses if there is any: so the table can grow before the bans that
//! need it, and shrink after those that needed it are gone.

use std::collections::BTreeMap;

use guard_common::layout::{MAX_CLASSES, OTHER_INDEX, PORT_CLASS_ENTRIES, port_index};

use crate::core::delta::JailPorts;
use crate::core::jail::{JailId, JailName};
use crate::core::ports::{PortSet, Ports, Protocols};
use crate::enforce::EnforceError;

/// Which bit stands for which jail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Classes {
    /// By [`JailId`]: its name and bit.
    jails: Vec<(JailName, u8)>,
    /// By bit: the jails.
    of_bit: BTreeMap<u8, Vec<JailId>>,
}

impl Classes {
    /// The classes of the jails in the order of their ids.
    pub(super) fn new(jails: Vec<(JailName, u8)>) -> Self {
        let mut of_bit = BTreeMap::<u8, Vec<JailId>>::new();
        for (number, (_, bit)) in (0..).zip(&jails) {
            of_bit.entry(*bit).or_default().push(JailId(number));
        }
        Self { jails, of_bit }
    }

    /// The bit of a jail.
    ///
    /// # Errors
    /// When the jail was not in the last snapshot.
    pub(super) fn bit(&self, jail: JailId) -> Result<u8, EnforceError> {
        self.jails.get(jail.index()).map(|(_, bit)| *bit).ok_or_else(|| {
            EnforceError::Unavailable(format!(
                "jail number {} is not among the {} jails of the last snapshot",
                jail.0,
                self.jails.len()
            ))
        })
    }

    /// Name of a jail that the last snapshot had.
    pub(super) fn name(&self, jail: JailId) -> Option<&JailName> {
        self.jails.get(jail.index()).map(|(name, _)| name)
    }

    /// The jails of a bit; more than one only when there are more than 64.
    pub(super) fn jails(&self, bit: u8) -> &[JailId] {
        self.of_bit.get(&bit).map_or(&[], Vec::as_slice)
    }

    /// Every jail with its bit.
    pub(super) fn entries(&self) -> &[(JailName, u8)] {
        &self.jails
    }
}

/// Gives every jail a bit. `kept` tells the bit that a jail has and whose ports are
/// still right; `used` are all bits that the table or an entry may have now.
///
/// # Errors
/// When there are more than 64 jails and they cut off more than 64 different sets.
pub(super) fn assign(
    jails: &[JailPorts],
    kept: impl Fn(&JailPorts) -> Option<u8>,
    used: u64,
) -> Result<Classes, EnforceError> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    if jails.len() <= MAX_CLASSES {
        groups.extend((0..jails.len()).map(|place| vec![place]));
    } else {
        let mut by_ports = BTreeMap::<&Ports, usize>::new();
        for (place, jail) in jails.iter().enumerate() {
            let group = *by_ports.entry(&jail.ports).or_insert_with(|| {
                groups.push(Vec::new());
                groups.len() - 1
            });
            groups[group].push(place);
        }
    }
    if groups.len() > MAX_CLASSES {
        return Err(EnforceError::Unavailable(format!(
            "the jails cut off {} different port sets, the XDP maps hold {MAX_CLASSES}: let jails share their ports, or use backend = \"nft\"",
            groups.len()
        )));
    }

    let mut taken = 0_u64;
    let mut bits: Vec<Option<u8>> = Vec::with_capacity(groups.len());
    for group in &groups {
        let bit = group
            .iter()
            .filter_map(|&place| kept(&jails[place]))
            .find(|&bit| usize::from(bit) < MAX_CLASSES && taken >> bit & 1 == 0);
        taken |= bit.map_or(0, |bit| 1 << bit);
        bits.push(bit);
    }
    let mut of_jail = vec![0; jails.len()];
    for (group, bit) in groups.iter().zip(bits) {
        // There are no more groups than bits, so one is always free.
        let bit = bit.unwrap_or_else(|| {
            let untouched = (!(taken | used)).trailing_zeros();
            let free = if untouched < 64 { untouched } else { (!taken).trailing_zeros() };
            u8::try_from(free).unwrap_or(63)
        });
        taken |= 1 << bit;
        for &place in group {
            of_jail[place] = bit;
        }
    }
    Ok(Classes::new(jails.iter().map(|jail| jail.name.clone()).zip(of_jail).collect()))
}

/// The table of port classes that the jails need, one entry for each index.
pub(super) fn table(jails: &[JailPorts], classes: &Classes) -> Vec<u64> {
    let mut table = vec![0; PORT_CLASS_ENTRIES as usize];
    for (jail, (_, bit)) in jails.iter().zip(classes.entries()) {
        for_each_index(&jail.ports, |range| {
            for entry in &mut table[range] {
                *entry |= 1_u64 << bit;
            }
        });
    }
    table
}

/// Whether a bit of the table stands for exactly these ports.
pub(super) fn bit_means(table: &[u64], bit: u8, ports: &Ports) -> bool {
    let mut covered = 0;
    let mut all = true;
    for_each_index(ports, |range| {
        covered += range.len();
        all &= table[range].iter().all(|entry| entry >> bit & 1 == 1);
    });
    all && table.iter().filter(|&&entry| entry >> bit & 1 == 1).count() == covered
}

fn for_each_index(ports: &Ports, mut each: impl FnMut(std::ops::Range<usize>)) {
    let every = [crate::core::ports::RangeInclusiveU16 { first: 0, last: u16::MAX }];
    let ranges = match &ports.set {
        PortSet::All => &every[..],
        PortSet::Ranges(ranges) => ranges,
    };
    for (tcp, covered) in [(true, ports.protocols.tcp()), (false, ports.protocols.udp())] {
        for range in ranges.iter().filter(|_| covered) {
            let index = |port| port_index(tcp, port) as usize;
            each(index(range.first)..index(range.last) + 1);
        }
    }
    if ports.protocols == Protocols::All {
        each(OTHER_INDEX as usize..OTHER_INDEX as usize + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jail(name: &str, ports: Ports) -> JailPorts {
        JailPorts { name: JailName::new(name).expect("a name"), ports }
    }

    fn tcp(port: u16) -> Ports {
        Ports::new(Protocols::Tcp, [port..=port])
    }

    fn bits(classes: &Classes) -> Vec<u8> {
        classes.entries().iter().map(|(_, bit)| *bit).collect()
    }

    #[test]
    fn each_jail_has_its_own_bit_even_with_equal_ports() {
        let jails =
            [jail("sshd", tcp(22)), jail("proxmox", tcp(8006)), jail("pvedaemon", tcp(8006))];
        let classes = assign(&jails, |_| None, 0).expect("three jails fit");
        assert_eq!(bits(&classes), [0, 1, 2]);
        let table = table(&jails, &classes);
        assert_eq!(table[port_index(true, 22) as usize], 0b001);
        assert_eq!(table[port_index(true, 8006) as usize], 0b110);
        assert_eq!(table[port_index(true, 21) as usize], 0);
        assert_eq!(table[port_index(false, 22) as usize], 0);
        assert!(bit_means(&table, 0, &tcp(22)) && !bit_means(&table, 0, &tcp(23)));
        assert!(!bit_means(&table, 0, &Ports::new(Protocols::TcpAndUdp, [22..=22])));
        assert!(!bit_means(&table, 3, &tcp(22)));
    }

    #[test]
    fn what_has_no_ports_is_covered_by_all_protocols_alone() {
        let jails = [
            jail("all", Ports::new(Protocols::All, [])),
            jail("tcp", Ports::new(Protocols::Tcp, [])),
            jail("udp", Ports::new(Protocols::Udp, [53..=53])),
        ];
        let classes = assign(&jails, |_| None, 0).expect("three jails fit");
        let table = table(&jails, &classes);
        assert_eq!(table[OTHER_INDEX as usize], 0b001);
        assert_eq!(table[port_index(true, 65_535) as usize], 0b011);
        assert_eq!(table[port_index(false, 53) as usize], 0b101);
        assert_eq!(table[port_index(false, 0) as usize], 0b001);
    }

    #[test]
    fn a_jail_keeps_its_bit_and_a_new_one_gets_an_unused_one() {
        let jails = [jail("new", tcp(25)), jail("sshd", tcp(22))];
        let kept = |jail: &JailPorts| (jail.name.as_str() == "sshd").then_some(0);
        let classes = assign(&jails, kept, 0b11).expect("two jails fit");
        assert_eq!(bits(&classes), [2, 0]);
        // All bits used: one that no jail keeps is taken again.
        let classes = assign(&jails, kept, u64::MAX).expect("two jails fit");
        assert_eq!(bits(&classes), [1, 0]);
    }

    #[test]
    fn many_jails_share_bits_until_their_port_sets_are_too_many() {
        let many = |sets: u16| -> Vec<JailPorts> {
            (0..100).map(|n| jail(&format!("j{n}"), tcp(1000 + n % sets))).collect()
        };
        let classes = assign(&many(64), |_| None, 0).expect("64 port sets fit");
        assert_eq!(classes.jails(0), [JailId(0), JailId(64)]);
        assert_eq!(classes.jails(63), [JailId(63)]);
        let error = assign(&many(65), |_| None, 0).expect_err("65 do not");
        assert!(error.to_string().contains("65 different port sets, the XDP maps hold 64"));
    }

    #[test]
    fn a_jail_of_no_snapshot_is_named() {
        let error = Classes::default().bit(JailId(3)).expect_err("there are no jails");
        assert!(error.to_string().contains("jail number 3"), "{error}");
    }
}
