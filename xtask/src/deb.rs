//! `cargo xtask deb`: the Debian package.
//!
//! Input: guardctl and guard-helper, what `cargo xtask install` puts in place, and the
//! maintainer's scripts in `packaging/debian`. Output: one file that lintian finds no error
//! in. Invariant: the same programs, source and date give the same bytes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use guard_tests::command;

use crate::{install, man, packages, sbom, workspace};

/// Options of `deb`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Package this guardctl, and the guard-helper beside it, instead of building them.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Debian's revision: the last part of the version.
    #[arg(long, default_value_t = 1)]
    revision: u32,
    /// Write the package into this directory; target/debian by default.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Scripts of the package, run as root while it is installed and removed.
const SCRIPTS: &[&str] = &["postinst", "prerm", "postrm"];

pub(crate) fn run(options: &Options) -> Result<()> {
    packages::need(&[packages::BUILD, packages::DEBIAN])?;
    let program = match &options.program {
        Some(program) => program.clone(),
        None => {
            let target = workspace::target().join("debian/build");
            let places = Places { source: workspace::root(), target, home: cargo_home()? };
            build(&places)?;
            places.program("guardctl")
        }
    };
    let directory = options.directory.clone().unwrap_or_else(|| workspace::target().join("debian"));
    fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    let package = package(&program, options.revision, &directory)?;
    judge(&package)?;
    println!("made       {}", package.display());
    Ok(())
}

/// Where the programs are built; nothing of it is in them.
pub(crate) struct Places {
    /// The source.
    pub(crate) source: PathBuf,
    /// What cargo makes of it.
    pub(crate) target: PathBuf,
    /// Cargo's home, with the sources of the dependencies.
    pub(crate) home: PathBuf,
}

impl Places {
    /// All of them, the one that may lie in another after that.
    pub(crate) fn all(&self) -> [&Path; 3] {
        [&self.source, &self.target, &self.home]
    }

    /// A program that was built.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }
}

/// Where cargo keeps the sources of dependencies.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    let home = std::env::var("CARGO_HOME")
        .or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")));
    home.map(PathBuf::from).context("neither CARGO_HOME nor HOME is set")
}

/// Builds the programs without the places in them.
pub(crate) fn build(places: &Places) -> Result<()> {
    // Of several that fit, compilers take the last one.
    let names = ["/usr/src/guard", "/usr/src/target", "/usr/src/cargo"];
    let mapped = |option: &str| -> Vec<String> {
        let pairs = places.all().into_iter().zip(names);
        pairs.map(|(place, name)| format!("{option}={}={name}", place.display())).collect()
    };
    let mut flags = mapped("--remap-path-prefix");
    // A hash of symbols, too, which ThinLTO names after places and which are stripped. (To take
    // it out afterwards would take out more: strip forgets the read-only relocations then.)
    flags.push("-Clink-arg=-Wl,--build-id=none".to_owned());
    let mut cargo =
        workspace::cargo(&["build", "--locked", "--release", "--package", "guard", "--bins"]);
    cargo
        .current_dir(&places.source)
        .env("CARGO_HOME", &places.home)
        .env("CARGO_TARGET_DIR", &places.target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("CFLAGS", mapped("-ffile-prefix-map").join(" "));
    workspace::run(&mut cargo)
}

/// Takes out of a program what nobody needs to run it.
pub(crate) fn strip(program: &Path) -> Result<()> {
    let mut strip = Command::new("strip");
    strip.args(["--strip-unneeded", "--remove-section=.comment", "--remove-section=.note"]);
    workspace::run(strip.arg(program))?;
    let headers = said(Command::new("readelf").args(["--segments", "--wide"]).arg(program))?;
    if !headers.contains("GNU_RELRO") {
        bail!("{}: its relocations stay writable", program.display());
    }
    Ok(())
}

/// Makes the package; its path.
fn package(program: &Path, revision: u32, directory: &Path) -> Result<PathBuf> {
    let version = format!("{}-{revision}", env!("CARGO_PKG_VERSION"));
    let epoch = man::epoch()?;
    let architecture = said(Command::new("dpkg").arg("--print-architecture"))?;
    let staging = tempfile::tempdir()?;
    let root = staging.path().join("root");
    let reference = staging.path().join("reference");
    man::make(&reference)?;
    install::place(&root, program, Some(&reference))?;
    for name in ["guardctl", "guard-helper"] {
        strip(&root.join("usr/bin").join(name))?;
    }
    documents(&root, &version, epoch)?;
    for page in files(&root.join("usr/share/man"))? {
        compress(&page)?;
    }
    control(&root, &version, &architecture, staging.path())?;
    for path in directories(&root)? {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }

    let package = directory.join(format!("guard_{version}_{architecture}.deb"));
    let mut build = Command::new("dpkg-deb");
    build
        .args(["--root-owner-group", "-Zxz", "--threads-max=1", "--build"])
        .arg(&root)
        .arg(&package);
    // No file is newer than the source, and so is the archive itself.
    workspace::run(build.env("SOURCE_DATE_EPOCH", epoch.to_string()))?;
    Ok(package)
}

/// What a Debian package has below `/usr/share/doc`.
fn documents(root: &Path, version: &str, epoch: u64) -> Result<()> {
    let source = workspace::root();
    let into = root.join("usr/share/doc/guard");
    fs::create_dir_all(&into)?;
    for document in files(&source.join("docs"))? {
        let name = document.file_name().context("a file")?;
        let is_page = document.parent() == Some(&source.join("docs"))
            && document.extension().is_some_and(|kind| kind == "md" || kind == "svg");
        if is_page {
            copy(&document, &into.join(name), 0o644)?;
        }
    }
    // In the place of the one in docs, which is the list of its pages.
    copy(&source.join("README.md"), &into.join("README.md"), 0o644)?;
    copy(&source.join("packaging/debian/copyright"), &into.join("copyright"), 0o644)?;
    let overrides = root.join("usr/share/lintian/overrides");
    fs::create_dir_all(&overrides)?;
    copy(&source.join("packaging/debian/lintian-overrides"), &overrides.join("guard"), 0o644)?;
    copy(&source.join("CHANGELOG.md"), &into.join("changelog"), 0o644)?;
    let date =
        said(Command::new("date").args(["--utc", "--rfc-email", "-d", &format!("@{epoch}")]))?;
    let entry = format!(
        "guard ({version}) unstable; urgency=medium\n\n  * What is new is in changelog.gz.\n\n \
         -- {}  {date}\n",
        maintainer()
    );
    write(&into.join("changelog.Debian"), &entry)?;
    write(&into.join("crates"), &crates()?)?;
    let bill = sbom::make(Some(epoch))?;
    for name in ["guardctl", "guard-helper"] {
        sbom::covers(&bill, &root.join("usr/bin").join(name))?;
    }
    write(&into.join("guard.cdx.json"), &bill)?;
    for name in ["changelog", "changelog.Debian", "crates"] {
        compress(&into.join(name))?;
    }
    Ok(())
}

/// Who answers for the package: whoever builds it, as Debian's tools know it.
fn maintainer() -> String {
    let of = |name: &str, otherwise: &str| std::env::var(name).unwrap_or(otherwise.to_owned());
    let name = of("DEBFULLNAME", "The guard contributors");
    format!("{name} <{}>", of("DEBEMAIL", "guard@packages.invalid"))
}

/// Every crate that is linked in: name, version, licence.
fn crates() -> Result<String> {
    let mut tree = workspace::cargo(&["tree", "--locked", "--package", "guard"]);
    tree.args(["--edges", "normal", "--prefix", "none", "--no-dedupe", "--format", "{p} {l}"]);
    let said = said(&mut tree)?;
    let mut lines: Vec<String> = said
        .lines()
        .filter(|line| !line.starts_with("guard"))
        .map(|line| line.replace(" (proc-macro)", ""))
        .collect();
    lines.sort();
    lines.dedup();
    if lines.is_empty() {
        bail!("cargo tree names no crate");
    }
    Ok(format!("{}\n", lines.join("\n")))
}

/// The package's own description, and what is to be run when.
fn control(root: &Path, version: &str, architecture: &str, scratch: &Path) -> Result<()> {
    let into = root.join("DEBIAN");
    fs::create_dir_all(&into)?;
    let source = workspace::root().join("packaging/debian");
    for script in SCRIPTS {
        copy(&source.join(script), &into.join(script), 0o755)?;
    }
    let all = files(root)?;
    let inside = |path: &Path| path.strip_prefix(root).map(Path::to_owned).unwrap_or_default();
    let mut conffiles = String::new();
    let mut sums = String::new();
    let mut bytes = 0;
    for path in all.iter().filter(|path| !path.starts_with(&into)) {
        let name = inside(path);
        bytes += fs::metadata(path)?.len().next_multiple_of(1024);
        if name.starts_with("etc") {
            conffiles.push_str(&format!("/{}\n", name.display()));
        } else {
            let sum = said(Command::new("md5sum").arg("-z").current_dir(root).arg(&name))?;
            sums.push_str(&format!("{}\n", sum.trim_end_matches('\0')));
        }
    }
    write(&into.join("conffiles"), &conffiles)?;
    write(&into.join("md5sums"), &sums)?;
    let depends = libraries(root, scratch)?;
    write(
        &into.join("control"),
        &format!(
            "Package: guard\n\
             Version: {version}\n\
             Architecture: {architecture}\n\
             Maintainer: {}\n\
             Installed-Size: {}\n\
             Depends: {depends}, systemd\n\
             Recommends: logrotate\n\
             Suggests: curl, fail2ban\n\
             Section: net\n\
             Priority: optional\n\
             Description: ban the addresses that this host's logs accuse\n \
             guard reads who is breaking in from the systemd journal and from log files,\n \
             and bans that address in the network driver (XDP) within milliseconds, or with\n \
             nftables. It takes Fail2Ban's jails and filters as they are, and its bans hold\n \
             while the agent restarts or is dead.\n",
            maintainer(),
            bytes / 1024
        ),
    )
}

/// The packages of the libraries that the programs are linked to.
fn libraries(root: &Path, scratch: &Path) -> Result<String> {
    // dpkg-shlibdeps wants to stand in a source package.
    fs::create_dir_all(scratch.join("debian"))?;
    write(&scratch.join("debian/control"), "Source: guard\n\nPackage: guard\nArchitecture: any\n")?;
    let mut shlibdeps = Command::new("dpkg-shlibdeps");
    shlibdeps.arg("-O").current_dir(scratch);
    for name in ["guardctl", "guard-helper"] {
        shlibdeps.arg(root.join("usr/bin").join(name));
    }
    let said = said(&mut shlibdeps)?;
    let depends = said.lines().find_map(|line| line.strip_prefix("shlibs:Depends="));
    Ok(depends.context("dpkg-shlibdeps names no package")?.to_owned())
}

/// Has lintian look at the package: an error is a failure, warnings are shown.
fn judge(package: &Path) -> Result<()> {
    let mut lintian = Command::new("lintian");
    lintian.args(["--fail-on", "error", "--tag-display-limit", "0", "--allow-root"]);
    workspace::run(lintian.arg(package))
}

/// What a program says, without the newline at the end.
fn said(command: &mut Command) -> Result<String> {
    let words = command::words(command);
    let output = command.output().with_context(|| format!("start {words}"))?;
    if !output.status.success() {
        bail!("{words}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?.trim_end_matches('\n').to_owned())
}

fn copy(source: &Path, destination: &Path, mode: u32) -> Result<()> {
    fs::copy(source, destination)
        .with_context(|| format!("copy {} to {}", source.display(), destination.display()))?;
    Ok(fs::set_permissions(destination, fs::Permissions::from_mode(mode))?)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o644))?)
}

/// Replaces a file by its compressed form, without name and time in it.
fn compress(path: &Path) -> Result<()> {
    workspace::run(Command::new("gzip").args(["-9", "-n"]).arg(path))
}

/// Every file below a directory, sorted.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    Ok(below(directory)?.into_iter().filter(|path| !path.is_dir()).collect())
}

/// Every directory below a directory, and itself.
fn directories(directory: &Path) -> Result<Vec<PathBuf>> {
    Ok(below(directory)?.into_iter().filter(|path| path.is_dir()).collect())
}

fn below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![directory.to_owned()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        next += 1;
        if path.is_dir() {
            for entry in fs::read_dir(&path).with_context(|| format!("read {}", path.display()))? {
                found.push(entry?.path());
            }
        }
    }
    found.sort();
    Ok(found)
}
