//! The figures in words: tables, ratios, and which goals they meet.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::plot::Bar;
use crate::programs::{Set, Sources};
use crate::receivers::{Receiver, thousands};
use crate::single::{Costs, KINDS};
use crate::traffic::median;
use crate::{FLOOR, MANY, PASSES, Pair, Row, SOME, guest};

/// Everything that was measured.
pub(crate) struct Report<'a> {
    pub(crate) receivers: &'a [Receiver],
    pub(crate) rows: &'a [Row],
    pub(crate) pairs: &'a [Pair],
    pub(crate) costs: &'a [Costs],
    pub(crate) guest: &'a [guest::Throughput],
}

impl Report<'_> {
    /// All of it in Markdown.
    pub(crate) fn markdown(&self) -> Result<String> {
        let mut lines = vec![machine()?, String::new()];
        lines.push(
            "| receiver | bans | Mpps (least–most) | of the floor | bytes a ban | loaded in |"
                .to_owned(),
        );
        lines.push("| --- | --- | --- | --- | --- | --- |".to_owned());
        let floor = self.rate(FLOOR, 0)?;
        for row in self.rows.iter().filter(|row| row.sources != Sources::Clean) {
            lines.push(self.line(row, floor, true)?);
        }
        lines.extend([
            "".to_owned(),
            "The same with clean sources, whose frames go on to the host's stack:".to_owned(),
            "".to_owned(),
        ]);
        lines.push("| receiver | bans | Mpps (least–most) | of passing | | |".to_owned());
        lines.push("| --- | --- | --- | --- | --- | --- |".to_owned());
        let pass = self.find(PASSES, 0, Sources::Clean)?;
        for row in self.rows.iter().filter(|row| row.sources == Sources::Clean) {
            lines.push(self.line(row, median(&pass.rates), false)?);
        }
        lines.extend(
            ["", "On two cores at a time, each with a cable of its own:", ""].map(str::to_owned),
        );
        lines.push("| receiver | bans | Mpps (least–most) | of the floor |".to_owned());
        lines.push("| --- | --- | --- | --- |".to_owned());
        let both = median(&self.pairs.first().context("no pair")?.1);
        for (words, rates) in self.pairs {
            let share = 100.0 * median(rates) / both;
            lines.push(format!("| {words} | {} | {share:.0} % |", spread(rates)));
        }
        lines.extend([
            "".to_owned(),
            "Nanoseconds of one packet, without any interface:".to_owned(),
            "".to_owned(),
        ]);
        lines.push(format!("| program, bans | {} |", KINDS.join(" | ")));
        lines.push("| --- | --- | --- | --- | --- | --- |".to_owned());
        for Costs { name, nanos } in self.costs {
            let cells: Vec<String> = nanos.iter().map(|nanos| format!("{nanos:.0}")).collect();
            lines.push(format!("| {name} | {} |", cells.join(" | ")));
        }
        lines.extend(
            ["", "TCP from outside to a guest behind the host's bridge:", ""].map(str::to_owned),
        );
        lines.push("| on the uplink | Gbit/s (least–most) | of nothing |".to_owned());
        lines.push("| --- | --- | --- |".to_owned());
        lines.extend(guest::lines(self.guest));
        lines.push(String::new());
        lines.extend(self.goals()?);
        Ok(lines.join("\n"))
    }

    fn line(&self, row: &Row, whole: f64, with_memory: bool) -> Result<String> {
        let receiver = &self.receivers[row.receiver];
        let (mut bytes, mut loaded) = (String::new(), String::new());
        if with_memory {
            bytes = receiver
                .bytes()?
                .map(|all| thousands_of(all / u64::from(receiver.bans)))
                .unwrap_or_default();
            loaded = receiver
                .loaded
                .map(|took| format!("{:.1} ms", took.as_secs_f64() * 1e3))
                .unwrap_or_default();
        }
        let share = 100.0 * median(&row.rates) / whole;
        let (name, bans) = (receiver.name, receiver.bans_in_words());
        Ok(format!(
            "| {name} | {bans} | {} | {share:.0} % | {bytes} | {loaded} |",
            spread(&row.rates)
        ))
    }

    fn find(&self, name: &str, bans: u32, sources: Sources) -> Result<&Row> {
        let found = self.rows.iter().find(|row| {
            let receiver = &self.receivers[row.receiver];
            (receiver.name, receiver.bans, receiver.set) == (name, bans, Set::Random)
                && row.sources == sources
        });
        found.with_context(|| format!("{name} with {bans} bans was not measured"))
    }

    fn rate(&self, name: &str, bans: u32) -> Result<f64> {
        Ok(median(&self.find(name, bans, Sources::Banned(bans.max(1)))?.rates))
    }

    /// The goals, and whether they are met.
    fn goals(&self) -> Result<Vec<String>> {
        let floor = self.rate(FLOOR, 0)?;
        let [one, some, many] = [1, SOME, MANY].map(|bans| self.rate("guard", bans));
        let (one, some, many) = (one?, some?, many?);
        let receiver = |name, bans| {
            self.receivers.iter().find(|it| (it.name, it.bans, it.set) == (name, bans, Set::Random))
        };
        let million = receiver("guard", MANY).context("a million was not measured")?;
        let loaded = million.loaded.unwrap_or_default().as_secs_f64() * 1e3;
        let bytes = million.bytes()?.unwrap_or_default() as f64 / f64::from(million.bans);
        let clean = |cost: &Costs| cost.nanos[0] - self.costs[0].nanos[0];
        let of_v4 = self.costs[1..].iter().filter(|cost| !cost.name.contains("IPv6"));
        let clean = of_v4.map(clean).fold(0.0, f64::max);
        let few = one.min(some);
        let filter = (one / self.rate("xdp-filter", 1)?).min(some / self.rate("xdp-filter", SOME)?);
        let nft = [1, SOME, MANY].map(|bans| {
            Ok::<f64, anyhow::Error>(self.rate("guard", bans)? / self.rate("nft, `drop`", bans)?)
        });
        let mut least_nft = f64::INFINITY;
        for ratio in nft {
            least_nft = least_nft.min(ratio?);
        }
        let goal = |what: &str, figure: String, met: bool| {
            format!("- {what}: {figure}: {}", if met { "met" } else { "**missed**" })
        };
        Ok(vec![
            goal(
                "few bans, goal ≥ 90 % of the floor",
                format!("{:.0} %", 100.0 * few / floor),
                few >= 0.9 * floor,
            ),
            goal(
                "a million random bans, goal ≥ 55 % of the floor",
                format!("{:.0} %", 100.0 * many / floor),
                many >= 0.55 * floor,
            ),
            goal(
                "goal ≥ 2.5 times nft with as many",
                format!("{least_nft:.1} times at least"),
                least_nft >= 2.5,
            ),
            goal("goal: ahead of xdp-filter", format!("{filter:.2} times at least"), filter > 1.0),
            goal(
                "a clean packet, goal ≤ 25 ns more than passing",
                format!("{clean:.0} ns"),
                clean <= 25.0,
            ),
            goal(
                "a million bans from memory, goal ≤ 100 ms",
                format!("{loaded:.0} ms"),
                loaded <= 100.0,
            ),
            goal("goal ≤ 32 bytes a ban in the kernel", format!("{bytes:.0}"), bytes <= 32.0),
        ])
    }

    /// The bars of the plot: random banned sources.
    pub(crate) fn bars(&self) -> Vec<Bar> {
        let rows = self.rows.iter().filter(|row| row.sources != Sources::Clean);
        let shown = rows.filter(|row| self.receivers[row.receiver].set == Set::Random);
        let bar = |row: &Row| {
            let receiver = &self.receivers[row.receiver];
            let bans = match receiver.bans {
                0 => String::new(),
                bans => format!(", {} bans", thousands(bans)),
            };
            let words = format!("{}{bans}", receiver.name.replace('`', ""));
            Bar { words, value: median(&row.rates) / 1e6, own: receiver.guard.is_some() }
        };
        shown.map(bar).collect()
    }
}

fn thousands_of(number: u64) -> String {
    u32::try_from(number).map_or_else(|_| number.to_string(), thousands)
}

/// The median in millions, with the least and the most.
fn spread(rates: &[f64]) -> String {
    let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
    let most = rates.iter().copied().fold(0.0, f64::max);
    format!("{:.2} ({:.2}–{:.2})", median(rates) / 1e6, least / 1e6, most / 1e6)
}

/// What it was measured on.
fn machine() -> Result<String> {
    let cores = fs::read_to_string("/proc/cpuinfo")?;
    let model = cores.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches(['\t', ' ', ':']);
    let count = cores.lines().filter(|line| line.starts_with("processor")).count();
    let system = rustix::system::uname();
    let kernel = system.release().to_string_lossy().into_owned();
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    Ok(format!(
        "Machine: {count} virtual cores ({model}), Linux {kernel}; load {load} at the end of the run."
    ))
}

/// Replaces what stands between the marks of this benchmark in a file.
pub(crate) fn put_between_marks(file: &Path, text: &str) -> Result<()> {
    const MARKS: [&str; 2] = ["<!-- bench datapath -->\n", "<!-- end of bench datapath -->\n"];
    let old = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let (before, rest) = old.split_once(MARKS[0]).context("the first mark is missing")?;
    let (_, after) = rest.split_once(MARKS[1]).context("the second mark is missing")?;
    let new = format!("{before}{}\n{text}\n\n{}{after}", MARKS[0], MARKS[1]);
    fs::write(file, new).with_context(|| format!("write {}", file.display()))
}
