//! Which compiler and linker build the object, chosen by what is there.
//!
//! Two compilers will do: a rustup nightly that has `rust-src`, from which cargo builds
//! `core` for the BPF target; or Debian's `rustc-web`, for which Debian packages a `core`
//! that is built already. The linker must be made with the same LLVM as the compiler,
//! because what passes between them is LLVM's own code.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

use super::{install, output_of, target};

/// The version of bpf-linker that is installed where none is.
pub(super) const LINKER_VERSION: &str = "0.13.0";

/// A compiler that can build for the BPF target.
#[derive(Clone, Debug)]
pub(super) struct Compiler {
    pub(super) kind: Kind,
    /// `rustc -V`.
    pub(super) version: String,
    /// Version of its LLVM.
    pub(super) llvm: String,
    /// Where its libraries and its source lie.
    pub(super) sysroot: PathBuf,
}

/// Where a compiler comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `rustup run nightly`, with `rust-src`.
    Nightly,
    /// `/usr/bin/rustc` and a `core` for BPF.
    Debian,
}

/// A compiler and its linker.
#[derive(Clone, Debug)]
pub(super) struct Tools {
    pub(super) compiler: Compiler,
    pub(super) linker: Linker,
}

/// A bpf-linker.
#[derive(Clone, Debug)]
pub(super) struct Linker {
    pub(super) path: PathBuf,
    version: String,
    /// Version of its LLVM; none if it is linked in statically, and cannot be told.
    llvm: Option<String>,
}

/// What a toolchain is, as far as the bytes of the object depend on it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Identity {
    rustc: String,
    rustc_llvm: String,
    /// `prebuilt` (Debian) or `built from rust-src`.
    core: String,
    linker: String,
    linker_llvm: String,
}

impl Tools {
    /// What is there, or what can be installed.
    pub(super) fn find_or_install(root: &Path, no_install: bool) -> anyhow::Result<Self> {
        if let Some(tools) = Self::all(root).next() {
            return Ok(tools);
        }
        if no_install || !install::possible() {
            bail!("{}", install::advice());
        }
        install::run(root)?;
        match Self::all(root).next() {
            Some(tools) => Ok(tools),
            None => bail!("what was installed does not fit together; {}", install::advice()),
        }
    }

    /// Every one that is there, the preferred first.
    pub(super) fn all(root: &Path) -> impl Iterator<Item = Self> {
        [Compiler::nightly, Compiler::debian].into_iter().filter_map(move |compiler| {
            let compiler = compiler()?;
            let linker = Linker::find(root, &compiler)?;
            Some(Self { compiler, linker })
        })
    }

    pub(super) fn identity(&self) -> Identity {
        let unknown = "unknown (linked statically)";
        Identity {
            rustc: self.compiler.version.clone(),
            rustc_llvm: self.compiler.llvm.clone(),
            core: match self.compiler.kind {
                Kind::Nightly => "built from rust-src".to_owned(),
                Kind::Debian => "prebuilt".to_owned(),
            },
            linker: self.linker.version.clone(),
            linker_llvm: self.linker.llvm.clone().unwrap_or_else(|| unknown.to_owned()),
        }
    }
}

impl Compiler {
    /// The nightly of rustup, if it has `core`'s source.
    fn nightly() -> Option<Self> {
        let rustc = || {
            let mut command = Command::new("rustup");
            command.args(["run", "nightly", "rustc"]);
            command
        };
        let compiler = Self::ask(Kind::Nightly, rustc)?;
        let source = compiler.sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs");
        if !source.exists() {
            println!("rustup's nightly has no rust-src, so it cannot build for BPF");
            return None;
        }
        Some(compiler)
    }

    /// Debian's, if it has `core` for BPF.
    pub(super) fn debian() -> Option<Self> {
        let compiler = Self::ask(Kind::Debian, || Command::new("/usr/bin/rustc"))?;
        let cargo = Path::new("/usr/bin/cargo").exists();
        let core = compiler.sysroot.join("lib/rustlib/bpfel-unknown-none/lib");
        (cargo && core.exists()).then_some(compiler)
    }

    fn ask(kind: Kind, rustc: impl Fn() -> Command) -> Option<Self> {
        let verbose = output_of(rustc().arg("-vV"))?;
        let field = |name: &str| {
            verbose.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
        };
        Some(Self {
            kind,
            version: verbose.lines().next()?.to_owned(),
            llvm: field("LLVM version: ")?,
            sysroot: output_of(rustc().args(["--print", "sysroot"]))?.into(),
        })
    }

    /// The number that the linker's LLVM must have too.
    pub(super) fn llvm_major(&self) -> &str {
        major(&self.llvm)
    }
}

impl Linker {
    fn find(root: &Path, compiler: &Compiler) -> Option<Self> {
        let mut places = vec![install::tools(&target(root)).join("bin")];
        places.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
        places.into_iter().map(|place| place.join("bpf-linker")).find_map(|path| {
            let linker = Self { version: version(&path)?, llvm: llvm_of(&path), path };
            let fits =
                linker.llvm.as_deref().is_none_or(|llvm| major(llvm) == compiler.llvm_major());
            fits.then_some(linker)
        })
    }
}

fn version(linker: &Path) -> Option<String> {
    output_of(Command::new(linker).arg("--version"))
}

/// The version of the LLVM library that a program loads.
fn llvm_of(program: &Path) -> Option<String> {
    let libraries = output_of(Command::new("ldd").arg(program))?;
    let line = libraries.lines().find(|line| line.trim_start().starts_with("libLLVM"))?;
    let library = Path::new(line.split_whitespace().nth(2)?);
    // `lib/libLLVM.so.22.1` has `bin/llvm-config` beside it, which knows the last number too.
    let config = library.parent()?.parent()?.join("bin/llvm-config");
    output_of(Command::new(config).arg("--version")).or_else(|| {
        let name = library.file_name()?.to_str()?;
        Some(name.split_once(".so.")?.1.to_owned())
    })
}

fn major(version: &str) -> &str {
    version.split('.').next().unwrap_or(version)
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rustc, rustc_llvm, core, linker, linker_llvm } = self;
        write!(f, "{rustc} (LLVM {rustc_llvm}, core {core}), {linker} (LLVM {linker_llvm})")
    }
}

impl fmt::Display for Tools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.identity().fmt(f)
    }
}
