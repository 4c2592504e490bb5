//! What the kernel holds of `f2b-table`.
//!
//! Input: a [`Connection`]. Output: [`Found`], the table's chain, sets and rules, and
//! on request the addresses of a set. Nothing is believed about who made them: what
//! does not decode into what we would make is marked as foreign.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::io::Errno;

use crate::core::addr::Prefix;
use crate::enforce::nft::batch::kind;
use crate::enforce::nft::connection::{Connection, Refusal};
use crate::enforce::nft::expression::Expression;
use crate::enforce::nft::message::{ACCEPT, HOOK_INPUT, INTERVAL, INTERVAL_END, PRIORITY};
use crate::enforce::nft::nets;
use crate::enforce::nft::rule::{Element, Family, Rule};
use crate::enforce::nft::wire::{Attributes, Message};
use crate::enforce::nft::{CHAIN, TABLE};

/// `NFT_SET_ANONYMOUS`.
const ANONYMOUS: u32 = 0x1;
/// `NFT_TABLE_F_DORMANT`.
const DORMANT: u32 = 0x1;
/// A set is read again when elements moved while it was read.
const READS: usize = 16;

/// The elements of anonymous sets, by the names that the kernel gave them.
type AnonymousSets = HashMap<String, Vec<Element>>;

/// The sources in named sets.
pub(super) type Sources = HashMap<String, HashSet<Prefix>>;

/// What the table is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The table's chains are switched off.
    pub(super) dormant: bool,
    pub(super) chain: FoundChain,
    /// Named sets, in their order.
    pub(super) sets: Vec<FoundSet>,
    /// Rules of our chain, in their order; `None` for one that we would not make.
    pub(super) rules: Vec<Option<Rule>>,
}

/// What `f2b-chain` is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FoundChain {
    Absent,
    /// Hooked as we would hook it.
    Ours,
    Foreign,
}

/// A named set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundSet {
    pub(super) name: String,
    /// The kind, if it is a plain set of addresses or of prefixes: no other flags, no
    /// limits.
    pub(super) plain: Option<Family>,
}

impl Found {
    /// Reads the table; `None` when there is none. `EINTR` when somebody changed the
    /// rules meanwhile.
    pub(super) fn read(connection: &mut Connection) -> Result<Option<Self>, Refusal> {
        let Some(dormant) = read_table(connection)? else { return Ok(None) };
        let chain = read_chain(connection)?;
        let (sets, anonymous) = read_sets(connection)?;
        let rules = match chain {
            FoundChain::Absent => Vec::new(),
            _ => read_rules(connection, &anonymous)?,
        };
        Ok(Some(Self { dormant, chain, sets, rules }))
    }

    /// The rules that take effect: nothing does in a chain that is not hooked, and
    /// nothing is sure after a rule that we do not know.
    pub(super) fn effective(&self) -> impl Iterator<Item = &Rule> {
        let hooked = !self.dormant && self.chain == FoundChain::Ours;
        self.rules.iter().filter(move |_| hooked).map_while(Option::as_ref)
    }
}

/// Reads the sources in a plain set; `None` when there is more in it than we would put
/// there: the element `*`, which is every address, or a range that is no prefix.
///
/// The kernel reads a hash set piece by piece, and moves its elements when it grows.
/// Then some are met twice and as many not at all: the set is read again.
pub(super) fn read_sources(
    connection: &mut Connection,
    set: &str,
    family: Family,
) -> Result<Option<HashSet<Prefix>>, Refusal> {
    if family.is_nets() {
        let mut ends = BTreeSet::new();
        let mut foreign = false;
        read_elements(connection, set, |element| match range_end(element) {
            Some(end) => _ = ends.insert(end),
            None => foreign = true,
        })?;
        return Ok(prefixes(family, &ends).filter(|_| !foreign));
    }
    let mut addresses = HashSet::new();
    for _ in 0..READS {
        let (mut read, mut foreign) = (0, false);
        addresses.clear();
        read_elements(connection, set, |element| match address(element) {
            Some(address) => {
                read += 1;
                addresses.insert(Prefix::host(address));
            }
            None => foreign = true,
        })?;
        if foreign {
            return Ok(None);
        }
        if read == addresses.len() {
            break;
        }
    }
    Ok(Some(addresses))
}

/// Whether the table is dormant; `None` when there is none.
fn read_table(connection: &mut Connection) -> Result<Option<bool>, Refusal> {
    let mut dormant = false;
    let read = connection.ask(
        kind::GET_TABLE,
        false,
        "read table f2b-table",
        |writer| writer.text(1, TABLE),
        |message| {
            let flags = message.attributes().number(2).unwrap_or(0);
            dormant |= flags & DORMANT != 0;
        },
    );
    absent_is_none(read).map(|found| found.map(|()| dormant))
}

fn read_chain(connection: &mut Connection) -> Result<FoundChain, Refusal> {
    let mut ours = false;
    let read = connection.ask(
        kind::GET_CHAIN,
        false,
        "read chain f2b-chain",
        |writer| {
            writer.text(1, TABLE);
            writer.text(3, CHAIN);
        },
        |message| ours = hooked_as_ours(message.attributes()),
    );
    Ok(match absent_is_none(read)? {
        None => FoundChain::Absent,
        Some(()) if ours => FoundChain::Ours,
        Some(()) => FoundChain::Foreign,
    })
}

fn hooked_as_ours(chain: Attributes<'_>) -> bool {
    let hook = chain.nested(4);
    hook.and_then(|hook| hook.number(1)) == Some(HOOK_INPUT)
        && hook.and_then(|hook| hook.value(2)) == Some(&PRIORITY.to_be_bytes()[..])
        && chain.number(5) == Some(ACCEPT)
        && chain.text(7) == Some("filter")
}

/// The named sets, and the elements of the anonymous ones.
fn read_sets(connection: &mut Connection) -> Result<(Vec<FoundSet>, AnonymousSets), Refusal> {
    let mut sets = Vec::new();
    let mut anonymous = HashMap::new();
    connection.ask(
        kind::GET_SET,
        true,
        "read the sets of table f2b-table",
        |writer| writer.text(1, TABLE),
        |message| match set(message) {
            Some((name, true, _)) => _ = anonymous.insert(name, Vec::new()),
            Some((name, false, plain)) => sets.push(FoundSet { name, plain }),
            None => {}
        },
    )?;
    for (name, elements) in &mut anonymous {
        read_elements(connection, name, |element| elements.extend(member(element)))?;
    }
    Ok((sets, anonymous))
}

/// Name, whether it is anonymous, and the family of a plain set of addresses.
pub(super) fn set(message: Message<'_>) -> Option<(String, bool, Option<Family>)> {
    let set = message.attributes();
    if set.text(1)? != TABLE {
        return None;
    }
    let flags = set.number(3).unwrap_or(0);
    // Size (in NFTA_SET_DESC), time-out, and an expression for each element.
    let limited = set.nested(9).and_then(|description| description.value(1)).is_some()
        || [11, 17, 18].into_iter().any(|kind| set.value(kind).is_some());
    let key = (set.number(4)?, set.number(5)?);
    let expected = |family: &Family| if family.is_nets() { INTERVAL } else { 0 };
    let plain = Family::ALL
        .into_iter()
        .find(|family| family.key() == key && flags == expected(family) && !limited);
    Some((set.text(2)?.to_owned(), flags & ANONYMOUS != 0, plain))
}

fn read_rules(
    connection: &mut Connection,
    anonymous: &AnonymousSets,
) -> Result<Vec<Option<Rule>>, Refusal> {
    let mut rules = Vec::new();
    connection.ask(
        kind::GET_RULE,
        true,
        "read the rules of chain f2b-chain",
        |writer| {
            writer.text(1, TABLE);
            writer.text(2, CHAIN);
        },
        |message| {
            let rule = message.attributes();
            if rule.text(1) == Some(TABLE) && rule.text(2) == Some(CHAIN) {
                rules.push(decode_rule(rule, anonymous));
            }
        },
    )?;
    Ok(rules)
}

pub(super) fn decode_rule(rule: Attributes<'_>, anonymous: &AnonymousSets) -> Option<Rule> {
    // NFTA_RULE_USERDATA: a comment, which `nft` would list.
    if rule.value(7).is_some() {
        return None;
    }
    let members = |name: &str| anonymous.get(name).map(Vec::as_slice);
    Rule::of_expressions(&Expression::read_list(rule.nested(4)?, members)?)
}

fn read_elements(
    connection: &mut Connection,
    set: &str,
    mut each: impl FnMut(Attributes<'_>),
) -> Result<(), Refusal> {
    connection.ask(
        kind::GET_ELEMENTS,
        true,
        &format!("read set {set}"),
        |writer| {
            writer.text(1, TABLE);
            writer.text(2, set);
        },
        |message| {
            for (_, element) in message.attributes().nested(3).into_iter().flatten() {
                each(Attributes(element));
            }
        },
    )
}

fn key(element: Attributes<'_>) -> Option<&[u8]> {
    element.nested(1)?.value(1)
}

pub(super) fn member(element: Attributes<'_>) -> Option<Element> {
    let ends_range = element.number(3).is_some_and(|flags| flags & INTERVAL_END != 0);
    Some(Element { key: key(element)?.to_vec(), ends_range })
}

fn address(element: Attributes<'_>) -> Option<IpAddr> {
    let key = key(element)?;
    if let Ok(octets) = <[u8; 4]>::try_from(key) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(key).ok().map(|octets| Ipv6Addr::from(octets).into())
}

/// An end of a range as a number, and whether the range begins there. (An end sorts
/// before a beginning at the same address.)
pub(super) fn range_end(element: Attributes<'_>) -> Option<(u128, bool)> {
    let begins = element.number(3).is_none_or(|flags| flags & INTERVAL_END == 0);
    Some(match address(element)? {
        IpAddr::V4(v4) => (u32::from(v4).into(), begins),
        IpAddr::V6(v6) => (v6.into(), begins),
    })
}

/// The prefixes that ranges are, if all of them are some.
pub(super) fn prefixes(family: Family, ends: &BTreeSet<(u128, bool)>) -> Option<HashSet<Prefix>> {
    let mut prefixes = HashSet::new();
    let mut open = None;
    for &(at, begins) in ends {
        match (begins, open.take()) {
            (true, None) => open = Some(at),
            (false, Some(first)) => {
                prefixes.insert(nets::of_ends(family.is_ipv4(), first, at)?);
            }
            // `nft` begins a set of ranges with the end of nothing.
            (false, None) if at == 0 => {}
            _ => return None,
        }
    }
    if let Some(first) = open {
        prefixes.insert(nets::of_ends(family.is_ipv4(), first, 0)?);
    }
    Some(prefixes)
}

fn absent_is_none(read: Result<(), Refusal>) -> Result<Option<()>, Refusal> {
    match read {
        Err(Refusal { cause: Errno::NOENT, .. }) => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::ports::{Ports, Protocols};
    use crate::enforce::nft::batch::Batch;
    use crate::enforce::nft::wire::Messages;

    /// A chain, a set with elements, and a rule with its anonymous set: the kernel lists
    /// objects in the form in which they are made.
    fn listed() -> (Vec<u8>, Rule) {
        let ports = Ports::new(Protocols::Tcp, [80..=80, 8000..=8010]);
        let rule = Rule::of_jail("web", &ports, Family::V6).remove(0);
        let mut batch = Batch::new(1);
        batch.create_chain();
        batch.create_set(Family::V6, "addr6-set-web");
        let addresses = ["2001:db8::1", "2001:db8::2"].map(|text| text.parse().expect("v6"));
        batch.add(Family::V6, "addr6-set-web", &addresses);
        batch.append_rule(&rule);
        let frame = batch.transactions(usize::MAX, None).remove(0);
        (frame.bytes, rule)
    }

    /// Reads whatever each message could be.
    fn read_all(bytes: &[u8]) -> (bool, Vec<Option<Family>>, Vec<IpAddr>, Vec<Rule>) {
        let messages = || Messages(bytes).map(|message| message.attributes());
        let elements = || {
            let lists = messages().filter_map(|message| message.nested(3));
            lists.flatten().map(|(_, element)| Attributes(element))
        };
        let members = elements().filter_map(member).filter(|member| member.key.len() == 2);
        let anonymous: AnonymousSets = [("__set%d".to_owned(), members.collect())].into();
        (
            messages().any(hooked_as_ours),
            Messages(bytes).filter_map(|message| Some(set(message)?.2)).collect(),
            elements().filter_map(address).collect(),
            messages().filter_map(|message| decode_rule(message, &anonymous)).collect(),
        )
    }

    #[test]
    fn what_we_make_is_recognised() {
        let (bytes, rule) = listed();
        let (ours, sets, addresses, rules) = read_all(&bytes);
        assert!(ours);
        // The named set, and the anonymous one that is none of addresses.
        assert_eq!(sets, [Some(Family::V6), None]);
        assert_eq!(addresses.len(), 2);
        assert_eq!(rules, [rule]);
    }

    proptest! {
        #[test]
        fn damaged_lists_are_read_without_panic(
            flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let (mut bytes, _) = listed();
            for (at, flip) in flips {
                let at = at.index(bytes.len());
                bytes[at] ^= flip;
            }
            read_all(&bytes);
            bytes.truncate(cut.index(bytes.len()));
            read_all(&bytes);
        }
    }
}
