//! `fail2ban-client [OPTIONS] COMMAND`, over the agent's socket for Fail2Ban's clients.

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Zoned;

use crate::cli::named::FAILED;
use crate::cli::output;
use crate::compat::answer::VERSION;
use crate::compat::client::{Client, ClientError};
use crate::compat::value::Value;
use crate::compat::{python, shown};
use crate::config;
use crate::config::agent::Settings;

const USAGE: &str = "\
Usage: fail2ban-client [OPTIONS] <COMMAND>

This is guard, which answers in Fail2Ban's place.

Options:
    -c, --conf <DIR>      jails and filters to look at with -t
    -s, --socket <FILE>   the agent's socket (fail2ban-socket in guard.toml)
    -t, --test            is the configuration sound?
    -i                    read commands from standard input
    -v, -q                say more, or less
    --str2sec <TEXT>      a length of time in seconds
    -h, --help            this
    -V, --version         the version of Fail2Ban whose language this is

Commands, as in Fail2Ban:
    status [JAIL [short]]         banned [ADDRESS ...]       ping    version
    set JAIL banip ADDRESS ...    set JAIL unbanip [--report-absent] ADDRESS ...
    unban --all | ADDRESS ...     reload [JAIL]              stop JAIL
    set JAIL bantime|findtime|maxretry|addignoreip|delignoreip|attempt VALUE
    get JAIL bantime|findtime|maxretry|ignoreip|banip|banned|logpath|...
    get|set loglevel              flushlogs

Exit codes: 0 done, 255 not done. `guardctl --help` tells of more.
";

/// Options before the command.
#[derive(Default)]
struct Options {
    directory: Option<PathBuf>,
    socket: Option<PathBuf>,
    test: bool,
    interactive: bool,
}

/// What the options say is to be done.
enum Wish {
    /// The command that follows.
    Command(Options, Vec<String>),
    /// Print this and end well.
    Print(String),
    /// What is written is not understood.
    Usage,
}

pub(super) fn main(words: &[String]) -> u8 {
    match parse(words) {
        Wish::Print(text) => said(&text, true),
        Wish::Usage => said(USAGE, false),
        Wish::Command(options, command) => {
            if options.test {
                match (test(options.directory.as_deref()), command.is_empty()) {
                    (true, true) => return said("OK: configuration test is successful\n", true),
                    (true, false) => {}
                    (false, _) => {
                        log("ERROR: test configuration failed");
                        return FAILED;
                    }
                }
            }
            let socket = match socket(options.socket) {
                Ok(socket) => socket,
                Err(problem) => {
                    log(&problem);
                    return FAILED;
                }
            };
            if options.interactive {
                return interactive(&socket);
            }
            if command.is_empty() {
                return said(USAGE, false);
            }
            if run(&socket, command) { 0 } else { FAILED }
        }
    }
}

/// Options as getopt reads them: until the first word that is none.
fn parse(words: &[String]) -> Wish {
    let mut options = Options::default();
    let mut words = words.iter().cloned();
    while let Some(word) = words.next() {
        if word == "--" {
            break;
        }
        if let Some(long) = word.strip_prefix("--") {
            let (name, given) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let mut value = || given.clone().or_else(|| words.next());
            match name {
                "conf" => options.directory = value().map(PathBuf::from),
                "socket" => options.socket = value().map(PathBuf::from),
                "pidfile" | "pname" | "loglevel" | "logtarget" | "syslogsocket" | "timeout" => {
                    // Of the server, which is not started from here.
                    if value().is_none() {
                        return Wish::Usage;
                    }
                }
                "str2sec" => {
                    let text = value().unwrap_or_default();
                    let Ok(length) = config::ban_time(&text) else { return Wish::Usage };
                    let seconds = length.map_or(-1, crate::core::time::Span::seconds);
                    return Wish::Print(format!("{seconds}\n"));
                }
                "test" => options.test = true,
                "async" => {}
                "help" => return Wish::Print(USAGE.to_owned()),
                "version" => return Wish::Print(format!("Fail2Ban v{VERSION}\n")),
                _ => return Wish::Usage,
            }
            continue;
        }
        let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            let command = std::iter::once(word).chain(words).collect();
            return Wish::Command(options, command);
        };
        for (at, letter) in letters.char_indices() {
            let rest = &letters[at + letter.len_utf8()..];
            match letter {
                'c' | 's' | 'p' => {
                    let rest = Some(rest.to_owned()).filter(|rest| !rest.is_empty());
                    let Some(value) = rest.or_else(|| words.next()) else { return Wish::Usage };
                    match letter {
                        'c' => options.directory = Some(value.into()),
                        's' => options.socket = Some(value.into()),
                        _ => {}
                    }
                    break;
                }
                't' => options.test = true,
                'i' => options.interactive = true,
                'h' => return Wish::Print(USAGE.to_owned()),
                'V' => return Wish::Print(format!("{VERSION}\n")),
                'v' | 'q' | 'x' | 'f' | 'b' => {}
                _ => return Wish::Usage,
            }
        }
    }
    Wish::Command(options, words.collect())
}

/// The socket that is named, or that of guard.toml.
fn socket(named: Option<PathBuf>) -> Result<PathBuf, String> {
    if let Some(socket) = named {
        return Ok(socket);
    }
    let settings = Settings::load(None).map_err(|problems| problems.to_string())?;
    settings.fail2ban_socket.ok_or_else(|| {
        "guard.toml has fail2ban-socket = \"off\": nobody listens for this client".to_owned()
    })
}

/// Whether every enabled jail is sound; what is not is said.
fn test(directory: Option<&Path>) -> bool {
    let settings = match Settings::load(None) {
        Ok(settings) => settings,
        Err(problems) => {
            log(&problems.to_string());
            return false;
        }
    };
    let jail_directory = directory.map_or(settings.jail_directory.clone(), Path::to_owned);
    let loaded = config::jails(&Settings { jail_directory, ..settings });
    for error in loaded.diagnostics.errors() {
        log(&error.line());
    }
    !loaded.diagnostics.has_errors()
}

fn interactive(socket: &Path) -> u8 {
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { return FAILED };
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match words.first().map(String::as_str) {
            None => {}
            Some("exit" | "quit") => return 0,
            Some("help") => {
                said(USAGE, true);
            }
            Some(_) => {
                run(socket, words);
            }
        }
    }
    0
}

/// Carries out one command; whether it was done.
fn run(socket: &Path, mut words: Vec<String>) -> bool {
    match words[0].as_str() {
        "start" if words.len() == 1 => {
            log(match Client::connect(socket, None) {
                Ok(_) => "Server already running",
                Err(_) => "guard is run by systemd: systemctl start guard",
            });
            false
        }
        "restart" if words.len() > 1 => {
            words.splice(0..1, ["reload".to_owned(), "--restart".to_owned()]);
            run(socket, words)
        }
        "restart" => {
            log("guard is run by systemd: systemctl restart guard");
            false
        }
        "reload" => {
            let is_option =
                |word: &String| matches!(word.as_str(), "--restart" | "--unban" | "--if-exists");
            let count = words[1..].iter().take_while(|word| is_option(word)).count();
            let (options, rest) = words[1..].split_at(count);
            if rest.len() > 1 {
                let all = Value::texts(rest.iter().map(String::as_str));
                log(&format!("Unexpected argument(s) for reload: {}", python::repr(&all)));
                return false;
            }
            let jail = rest.first().map_or("--all", String::as_str);
            let request = Value::List(vec![
                Value::text("reload"),
                Value::text(jail),
                Value::texts(options.iter().map(String::as_str)),
                // The agent reads its own files.
                Value::List(Vec::new()),
            ]);
            ask(socket, &words, &request, None)
        }
        "ping" if words.len() > 1 => {
            let seconds: Option<f64> = words[1].parse().ok().filter(|seconds| *seconds > 0.0);
            let patience = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            let Some(patience) = patience else {
                log(&format!("could not convert string to float: {}", words[1]));
                return false;
            };
            let request = Value::texts(words.iter().map(String::as_str));
            ask(socket, &words, &request, Some(patience))
        }
        _ => {
            let request = Value::texts(words.iter().map(String::as_str));
            ask(socket, &words, &request, None)
        }
    }
}

fn ask(socket: &Path, words: &[String], request: &Value, patience: Option<Duration>) -> bool {
    let connected = Client::connect(socket, patience).map_err(ClientError::from);
    let answer = connected.and_then(|mut client| client.ask(request));
    match answer {
        Ok(Ok(value)) => said(&format!("{}\n", shown::shown(words, &value)), true) == 0,
        Ok(Err(fault)) => {
            let arguments = Value::Tuple(vec![Value::text(fault.argument.clone())]);
            log(&format!("NOK: {}", python::repr(&arguments)));
            said(&format!("{}\n", shown::fault(&fault)), false);
            false
        }
        Err(ClientError::Connection(error)) => {
            log(&unreachable(socket, &error, words[0] == "ping"));
            false
        }
        Err(error) => {
            log(&error.to_string());
            false
        }
    }
}

/// Why nobody answered.
fn unreachable(socket: &Path, error: &io::Error, is_ping: bool) -> String {
    let place = socket.display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!("Failed to access socket path: {place}. Is fail2ban running?")
        }
        io::ErrorKind::PermissionDenied => {
            format!("Permission denied to socket: {place}, (you must be root)")
        }
        _ if is_ping => error.to_string(),
        _ => format!("[{error}] Unable to contact server. Is it running?"),
    }
}

/// Prints data; the exit code, which is that of success only if it is one.
fn said(text: &str, done: bool) -> u8 {
    match output::print(text) {
        Ok(()) if done => 0,
        _ => FAILED,
    }
}

/// Says something in the form in which Fail2Ban's client logs.
fn log(message: &str) {
    let time = Zoned::now().strftime("%Y-%m-%d %H:%M:%S,%3f").to_string();
    let process = std::process::id();
    output::talk(&format!("{time} {:<24}[{process}]: {:<7} {message}", "fail2ban", "ERROR"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> Option<Vec<String>> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match parse(&words) {
            Wish::Command(_, command) => Some(command),
            Wish::Print(_) | Wish::Usage => None,
        }
    }

    #[test]
    fn options_end_at_the_command() {
        for line in [
            "status sshd",
            "-- status sshd",
            "-vq -s /a status sshd",
            "-vs/a status sshd",
            "-s /a -c /b -p /c -- status sshd",
            "--socket=/a --loglevel INFO status sshd",
        ] {
            assert_eq!(command(line), Some(vec!["status".into(), "sshd".into()]), "{line}");
        }
        let words = Some(["set", "sshd", "unbanip", "--report-absent"].map(Into::into).to_vec());
        assert_eq!(command("set sshd unbanip --report-absent"), words);
        assert_eq!(command(""), Some(Vec::new()));
        for line in ["-h", "--help", "-V", "-Z", "--no-such-option", "-s", "--str2sec 1h"] {
            assert_eq!(command(line), None, "{line}");
        }
    }
}
