//! The alerts, by Prometheus' own test runner: what makes each of them fire, and what does not.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use guard_tests::command;

use super::metrics::promtool;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn every_alert_fires_when_it_should_and_its_neighbour_does_not() -> Result<()> {
    let cases = root().join("tests/fixtures/alerts.yaml");
    let mut test = Command::new(promtool()?);
    let tested = command::output(test.args(["test", "rules"]).arg(&cases))?;
    let said = String::from_utf8_lossy(&[tested.stdout, tested.stderr].concat()).into_owned();
    ensure!(tested.status.success() && said.contains("SUCCESS"), "{said}");

    // And none is left out, of both kinds.
    let rules = fs::read_to_string(root().join("config/prometheus/alerts.yaml"))?;
    let alerts: BTreeSet<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let (mut fires, mut silent) = (BTreeSet::new(), BTreeSet::new());
    let text = fs::read_to_string(&cases)?;
    for case in text.split("alertname: ").skip(1) {
        let name = case.split([',', '\n']).next().context("a name")?;
        let line = case.split('\n').next().unwrap_or(case);
        if line.contains("exp_alerts: []") {
            silent.insert(name)
        } else {
            fires.insert(name)
        };
    }
    ensure!(alerts.len() > 10, "{alerts:?}");
    ensure!(fires == alerts && silent == alerts, "of {alerts:?}: {fires:?} and {silent:?}");
    Ok(())
}

#[test]
fn a_rule_that_is_wrong_fails() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let rules = fs::read_to_string(root().join("config/prometheus/alerts.yaml"))?;
    let cases = fs::read_to_string(root().join("tests/fixtures/alerts.yaml"))?;
    let cases = cases.replace("../../config/prometheus/alerts.yaml", "rules.yaml");
    let file = directory.path().join("cases.yaml");
    fs::write(&file, cases)?;
    for (right, wrong) in [("(0.9 * guard", "(0.8 * guard"), ("guard_up == 0", "guard_up == 2")] {
        ensure!(rules.contains(right), "{right}");
        fs::write(directory.path().join("rules.yaml"), rules.replace(right, wrong))?;
        let mut test = Command::new(promtool()?);
        let tested = command::output(test.args(["test", "rules"]).arg(&file))?;
        ensure!(!tested.status.success(), "{wrong} passes: {tested:?}");
    }
    Ok(())
}
