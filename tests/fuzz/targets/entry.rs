//! Any fields as an entry of the journal: `NAME=VALUE`, each up to a zero byte.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let fields: Vec<(&[u8], &[u8])> = input
        .split(|byte| *byte == 0)
        .map(|field| {
            let end = field.iter().position(|byte| *byte == b'=').unwrap_or(field.len());
            (&field[..end], field.get(end + 1..).unwrap_or_default())
        })
        .collect();
    guard::source::journal::fuzzing::take(&fields);
});
