//! `guardctl report`: what was done, without the agent; the page in a real browser.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use guard_tests::command::{self, finish_with_input};
use guard_tests::lan::{ATTACKER, NEIGHBOUR};
use serde_json::{Value, json};

use super::*;

/// Two jails, bans by failures and by hand, packets dropped; the agent has stopped.
fn past<'lan>(lan: &'lan Lan) -> Result<World<'lan>> {
    let mut world = World::new(lan)?;
    world.agent.start()?;
    world.sshd_failures(ATTACKER, 3)?;
    world.agent.wait_for_log(&format!("[sshd] Ban {ATTACKER}"), PATIENCE)?;
    world.wait_for_answer(ATTACKER, false)?;
    world.agent.guardctl(&["ban", "proxmox", "192.0.2.7"])?;
    world.agent.guardctl(&["unban", "sshd", &ATTACKER.to_string()])?;
    world.agent.guardctl(&["ban", "sshd", &ATTACKER.to_string()])?;
    // Drops are recorded now and then, and when an agent starts.
    world.agent.guardctl(&["reload"])?;
    wait_until("drops are in the record", PATIENCE, || {
        let report = world.agent.guardctl(&["report", "--json"])?;
        let report: Value = serde_json::from_str(&report)?;
        Ok(report["dropped-packets"].as_u64() > Some(0))
    })?;
    world.agent.stop()?;
    Ok(world)
}

#[test]
fn it_tells_of_bans_that_are_over_without_the_agent() -> Result<()> {
    let lan = Lan::new()?;
    let world = past(&lan)?;
    let report: Value = serde_json::from_str(&world.agent.guardctl(&["report", "--json"])?)?;
    for (name, expected) in [("bans", 3), ("by-hand", 2), ("sources", 2), ("in-force", 2)] {
        ensure!(report[name] == expected, "{name}: {report:#}");
    }
    ensure!(report["jails"][0]["jail"] == "sshd" && report["jails"][0]["bans"] == 2, "{report:#}");
    ensure!(report["jails"][0]["failures-ever"] == 3, "{report:#}");
    ensure!(report["top-sources"][0]["source"] == ATTACKER.to_string(), "{report:#}");
    ensure!(report["top-sources"][0]["failures"] == 3, "{report:#}");
    ensure!(report["times"]["known"] == 1, "a ban by hand takes no time: {report:#}");
    let took = report["times"]["median"].as_i64().context("a time")?;
    ensure!((1..10_000_000).contains(&took), "{took} µs from the failure to the ban");
    let text = world.agent.guardctl(&["report"])?;
    ensure!(text.contains("Bans made      3 of 2 sources"), "{text}");
    ensure!(text.contains("10.3.0.0/24") && !text.contains(&NEIGHBOUR.to_string()), "{text}");
    ensure!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    for (since, code) in [("soon", 2), ("2999-01-01", 2), ("30m", 0), ("2020-02-29", 0)] {
        let output = world.agent.guardctl_output(&["report", "--since", since])?;
        ensure!(output.status.code() == Some(code), "--since {since}: {output:?}");
    }
    // It reads and nothing more: the store is as it was.
    let store = world.agent.path("state/guard.sqlite3");
    let before = fs::read(&store)?;
    world.agent.guardctl(&["report"])?;
    ensure!(fs::read(&store)? == before);
    fs::rename(&store, world.agent.path("moved"))?;
    let output = world.agent.guardctl_output(&["report"])?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    ensure!(!store.exists(), "a report makes no store");
    Ok(())
}

#[test]
fn a_browser_shows_the_page_light_and_dark_and_fetches_nothing() -> Result<()> {
    let lan = Lan::new()?;
    let world = past(&lan)?;
    let page = world.agent.path("report.html");
    world.agent.guardctl(&["report", "--since", "24h", "--html", &page.display().to_string()])?;
    let browser = Browser { lan: &lan, directory: tempfile::tempdir()?, page };
    let (document, said) = browser.run(&["--dump-dom"])?;
    for words in [
        "<b id=\"bans\">3</b>",
        "<b id=\"sources\">2</b>",
        "<b id=\"in-force\">2</b>",
        "10.3.0.0/24",
        "<svg id=\"bans-over-time\"",
        "<svg id=\"drops-over-time\"",
        "<table id=\"time-to-ban\"",
    ] {
        ensure!(document.contains(words), "no {words} in\n{document}");
    }
    ensure!(document.contains("<rect class=\"s1\""), "no second jail in the chart");
    // Errors of the page, of its style and of its policy come to the console.
    let console: Vec<&str> = said.lines().filter(|line| line.contains("CONSOLE")).collect();
    ensure!(console.is_empty(), "{console:?}");
    let asked = browser.requests()?;
    ensure!(asked.is_empty(), "it asked for {asked:?}");
    // What the page would have asked for is seen here: another page does.
    let other = browser.directory.path().join("other.html");
    fs::write(&other, "<img src='http://192.0.2.1/seen'><script>console.error(7)</script>")?;
    let other = Browser { page: other, ..browser };
    let (_, said) = other.run(&["--dump-dom"])?;
    ensure!(other.requests()? == ["http://192.0.2.1/seen"] && said.contains("CONSOLE"), "{said}");
    let browser = Browser { page: world.agent.path("report.html"), ..other };

    let mut corners = Vec::new();
    for scheme in ["1", "0"] {
        let picture = browser.directory.path().join(format!("{scheme}.png"));
        let wish = format!("--blink-settings=preferredColorScheme={scheme}");
        let shot = format!("--screenshot={}", picture.display());
        browser.run(&[&wish, &shot, "--window-size=900,1400"])?;
        corners.push(corner(&picture)?);
    }
    ensure!(corners == [[255, 255, 255], [0x12, 0x16, 0x1c]], "light and dark: {corners:?}");
    Ok(())
}

/// Whether the browser asks this of its makers, whatever page it shows.
fn is_the_browsers(url: &str) -> bool {
    let host = url.split('/').nth(2).unwrap_or_default();
    ["google.com", "googleapis.com", "gstatic.com", "gvt1.com"].iter().any(|own| {
        host.strip_suffix(own).is_some_and(|name| name.is_empty() || name.ends_with('.'))
    })
}

/// Chromium, in a namespace from which nothing can be reached.
struct Browser<'lan> {
    lan: &'lan Lan,
    directory: tempfile::TempDir,
    page: PathBuf,
}

impl Browser<'_> {
    /// What it prints, and what it says, when it has shown the page.
    fn run(&self, arguments: &[&str]) -> Result<(String, String)> {
        let mut chromium = self.lan.outside.command("chromium");
        chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]);
        chromium.args(["--disable-background-networking", "--disable-component-update"]);
        chromium.args(["--disable-sync", "--disable-default-apps", "--disable-extensions"]);
        chromium.args(["--enable-logging=stderr", "--log-level=0", "--hide-scrollbars"]);
        chromium.arg(format!("--user-data-dir={}", self.directory.path().join("user").display()));
        chromium.arg(format!("--log-net-log={}", self.log().display()));
        chromium.args(arguments).arg(format!("file://{}", self.page.display()));
        let output = command::output(&mut chromium)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "chromium: {}\n{said}", output.status);
        Ok((String::from_utf8_lossy(&output.stdout).into_owned(), said))
    }

    /// Everything that it asked of the network.
    fn requests(&self) -> Result<Vec<String>> {
        let log = fs::read_to_string(self.log())?;
        let urls = log.match_indices("\"url\":\"").map(|(at, key)| {
            let rest = &log[at + key.len()..];
            rest[..rest.find('"').unwrap_or(rest.len())].to_owned()
        });
        ensure!(log.contains("\"events\""), "that is no log: {log}");
        let mut urls: Vec<String> =
            urls.filter(|url| url.starts_with("http") && !is_the_browsers(url)).collect();
        urls.sort();
        urls.dedup();
        Ok(urls)
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("network.json")
    }
}

/// The colour of the first pixel of a picture: no filter of PNG changes that.
fn corner(picture: &Path) -> Result<[u8; 3]> {
    let script = "import json, struct, sys, zlib\n\
                  data = open(json.load(sys.stdin), 'rb').read()\n\
                  at, packed = 8, b''\n\
                  while at < len(data):\n\
                  \x20   length, kind = struct.unpack('>I4s', data[at:at + 8])\n\
                  \x20   packed += data[at + 8:at + 8 + length] if kind == b'IDAT' else b''\n\
                  \x20   at += length + 12\n\
                  json.dump(list(zlib.decompress(packed)[1:4]), sys.stdout)\n";
    let mut python = std::process::Command::new("/usr/bin/python3");
    python.args(["-c", script]);
    let said = finish_with_input(python, json!(picture).to_string().as_bytes())?;
    Ok(serde_json::from_str(&said)?)
}
