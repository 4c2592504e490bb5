//! Rules in the form that the kernel runs: a list of expressions over register 1.
//!
//! Input: a [`Rule`], or the attributes of a rule that the kernel listed. Output: the
//! expressions that `nft` makes of such a rule, and back. What does not decode is not
//! a rule of ours.
//!
//! Source of the numbers: `include/uapi/linux/netfilter/nf_tables.h`.

use crate::core::ports::RangeInclusiveU16;
use crate::enforce::nft::rule::{Element, Family, Matching, Members, Rule};
use crate::enforce::nft::wire::{Attributes, Writer};

/// `NFT_REG_1`: the only register that our rules need.
const REGISTER: u32 = 1;
/// `NFTA_LIST_ELEM`.
const LIST_ELEMENT: u16 = 1;
/// `NFTA_DATA_VALUE`.
const DATA_VALUE: u16 = 1;

/// `NFT_META_NFPROTO`, `NFT_META_L4PROTO`.
const META_FAMILY: u32 = 15;
const META_PROTOCOL: u32 = 16;
/// `NFT_PAYLOAD_NETWORK_HEADER`, `NFT_PAYLOAD_TRANSPORT_HEADER`.
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
/// `NFT_CMP_EQ`, `NFT_CMP_LTE`, `NFT_CMP_GTE`.
const EQUAL: u32 = 0;
const AT_MOST: u32 = 3;
const AT_LEAST: u32 = 5;
/// `NFT_RANGE_EQ`.
const IN_RANGE: u32 = 0;
/// `NFT_REJECT_ICMP_UNREACH`.
const ICMP_UNREACHABLE: u32 = 0;

/// One step of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    /// Loads a property of the packet.
    Meta { key: u32 },
    /// Loads bytes of a header.
    Payload { base: u32, offset: u32, length: u32 },
    /// Goes on only if the register compares so.
    Compare { operator: u32, value: Vec<u8> },
    /// Goes on only if the register is in the range; newer `nft` says it so.
    Range { operator: u32, first: Vec<u8>, last: Vec<u8> },
    /// Goes on only if the register is in the set of this name.
    Lookup { set: String },
    /// Goes on only if the register is in an anonymous set.
    LookupMembers(Members),
    /// Drops the packet and tells its sender.
    Reject { kind: u32, code: u8 },
}

impl Family {
    /// `NFPROTO_IPV4`, `NFPROTO_IPV6`.
    const fn protocol(self) -> u8 {
        if self.is_ipv4() { 2 } else { 10 }
    }

    /// Where the source address is in the IP header, and how long it is.
    const fn source(self) -> (u32, u32) {
        if self.is_ipv4() { (12, 4) } else { (8, 16) }
    }

    /// Port unreachable, of ICMP (RFC 792) and of ICMPv6 (RFC 4443).
    const fn port_unreachable(self) -> u8 {
        if self.is_ipv4() { 3 } else { 4 }
    }
}

impl Rule {
    /// The expressions that `nft` makes of such a rule.
    pub(super) fn expressions(&self) -> Vec<Expression> {
        let mut expressions = match &self.matching {
            Matching::Everything => Vec::new(),
            Matching::Protocols(protocols) => {
                let asked = match protocols.as_slice() {
                    [protocol] => equal(&[*protocol]),
                    _ => Expression::LookupMembers(Members::Protocols(protocols.clone())),
                };
                vec![Expression::Meta { key: META_PROTOCOL }, asked]
            }
            Matching::Ports { protocol, ranges } => {
                let mut expressions = vec![
                    Expression::Meta { key: META_PROTOCOL },
                    equal(&[*protocol]),
                    DESTINATION_PORT,
                ];
                expressions.extend(ask_port(ranges));
                expressions
            }
        };
        let (offset, length) = self.family.source();
        expressions.extend([
            Expression::Meta { key: META_FAMILY },
            equal(&[self.family.protocol()]),
            Expression::Payload { base: NETWORK_HEADER, offset, length },
            Expression::Lookup { set: self.set.clone() },
            Expression::Reject { kind: ICMP_UNREACHABLE, code: self.family.port_unreachable() },
        ]);
        expressions
    }

    /// The rule that these expressions are, if it is one of ours.
    pub(super) fn of_expressions(expressions: &[Expression]) -> Option<Self> {
        let head = expressions.len().checked_sub(5)?;
        let Expression::Lookup { set } = expressions.get(head + 3)? else { return None };
        let v4 = *expressions.get(head + 1)? == equal(&[Family::V4.protocol()]);
        let nets = Family::of_set_name(set).is_some_and(|(family, _)| family.is_nets());
        let family = match (v4, nets) {
            (true, false) => Family::V4,
            (false, false) => Family::V6,
            (true, true) => Family::V4Nets,
            (false, true) => Family::V6Nets,
        };
        let matching = match &expressions[..head] {
            [] => Matching::Everything,
            [_, Expression::LookupMembers(Members::Protocols(protocols))] => {
                Matching::Protocols(protocols.clone())
            }
            [_, Expression::Compare { value, .. }] => Matching::Protocols(value.clone()),
            [_, Expression::Compare { value, .. }, _, port @ ..] => {
                let [protocol] = value.as_slice() else { return None };
                Matching::Ports { protocol: *protocol, ranges: asked_ports(port)? }
            }
            _ => return None,
        };
        // What was not looked at above must be as in the rule that it seems to be.
        let rule = Self { matching, family, set: set.clone() };
        let normal: Vec<_> = expressions.iter().flat_map(without_range).collect();
        (rule.expressions() == normal).then_some(rule)
    }
}

const DESTINATION_PORT: Expression =
    Expression::Payload { base: TRANSPORT_HEADER, offset: 2, length: 2 };

fn equal(value: &[u8]) -> Expression {
    Expression::Compare { operator: EQUAL, value: value.to_vec() }
}

fn ask_port(ranges: &[RangeInclusiveU16]) -> Vec<Expression> {
    match ranges {
        [range] if range.first == range.last => vec![equal(&range.first.to_be_bytes())],
        [range] => in_range(&range.first.to_be_bytes(), &range.last.to_be_bytes()).into(),
        _ => vec![Expression::LookupMembers(Members::Ports(ranges.to_vec()))],
    }
}

fn asked_ports(expressions: &[Expression]) -> Option<Vec<RangeInclusiveU16>> {
    let port = |value: &[u8]| Some(u16::from_be_bytes(value.try_into().ok()?));
    let range = match expressions {
        [Expression::LookupMembers(Members::Ports(ranges))] => return Some(ranges.clone()),
        [Expression::Compare { value, .. }] => port(value)?..=port(value)?,
        [Expression::Compare { value: first, .. }, Expression::Compare { value: last, .. }]
        | [Expression::Range { first, last, .. }] => port(first)?..=port(last)?,
        _ => return None,
    };
    Some(vec![range.into()])
}

fn in_range(first: &[u8], last: &[u8]) -> [Expression; 2] {
    [(AT_LEAST, first), (AT_MOST, last)]
        .map(|(operator, value)| Expression::Compare { operator, value: value.to_vec() })
}

/// A range as the two comparisons that it means.
fn without_range(expression: &Expression) -> Vec<Expression> {
    match expression {
        Expression::Range { operator: IN_RANGE, first, last } => in_range(first, last).into(),
        other => vec![other.clone()],
    }
}

impl Expression {
    /// Writes the expression as an element of a rule's list. `anonymous` is the name
    /// and the number in the batch of the set that was made for its members.
    pub(super) fn write(&self, writer: &mut Writer, anonymous: Option<(&str, u32)>) {
        let name = match self {
            Self::Meta { .. } => "meta",
            Self::Payload { .. } => "payload",
            Self::Compare { .. } => "cmp",
            Self::Range { .. } => "range",
            Self::Lookup { .. } | Self::LookupMembers(_) => "lookup",
            Self::Reject { .. } => "reject",
        };
        writer.nested(LIST_ELEMENT, |writer| {
            writer.text(1, name);
            writer.nested(2, |writer| self.write_data(writer, anonymous));
        });
    }

    fn write_data(&self, writer: &mut Writer, anonymous: Option<(&str, u32)>) {
        let data = |writer: &mut Writer, kind: u16, value: &[u8]| {
            writer.nested(kind, |writer| writer.attribute(DATA_VALUE, value));
        };
        match self {
            Self::Meta { key } => {
                writer.number(2, *key);
                writer.number(1, REGISTER);
            }
            Self::Payload { base, offset, length } => {
                for (kind, value) in [(1, REGISTER), (2, *base), (3, *offset), (4, *length)] {
                    writer.number(kind, value);
                }
            }
            Self::Compare { operator, value } => {
                writer.number(1, REGISTER);
                writer.number(2, *operator);
                data(writer, 3, value);
            }
            Self::Range { operator, first, last } => {
                writer.number(1, REGISTER);
                writer.number(2, *operator);
                data(writer, 3, first);
                data(writer, 4, last);
            }
            Self::Lookup { set } => {
                writer.number(2, REGISTER);
                writer.text(1, set);
            }
            Self::LookupMembers(_) => {
                let (name, number) = anonymous.expect("a set for the members");
                writer.number(2, REGISTER);
                writer.text(1, name);
                writer.number(4, number);
            }
            Self::Reject { kind, code } => {
                writer.number(1, *kind);
                writer.attribute(2, &[*code]);
            }
        }
    }

    /// Reads the list of a rule's expressions. `anonymous` tells the elements of an
    /// anonymous set. `None` when there is one that no rule of ours has.
    pub(super) fn read_list<'e>(
        list: Attributes<'_>,
        anonymous: impl Fn(&str) -> Option<&'e [Element]>,
    ) -> Option<Vec<Self>> {
        let mut expressions = Vec::new();
        for (_, element) in list {
            let loaded = expressions.last();
            expressions.push(Self::read(Attributes(element), loaded, &anonymous)?);
        }
        Some(expressions)
    }

    fn read<'e>(
        element: Attributes<'_>,
        loaded: Option<&Self>,
        anonymous: impl Fn(&str) -> Option<&'e [Element]>,
    ) -> Option<Self> {
        let data = element.nested(2)?;
        let number = |kind| data.number(kind);
        let value = |kind| Some(data.nested(kind)?.value(DATA_VALUE)?.to_vec());
        let in_register = |kind| (number(kind)? == REGISTER).then_some(());
        Some(match element.text(1)? {
            "meta" => {
                in_register(1)?;
                Self::Meta { key: number(2)? }
            }
            "payload" => {
                in_register(1)?;
                Self::Payload { base: number(2)?, offset: number(3)?, length: number(4)? }
            }
            "cmp" => {
                in_register(1)?;
                Self::Compare { operator: number(2)?, value: value(3)? }
            }
            "range" => {
                in_register(1)?;
                Self::Range { operator: number(2)?, first: value(3)?, last: value(4)? }
            }
            "lookup" => {
                in_register(2)?;
                // A verdict map, or the look-up of what is not in the set.
                if data.value(3).is_some() || number(5).is_some_and(|flags| flags != 0) {
                    return None;
                }
                let set = data.text(1)?;
                match (anonymous(set), loaded) {
                    (None, _) => Self::Lookup { set: set.to_owned() },
                    (Some(elements), Some(Self::Meta { .. })) => {
                        Self::LookupMembers(Members::Protocols(Members::protocols(elements)?))
                    }
                    (Some(elements), _) => {
                        Self::LookupMembers(Members::Ports(Members::ports(elements)?))
                    }
                }
            }
            "reject" => Self::Reject { kind: number(1)?, code: *data.value(2)?.first()? },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::ports::{Ports, Protocols};

    fn rules() -> impl Strategy<Value = Rule> {
        let ranges = prop::collection::vec((any::<u16>(), 0_u16..300), 0..5);
        let protocols = prop::sample::select(vec![
            Protocols::Tcp,
            Protocols::Udp,
            Protocols::TcpAndUdp,
            Protocols::All,
        ]);
        let family = prop::sample::select(Family::ALL.to_vec());
        (ranges, protocols, family, any::<prop::sample::Index>()).prop_map(
            |(ranges, protocols, family, which)| {
                let ranges =
                    ranges.iter().map(|(first, more)| *first..=first.saturating_add(*more));
                let rules = Rule::of_jail("sshd", &Ports::new(protocols, ranges), family);
                which.get(&rules).clone()
            },
        )
    }

    /// The expressions as bytes, and the elements of the anonymous set if there is one.
    fn written(rule: &Rule) -> (Writer, Vec<Element>) {
        let mut writer = Writer::default();
        let mut elements = Vec::new();
        for expression in rule.expressions() {
            if let Expression::LookupMembers(members) = &expression {
                elements = members.elements();
            }
            expression.write(&mut writer, Some(("__set0", 1)));
        }
        (writer, elements)
    }

    fn read(bytes: &[u8], elements: &[Element]) -> Option<Rule> {
        let anonymous = |name: &str| (name == "__set0").then_some(elements);
        Rule::of_expressions(&Expression::read_list(Attributes(bytes), anonymous)?)
    }

    proptest! {
        #[test]
        fn a_rule_survives_the_kernels_form(rule in rules()) {
            let (writer, elements) = written(&rule);
            prop_assert_eq!(read(writer.bytes(), &elements), Some(rule));
        }

        #[test]
        fn a_damaged_rule_is_another_or_none(
            rule in rules(),
            at in any::<prop::sample::Index>(),
            flip in 1_u8..,
            cut in any::<prop::sample::Index>(),
        ) {
            let (writer, elements) = written(&rule);
            let mut bytes = writer.bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            // Whatever comes out, it is a rule that means what it says.
            if let Some(found) = read(&bytes, &elements) {
                let (again, elements) = written(&found);
                prop_assert_eq!(read(again.bytes(), &elements), Some(found));
            }
            bytes.truncate(cut.index(bytes.len()));
            let _ = read(&bytes, &elements);
        }
    }

    #[test]
    fn newer_nft_says_a_range_in_one_expression() {
        let ports = Ports::new(Protocols::Tcp, [100..=200]);
        let rule = Rule::of_jail("sshd", &ports, Family::V6).remove(0);
        let mut expressions = rule.expressions();
        let first = 100_u16.to_be_bytes().to_vec();
        let last = 200_u16.to_be_bytes().to_vec();
        expressions.splice(3..5, [Expression::Range { operator: IN_RANGE, first, last }]);
        assert_eq!(Rule::of_expressions(&expressions), Some(rule));
    }

    #[test]
    fn a_rule_that_does_more_or_less_is_not_ours() {
        let rule = Rule::of_jail("sshd", &Ports::new(Protocols::Tcp, [22..=22]), Family::V4);
        let ours = rule[0].expressions();
        assert!(Rule::of_expressions(&ours).is_some());
        for index in 0..ours.len() {
            let mut less = ours.clone();
            less.remove(index);
            assert_eq!(Rule::of_expressions(&less), None, "without {:?}", ours[index]);
            let mut more = ours.clone();
            more.insert(index, Expression::Meta { key: 4 });
            assert_eq!(Rule::of_expressions(&more), None, "more before {:?}", ours[index]);
        }
    }
}
