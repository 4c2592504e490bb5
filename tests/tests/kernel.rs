//! The eBPF programs in the real kernel, by `BPF_PROG_TEST_RUN`. Needs root and BPF.
//!
//! Every packet case runs through every program that it fits; so do all its truncations,
//! and random damage to it, for which the host's judgement is the measure.

use std::collections::HashMap;
use std::net::IpAddr;

use guard_common::layout::Ban;
use guard_common::packet::Link;
use guard_common::verdict::{Verdict, judge};
use guard_tests::packets::{Case, Found, Packet, World, cases};
use guard_tests::test_run::{Loaded, Program, boot_nanos};

struct Setup {
    loaded: Loaded,
    world: World,
    cases: Vec<Case>,
}

fn setup() -> Setup {
    let mut loaded = Loaded::new(1024).expect("root, and a kernel with BPF");
    // The ban that ends "now" has ended when the first packet comes.
    let world = World::at(boot_nanos()).expect("the world of the fixtures");
    loaded.fill(&world).expect("writing the maps");
    Setup { loaded, world, cases: cases().expect("the packet cases") }
}

impl Setup {
    /// The programs that the kernel can run on a packet.
    fn programs(&self, link: Link, packet: &[u8]) -> Vec<Program> {
        let fits = |program: &Program| {
            self.loaded.has(*program) && program.link() == link && program.takes(packet)
        };
        Program::ALL.into_iter().filter(fits).collect()
    }

    fn scope(&mut self, case: &Case) {
        self.world.scope = case.scope;
        self.loaded.set_scope(case.scope.number()).expect("writing the scope");
    }

    fn held(&self) -> HashMap<Found, Ban> {
        let addresses = self.world.bans.keys().map(|address| Found::Address(*address));
        let nets = self.world.nets.keys().map(|(net, length)| Found::Net(*net, *length));
        addresses.chain(nets).map(|found| (found, self.loaded.ban(found).expect("a ban"))).collect()
    }

    /// Both judgements of a packet, which must be the same.
    fn agree(&mut self, program: Program, packet: &[u8], what: &str) -> Verdict {
        let host = judge(&packet, program.link(), &self.world).verdict;
        let kernel = self.loaded.judge(program, packet).expect(what);
        assert_eq!(kernel, host, "{what}, {program:?}, {packet:02x?}");
        kernel
    }
}

#[test]
fn every_case_gets_its_verdict_and_is_counted() {
    let mut setup = setup();
    let mut drops = 0;
    for case in setup.cases.clone() {
        setup.scope(&case);
        for program in setup.programs(case.link, &case.bytes) {
            let what = &case.description;
            let judged = judge(&case.bytes.as_slice(), case.link, &setup.world);
            let before = setup.held();
            let verdict = setup.loaded.judge(program, &case.bytes).expect(what);
            assert_eq!(verdict, case.verdict, "{what} ({program:?})");
            // Exactly the ban that the drop is put down to has counted it.
            for (source, after) in setup.held() {
                let mut expected = before[&source];
                if judged.ban == Some(source) {
                    expected.packets += 1;
                    expected.bytes += case.bytes.len() as u64;
                    drops += 1;
                }
                assert_eq!(after, expected, "{what} ({program:?}): the ban of {source:?}");
            }
        }
    }
    assert!(drops > 0);
}

#[test]
fn every_truncation_is_judged_as_on_the_host() {
    let mut setup = setup();
    let mut runs = [0; Program::ALL.len()];
    for case in setup.cases.clone() {
        setup.scope(&case);
        // The longest header walk of the cases but one, and some more.
        for length in 0..case.bytes.len().min(160) {
            let packet = &case.bytes[..length];
            for program in setup.programs(case.link, packet) {
                setup.agree(program, packet, &case.description);
                runs[Program::ALL.iter().position(|other| *other == program).expect("known")] += 1;
            }
        }
    }
    let few = |(program, runs): (Program, &i32)| setup.loaded.has(program) && *runs <= 500;
    assert!(!Program::ALL.into_iter().zip(&runs).any(few), "{runs:?}");
}

#[test]
fn damaged_packets_are_judged_as_on_the_host() {
    let seed = match std::env::var("GUARD_SEED") {
        Ok(text) => text.parse().expect("GUARD_SEED is a number"),
        Err(_) => 0x6775_6172_6421_2026,
    };
    println!("GUARD_SEED={seed}");
    let mut random = Random(seed);
    let mut setup = setup();
    let cases = setup.cases.clone();
    let mut seen = HashMap::new();
    for _ in 0..guard_tests::pace::cases(20_000) {
        let case = &cases[random.below(cases.len())];
        let packet = random.damage(&case.bytes);
        setup.scope(case);
        let fitting: Vec<Program> = setup.programs(case.link, &packet);
        if fitting.is_empty() {
            continue;
        }
        let program = fitting[random.below(fitting.len())];
        let verdict = setup.agree(program, &packet, &case.description);
        *seen.entry(verdict.name()).or_insert(0) += 1;
    }
    println!("{seen:?}");
    assert_eq!(seen.len(), Verdict::ALL.len(), "some verdict was never met: {seen:?}");
}

/// A frame of several buffers is counted with all its bytes.
#[test]
fn a_jumbo_frame_is_dropped_and_counted_whole() {
    let mut setup = setup();
    if !setup.loaded.has(Program::Xdp) {
        // `fixtures/kernels.toml` says for which kernels that is so.
        return;
    }
    let source = IpAddr::from([203, 0, 113, 9]);
    let packet = Packet { source: Some(source), payload: Some(8_900), ..Packet::default() };
    let frame = packet.ethernet().expect("a frame");
    assert_eq!(setup.loaded.judge(Program::Xdp, &frame).expect("a run"), Verdict::Drop);
    let ban = setup.loaded.ban(Found::Address(source)).expect("the ban");
    assert_eq!((ban.packets, ban.bytes), (1, frame.len() as u64));
}

/// The programs look at the clock once in so many nanoseconds, at the least.
const TICK: u64 = 10_000_000;

/// A ban ends by the kernel's clock, with nobody there to lift it.
#[test]
fn a_ban_ends_by_itself() {
    let mut setup = setup();
    let program = setup.loaded.xdp();
    let source = IpAddr::from([203, 0, 113, 9]);
    let frame = Packet { source: Some(source), ..Packet::default() }.ethernet().expect("a frame");
    let mut ban = setup.world.bans[&source];
    // Long enough for the first packet to come in time, even on a busy machine.
    ban.slots[0].until = boot_nanos() + 2_000_000_000;
    setup.loaded.set_ban(source, &ban).expect("writing the ban");
    assert_eq!(setup.loaded.judge(program, &frame).expect("a run"), Verdict::Drop);
    // The end is waited for by asking the program itself.
    let verdict = loop {
        let before = boot_nanos();
        match setup.loaded.judge(program, &frame).expect("a run") {
            Verdict::Drop => {
                assert!(before < ban.slots[0].until + TICK, "dropped after its end");
            }
            verdict => break verdict,
        }
    };
    assert_eq!(verdict, Verdict::PassEnded);
    assert!(boot_nanos() >= ban.slots[0].until, "passed before its end");
}

#[test]
fn the_ban_maps_hold_as_many_as_asked_for_and_no_more() {
    let mut loaded = Loaded::new(3).expect("root, and a kernel with BPF");
    for last in 1..=3 {
        loaded.set_ban(IpAddr::from([192, 0, 2, last]), &Ban::default()).expect("room for three");
    }
    let error = loaded.set_ban(IpAddr::from([192, 0, 2, 4]), &Ban::default());
    let error = format!("{:?}", error.expect_err("no room for a fourth"));
    assert!(error.contains("too long"), "not E2BIG: {error}");
}

/// xorshift64*: the same packets on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(drawn).expect("31 bits") % bound
    }

    /// The packet with up to three bytes changed, and one time in four cut.
    fn damage(&mut self, packet: &[u8]) -> Vec<u8> {
        // Bytes with a meaning somewhere in the headers.
        const MEANING: [u8; 11] = [0, 6, 8, 17, 43, 44, 60, 0x45, 0x60, 0x81, 0xff];
        let mut packet = packet.to_vec();
        for _ in 0..self.below(4) {
            let at = self.below(packet.len().min(100));
            packet[at] = match self.below(3) {
                0 => packet[at] ^ (1 << self.below(8)),
                1 => u8::try_from(self.below(256)).expect("a byte"),
                _ => MEANING[self.below(MEANING.len())],
            };
        }
        if self.below(4) == 0 {
            packet.truncate(self.below(packet.len() + 1));
        }
        packet
    }
}
