//! Which enforcer, and why.

use std::fs;
use std::path::PathBuf;

use crate::config::agent::{Backend, Scope, Settings};
use crate::enforce::nft::Nft;
use crate::enforce::null::Null;
use crate::enforce::xdp::{self, Xdp, XdpOptions};
use crate::enforce::{EnforceError, Enforcer};

/// Which enforcer the settings and the kernel come to, and why; opens nothing.
pub fn foresee(settings: &Settings) -> (Backend, String) {
    match settings.backend {
        Backend::Auto => match xdp::supports_tcx() {
            Ok(true) => {
                let why = "BPF works here, and tcx covers what has no native XDP";
                (Backend::Xdp, why.to_owned())
            }
            // Without tcx XDP sees what comes in over the uplinks alone; nft's input
            // hook sees every way in.
            Ok(false) => {
                let why = "this kernel has no tcx (it needs 6.6), so XDP would leave interfaces \
                           without a native driver uncovered";
                (Backend::Nft, why.to_owned())
            }
            Err(error) => (Backend::Nft, error.to_string()),
        },
        backend => (backend, "asked for by configuration or command line".to_owned()),
    }
}

/// The enforcer that [`foresee`] names, and why. With `auto`, nft where XDP fails all
/// the same.
///
/// # Errors
/// When the one that is asked for cannot work here, or none can.
pub fn choose(settings: &Settings) -> Result<(Box<dyn Enforcer>, String), EnforceError> {
    let (backend, why) = foresee(settings);
    match backend {
        Backend::Xdp | Backend::Auto => match open_xdp(settings) {
            Ok(xdp) => Ok((Box::new(xdp), why)),
            Err(error) if settings.backend == Backend::Auto => {
                Ok((Box::new(Nft::open()?), error.to_string()))
            }
            Err(error) => Err(error),
        },
        Backend::Nft => Ok((Box::new(Nft::open()?), why)),
        Backend::Null => Ok((Box::new(Null::default()), why)),
    }
}

fn open_xdp(settings: &Settings) -> Result<Xdp, EnforceError> {
    Xdp::open(xdp_options(settings))
}

/// How the XDP enforcer is set up.
pub fn xdp_options(settings: &Settings) -> XdpOptions {
    XdpOptions {
        directory: settings.bpf_directory.clone(),
        interfaces: settings.interfaces.clone(),
        host_only: settings.scope == Scope::Host,
        bans: settings.limits.bans,
        generic: settings.generic_xdp,
    }
}

/// The enforcer that holds the bans while the agent is not running; none if guard never
/// enforced anything here.
///
/// # Errors
/// When it cannot work.
pub fn left_behind(settings: &Settings) -> Result<Option<Box<dyn Enforcer>>, EnforceError> {
    Ok(match fs::read_to_string(marker(settings)).unwrap_or_default().trim() {
        "xdp" => Some(Box::new(open_xdp(settings)?)),
        "nft" => Some(Box::new(Nft::open()?)),
        _ => None,
    })
}

/// Where it is written which backend holds the bans.
fn marker(settings: &Settings) -> PathBuf {
    settings.state_directory.join("backend")
}

/// Removes what the other backend left in the kernel, if guard ran on it before: once
/// the bans are in force here, they need not be there as well. Fail2Ban's own table,
/// which has the same name, is not touched on a host where guard never used nft.
pub fn leave_other(settings: &Settings, kind: &str) {
    let marker = marker(settings);
    let before = fs::read_to_string(&marker).unwrap_or_default();
    let left = match before.trim() {
        "nft" if kind != "nft" => Nft::open().and_then(|mut nft| nft.detach()),
        "xdp" if kind != "xdp" => open_xdp(settings).and_then(|mut xdp| xdp.detach()),
        _ => Ok(()),
    };
    if let Err(error) = left {
        tracing::error!(target: "fail2ban.actions", "leaving the {} backend: {error}", before.trim());
        return;
    }
    if before.trim() != kind
        && let Err(error) = fs::write(&marker, format!("{kind}\n"))
    {
        tracing::error!(target: "fail2ban.actions", "writing {}: {error}", marker.display());
    }
}
