//! Those who are told of bans: by the real helper, programs and an HTTP server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use guard::config::Settings;
use guard::control::protocol::Notified;
use guard::core::delta::Ban;
use guard::core::effects::Report;
use guard::core::jail::{JailId, JailName};
use guard::core::reason::Reason;
use guard::core::time::{Span, Timestamp};
use guard::daemon::notices::{self, Counts, Notices, Notifier};
use guard::helper::protocol::{Answer, Task};

use super::{Helper, PATIENCE, run};

/// What would do harm if anybody took it for more than text.
const HOSTILE: &str = "a b'c\"d`touch x`$(touch x); touch x\n| & <ip> %s \\ é\r\u{1b}[31m";

fn tell(script: &str, argument: &Path, value: &str, timeout: u64) -> Task {
    let argument = argument.to_str().expect("UTF-8");
    Task::Tell {
        arguments: ["/bin/sh", "-c", script, argument, value].map(str::to_owned).to_vec(),
        environment: vec![("GUARD_VALUE".to_owned(), value.to_owned())],
        input: value.to_owned(),
        timeout,
    }
}

#[test]
fn values_come_as_they_are_three_ways() {
    let helper = Helper::start();
    let place = helper.directory.path().join("told");
    let script = "cd \"${0%/*}\"; cat > \"$0.in\"; printf %s \"$GUARD_VALUE\" > \"$0.env\"; \
                  printf %s \"$1\" > \"$0.argument\"";
    let answer = helper.connect().ask(tell(script, &place, HOSTILE, 10_000));
    assert_eq!(answer, Answer::Exited { code: 0, output: String::new() });
    for way in ["in", "env", "argument"] {
        let told = std::fs::read_to_string(place.with_extension(way)).expect(way);
        assert_eq!(told, HOSTILE, "{way}");
    }
    assert!(!helper.directory.path().join("x").exists(), "something was run");
}

#[test]
fn a_program_need_not_read_what_it_is_told() {
    let helper = Helper::start();
    let much = "x".repeat(20_000);
    let answer = helper.connect().ask(tell("exit 3", Path::new("/x"), &much, 10_000));
    assert_eq!(answer, Answer::Exited { code: 3, output: String::new() });
}

#[test]
fn programs_that_hang_keep_nobody_else_waiting_and_are_killed() {
    let helper = Helper::start();
    let mut peer = helper.connect();
    for id in 1..=20 {
        peer.send(id, tell("sleep 1000", Path::new("/x"), "", 60_000));
    }
    peer.send(99, run(&["/bin/true"]));
    let answer = peer.next().expect("an answer");
    assert_eq!((answer.id, answer.answer), (99, Answer::Exited { code: 0, output: String::new() }));
    let answer = helper.connect();
    drop(peer);
    // Who left gives its places back.
    let mut peer = answer;
    let killed = peer.ask(tell("sleep 1000", Path::new("/x"), "", 50));
    assert_eq!(killed, Answer::Failed("/bin/sh: killed after 50ms".to_owned()));
}

/// A configuration's two ends, and its counters.
fn hooks(text: &str) -> (Notifier, Notices, Arc<Counts>) {
    let settings = Settings::parse(Path::new("guard.toml"), text).expect("a configuration");
    let counts = Arc::new(Counts::default());
    let (notifier, notices) = notices::open(&settings, Arc::clone(&counts));
    (notifier, notices, counts)
}

fn names() -> Vec<JailName> {
    ["sshd", "proxmox"].map(|name| JailName::new(name).expect("a name")).to_vec()
}

fn ban(jail: u16, source: &str) -> Report {
    let at = Timestamp::from_seconds(1_790_000_000);
    Report::Banned(Ban {
        jail: JailId(jail),
        source: source.parse().expect("an address"),
        since: at,
        until: Some(at + Span::from_seconds(3_600)),
        reason: Reason::Failures { count: 3, within: Span::from_seconds(7), last: None },
    })
}

fn unban(jail: u16, source: &str) -> Report {
    Report::Unbanned { jail: JailId(jail), source: source.parse().expect("an address") }
}

fn now() -> Timestamp {
    Timestamp::from_seconds(1_790_000_001)
}

/// Works until the counters are these, and no more.
fn work_until(mut notices: Notices, socket: &Path, counts: &Counts, expected: Notified) {
    work_on_until(&mut notices, socket, counts, expected);
}

/// Works until the counters are these; there may be more to do later.
fn work_on_until(notices: &mut Notices, socket: &Path, counts: &Counts, expected: Notified) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let done = async {
            while counts.figures() != expected {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, async {
            tokio::select! { () = notices.work(socket) => {}, () = done => {} }
        });
        let figures = || format!("{:?}, {:?}", counts.figures(), counts.problems());
        assert!(in_time.await.is_ok(), "not in time: {}", figures());
    });
}

#[test]
fn a_program_is_told_of_what_it_asked_for() {
    let helper = Helper::start();
    helper.connect();
    let place = helper.directory.path().join("told");
    let script = "cat >> $0; printf ' %s|%s|%s|%s\\n' \"$GUARD_EVENT\" \"$GUARD_JAIL\" \
                  \"$GUARD_ADDRESS\" \"$GUARD_REASON\" >> $0";
    let (mut notifier, notices, counts) = hooks(&format!(
        "[[notify]]\njails = [\"sshd\"]\nevents = [\"ban\", \"unban\"]\n\
         command = [\"/bin/sh\", \"-c\", '''{script}''', \"{}\"]\n",
        place.display()
    ));
    let found = [ban(0, "192.0.2.7"), ban(1, "192.0.2.8")];
    notifier.tell(&names(), &found, now());
    let told = |told| Notified { told, ..Notified::default() };
    let (mut later, later_notices, later_counts) = hooks(&format!(
        "[[notify]]\nevents = [\"unban\"]\ncommand = [\"/bin/sh\", \"-c\", '''{script}''', \"{}\"]\n",
        place.display()
    ));
    work_until(notices, &helper.socket(), &counts, told(1));
    later.tell(&names(), &[ban(0, "192.0.2.7"), unban(1, "2001:db8::/64")], now());
    work_until(later_notices, &helper.socket(), &later_counts, told(1));
    let text = std::fs::read_to_string(place).expect("what was told");
    let lines: Vec<_> = text.lines().collect();
    let [first, second] = lines.as_slice() else { panic!("{text}") };
    let (json, environment) = first.split_once("} ").expect("JSON, then variables");
    assert_eq!(environment, "ban|sshd|192.0.2.7|3 failures in 7s");
    let json: serde_json::Value = serde_json::from_str(&format!("{json}}}")).expect("JSON");
    for (fact, value) in [
        ("event", "ban"),
        ("jail", "sshd"),
        ("address", "192.0.2.7"),
        ("since", "2026-09-21T14:13:20Z"),
        ("until", "2026-09-21T15:13:20Z"),
        ("time", "2026-09-21T14:13:21Z"),
    ] {
        assert_eq!(json[fact], value, "{json}");
    }
    assert_eq!(json["failures"], 3);
    assert!(second.contains(r#""event":"unban""#), "{second}");
    assert!(second.ends_with("unban|proxmox|2001:db8::/64|"), "{second}");
    assert!(counts.problems().is_empty(), "{:?}", counts.problems());
}

#[test]
fn a_flood_of_bans_is_dropped_and_counted_and_nobody_waits() {
    let helper = Helper::start();
    helper.connect();
    let (mut notifier, notices, counts) =
        hooks("[[notify]]\nper-minute = 5\ncommand = [\"/bin/true\"]\n");
    // Nobody takes anything out of the queue meanwhile.
    for i in 0..10_000 {
        notifier.tell(&names(), &[ban(0, &format!("10.0.{}.{}", i >> 8, i & 255))], now());
    }
    let expected = Notified { told: 5, failed: 0, dropped: 9_995 };
    work_until(notices, &helper.socket(), &counts, expected);
    assert!(counts.problems()[0].contains("9995 notices of bans were dropped"));

    // More than the queue holds, however many are allowed.
    let (mut notifier, notices, counts) =
        hooks("[[notify]]\nper-minute = 6000\ncommand = [\"/bin/true\"]\n");
    let many: Vec<_> =
        (0..3_000).map(|i| ban(0, &format!("10.0.{}.{}", i >> 8, i & 255))).collect();
    notifier.tell(&names(), &many, now());
    let dropped = counts.figures().dropped;
    assert!((1..3_000).contains(&dropped), "{dropped}");
    drop(notices);
    assert_eq!(counts.figures().dropped, 3_000, "what waited is given up, and counted");
    notifier.tell(&names(), &many[..1], now());
    assert_eq!(counts.figures().dropped, 3_001, "when nobody listens any more");
}

#[test]
fn without_a_helper_and_with_a_program_that_fails_status_says_so() {
    let helper = Helper::start();
    let text = "[[notify]]\ncommand = [\"/bin/sh\", \"-c\", \"echo no mail >&2; exit 9\"]\n";
    let failed = Notified { failed: 1, ..Notified::default() };
    for (socket, expected) in [
        (helper.socket(), "it ended with 9: no mail"),
        ("/nonexistent/socket".into(), "is guard-helper.socket started?"),
    ] {
        helper.connect();
        let (mut notifier, notices, counts) = hooks(text);
        notifier.tell(&names(), &[ban(0, "192.0.2.7")], now());
        work_until(notices, &socket, &counts, failed);
        assert!(counts.problems()[0].contains(expected), "{:?}", counts.problems());
    }
}

/// An HTTP server that gives these answers, one connection each; what it was sent. With
/// the answer "" it holds the connection and says nothing.
fn server(answers: &'static [&'static str]) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let serving = std::thread::spawn(move || {
        let mut held = Vec::new();
        let serve = |answer: &&str| {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut reader = BufReader::new(stream.try_clone().expect("a copy"));
            let (mut head, mut length) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") {
                let mut line = String::new();
                reader.read_line(&mut line).expect("a line");
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
                head.push_str(&line);
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("the body");
            stream.write_all(answer.as_bytes()).expect("answered");
            if answer.is_empty() {
                held.push(stream);
            }
            head + &String::from_utf8(body).expect("UTF-8")
        };
        answers.iter().map(serve).collect()
    });
    (format!("http://{address}/hook?token=a%20b"), serving)
}

#[test]
fn a_webhook_gets_json_and_is_tried_again() {
    let helper = Helper::start();
    helper.connect();
    let (url, serving) = server(&[
        "HTTP/1.1 503 Later\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 204 Taken\r\nConnection: close\r\n\r\n",
    ]);
    let (mut notifier, notices, counts) = hooks(&format!("[[notify]]\nwebhook = \"{url}\"\n"));
    notifier.tell(&names(), &[ban(0, "192.0.2.7")], now());
    let expected = Notified { told: 1, ..Notified::default() };
    work_until(notices, &helper.socket(), &counts, expected);
    let requests = serving.join().expect("served");
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert!(request.starts_with("POST /hook?token=a%20b HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("Content-Type: application/json\r\n"), "{request}");
        let (_, body) = request.split_once("\r\n\r\n").expect("a body");
        let json: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!((&json["address"], &json["event"]), (&"192.0.2.7".into(), &"ban".into()));
    }
}

#[test]
fn a_webhook_that_never_answers_is_given_up_and_the_next_notice_goes_out() {
    let helper = Helper::start();
    helper.connect();
    // The first attempt and two more are taken and left without an answer.
    let taken = "HTTP/1.1 204 Taken\r\nConnection: close\r\n\r\n";
    let (url, serving) = server(Vec::leak(vec!["", "", "", taken]));
    let (mut notifier, mut notices, counts) =
        hooks(&format!("[[notify]]\nwebhook = \"{url}\"\ntimeout = \"1s\"\n"));
    notifier.tell(&names(), &[ban(0, "192.0.2.7")], now());
    let failed = Notified { failed: 1, ..Notified::default() };
    work_on_until(&mut notices, &helper.socket(), &counts, failed);
    // curl's own limit ended it (28: too slow), not the helper's, which is longer.
    let problems = counts.problems();
    assert!(problems[0].contains("1 notices of bans failed"), "{problems:?}");
    assert!(problems[0].contains("it ended with 28"), "{problems:?}");

    notifier.tell(&names(), &[ban(0, "192.0.2.8")], now());
    let expected = Notified { told: 1, failed: 1, dropped: 0 };
    work_on_until(&mut notices, &helper.socket(), &counts, expected);
    assert!(counts.problems().is_empty(), "{:?}", counts.problems());
    let requests = serving.join().expect("served");
    let tells = |address: &str| {
        let said = format!("\"address\":\"{address}\"");
        requests.iter().filter(|request| request.contains(&said)).count()
    };
    assert_eq!((tells("192.0.2.7"), tells("192.0.2.8")), (3, 1), "{requests:?}");
}

#[test]
fn a_webhook_is_not_sent_elsewhere() {
    let helper = Helper::start();
    helper.connect();
    for (answer, expected) in [
        (
            &[
                "HTTP/1.1 302 Elsewhere\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            ],
            "the webhook answered 302",
        ),
        (&["HTTP/1.1 404 Not here\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"], "404"),
    ] {
        let (url, serving) = server(answer);
        let (mut notifier, notices, counts) = hooks(&format!("[[notify]]\nwebhook = \"{url}\"\n"));
        notifier.tell(&names(), &[ban(0, "192.0.2.7")], now());
        let failed = Notified { failed: 1, ..Notified::default() };
        work_until(notices, &helper.socket(), &counts, failed);
        assert!(counts.problems()[0].contains(expected), "{:?}", counts.problems());
        assert_eq!(serving.join().expect("served").len(), 1);
    }
}
