//! `guardctl probe`: what each interface can do, and what would be chosen.

use crate::cli::{Context, Failure, layout, output};
use crate::config;
use crate::config::agent::Backend;
use crate::daemon::backend;
use crate::enforce::nft::{Nft, nat};
use crate::enforce::probe::{self, ProbedInterface};
use crate::host;

#[derive(serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Found {
    #[serde(flatten)]
    pub(super) bpf: probe::Probed,
    /// Why nftables cannot be used; absent when it can.
    pub(super) nft: Option<String>,
    /// What the agent would use.
    pub(super) backend: Backend,
    /// Why.
    pub(super) backend_reason: String,
    /// Rules that send packets to another port or host, and so past bans or into them,
    /// since XDP sees packets before; in words.
    pub(super) redirections: Vec<String>,
}

pub(super) fn probe(context: &Context) -> Result<(), Failure> {
    let settings = &context.settings;
    let host = host::read().map_err(|error| Failure::NotDone(error.to_string()))?;
    let bpf = probe::probe(&host, &backend::xdp_options(settings));
    let (backend, backend_reason) = backend::foresee(settings);
    let mut redirections = Vec::new();
    if matches!(backend, Backend::Xdp | Backend::Auto) {
        let jails = config::jails(settings).jails;
        let jails: Vec<_> = jails.into_iter().map(|jail| (jail.name, jail.ports)).collect();
        match nat::redirections() {
            Ok(rules) => redirections = nat::warnings(&rules, &jails, &host.addresses.own),
            Err(error) => redirections.push(format!("not known: {error}")),
        }
    }
    let found = Found {
        redirections,
        backend,
        backend_reason,
        bpf,
        nft: Nft::open().err().map(|error| error.to_string()),
    };
    if context.json {
        return output::json(&found);
    }
    output::print(&in_words(&found, layout::columns()))
}

/// What was found, in words and as a table.
pub(super) fn in_words(found: &Found, columns: usize) -> String {
    let or = |problem: &Option<String>| problem.clone().unwrap_or_else(|| "yes".to_owned());
    let tcx = match found.bpf.tcx {
        Some(true) => "yes",
        Some(false) => "no (it needs Linux 6.6)",
        None => "unknown",
    };
    let mut text = String::new();
    for (what, words) in [
        ("BPF", or(&found.bpf.bpf)),
        ("tcx", tcx.to_owned()),
        ("nft", or(&found.nft)),
        ("backend", format!("{}: {}", name(found.backend), found.backend_reason)),
    ] {
        text += &layout::folded(&format!("{what:<9}{words}"), columns, 9);
        text.push('\n');
    }
    text.push('\n');
    let header = ["INTERFACE", "DRIVER", "NATIVE XDP", "GUARDED BY", "WHY"];
    let rows: Vec<Vec<String>> =
        found.bpf.interfaces.iter().map(|one| row(one, found.backend)).collect();
    text += &layout::table(&header, &rows, columns);
    if !found.redirections.is_empty() {
        text.push('\n');
    }
    for told in &found.redirections {
        text += &layout::folded(&format!("NAT  {told}"), columns, 5);
        text.push('\n');
    }
    text
}

fn row(probed: &ProbedInterface, backend: Backend) -> Vec<String> {
    let native = match probed.native_xdp {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    };
    let means = &probed.choice.means;
    let (means, why) = match backend {
        Backend::Nft => ("nft".to_owned(), "its input hook sees every interface".to_owned()),
        Backend::Null => ("none".to_owned(), "the null backend bans nobody".to_owned()),
        _ if probed.attached => (means.clone(), probed.choice.reason.clone()),
        _ => (format!("{means} (not yet)"), probed.choice.reason.clone()),
    };
    vec![
        probed.choice.interface.clone(),
        probed.driver.clone().unwrap_or_else(|| "-".to_owned()),
        native.to_owned(),
        means,
        why,
    ]
}

fn name(backend: Backend) -> &'static str {
    match backend {
        Backend::Auto | Backend::Xdp => "xdp",
        Backend::Nft => "nft",
        Backend::Null => "null",
    }
}
