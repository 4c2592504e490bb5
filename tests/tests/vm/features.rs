//! What guard finds in a kernel is what the table says of that kernel.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use guard::enforce::Enforcer;
use guard::enforce::probe::probe;
use guard::enforce::xdp::{supports_clsact, supports_tcx};
use guard_common::names;
use guard_tests::lan::UPLINK;
use serde::Deserialize;

use crate::bed::{Bed, Opens, filtered, host, of};

#[derive(Deserialize)]
struct Table {
    kernel: Vec<Kernel>,
}

#[derive(Deserialize)]
struct Kernel {
    name: String,
    features: BTreeSet<String>,
}

#[test]
fn a_kernel_has_the_features_that_it_should_have_and_no_others() -> Result<()> {
    let name = std::env::var("GUARD_KERNEL").context("run by `cargo xtask test vm`")?;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/kernels.toml");
    let table: Table = toml::from_str(&std::fs::read_to_string(path)?)?;
    let kernel = table.kernel.into_iter().find(|kernel| kernel.name == name);
    let expected = kernel.with_context(|| format!("{name} is in the table"))?.features;

    let bed = Bed::new()?;
    bed.lan.host.ip("link add br0 type bridge")?;
    let (xdp, followed) = bed.open(bed.bpffs.options())?;
    followed?;
    let mut found = BTreeSet::new();
    let mut note = |feature: &str, there: bool| {
        if there {
            found.insert(feature.to_owned());
        }
    };
    note("xdp-link", of(&xdp.coverage(), UPLINK).means == "native XDP");
    note("tcx", supports_tcx()?);
    note("clsact", supports_clsact()?);
    let bridge = of(&xdp.coverage(), "br0").means.clone();
    ensure!(bridge == filtered()?, "{:?}", xdp.coverage());
    let pinned = bed.bpffs.pinned("maps-v5")?;
    let linear = pinned.iter().any(|name| name == names::XDP_LINEAR);
    ensure!(linear != pinned.iter().any(|name| name == names::XDP), "one of them: {pinned:?}");
    note("frags", !linear);
    let host = host(&bed.lan.host)?;
    let options = bed.bpffs.options();
    let probed = bed.lan.host.run(|| Ok(probe(&host, &options)))?;
    ensure!(probed.bpf.is_none(), "{probed:?}");
    note("driver-features", probed.interfaces.iter().any(|one| one.native_xdp == Some(true)));
    ensure!(found == expected, "Linux {name} has {found:?}, the table says {expected:?}");
    Ok(())
}
