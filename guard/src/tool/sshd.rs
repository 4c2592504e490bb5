//! What the host's SSH server is set to, and what that means for a jail that guards it.
//!
//! Input: what `sshd -T` prints, and a jail. Output: [`Advice`] in words. `sshd` is run
//! directly, with one argument, and only by whoever runs `guardctl check`, never by the
//! agent.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::core::jail::Jail;

/// The server's settings that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SshdSettings {
    /// TCP ports on which it listens, sorted.
    pub ports: Vec<u16>,
    /// `MaxAuthTries`: attempts in one connection.
    pub max_auth_tries: Option<u32>,
    /// `LogLevel`, in capitals.
    pub log_level: Option<String>,
}

/// Something that the settings mean for a jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What of the jail it is about.
    pub about: About,
    /// What is so.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// Parts of a jail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Its `port`.
    Port,
    /// Its `maxretry`.
    MaxRetry,
    /// The jail as a whole.
    Jail,
}

/// Asks the server.
///
/// # Errors
/// In words: it is not there, or does not say.
pub fn ask() -> Result<SshdSettings, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A user's PATH leaves out where servers lie.
    let usual = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let program = std::env::split_paths(&path)
        .chain(usual)
        .map(|directory| directory.join("sshd"))
        .find(|program| program.is_absolute() && is_program(program))
        .ok_or("there is no sshd on this host's PATH")?;
    let output = Command::new(&program)
        .arg("-T")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("`{} -T` could not be started: {error}", program.display()))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        let told = told.lines().next().unwrap_or("it says nothing").trim();
        let root = if rustix::process::geteuid().is_root() { "" } else { "; run this as root" };
        return Err(format!(
            "`{} -T` ended with {}: {told}{root}",
            program.display(),
            output.status
        ));
    }
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Reads what `sshd -T` prints: one lower-case keyword and its value a line.
fn parse(text: &str) -> SshdSettings {
    let mut settings = SshdSettings::default();
    let (mut ports, mut listening) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let Some((key, value)) = line.split_once(' ') else { continue };
        match key {
            "port" => ports.extend(value.trim().parse::<u16>()),
            // The address with the port that is in force for it.
            "listenaddress" => {
                let port = value.trim().rsplit_once(':').map(|(_, port)| port);
                listening.extend(port.and_then(|port| port.parse::<u16>().ok()));
            }
            "maxauthtries" => settings.max_auth_tries = value.trim().parse().ok(),
            "loglevel" => settings.log_level = Some(value.trim().to_ascii_uppercase()),
            _ => {}
        }
    }
    settings.ports = if listening.is_empty() { ports } else { listening };
    settings.ports.sort_unstable();
    settings.ports.dedup();
    settings
}

/// What the server's settings mean for a jail that guards it.
pub fn advice(settings: &SshdSettings, jail: &Jail) -> Vec<Advice> {
    let mut all = Vec::new();
    let open: Vec<String> = settings
        .ports
        .iter()
        .filter(|port| !jail.ports.covers(true, **port))
        .map(ToString::to_string)
        .collect();
    if !open.is_empty() {
        let listens: Vec<String> = settings.ports.iter().map(ToString::to_string).collect();
        all.push(Advice {
            about: About::Port,
            message: format!(
                "sshd listens on port {}, but the jail's bans leave port {} open",
                listens.join(", "),
                open.join(", ")
            ),
            help: format!("write `port = {}` into the jail", listens.join(",")),
        });
    }
    if let Some(tries) = settings.max_auth_tries
        && jail.max_retry > tries
    {
        let connections = jail.max_retry.div_ceil(tries.max(1));
        all.push(Advice {
            about: About::MaxRetry,
            message: format!(
                "sshd ends a connection after MaxAuthTries = {tries} attempts, so maxretry = {} \
                 takes at least {connections} connections",
                jail.max_retry
            ),
            help: format!("write `maxretry = {tries}` or less to ban within one connection"),
        });
    }
    if let Some(level) = settings.log_level.as_deref()
        && ["QUIET", "FATAL", "ERROR"].contains(&level)
    {
        all.push(Advice {
            about: About::Jail,
            message: format!("sshd's LogLevel is {level}: it logs no failed login"),
            help: "set `LogLevel INFO` in sshd_config, or VERBOSE".to_owned(),
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_are_those_on_which_it_listens() {
        for (text, ports) in [
            ("port 22\nlistenaddress [::]:22\nlistenaddress 0.0.0.0:22\n", &[22][..]),
            ("port 22\nlistenaddress 10.3.0.1:2222\n", &[2222]),
            ("port 22\nport 2200\n", &[22, 2200]),
            ("maxauthtries 6\n", &[]),
        ] {
            assert_eq!(parse(text).ports, ports, "{text}");
        }
        let settings = parse("maxauthtries 3\nloglevel VERBOSE\nx\n");
        assert_eq!(settings.max_auth_tries, Some(3));
        assert_eq!(settings.log_level.as_deref(), Some("VERBOSE"));
    }
}
