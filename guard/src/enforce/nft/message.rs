//! The messages that change `f2b-table`, as `nft` sends them.
//!
//! Input: names, rules and addresses. Output: messages at the end of a [`Batch`].
//!
//! Invariant: no element message is longer than its 16-bit length allows.
//!
//! Source of the numbers: `include/uapi/linux/netfilter/nf_tables.h`, and for those
//! that only `nft` reads, what it sends itself.

use std::net::IpAddr;

use crate::core::addr::Prefix;
use crate::enforce::nft::batch::{Batch, kind};
use crate::enforce::nft::expression::Expression;
use crate::enforce::nft::nets;
use crate::enforce::nft::rule::{Family, Members, Rule};
use crate::enforce::nft::wire::{
    ATTRIBUTE_HEADER, LARGEST_ATTRIBUTE, NLM_F_APPEND, NLM_F_CREATE, Writer,
};
use crate::enforce::nft::{CHAIN, TABLE};

/// `NFT_SET_ANONYMOUS | NFT_SET_CONSTANT`.
const ANONYMOUS_AND_CONSTANT: u32 = 0x3;
/// `NFT_SET_INTERVAL`.
pub(super) const INTERVAL: u32 = 0x4;
/// `NFT_SET_ELEM_INTERVAL_END`.
pub(super) const INTERVAL_END: u32 = 1;
/// How an anonymous set is named until the kernel numbers it.
const ANONYMOUS_NAME: &str = "__set%d";

/// The numbers by which `nft` knows the types of keys: `inet_proto`, `inet_service`.
const TYPE_PROTOCOL: u32 = 12;
const TYPE_PORT: u32 = 13;

/// For `nft`: keys are in network byte order (`NFTNL_UDATA_SET_KEYBYTEORDER` 2).
const KEYS_BIG_ENDIAN: [u8; 6] = user_data(0, 2);
/// For `nft`: the range has no end (`NFTNL_UDATA_SET_ELEM_FLAGS` 1).
const OPEN_RANGE: [u8; 6] = user_data(1, 1);

const fn user_data(kind: u8, value: u32) -> [u8; 6] {
    let [a, b, c, d] = value.to_ne_bytes();
    [kind, 4, a, b, c, d]
}

/// How the hook of our chain is described: `input`, one before `filter`.
pub(super) const HOOK_INPUT: u32 = 1;
pub(super) const PRIORITY: i32 = -1;
pub(super) const ACCEPT: u32 = 1;

impl Family {
    /// The number by which `nft` knows the type, and the length of a key in bytes.
    pub(super) const fn key(self) -> (u32, u32) {
        if self.is_ipv4() { (7, 4) } else { (8, 16) }
    }

    /// Which kind of set a source belongs into.
    pub(super) fn of(source: Prefix) -> Self {
        match (source.is_ipv4(), source.is_host()) {
            (true, true) => Self::V4,
            (false, true) => Self::V6,
            (true, false) => Self::V4Nets,
            (false, false) => Self::V6Nets,
        }
    }

    /// Sources that fit into one message: each is an address in three nested
    /// attributes, a prefix two of them and a mark at the second, or one and another mark.
    const fn elements_in_message(self) -> usize {
        let one = self.key().1 as usize + 3 * ATTRIBUTE_HEADER;
        let mark = ATTRIBUTE_HEADER + OPEN_RANGE.len().next_multiple_of(4);
        LARGEST_ATTRIBUTE / if self.is_nets() { 2 * one + mark } else { one }
    }

    /// A number as a key.
    fn key_of(self, number: u128) -> Vec<u8> {
        number.to_be_bytes()[16 - self.key().1 as usize..].to_vec()
    }
}

impl Batch {
    pub(super) fn create_table(&mut self) {
        self.message(kind::NEW_TABLE, NLM_F_CREATE, format!("create table {TABLE}"), |writer| {
            writer.number(2, 0);
        });
    }

    pub(super) fn delete_table(&mut self) {
        self.message(kind::DELETE_TABLE, 0, format!("delete table {TABLE}"), |_| {});
    }

    pub(super) fn create_chain(&mut self) {
        self.message(kind::NEW_CHAIN, NLM_F_CREATE, format!("create chain {CHAIN}"), |writer| {
            writer.text(3, CHAIN);
            writer.text(7, "filter");
            writer.number(5, ACCEPT);
            writer.nested(4, |writer| {
                writer.number(1, HOOK_INPUT);
                writer.attribute(2, &PRIORITY.to_be_bytes());
            });
        });
    }

    pub(super) fn delete_chain(&mut self) {
        self.message(kind::DELETE_CHAIN, 0, format!("delete chain {CHAIN}"), |writer| {
            writer.text(3, CHAIN);
        });
    }

    /// Removes every rule of our chain.
    pub(super) fn delete_rules(&mut self) {
        self.message(kind::DELETE_RULE, 0, format!("delete the rules of {CHAIN}"), |writer| {
            writer.text(2, CHAIN);
        });
    }

    /// Makes the set of a jail; it is no error if it is there.
    pub(super) fn create_set(&mut self, family: Family, name: &str) {
        let subject = format!("create set {name}");
        let number = self.next_set();
        self.message(kind::NEW_SET, NLM_F_CREATE, subject, |writer| {
            let (key_type, key_length) = family.key();
            let flags = if family.is_nets() { INTERVAL } else { 0 };
            write_set(writer, name, flags, (key_type, key_length), number);
        });
    }

    pub(super) fn delete_set(&mut self, name: &str) {
        self.message(kind::DELETE_SET, 0, format!("delete set {name}"), |writer| {
            writer.text(2, name);
        });
    }

    /// Appends a rule to our chain, with the anonymous set that it needs.
    pub(super) fn append_rule(&mut self, rule: &Rule) {
        let expressions = rule.expressions();
        let subject = format!("add the rule for set {}", rule.set);
        let anonymous = expressions.iter().find_map(|expression| match expression {
            Expression::LookupMembers(members) => Some(self.create_anonymous(members, &subject)),
            _ => None,
        });
        let flags = NLM_F_CREATE | NLM_F_APPEND;
        self.message(kind::NEW_RULE, flags, subject, |writer| {
            writer.text(2, CHAIN);
            writer.nested(4, |writer| {
                let anonymous = anonymous.map(|number| (ANONYMOUS_NAME, number));
                for expression in expressions {
                    expression.write(writer, anonymous);
                }
            });
        });
    }

    fn create_anonymous(&mut self, members: &Members, subject: &str) -> u32 {
        let number = self.next_set();
        let interval = if members.has_ranges() { INTERVAL } else { 0 };
        let key = match members {
            Members::Ports(_) => (TYPE_PORT, 2),
            Members::Protocols(_) => (TYPE_PROTOCOL, 1),
        };
        self.message(kind::NEW_SET, NLM_F_CREATE, subject.to_owned(), |writer| {
            let flags = ANONYMOUS_AND_CONSTANT | interval;
            write_set(writer, ANONYMOUS_NAME, flags, key, number);
        });
        let elements = members.elements();
        let open = interval != 0 && elements.last().is_some_and(|last| !last.ends_range);
        self.message(kind::NEW_ELEMENTS, NLM_F_CREATE, subject.to_owned(), |writer| {
            writer.text(2, ANONYMOUS_NAME);
            writer.number(4, number);
            writer.nested(3, |writer| {
                for (index, element) in elements.iter().enumerate() {
                    writer.nested(1, |writer| {
                        if element.ends_range {
                            writer.number(3, INTERVAL_END);
                        }
                        write_key(writer, &element.key);
                        if open && index + 1 == elements.len() {
                            writer.attribute(6, &OPEN_RANGE);
                        }
                    });
                }
            });
        });
        number
    }

    /// Adds sources to a set. Those that are in it already are no error; prefixes that
    /// overlap others are.
    pub(super) fn add(&mut self, family: Family, set: &str, sources: &[Prefix]) {
        self.elements(kind::NEW_ELEMENTS, NLM_F_CREATE, ("add", "to"), family, set, sources);
    }

    /// Removes sources from a set that are in it.
    pub(super) fn remove(&mut self, family: Family, set: &str, sources: &[Prefix]) {
        self.elements(kind::DELETE_ELEMENTS, 0, ("remove", "from"), family, set, sources);
    }

    /// Removes addresses from a set whether they are in it or not.
    ///
    /// The kernel refuses to remove what is not there (a message that would not came
    /// with Linux 6.3), so each is added first. Within one transaction that has no
    /// effect of its own: no packet ever meets an address that was not there.
    pub(super) fn ensure_removed(&mut self, family: Family, set: &str, addresses: &[Prefix]) {
        for addresses in addresses.chunks(family.elements_in_message()) {
            self.add(family, set, addresses);
            self.join_next();
            self.remove(family, set, addresses);
        }
    }

    /// Removes prefixes from a set and adds others, which may overlap those.
    pub(super) fn exchange(&mut self, family: Family, set: &str, old: &[Prefix], new: &[Prefix]) {
        self.remove(family, set, old);
        if !old.is_empty() {
            self.join_next();
        }
        self.add(family, set, new);
    }

    fn elements(
        &mut self,
        kind: u16,
        flags: u16,
        (verb, preposition): (&str, &str),
        family: Family,
        set: &str,
        sources: &[Prefix],
    ) {
        for sources in sources.chunks(family.elements_in_message()) {
            let subject = match sources {
                [source] => format!("{verb} {source} {preposition} set {set}"),
                [first, ..] => {
                    let more = sources.len() - 1;
                    format!("{verb} {first} and {more} more {preposition} set {set}")
                }
                [] => continue,
            };
            self.message(kind, flags, subject, |writer| {
                writer.text(2, set);
                writer.nested(3, |writer| {
                    for source in sources {
                        write_source(writer, family, *source);
                    }
                });
            });
        }
    }
}

/// An address is one element; a prefix is its first address and the first beyond it.
fn write_source(writer: &mut Writer, family: Family, source: Prefix) {
    if !family.is_nets() {
        return writer.nested(1, |writer| match source.address() {
            IpAddr::V4(v4) => write_key(writer, &v4.octets()),
            IpAddr::V6(v6) => write_key(writer, &v6.octets()),
        });
    }
    let (first, end) = nets::ends(source);
    writer.nested(1, |writer| {
        write_key(writer, &family.key_of(first));
        if end == 0 {
            writer.attribute(6, &OPEN_RANGE);
        }
    });
    if end != 0 {
        writer.nested(1, |writer| {
            writer.number(3, INTERVAL_END);
            write_key(writer, &family.key_of(end));
        });
    }
}

fn write_set(writer: &mut Writer, name: &str, flags: u32, key: (u32, u32), number: u32) {
    writer.text(2, name);
    for (kind, value) in [(3, flags), (4, key.0), (5, key.1), (10, number)] {
        writer.number(kind, value);
    }
    writer.attribute(13, &KEYS_BIG_ENDIAN);
}

fn write_key(writer: &mut Writer, key: &[u8]) {
    writer.nested(1, |writer| writer.attribute(1, key));
}
