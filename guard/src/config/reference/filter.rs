//! The options of a filter and the tags of its expressions: guard-filter(5).

use super::Described;

const fn option(name: &'static str, meaning: &'static str, here: &'static str) -> Described {
    Described { name, default: "", meaning, here }
}

/// What a filter's file can hold.
pub const FILTER_OPTIONS: &[Described] = &[
    option(
        "failregex",
        "Expressions that find failures, one on each line. They are searched for in the line \
         without its date, so `^` is where the rest begins.",
        "An expression that cannot be translated exactly from Python's language is an error, \
         and its jail is left out. Those with look-around, back-references or conditionals \
         may take `limits.match-steps` steps on one line and are not tried on lines of more \
         than 8 KiB.",
    ),
    option(
        "ignoreregex",
        "Expressions for lines to be left out, one on each line.",
        "What a client can write into a line does not make them match.",
    ),
    option(
        "prefregex",
        "An expression that every line must match first; what is between `<F-CONTENT>` and \
         `</F-CONTENT>` is what the others see.",
        "A file of yours with its own `failregex` does not inherit the vendor's `prefregex`, \
         unless its name ends in `.local`.",
    ),
    option(
        "journalmatch",
        "Which entries of the journal are read, as journalctl(1) takes them: `FIELD=value`, \
         where `+` between two groups means or.",
        "",
    ),
    option(
        "datepattern",
        "How dates are written, in front of all usual forms or in their place.",
        "Not needed for the journal, which knows the time of each entry.",
    ),
    option(
        "maxlines",
        "So many lines are tried together; see `<SKIPLINES>`.",
        "At most 500 lines, and 256 KiB of them.",
    ),
    option("usedns", "Whether `<HOST>` may be a host name: `no`, `yes`, `warn` or `raw`.", ""),
    option(
        "before",
        "In `[INCLUDES]`: a file that is read before this one, from the same directory.",
        "",
    ),
    option("after", "In `[INCLUDES]`: a file that is read after this one, if it is there.", ""),
];

/// What stands for something in an expression.
pub const TAGS: &[Described] = &[
    option(
        "<HOST>",
        "The address of who failed; with `usedns`, a host name too.",
        "An address that stands where the client can write is passed over.",
    ),
    option("<ADDR>", "An address, never a name.", ""),
    option("<IP4>", "An IPv4 address.", ""),
    option("<IP6>", "An IPv6 address.", ""),
    option("<DNS>", "A host name.", ""),
    option(
        "<SUBNET>",
        "An address with or without the length of its prefix, such as `192.0.2.0/24`.",
        "",
    ),
    option("<CIDR>", "The length of a prefix.", ""),
    option(
        "<F-ID>…</F-ID>",
        "What is banned in place of the address.",
        "What is no address bans nobody; `guardctl status` says how often.",
    ),
    option("<F-USER>…</F-USER>", "The user name that was tried.", ""),
    option("<F-ALT_USER>…</F-ALT_USER>", "A user name that counts if there is no other.", ""),
    option("<F-PORT/>", "A port, as a word.", ""),
    option("<F-CONTENT>…</F-CONTENT>", "In `prefregex`: what the other expressions see.", ""),
    option(
        "<F-MLFID>…</F-MLFID>",
        "What the lines of one connection have in common, such as `sshd[123]`.",
        "Remembered for 300 seconds, for `limits.connections` connections of each jail.",
    ),
    option("<F-NOFAIL>…</F-NOFAIL>", "The line is no failure by itself, but says who it is.", ""),
    option("<F-MLFFORGET>…</F-MLFFORGET>", "The connection ends with this line.", ""),
    option(
        "<F-MLFGAINED>…</F-MLFGAINED>",
        "The client got in: failures of the connection are forgotten.",
        "",
    ),
    option("<SKIPLINES>", "Any number of lines between two that match, within `maxlines`.", ""),
    option(
        "<F-NAME>…</F-NAME>",
        "Any other name in capitals: a group of that name.",
        "`guardctl regex -o '<F-NAME>'` prints it.",
    ),
];
