//! Any datagram as an answer of nf_tables: sets, elements, rules.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| guard::enforce::nft::fuzzing::read(datagram));
