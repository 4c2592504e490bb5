//! Messages of OpenSSH's server, 8.4 to 10, that hold text of the client or its address.
//!
//! Source: the `logit`, `error`, `verbose` and `fatal` calls of OpenSSH (auth.c,
//! auth2*.c, auth-pam.c, packet.c, kex.c, sshd.c, sshd-session.c, monitor.c, session.c,
//! serverloop.c, channels.c) and of Debian's patches. In messages about a user the
//! daemon's own address is the last one, because the user name stands before it; in
//! messages that quote what the client sent it is the first.

use super::{Form, either, failure, form};

/// Cuts off what OpenSSH puts before a message: its level, and the name of the step
/// that failed before `Connection from`. Also returns how many bytes that was.
pub(super) fn without_level(message: &str) -> (usize, &str) {
    // Nearly all messages begin with a word of their own.
    if message.as_bytes().first().is_some_and(u8::is_ascii_uppercase) {
        return (0, message);
    }
    let mut rest = message;
    for level in ["error: ", "fatal: ", "debug1: ", "debug2: ", "debug3: "] {
        if let Some(after) = rest.strip_prefix(level) {
            rest = after;
            break;
        }
    }
    let is_step = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_';
    let end = rest.bytes().position(|b| !is_step(&b) && b != b' ').unwrap_or(rest.len());
    let (step, after) = rest.split_at(end);
    if after.starts_with(": Connection from ")
        && (step == "banner exchange" || step.as_bytes().iter().all(is_step))
    {
        rest = &after[2..];
    }
    (message.len() - rest.len(), rest)
}

/// Methods after which nothing of the client's follows the address.
const PLAIN: &str = concat!(
    "(?:password|none|keyboard-interactive(?:/[^ ]+)?)",
    " for <name> from <host>(?: port [0-9]+)?(?: ssh[0-9]*)?",
);
/// A key without certificate: its type and fingerprint end the message, and after a
/// certificate's id there is more between `ssh2:` and such an end.
const KEY: &str = concat!(
    "publickey for <name> from <host> port [0-9]+ ssh2",
    r"(?:: [A-Z0-9-]+ (?:SHA[0-9]+:[0-9A-Za-z+/=]+|(?:MD5:)?[0-9a-f:]+|\(null\))",
    "(?:, signature count = [0-9]+)?)?",
);
/// A certificate's id, a host's name, a principal: the client's text follows.
const OTHER: &str = "[^ ]+ for <name> from <host> port [0-9]+ ssh2(?:: <c>)?";

pub(super) static FORMS: [Form; 83] = [
    // Who tries to log in, and how it went.
    failure("Invalid user ", "<c> from <peer>"),
    failure("Illegal user ", "<c> from <peer>"),
    failure("Failed ", PLAIN),
    failure("Failed ", KEY),
    either(failure("Failed ", OTHER)),
    form("Accepted ", PLAIN),
    form("Accepted ", KEY),
    either(form("Accepted ", OTHER)),
    form("Accepted ", "<c>"),
    form("Postponed ", PLAIN),
    form("Postponed ", KEY),
    either(form("Postponed ", OTHER)),
    form("Partial ", PLAIN),
    form("Partial ", KEY),
    either(form("Partial ", OTHER)),
    failure(
        "maximum authentication attempts exceeded for ",
        "<name> from <host>(?: port [0-9]+)?(?: ssh[0-9]*)?",
    ),
    failure(
        "User ",
        concat!(
            "<c> from <host> not allowed because (?:not listed in AllowUsers|listed in DenyUsers",
            "|not in any group|a group is listed in DenyGroups",
            "|none of user's groups are listed in AllowGroups)",
        ),
    ),
    failure("User ", "<c> not allowed because account is locked"),
    form("User ", "<c>"),
    failure("ROOT LOGIN REFUSED FROM ", "<peer>"),
    failure("PAM: ", "[A-Za-z ]*? for <name> from <host>"),
    form("PAM: ", "<c>"),
    form("Username too long from ", "<peer>"),
    form("administratively prohibited connection for ", "<name> from <peer>"),
    form("public key ", "<c> signature for <name> from <host> port [0-9]+ rejected: [a-z() ]+"),
    failure("refused connect from ", r"<c> \(<host>\)"),
    // A connection and its end.
    form("Connection closed by ", "<user>"),
    form("Connection closed by ", "<peer>"),
    form("Connection reset by ", "<user>"),
    form("Connection reset by ", "<peer>"),
    form("Disconnected from ", "<user>"),
    form("Disconnected from ", "<peer>"),
    form("Connection from ", "<user> timed out"),
    form("Connection from ", "<peer> timed out"),
    form("Connection from ", "<host> port [0-9]+ on <c> port [0-9]+(?: rdomain <c>)?"),
    form("Connection from ", "<host> port [0-9]+ with IP opts: <c>"),
    form("Connection from ", "<user>(?:: [^0-9]*)?"),
    form("Connection from ", "<peer>(?:: <c>)?"),
    form("Received disconnect from ", "<peer>: ?[0-9]+: <c>"),
    either(form("Disconnecting ", "<user>: <c>")),
    form("Disconnecting ", "<peer>: <c>"),
    form("Disconnecting: ", "<c>"),
    either(form("Unable to negotiate with ", "<user>: <c>")),
    form("Unable to negotiate with ", "<peer>: <c>"),
    form("Timeout before authentication for ", "connection from <host> to <c>"),
    form("Timeout before authentication for ", "<peer>(?:, <c>)?"),
    form("Session process ", "[0-9]+ [a-z ]+ for connection from <host> to <c>"),
    form("Timeout, client not responding from ", "<user>"),
    form("Timeout, client not responding from ", "<peer>"),
    form("terminating inactive connection from ", "<user>"),
    form("terminating inactive connection from ", "<peer>"),
    form("Read error from remote host ", "<peer>: <c>"),
    form("Finished discarding for ", "<peer>"),
    form("Closing connection to ", "<peer>"),
    form("Starting session: ", "<c> for <c> from <host> port [0-9]+ id [0-9]+"),
    form("Close session: ", "user <c> from <host> port [0-9]+ id [0-9]+"),
    form("drop connection #", r"[0-9]+ from \[<host>\]:[0-9]+ on <c>"),
    // What the client sent first.
    form("Did not receive identification string from ", "<peer>"),
    form("Bad protocol version identification '", "<c>' from <peer>"),
    form("Bad remote protocol version identification: '", "<c>"),
    form("Protocol major versions differ", "<c>"),
    form("kex_exchange_identification: ", "<c>"),
    form("probed from ", "<host> port [0-9]+ with <c>"),
    form("scanned from ", "<host> port [0-9]+ with <c>"),
    // The client's name, as its reverse DNS has it.
    form(
        "reverse mapping checking getaddrinfo for ",
        r"<c> \[<host>\] failed(?:\.| - POSSIBLE BREAK-IN ATTEMPT!)?",
    ),
    form(
        "Address ",
        "<host> maps to <c>, but this does not map back to the address(?:\\.| - [-A-Z !]*)?",
    ),
    form("Nasty PTR record \"", "<c>\" is set up for <host>, ignoring"),
    either(form("userauth_hostbased mismatch: client sends ", "<c>, but we resolve <host> to <c>")),
    // A key that may not be used from there. The file's owner wrote `required`.
    either(form(
        "/",
        concat!(
            "<c>: Authentication tried for <c> with correct key but not from a permitted host",
            r" \(host=<c>, ip=<host>, required=<c>\)\.?",
        ),
    )),
    form(
        "/",
        concat!(
            "<c>: Authentication tried for <c> with valid certificate",
            r" but not from a permitted source address \(<host>\)\.?",
        ),
    ),
    form("/", "<c>"),
    // Messages that never hold the client's true address, but its text.
    form("Authentication ", "<c>"),
    form("Certificate ", "<c>"),
    form("subsystem request for ", "<c>"),
    form("Could not ", "<c>"),
    form("Account ", "<c>"),
    form("Access denied for user ", "<c>"),
    form("wrong user name passed to monitor", "<c>"),
    form("input_userauth_request: ", "<c>"),
    form("userauth_", "<c>"),
    // What it wanted forwarded, and where to.
    form("connect_to ", "<c>"),
    form("Received request ", "<c>"),
    form("channel ", "<c>"),
];
