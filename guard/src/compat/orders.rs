//! What changes something: bans, parameters, reloads.

use crate::compat::answer::Agent;
use crate::compat::command::Reload;
use crate::compat::properties::{self, Change};
use crate::compat::python;
use crate::compat::value::{Fault, Value};
use crate::control::protocol::{BanRow, Request, Response};
use crate::core::addr::Prefix;
use crate::core::effects::Outcome;
use crate::core::jail::JailName;

impl<A, F> Agent<'_, A>
where
    A: Fn(Request) -> F,
    F: Future<Output = Response>,
{
    pub(super) async fn change_jail(
        &self,
        jail: &str,
        name: &str,
        words: &[String],
    ) -> Result<Value, Fault> {
        let facts = self.jail(jail).await?;
        let jail = facts.name.clone();
        match name {
            "banip" => self.ban(jail, words).await,
            "unbanip" => match words.split_first() {
                None => Err(Fault::too_short()),
                Some((first, rest)) if first == "--report-absent" => {
                    self.unban(Some(jail), Some(rest), true).await
                }
                Some(_) => self.unban(Some(jail), Some(words), false).await,
            },
            "attempt" => {
                let (source, seen) = words.split_first().ok_or_else(Fault::too_short)?;
                let source = properties::prefix(source)?;
                let count = u32::try_from(seen.len().max(1)).unwrap_or(u32::MAX);
                let outcome = self.order(Request::Attempt { jail, source, count }).await?;
                refusals(&outcome)?;
                Ok(Value::Number(1))
            }
            _ => match properties::change(name, words)? {
                Change::Same(value) => Ok(value),
                Change::Adjust(adjustment, property) => {
                    let outcome = self.order(Request::Adjust { jail, adjustment }).await?;
                    if let Some(entry) = outcome.unchanged.first() {
                        return Err(Fault::value(format!("{entry} is not in the ignore list")));
                    }
                    let facts = self.jail(facts.name.as_str()).await?;
                    properties::property(&facts, property, &[])
                }
            },
        }
    }

    async fn ban(&self, jail: JailName, words: &[String]) -> Result<Value, Fault> {
        let sources = words.iter().map(|word| properties::prefix(word));
        let sources = sources.collect::<Result<Vec<_>, _>>()?;
        let request = Request::Ban { jail, sources, ban_time: None, force: false };
        let outcome = self.order(request).await?;
        refusals(&outcome)?;
        Ok(Value::count(outcome.changed))
    }

    /// Lifts bans; of a network, those in it.
    pub(super) async fn unban(
        &self,
        jail: Option<JailName>,
        words: Option<&[String]>,
        report_absent: bool,
    ) -> Result<Value, Fault> {
        let Some(words) = words else {
            let outcome = self.order(Request::Unban { jail, sources: None }).await?;
            return Ok(Value::count(outcome.changed));
        };
        let (mut sources, mut absent) = (Vec::new(), Vec::new());
        let networks = words.iter().filter_map(|word| word.parse::<Prefix>().ok());
        let bans = match networks.into_iter().any(|source| !source.is_host()) {
            true => self.all_bans().await?,
            false => Vec::new(),
        };
        for word in words {
            match word.parse::<Prefix>() {
                Ok(source) if source.is_host() => sources.push(source),
                Ok(network) => {
                    let of_jail = |ban: &BanRow| jail.as_ref().is_none_or(|jail| ban.jail == *jail);
                    let within = bans.iter().filter(|ban| of_jail(ban));
                    let within = within.map(|ban| ban.address);
                    let within: Vec<_> = within.filter(|one| network.contains(one)).collect();
                    if within.is_empty() {
                        absent.push(word.clone());
                    }
                    sources.extend(within);
                }
                // Nobody is banned by a name.
                Err(_) => absent.push(word.clone()),
            }
        }
        let mut changed = 0;
        if !sources.is_empty() {
            let outcome = self.order(Request::Unban { jail, sources: Some(sources) }).await?;
            changed = outcome.changed;
            absent.extend(outcome.unchanged.iter().map(ToString::to_string));
        }
        if report_absent && !absent.is_empty() {
            let absent = Value::texts(absent.iter().map(String::as_str));
            return Err(Fault::value(format!("not banned: {}", python::repr(&absent))));
        }
        Ok(Value::count(changed))
    }

    pub(super) async fn stop(&self, jail: Option<String>) -> Result<Value, Fault> {
        let jail = match jail {
            Some(name) => Some(self.jail(&name).await?.name),
            None => None,
        };
        self.ask(Request::Stop { jail }).await.map(|_| Value::Nothing)
    }

    pub(super) async fn reload(&self, reload: Reload) -> Result<Value, Fault> {
        let known = match &reload.jail {
            Some(name) => match self.jail(name).await {
                Ok(facts) => Some(facts.name),
                Err(_) if reload.if_exists => None,
                Err(unknown) => return Err(unknown),
            },
            None => None,
        };
        if reload.unban && (known.is_some() || reload.jail.is_none()) {
            self.order(Request::Unban { jail: known, sources: None }).await?;
        }
        self.ask(Request::Reload).await?;
        let ours = self.jails().await?;
        let theirs = &reload.jails;
        let only_theirs =
            theirs.iter().filter(|name| ours.iter().all(|our| our.as_str() != **name));
        let only_ours = ours
            .iter()
            .filter(|our| reload.jail.is_none() && theirs.iter().all(|name| our.as_str() != name));
        let only_theirs = only_theirs.map(String::as_str).collect::<Vec<_>>().join(", ");
        let only_ours = only_ours.map(JailName::as_str).collect::<Vec<_>>().join(", ");
        if !reload.streamed || (only_ours.is_empty() && only_theirs.is_empty()) {
            return Ok(Value::text("OK"));
        }
        let nobody = |names: String| if names.is_empty() { "none".to_owned() } else { names };
        let told = format!(
            "OK; but guard reads its own jail-directory: jails only there: {}; only in what \
             this client reads: {}",
            nobody(only_ours),
            nobody(only_theirs)
        );
        tracing::warn!(target: "fail2ban.server", "{told}");
        Ok(Value::text(told))
    }
}

/// What was refused, as an error.
fn refusals(outcome: &Outcome) -> Result<(), Fault> {
    if outcome.refused.is_empty() {
        return Ok(());
    }
    let refused =
        outcome.refused.iter().map(|(source, why)| format!("{source} is not banned: {why}"));
    let mut told = refused.collect::<Vec<_>>().join("; ");
    if outcome.changed > 0 {
        told.push_str(&format!("; of the others {} were banned", outcome.changed));
    }
    Err(Fault::value(told))
}
