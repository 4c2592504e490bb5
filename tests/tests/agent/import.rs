//! Bans out of a database that Fail2Ban itself wrote.

use guard_tests::fail2ban::Package;

use super::*;

/// Fills a database as the running server does: a jail's tickets through its own class.
/// Arguments: the file, the time now.
const WRITER: &str = r#"
import sys
from fail2ban.server.database import Fail2BanDb
from fail2ban.server.ticket import BanTicket

class Actions:
    def getBanTime(self):
        return 600

class Jail:
    def __init__(self, name):
        self.name, self.actions = name, Actions()

database, now = Fail2BanDb(sys.argv[1]), int(sys.argv[2])
for jail, address, ago, length, count in [
    ("sshd", "10.3.0.1", 60, None, 1),
    ("sshd", "10.3.0.9", 700, None, 4),
    ("proxmox", "fd03::1", 60, -1, 2),
    ("elsewhere", "10.3.0.1", 60, 86400, 1),
    ("sshd", "10.3.0.254", 60, None, 1),
    ("sshd", "root", 60, None, 1),
]:
    place = Jail(jail)
    database.addJail(place)
    ticket = BanTicket(address, now - ago, matches=["a line"])
    ticket.setAttempt(5)
    ticket.setBanTime(length)
    ticket.setBanCount(count)
    database.addBan(place, ticket)
"#;

#[test]
fn what_fail2ban_banned_is_banned() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "xdp")?;
    let database = world.agent.path("fail2ban.sqlite3").display().to_string();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let mut writer = std::process::Command::new("python3");
    writer.args(["-c", WRITER, &database, &now.to_string()]);
    writer.env("PYTHONPATH", Package::fetch()?.python());
    guard_tests::command::finish(writer)?;

    world.agent.start()?;
    let refused = world.agent.guardctl_output(&["import", &database])?;
    ensure!(refused.status.code() == Some(1), "{refused:?}");
    ensure!(String::from_utf8_lossy(&refused.stderr).contains("stop it first"), "{refused:?}");
    world.agent.stop()?;
    let dry = world.agent.guardctl(&["import", &database, "--dry-run"])?;
    world.wait_for_answer(ATTACKER, SSH, true)?;
    let output = world.agent.guardctl_output(&["import", &database])?;
    let (said, talk) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    ensure!(output.status.success() && said == dry, "{dry}\n{output:?}");
    ensure!(
        said == "1 bans of elsewhere go on\n1 bans of proxmox go on\n2 bans of sshd go on\n\
                 1 bans are over\n\
                 5 sources are remembered with how often they were banned\n",
        "{said}"
    );
    ensure!(talk.contains("sshd root") && talk.contains("no jail elsewhere"), "{talk}");

    world.agent.start()?;
    world.wait_for_answer(ATTACKER, SSH, false)?;
    world.wait_for_answer(ATTACKER, PROXMOX, true)?;
    world.wait_for_answer(ATTACKER_V6, PROXMOX, false)?;
    world.wait_for_answer(NEIGHBOUR, SSH, true)?;
    // The host's own address, which Fail2Ban let itself be told to ban, is not.
    let table = world.agent.guardctl(&["bans", "list"])?;
    let rows: Vec<Vec<&str>> =
        table.lines().skip(1).map(|line| line.split_whitespace().take(2).collect()).collect();
    ensure!(rows == [["proxmox", "fd03::1"], ["sshd", "10.3.0.1"]], "{table}");
    world.agent.stop()
}
