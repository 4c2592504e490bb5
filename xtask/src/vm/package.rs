//! A kernel and its modules from Debian's archive, kept under `target/`.
//!
//! Input: lines for a `sources.list`, names of modules. Output: [`Package`]: the kernel,
//! and these modules with all that they depend on, in the order in which they can be
//! loaded. apt does the work, with a state of its own beside the machine's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::{Kernel, directory};

const MIRROR: &str = "http://deb.debian.org";
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The package that depends on the kernel of a suite.
const META: &str = "linux-image-amd64";

/// A kernel that can be booted.
#[derive(Debug)]
pub(super) struct Package {
    /// What `uname -r` will say.
    pub(super) release: String,
    /// The kernel itself.
    pub(super) image: PathBuf,
    /// Modules, those that others need first.
    pub(super) modules: Vec<PathBuf>,
}

/// Downloads it if it is not there with the same modules.
pub(super) fn fetch(kernel: &Kernel) -> Result<Package> {
    let home = directory().join(&kernel.name);
    // Written last: what it says is there.
    let record = home.join("modules.wanted");
    let wanted = [&kernel.modules[..], &kernel.sources[..]].concat().join("\n");
    if fs::read_to_string(&record).ok().as_deref() != Some(&wanted) {
        if home.exists() {
            fs::remove_dir_all(&home).with_context(|| format!("remove {}", home.display()))?;
        }
        download(kernel, &home)
            .with_context(|| format!("get Linux {} from Debian's archive", kernel.name))?;
        fs::write(&record, wanted)?;
    }
    let mut modules: Vec<PathBuf> = fs::read_dir(home.join("modules"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    modules.sort();
    let release = fs::read_to_string(home.join("release"))?;
    Ok(Package { release, image: home.join("vmlinuz"), modules })
}

fn download(kernel: &Kernel, home: &Path) -> Result<()> {
    let apt = Apt::new(kernel, home)?;
    println!("downloading from {}", kernel.sources.join(", "));
    apt.run("apt-get", &["--quiet", "--quiet", "update"])?;
    let depends = apt.run("apt-cache", &["depends", META])?;
    let name = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    let release = name.context("the package depends on no kernel")?.to_owned();
    ensure!(
        kernel.name == "newest" || release.starts_with(&format!("{}.", kernel.name)),
        "the suite has Linux {release} now"
    );
    let image = format!("linux-image-{release}");
    // Newer ones are in parts, which are all of this release.
    let depends = apt.run("apt-cache", &["depends", &image])?;
    let parts = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let parts = parts.filter(|part| part.starts_with("linux-") && part.ends_with(&release));
    let download = ["--quiet", "--quiet", "download", &image].into_iter().chain(parts);
    apt.run("apt-get", &download.collect::<Vec<&str>>())?;
    let files = fs::read_dir(home)?.filter_map(|entry| Some(entry.ok()?.path()));
    let is_package = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "deb");
    let files: Vec<PathBuf> = files.filter(is_package).collect();
    let tree = home.join("tree");
    for file in &files {
        finish(Command::new("dpkg-deb").arg("--extract").arg(file).arg(&tree))?;
        fs::remove_file(file)?;
    }
    let places = ["boot/vmlinuz-RELEASE", "usr/lib/modules/RELEASE/vmlinuz"];
    let places = places.map(|place| tree.join(place.replace("RELEASE", &release)));
    let binary = places.iter().find(|place| place.is_file()).context("no kernel in the package")?;
    fs::copy(binary, home.join("vmlinuz"))?;
    // Newer packages have it below /usr.
    let moved = tree.join("usr");
    let base = if moved.join("lib/modules").exists() { &moved } else { &tree };
    collect(base, &release, &kernel.modules, &home.join("modules"))?;
    fs::write(home.join("release"), release)?;
    fs::remove_dir_all(tree)?;
    fs::remove_dir_all(home.join("apt"))?;
    Ok(())
}

/// Puts modules and what they need into a directory, numbered in loading order.
fn collect(base: &Path, release: &str, wanted: &[String], to: &Path) -> Result<()> {
    let tree = base.join("lib/modules").join(release);
    finish(Command::new("depmod").arg("--basedir").arg(base).arg(release))?;
    let dependencies = fs::read_to_string(tree.join("modules.dep"))?;
    let built_in = fs::read_to_string(tree.join("modules.builtin"))?;
    let mut order: Vec<&str> = Vec::new();
    for module in wanted {
        let is_it = |path: &str| module_name(path) == *module;
        let line = dependencies.lines().find_map(|line| {
            let (path, needed) = line.split_once(':')?;
            is_it(path).then_some((path, needed))
        });
        match line {
            // Each comes after the one that needs it.
            Some((path, needed)) => {
                for one in needed.split_whitespace().rev().chain([path]) {
                    if !order.contains(&one) {
                        order.push(one);
                    }
                }
            }
            None if built_in.lines().any(is_it) => {}
            None => bail!("Linux {release} has no module {module}"),
        }
    }
    fs::create_dir_all(to)?;
    for (place, path) in order.into_iter().enumerate() {
        let bytes = unpacked(&tree.join(path))?;
        fs::write(to.join(format!("{place:03}-{}.ko", module_name(path))), bytes)?;
    }
    Ok(())
}

/// The name of a module by its file, as `modprobe` has it.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

fn unpacked(path: &Path) -> Result<Vec<u8>> {
    let program = match path.extension().and_then(|ending| ending.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(path).with_context(|| format!("read {}", path.display())),
    };
    finish(Command::new(program).args(["--decompress", "--stdout"]).arg(path))
}

fn finish(command: &mut Command) -> Result<Vec<u8>> {
    let output = guard_tests::command::output(command)?;
    if !output.status.success() {
        let words = guard_tests::command::words(command);
        bail!("{words}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

/// apt with a state of its own.
struct Apt {
    home: PathBuf,
    configuration: PathBuf,
}

impl Apt {
    fn new(kernel: &Kernel, home: &Path) -> Result<Self> {
        let state = home.join("apt");
        fs::create_dir_all(state.join("lists/partial"))?;
        fs::create_dir_all(state.join("cache/archives/partial"))?;
        fs::write(state.join("status"), "")?;
        let source = |line: &String| format!("deb [arch=amd64 signed-by={KEYS}] {MIRROR}/{line}\n");
        fs::write(
            state.join("sources.list"),
            kernel.sources.iter().map(source).collect::<String>(),
        )?;
        let at = state.display();
        let configuration = state.join("apt.conf");
        fs::write(
            &configuration,
            format!(
                "Dir::State \"{at}\";\nDir::State::lists \"{at}/lists\";\n\
                 Dir::State::status \"{at}/status\";\nDir::Cache \"{at}/cache\";\n\
                 Dir::Etc::sourcelist \"{at}/sources.list\";\n\
                 Dir::Etc::sourceparts \"/dev/null\";\nDir::Etc::preferencesparts \"/dev/null\";\n\
                 APT::Architecture \"amd64\";\nAPT::Sandbox::User \"root\";\n\
                 Acquire::Languages \"none\";\n\
                 Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n"
            ),
        )?;
        Ok(Self { home: home.to_owned(), configuration })
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.home).env("APT_CONFIG", &self.configuration);
        Ok(String::from_utf8_lossy(&finish(&mut command)?).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_named_as_modprobe_names_them() {
        assert_eq!(module_name("kernel/net/8021q/8021q.ko.xz"), "8021q");
        assert_eq!(module_name("kernel/net/sched/cls-bpf.ko"), "cls_bpf");
    }
}
