//! The agent's sockets under peers that misbehave, and in the hands of a stranger.
//!
//! Both sockets, guard's own and the one for Fail2Ban's clients, are held by ten thousand
//! connections at once. Invariant: attackers are banned, their neighbours are not, whoever
//! asks properly is answered, and the agent keeps none of what the peers cost.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use guard::compat::END;
use guard::compat::pickle::encode;
use guard::compat::value::Value;
use guard_tests::agent::PATIENCE;
use guard_tests::deadline::wait_until;
use guard_tests::lan::{ATTACKER, ATTACKER_V6, Lan, NEIGHBOUR, NEIGHBOUR_V6};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, sockopt};
use rustix::process::{Gid, Resource, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::{SSH, World};

/// Guard's own socket, and Fail2Ban's beside it.
const SOCKETS: [&str; 2] = ["control.socket", "fail2ban.sock"];
/// Connections held open at each of them.
const CROWD: usize = 5_000;
/// Files that this process may have open for that, with some for other tests.
const DESCRIPTORS: u64 = 12_000;
/// One test at a time holds so many.
static TURN: Mutex<()> = Mutex::new(());
/// Those that send more than anybody may, at each.
const GIANTS: usize = 4;
/// What each of these has to send; the agent takes 8 MiB of it.
const GIANT_BYTES: usize = 64 << 20;
/// Conversations at a time, at each: `Bounds::connections`, and one that is let in.
const PLACES: usize = 33;
/// A user that owns nothing here and is in no group.
const NOBODY: u32 = 65_534;

#[test]
fn xdp_bans_while_ten_thousand_peers_misbehave() -> Result<()> {
    bans_while_peers_misbehave("xdp")
}

#[test]
fn nft_bans_while_ten_thousand_peers_misbehave() -> Result<()> {
    bans_while_peers_misbehave("nft")
}

fn bans_while_peers_misbehave(backend: &str) -> Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let lan = Lan::new()?;
    let mut world = World::new(&lan, backend)?;
    // With the limits that it has anyhow: this raises only those of the test.
    world.agent.start()?;
    allow_descriptors(DESCRIPTORS)?;
    let status = world.agent.guardctl(&["status"])?;
    world.sshd_failures(NEIGHBOUR, 2)?;
    world.agent.wait_for_log(&format!("[sshd] Found {NEIGHBOUR}"), PATIENCE)?;
    world.wait_for_answer(ATTACKER, SSH, true)?;
    let descriptors = open_descriptors(&world)?;

    let places = SOCKETS.map(|socket| world.agent.path(socket));
    let crowds = thread::scope(|scope| {
        let crowds: Vec<_> = places.iter().map(|at| scope.spawn(|| crowd(at))).collect();
        let giants = places.iter().flat_map(|at| [at; GIANTS]);
        let giants: Vec<_> = giants.map(|at| scope.spawn(|| is_hung_up_on(at))).collect();
        // While they come: a ban, and everybody else is served.
        world.sshd_failures(ATTACKER, 3)?;
        world.agent.wait_for_log(&format!("[sshd] Ban {ATTACKER}"), PATIENCE)?;
        world.wait_for_answer(ATTACKER, SSH, false)?;
        world.wait_for_answer(NEIGHBOUR, SSH, true)?;
        let mut answered = 0;
        while answered == 0 || !crowds.iter().all(thread::ScopedJoinHandle::is_finished) {
            others_are_served(&world).with_context(|| format!("after {answered} answers"))?;
            answered += 1;
        }
        for giant in giants {
            giant.join().map_err(|_| anyhow!("a giant failed"))??;
        }
        let crowds = crowds.into_iter().map(|crowd| crowd.join().map_err(|_| anyhow!("a crowd")));
        crowds.collect::<Result<Result<Vec<_>>>>()?
    })?;

    // All of them are there: they hold their bounds and no more.
    let most = descriptors + SOCKETS.len() * PLACES;
    wait_until("the peers hold no more than their places", PATIENCE, || {
        Ok(open_descriptors(&world)? <= most)
    })?;
    others_are_served(&world)?;
    world.sshd_failures(NEIGHBOUR_V6, 2)?;
    world.sshd_failures(ATTACKER_V6, 3)?;
    world.agent.wait_for_log(&format!("[sshd] Ban {ATTACKER_V6}"), PATIENCE)?;
    world.wait_for_answer(ATTACKER_V6, SSH, false)?;
    world.wait_for_answer(ATTACKER, SSH, false)?;
    for neighbour in [NEIGHBOUR, NEIGHBOUR_V6] {
        world.wait_for_answer(neighbour, SSH, true)?;
    }

    // And gone: nothing of them is left, and the agent is as it was.
    drop(crowds);
    wait_until("the places are given back", PATIENCE, || {
        Ok(open_descriptors(&world)? <= descriptors)
    })?;
    ensure!(world.agent.guardctl(&["unban", "--all"])? == "2\n");
    for attacker in [ATTACKER, ATTACKER_V6] {
        world.wait_for_answer(attacker, SSH, true)?;
    }
    let after = world.agent.guardctl(&["status"])?;
    ensure!(after.lines().count() == status.lines().count(), "{status}\nand after it\n{after}");
    let log = world.agent.log()?;
    ensure!(log.lines().filter(|line| line.contains("Ban ")).count() == 2, "{log}");
    for word in ["ERROR", "CRITICAL", "panicked"] {
        let told = log.lines().find(|line| line.contains(word));
        ensure!(told.is_none(), "{told:?}");
    }
    ensure!(!world.agent.output().contains("panicked"), "{}", world.agent.output());
    world.agent.stop()
}

/// `guardctl`, and Fail2Ban's client, are answered as ever.
fn others_are_served(world: &World<'_>) -> Result<()> {
    let status = world.agent.guardctl(&["status"])?;
    ensure!(status.contains("proxmox, sshd"), "{status}");
    let told = fail2ban(world, &["ping"])?;
    ensure!(contains(&told, b"pong"), "Fail2Ban's client was told {told:?}");
    Ok(())
}

/// What Fail2Ban's client is answered: one message, one answer.
fn fail2ban(world: &World<'_>, words: &[&str]) -> Result<Vec<u8>> {
    let stream = connect(&world.agent.path(SOCKETS[1]))?;
    (&stream).write_all(&message(words))?;
    let mut told = Vec::new();
    let mut part = [0; 4096];
    while !told.ends_with(END) {
        match (&stream).read(&mut part).context("wait for an answer")? {
            0 => bail!("hung up after {} bytes of an answer", told.len()),
            length => told.extend(&part[..length]),
        }
    }
    Ok(told)
}

/// A request of Fail2Ban's client.
fn message(words: &[&str]) -> Vec<u8> {
    [&encode(&Value::texts(words.iter().copied())), END].concat()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// As many connections as come, each wrong in a way of its own, all held open.
fn crowd(socket: &Path) -> Result<Vec<UnixStream>> {
    let whole = if socket.ends_with(SOCKETS[1]) { END } else { b"\n" };
    let half: &[u8] = if socket.ends_with(SOCKETS[1]) { b"\x80\x04]" } else { b"{\"verb\":\"sta" };
    let noise: Vec<u8> = (0..=u8::MAX).rev().collect();
    (0..CROWD)
        .map(|number| {
            let stream = connect(socket).with_context(|| format!("connection {number}"))?;
            match number % 6 {
                0 => {}
                1 => send(&stream, half)?,
                2 => half_close(&stream)?,
                3 => {
                    send(&stream, half)?;
                    half_close(&stream)?;
                }
                4 => send(&stream, &[&noise, whole].concat())?,
                // Nothing, but whole, many times over.
                _ => send(&stream, &whole.repeat(10))?,
            }
            Ok(stream)
        })
        .collect()
}

/// Sends what no request can be, and is not waited for to the end.
fn is_hung_up_on(socket: &Path) -> Result<()> {
    let mut stream = connect(socket)?;
    let part = vec![b'['; 1 << 20];
    for _ in 0..GIANT_BYTES / part.len() {
        match stream.write_all(&part) {
            Ok(()) => {}
            Err(error) if left(&error) => return Ok(()),
            Err(error) => return Err(error).context("send more than anybody may"),
        }
    }
    bail!("{} took all {GIANT_BYTES} bytes", socket.display())
}

/// Sends to an agent that may have given the place to somebody else.
fn send(mut stream: &UnixStream, bytes: &[u8]) -> Result<()> {
    match stream.write_all(bytes) {
        Err(error) if !left(&error) => Err(error).context("send"),
        _ => Ok(()),
    }
}

fn half_close(stream: &UnixStream) -> Result<()> {
    match stream.shutdown(Shutdown::Write) {
        Err(error) if error.kind() != ErrorKind::NotConnected => Err(error).context("half close"),
        _ => Ok(()),
    }
}

/// Whether the agent is at the other end no more.
fn left(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

/// Connects, and waits no longer than [`PATIENCE`] for that, to send, and to be answered.
fn connect(socket: &Path) -> Result<UnixStream> {
    let stream = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    // The kernel ends a connect() to a full queue after the send timeout.
    for direction in [sockopt::Timeout::Send, sockopt::Timeout::Recv] {
        sockopt::set_socket_timeout(&stream, direction, Some(PATIENCE))?;
    }
    rustix::net::connect(&stream, &SocketAddrUnix::new(socket)?)?;
    Ok(stream.into())
}

/// Files and sockets that the agent has open.
fn open_descriptors(world: &World<'_>) -> Result<usize> {
    let pid = world.agent.pid().context("the agent does not run")?;
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Lets this process have so many files open.
fn allow_descriptors(count: u64) -> Result<()> {
    let mut limits = rustix::process::getrlimit(Resource::Nofile);
    if limits.current.is_some_and(|current| current < count) {
        limits.current = Some(count);
        rustix::process::setrlimit(Resource::Nofile, limits)
            .with_context(|| format!("raise the limit of open files to {count}"))?;
    }
    Ok(())
}

#[test]
fn a_stranger_is_not_heard_even_where_the_sockets_are_open_to_all() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "nft")?;
    world.agent.start()?;
    ensure!(world.agent.guardctl(&["ban", "sshd", &ATTACKER.to_string()])? == "1\n");
    let (attacker, neighbour) = (ATTACKER.to_string(), NEIGHBOUR.to_string());
    let request = |verb: &str, address: &str| {
        format!("{{\"verb\":\"{verb}\",\"jail\":\"sshd\",\"sources\":[\"{address}\"]}}\n")
    };
    let asked = [
        [request("ban", &neighbour), request("unban", &attacker)].concat().into_bytes(),
        [
            message(&["set", "sshd", "banip", &neighbour]),
            message(&["set", "sshd", "unbanip", &attacker]),
        ]
        .concat(),
    ];
    // Whoever may get to the file, the file itself says no.
    let anybody = |mode| fs::Permissions::from_mode(mode);
    fs::set_permissions(world.agent.path(""), anybody(0o755))?;
    let refusals = "is not allowed to ask";
    for (before, (name, asked)) in SOCKETS.into_iter().zip(&asked).enumerate() {
        let socket = world.agent.path(name);
        let refused = as_nobody(|| Ok(connect(&socket).map(drop)))?;
        let error = refused.err().with_context(|| format!("{name}: a stranger is let in"))?;
        let cause = error.downcast_ref::<rustix::io::Errno>();
        ensure!(cause == Some(&rustix::io::Errno::ACCESS), "{name}: {error:#}");

        fs::set_permissions(&socket, anybody(0o666))?;
        let told = as_nobody(|| ask(&socket, asked))?;
        ensure!(told.is_empty(), "{name}: told {}", String::from_utf8_lossy(&told));
        wait_until(&format!("{name}: the refusal is logged"), PATIENCE, || {
            Ok(world.log_count(&format!("user {NOBODY} {refusals}"))? == before + 1)
        })?;
        let bans = world.agent.guardctl(&["bans", "list"])?;
        ensure!(bans.contains(&format!("{attacker} ")), "{name}: lifted by a stranger:\n{bans}");
        ensure!(!bans.contains(&format!("{neighbour} ")), "{name}: banned by a stranger:\n{bans}");
    }
    world.wait_for_answer(ATTACKER, SSH, false)?;
    world.wait_for_answer(NEIGHBOUR, SSH, true)?;

    // The same by root is done: it was the peer that was refused, not the request.
    for (name, asked) in SOCKETS.into_iter().zip(&asked) {
        let told = ask(&world.agent.path(name), asked)?;
        ensure!(!told.is_empty(), "{name}: root was told nothing");
        let bans = world.agent.guardctl(&["bans", "list"])?;
        ensure!(bans.contains(&format!("{neighbour} ")), "{name}: {bans}");
        ensure!(!bans.contains(&format!("{attacker} ")), "{name}: {bans}");
        world.agent.guardctl(&["unban", "sshd", &neighbour])?;
        world.agent.guardctl(&["ban", "sshd", &attacker])?;
    }
    ensure!(world.log_count(refusals)? == SOCKETS.len(), "root is a stranger");
    world.agent.stop()
}

/// Sends this, says that there is no more, and gives all that is answered.
fn ask(socket: &Path, asked: &[u8]) -> Result<Vec<u8>> {
    let mut stream = connect(socket)?;
    send(&stream, asked)?;
    half_close(&stream)?;
    let mut told = Vec::new();
    match stream.read_to_end(&mut told) {
        Err(error) if !left(&error) => Err(error).context("wait for an answer"),
        _ => Ok(told),
    }
}

/// Runs `closure` on a thread that is nobody's: the kernel tells a socket's peer who the
/// thread is that connects.
fn as_nobody<T: Send>(closure: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let stranger = scope.spawn(|| {
            let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
            set_thread_groups(&[])?;
            set_thread_res_gid(group, group, group)?;
            set_thread_res_uid(user, user, user)?;
            closure()
        });
        stranger.join().map_err(|_| anyhow!("the stranger failed"))?
    })
}
