//! Debian's own `fail2ban-client`, unmodified, with Debian's server and with guard: it
//! prints the same and ends with the same code, command by command.
//!
//! The commands are data: `fixtures/fail2ban_client/commands.txt`.

mod client;
mod exporter;
mod regex;
mod script;
mod sides;

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use guard_tests::namespace::Namespace;

use script::Step;
use sides::Sides;

#[test]
fn the_real_client_prints_the_same_with_both_servers() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = fs::read_to_string(root.join("fixtures/fail2ban_client/commands.txt"))?;
    let steps = script::parse(&script)?;
    let documented = fs::read_to_string(root.join("../docs/differences-from-fail2ban.md"))?;
    let documented = documented.split_whitespace().collect::<Vec<_>>().join(" ");
    let namespace = Namespace::new("f2bclient")?;
    let mut sides = Sides::start(&namespace)?;
    exporter::check(&sides)?;
    let mut wrong = Vec::new();
    for step in steps {
        match step {
            Step::Fail { jail, address } => sides.fail(&jail, &address)?,
            Step::Ask(ask) => {
                if let Err(error) = sides.compare(&ask) {
                    wrong.push(format!("{error:#}"));
                }
                if let Some(tag) = &ask.differs {
                    let marked = format!("(client: `{tag}`)");
                    ensure!(documented.contains(&marked), "no difference is marked {marked}");
                }
            }
        }
    }
    regex::check(&sides)?;
    ensure!(wrong.is_empty(), "{} differences:\n\n{}", wrong.len(), wrong.join("\n\n"));
    Ok(())
}
