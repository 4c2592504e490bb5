//! No banned packet passes while the XDP enforcer changes, restarts, is upgraded or
//! grows; and what it says without the right to use BPF.

use std::time::Duration;

use anyhow::Result;
use guard::core::delta::{JailPorts, Snapshot};
use guard::core::jail::{JailId, JailName};
use guard::core::ports::{Ports, Protocols};
use guard::enforce::Enforcer;
use guard::enforce::xdp::{Xdp, XdpOptions};
use guard_common::verdict::Verdict;
use guard_tests::flood::{Flooded, flooded};
use guard_tests::lan::{ATTACKER, Lan};
use guard_tests::namespace;
use rustix::thread::CapabilitySet;

use crate::bed::{Bpffs, Opens, SSH, ban, held, host, now, snapshot};

fn jail(name: &str, ports: std::ops::RangeInclusive<u16>) -> JailPorts {
    JailPorts {
        name: JailName::new(name).expect("a name"),
        ports: Ports::new(Protocols::TcpAndUdp, [ports]),
    }
}

/// Snapshots in all of which the attacker is banned from port 22, each time in another
/// jail, under another number, or with other ports.
fn stages() -> Vec<Snapshot> {
    let of = |jails: Vec<JailPorts>, jail: u16| Snapshot {
        serial: 1,
        bans: vec![ban(jail, ATTACKER, None)],
        jails,
        ..Snapshot::default()
    };
    let mut two = of(vec![jail("x", 80..=80), jail("sshd", 22..=23)], 1);
    two.bans.push(ban(0, ATTACKER, Some(Duration::from_secs(60))));
    vec![
        of(vec![jail("sshd", 22..=22), jail("x", 80..=80)], 0),
        two,
        of(vec![jail("wide", 1..=1000)], 0),
        of(vec![jail("a", 7..=7), jail("b", 9..=9), jail("c", 22..=22)], 2),
    ]
}

#[test]
fn no_banned_packet_passes_while_anything_changes() -> Result<()> {
    namespace::sweep()?;
    let lan = Lan::new()?;
    let bpffs = Bpffs::new()?;
    let stages = stages();
    let follow = |xdp: &mut Xdp| -> Result<()> {
        let host = host(&lan.host)?;
        lan.host.run(|| Ok(xdp.follow(&host)?))
    };
    let mut xdp = Xdp::open(bpffs.options())?;
    xdp.replace(&stages[0], now())?;
    follow(&mut xdp)?;

    let Flooded { sent, passed, received } = flooded(&lan, SSH, |flood| {
        for round in 0..40_usize {
            xdp.replace(&stages[round % stages.len()], now())?;
            // Some packets meet what was changed.
            flood.goes_on()?;
            // Restarted each third time, and with maps of another size each sixth.
            if round % 3 == 2 {
                let bans = if round % 6 == 5 { 64 } else { 128 };
                xdp = Xdp::open(XdpOptions { bans, ..bpffs.options() })?;
                follow(&mut xdp)?;
            }
        }
        Ok(())
    })?;
    assert!(sent > 8000 && received > 1000, "{sent} sent, {received} of the neighbour received");
    assert_eq!(passed, 0, "of {sent} banned packets");
    let totals = xdp.totals()?;
    assert!(totals.iter().any(|(verdict, count)| *verdict == Verdict::Drop && count.packets > 0));
    Ok(())
}

#[test]
fn jails_that_share_a_class_are_still_told_apart() -> Result<()> {
    let bpffs = Bpffs::new()?;
    let mut xdp = Xdp::open(bpffs.options())?;
    let mut desired = snapshot(vec![ban(3, ATTACKER, None), ban(5, ATTACKER, None)]);
    desired.jails =
        (0..70).map(|n| jail(&format!("j{n:02}"), 1000 + n % 2..=1000 + n % 2)).collect();
    xdp.replace(&desired, now())?;
    assert_eq!(held(&mut xdp)?, ["j03 10.3.0.1", "j05 10.3.0.1"]);
    let lift =
        |jail| guard::core::delta::Delta::Unban { jail: JailId(jail), source: ATTACKER.into() };
    xdp.apply(&[lift(3), lift(1)], now())?;
    assert_eq!(held(&mut xdp)?, ["j05 10.3.0.1"]);
    xdp.apply(&[lift(5)], now())?;
    assert_eq!(held(&mut xdp)?, Vec::<String>::new());
    desired.jails = (0..70).map(|n| jail(&format!("j{n:02}"), n..=n)).collect();
    let error = xdp.replace(&desired, now()).expect_err("70 port sets").to_string();
    assert!(error.contains("70 different port sets") && error.contains("64"), "{error}");
    Ok(())
}

#[test]
fn without_the_right_to_use_bpf_it_says_what_is_missing() -> Result<()> {
    let bpffs = Bpffs::new()?;
    let options = bpffs.options();
    // The capabilities of a thread are its own.
    let error = std::thread::spawn(move || {
        let mut own = rustix::thread::capabilities(None).expect("capabilities are readable");
        own.effective
            .remove(CapabilitySet::BPF | CapabilitySet::SYS_ADMIN | CapabilitySet::PERFMON);
        rustix::thread::set_capabilities(None, own).expect("a right can be laid down");
        Xdp::open(options).expect_err("BPF is not permitted").to_string()
    });
    let error = error.join().expect("the thread ends");
    assert!(error.contains("CAP_BPF"), "{error}");
    Ok(())
}
