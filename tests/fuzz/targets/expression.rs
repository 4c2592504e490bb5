//! Any text as an expression, and any text as the line that it looks at: it is refused,
//! or the search ends, and what it names lies in the line.
//!
//! The input is the expression, a newline, and the line.

#![no_main]

use guard::core::entry::{Dating, Entry};
use guard::core::filter::{Filter, FilterText, Limits, Memory};
use guard::core::jail::JailId;
use guard::core::time::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (expression, line) = text.split_once('\n').unwrap_or((text, ""));
    let text = FilterText { failregex: vec![expression.to_owned()], ..FilterText::default() };
    let limits = Limits { compiled_bytes: 1 << 20, steps: 5_000, ..Limits::default() };
    let Ok(filter) = Filter::compile(&text, limits) else { return };
    let mut memory = Memory::new(4);
    for second in 0..2 {
        let entry = Entry {
            time: Timestamp::from_seconds(second),
            dating: Dating::Known,
            line: line.replace('\n', "\\n"),
            message_start: 0,
            daemon: None,
            jails: vec![JailId(0)],
        };
        filter.find(&entry, &mut memory);
        assert!(memory.len() <= 4);
    }
});
