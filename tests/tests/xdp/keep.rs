//! What others do to links, programs and pins is put right at the next inspection.

use std::fs;

use anyhow::{Context, Result, ensure};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use guard::enforce::Enforcer;
use guard::enforce::xdp::Xdp;
use guard_common::names;
use guard_tests::lan::ATTACKER;
use guard_tests::{command, test_run};

use crate::bed::{Bed, Opens, ban, held, now, snapshot};

fn put_right(bed: &Bed, xdp: &mut Xdp) -> Result<Vec<String>> {
    bed.lan.host.run(|| {
        let noticed = xdp.inspect()?;
        ensure!(noticed.broken.is_none(), "{noticed:?}");
        Ok(noticed.put_right)
    })
}

#[test]
fn links_programs_and_pins_are_put_right() -> Result<()> {
    let bed = Bed::new()?;
    let (mut xdp, followed) = bed.open(bed.bpffs.options())?;
    followed?;
    let desired = snapshot(vec![ban(0, ATTACKER, None)]);
    xdp.replace(&desired, now())?;
    bed.banned()?;
    ensure!(put_right(&bed, &mut xdp)?.is_empty(), "nothing was wrong");
    let uplink = bed.uplink()?;
    let link = xdp.link_id(uplink).context("a link")?;

    // Ended by force.
    command::run("bpftool", ["link", "detach", "id", &link.to_string()])?;
    let told = put_right(&bed, &mut xdp)?;
    ensure!(told.iter().any(|one| one.contains("had been ended")), "{told:?}");
    ensure!(xdp.link_id(uplink).is_some_and(|id| id != link), "a link of its own");
    bed.banned()?;
    ensure!(put_right(&bed, &mut xdp)?.is_empty(), "put right once");

    // Another program behind the link: guard's own, on maps that ban nobody.
    let object = fs::read(test_run::object_path())?;
    let mut other = aya::EbpfLoader::new().load(&object)?;
    let pinned = bed.bpffs.pinned("maps-v5")?;
    let name = [names::XDP, names::XDP_LINEAR]
        .into_iter()
        .find(|name| pinned.contains(&(*name).to_owned()));
    let program = other.program_mut(name.context("a pin")?).context("a program")?;
    let program: &mut aya::programs::Xdp = program.try_into()?;
    program.load()?;
    let pin = bed.bpffs.path().join(format!("links/native-{uplink}"));
    let taken: FdLink = PinnedLink::from_pin(&pin)?.into();
    let _taken = program.attach_to_link(XdpLink::try_from(taken)?)?;
    let told = put_right(&bed, &mut xdp)?;
    ensure!(told.iter().any(|one| one.contains("had taken the place")), "{told:?}");
    bed.banned()?;

    // All pins removed, and all directories.
    for directory in ["maps-v5", "links"] {
        let directory = bed.bpffs.path().join(directory);
        for entry in fs::read_dir(&directory)? {
            fs::remove_file(entry?.path())?;
        }
        fs::remove_dir(&directory)?;
    }
    let told = put_right(&bed, &mut xdp)?;
    ensure!(told.iter().filter(|one| one.contains("the pin of")).count() >= 10, "{told:?}");
    drop(xdp);
    bed.banned()?;
    let (mut xdp, followed) = bed.open(bed.bpffs.options())?;
    followed?;
    ensure!(held(&mut xdp)? == ["sshd 10.3.0.1"], "adopted");
    xdp.replace(&desired, now())?;
    ensure!(xdp.replaced() == 0, "nothing to change");
    bed.banned()
}

#[test]
fn maps_of_another_version_are_rebuilt_aside_and_swapped() -> Result<()> {
    let bed = Bed::new()?;
    let (mut xdp, followed) = bed.open(bed.bpffs.options())?;
    followed?;
    let desired = snapshot(vec![ban(0, ATTACKER, None)]);
    xdp.replace(&desired, now())?;
    let link = xdp.link_id(bed.uplink()?);
    drop(xdp);
    // As an agent of another version would have left them.
    let directory = |name: &str| bed.bpffs.path().join(name);
    fs::rename(directory("maps-v5"), directory("maps-v3"))?;
    let mut xdp = Xdp::open(bed.bpffs.options())?;
    bed.banned()?;
    bed.follow(&mut xdp)??;
    bed.banned()?;
    ensure!(directory("maps-v3").is_dir(), "those in use stay until the new ones hold all");
    xdp.replace(&desired, now())?;
    bed.banned()?;
    ensure!(!directory("maps-v3").exists() && directory("maps-v5").is_dir(), "swapped");
    ensure!(xdp.link_id(bed.uplink()?) == link, "attached once");
    ensure!(held(&mut xdp)? == ["sshd 10.3.0.1"], "held");
    Ok(())
}
