//! Any bytes as what a client of Fail2Ban's sends: they are refused, or are a value
//! within the bounds that is written and read again as the same bytes.

#![no_main]

use guard::compat::pickle::{Bounds, decode, decode_answer, encode};
use guard::compat::value::Value;
use libfuzzer_sys::fuzz_target;

const BOUNDS: Bounds = Bounds { values: 500, depth: 8, text: 1 << 16 };

fuzz_target!(|input: &[u8]| {
    if let Ok(value) = decode(input, BOUNDS) {
        assert!(count(&value, 0) <= BOUNDS.values);
        let written = encode(&value);
        // It may take more steps than the first.
        let again = Bounds { values: 4 * BOUNDS.values, text: usize::MAX, ..BOUNDS };
        let again = decode(&written, again).expect("what was written");
        // Compared as bytes: no number equals one that is none.
        assert_eq!(encode(&again), written);
    }
    let _ = decode_answer(input, BOUNDS);
});

fn count(value: &Value, depth: u8) -> usize {
    assert!(depth <= BOUNDS.depth);
    let inner = match value {
        Value::List(items) | Value::Tuple(items) => {
            items.iter().map(|item| count(item, depth + 1)).sum()
        }
        Value::Dictionary(pairs) => {
            pairs.iter().map(|(key, value)| count(key, depth + 1) + count(value, depth + 1)).sum()
        }
        Value::Fault(_) => panic!("an error in a request"),
        _ => 0,
    };
    inner + 1
}
