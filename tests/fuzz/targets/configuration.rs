//! Any bytes as the files of a `jail-directory`. A jail starts, or a diagnostic says
//! why not; nothing else happens.
//!
//! The input is the text of `jail.local`; a line `%%%% NAME` begins the next file.

#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use guard::config::{Settings, jails};
use libfuzzer_sys::fuzz_target;

/// Files that an input can give, beside `jail.local`.
const FILES: [&str; 5] =
    ["jail.conf", "jail.d/a.conf", "filter.d/a.conf", "filter.d/a.local", "filter.d/common.conf"];

static PLACE: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let place = base.join(format!("guard-fuzz-{}", std::process::id()));
    for directory in ["jail.d", "filter.d"] {
        fs::create_dir_all(place.join(directory)).expect("a directory for the files");
    }
    place
});

fuzz_target!(|input: &[u8]| {
    let place = &*PLACE;
    for name in FILES {
        let _ = fs::remove_file(place.join(name));
    }
    let mut name = "jail.local";
    let mut text: Vec<u8> = Vec::new();
    for line in input.split_inclusive(|byte| *byte == b'\n') {
        let next = line.strip_prefix(b"%%%% ").and_then(|named| {
            FILES.into_iter().find(|file| named.trim_ascii_end() == file.as_bytes())
        });
        match next {
            Some(next) => {
                fs::write(place.join(name), &text).expect("writing a file");
                text.clear();
                name = next;
            }
            None => text.extend_from_slice(line),
        }
    }
    fs::write(place.join(name), &text).expect("writing a file");

    let settings = Settings {
        jail_directory: place.clone(),
        vendor_directory: place.join("vendor"),
        ..Settings::default()
    };
    let loaded = jails(&settings);
    for problem in &loaded.diagnostics.0 {
        assert!(!problem.to_string().is_empty());
    }
    assert!(!loaded.jails.is_empty() || !loaded.diagnostics.0.is_empty(), "silence");
});
