//! What an enforcer does to packets: from the banned address to the jail's port no
//! connection is made; to another port, and from the neighbour's address, it is. Before
//! the ban, during it and after it, for both families.

use std::time::Duration;

use guard::core::delta::Delta;
use guard::enforce::Enforcer;

use crate::conformance::{ban, bans, held, snapshot, unban};
use crate::world::{FAMILIES, GUARDED, OPEN, World, now};

/// How long a connection may take that shall be made: the machine may be busy.
const MADE: Duration = Duration::from_secs(10);
/// How long is waited for one that shall not: on one cable an answer takes well below
/// a millisecond, and the next try of the client would come after a second.
const NOT_MADE: Duration = Duration::from_millis(500);

/// For an enforcer that bans.
pub(crate) fn packets_meet_the_bans(mut open: impl FnMut() -> Box<dyn Enforcer> + Send) {
    let world = World::new();
    let host = world.described();
    // An interface's number means something in its own namespace alone.
    let open = &mut || {
        world.host.run(|| {
            let mut enforcer = open();
            enforcer.follow(&host).expect("follow the host");
            enforcer
        })
    };
    let mut enforcer = open();
    let jails = [("sshd", GUARDED)];
    enforcer.replace(&snapshot(&jails, &[]), now()).expect("replace");
    covers_the_uplink(&*enforcer);
    for (to, banned, _) in FAMILIES {
        expect(&world, to, false);
        enforcer.apply(&[Delta::Ban(ban(0, banned))], now()).expect("ban");
        expect(&world, to, true);
        counts(&mut *enforcer, banned);
        enforcer.apply(&[unban(0, banned)], now()).expect("unban");
        expect(&world, to, false);
    }

    // A snapshot bans just so, and what the agent leaves behind is as declared.
    let all = FAMILIES.map(|(_, banned, _)| ban(0, banned));
    let snapshot = snapshot(&jails, &all);
    enforcer.replace(&snapshot, now()).expect("replace");
    FAMILIES.iter().for_each(|(to, ..)| expect(&world, to, true));
    let survives = enforcer.capabilities().survives_agent;
    drop(enforcer);
    FAMILIES.iter().for_each(|(to, ..)| expect(&world, to, survives));
    let mut enforcer = open();
    enforcer.replace(&snapshot, now()).expect("replace by the same");
    FAMILIES.iter().for_each(|(to, ..)| expect(&world, to, true));
    enforcer.detach().expect("detach");
    FAMILIES.iter().for_each(|(to, ..)| expect(&world, to, false));
}

/// For an enforcer that only remembers.
pub(crate) fn packets_meet_no_bans(mut open: impl FnMut() -> Box<dyn Enforcer> + Send) {
    let world = World::new();
    let mut enforcer = world.host.run(&mut open);
    enforcer.follow(&world.described()).expect("follow the host");
    let all = FAMILIES.map(|(_, banned, _)| ban(0, banned));
    enforcer.replace(&snapshot(&[("sshd", GUARDED)], &all), now()).expect("replace");
    let told = FAMILIES.map(|(_, banned, _)| ("sshd", banned));
    assert_eq!(held(&mut *enforcer), bans(&told));
    FAMILIES.iter().for_each(|(to, ..)| expect(&world, to, false));
    let coverage = enforcer.coverage();
    assert!(coverage.iter().all(|covered| covered.means == "none" && !covered.reason.is_empty()));
}

/// Checks the banned address and its neighbours: in the address, and in the port.
fn expect(world: &World, to: &str, banned_now: bool) {
    let (_, banned, beside) =
        FAMILIES.into_iter().find(|(host, ..)| *host == to).expect("a host of the world");
    let within = if banned_now { NOT_MADE } else { MADE };
    let made = world.connects(banned, to, GUARDED, within);
    assert_eq!(made, !banned_now, "from {banned} to port {GUARDED} while banned: {banned_now}");
    assert!(world.connects(banned, to, OPEN, MADE), "from {banned} to the open port");
    assert!(world.connects(beside, to, GUARDED, MADE), "from the neighbour {beside}");
}

fn covers_the_uplink(enforcer: &dyn Enforcer) {
    let coverage = enforcer.coverage();
    let names: Vec<_> = coverage.iter().map(|covered| covered.interface.as_str()).collect();
    assert_eq!(names, ["uplink"], "every interface but loopback");
    assert_ne!(coverage[0].means, "none", "{}", coverage[0].reason);
}

/// Drops are counted for the banned address, if they are counted at all.
fn counts(enforcer: &mut dyn Enforcer, banned: &str) {
    let counts = enforcer.capabilities().counts_drops;
    let held = enforcer.held(now()).expect("read what is held");
    let dropped = held.iter().find(|held| held.source.to_string() == banned).expect("held").dropped;
    assert!(counts || dropped.is_none());
    if let Some(dropped) = dropped {
        // At least the first packet of the connection that was tried: an IP and a TCP
        // header at the least.
        // One that is sampled may not have been met yet.
        let counted = dropped.packets >= 1 && dropped.bytes >= 40;
        assert!(counted || dropped.sampled, "{dropped:?}");
    }
}
