//! `guardctl probe`: what each interface can do, and what would be chosen.

use crate::cli::{Context, Failure, output};
use crate::config;
use crate::config::agent::Backend;
use crate::daemon::backend;
use crate::enforce::nft::{Nft, nat};
use crate::enforce::probe::{self, ProbedInterface};
use crate::host;

#[derive(serde::Serialize)]
#[serde(rename_all = "kebab-case")]
struct Found {
    #[serde(flatten)]
    bpf: probe::Probed,
    /// Why nftables cannot be used; absent when it can.
    nft: Option<String>,
    /// What the agent would use.
    backend: Backend,
    /// Why.
    backend_reason: String,
    /// Rules that send packets to another port or host, and so past bans or into them,
    /// since XDP sees packets before; in words.
    redirections: Vec<String>,
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
    let or = |problem: &Option<String>| problem.clone().unwrap_or_else(|| "yes".to_owned());
    let tcx = match found.bpf.tcx {
        Some(true) => "yes",
        Some(false) => "no (it needs Linux 6.6)",
        None => "unknown",
    };
    let (name, why) = (name(found.backend), &found.backend_reason);
    let (bpf, nft) = (or(&found.bpf.bpf), or(&found.nft));
    output::print(&format!(
        "BPF      {bpf}\ntcx      {tcx}\nnft      {nft}\nbackend  {name}: {why}\n\n"
    ))?;
    let header = ["INTERFACE", "DRIVER", "NATIVE XDP", "OTHER PROGRAM", "GUARDED BY", "WHY"];
    let rows: Vec<Vec<String>> =
        found.bpf.interfaces.iter().map(|one| row(one, found.backend)).collect();
    output::print(&output::table(&header, &rows))?;
    if !found.redirections.is_empty() {
        output::print("\n")?;
    }
    found.redirections.iter().try_for_each(|told| output::print(&format!("NAT  {told}\n")))
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
        probed.other_program.map_or_else(|| "-".to_owned(), |id| format!("id {id}")),
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
