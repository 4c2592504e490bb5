//! The jails of the simulation, and the engine that runs them.

use std::net::{Ipv4Addr, Ipv6Addr};

use guard::core::addr::Prefix;
use guard::core::allow::AllowList;
use guard::core::effects::Effects;
use guard::core::engine::{Engine, Limits, Seed, Stored};
use guard::core::entry::{Dating, Entry};
use guard::core::filter::{self, Filter, FilterText};
use guard::core::host::HostAddresses;
use guard::core::jail::{
    Escalation, IgnoreCommand, Jail, JailId, JailName, JournalMatch, LogSource,
};
use guard::core::ports::{Ports, Protocols};
use guard::core::question::{Answer, Ask, Question, Said};
use guard::core::time::{Span, Timestamp};

const LIMITS: Limits = Limits {
    tracked_failures: 1_000,
    bans: 1_000,
    connections: 100,
    known_sources: 1_000,
    history: Span::from_seconds(500),
};

/// Which jails a timeline has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `sshd` and `proxmox`, three failures in a minute, a hundred seconds.
    Plain,
    /// The bans of `sshd` grow, `proxmox` asks a command, and `recidive` reads both.
    All,
}

thread_local! {
    static PLAIN: Vec<Jail> = plain();
    static ALL: Vec<Jail> = all();
    static NAMES: [&'static [JailName]; 2] = [plain(), all()].map(|jails| {
        &*Box::leak(jails.into_iter().map(|jail| jail.name).collect::<Box<[JailName]>>())
    });
}

impl Kind {
    pub(crate) fn jails(self) -> Vec<Jail> {
        match self {
            Self::Plain => PLAIN.with(Clone::clone),
            Self::All => ALL.with(Clone::clone),
        }
    }

    pub(crate) fn names(self) -> &'static [JailName] {
        NAMES.with(|names| names[usize::from(self == Self::All)])
    }

    /// An engine with these jails.
    pub(crate) fn engine(self, stored: Stored, now: Timestamp) -> (Engine, Effects) {
        let allow: AllowList = [source(9)].into_iter().collect();
        let host = HostAddresses::default();
        let (mut engine, effects) = Engine::restore(self.jails(), allow, LIMITS, host, stored, now);
        engine.seed(Seed { secret: 7, process: 2_825 });
        (engine, effects)
    }
}

fn plain() -> Vec<Jail> {
    let filter = filter("^failed from <ADDR>$");
    let jail = |name: &str, port: u16| Jail {
        name: JailName::new(name).expect("a name"),
        ports: Ports::new(Protocols::Tcp, [port..=port]),
        max_retry: 3,
        find_time: Span::from_seconds(60),
        ban_time: Some(Span::from_seconds(100)),
        ipv6_prefix: Jail::IPV6_PREFIX,
        allow: AllowList::default(),
        filter: filter.clone(),
        source: LogSource::Journal(JournalMatch::default()),
        escalation: None,
        ignore_command: None,
        allow_elsewhere: Vec::new(),
    };
    vec![jail("sshd", 22), jail("proxmox", 8006)]
}

fn all() -> Vec<Jail> {
    let [mut sshd, mut proxmox]: [Jail; 2] = plain().try_into().expect("two jails");
    let line = r"^fail2ban\.actions +\[\d+\]: NOTICE +\[[^\]]*\] Ban <ADDR>$";
    let recidive = Jail {
        name: JailName::new("recidive").expect("a name"),
        ports: Ports::new(Protocols::Tcp, [1..=65_535]),
        max_retry: 2,
        find_time: Span::from_seconds(3_600),
        ban_time: Some(Span::from_seconds(10_000)),
        filter: filter(line),
        source: LogSource::OwnBans,
        ..sshd.clone()
    };
    sshd.escalation = Some(Escalation {
        factor: 1.0,
        multipliers: Vec::new(),
        max_time: None,
        random_time: Span::ZERO,
        over_all_jails: false,
    });
    let arguments = vec!["/bin/known".to_owned(), "<ip>".to_owned()];
    proxmox.ignore_command = Some(IgnoreCommand { arguments, cache: None });
    vec![sshd, proxmox, recidive]
}

fn filter(failregex: &str) -> Filter {
    let text = FilterText {
        name: "test".to_owned(),
        failregex: vec![failregex.to_owned()],
        ..FilterText::default()
    };
    Filter::compile(&text, filter::Limits::default()).expect("a filter")
}

/// What the command says: only the first source is known.
pub(crate) fn answer(question: &Question) -> Answer {
    let Ask::Run(arguments) = &question.ask else { panic!("not asked: {:?}", question.ask) };
    let known = arguments[..] == ["/bin/known", "192.0.2.1"];
    Answer { id: question.id, said: Ok(Said::Exited(i32::from(!known))) }
}

/// Who is banned: addresses, and as 3 and 4 two IPv6 networks.
pub(crate) fn source(n: u8) -> Prefix {
    match n {
        3 | 4 => inside(n, 0).counted_with(Jail::IPV6_PREFIX),
        _ => Ipv4Addr::new(192, 0, 2, n).into(),
    }
}

/// An address of whoever is banned: of a network, another one for each time.
fn inside(n: u8, time: i64) -> Prefix {
    let network = 0x2001_0db8_0000_0000_u64 | u64::from(n);
    match n {
        3 | 4 => {
            let low = u128::from(time.unsigned_abs());
            Ipv6Addr::from_bits(u128::from(network) << 64 | low).into()
        }
        _ => source(n),
    }
}

/// A failed attempt.
pub(crate) fn entry(n: u8, jail: u16, time: i64) -> Entry {
    let line = format!("failed from {}", inside(n, time));
    let jails = vec![JailId(jail)];
    let time = Timestamp::from_seconds(time);
    Entry { time, dating: Dating::Known, line, message_start: 0, daemon: None, jails }
}
