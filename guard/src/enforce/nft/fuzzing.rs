//! What the kernel answers, as far as it is read, for the fuzz target `nft`.

use std::collections::{BTreeSet, HashMap};

use super::found::{decode_rule, member, prefixes, range_end, set};
use super::rule::Family;
use super::wire::{Attributes, Messages};

/// Reads a datagram as each of the answers that it could be.
///
/// # Panics
/// When what was read contradicts itself.
pub fn read(datagram: &[u8]) {
    let mut anonymous = HashMap::new();
    let mut elements = Vec::new();
    for message in Messages(datagram) {
        let _ = message.error();
        if let Some((name, _, _)) = set(message) {
            anonymous.insert(name, Vec::new());
        }
        let list = message.attributes().nested(3).into_iter().flatten();
        elements.extend(list.map(|(_, element)| Attributes(element)));
    }
    let members: Vec<_> = elements.iter().filter_map(|element| member(*element)).collect();
    anonymous.values_mut().for_each(|list| list.clone_from(&members));
    for message in Messages(datagram) {
        if let Some(rule) = decode_rule(message.attributes(), &anonymous) {
            // What is taken for one of ours is what we would make.
            assert!(!rule.set.is_empty(), "{rule:?}");
        }
    }
    let ends: BTreeSet<(u128, bool)> = elements.iter().filter_map(|one| range_end(*one)).collect();
    for family in Family::ALL.into_iter().filter(|family| family.is_nets()) {
        let Some(read) = prefixes(family, &ends) else { continue };
        let sorted: Vec<_> = read.iter().collect();
        for (place, one) in sorted.iter().enumerate() {
            assert_eq!(one.is_ipv4(), family.is_ipv4());
            assert!(sorted[..place].iter().all(|other| !other.overlaps(one)), "{read:?}");
        }
    }
}
