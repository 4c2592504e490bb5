//! What is true while the packets are judged.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::IpAddr;

use anyhow::{Context, bail, ensure};
use guard_common::layout::{
    Ban, FOREVER, HIDDEN_INDEX, OTHER_INDEX, PORT_CLASS_ENTRIES, SCOPE_ALL, SCOPE_HOST, SLOTS,
    Slot, port_index,
};
use guard_common::packet::Address;
use guard_common::verdict::Tables;

/// Nanoseconds since boot at which the host judges. The kernel has its own clock: what
/// ends `later` ends an hour after that.
pub const NOW: u64 = 1_000_000_000_000;

const HOUR: u64 = 3_600_000_000_000;

/// Whose traffic is guarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// This host's own addresses.
    #[default]
    Host,
    /// Every address.
    All,
}

impl Scope {
    /// The number in [`guard_common::layout::Meta::scope`].
    pub fn number(self) -> u32 {
        match self {
            Self::Host => SCOPE_HOST,
            Self::All => SCOPE_ALL,
        }
    }
}

/// Bans, port classes and own addresses, for a clock that shows `now`.
#[derive(Clone, Debug)]
pub struct World {
    /// Banned addresses.
    pub bans: HashMap<IpAddr, Ban>,
    /// Banned prefixes, each with what all prefixes around it cut off as well.
    pub nets: HashMap<(IpAddr, u8), Ban>,
    /// Port classes, by their index; what is not here is in none.
    pub classes: HashMap<u32, u64>,
    /// This host's addresses.
    pub own: HashSet<IpAddr>,
    /// Whose traffic is guarded.
    pub scope: Scope,
    now: u64,
    by_address: HashMap<Address, IpAddr>,
}

/// A ban that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    /// Of one address.
    Address(IpAddr),
    /// Of a prefix.
    Net(IpAddr, u8),
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    own: HashSet<IpAddr>,
    class: Vec<Class>,
    ban: Vec<WrittenBan>,
}

/// Ports that a jail cuts off.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// How the jail could be called.
    pub name: String,
    /// `tcp`, `udp`, `all`, or `other` for what is neither TCP nor UDP.
    pub protocols: Vec<String>,
    /// None at all: every port.
    #[serde(default)]
    pub ports: Vec<u16>,
}

/// One ban, as an enforcer is told of it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The [`Class`] by its name.
    pub class: String,
    /// Who is banned.
    pub source: IpAddr,
    /// Leading bits of a prefix; `None` for an address.
    pub length: Option<u8>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenBan {
    source: IpAddr,
    /// Leading bits of a prefix; absent for an address.
    length: Option<u8>,
    slots: Vec<WrittenSlot>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSlot {
    classes: Vec<String>,
    ends: End,
}

#[derive(Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum End {
    Earlier,
    Now,
    Later,
    Never,
}

impl Written {
    fn read() -> anyhow::Result<Self> {
        let path = super::directory().join("world.toml");
        let text = fs::read_to_string(&path)?;
        toml::from_str(&text).with_context(|| format!("reading {}", path.display()))
    }
}

impl World {
    /// The same world for enforcers: the classes, and the bans that have not ended.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn listed() -> anyhow::Result<(Vec<Class>, Vec<Listed>)> {
        let written = Written::read()?;
        let mut listed = Vec::new();
        for ban in &written.ban {
            let lasting =
                ban.slots.iter().filter(|slot| matches!(slot.ends, End::Later | End::Never));
            for class in lasting.flat_map(|slot| &slot.classes) {
                let (source, length) = (ban.source, ban.length);
                listed.push(Listed { class: class.clone(), source, length });
            }
        }
        Ok((written.class, listed))
    }

    /// The world of `world.toml`, its ends put around `now`.
    ///
    /// # Errors
    /// When the file cannot be read, or speaks of what it does not define.
    pub fn at(now: u64) -> anyhow::Result<Self> {
        let written = Written::read()?;
        let mut classes = HashMap::new();
        for (bit, class) in written.class.iter().enumerate() {
            for index in class.indices()? {
                *classes.entry(index).or_insert(0) |= 1 << bit;
            }
        }
        let bit_of = |name: &String| {
            let bit = written.class.iter().position(|class| class.name == *name);
            bit.map(|bit| 1_u64 << bit).with_context(|| format!("there is no class `{name}`"))
        };
        let ban_of = |of: &[&WrittenBan]| -> anyhow::Result<Ban> {
            let mut ban = Ban::default();
            let written_slots: Vec<_> = of.iter().flat_map(|one| &one.slots).collect();
            ensure!(written_slots.len() <= SLOTS, "more slots than there are");
            for (slot, written_slot) in ban.slots.iter_mut().zip(written_slots) {
                for name in &written_slot.classes {
                    slot.classes |= bit_of(name)?;
                }
                slot.until = match written_slot.ends {
                    End::Earlier => 1,
                    End::Now => now,
                    End::Later => now + HOUR,
                    End::Never => FOREVER,
                };
            }
            Ok(ban)
        };
        let (mut bans, mut nets) = (HashMap::new(), HashMap::new());
        for one in &written.ban {
            let Some(length) = one.length else {
                bans.insert(one.source, ban_of(&[one])?);
                continue;
            };
            let around: Vec<&WrittenBan> = written
                .ban
                .iter()
                .filter(|other| other.length.is_some_and(|other| other <= length))
                .filter(|other| contains(other.source, other.length, one.source))
                .collect();
            nets.insert((one.source, length), ban_of(&around)?);
        }
        let by_address = bans.keys().map(|source| (Address::from(*source), *source)).collect();
        Ok(Self { bans, nets, classes, own: written.own, scope: Scope::Host, now, by_address })
    }
}

/// Whether an address lies in a prefix, by its bits alone.
fn contains(net: IpAddr, length: Option<u8>, address: IpAddr) -> bool {
    let (net, address, bits) = match (net, address) {
        (IpAddr::V4(net), IpAddr::V4(address)) => {
            (u128::from(u32::from(net)), u128::from(u32::from(address)), 32)
        }
        (IpAddr::V6(net), IpAddr::V6(address)) => (u128::from(net), u128::from(address), 128),
        _ => return false,
    };
    let free = length.map_or(0, |length| bits - u32::from(length));
    free == 128 || net >> free == address >> free
}

fn ip_of(address: &Address) -> IpAddr {
    match address {
        Address::V4(word) => IpAddr::from(word.to_ne_bytes()),
        Address::V6(words) => {
            let mut octets = [0; 16];
            octets[..8].copy_from_slice(&words[0].to_ne_bytes());
            octets[8..].copy_from_slice(&words[1].to_ne_bytes());
            IpAddr::from(octets)
        }
    }
}

impl Class {
    fn indices(&self) -> anyhow::Result<Vec<u32>> {
        let mut indices = Vec::new();
        for protocol in &self.protocols {
            let tcp = match protocol.as_str() {
                "tcp" => true,
                "udp" => false,
                "all" => {
                    indices.extend(0..PORT_CLASS_ENTRIES);
                    continue;
                }
                "other" => {
                    indices.push(OTHER_INDEX);
                    continue;
                }
                unknown => bail!("class `{}`: there is no protocol `{unknown}`", self.name),
            };
            if self.ports.is_empty() {
                indices.extend((0..=u16::MAX).map(|port| port_index(tcp, port)));
            }
            indices.extend(self.ports.iter().map(|port| port_index(tcp, *port)));
        }
        Ok(indices)
    }
}

/// The tables of the host. (A plain rendering, which shares nothing with the kernel's maps.)
impl Tables for World {
    type Ban = Found;

    fn ban(&self, source: &Address) -> (Slot, Option<Found>) {
        (Slot::default(), self.by_address.get(source).copied().map(Found::Address))
    }

    fn net_ban(&self, source: &Address) -> Option<Found> {
        let source = ip_of(source);
        let around = self.nets.keys().filter(|(net, length)| contains(*net, Some(*length), source));
        let longest = around.max_by_key(|(_, length)| *length)?;
        Some(Found::Net(longest.0, longest.1))
    }

    fn has_nets(&self, source: &Address) -> bool {
        self.nets.keys().any(|(net, _)| net.is_ipv4() == matches!(source, Address::V4(_)))
    }

    fn count(&self, _source: &Address, _ban: Option<Found>) {}

    fn latest(&self, ban: Found, classes: u64) -> u64 {
        let found = match ban {
            Found::Address(address) => self.bans.get(&address),
            Found::Net(address, length) => self.nets.get(&(address, length)),
        };
        let slots = found.map(|ban| ban.slots).into_iter().flatten();
        slots.filter(|slot| slot.classes & classes != 0).map(|slot| slot.until).max().unwrap_or(0)
    }

    fn port_classes(&self, index: u32) -> u64 {
        if index == HIDDEN_INDEX { u64::MAX } else { *self.classes.get(&index).unwrap_or(&0) }
    }

    fn scope(&self) -> u32 {
        self.scope.number()
    }

    fn is_own(&self, address: &[u64; 2]) -> bool {
        self.own.iter().any(|own| Address::from(*own).mapped() == *address)
    }

    fn now(&self) -> u64 {
        self.now
    }
}
