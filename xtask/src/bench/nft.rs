//! Many bans through nftables, beside `nft -f` with the same addresses.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::figures::Goal;
use super::matching::on_one_core;
use crate::workspace;

/// Milliseconds that are allowed: 100,000 bans at once, one more.
const GOALS: [(&str, &str, f64); 3] = [
    ("100,000 bans in one sync", "100,000 bans", 2_000.0),
    ("100,000 bans instead of none", "100,000 instead of none", 2_000.0),
    ("one ban more", "one ban more", 10.0),
];

/// Runs the example, prints its figures, and holds them against the goals.
pub(super) fn measure() -> Result<Vec<Goal>> {
    let example = workspace::build_example("nft")?;
    let output = on_one_core(&Command::new(example)).output().context("run the example")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let mut medians = Vec::new();
    println!("{:<10}{:<30}{:>14}{:>14}{:>14}", "", "", "least ms", "median", "most");
    for line in text.lines() {
        let mut words = line.split('\t');
        let (Some(who), Some(what), Some(millis)) = (words.next(), words.next(), words.next())
        else {
            anyhow::bail!("the example said: {line}");
        };
        let millis: Vec<f64> = millis
            .split(' ')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .context(millis.to_owned())?;
        let (Some(least), Some(most)) = (millis.first(), millis.last()) else { continue };
        let median = millis[millis.len() / 2];
        println!("{who:<10}{what:<30}{least:>14.3}{median:>14.3}{most:>14.3}");
        medians.push((who.to_owned(), what.to_owned(), median));
    }
    let median = |who: &str, what: &str| {
        let found = medians.iter().find(|(by, of, _)| (by.as_str(), of.as_str()) == (who, what));
        found.map(|(_, _, median)| *median)
    };
    let goal = |(name, what, limit): (&'static str, &str, f64)| {
        let ours = median("guard", what).with_context(|| format!("no figure of {what}"))?;
        if let Some(peer) = median("nft -f", what) {
            println!("{name}: {:.2} times as long as nft -f", ours / peer);
        }
        Ok(Goal::at_most(name, "ms", ours, limit, None))
    };
    GOALS.into_iter().map(goal).collect()
}
