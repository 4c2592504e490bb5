//! Metrics: read by Prometheus' own parsers, and by Prometheus.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use guard_tests::command::{self, finish_with_input};
use guard_tests::lan::{ATTACKER, NEIGHBOUR, UPLINK};
use guard_tests::namespace::Namespace;
use guard_tests::peers;
use serde_json::{Value, json};

use super::*;

/// Reads expositions and talks HTTP: see its head.
const SCRIPT: &str = include_str!("metrics.py");

/// What Debian's Python client of Prometheus, or the standard library, makes of `request`.
fn python(namespace: &Namespace, request: &Value) -> Result<Value> {
    let mut python = namespace.command("/usr/bin/python3");
    python.args(["-c", SCRIPT]);
    let answer = finish_with_input(python, request.to_string().as_bytes())?;
    serde_json::from_str(&answer).with_context(|| format!("the script said {answer}"))
}

/// The samples of an exposition.
struct Samples(Vec<(String, Value, f64)>);

impl Samples {
    fn read(namespace: &Namespace, format: &str, text: &str) -> Result<Self> {
        let read = python(namespace, &json!({"do": "parse", "format": format, "text": text}))?;
        let samples = read["samples"].as_array().context("samples")?.iter().map(|sample| {
            let name = sample[0].as_str().context("a name")?.to_owned();
            Ok((name, sample[1].clone(), sample[2].as_f64().context("a value")?))
        });
        Ok(Self(samples.collect::<Result<_>>()?))
    }

    fn value(&self, name: &str, labels: &Value) -> Result<f64> {
        let found = self.0.iter().find(|(other, others, _)| other == name && others == labels);
        found.map(|(_, _, value)| *value).with_context(|| format!("no {name} {labels}"))
    }

    fn names(&self) -> BTreeSet<&str> {
        self.0.iter().map(|(name, ..)| name.as_str()).collect()
    }
}

/// `guardctl metrics --listen` on a port that the kernel chose, and where that is.
fn listening(agent: &Agent<'_>) -> Result<(Running, String)> {
    listening_at(agent, "127.0.0.1:0")
}

/// `guardctl metrics --listen` at a place, and where that is, as it says itself.
fn listening_at(agent: &Agent<'_>, place: &str) -> Result<(Running, String)> {
    let mut listen = agent.guardctl_command(&["metrics", "--listen", place]);
    let mut child = Running(listen.stderr(Stdio::piped()).spawn()?);
    let mut line = String::new();
    BufReader::new(child.0.stderr.take().context("stderr")?).read_line(&mut line)?;
    let place = line.trim().strip_prefix("metrics are at ").context("it said where")?;
    Ok((child, place.to_owned()))
}

pub(crate) fn promtool() -> Result<PathBuf> {
    Ok(peers::unpacked("prometheus")?.join("usr/bin/promtool"))
}

fn shipped(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").join(file)
}

/// One ban by three failures, one by hand that is lifted again, a neighbour that failed
/// once, and packets that were dropped.
fn busy<'lan>(lan: &'lan Lan) -> Result<World<'lan>> {
    let mut world = World::new(lan)?;
    world.agent.start()?;
    world.sshd_failures(NEIGHBOUR, 1)?;
    world.sshd_failures(HOST, 1)?;
    world.sshd_failures(ATTACKER, 3)?;
    world.agent.wait_for_log(&format!("[sshd] Ban {ATTACKER}"), PATIENCE)?;
    world.wait_for_answer(ATTACKER, false)?;
    world.agent.guardctl(&["ban", "proxmox", "192.0.2.7"])?;
    world.agent.guardctl(&["unban", "proxmox", "192.0.2.7"])?;
    Ok(world)
}

#[test]
fn others_read_what_happened_and_no_address() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = busy(&lan)?;
    let text = world.agent.guardctl(&["metrics"])?;
    let samples = Samples::read(&lan.host, "openmetrics", &text)?;
    let sshd = || json!({"jail": "sshd"});
    for (name, labels, expected) in [
        ("guard_up", json!({}), 1.0),
        ("guard_failures_total", sshd(), 4.0),
        ("guard_failures_ignored_total", json!({"jail": "sshd", "reason": "own"}), 1.0),
        ("guard_bans_made_total", sshd(), 1.0),
        ("guard_bans_held", sshd(), 1.0),
        ("guard_bans_not_enforced", sshd(), 0.0),
        ("guard_failing_sources", sshd(), 1.0),
        ("guard_bans_made_total", json!({"jail": "proxmox"}), 1.0),
        ("guard_bans_lifted_total", json!({"jail": "proxmox"}), 1.0),
        ("guard_bans_held", json!({"jail": "proxmox"}), 0.0),
        ("guard_map_entries", json!({"map": "ipv4"}), 1.0),
        ("guard_map_entries", json!({"map": "ipv6"}), 0.0),
        ("guard_map_capacity", json!({"map": "ipv4"}), f64::from(1 << 20)),
        // The ban by hand was not made by a failure.
        ("guard_enforcement_latency_seconds_count", json!({}), 1.0),
        ("guard_enforcement_latency_seconds_bucket", json!({"le": "+Inf"}), 1.0),
        ("guard_store_works", json!({}), 1.0),
        ("guard_queue_capacity", json!({"queue": "entries"}), 8.0),
        ("guard_reloads_total", json!({"outcome": "done"}), 0.0),
        ("guard_repairs_total", json!({}), 0.0),
        ("guard_entries_forged_total", json!({"source": "journal"}), 0.0),
    ] {
        let value = samples.value(name, &labels)?;
        ensure!((value - expected).abs() < 1e-9, "{name} {labels} is {value}, not {expected}");
    }
    let packets = samples.value("guard_traffic_packets_total", &json!({"verdict": "drop"}))?;
    ensure!(packets >= 1.0, "dropped {packets} packets");
    let dropped = samples.value("guard_bans_held_dropped_packets", &sshd())?;
    ensure!((dropped - packets).abs() < 1e-9, "{dropped} of {packets} are the one source's");
    let way_in = json!({"interface": UPLINK});
    let there = samples.value("guard_interface_dropped_packets_total", &way_in)?;
    ensure!((there - packets).abs() < 1e-9, "{there} of {packets} on the one interface");
    let latency = samples.value("guard_enforcement_latency_seconds_sum", &json!({}))?;
    ensure!(latency > 0.0 && latency < 10.0, "from the failure to the ban: {latency} s");
    // 5 entries were read, and dealt with soon after they were written.
    let read = samples.value("guard_entries_read_total", &json!({"source": "journal"}))?;
    ensure!((read - 5.0).abs() < 1e-9, "{read} entries read");
    let lag = samples.value("guard_source_lag_seconds", &json!({"source": "journal"}))?;
    ensure!(lag > 0.0 && lag < 10.0, "the journal is {lag} s late");
    for address in [ATTACKER, NEIGHBOUR, HOST] {
        ensure!(!text.contains(&address.to_string()), "{address} in\n{text}");
    }

    // Counters outlive a reload and, where they are stored, the agent.
    world.agent.guardctl(&["reload"])?;
    let text = world.agent.guardctl(&["metrics"])?;
    let after = Samples::read(&lan.host, "openmetrics", &text)?;
    for (name, labels, expected) in [
        ("guard_reloads_total", json!({"outcome": "done"}), 1.0),
        ("guard_bans_lifted_total", json!({"jail": "proxmox"}), 1.0),
        ("guard_enforcement_latency_seconds_count", json!({}), 1.0),
    ] {
        let value = after.value(name, &labels)?;
        ensure!((value - expected).abs() < 1e-9, "after a reload {name} is {value}");
    }
    world.agent.kill()?;
    world.agent.start()?;
    let text = world.agent.guardctl(&["metrics"])?;
    let after = Samples::read(&lan.host, "openmetrics", &text)?;
    ensure!((after.value("guard_failures_total", &sshd())? - 4.0).abs() < 1e-9);
    world.agent.stop()
}

#[test]
fn a_text_file_and_http_tell_the_same_and_that_there_is_no_agent() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = busy(&lan)?;
    let file = world.agent.path("guard.prom");
    let written = file.display().to_string();
    world.agent.guardctl(&["metrics", "--textfile", &written])?;
    let text = fs::read_to_string(&file)?;
    let samples = Samples::read(&lan.host, "prometheus", &text)?;
    let banned = samples.value("guard_bans_made_total", &json!({"jail": "sshd"}))?;
    ensure!((banned - 1.0).abs() < 1e-9, "{banned}");
    // What Prometheus' own linter finds would be printed.
    let mut lint = Command::new(promtool()?);
    lint.args(["check", "metrics"]).stdin(File::open(&file)?);
    let lint = command::output(&mut lint)?;
    ensure!(lint.status.success(), "promtool: {lint:?}");

    let (_listener, url) = listening(&world.agent)?;
    let get = |accept: &str, method: &str, path: &str| {
        let url = format!("{}{path}", url.trim_end_matches("/metrics"));
        python(&lan.host, &json!({"do": "http", "url": url, "accept": accept, "method": method}))
    };
    let answer = get("application/openmetrics-text;version=1.0.0,*/*;q=0.1", "GET", "/metrics")?;
    ensure!(answer["status"] == 200, "{answer}");
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ensure!(answer["type"] == kind, "{answer}");
    let told = Samples::read(&lan.host, "openmetrics", answer["body"].as_str().unwrap_or(""))?;
    ensure!(told.names() == samples.names(), "other names by HTTP");
    let answer = get("*/*", "GET", "/metrics")?;
    ensure!(answer["type"] == "text/plain; version=0.0.4; charset=utf-8", "{answer}");
    Samples::read(&lan.host, "prometheus", answer["body"].as_str().unwrap_or(""))?;
    ensure!(get("*/*", "POST", "/metrics")?["status"] == 405);
    ensure!(get("*/*", "GET", "/")?["status"] == 404);
    // Others may read them only if that was said.
    let refused = world.agent.guardctl_output(&["metrics", "--listen", "0.0.0.0:9779"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(2) && said.contains("--public"), "{said}");

    world.agent.stop()?;
    let answer = get("*/*", "GET", "/metrics")?;
    let told = Samples::read(&lan.host, "prometheus", answer["body"].as_str().unwrap_or(""))?;
    ensure!(told.names() == BTreeSet::from(["guard_up"]), "{answer}");
    ensure!(told.value("guard_up", &json!({}))? == 0.0);
    let output = world.agent.guardctl_output(&["metrics", "--textfile", &written])?;
    ensure!(output.status.code() == Some(3), "{output:?}");
    let text = fs::read_to_string(&file)?;
    ensure!(text.ends_with("\nguard_up 0\n"), "{text}");
    Ok(())
}

#[test]
fn a_unix_socket_tells_what_tcp_tells() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = busy(&lan)?;
    let socket = world.agent.path("http.sock").display().to_string();
    // As a listener that was killed leaves it.
    drop(UnixListener::bind(&socket)?);
    let (_local, place) = listening_at(&world.agent, &format!("unix:{socket}"))?;
    ensure!(place == format!("{socket}, path /metrics"), "{place}");
    let (_network, url) = listening(&world.agent)?;
    let ask = |local: bool, accept: &str, method: &str, path: &str| {
        let url = format!("{}{path}", url.trim_end_matches("/metrics"));
        let mut request = json!({"do": "http", "url": url, "accept": accept, "method": method});
        if local {
            request["socket"] = json!(socket);
        }
        python(&lan.host, &request)
    };
    let openmetrics = "application/openmetrics-text;version=1.0.0,*/*;q=0.1";
    for (accept, format) in [(openmetrics, "openmetrics"), ("*/*", "prometheus")] {
        let read = |local| -> Result<(Value, Samples)> {
            let answer = ask(local, accept, "GET", "/metrics")?;
            ensure!(answer["status"] == 200, "{answer}");
            let body = answer["body"].as_str().context("a body")?;
            Ok((answer["type"].clone(), Samples::read(&lan.host, format, body)?))
        };
        // What both readings by TCP agree on, the one between them says too.
        let ((kind, before), here, (_, after)) = (read(false)?, read(true)?, read(false)?);
        ensure!(here.0 == kind, "{format}: {} and not {kind}", here.0);
        ensure!(here.1.0.len() == before.0.len(), "{format}: other samples");
        let mut same = 0;
        for (here, (before, after)) in here.1.0.iter().zip(before.0.iter().zip(&after.0)) {
            ensure!((&here.0, &here.1) == (&before.0, &before.1), "{format}: {here:?}, {before:?}");
            if before == after {
                ensure!(here == before, "{format}: {here:?} and by TCP {before:?}");
                same += 1;
            }
        }
        ensure!(same * 2 > before.0.len(), "{format}: only {same} samples keep their values");
        let banned = here.1.value("guard_bans_made_total", &json!({"jail": "sshd"}))?;
        ensure!((banned - 1.0).abs() < 1e-9, "{format}: {banned} bans");
    }
    ensure!(ask(true, "*/*", "POST", "/metrics")?["status"] == 405);
    ensure!(ask(true, "*/*", "GET", "/")?["status"] == 404);

    world.agent.stop()?;
    let answer = ask(true, "*/*", "GET", "/metrics")?;
    let told = Samples::read(&lan.host, "prometheus", answer["body"].as_str().unwrap_or(""))?;
    ensure!(told.names() == BTreeSet::from(["guard_up"]), "{answer}");
    Ok(())
}

#[test]
fn prometheus_scrapes_it_and_knows_all_that_dashboard_and_alerts_ask_for() -> Result<()> {
    let lan = Lan::new()?;
    let world = busy(&lan)?;
    let (_listener, url) = listening(&world.agent)?;
    let target = url.trim_start_matches("http://").trim_end_matches("/metrics");
    let rules = shipped("prometheus/alerts.yaml");
    let mut check = Command::new(promtool()?);
    command::finish({
        check.arg("check").arg("rules").arg(&rules);
        check
    })?;
    let directory = tempfile::tempdir()?;
    let configuration = directory.path().join("prometheus.yml");
    fs::write(
        &configuration,
        format!(
            "global: {{scrape_interval: 250ms, evaluation_interval: 250ms}}\n\
             rule_files: [{rules:?}]\n\
             scrape_configs: [{{job_name: guard, static_configs: [{{targets: [{target:?}]}}]}}]\n"
        ),
    )?;
    let mut prometheus = lan.host.command("setpriv");
    prometheus.args(["--pdeathsig", "KILL", "--"]);
    prometheus.arg(peers::unpacked("prometheus")?.join("usr/bin/prometheus"));
    prometheus.arg(format!("--config.file={}", configuration.display()));
    prometheus.arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()));
    prometheus.arg("--web.listen-address=127.0.0.1:9090");
    let said = File::create(directory.path().join("output"))?;
    let _prometheus = Running(prometheus.stdout(said.try_clone()?).stderr(said).spawn()?);
    let ask = |queries: &[String]| {
        python(
            &lan.host,
            &json!({"do": "query", "url": "http://127.0.0.1:9090", "queries": queries}),
        )
    };
    let up = ["guard_up == 1".to_owned()];
    wait_for("Prometheus has scraped the agent", Duration::from_secs(30), || {
        Ok(ask(&up).ok().filter(|answers| answers[0]["results"] == 1))
    })
    .with_context(|| fs::read_to_string(directory.path().join("output")).unwrap_or_default())?;

    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string(shipped("grafana/guard.json"))?)?;
    let mut queries = expressions(&dashboard);
    ensure!(queries.len() > 20, "only {} queries in the dashboard", queries.len());
    for query in &mut queries {
        for (variable, value) in
            [("$instance", ".*"), ("$__rate_interval", "1m"), ("${datasource}", "")]
        {
            *query = query.replace(variable, value);
        }
    }
    let alerts = fs::read_to_string(&rules)?;
    let asked: BTreeSet<&str> = queries.iter().flat_map(|query| metrics(query)).collect();
    let asked: BTreeSet<&str> = asked.into_iter().chain(metrics(&alerts)).collect();
    let text = world.agent.guardctl(&["metrics"])?;
    let samples = Samples::read(&lan.host, "openmetrics", &text)?;
    let names = samples.names();
    let unknown: Vec<&&str> = asked.difference(&names).collect();
    ensure!(unknown.is_empty() && asked.len() > 20, "no such metrics: {unknown:?} of {asked:?}");
    let answers = ask(&queries)?;
    for (query, answer) in queries.iter().zip(answers.as_array().context("answers")?) {
        ensure!(answer["status"] == "success", "{query}: {answer}");
    }
    // All is well with this agent, and it is known to be: no alert, and every rule works.
    let rules = python(&lan.host, &json!({"do": "rules", "url": "http://127.0.0.1:9090"}))?;
    let rules = rules["rules"].as_array().context("rules")?;
    ensure!(rules.len() > 10, "{rules:?}");
    for rule in rules {
        ensure!(rule["health"] != "err" && rule["state"] != "firing", "{rule}");
    }
    Ok(())
}

/// Every expression in a dashboard.
fn expressions(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(key, value)| match value {
                Value::String(text) if key == "expr" => vec![text.clone()],
                _ => expressions(value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(expressions).collect(),
        _ => Vec::new(),
    }
}

/// Every metric of guard's that a text names.
fn metrics(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("guard_"))
}
