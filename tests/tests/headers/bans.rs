//! The world of the packet cases, as enforcers are told of it.

use anyhow::{Result, bail};
use guard::core::addr::Prefix;
use guard::core::delta::{Ban, JailPorts, Snapshot};
use guard::core::jail::{JailId, JailName};
use guard::core::ports::{Ports, Protocols};
use guard::core::reason::Reason;
use guard::core::time::Timestamp;
use guard::enforce::Moment;
use guard_tests::packets::{Class, World};
use rustix::time::{ClockId, clock_gettime};

/// A jail for each class, and the bans that last.
pub(crate) fn snapshot() -> Result<Snapshot> {
    let (classes, listed) = World::listed()?;
    let mut snapshot = Snapshot { serial: 1, ..Snapshot::default() };
    for class in &classes {
        let name = JailName::new(&class.name)?;
        snapshot.jails.push(JailPorts { name, ports: ports(class)? });
    }
    for ban in listed {
        let Some(jail) = classes.iter().position(|class| class.name == ban.class) else {
            bail!("there is no class `{}`", ban.class)
        };
        snapshot.bans.push(Ban {
            jail: JailId(u16::try_from(jail)?),
            source: match ban.length {
                Some(length) => Prefix::new(ban.source, length)?,
                None => Prefix::host(ban.source),
            },
            since: now().wall,
            until: None,
            reason: Reason::Manual { forced: false },
        });
    }
    Ok(snapshot)
}

fn ports(class: &Class) -> Result<Ports> {
    let protocols: Vec<&str> = class.protocols.iter().map(String::as_str).collect();
    let protocols = match protocols[..] {
        ["tcp"] => Protocols::Tcp,
        ["udp"] => Protocols::Udp,
        ["tcp", "udp"] => Protocols::TcpAndUdp,
        ["all"] => Protocols::All,
        _ => bail!("no jail has the protocols {protocols:?}"),
    };
    Ok(Ports::new(protocols, class.ports.iter().map(|port| *port..=*port)))
}

/// This instant.
pub(crate) fn now() -> Moment {
    let micros = |clock| {
        let time = clock_gettime(clock);
        time.tv_sec * 1_000_000 + time.tv_nsec / 1_000
    };
    Moment {
        wall: Timestamp::from_micros(micros(ClockId::Realtime)),
        boot_nanos: micros(ClockId::Boottime).cast_unsigned() * 1_000,
    }
}
