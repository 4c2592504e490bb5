//! What Fail2Ban's server would answer.
//!
//! Input: a [`Command`], and the agent to ask. Output: the pair that goes back: 0 and the
//! value, or 1 and an error. Invariant: only what the kernel holds is called banned.

use jiff::Timestamp as Instant;
use jiff::tz::TimeZone;

use crate::compat::command::{Command, Flavour, Global};
use crate::compat::properties;
use crate::compat::python;
use crate::compat::value::{Fault, Value};
use crate::control::protocol::{BanRow, Facts, JailFacts, JailStatus, Request, Response};
use crate::core::addr::Prefix;
use crate::core::effects::Outcome;
use crate::core::jail::JailName;
use crate::core::time::Timestamp;

/// The version of Fail2Ban whose answers these are.
pub const VERSION: &str = "1.0.2";
/// What bans for ever end at, as Fail2Ban shows it.
const FOR_EVER: &str = "9999-12-31 23:59:59";

/// Does what a client asks, and answers.
pub async fn answer<A, F>(command: Command, ask: &A) -> Value
where
    A: Fn(Request) -> F,
    F: Future<Output = Response>,
{
    match (Agent { ask }).obey(command).await {
        Ok(value) => Value::Tuple(vec![Value::Number(0), value]),
        Err(fault) => refused(fault),
    }
}

/// The answer to what is not done.
pub(crate) fn refused(fault: Fault) -> Value {
    tracing::warn!(target: "fail2ban.transmitter", "refused: {}", fault.argument);
    Value::Tuple(vec![Value::Number(1), Value::Fault(fault)])
}

/// The agent, to be asked.
pub(super) struct Agent<'a, A> {
    ask: &'a A,
}

impl<A, F> Agent<'_, A>
where
    A: Fn(Request) -> F,
    F: Future<Output = Response>,
{
    async fn obey(&self, command: Command) -> Result<Value, Fault> {
        match command {
            Command::Ping => Ok(Value::text("pong")),
            Command::Version => {
                Ok(Value::text(format!("{VERSION} (guard {})", env!("CARGO_PKG_VERSION"))))
            }
            Command::Ready => Ok(Value::text("Server ready")),
            Command::Echo(values) => Ok(Value::List(values)),
            // A log file that was renamed is followed by a new one at the next line.
            Command::FlushLogs => Ok(Value::text(match self.facts().await?.log {
                Some(_) => "rolled over",
                None => "flushed",
            })),
            Command::Status => self.status().await,
            Command::JailStatus { jail, flavour } => self.jail_status(&jail, flavour).await,
            Command::Banned(words) => self.banned(&words).await,
            Command::Unban(words) => self.unban(None, words.as_deref(), false).await,
            Command::Get(option) => self.global(option).await,
            Command::Set(option, value) => self.set_global(option, value).await,
            Command::GetOfJail { jail, property, words } => {
                self.of_jail(&jail, &property, &words).await
            }
            Command::SetOfJail { jail, property, words } => {
                self.change_jail(&jail, &property, &words).await
            }
            // It runs.
            Command::Start(jail) => self.jail(&jail).await.map(|_| Value::Nothing),
            Command::StopJail(jail) => self.stop(jail).await,
            Command::Stop => Err(Fault::other(
                "guard is run by systemd: systemctl stop guard (the bans stay in force)",
            )),
            Command::Reload(reload) => self.reload(reload).await,
        }
    }

    // What the agent is asked.

    pub(super) async fn ask(&self, request: Request) -> Result<Response, Fault> {
        match (self.ask)(request).await {
            Response::Error(error) => Err(Fault::other(error)),
            response => Ok(response),
        }
    }

    async fn facts(&self) -> Result<Facts, Fault> {
        match self.ask(Request::Facts).await? {
            Response::Facts(facts) => Ok(facts),
            _ => Err(confused()),
        }
    }

    pub(super) async fn jails(&self) -> Result<Vec<JailName>, Fault> {
        match self.ask(Request::Jails).await? {
            Response::Jails(mut jails) => {
                jails.sort();
                Ok(jails)
            }
            _ => Err(confused()),
        }
    }

    pub(super) async fn jail(&self, name: &str) -> Result<JailFacts, Fault> {
        let unknown = || Fault::unknown_jail(name);
        let jail = JailName::new(name).map_err(|_| unknown())?;
        match self.ask(Request::Jail { jail }).await? {
            Response::Jail(found) => found.map(|jail| *jail).ok_or_else(unknown),
            _ => Err(confused()),
        }
    }

    /// Bans that the kernel holds.
    pub(super) async fn bans(&self) -> Result<Vec<BanRow>, Fault> {
        let mut bans = self.all_bans().await?;
        bans.retain(|ban| ban.enforced);
        Ok(bans)
    }

    /// Those too that the kernel lacks for the moment.
    pub(super) async fn all_bans(&self) -> Result<Vec<BanRow>, Fault> {
        match self.ask(Request::Bans).await? {
            Response::Bans { bans, .. } => Ok(bans),
            _ => Err(confused()),
        }
    }

    pub(super) async fn order(&self, request: Request) -> Result<Outcome, Fault> {
        match self.ask(request).await? {
            Response::Done(outcome) => match outcome.not_stored() {
                None => Ok(outcome),
                Some(problem) => Err(Fault::other(problem)),
            },
            _ => Err(confused()),
        }
    }

    // What is told.

    async fn status(&self) -> Result<Value, Fault> {
        let jails = self.jails().await?;
        let names = jails.iter().map(JailName::as_str).collect::<Vec<_>>().join(", ");
        Ok(Value::List(vec![
            row("Number of jail", Value::count(jails.len())),
            row("Jail list", Value::text(names)),
        ]))
    }

    async fn jail_status(&self, name: &str, flavour: Flavour) -> Result<Value, Fault> {
        let facts = self.jail(name).await?;
        if flavour == Flavour::Cymru {
            return Err(Fault::other("guard asks no DNS who owns the banned addresses"));
        }
        let Response::Status(status) = self.ask(Request::Status).await? else {
            return Err(confused());
        };
        let jail = status.jails.into_iter().find(|jail| jail.name == facts.name);
        let jail: JailStatus = jail.ok_or_else(|| Fault::unknown_jail(name))?;
        let read = match &jail.files {
            Some(files) => row("File list", Value::texts(files.iter().map(String::as_str))),
            None => row("Journal matches", Value::texts([jail.journal_matches.as_str()])),
        };
        let filter = Value::List(vec![
            row("Currently failed", Value::count(jail.currently_failed)),
            row("Total failed", Value::count(jail.total_failed)),
            read,
        ]);
        let mut actions = vec![
            row("Currently banned", Value::count(jail.banned.len())),
            row("Total banned", Value::count(jail.total_banned)),
        ];
        if flavour != Flavour::Short {
            actions.push(row("Banned IP list", addresses(&jail.banned)));
        }
        Ok(Value::List(vec![row("Filter", filter), row("Actions", Value::List(actions))]))
    }

    async fn banned(&self, words: &[String]) -> Result<Value, Fault> {
        let bans = self.bans().await?;
        let jails = self.jails().await?;
        if words.is_empty() {
            let of_jail = |jail: &JailName| {
                let of_jail = bans.iter().filter(|ban| ban.jail == *jail).map(|ban| ban.address);
                let list = addresses(&of_jail.collect::<Vec<_>>());
                Value::Dictionary(vec![(Value::text(jail.as_str()), list)])
            };
            return Ok(Value::List(jails.iter().map(of_jail).collect()));
        }
        let jails_of = |word: &String| {
            let source: Option<Prefix> = word.parse().ok();
            let of_source = bans.iter().filter(|ban| Some(ban.address) == source);
            Value::texts(of_source.map(|ban| ban.jail.as_str()))
        };
        Ok(Value::List(words.iter().map(jails_of).collect()))
    }

    async fn of_jail(&self, jail: &str, name: &str, words: &[String]) -> Result<Value, Fault> {
        let facts = self.jail(jail).await?;
        if !matches!(name, "banned" | "banip") {
            return properties::property(&facts, name, words);
        }
        let mut bans = self.bans().await?;
        bans.retain(|ban| ban.jail == facts.name);
        if name == "banip" {
            bans.sort_by_key(|ban| (ban.until.is_none(), ban.until, ban.address));
            return Ok(match words.first().map(String::as_str) {
                Some("--with-time") => Value::texts(bans.iter().map(with_time)),
                _ => addresses(&bans.iter().map(|ban| ban.address).collect::<Vec<_>>()),
            });
        }
        let is_banned = |word: &String| {
            let source: Option<Prefix> = word.parse().ok();
            Value::Number(bans.iter().any(|ban| Some(ban.address) == source).into())
        };
        Ok(match words {
            [] => addresses(&bans.iter().map(|ban| ban.address).collect::<Vec<_>>()),
            [one] => is_banned(one),
            _ => Value::List(words.iter().map(is_banned).collect()),
        })
    }

    async fn global(&self, option: Global) -> Result<Value, Fault> {
        let facts = self.facts().await?;
        Ok(match option {
            Global::LogLevel => Value::text(facts.log_level),
            Global::LogTarget => Value::text(log_target(&facts)),
            Global::SyslogSocket => Value::text("auto"),
            Global::Thread => Value::Dictionary(vec![(Value::text("stacksize"), Value::Number(0))]),
            Global::DatabaseFile => Value::text(facts.store.display().to_string()),
            // None of the lines is kept.
            Global::DatabaseMatches => Value::Number(0),
            Global::DatabaseAge => Value::Number(facts.history.seconds()),
            Global::AllowIpv6 => Value::text("auto"),
        })
    }

    async fn set_global(&self, option: Global, value: String) -> Result<Value, Fault> {
        if option == Global::LogLevel {
            let response = (self.ask)(Request::LogLevel { level: value }).await;
            return match response {
                Response::Facts(facts) => Ok(Value::text(facts.log_level)),
                Response::Error(error) => Err(Fault::value(error)),
                _ => Err(confused()),
            };
        }
        let now = self.global(option).await?;
        if python::text(&now) == value {
            return Ok(now);
        }
        Err(Fault::other("this is set in guard.toml, and read when the agent starts"))
    }
}

fn confused() -> Fault {
    Fault::other("the agent answered something else")
}

fn row(name: &str, value: Value) -> Value {
    Value::Tuple(vec![Value::text(name), value])
}

fn addresses(all: &[Prefix]) -> Value {
    Value::texts(all.iter().map(ToString::to_string))
}

fn log_target(facts: &Facts) -> String {
    match &facts.log {
        Some(file) => file.display().to_string(),
        None => "SYSTEMD-JOURNAL".to_owned(),
    }
}

/// A ban as `get JAIL banip --with-time` shows it: since when, how long, until when.
fn with_time(ban: &BanRow) -> String {
    let shown = |time: Timestamp| {
        let instant = Instant::from_second(time.seconds()).unwrap_or_default();
        instant.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    };
    let length = ban.until.map_or(-1, |until| (until - ban.since).seconds());
    let end = ban.until.map_or_else(|| FOR_EVER.to_owned(), shown);
    format!("{} \t{} + {length} = {end}", ban.address, shown(ban.since))
}
