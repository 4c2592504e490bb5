//! A configuration of its own, and `guardctl` run on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use guard_tests::agent::beside_this_program;

/// A `guard.toml` and the jails beside it.
pub(crate) struct Host {
    directory: tempfile::TempDir,
    /// Put before the rest of `PATH`.
    programs: Option<PathBuf>,
}

/// What a verb printed, and its exit code.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Host {
    pub(crate) fn new(files: &[(&str, &str)]) -> Result<Self> {
        let host = Self { directory: tempfile::tempdir()?, programs: None };
        let etc = host.path("etc");
        fs::create_dir_all(&etc)?;
        fs::write(
            host.path("guard.toml"),
            format!(
                "jail-directory = {:?}\nvendor-directory = \"/nowhere\"\n",
                etc.display().to_string()
            ),
        )?;
        for (name, text) in files {
            host.write(&format!("etc/{name}"), text)?;
        }
        Ok(host)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir_all(path.parent().context("a parent")?)?;
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Makes a program that the host has.
    pub(crate) fn program(&mut self, name: &str, script: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.write(&format!("bin/{name}"), script)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        self.programs = path.parent().map(Path::to_owned);
        Ok(())
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(beside_this_program()?);
        command.arg("--config").arg(self.path("guard.toml")).args(arguments);
        command.stdin(Stdio::null()).env("TZ", "UTC");
        if let Some(programs) = &self.programs {
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{path}", programs.display()));
        }
        Ok(command)
    }

    pub(crate) fn guardctl(&self, arguments: &[&str]) -> Result<Told> {
        Ok(told(&self.command(arguments)?.output()?))
    }

    /// The same with `--json`, parsed.
    pub(crate) fn json(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        let mut all = vec!["--json"];
        all.extend(arguments);
        let told = self.guardctl(&all)?;
        ensure!(told.err.is_empty(), "{}", told.err);
        Ok(serde_json::from_str(&told.out)?)
    }
}

pub(crate) fn told(output: &Output) -> Told {
    Told {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
