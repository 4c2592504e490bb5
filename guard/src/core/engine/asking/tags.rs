//! Fail2Ban's tags in the arguments of an `ignorecommand` and the key of its `ignorecache`.

use super::accused;
use crate::core::delta::Ban;
use crate::core::jail::JailName;
use crate::core::reason::Reason;

/// Fills in Fail2Ban's tags. What comes in holds no text of a client, and one argument
/// stays one.
pub(super) fn expand(template: &str, ban: &Ban, jail: &JailName) -> String {
    let failures = match ban.reason {
        Reason::Failures { count, .. } => count,
        Reason::Manual { .. } => 0,
    };
    let family = if ban.source.is_ipv4() { "inet4" } else { "inet6" };
    let source = accused(ban).to_string();
    [
        ("<ip>", source.clone()),
        ("<fid>", source.clone()),
        ("<F-ID>", source),
        ("<family>", family.to_owned()),
        ("<failures>", failures.to_string()),
        ("<time>", ban.since.seconds().to_string()),
        ("<name>", jail.to_string()),
    ]
    .into_iter()
    .fold(template.to_owned(), |text, (tag, value)| text.replace(tag, &value))
}
