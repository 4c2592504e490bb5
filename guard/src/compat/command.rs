//! A request of Fail2Ban's clients, in its own terms.
//!
//! Input: the list of words that a client sends. Output: [`Command`], or the error that
//! Fail2Ban's server has for it. What guard cannot do is refused later, where it is known
//! whether the jail exists: Fail2Ban looks for the jail first.

use crate::compat::value::{Fault, Value};

/// What a client asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// `ping`.
    Ping,
    /// `version`.
    Version,
    /// `server-status`.
    Ready,
    /// `echo`: these.
    Echo(Vec<Value>),
    /// `flushlogs`.
    FlushLogs,
    /// `status`.
    Status,
    /// `status JAIL [FLAVOUR]`.
    JailStatus {
        /// Which.
        jail: String,
        /// How much of it.
        flavour: Flavour,
    },
    /// `banned [ADDRESS …]`: all, or in which jails these are.
    Banned(Vec<String>),
    /// `unban ADDRESS …`, or `--all`.
    Unban(Option<Vec<String>>),
    /// `get OPTION` of the server.
    Get(Global),
    /// `set OPTION VALUE` of the server.
    Set(Global, String),
    /// `get JAIL …`.
    GetOfJail {
        /// Which.
        jail: String,
        /// What of it.
        property: String,
        /// What follows.
        words: Vec<String>,
    },
    /// `set JAIL …`.
    SetOfJail {
        /// Which.
        jail: String,
        /// What of it.
        property: String,
        /// What follows.
        words: Vec<String>,
    },
    /// `start JAIL`.
    Start(String),
    /// `stop JAIL`, or `--all` of them.
    StopJail(Option<String>),
    /// `stop`.
    Stop,
    /// `reload`, with what the client read of its configuration.
    Reload(Reload),
}

/// How much a jail's status tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Counts and addresses; also for what is no flavour.
    Basic,
    /// Counts.
    Short,
    /// With what the DNS says of each address.
    Cymru,
}

/// Options of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Global {
    /// `loglevel`.
    LogLevel,
    /// `logtarget`.
    LogTarget,
    /// `syslogsocket`.
    SyslogSocket,
    /// `thread`.
    Thread,
    /// `dbfile`.
    DatabaseFile,
    /// `dbmaxmatches`.
    DatabaseMatches,
    /// `dbpurgeage`.
    DatabaseAge,
    /// `allowipv6`.
    AllowIpv6,
}

/// A reload as a client asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reload {
    /// One jail, or all.
    pub jail: Option<String>,
    /// `--unban`: lift its bans, or all.
    pub unban: bool,
    /// `--if-exists`: no error if there is no such jail.
    pub if_exists: bool,
    /// The jails that the client would have added.
    pub jails: Vec<String>,
    /// Whether the client read a configuration at all.
    pub streamed: bool,
}

impl Global {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "loglevel" => Self::LogLevel,
            "logtarget" => Self::LogTarget,
            "syslogsocket" => Self::SyslogSocket,
            "thread" => Self::Thread,
            "dbfile" => Self::DatabaseFile,
            "dbmaxmatches" => Self::DatabaseMatches,
            "dbpurgeage" => Self::DatabaseAge,
            "allowipv6" => Self::AllowIpv6,
            _ => return None,
        })
    }
}

impl Command {
    /// What a request means.
    ///
    /// # Errors
    /// As Fail2Ban's server answers it.
    pub fn parse(request: &Value) -> Result<Self, Fault> {
        let Some(items) = request.items() else { return Err(invalid()) };
        let word = |at: usize| items.get(at).map(shown).ok_or_else(Fault::too_short);
        let rest = |from: usize| items.iter().skip(from).map(shown).collect::<Vec<String>>();
        Ok(match word(0)?.as_str() {
            "ping" => Self::Ping,
            "version" => Self::Version,
            "server-status" => Self::Ready,
            "echo" => Self::Echo(items[1..].to_vec()),
            "flushlogs" => Self::FlushLogs,
            "status" => match items.len() {
                1 => Self::Status,
                2 | 3 => Self::JailStatus { jail: word(1)?, flavour: flavour(&rest(2)) },
                _ => return Err(Fault::other("Invalid command (no status)")),
            },
            "banned" => Self::Banned(rest(1)),
            "unban" if items.len() > 1 => match rest(1).as_slice() {
                [all] if all == "--all" => Self::Unban(None),
                whom => Self::Unban(Some(whom.to_vec())),
            },
            "get" => match Global::named(&word(1)?) {
                Some(Global::AllowIpv6) | None => {
                    Self::GetOfJail { jail: word(1)?, property: word(2)?, words: rest(3) }
                }
                Some(global) => Self::Get(global),
            },
            "set" => match Global::named(&word(1)?) {
                Some(global) => Self::Set(global, word(2)?),
                None => Self::SetOfJail { jail: word(1)?, property: word(2)?, words: rest(3) },
            },
            "start" => Self::Start(word(1)?),
            "stop" => match rest(1).into_iter().next() {
                None => Self::Stop,
                Some(all) if all == "--all" => Self::StopJail(None),
                Some(jail) => Self::StopJail(Some(jail)),
            },
            "reload" => Self::Reload(reload(items)?),
            // What only a client that starts a server sends.
            "add" | "multi-set" | "server-stream" | "config-error" | "sleep" => {
                return Err(Fault::other(
                    "guard reads its own jails: edit them below jail-directory and reload",
                ));
            }
            _ => return Err(invalid()),
        })
    }
}

fn invalid() -> Fault {
    Fault::other("Invalid command")
}

fn flavour(words: &[String]) -> Flavour {
    match words.first().map(String::as_str) {
        Some("short") => Flavour::Short,
        Some("cymru") => Flavour::Cymru,
        _ => Flavour::Basic,
    }
}

fn reload(items: &[Value]) -> Result<Reload, Fault> {
    let jail = items.get(1).map(shown).ok_or_else(Fault::too_short)?;
    let options = items.get(2).and_then(Value::items).ok_or_else(Fault::too_short)?;
    let stream = items.get(3).and_then(Value::items).ok_or_else(Fault::too_short)?;
    let has = |option: &str| options.iter().any(|found| found.as_text() == Some(option));
    let added = |command: &Value| match command.items() {
        Some([verb, name, ..]) if verb.as_text() == Some("add") => Some(shown(name)),
        _ => None,
    };
    Ok(Reload {
        jail: Some(jail).filter(|jail| jail != "--all"),
        unban: has("--unban"),
        if_exists: has("--if-exists"),
        jails: stream.iter().filter_map(added).collect(),
        streamed: !stream.is_empty(),
    })
}

/// A word as text, whatever it came as.
fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Fraction(number) => number.to_string(),
        Value::Boolean(true) => "True".to_owned(),
        Value::Boolean(false) => "False".to_owned(),
        // Nothing is called so.
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Command, Fault> {
        Command::parse(&Value::texts(words.iter().copied()))
    }

    #[test]
    fn words_that_are_missing_or_unknown() {
        for words in [vec!["get"], vec!["set", "sshd"], vec!["get", "sshd"], vec!["start"], vec![]]
        {
            assert_eq!(parse(&words), Err(Fault::too_short()), "{words:?}");
        }
        for words in [vec!["unban"], vec!["no-such-verb"], vec!["status", "a", "b", "c"]] {
            let told = parse(&words).expect_err("refused");
            assert!(told.argument.starts_with("Invalid command"), "{words:?}: {told:?}");
        }
        assert!(Command::parse(&Value::text("ping")).is_err(), "no list");
    }

    #[test]
    fn of_a_reload_only_the_names_of_jails_are_taken() {
        let command = |words: &[&str]| Value::texts(words.iter().copied());
        let stream = Value::List(vec![
            command(&["set", "loglevel", "INFO"]),
            command(&["add", "sshd", "systemd"]),
            command(&["set", "sshd", "addaction", "x"]),
            Value::Nothing,
        ]);
        let options = Value::texts(["--unban"]);
        let request =
            Value::List(vec![Value::text("reload"), Value::text("--all"), options, stream]);
        let expected = Reload {
            jail: None,
            unban: true,
            if_exists: false,
            jails: vec!["sshd".to_owned()],
            streamed: true,
        };
        assert_eq!(Command::parse(&request), Ok(Command::Reload(expected)));
    }

    #[test]
    fn a_jail_may_not_be_called_as_an_option_is() {
        assert_eq!(parse(&["get", "dbfile"]), Ok(Command::Get(Global::DatabaseFile)));
        let jail = |jail: &str| Command::GetOfJail {
            jail: jail.to_owned(),
            property: "bantime".to_owned(),
            words: Vec::new(),
        };
        assert_eq!(parse(&["get", "sshd", "bantime"]), Ok(jail("sshd")));
    }
}
