//! `guardctl reload`: another configuration for the running agent.

use crate::cli::{Context, Failure, layout, output};
use crate::control::protocol::{Reloaded, Request, Response};
use crate::core::jail::JailName;

pub(super) fn reload(context: &Context) -> Result<(), Failure> {
    let Response::Reloaded(change) = context.ask(&Request::Reload)? else {
        return Err(Failure::NotDone("the agent answered something else".to_owned()));
    };
    if context.json {
        return output::json(&change);
    }
    for warning in &change.warnings {
        output::talk(&output::visible(warning));
    }
    output::print(&text(&change, layout::columns()))
}

/// What became of the jails.
pub(super) fn text(change: &Reloaded, columns: usize) -> String {
    let list = |what: &str, names: &[JailName]| {
        let names: Vec<&str> = names.iter().map(JailName::as_str).collect();
        if names.is_empty() {
            return String::new();
        }
        layout::streamed(&format!("{what}: {}", names.join(", ")), columns) + "\n"
    };
    let text = [
        list("kept", &change.kept),
        list("started", &change.started),
        list("stopped, with all their bans", &change.stopped),
    ]
    .concat();
    if text.is_empty() { "no jail is enabled\n".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_there_is_is_told() {
        let name = |name: &str| JailName::new(name).expect("a name");
        let change = Reloaded { kept: vec![name("sshd"), name("web")], ..Reloaded::default() };
        assert_eq!(text(&change, 80), "kept: sshd, web\n");
        let change = Reloaded { stopped: vec![name("web")], ..change };
        assert_eq!(text(&change, 80), "kept: sshd, web\nstopped, with all their bans: web\n");
        assert_eq!(text(&Reloaded::default(), 80), "no jail is enabled\n");
    }
}
