//! A store with bytes of it changed or its end cut off: it is opened and read, or refused,
//! and is there as before when it is refused.
//!
//! The input is a list of changes of six bytes each: where (four bytes), what to, and
//! whether to cut there instead.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use guard::core::addr::Prefix;
use guard::core::delta::Ban;
use guard::core::effects::Change;
use guard::core::entry::Position;
use guard::core::failure::Failure;
use guard::core::jail::{JailId, JailName};
use guard::core::reason::Reason;
use guard::core::time::Timestamp;
use guard::store::Store;
use libfuzzer_sys::fuzz_target;

/// In memory: the disk is not what is tried.
static PLACE: LazyLock<PathBuf> = LazyLock::new(|| {
    let place = PathBuf::from(format!("/dev/shm/guard-fuzz-store-{}", std::process::id()));
    fs::create_dir_all(&place).expect("a directory");
    place
});

static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let path = PLACE.join("whole.sqlite3");
    let names = [JailName::new("sshd").expect("a name")];
    let source: Prefix = "192.0.2.1".parse().expect("an address");
    let time = Timestamp::from_seconds(1);
    let ban = Ban {
        jail: JailId(0),
        source,
        since: time,
        until: None,
        reason: Reason::Manual { forced: false },
    };
    let failure = Failure { jail: JailId(0), source, time, user: Some("root".to_owned()) };
    let mut store = Store::open(&path).expect("a store");
    let changes = [
        Change::Ban(ban),
        Change::Count { failure, weight: 1 },
        Change::Position(Position { source: "journal".to_owned(), place: "s=0".to_owned(), time }),
    ];
    store.persist(&changes, &names).expect("written");
    drop(store);
    fs::read(&path).expect("the file")
});

fuzz_target!(|input: &[u8]| {
    let mut bytes = WHOLE.clone();
    for change in input.chunks_exact(6) {
        let at = u32::from_le_bytes([change[0], change[1], change[2], change[3]]) as usize;
        let at = at % bytes.len().max(1);
        match bytes.get_mut(at) {
            Some(_) if change[5] == 255 => bytes.truncate(at),
            Some(byte) => *byte = change[4],
            None => {}
        }
    }
    let path = PLACE.join("damaged.sqlite3");
    for side in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(PLACE.join(format!("damaged.sqlite3{side}")));
    }
    fs::write(&path, &bytes).expect("written");
    match Store::open(&path) {
        Ok(mut store) => {
            if store.load().is_err() {
                store.abandon();
                // Whether there is a log beside it is written in its header at the start.
                if bytes.get(18..20) == Some(&[2, 2][..]) {
                    assert_eq!(fs::read(&path).expect("still there"), bytes);
                }
            }
        }
        // An empty file is a new store; of any other nothing is taken away.
        Err(_) => assert_eq!(fs::read(&path).expect("still there"), bytes),
    }
});
