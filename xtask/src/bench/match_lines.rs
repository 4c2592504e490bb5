//! Log lines for `bench match`, made from a seed.
//!
//! Input: what kind, how many lines, and a seed. Output: the text of a log file with
//! syslog dates. Invariant: the same seed gives the same bytes, on every machine.

use std::fmt::Write as _;

/// Kinds of log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Messages of sshd, most of which its filter matches.
    Sshd,
    /// A system's log: 40 % of sshd's messages, one line in a thousand a failure.
    System,
    /// Messages of sshd whose clients are let in: sessions that begin and end; one in two
    /// hundred a failure.
    Sessions,
    /// Logs of many daemons, one line in fifty a failure of one of them.
    Mixed,
}

/// The generator of Vigna's `splitmix64`.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        let place = usize::try_from(self.below(texts.len() as u64)).unwrap_or(0);
        texts[place]
    }

    fn address(&mut self) -> String {
        let mut byte = |bound| 1 + self.below(bound);
        format!("{}.{}.{}.{}", byte(222), byte(254), byte(254), byte(254))
    }
}

const USERS: [&str; 12] = [
    "root", "admin", "oracle", "test", "git", "ubuntu", "postgres", "pi", "guest", "backup",
    "deploy", "www-data",
];

/// The lines of a log, each with its newline.
pub(crate) fn lines(kind: Kind, count: usize, seed: u64) -> String {
    let mut random = Random::new(seed);
    let mut log = Log { text: String::with_capacity(count * 110), lines: 0 };
    while log.lines < count {
        match kind {
            Kind::Sshd => connection(&mut random, &mut log),
            Kind::System => match random.below(1_000) {
                0 => failed(&mut random, &mut log),
                1..400 => quiet_sshd(&mut random, &mut log),
                _ => other(&mut random, &mut log),
            },
            Kind::Sessions => match random.below(200) {
                0 => failed(&mut random, &mut log),
                _ => session(&mut random, &mut log),
            },
            Kind::Mixed => match random.below(50) {
                0 => accused(&mut random, &mut log),
                1..15 => quiet_sshd(&mut random, &mut log),
                15..30 => served(&mut random, &mut log),
                _ => other(&mut random, &mut log),
            },
        }
    }
    log.text
}

struct Log {
    text: String,
    lines: usize,
}

impl Log {
    fn push(&mut self, tag: &str, message: &str) {
        let second = self.lines / 1_000;
        let (hour, minute, second) = (second / 3_600 % 24, second / 60 % 60, second % 60);
        let line = format!("Nov 22 {hour:02}:{minute:02}:{second:02} host {tag}: {message}");
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{line}");
        self.lines += 1;
    }
}

fn tag(program: &str, random: &mut Random) -> String {
    format!("{program}[{}]", 500 + random.below(90_000))
}

/// What one client of sshd leaves behind.
fn connection(random: &mut Random, log: &mut Log) {
    let tag = tag("sshd", random);
    let (user, address, port) =
        (random.one(&USERS), random.address(), 1_024 + random.below(60_000));
    let lines = match random.below(10) {
        0..4 => vec![
            format!("Invalid user {user} from {address} port {port}"),
            format!("Failed password for invalid user {user} from {address} port {port} ssh2"),
            format!("Connection closed by invalid user {user} {address} port {port} [preauth]"),
        ],
        4..8 => vec![
            format!("Failed password for {user} from {address} port {port} ssh2"),
            format!(
                "Connection closed by authenticating user {user} {address} port {port} [preauth]"
            ),
        ],
        8 => vec![
            format!(
                "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={address}  user={user}"
            ),
            format!("Failed password for {user} from {address} port {port} ssh2"),
            format!("Received disconnect from {address} port {port}:11: Bye Bye [preauth]"),
            format!("Disconnected from authenticating user {user} {address} port {port} [preauth]"),
        ],
        _ => vec![
            format!("Accepted password for {user} from {address} port {port} ssh2"),
            format!("pam_unix(sshd:session): session opened for user {user}(uid=1000) by (uid=0)"),
        ],
    };
    for line in lines {
        log.push(&tag, &line);
    }
}

fn failed(random: &mut Random, log: &mut Log) {
    let (user, address, port) =
        (random.one(&USERS), random.address(), 1_024 + random.below(60_000));
    let tag = tag("sshd", random);
    log.push(&tag, &format!("Failed password for {user} from {address} port {port} ssh2"));
}

fn quiet_sshd(random: &mut Random, log: &mut Log) {
    let (user, address, port) =
        (random.one(&USERS), random.address(), 1_024 + random.below(60_000));
    let tag = tag("sshd", random);
    let line = match random.below(4) {
        0 => format!(
            "Accepted publickey for {user} from {address} port {port} ssh2: ED25519 SHA256:{:022}",
            random.next()
        ),
        1 => format!("pam_unix(sshd:session): session opened for user {user}(uid=1000) by (uid=0)"),
        2 => format!("Disconnected from user {user} {address} port {port}"),
        _ => format!("pam_unix(sshd:session): session closed for user {user}"),
    };
    log.push(&tag, &line);
}

fn session(random: &mut Random, log: &mut Log) {
    let (user, tag) = (random.one(&USERS), tag("sshd", random));
    let line = match random.below(3) {
        0 => format!("pam_unix(sshd:session): session opened for user {user}(uid=1000) by (uid=0)"),
        1 => format!("pam_unix(sshd:session): session closed for user {user}"),
        _ => format!("User child is on pid {}", 500 + random.below(90_000)),
    };
    log.push(&tag, &line);
}

fn other(random: &mut Random, log: &mut Log) {
    let number = random.below(100_000);
    let user = random.one(&USERS);
    match random.below(6) {
        0 => log.push(
            "systemd[1]",
            &format!("Started session-{number}.scope - Session {number} of User {user}."),
        ),
        1 => log.push(
            &tag("CRON", random),
            &format!("({user}) CMD (test -x /usr/sbin/job && /usr/sbin/job --id {number})"),
        ),
        2 => {
            log.push(
                "kernel",
                &format!("[{number}.123456] veth{number}: entered promiscuous mode"),
            );
        }
        3 => log.push("systemd-logind[612]", &format!("New session {number} of user {user}.")),
        4 => log.push(
            &tag("dhclient", random),
            &format!("bound to {} -- renewal in {number} seconds.", random.address()),
        ),
        _ => log.push(
            "systemd[1]",
            &format!("run-docker-runtime-{number}.mount: Deactivated successfully."),
        ),
    }
}

/// Daemons that serve somebody.
fn served(random: &mut Random, log: &mut Log) {
    let (number, address, user) = (random.below(100_000), random.address(), random.one(&USERS));
    match random.below(4) {
        0 => log.push(&tag("postfix/smtpd", random), &format!("connect from unknown[{address}]")),
        1 => log.push(&tag("postfix/qmgr", random), &format!("{number:X}: removed")),
        2 => log.push(
            &tag("dovecot", random),
            &format!("imap-login: Login: user=<{user}>, method=PLAIN, rip={address}, lip=10.0.0.1, mpid={number}, TLS"),
        ),
        _ => log.push(
            &tag("named", random),
            &format!("client @0x7f {address}#{number} (example.org): query: example.org IN A +E(0)K (10.0.0.1)"),
        ),
    }
}

/// A failure of some daemon.
fn accused(random: &mut Random, log: &mut Log) {
    let (address, user) = (random.address(), random.one(&USERS));
    match random.below(4) {
        0 => failed(random, log),
        1 => log.push(
            &tag("postfix/smtpd", random),
            &format!("warning: unknown[{address}]: SASL LOGIN authentication failed: authentication failure"),
        ),
        2 => log.push(
            &tag("dovecot", random),
            &format!("imap-login: Disconnected (auth failed, 3 attempts in 9 secs): user=<{user}>, method=PLAIN, rip={address}, lip=10.0.0.1"),
        ),
        _ => log.push(
            &tag("proftpd", random),
            &format!("10.0.0.1 ({address}[{address}]) - USER {user} (Login failed): Incorrect password"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_lines_and_another_gives_others() {
        for kind in [Kind::Sshd, Kind::System, Kind::Sessions, Kind::Mixed] {
            assert_eq!(lines(kind, 1_000, 7), lines(kind, 1_000, 7));
            assert_ne!(lines(kind, 1_000, 7), lines(kind, 1_000, 8));
            assert!(lines(kind, 1_000, 7).lines().count() >= 1_000);
        }
    }

    #[test]
    fn the_shares_are_as_they_are_said_to_be() {
        let system = lines(Kind::System, 20_000, 1);
        let share = |part: &str| system.lines().filter(|line| line.contains(part)).count();
        assert!((7_600..8_400).contains(&share(" sshd[")));
        assert!((5..50).contains(&share("Failed password")));
    }
}
