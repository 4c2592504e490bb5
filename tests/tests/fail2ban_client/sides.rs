//! Both servers with the same jails, and the client.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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
    /// Another agent, for guard's own client.
    named: Agent<'namespace>,
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
        let program = beside_this_program()?;
        symlink(&program, directory.path().join("fail2ban-client"))?;
        symlink(&program, directory.path().join("fail2ban-regex"))?;
        let jails = JAILS.replace("LOG", &log.display().to_string());
        let prepared = || -> Result<Agent<'_>> {
            let agent = Agent::new(namespace, program.clone())?;
            let agent = agent.setting("backend", "\"null\"").journal(&journal);
            fs::create_dir(agent.path("etc/action.d"))?;
            agent.write("jail.conf", &jails)?;
            agent.write("filter.d/app.conf", FILTER)?;
            agent.write("action.d/quiet.conf", ACTION)?;
            Ok(agent)
        };
        let (mut agent, mut named) = (prepared()?, prepared()?);
        let place = |name: &str| directory.path().join(name).display().to_string();
        agent.write(
            "fail2ban.conf",
            &format!(
                "[Definition]\nloglevel = INFO\nlogtarget = {}\nsyslogsocket = auto\nsocket = {}\n\
                 pidfile = {}\ndbfile = {}\ndbpurgeage = 1d\nallowipv6 = auto\n",
                place("server.log"),
                place("server.sock"),
                place("server.pid"),
                place("server.sqlite3"),
            ),
        )?;
        agent.start()?;
        named.start()?;
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
        let mut sides = Self { theirs, ours, agent, named, server, directory };
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

    pub(crate) fn named_socket(&self) -> PathBuf {
        self.named.path("fail2ban.sock")
    }

    pub(crate) fn agent_socket(&self) -> PathBuf {
        self.agent.path("fail2ban.sock")
    }

    /// Logs a failure.
    pub(crate) fn fail(&self, jail: &str, address: &str) -> Result<()> {
        ensure!(jail == "files", "only this jail has a log");
        let path = self.directory.path().join("app.log");
        let mut log = fs::File::options().append(true).open(path)?;
        // In whole seconds, and later than the last unban.
        let time = guard_tests::command::run("date", ["-d+1 second", "+%Y-%m-%d %H:%M:%S"])?;
        writeln!(log, "{} login failed from {address}", time.trim_end())?;
        Ok(())
    }

    /// Runs the client on both sides.
    pub(crate) fn compare(&mut self, ask: &Ask) -> Result<()> {
        let mut run = || self.both(&ask.words);
        let (theirs, ours, named) = match &ask.until {
            None => run()?,
            Some(text) => wait_for(&format!("“{text}” on both sides"), SLOW, || {
                let all = run()?;
                let printed = [&all.0, &all.1, &all.2].iter().all(|one| one.out.contains(text));
                Ok(printed.then_some(all))
            })
            .with_context(|| format!("$ {}", ask.words.join(" ")))?,
        };
        let [theirs, ours, named] =
            [theirs, ours, named].map(|printed| comparable(&ask.words, printed));
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
        let by_name = || format!("{}\nfail2ban-client is guardctl: {named:#?}", shown());
        match ask.own_words {
            true => ensure!(named.code == ours.code, "{}", by_name()),
            false => ensure!(named == ours, "{}", by_name()),
        }
        // No answer is ever a broken one.
        ensure!(!ours.error.contains("Traceback"), "{}", shown());
        Ok(())
    }

    fn both(&mut self, words: &[String]) -> Result<(Printed, Printed, Printed)> {
        self.theirs.run(words)?;
        self.ours.run(words)?;
        let socket = ["-s".to_owned(), self.named_socket().display().to_string(), "--".to_owned()];
        let words: Vec<String> = socket.into_iter().chain(words.iter().cloned()).collect();
        let named = self.by_name("fail2ban-client", &words)?;
        // They are two agents, in two places.
        let place = |agent: &Agent<'_>| agent.path("").display().to_string();
        let (theirs, mut ours) = (self.theirs.printed()?, self.ours.printed()?);
        ours.out = ours.out.replace(&place(&self.agent), "AGENT/");
        let out = named.out.replace(&place(&self.named), "AGENT/");
        Ok((theirs, ours, Printed { out, ..named }))
    }

    /// Runs guardctl by another name.
    pub(crate) fn by_name(&self, program: &str, words: &[String]) -> Result<Printed> {
        let mut command = Command::new(self.directory.path().join(program));
        let output = guard_tests::command::output(command.args(words))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().map(i64::from);
        Ok(Printed::new(&text(&output.stdout), &text(&output.stderr), code))
    }

    /// A file with failures in it, and the directory of the filters.
    pub(crate) fn log_and_filters(&self) -> (PathBuf, PathBuf) {
        (self.directory.path().join("app.log"), self.agent.path("etc"))
    }
}

/// Without times of the day; lists that are in no order in theirs as sets.
fn comparable(words: &[String], printed: Printed) -> Printed {
    if words.iter().any(|word| word == "--with-time") {
        let timeless = |word: &str| match word {
            _ if word.contains(':') && word.contains("::") => word.to_owned(),
            _ if word.contains(':') => "TIME".to_owned(),
            _ if word.len() == 10 && word.matches('-').count() == 2 => "DATE".to_owned(),
            other => other.to_owned(),
        };
        let words = printed.out.split([' ', '\n']).map(timeless).collect::<Vec<_>>();
        return Printed { out: words.join(" "), ..printed };
    }
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
