use proptest::prelude::*;

use super::*;

const KEY: &str = "pve sshd[1]:";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn address(text: &str) -> Who {
    Who::Address(text.parse().expect("an address"))
}

/// A line from `host` (if any) as `user` (if any); `flags` of `n`ofail, `g`ained, `f`orget.
fn line(host: &str, user: &'static str, flags: &str) -> Line<'static> {
    Line {
        who: (!host.is_empty()).then(|| address(host)),
        user: (!user.is_empty()).then_some(user),
        no_failure: flags.contains('n'),
        gained: flags.contains('g'),
        forget: flags.contains('f'),
    }
}

/// Failures of a connection's lines, one second apart.
fn failures(lines: &[(&str, &'static str, &str)]) -> Vec<bool> {
    let (mut memory, mut changes) = (Memory::new(8_192), Changes::new());
    (0..)
        .zip(lines)
        .map(|(second, (host, user, flags))| {
            memory.merge(KEY, at(second), &line(host, user, flags), &mut changes).is_some()
        })
        .collect()
}

#[test]
fn several_lines_are_one_attempt() {
    let host = "192.0.2.1";
    for (lines, expected) in [
        // A helper line is none; the failure it helps is one.
        (&[(host, "a", "n"), ("", "a", "")][..], &[false, true][..]),
        // Every failing line is one.
        (&[(host, "a", ""), (host, "a", ""), (host, "a", "nf")], &[true, true, false]),
        // A failure waits for the address, which even a helper line may bring.
        (&[("", "a", ""), (host, "a", "nf")], &[false, true]),
        // Waiting ends with a login.
        (&[("", "a", ""), (host, "a", "g")], &[false, false]),
        (&[(host, "a", "n"), (host, "a", "gf"), (host, "a", "nf")], &[false, false, false]),
        // A second user name makes helper lines failures, and a login too.
        (&[(host, "a", "n"), (host, "b", "n"), (host, "b", "n")], &[false, true, true]),
        (&[(host, "a", "n"), (host, "b", "gf")], &[false, true]),
        // After the end nothing is known any more.
        (&[(host, "a", "n"), (host, "a", "nf"), (host, "b", "n")], &[false, false, false]),
        (&[(host, "a", "f"), ("", "a", "")], &[true, false]),
    ] {
        assert_eq!(failures(lines), expected, "{lines:?}");
    }
}

#[test]
fn a_connection_is_forgotten_after_its_time_and_that_is_reported() {
    let (mut memory, mut changes) = (Memory::new(8_192), Changes::new());
    memory.merge(KEY, at(1_000), &line("192.0.2.1", "a", "n"), &mut changes);
    assert!(memory.state(&changes[0]).is_some());
    changes.clear();
    memory.expire(at(1_300), &mut changes);
    assert_eq!((memory.len(), changes.len()), (1, 0));
    memory.expire(at(1_301), &mut changes);
    assert_eq!((memory.len(), changes), (0, Changes::from_iter([KEY.into()])));
    assert_eq!(memory.state(KEY), None);
}

#[test]
fn a_clock_that_was_set_back_does_not_keep_connections_for_ever() {
    let (mut memory, mut changes) = (Memory::new(8_192), Changes::new());
    memory.merge(KEY, at(1_000_000), &line("192.0.2.1", "a", "n"), &mut changes);
    memory.expire(at(1_000), &mut changes);
    assert!(memory.is_empty());
}

#[test]
fn the_oldest_make_room() {
    let (mut memory, mut changes) = (Memory::new(8_192), Changes::new());
    for number in 0..=8_192 {
        let key = format!("pve sshd[{number}]:");
        memory.merge(&key, at(5), &line("192.0.2.1", "a", "n"), &mut changes);
    }
    assert_eq!(memory.len(), 8_192);
    let forgotten: Vec<_> = changes.iter().filter(|key| memory.state(key).is_none()).collect();
    assert_eq!(forgotten, [&"pve sshd[0]:".into(); 2]);
    assert!(!memory.connections.contains_key("pve sshd[0]:"));
    assert!(memory.connections.contains_key("pve sshd[1]:"));
}

#[test]
fn an_unreadable_state_is_no_state() {
    let mut memory = Memory::new(8_192);
    assert!(!memory.restore(KEY, "nonsense"));
    assert!(memory.is_empty());
}

proptest! {
    /// A restart at any moment changes nothing: what was reported, restored, goes on
    /// as what stayed in memory does.
    #[test]
    fn what_is_reported_restores_the_same_memory(
        lines in prop::collection::vec(
            (0..4_usize, 0..3_usize, 0..4_usize, "n?g?f?", 0..200_i64), 1..40),
        restart in 0..40_usize,
    ) {
        let keys = ["k1", "k2", "k|3", "k\\4"];
        let hosts = ["", "192.0.2.1", "2001:db8::1"];
        let users = ["", "a", "b|c", "d\\"];
        let mut memory = Memory::new(8_192);
        let mut stored: HashMap<String, String> = HashMap::new();
        let mut other = memory.clone();
        let mut now = 0;
        for (number, (key, host, user, flags, gap)) in lines.iter().enumerate() {
            if number == restart {
                other = Memory::new(8_192);
                for (key, state) in &stored {
                    prop_assert!(other.restore(key, state));
                }
            }
            now += gap;
            let line = line(hosts[*host], users[*user], flags);
            let (mut changes, mut others) = (Changes::new(), Changes::new());
            memory.expire(at(now), &mut changes);
            other.expire(at(now), &mut others);
            let found = memory.merge(keys[*key], at(now), &line, &mut changes);
            prop_assert_eq!(&found, &other.merge(keys[*key], at(now), &line, &mut others));
            for key in changes {
                stored.remove(&*key);
                stored.extend(memory.state(&key).map(|state| (key.to_string(), state)));
            }
            prop_assert_eq!(stored.len(), memory.len());
            for (key, state) in &stored {
                let now = memory.state(key);
                prop_assert_eq!(now.as_ref(), Some(state), "reported in time");
            }
        }
    }
}
