//! What each jail makes of one line, without the agent.
//!
//! Input: the jails, a line, and this host's addresses. Output: one [`Verdict`] a jail.
//! Invariant: what is found is found by the jail's own filter, and what is allowed by
//! the same gate as in the engine.

use std::collections::BTreeMap;

use crate::core::addr::Prefix;
use crate::core::allow::{AllowList, Gate};
use crate::core::date::{self, DateFrom, Dates, Zone};
use crate::core::entry::{Dating, Entry};
use crate::core::failure::Who;
use crate::core::filter::{Examination, Memory};
use crate::core::host::HostAddresses;
use crate::core::jail::{Jail, JailName};
use crate::core::reason::Allowed;
use crate::core::time::{Span, Timestamp};
use crate::tool::line;

/// What becomes of the line in one jail.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "decision", rename_all = "kebab-case")]
pub enum Decision {
    /// No expression matches.
    NoMatch,
    /// An `ignoreregex` matches.
    Ignored {
        /// Its number, from 1.
        by: usize,
    },
    /// An expression matches, but the line is no failure by itself: a helper line, a
    /// login, or one that waits for a line with the address.
    Helper,
    /// A failure of somebody who must not be banned.
    Allowed {
        /// Why not.
        why: Allowed,
    },
    /// A failure of somebody who is not an address.
    NoAddress,
    /// A failure that counts.
    Counted,
}

/// One jail on the line.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Verdict {
    /// The jail.
    pub jail: JailName,
    /// What becomes of the line.
    #[serde(flatten)]
    pub decision: Decision,
    /// Number of the `failregex` that matches, from 1.
    pub number: Option<usize>,
    /// As it is written.
    pub expression: Option<String>,
    /// Who is found.
    pub who: Option<String>,
    /// The network that it is counted and banned with, if it is not taken alone.
    pub counted_with: Option<Prefix>,
    /// The user name that was tried.
    pub user: Option<String>,
    /// When it was logged, as far as the line says.
    pub time: Option<Timestamp>,
    /// All that was captured, by the names of groups.
    pub captured: BTreeMap<String, String>,
    /// An address that was passed over, because the client could have written it.
    pub planted: Option<Prefix>,
    /// Number of an expression that was given up, from 1; 0 for `prefregex` or an
    /// `ignoreregex`.
    pub given_up: Option<usize>,
    /// Failures within `find-time` that lead to a ban.
    pub max_retry: u32,
    /// In microseconds.
    pub find_time: Span,
    /// In microseconds; `null` for ever.
    pub ban_time: Option<Span>,
}

/// The line as an entry: dated by itself, or by when it is read.
pub fn entry(text: &str, now: Timestamp, zone: Zone) -> Entry {
    let dates = Dates::compile("", zone).unwrap_or_default();
    let dated = dates.read(text, now, &mut date::Memory::default()).from == DateFrom::Line;
    line::entry(text, if dated { Dating::InLine } else { Dating::Known }, now)
}

/// What a jail makes of an entry. `expressions` are its `failregex` as written.
pub fn verdict(
    jail: &Jail,
    expressions: &[String],
    entry: &Entry,
    host: &HostAddresses,
    global: &AllowList,
) -> Verdict {
    let mut examination = Examination::default();
    let found = jail.filter.examine(entry, &mut Memory::new(1), &mut examination);
    let finding = found.finding;
    // Names and files in `ignoreip` are the agent's to ask.
    let elsewhere = AllowList::default();
    let gate = Gate { host, global, jail: &jail.allow, elsewhere: &elsewhere };
    let mut counted_with = None;
    let decision = match (&finding.failure, finding.ignored_by, finding.expression) {
        (_, Some(by), _) => Decision::Ignored { by },
        (None, None, None) => Decision::NoMatch,
        (None, None, Some(_)) => Decision::Helper,
        (Some(attempt), None, _) => match &attempt.who {
            Who::Address(source) => match gate.clear_with(*source, jail.ipv6_prefix) {
                Ok(cleared) => {
                    counted_with = Some(cleared.source()).filter(|counted| counted != source);
                    Decision::Counted
                }
                Err(why) => Decision::Allowed { why },
            },
            Who::Name(_) | Who::Id(_) => Decision::NoAddress,
        },
    };
    let index = finding.expression.and_then(|number| number.checked_sub(1));
    Verdict {
        jail: jail.name.clone(),
        decision,
        number: finding.expression,
        expression: index.and_then(|index| expressions.get(index).cloned()),
        who: finding.failure.as_ref().map(|attempt| attempt.who.to_string()),
        counted_with,
        user: finding.failure.as_ref().and_then(|attempt| attempt.user.clone()),
        time: finding.failure.as_ref().map(|attempt| attempt.time),
        captured: found.groups.into_iter().filter(|(_, text)| !text.is_empty()).collect(),
        planted: finding.planted,
        given_up: finding.step_limit,
        max_retry: jail.max_retry,
        find_time: jail.find_time,
        ban_time: jail.ban_time,
    }
}
