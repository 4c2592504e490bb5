//! Any packet: the header walk and the judgement on the host say the same as each of the
//! loaded programs says in the kernel (`BPF_PROG_TEST_RUN`), and the kernel counts just
//! that verdict. This takes root.
//!
//! The first byte of the input says whether traffic to guests is in scope; the rest is the
//! packet. What is banned is in `tests/fixtures/packets/world.toml`.

#![no_main]

use std::cell::RefCell;

use guard_common::verdict::judge;
use guard_tests::packets::{Scope, World};
use guard_tests::test_run::{Loaded, Program, boot_nanos};
use libfuzzer_sys::fuzz_target;

struct Kernel {
    loaded: Loaded,
    world: World,
}

impl Kernel {
    fn new() -> Self {
        let mut loaded = Loaded::new(1024).expect("root, and a kernel with BPF");
        // What ends "now" has ended when the first packet comes.
        let world = World::at(boot_nanos()).expect("the world of the fixtures");
        loaded.fill(&world).expect("writing the maps");
        Self { loaded, world }
    }
}

thread_local! {
    static KERNEL: RefCell<Kernel> = RefCell::new(Kernel::new());
}

fuzz_target!(|input: &[u8]| {
    let Some((scope, packet)) = input.split_first() else { return };
    KERNEL.with_borrow_mut(|Kernel { loaded, world }| {
        let scope = if scope % 2 == 0 { Scope::Host } else { Scope::All };
        if world.scope != scope {
            world.scope = scope;
            loaded.set_scope(scope.number()).expect("writing the scope");
        }
        for program in Program::ALL.into_iter().filter(|program| program.takes(packet)) {
            let host = judge(&packet, program.link(), world).verdict;
            let kernel = loaded.judge(program, packet).expect("a run");
            assert_eq!(kernel, host, "{program:?}: {packet:02x?}");
        }
    });
});
