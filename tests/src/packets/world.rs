//! What is true while the packets are judged.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::IpAddr;

use anyhow::{Context, bail};
use guard_common::layout::{
    Ban, FOREVER, OTHER_INDEX, PORT_CLASS_ENTRIES, SCOPE_ALL, SCOPE_HOST, port_index,
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
    /// Banned sources.
    pub bans: HashMap<IpAddr, Ban>,
    /// Port classes, by their index; what is not here is in none.
    pub classes: HashMap<u32, u64>,
    /// This host's addresses.
    pub own: HashSet<IpAddr>,
    /// Whose traffic is guarded.
    pub scope: Scope,
    now: u64,
    by_address: HashMap<Address, IpAddr>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    own: HashSet<IpAddr>,
    class: Vec<Class>,
    ban: Vec<WrittenBan>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Class {
    name: String,
    protocols: Vec<String>,
    /// None at all: every port.
    #[serde(default)]
    ports: Vec<u16>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenBan {
    source: IpAddr,
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

impl World {
    /// The world of `world.toml`, its ends put around `now`.
    ///
    /// # Errors
    /// When the file cannot be read, or speaks of what it does not define.
    pub fn at(now: u64) -> anyhow::Result<Self> {
        let path = super::directory().join("world.toml");
        let text = fs::read_to_string(&path)?;
        let written: Written =
            toml::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
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
        let mut bans = HashMap::new();
        for written_ban in &written.ban {
            let mut ban = Ban::default();
            for (slot, written_slot) in ban.slots.iter_mut().zip(&written_ban.slots) {
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
            bans.insert(written_ban.source, ban);
        }
        let by_address = bans.keys().map(|source| (Address::from(*source), *source)).collect();
        Ok(Self { bans, classes, own: written.own, scope: Scope::Host, now, by_address })
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
    type Ban = IpAddr;

    fn ban(&self, source: &Address) -> Option<IpAddr> {
        self.by_address.get(source).copied()
    }

    fn latest(&self, ban: IpAddr, classes: u64) -> Option<u64> {
        let slots = self.bans.get(&ban).map(|ban| ban.slots).into_iter().flatten();
        slots.filter(|slot| slot.classes & classes != 0).map(|slot| slot.until).max()
    }

    fn port_classes(&self, index: u32) -> u64 {
        self.classes.get(&index).copied().unwrap_or(0)
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
