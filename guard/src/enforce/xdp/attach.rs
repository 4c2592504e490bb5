//! Links: what joins a program to an interface, pinned so that it outlives the agent.
//! Before tcx a filter of the traffic control joins them ([`super::clsact`]), which is
//! no link and outlives the agent by itself; its program is pinned in the link's place,
//! as a note that it is there.
//!
//! A link is made once and never again while it holds: a new program is put behind it.
//! Its pin is named after the way and the interface's number. When the interface goes,
//! the kernel says 0 for its number, so a link is never taken for that of another
//! interface that got the same number later.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::clsact;
use super::object::Programs;
use super::pins;
use super::plan::Way;
use super::syscall::{self, LinkInfo};
use crate::enforce::EnforceError;

/// All links, by interface.
#[derive(Debug)]
pub(super) struct Links {
    directory: PathBuf,
    by_interface: BTreeMap<u32, Attached>,
}

#[derive(Debug)]
struct Attached {
    way: Way,
    fd: OwnedFd,
}

impl Attached {
    /// What the kernel knows of it, on the interface that it was made for.
    fn info(&self, interface: u32) -> io::Result<LinkInfo> {
        if !self.way.is_filter() {
            return syscall::link_info(self.fd.as_fd());
        }
        let found = clsact::program(interface)?;
        let id = syscall::program_info(self.fd.as_fd())?.id;
        let interface = found.map_or(0, |_| interface);
        Ok(LinkInfo { id, program: found.unwrap_or_default(), interface })
    }

    /// Whether what is pinned is this.
    fn is(&self, found: BorrowedFd<'_>) -> bool {
        let id = |fd| match self.way.is_filter() {
            true => syscall::program_info(fd).map(|info| info.id),
            false => syscall::link_info(fd).map(|info| info.id),
        };
        matches!((id(self.fd.as_fd()), id(found)), (Ok(own), Ok(found)) if own == found)
    }
}

const WAYS: [(Way, &str); 6] = [
    (Way::Native, "native"),
    (Way::Tcx, "tcx"),
    (Way::TcxIp, "tcxip"),
    (Way::Clsact, "clsact"),
    (Way::ClsactIp, "clsactip"),
    (Way::Generic, "generic"),
];

impl Links {
    /// Takes over what is pinned, and removes pins of what is gone.
    pub(super) fn open(directory: &Path) -> Result<Self, EnforceError> {
        let mut links = Self { directory: directory.to_owned(), by_interface: BTreeMap::new() };
        for (path, interface, attached, holds) in pinned(directory)? {
            if holds && !links.by_interface.contains_key(&interface) {
                links.by_interface.insert(interface, attached);
            } else {
                std::fs::remove_file(&path).map_err(|cause| broken("remove", &path, cause))?;
            }
        }
        Ok(links)
    }

    /// How an interface is covered by a link that still holds.
    pub(super) fn way(&self, interface: u32) -> Option<Way> {
        let attached = self.by_interface.get(&interface)?;
        let info = attached.info(interface).ok()?;
        (info.interface == interface).then_some(attached.way)
    }

    /// Whether there is any link.
    pub(super) fn is_empty(&self) -> bool {
        self.by_interface.is_empty()
    }

    /// Joins the program for a way to an interface that has no link.
    pub(super) fn attach(
        &mut self,
        interface: u32,
        way: Way,
        programs: &Programs,
    ) -> io::Result<()> {
        self.forget(interface)?;
        let (attach_type, flags) = match way {
            Way::Native => (syscall::ATTACH_XDP, syscall::XDP_NATIVE),
            Way::Generic => (syscall::ATTACH_XDP, syscall::XDP_GENERIC),
            Way::Tcx | Way::TcxIp => (syscall::ATTACH_TCX_INGRESS, syscall::TCX_FIRST),
            Way::Clsact | Way::ClsactIp => return self.attach_filter(interface, way, programs),
        };
        let (program, _) = programs.of(way);
        let fd = syscall::create_link(program, interface, attach_type, flags)?;
        // Should this fail, the link ends with its descriptor: nothing is left behind.
        syscall::pin(fd.as_fd(), &self.path(interface, way))?;
        self.by_interface.insert(interface, Attached { way, fd });
        Ok(())
    }

    fn attach_filter(&mut self, interface: u32, way: Way, programs: &Programs) -> io::Result<()> {
        let (program, _) = programs.of(way);
        let fd = program.try_clone_to_owned()?;
        // Noted first: should this process die now, the next one looks whether it is there.
        let path = self.path(interface, way);
        syscall::pin(program, &path)?;
        if let Err(error) = clsact::attach(interface, program, programs.name(way)) {
            std::fs::remove_file(path)?;
            return Err(error);
        }
        self.by_interface.insert(interface, Attached { way, fd });
        Ok(())
    }

    /// Puts another program behind what joins one to an interface.
    fn exchange(&mut self, interface: u32, programs: &Programs) -> io::Result<()> {
        let Some(way) = self.by_interface.get(&interface).map(|attached| attached.way) else {
            return Ok(());
        };
        let (program, _) = programs.of(way);
        let path = self.path(interface, way);
        let Some(attached) = self.by_interface.get_mut(&interface) else { return Ok(()) };
        if !way.is_filter() {
            return syscall::update_link(attached.fd.as_fd(), program);
        }
        clsact::attach(interface, program, programs.name(way))?;
        // The old one would keep its maps in memory.
        attached.fd = program.try_clone_to_owned()?;
        let aside = path.with_file_name(format!("new-{interface}"));
        drop(std::fs::remove_file(&aside));
        syscall::pin(program, &aside)?;
        std::fs::rename(aside, path)
    }

    /// Puts `programs` behind all links that have others. Those on other maps are left
    /// alone unless `ready`: these maps hold all that theirs do.
    pub(super) fn update(&mut self, programs: &Programs, ready: bool) -> Result<(), EnforceError> {
        for interface in self.interfaces() {
            let Some(attached) = self.by_interface.get(&interface) else { continue };
            let broken = |cause| EnforceError::Kernel {
                operation: format!("put the new program on interface {interface}"),
                cause,
            };
            let info = attached.info(interface).map_err(broken)?;
            let (_, id) = programs.of(attached.way);
            let known = programs.on_these_maps.contains(&info.program);
            if info.interface == interface && info.program != id && (known || ready) {
                self.exchange(interface, programs).map_err(broken)?;
            }
        }
        Ok(())
    }

    /// Puts right what others did to links and their pins, and tells what that was.
    /// Links that ended are for [`Links::sweep`].
    pub(super) fn keep(&mut self, programs: &Programs) -> Result<Vec<String>, EnforceError> {
        let mut put_right = Vec::new();
        for interface in self.interfaces() {
            let Some(attached) = self.by_interface.get(&interface) else { continue };
            let broken = |cause| EnforceError::Kernel {
                operation: format!("look after the link of interface {interface}"),
                cause,
            };
            let info = attached.info(interface).map_err(broken)?;
            if info.interface != interface {
                continue;
            }
            let (_, id) = programs.of(attached.way);
            if info.program != id && !programs.on_these_maps.contains(&info.program) {
                self.exchange(interface, programs).map_err(broken)?;
                put_right.push(format!(
                    "program {} had taken the place of guard's on interface {interface}",
                    info.program
                ));
            }
            let Some(attached) = self.by_interface.get(&interface) else { continue };
            let same = |found: BorrowedFd<'_>| attached.is(found);
            let path = self.path(interface, attached.way);
            if pins::keep_pinned(&path, attached.fd.as_fd(), same)? {
                put_right.push(format!("the pin of the link on interface {interface} was gone"));
            }
        }
        Ok(put_right)
    }

    /// The interfaces whose links ended without us.
    pub(super) fn ended(&self) -> Vec<u32> {
        self.interfaces().into_iter().filter(|interface| self.way(*interface).is_none()).collect()
    }

    fn interfaces(&self) -> Vec<u32> {
        self.by_interface.keys().copied().collect()
    }

    /// Ends the link of an interface.
    pub(super) fn detach(&mut self, interface: u32) -> io::Result<()> {
        if let Some(attached) = self.by_interface.get(&interface) {
            end(interface, attached)?;
        }
        self.forget(interface)
    }

    /// Removes the pins of links that ended without us.
    pub(super) fn sweep(&mut self) -> io::Result<()> {
        self.ended().into_iter().try_for_each(|interface| self.forget(interface))
    }

    /// Ends all links.
    pub(super) fn detach_all(&mut self) -> Result<(), EnforceError> {
        for interface in self.interfaces() {
            self.detach(interface).map_err(|cause| EnforceError::Kernel {
                operation: format!("detach from interface {interface}"),
                cause,
            })?;
        }
        Ok(())
    }

    /// Id of the link of an interface.
    pub(super) fn id(&self, interface: u32) -> Option<u32> {
        self.by_interface.get(&interface)?.info(interface).ok().map(|info| info.id)
    }

    fn forget(&mut self, interface: u32) -> io::Result<()> {
        let Some(attached) = self.by_interface.remove(&interface) else { return Ok(()) };
        match std::fs::remove_file(self.path(interface, attached.way)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn path(&self, interface: u32, way: Way) -> PathBuf {
        let name = WAYS.iter().find(|(other, _)| *other == way).map_or("", |(_, name)| name);
        self.directory.join(format!("{name}-{interface}"))
    }
}

/// How interfaces are covered by links that still hold.
pub(super) fn attached(directory: &Path) -> Result<BTreeMap<u32, Way>, EnforceError> {
    let links = pinned(directory)?.into_iter().filter(|(.., holds)| *holds);
    Ok(links.map(|(_, interface, attached, _)| (interface, attached.way)).collect())
}

/// The name of an interface with its number, or the number alone when there is none.
pub(super) fn name(interface: u32) -> String {
    use rustix::net::{AddressFamily, SocketType, netdevice, socket};
    let socket = socket(AddressFamily::UNIX, SocketType::DGRAM, None);
    match socket.and_then(|socket| netdevice::index_to_name(&socket, interface)) {
        Ok(name) => format!("{name} ({interface})"),
        Err(_) => interface.to_string(),
    }
}

/// All pinned links, with their pins and interfaces, and whether they still hold.
fn pinned(directory: &Path) -> Result<Vec<(PathBuf, u32, Attached, bool)>, EnforceError> {
    let mut found = Vec::new();
    for name in pins::names(directory)? {
        // What has another name was put there by somebody else.
        let Some((way, interface)) = read_name(&name) else { continue };
        let path = directory.join(&name);
        let fd = syscall::open_pin(&path).map_err(|cause| broken("open", &path, cause))?;
        let attached = Attached { way, fd };
        let info = attached.info(interface).map_err(|cause| broken("look at", &path, cause))?;
        found.push((path, interface, attached, info.interface == interface));
    }
    Ok(found)
}

fn broken(verb: &str, path: &Path, cause: io::Error) -> EnforceError {
    EnforceError::Kernel { operation: format!("{verb} {}", path.display()), cause }
}

/// A link ends when its last descriptor and pin go; this is sooner, and certain.
fn end(interface: u32, attached: &Attached) -> io::Result<()> {
    if attached.way.is_filter() {
        return clsact::detach(interface);
    }
    match syscall::detach_link(attached.fd.as_fd()) {
        // The interface is gone, and the link with it.
        Err(error) if error.raw_os_error() != Some(libc::ENOLINK) => Err(error),
        _ => Ok(()),
    }
}

fn read_name(name: &str) -> Option<(Way, u32)> {
    let (way, interface) = name.split_once('-')?;
    let (way, _) = WAYS.iter().find(|(_, other)| *other == way)?;
    Some((*way, interface.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_name_way_and_interface() {
        assert_eq!(read_name("native-12"), Some((Way::Native, 12)));
        assert_eq!(read_name("tcxip-3"), Some((Way::TcxIp, 3)));
        assert_eq!(read_name("clsact-3"), Some((Way::Clsact, 3)));
        for other in ["native", "native-", "native-x", "eth0-3", "new-3"] {
            assert_eq!(read_name(other), None, "{other}");
        }
    }
}
