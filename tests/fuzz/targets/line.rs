//! Any text as a line of sshd or pvedaemon, before the filters that come with guard and
//! before the one that Proxmox guides publish.
//!
//! The first byte chooses who is said to have logged it.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use guard::config::{Settings, jails};
use guard::core::entry::{Daemon, Dating, Entry};
use guard::core::filter::Memory;
use guard::core::jail::{Jail, JailId};
use guard::core::time::Timestamp;
use libfuzzer_sys::fuzz_target;

static JAILS: LazyLock<Vec<Jail>> = LazyLock::new(|| {
    let place = std::env::temp_dir().join(format!("guard-fuzz-line-{}", std::process::id()));
    std::fs::create_dir_all(&place).expect("a directory");
    let text = "[sshd]\nenabled = true\nmode = aggressive\n[proxmox]\nenabled = true\n\
        [guide]\nenabled = true\nfilter = proxmox\n\
        failregex = pvedaemon\\[.*authentication failure; rhost=<HOST> user=.* msg=.*\n";
    std::fs::write(place.join("jail.local"), text).expect("writing a file");
    let settings = Settings {
        jail_directory: place.clone(),
        vendor_directory: Path::new("/nonexistent").to_owned(),
        ..Settings::default()
    };
    let loaded = jails(&settings);
    std::fs::remove_dir_all(&place).expect("removing the directory");
    assert_eq!(loaded.jails.len(), 3, "{}", loaded.diagnostics);
    loaded.jails
});

fuzz_target!(|text: &str| {
    let Some(first) = text.chars().next() else { return };
    let message = &text[first.len_utf8()..];
    let (daemon, before) = match first {
        's' => (Some(Daemon::Sshd), "pve sshd[1]: "),
        'p' => (Some(Daemon::Pvedaemon), "pve pvedaemon[1]: "),
        _ => (None, "pve other[1]: "),
    };
    let mut memories = [(); 3].map(|()| Memory::new(4));
    for (second, message) in (0..).zip(message.split('\n').take(8)) {
        let entry = Entry {
            time: Timestamp::from_seconds(second),
            dating: Dating::Known,
            line: format!("{before}{message}"),
            message_start: before.len(),
            daemon,
            jails: vec![JailId(0)],
        };
        for (jail, memory) in JAILS.iter().zip(&mut memories) {
            let finding = jail.filter.find(&entry, memory);
            assert_eq!(finding.step_limit, None, "{}", entry.line);
            assert!(memory.len() <= 4);
        }
    }
});
