//! What the agent gives up because a limit is reached is told, with the limit.

use std::collections::BTreeMap;

use anyhow::Context as _;

use super::*;

/// Counters and histograms of `guardctl metrics`, by name and labels. They only ever grow.
pub(super) fn counters(agent: &Agent<'_>) -> Result<BTreeMap<String, f64>> {
    let page = agent.guardctl(&["metrics"])?;
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.filter_map(|line| line.rsplit_once(' '));
    let grows = |series: &str| {
        let name = series.split('{').next().unwrap_or(series);
        ["_total", "_bucket", "_count"].iter().any(|end| name.ends_with(end))
    };
    samples
        .filter(|(series, _)| grows(series))
        .map(|(series, value)| Ok((series.to_owned(), value.parse().context("a number")?)))
        .collect()
}

#[test]
fn who_is_forgotten_for_room_is_told_by_status_and_metrics() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "null")?;
    world.agent = world.agent.limit("tracked-failures", "2");
    world.agent.start()?;
    let evicted = "guard_sources_evicted_total{jail=\"sshd\"}";
    let told = |world: &World<'_>| -> Result<_> {
        let output = world.agent.guardctl_output(&["status"])?;
        ensure!(output.status.success(), "{output:?}");
        let json = world.agent.guardctl(&["--json", "status", "sshd"])?;
        let json: serde_json::Value = serde_json::from_str(&json)?;
        let count = json["evicted"].as_u64().context("no count")?;
        let metric = *counters(&world.agent)?.get(evicted).context("no metric")?;
        Ok((String::from_utf8(output.stderr)?, count, metric))
    };
    for source in [ATTACKER, NEIGHBOUR] {
        world.sshd_failures(source, 1)?;
        world.agent.wait_for_log(&format!("[sshd] Found {source} - "), PATIENCE)?;
    }
    let (text, count, metric) = told(&world)?;
    ensure!(!text.contains("forgotten") && count == 0 && metric == 0.0, "{text}{count} {metric}");

    world.sshd_failures(ATTACKER_V6, 1)?;
    world.agent.wait_for_log(&format!("[sshd] Found {ATTACKER_V6} - "), PATIENCE)?;
    let (text, count, metric) = told(&world)?;
    let line = "1 sources of sshd were forgotten: limits.tracked-failures was reached";
    ensure!(text.contains(line) && count == 1 && metric == 1.0, "{text}{count} {metric}");
    ensure!(!text.contains("of proxmox"), "the other jail: {text}");
    // The first was forgotten, and its neighbour was not.
    world.sshd_failures(NEIGHBOUR, 2)?;
    world.agent.wait_for_log(&format!("[sshd] Ban {NEIGHBOUR}"), PATIENCE)?;
    world.agent.stop()
}
