//! Both servers with the same jails, and the client.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use guard_tests::agent::{Agent, beside_this_program};
use guard_tests::deadline::{wait_for, wait_until};
use guard_tests::fail2ban::Package;
use guard_tests::namespace::Namespace;

use super::client::{Client, Printed};
use super::script::Ask;

/// Reading a log by polling takes a while.
const SLOW: Duration = Duration::from_secs(30);

const JAILS: &str = "\
[DEFAULT]
backend = polling
action = quiet
maxretry = 3
findtime = 10m
bantime = 10m
ignoreip = 198.51.100.99
usedns = warn
port = 0:65535
protocol = tcp

[files]
enabled = true
filter = app
logpath = LOG
bantime.increment = true
bantime.maxtime = 1d

[units]
enabled = true
filter = app
backend = systemd
maxretry = 5
findtime = 1h
bantime = 1d
ignoreip = 10.0.0.0/8
";

const FILTER: &str = "\
[Definition]
failregex = ^\\s*login failed from <HOST>$
journalmatch = _SYSTEMD_UNIT=app.service + _COMM=app _UID=0
";

const ACTION: &str = "[Definition]\nactionban = true\nactionunban = true\n";

/// Both servers.
pub(crate) struct Sides<'namespace> {
    theirs: Client,
    ours: Client,
    agent: Agent<'namespace>,
    server: Child,
    directory: tempfile::TempDir,
}

impl<'namespace> Sides<'namespace> {
    pub(crate) fn start(namespace: &'namespace Namespace) -> Result<Self> {
        let package = Package::fetch()?;
        let directory = tempfile::Builder::new().prefix("guard-f2b-").tempdir()?;
        let log = directory.path().join("app.log");
        fs::write(&log, "")?;
        let journal = directory.path().join("journal");
        fs::create_dir(&journal)?;
        let mut agent = Agent::new(namespace, beside_this_program()?)?
            .setting("backend", "\"null\"")
            .journal(&journal);
        fs::create_dir(agent.path("etc/action.d"))?;
        agent.write("jail.conf", &JAILS.replace("LOG", &log.display().to_string()))?;
        agent.write("filter.d/app.conf", FILTER)?;
        agent.write("action.d/quiet.conf", ACTION)?;
        let place = |name: &str| directory.path().join(name).display().to_string();
        agent.write(
            "fail2ban.conf",
            &format!(
                "[Definition]\nloglevel = INFO\nlogtarget = {}\nsyslogsocket = auto\nsocket = {}\n\
                 pidfile = {}\ndbfile = {}\ndbpurgeage = 1d\n",
                place("server.log"),
                place("server.sock"),
                place("server.pid"),
                place("server.sqlite3"),
            ),
        )?;
        agent.start()?;
        let mut command = package.program("fail2ban-server");
        command.arg("-c").arg(agent.path("etc")).args(["-f", "start"]);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        let said = fs::File::create(directory.path().join("output"))?;
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        let server = command.spawn().context("start Debian's server")?;
        let client = |socket: PathBuf| {
            let [conf, sock, end] = ["-c", "-s", "--"].map(Path::new);
            let options = [conf, &agent.path("etc"), sock, &socket, end];
            Client::new(&package, "fail2ban-client", &options)
        };
        let theirs = client(directory.path().join("server.sock"))?;
        let ours = client(agent.path("fail2ban.sock"))?;
        let mut sides = Self { theirs, ours, agent, server, directory };
        let ready = wait_until("Debian's server is ready", SLOW, || {
            sides.theirs.run(&["status".to_owned()])?;
            Ok(sides.theirs.printed()?.out.contains("files, units"))
        });
        ready.with_context(|| {
            let read = |name: &str| fs::read_to_string(sides.directory.path().join(name));
            format!("{:?}\n{:?}", read("output"), read("server.log"))
        })?;
        Ok(sides)
    }

    pub(crate) fn server_socket(&self) -> PathBuf {
        self.directory.path().join("server.sock")
    }

    pub(crate) fn agent_socket(&self) -> PathBuf {
        self.agent.path("fail2ban.sock")
    }

    /// Logs a failure.
    pub(crate) fn fail(&self, jail: &str, address: &str) -> Result<()> {
        ensure!(jail == "files", "only this jail has a log");
        let path = self.directory.path().join("app.log");
        let mut log = fs::File::options().append(true).open(path)?;
        let now = guard_tests::command::run("date", ["+%Y-%m-%d %H:%M:%S"])?;
        writeln!(log, "{} login failed from {address}", now.trim_end())?;
        Ok(())
    }

    /// Runs the client on both sides.
    pub(crate) fn compare(&mut self, ask: &Ask) -> Result<()> {
        let mut run = || self.both(&ask.words);
        let (theirs, ours) = match &ask.until {
            None => run()?,
            Some(text) => wait_for(&format!("“{text}” on both sides"), SLOW, || {
                let (theirs, ours) = run()?;
                let both = theirs.out.contains(text) && ours.out.contains(text);
                Ok(both.then_some((theirs, ours)))
            })
            .with_context(|| format!("$ {}", ask.words.join(" ")))?,
        };
        let [theirs, ours] = [theirs, ours].map(|printed| unordered(&ask.words, printed));
        let shown =
            || format!("$ {}\nFail2Ban: {theirs:#?}\nguard: {ours:#?}", ask.words.join(" "));
        match &ask.differs {
            None => ensure!(theirs == ours, "{}", shown()),
            Some(tag) => ensure!(theirs != ours, "no difference ({tag}):\n{}", shown()),
        }
        for text in &ask.contains {
            ensure!(ours.out.contains(text), "“{text}” is not there:\n{}", shown());
        }
        if let Some(Some(code)) = ask.exit {
            let codes = (theirs.code, ours.code);
            ensure!(codes == (Some(code), Some(code)), "exit {code}:\n{}", shown());
        }
        // No answer is ever a broken one.
        ensure!(!ours.error.contains("Traceback"), "{}", shown());
        Ok(())
    }

    fn both(&mut self, words: &[String]) -> Result<(Printed, Printed)> {
        self.theirs.run(words)?;
        self.ours.run(words)?;
        Ok((self.theirs.printed()?, self.ours.printed()?))
    }
}

/// Lists in no order in theirs are compared as sets.
fn unordered(words: &[String], printed: Printed) -> Printed {
    if !words.iter().any(|word| word.contains("ignoreip")) {
        return printed;
    }
    let mut lines: Vec<&str> =
        printed.out.lines().map(|line| line.trim_start_matches(['|', '`', '-', ' '])).collect();
    lines.sort_unstable();
    Printed { out: lines.join("\n"), ..printed }
}

impl Drop for Sides<'_> {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}
