//! Any text as `guard.toml`: it is settings, or it is refused with a place in the file.

#![no_main]

use std::path::Path;

use guard::config::Settings;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(problems) = Settings::parse(Path::new("guard.toml"), text) {
        assert!(problems.has_errors(), "refused without an error: {text:?}");
        assert!(!problems.to_string().is_empty());
    }
});
