//! Which enforcer, and why.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::config::agent::{Backend, Interfaces, Scope, Settings};
use crate::daemon::detached;
use crate::enforce::nft::Nft;
use crate::enforce::nft::expire::Lasting;
use crate::enforce::null::Null;
use crate::enforce::xdp::{self, Xdp, XdpOptions};
use crate::enforce::{EnforceError, Enforcer, Moment};

/// Which enforcer the settings and the kernel come to, and why; opens nothing.
pub fn foresee(settings: &Settings) -> (Backend, String) {
    match settings.backend {
        Backend::Auto => match xdp::supports_tcx() {
            Ok(true) => {
                let why = "BPF works here, and tcx covers what has no native XDP";
                (Backend::Xdp, why.to_owned())
            }
            // Without either XDP sees what comes in over the uplinks alone; nft's input
            // hook sees every way in.
            Ok(false) => match xdp::supports_clsact() {
                Ok(true) => {
                    let why = "BPF works here, and clsact covers what has no native XDP";
                    (Backend::Xdp, why.to_owned())
                }
                Ok(false) => {
                    let why = "this kernel has neither tcx (it needs 6.6) nor clsact, so XDP \
                               would leave interfaces without a native driver uncovered";
                    (Backend::Nft, why.to_owned())
                }
                Err(error) => (Backend::Nft, error.to_string()),
            },
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
    if let Some(reason) = detached::reason(settings) {
        return Ok((Box::new(Null::because(reason.clone())), reason));
    }
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
        exact_counters: settings.limits.exact_counters as usize,
        generic: settings.generic_xdp,
    }
}

/// The enforcer that holds the bans while the agent is not running; none if guard never
/// enforced anything here.
///
/// # Errors
/// When it cannot work.
pub fn left_behind(settings: &Settings) -> Result<Option<Box<dyn Enforcer>>, EnforceError> {
    Ok(match last_used(settings).as_str() {
        "xdp" => Some(Box::new(open_xdp(settings)?)),
        "nft" => Some(Box::new(Nft::open()?)),
        _ => None,
    })
}

/// Where it is written which backend holds the bans: beside the socket, where it ends
/// with the boot, as what is in the kernel does.
fn marker(settings: &Settings) -> PathBuf {
    settings.socket.with_file_name("backend")
}

/// Settings that say something which this backend cannot do.
pub fn without_effect(settings: &Settings, kind: &str) -> Option<String> {
    if kind != "nft" {
        return None;
    }
    let mut keys = Vec::new();
    if settings.scope == Scope::All {
        keys.push("scope = \"all\"");
    }
    if settings.interfaces != Interfaces::Auto {
        keys.push("interfaces");
    }
    if settings.generic_xdp {
        keys.push("generic-xdp");
    }
    (!keys.is_empty()).then(|| {
        format!(
            "guard.toml: {} has no effect with nft, whose input hook sees what comes to this \
             host on every interface",
            keys.join(", ")
        )
    })
}

/// The backend that guard used last in this boot; empty if none: what the kernel held
/// before is gone, and what is there now is others'.
pub fn last_used(settings: &Settings) -> String {
    fs::read_to_string(marker(settings)).unwrap_or_default().trim().to_owned()
}

/// What guard has in the kernel, in words, and without `dry` not any more. Fail2Ban's own
/// table, which has the name of guard's, counts only if guard used nft in this boot.
///
/// # Errors
/// What could not be removed; what came before it is.
pub fn detach(settings: &Settings, dry: bool) -> Result<Vec<String>, EnforceError> {
    let mut traces = xdp::traces(&settings.bpf_directory)?;
    let nft = last_used(settings) == "nft";
    if nft {
        traces.push("nft table inet f2b-table, with all bans in it".to_owned());
    }
    if dry {
        return Ok(traces);
    }
    xdp::detach(&settings.bpf_directory)?;
    if nft {
        Nft::open()?.detach()?;
    }
    // Nothing is left of it, so nothing is to be adopted or left.
    drop(fs::remove_file(marker(settings)));
    Ok(traces)
}

/// Gives up a table in nft that is Fail2Ban's: what is in it is guard's no more.
///
/// # Errors
/// When that cannot be noted.
pub fn disown(settings: &Settings) -> io::Result<()> {
    if last_used(settings) != "nft" {
        return Ok(());
    }
    fs::remove_file(marker(settings))
}

/// Removes from nft what is due while no agent does it. `stored` are all stored bans. How
/// many were removed; `None` when guard does not enforce with nft.
///
/// # Errors
/// When the kernel refuses.
pub fn expire(
    settings: &Settings,
    stored: &[Lasting],
    now: Moment,
) -> Result<Option<usize>, EnforceError> {
    if last_used(settings) != "nft" {
        return Ok(None);
    }
    Nft::open()?.expire(stored, now.wall).map(Some)
}

/// Whether guard used another backend last in this boot.
pub fn is_other(settings: &Settings, kind: &str) -> bool {
    let before = last_used(settings);
    !before.is_empty() && before != kind
}

/// Removes what the other backend left in the kernel, if guard ran on it before: once
/// the bans are in force here, they need not be there as well. Fail2Ban's own table,
/// which has the same name, is not touched on a host where guard never used nft.
pub fn leave_other(settings: &Settings, kind: &str) {
    let before = last_used(settings);
    let left = match before.as_str() {
        "nft" if kind != "nft" => Nft::open().and_then(|mut nft| nft.detach()),
        "xdp" if kind != "xdp" => xdp::detach(&settings.bpf_directory).map(drop),
        _ => Ok(()),
    };
    if let Err(error) = left {
        // The marker stays, so that the next start tries again.
        tracing::error!(target: "fail2ban.actions", "leaving the {before} backend: {error}");
        return;
    }
    let marker = marker(settings);
    if before != kind
        && let Err(error) = fs::write(&marker, format!("{kind}\n"))
    {
        tracing::error!(target: "fail2ban.actions", "writing {}: {error}", marker.display());
    }
}
