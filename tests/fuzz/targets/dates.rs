//! Any text as a `datepattern`, and any text as the lines that it reads: it is refused,
//! or a line's date is found in the line, and the same line gives the same date again.
//!
//! The input is the pattern, a newline, and lines. An empty pattern stands for the
//! default forms.

#![no_main]

use guard::core::date::{DateFrom, Dates, Memory, Zone};
use guard::core::time::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (pattern, lines) = text.split_once('\n').unwrap_or(("", text));
    let Ok(dates) = Dates::compile(pattern, Zone::default()) else { return };
    let now = Timestamp::from_seconds(1_790_000_000);
    let mut memory = Memory::default();
    for line in lines.split('\n').take(4) {
        let found = dates.read(line, now, &mut memory);
        if found.from != DateFrom::Line {
            continue;
        }
        assert!(line.get(found.cut.clone()).is_some(), "{:?} of `{line}`", found.cut);
        // What was learned of the log does not change what a line says, read alone.
        let alone = dates.read(line, now, &mut Memory::default());
        assert_eq!(alone.from, DateFrom::Line, "`{line}`");
    }
});
