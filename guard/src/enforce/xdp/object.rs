//! The embedded eBPF object: into the kernel, on maps that are there or anew.
//!
//! Input: the object, a directory of pinned maps (or an empty one), sizes. Output:
//! [`Programs`], pinned beside the maps. Programs that are pinned already and consist of
//! the same instructions stay, so that a restart of the agent changes nothing.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfLoader};
use guard_common::names::{
    BANS_V4, BANS_V4_NETS, BANS_V6, BANS_V6_NETS, MAPS, TCX_ETHERNET, TCX_IP, XDP, XDP_LINEAR,
};

use super::XdpOptions;
use super::pins;
use super::plan::Way;
use super::syscall;
use super::table::BansV4;
use crate::enforce::EnforceError;

/// The object that `cargo xtask build-ebpf` makes of `guard-ebpf/`.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!("guard.bpf.o");

/// The loaded programs, all on the same maps.
#[derive(Debug)]
pub(super) struct Programs {
    xdp: Loaded,
    tcx: Loaded,
    tcx_ip: Loaded,
    /// Ids of programs, older ones too, that are known to use the same maps.
    pub(super) on_these_maps: BTreeSet<u32>,
}

#[derive(Debug)]
struct Loaded {
    name: &'static str,
    fd: OwnedFd,
    id: u32,
}

impl Programs {
    /// The program for a way, and its id.
    pub(super) fn of(&self, way: Way) -> (BorrowedFd<'_>, u32) {
        let program = self.loaded(way);
        (program.fd.as_fd(), program.id)
    }

    /// The name of the program for a way.
    pub(super) fn name(&self, way: Way) -> &'static str {
        self.loaded(way).name
    }

    fn loaded(&self, way: Way) -> &Loaded {
        match way {
            Way::Native | Way::Generic => &self.xdp,
            Way::Tcx | Way::Clsact => &self.tcx,
            Way::TcxIp | Way::ClsactIp => &self.tcx_ip,
        }
    }
}

impl Programs {
    /// Pins programs again whose pins are gone; their names.
    pub(super) fn keep_pinned(&self, directory: &Path) -> Result<Vec<String>, EnforceError> {
        let mut put_right = Vec::new();
        for Loaded { name, fd, id } in [&self.xdp, &self.tcx, &self.tcx_ip] {
            let same = |found: BorrowedFd<'_>| {
                syscall::program_info(found).is_ok_and(|info| info.id == *id)
            };
            if pins::keep_pinned(&directory.join(name), fd.as_fd(), same)? {
                put_right.push(format!("the pin of program {name} was gone"));
            }
        }
        Ok(put_right)
    }
}

/// Loads the object on the maps that are pinned in `directory`; maps that are not there
/// are made and pinned.
pub(super) fn load(
    object: &[u8],
    directory: &Path,
    options: &XdpOptions,
) -> Result<Programs, EnforceError> {
    let mut loader = EbpfLoader::new();
    for name in MAPS {
        loader.map_pin_path(name, directory.join(name));
    }
    let mut object = loader
        .map_max_entries(BANS_V4, BansV4::outside(options))
        .map_max_entries(BANS_V6, options.bans)
        .map_max_entries(BANS_V4_NETS, options.bans)
        .map_max_entries(BANS_V6_NETS, options.bans)
        .load(object)
        .map_err(|error| refused("load the eBPF object", &error))?;

    let mut on_these_maps = BTreeSet::new();
    let mut settled = |(name, fresh)| settle(name, fresh, directory, &mut on_these_maps);
    let xdp = match load_program(&mut object, XDP) {
        // Before Linux 5.18: no frames of several buffers.
        Err(error) if is_unsupported(&error) => {
            load_program(&mut object, XDP_LINEAR).map(|fd| (XDP_LINEAR, fd))
        }
        other => other.map(|fd| (XDP, fd)),
    };
    let load_other = |object: &mut Ebpf, name| load_program(object, name).map(|fd| (name, fd));
    let xdp = xdp.map_err(|error| refused("load the XDP program", &error))?;
    let tcx = load_other(&mut object, TCX_ETHERNET);
    let tcx = tcx.map_err(|error| refused("load the tcx program", &error))?;
    let tcx_ip = load_other(&mut object, TCX_IP);
    let tcx_ip = tcx_ip.map_err(|error| refused("load the tcx program for tunnels", &error))?;
    let broken = |cause| EnforceError::Kernel {
        operation: format!("pin the programs in {}", directory.display()),
        cause,
    };
    let xdp = settled(xdp).map_err(broken)?;
    let tcx = settled(tcx).map_err(broken)?;
    let tcx_ip = settled(tcx_ip).map_err(broken)?;
    Ok(Programs { xdp, tcx, tcx_ip, on_these_maps })
}

/// Whether this process may use BPF at all, as far as can be told without doing it.
pub(in crate::enforce) fn permitted() -> Result<(), EnforceError> {
    match syscall::create_map("guard_probe", syscall::ARRAY, (4, 4), 1, 0) {
        Ok(_) => Ok(()),
        Err(cause) => Err(refused_by_kernel("use BPF", cause)),
    }
}

fn load_program(object: &mut Ebpf, name: &str) -> Result<OwnedFd, ProgramError> {
    let program = object.program_mut(name).ok_or(ProgramError::UnexpectedProgramType)?;
    match program {
        Program::Xdp(xdp) => xdp.load()?,
        Program::SchedClassifier(classifier) => classifier.load()?,
        _ => return Err(ProgramError::UnexpectedProgramType),
    }
    Ok(program.fd()?.as_fd().try_clone_to_owned()?)
}

/// Keeps the pinned program if the fresh one is the same, else pins the fresh one.
fn settle(
    name: &'static str,
    fresh: OwnedFd,
    directory: &Path,
    on_these_maps: &mut BTreeSet<u32>,
) -> io::Result<Loaded> {
    let path = directory.join(name);
    let info = syscall::program_info(fresh.as_fd())?;
    if let Ok(pinned) = syscall::open_pin(&path) {
        let old = syscall::program_info(pinned.as_fd())?;
        on_these_maps.insert(old.id);
        if old.tag == info.tag {
            return Ok(Loaded { name, fd: pinned, id: old.id });
        }
    }
    on_these_maps.insert(info.id);
    let aside = directory.join(format!("{name}-new"));
    drop(std::fs::remove_file(&aside));
    syscall::pin(fresh.as_fd(), &aside)?;
    std::fs::rename(&aside, &path)?;
    Ok(Loaded { name, fd: fresh, id: info.id })
}

fn is_unsupported(error: &ProgramError) -> bool {
    matches!(error, ProgramError::LoadError { io_error, .. } if io_error.raw_os_error() == Some(libc::EINVAL))
}

/// Words for what aya or the kernel says, with the cause at the bottom of it.
fn refused(operation: &str, error: &(dyn std::error::Error + 'static)) -> EnforceError {
    let mut text = error.to_string();
    let mut source = Some(error);
    while let Some(at) = source {
        if let Some(ProgramError::LoadError { io_error, verifier_log }) = at.downcast_ref() {
            let log = verifier_log.to_string();
            // The last line but one of what it says is why; the rest is how it got there.
            if let Some(why) = log.lines().rev().find(|line| is_reason(line)) {
                let cause = io::Error::new(io_error.kind(), why.trim().to_owned());
                let operation = format!("{operation} (this kernel's verifier refuses it)");
                return EnforceError::Kernel { operation, cause };
            }
        }
        if let Some(code) = at.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return refused_by_kernel(operation, io::Error::from_raw_os_error(code));
        }
        source = at.source();
        if let Some(below) = source.map(ToString::to_string).filter(|below| !text.contains(below)) {
            text = format!("{text}: {below}");
        }
    }
    EnforceError::Kernel { operation: operation.to_owned(), cause: io::Error::other(text) }
}

/// Whether a line of the verifier's log is about the program, not about its own work.
fn is_reason(line: &str) -> bool {
    let own = ["verification time", "stack depth", "processed ", ";"];
    !line.trim().is_empty() && !own.iter().any(|start| line.trim().starts_with(start))
}

fn refused_by_kernel(operation: &str, cause: io::Error) -> EnforceError {
    let advice = match cause.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            " (needs root, or the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON; in a container the bpf system call must be let through)"
        }
        Some(libc::ENOSYS) => " (this kernel has no BPF; use backend = \"nft\")",
        _ => "",
    };
    EnforceError::Kernel { operation: format!("{operation}{advice}"), cause }
}
