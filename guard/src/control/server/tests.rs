//! Peers that misbehave, and the others, who do not notice.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream as Peer;
use std::thread;

use super::*;

/// A server in a thread of its own, which answers every request with an error that says
/// `asked`.
struct Running {
    place: tempfile::TempDir,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Running {
    fn start(bounds: Bounds) -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("socket");
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (bound, ready) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio");
            runtime.block_on(async move {
                let server = Server::bind(&path, bounds).expect("a socket");
                bound.send(()).expect("somebody waits");
                tokio::select! {
                    () = server.serve(|_| async { Response::Error("asked".to_owned()) }) => {}
                    _ = stopped => {}
                }
            });
        });
        ready.recv().expect("it is bound");
        Self { place, stop: Some(stop), thread: Some(thread) }
    }

    fn connect(&self) -> Peer {
        let peer = Peer::connect(self.place.path().join("socket")).expect("a connection");
        peer.set_read_timeout(Some(Duration::from_secs(30))).expect("a time limit");
        peer
    }

    /// What a peer that behaves is answered.
    fn ask(&self) -> String {
        let mut peer = self.connect();
        peer.write_all(b"{\"verb\":\"status\"}\n").expect("sent");
        answer(&peer)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server ends");
        }
    }
}

fn answer(peer: &Peer) -> String {
    let mut line = String::new();
    BufReader::new(peer).read_line(&mut line).expect("an answer");
    line
}

fn small() -> Bounds {
    Bounds { connections: 4, request_bytes: 1_000, patience: Duration::from_secs(60) }
}

#[test]
fn what_is_no_request_is_refused_and_the_next_one_answered() {
    let server = Running::start(small());
    let peer = server.connect();
    for wrong in [
        "",
        "{}",
        "[]",
        "null",
        "\0",
        "{\"verb\":\"unknown\"}",
        "{\"verb\":\"unban\",\"x\":1}",
        "{\"verb\":\"ban\",\"jail\":\"a/b\",\"sources\":[]}",
        "\u{feff}{\"verb\":\"status\"}",
        &"[".repeat(900),
    ] {
        (&peer).write_all(format!("{wrong}\n").as_bytes()).expect("sent");
        let told = answer(&peer);
        assert!(told.starts_with("{\"error\":\"not a request: "), "{wrong}: {told}");
    }
    (&peer).write_all(b"\xff\xfe\n{\"verb\":\"bans\"}\n").expect("sent");
    let mut lines = BufReader::new(&peer).lines();
    assert!(lines.next().expect("a line").expect("text").contains("not a request"));
    assert_eq!(lines.next().expect("a line").expect("text"), "{\"error\":\"asked\"}");
}

#[test]
fn a_request_that_is_too_long_or_never_whole_ends_the_conversation() {
    let server = Running::start(small());
    let mut peer = server.connect();
    // More than it takes: it may hang up before all is sent.
    let _ = peer.write_all(&[b' '; 5_000]);
    let mut told = String::new();
    // It answers; that it then closes with bytes unread may reset the connection.
    let _ = peer.read_to_string(&mut told);
    assert!(told.is_empty() || told.contains("at most 1000 bytes"), "{told}");

    let mut peer = server.connect();
    peer.write_all(b"{\"verb\":").expect("sent");
    peer.shutdown(Shutdown::Write).expect("half closed");
    let mut told = String::new();
    peer.read_to_string(&mut told).expect("an answer and the end");
    assert!(told.contains("a request is one line"), "{told}");
    assert_eq!(server.ask(), "{\"error\":\"asked\"}\n");
}

#[test]
fn who_waits_with_nothing_to_ask_gives_way() {
    let server = Running::start(small());
    let mut silent: Vec<Peer> = (0..40).map(|_| server.connect()).collect();
    assert_eq!(server.ask(), "{\"error\":\"asked\"}\n");
    let mut slow = server.connect();
    slow.write_all(b"{\"verb\":").expect("sent");
    for _ in 0..200 {
        assert_eq!(server.ask(), "{\"error\":\"asked\"}\n");
    }
    // Those that waited longest were hung up on.
    assert_eq!(silent[0].read(&mut [0; 1]).expect("the end"), 0);
    // The newest may ask now, if nobody came since.
    drop(silent.drain(..));
    let mut late = server.connect();
    late.write_all(b"{\"verb\":\"status\"}\n").expect("sent");
    assert_eq!(answer(&late), "{\"error\":\"asked\"}\n");
}

#[test]
fn ten_thousand_connections_keep_nobody_from_asking() {
    let server = Running::start(Bounds { connections: 32, ..small() });
    thread::scope(|scope| {
        let flood = scope.spawn(|| {
            for _ in 0..10_000 {
                // A full queue makes it wait for the server.
                drop(server.connect());
            }
        });
        let mut answered = 0;
        while !flood.is_finished() || answered == 0 {
            assert_eq!(server.ask(), "{\"error\":\"asked\"}\n");
            answered += 1;
        }
    });
}
