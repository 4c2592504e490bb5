//! Every enforcer against one contract, in network namespaces of its own; and what is
//! particular to the nft one. This takes root.
//!
//! To add an enforcer, add a line like those at the end of the macro: what opens it,
//! called anew for each test and again for each reopening within one.

mod conformance;
mod live;
mod nft;
mod world;

use guard::enforce::Enforcer;
use guard::enforce::nft::Nft;
use guard::enforce::null::Null;
use guard::enforce::xdp::{Xdp, XdpOptions};
use guard_tests::bpffs::Bpffs;

/// The contract for one enforcer, and what it does to packets if it bans at all.
macro_rules! conforms {
    ($name:ident, $open:expr, live: $live:literal) => {
        mod $name {
            use super::*;

            #[test]
            fn done_twice_is_done_once() {
                conformance::done_twice_is_done_once($open);
            }

            #[test]
            fn any_state_is_reached_from_any_other() {
                conformance::any_state_is_reached_from_any_other($open);
            }

            #[test]
            fn what_ended_is_left_out() {
                conformance::what_ended_is_left_out($open);
            }

            #[test]
            fn what_survives_is_as_declared() {
                conformance::what_survives_is_as_declared($open);
            }

            #[test]
            fn detaching_leaves_nothing() {
                conformance::detaching_leaves_nothing($open);
            }

            #[test]
            fn packets_meet_the_bans() {
                if $live {
                    live::packets_meet_the_bans($open);
                } else {
                    live::packets_meet_no_bans($open);
                }
            }
        }
    };
}

fn open_null() -> Box<dyn Enforcer> {
    Box::new(Null::default())
}

fn open_nft() -> Box<dyn Enforcer> {
    Box::new(Nft::open().expect("open nf_tables"))
}

/// Opens one after the other on a bpffs of their own, which goes with the last.
fn open_xdp(exact_counters: usize) -> impl FnMut() -> Box<dyn Enforcer> + Send {
    let place = Bpffs::new().expect("a directory");
    move || {
        let directory = place.path();
        let options =
            XdpOptions { directory, bans: 4_096, exact_counters, ..XdpOptions::default() };
        Box::new(Xdp::open(options).expect("open BPF maps and programs"))
    }
}

conforms!(null_conforms, open_null, live: false);
conforms!(nft_conforms, open_nft, live: true);
conforms!(xdp_conforms, open_xdp(4_096), live: true);
// All IPv4 bans in the table.
conforms!(xdp_table_conforms, open_xdp(0), live: true);
// In the table when they are more than two.
conforms!(xdp_both_conform, open_xdp(2), live: true);
