//! The header walk and the judgement on the host, over the same cases as the kernel's.

use guard_common::packet::Link;
use guard_common::verdict::{Verdict, judge};
use guard_tests::packets::{NOW, World, cases};

#[test]
fn every_case_gets_its_verdict() {
    let mut world = World::at(NOW).expect("the world of the fixtures");
    let mut wrong = Vec::new();
    for case in cases().expect("the packet cases") {
        world.scope = case.scope;
        let judged = judge(&case.bytes.as_slice(), case.link, &world);
        if judged.verdict != case.verdict {
            wrong.push(format!(
                "{}: {:?}, not {:?}",
                case.description, judged.verdict, case.verdict
            ));
        }
        assert_eq!(judged.ban.is_some(), judged.verdict == Verdict::Drop, "{}", case.description);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_verdict_has_a_case() {
    let cases = cases().expect("the packet cases");
    for verdict in Verdict::ALL {
        for link in [Link::Ethernet, Link::Ip] {
            assert!(
                cases.iter().any(|case| case.verdict == verdict && case.link == link),
                "no case gives {} on {link:?}",
                verdict.name()
            );
        }
    }
}

/// Fail open: whatever a packet is cut to, it is unparsed up to some length, and judged as
/// the whole packet from there on.
#[test]
fn a_cut_packet_is_never_judged_wrongly() {
    let mut world = World::at(NOW).expect("the world of the fixtures");
    for case in cases().expect("the packet cases") {
        world.scope = case.scope;
        let verdicts: Vec<Verdict> = (0..=case.bytes.len())
            .map(|length| judge(&&case.bytes[..length], case.link, &world).verdict)
            .collect();
        assert_eq!(verdicts[0], Verdict::PassUnparsed);
        let judged = verdicts.partition_point(|verdict| *verdict == Verdict::PassUnparsed);
        for verdict in &verdicts[judged..] {
            assert_eq!(*verdict, case.verdict, "{}", case.description);
        }
    }
}
