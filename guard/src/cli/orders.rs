//! `guardctl ban` and `guardctl unban`: print how many bans began or ended.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::cli::{Context, Failure, offline, output};
use crate::config;
use crate::control::client::ClientError;
use crate::control::protocol::{BanTime, Request, Response};
use crate::core::addr::Prefix;
use crate::core::effects::Outcome;
use crate::core::jail::JailName;
use crate::core::reason::Allowed;

/// How long an agent that starts or stops is waited for.
const AGENT_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    guardctl ban sshd 192.0.2.7 --time 2d\n  \
    guardctl ban sshd 192.0.2.0/24 --time -1\n  \
    guardctl ban sshd - < addresses.txt\n\n\
    Prints how many bans began. Who is banned already is told and is no error.")]
pub(super) struct BanArguments {
    /// The jail whose ports are cut off.
    jail: String,
    /// Addresses or prefixes (192.0.2.0/24) to ban; `-` reads them from standard input,
    /// separated by white space.
    #[arg(required = true, value_name = "ADDR")]
    addresses: Vec<String>,
    /// How long, as in `bantime`: 600, 1h 30m, 2d, or -1 for ever.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    time: Option<String>,
    /// Ban even what is on an allow-list or is this host's own address, and say of each what
    /// that is. This can lock you out.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    guardctl unban sshd 10.3.0.1\n  \
    guardctl unban --all 10.3.0.1     in every jail\n  \
    guardctl unban --all              everybody\n\n\
    Prints how many bans ended. It works on the store and the kernel while the agent\n\
    is not running, and stays true after its next start.")]
pub(super) struct UnbanArguments {
    /// The jail, and the addresses or prefixes to let in again; with --all only those. A
    /// ban of a prefix is lifted by that prefix; that of a network with which IPv6
    /// addresses are counted (`ipv6prefix`) by any of them as well.
    #[arg(value_name = "JAIL ADDR", required_unless_present = "all")]
    words: Vec<String>,
    /// In all jails; without an address: everybody.
    #[arg(long)]
    all: bool,
}

pub(super) fn ban(context: &Context, arguments: &BanArguments) -> Result<(), Failure> {
    let ban_time = match &arguments.time {
        None => None,
        Some(text) => Some(match config::ban_time(text).map_err(wrong)? {
            Some(span) => BanTime::For(span),
            None => BanTime::Forever,
        }),
    };
    let jail = jail(&arguments.jail)?;
    let ask = |sources, force| {
        let request = Request::Ban { jail: jail.clone(), sources, ban_time, force };
        match context.ask(&request)? {
            Response::Done(outcome) => Ok(outcome),
            _ => Err(Failure::NotDone("the agent answered something else".to_owned())),
        }
    };
    let mut outcome = ask(sources(&arguments.addresses)?, false)?;
    let is_allowed = |(_, allowed): &(Prefix, Allowed)| !matches!(allowed, Allowed::NoRoom);
    if arguments.force && outcome.refused.iter().any(is_allowed) {
        let (overruled, refused) = outcome.refused.into_iter().partition(is_allowed);
        outcome.refused = refused;
        // Before it is done: it may be the last that comes through.
        for (source, allowed) in &overruled as &Vec<(Prefix, Allowed)> {
            output::talk(&format!(
                "{source}: {allowed}; --force cuts it off from the ports of {jail} all the same, \
                 until `guardctl unban {jail} {source}`"
            ));
        }
        let forced = ask(overruled.into_iter().map(|(source, _)| source).collect(), true)?;
        outcome.changed += forced.changed;
        outcome.unstored = outcome.unstored.or(forced.unstored);
        outcome.refused.extend(forced.refused);
        outcome.unchanged.extend(forced.unchanged);
    }
    tell(context, &outcome, "already banned")
}

pub(super) fn unban(context: &Context, arguments: &UnbanArguments) -> Result<(), Failure> {
    let request = if arguments.all {
        let sources = match arguments.words.as_slice() {
            [] => None,
            words => Some(sources(words)?),
        };
        Request::Unban { jail: None, sources }
    } else {
        match arguments.words.as_slice() {
            [name, addresses @ ..] if !addresses.is_empty() => {
                Request::Unban { jail: Some(jail(name)?), sources: Some(sources(addresses)?) }
            }
            _ => {
                return Err(Failure::Usage(
                    "which addresses? `guardctl unban JAIL ADDR…`, or `guardctl unban --all`"
                        .to_owned(),
                ));
            }
        }
    };
    let outcome = lift(context, &request)?;
    tell(context, &outcome, "not banned")
}

/// Ends bans with the agent or, when there is none, without it. An agent that is just
/// starting or stopping is waited for.
fn lift(context: &Context, request: &Request) -> Result<Outcome, Failure> {
    let Request::Unban { jail, sources } = request else {
        return Err(Failure::NotDone("not an unban".to_owned()));
    };
    let deadline = Instant::now() + AGENT_PATIENCE;
    loop {
        match context.ask(request) {
            Ok(Response::Done(outcome)) => return Ok(outcome),
            Ok(_) => {
                return Err(Failure::NotDone("the agent answered something else".to_owned()));
            }
            Err(Failure::Client(ClientError::NotRunning(_))) => {}
            Err(failure) => return Err(failure),
        }
        let lifted = offline::unban(&context.settings, jail.as_ref(), sources.as_deref())?;
        if let Some(outcome) = lifted {
            output::talk("the agent is not running: done in the store and the kernel directly");
            return Ok(outcome);
        }
        if Instant::now() > deadline {
            return Err(Failure::NotDone(
                "the agent is starting or stopping and does not answer; try again".to_owned(),
            ));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn tell(context: &Context, outcome: &Outcome, unchanged: &str) -> Result<(), Failure> {
    if context.json {
        output::json(outcome)?;
    } else {
        output::print(&format!("{}\n", outcome.changed))?;
        for source in &outcome.unchanged {
            output::talk(&format!("{source} is {unchanged}"));
        }
        for (source, network) in &outcome.with_network {
            output::talk(&format!("{source} was banned with {network}, which is let in again"));
        }
        for (source, prefix) in &outcome.still_banned {
            output::talk(&format!("{source} is still banned with {prefix}: unban that too"));
        }
    }
    let mut wrong: Vec<String> = outcome
        .refused
        .iter()
        .map(|(source, allowed)| format!("{source} is not banned: {allowed}"))
        .collect();
    if outcome.refused.iter().any(|(_, allowed)| !matches!(allowed, Allowed::NoRoom)) {
        wrong.push("--force bans what is allowed all the same".to_owned());
    }
    wrong.extend(outcome.not_stored());
    if wrong.is_empty() { Ok(()) } else { Err(Failure::NotDone(wrong.join("\n"))) }
}

fn jail(name: &str) -> Result<JailName, Failure> {
    JailName::new(name).map_err(wrong)
}

fn sources(words: &[String]) -> Result<Vec<Prefix>, Failure> {
    let mut text = String::new();
    if words.iter().any(|word| word == "-") {
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| Failure::NotDone(format!("reading standard input: {error}")))?;
    }
    let named = words.iter().map(String::as_str).filter(|word| *word != "-");
    named.chain(text.split_whitespace()).map(|word| word.parse().map_err(wrong)).collect()
}

fn wrong(error: impl std::fmt::Display) -> Failure {
    Failure::Usage(error.to_string())
}
