//! The real `guard-helper`: programs, names, nonsense, and who is heard.

#![cfg(feature = "agent")]

mod notices;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use guard::core::question::{self, Ask, Question, Said};
use guard::daemon::asking;
use guard::daemon::perform;
use guard::helper::protocol::{Answer, MOST_BYTES, Request, Response, Task};
use rustix::process::{geteuid, getuid};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// Users that own nothing here: the helper's, and a stranger's.
const NOBODY: u32 = 65_534;
const STRANGER: u32 = 65_533;
/// How long anything may take that the helper does at once.
const PATIENCE: Duration = Duration::from_secs(20);

struct Helper {
    child: Child,
    directory: TempDir,
    program: PathBuf,
}

impl Helper {
    /// Starts it under another user, if this one can; else under this one.
    fn start() -> Self {
        let agent = getuid().as_raw().to_string();
        Self::start_with(|command| {
            if !geteuid().is_root() {
                command.args(["--agent-user", &agent]);
            }
        })
    }

    fn start_with(adapt: impl FnOnce(&mut Command)) -> Self {
        let directory = TempDir::new().expect("a directory");
        let everybody = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(directory.path(), everybody).expect("open to all");
        let program = directory.path().join("guard-helper");
        std::fs::copy(env!("CARGO_BIN_EXE_guard-helper"), &program).expect("a copy");
        let mut command = Command::new(&program);
        command.arg("--socket").arg(directory.path().join("socket")).stdin(Stdio::null());
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        adapt(&mut command);
        // Another test's child has the copy open for writing until it runs its own program.
        let child = within("the helper", || match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => None,
            other => Some(other.expect("started")),
        });
        Self { child, directory, program }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    fn connect(&self) -> Peer {
        let stream = within("a socket", || UnixStream::connect(self.socket()).ok());
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        Peer { reader: BufReader::new(stream.try_clone().expect("a copy")), writer: stream }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Peer {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Peer {
    fn send(&mut self, id: u64, task: Task) {
        let mut line = serde_json::to_vec(&Request { id, task }).expect("JSON");
        line.push(b'\n');
        self.writer.write_all(&line).expect("sent");
    }

    fn next(&mut self) -> Option<Response> {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("an answer in time");
        (!line.is_empty()).then(|| serde_json::from_str(&line).expect("an answer"))
    }

    fn ask(&mut self, task: Task) -> Answer {
        self.send(7, task);
        let Response { id, answer } = self.next().expect("an answer");
        assert_eq!(id, 7);
        answer
    }

    /// Runs a shell, as a program whose arguments are not touched.
    fn shell(&mut self, script: &str, argument: &Path, timeout: Option<u64>) -> Answer {
        let argument = argument.to_str().expect("UTF-8");
        let arguments = ["/bin/sh", "-c", script, argument].map(str::to_owned).to_vec();
        self.ask(Task::Run { arguments, timeout })
    }
}

fn within<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: not in time");
        std::thread::yield_now();
    }
}

fn run(arguments: &[&str]) -> Task {
    Task::Run { arguments: arguments.iter().map(ToString::to_string).collect(), timeout: None }
}

/// Whether a process runs; one that is dead and not reaped does not.
fn runs(process: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.trim()));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}

#[test]
fn a_program_runs_without_a_shell_and_tells_its_exit_code() {
    let helper = Helper::start();
    let mut peer = helper.connect();
    let exited = |code, output: &str| Answer::Exited { code, output: output.to_owned() };
    let hostile = "$(id) `id`; exit 9 | \" ' *\n";
    assert_eq!(peer.ask(run(&["/usr/bin/printf", "%s", hostile])), exited(0, hostile));
    assert_eq!(peer.ask(run(&["/bin/sh", "-c", "echo no >&2; exit 3"])), exited(3, "no\n"));
    let Answer::Exited { code: 0, output } = peer.ask(run(&["/usr/bin/env"])) else {
        panic!("env failed")
    };
    let names: Vec<&str> = output.lines().filter_map(|line| line.split('=').next()).collect();
    assert!(names.iter().all(|name| ["PATH", "LANG"].contains(name)), "{names:?}");
    let Answer::Exited { code: 0, output } = peer.ask(run(&["/usr/bin/yes", "--version"])) else {
        panic!("yes failed")
    };
    assert!(!output.is_empty());
    let Answer::Exited { output, .. } = peer.ask(run(&["/usr/bin/seq", "100000"])) else {
        panic!("seq failed")
    };
    assert_eq!(output.len(), 4_096, "the start of much output");
    for (arguments, why) in [
        (&["/nonexistent"][..], "running /nonexistent: "),
        (&["true"][..], "`true` is no absolute path"),
        (&[][..], "there is no program"),
        (&["/bin/sh", "-c", "kill -9 $$"][..], "/bin/sh: killed by signal 9"),
    ] {
        let Answer::Failed(told) = peer.ask(run(arguments)) else { panic!("{arguments:?} ran") };
        assert!(told.starts_with(why), "{told}");
    }
    if geteuid().is_root() {
        let nobody = format!("{NOBODY}\n");
        assert_eq!(peer.ask(run(&["/usr/bin/id", "-u"])), exited(0, &nobody));
    }
}

#[test]
fn nothing_of_a_program_is_left_when_its_time_is_up_or_it_ended() {
    let helper = Helper::start();
    let mut peer = helper.connect();
    let file = helper.directory.path().join("process");
    let lingering = "sleep 1000 & echo $! > \"$0\"; trap '' TERM;";
    let process = || std::fs::read_to_string(&file).expect("a process id");

    let answer = peer.shell(&format!("{lingering} wait"), &file, Some(300));
    assert_eq!(answer, Answer::Failed("/bin/sh: killed after 300ms".to_owned()));
    within("the end of what it started", || (!runs(&process())).then_some(()));

    let answer = peer.shell(&format!("{lingering} exit 0"), &file, None);
    assert!(matches!(answer, Answer::Exited { code: 0, .. }), "{answer:?}");
    within("the end of what it left behind", || (!runs(&process())).then_some(()));

    // Whoever asked is gone: so is what it asked for.
    std::fs::remove_file(&file).expect("removed");
    let script = format!("{lingering} wait");
    let path = file.to_str().expect("UTF-8");
    peer.send(9, run(&["/bin/sh", "-c", &script, path]));
    let started = || std::fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n'));
    let process = within("its start", started);
    assert!(runs(&process));
    drop(peer);
    within("its end", || (!runs(&process)).then_some(()));
}

#[test]
fn a_thousand_questions_are_answered_and_too_many_refused() {
    let helper = Helper::start();
    let mut peer = helper.connect();
    let mut questions = Vec::new();
    for id in 0..1_000 {
        let task = run(&["/bin/sh", "-c", &format!("exit {}", id % 100)]);
        questions.extend(serde_json::to_vec(&Request { id, task }).expect("JSON"));
        questions.push(b'\n');
    }
    peer.writer.write_all(&questions).expect("sent");
    let mut answered = std::collections::BTreeMap::new();
    while answered.len() < 1_000 {
        let Response { id, answer } = peer.next().expect("an answer");
        answered.insert(id, answer);
    }
    for (id, answer) in answered {
        let code = i32::try_from(id % 100).expect("small");
        assert_eq!(answer, Answer::Exited { code, output: String::new() }, "{id}");
    }
    // None of these ends by itself: only what is refused is answered.
    for id in 0..4_100 {
        peer.send(id, run(&["/bin/sleep", "1000"]));
    }
    for id in 4_096..4_100 {
        let refused = peer.next().expect("an answer");
        assert_eq!(refused.id, id);
        assert!(matches!(refused.answer, Answer::Failed(why) if why.contains("wait already")));
    }
}

#[test]
fn nonsense_cuts_off_its_sender_and_nobody_else() {
    let helper = Helper::start();
    let mut other = helper.connect();
    let long = vec![b'x'; MOST_BYTES + 1];
    let nonsense: [&[u8]; 6] = [
        b"nonsense\n",
        b"{\"id\":1}\n",
        b"{\"id\":1,\"do\":{\"run\":{\"arguments\":\"/bin/true\"}}}\n",
        b"{\"id\":1,\"do\":{\"run\":{\"arguments\":[\"/bin/true\"],\"shell\":true}}}\n",
        b"\xff\xfe\0\n",
        &long,
    ];
    for line in nonsense {
        let mut peer = helper.connect();
        peer.writer.write_all(line).expect("sent");
        let told = peer.next().expect("an answer");
        assert_eq!(told.id, 0);
        assert!(matches!(told.answer, Answer::Failed(why) if why.starts_with("malformed")));
        let mut rest = Vec::new();
        // A connection that is cut with unread bytes ends with a reset.
        let _ = peer.reader.read_to_end(&mut rest);
        assert!(rest.is_empty(), "cut off");
    }
    assert!(matches!(other.ask(run(&["/bin/true"])), Answer::Exited { code: 0, .. }));
}

#[test]
fn names_are_resolved_and_numbers_are_none() {
    let helper = Helper::start();
    let mut peer = helper.connect();
    let mut resolve = |name: &str| peer.ask(Task::Resolve { name: name.to_owned() });
    let Answer::Addresses(found) = resolve("localhost") else { panic!("no localhost") };
    assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
    assert!(matches!(resolve("nonexistent.invalid"), Answer::Failed(_)));
    for number in ["2130706433", "0x7f000001", "127.1", "", "a b", "a\0b"] {
        let Answer::Failed(why) = resolve(number) else { panic!("{number:?} was resolved") };
        assert!(why.ends_with("is no host name"), "{why}");
    }
}

#[test]
fn strangers_are_not_heard() {
    /// Where the stranger finds the socket.
    const SOCKET: &str = "GUARD_TEST_HELPER_SOCKET";
    let speak = |stream: UnixStream| {
        let mut peer =
            Peer { reader: BufReader::new(stream.try_clone().expect("a copy")), writer: stream };
        let request = Request { id: 1, task: run(&["/bin/true"]) };
        let _ = peer.writer.write_all(&serde_json::to_vec(&request).expect("JSON"));
        let _ = peer.writer.write_all(b"\n");
        let mut answer = Vec::new();
        let _ = peer.reader.read_to_end(&mut answer);
        assert!(answer.is_empty(), "heard: {answer:?}");
    };
    if let Some(socket) = std::env::var_os(SOCKET) {
        return speak(UnixStream::connect(socket).expect("connected"));
    }
    let helper = Helper::start_with(|_| {});
    within("a socket", || helper.socket().exists().then_some(()));
    if geteuid().is_root() {
        let mut root = helper.connect();
        assert!(matches!(root.ask(run(&["/bin/true"])), Answer::Exited { code: 0, .. }));
        // This very test as another user, also as the helper's own.
        let test = helper.directory.path().join("test");
        std::fs::copy(std::env::current_exe().expect("this test"), &test).expect("a copy");
        for user in [STRANGER, NOBODY] {
            let status = Command::new(&test)
                .args(["--exact", "strangers_are_not_heard"])
                .env(SOCKET, helper.socket())
                .current_dir("/")
                .uid(user)
                .gid(user)
                .status()
                .expect("started");
            assert!(status.success(), "user {user}");
        }
        let mut as_root = Command::new(&helper.program);
        as_root.arg("--socket").arg(helper.directory.path().join("other"));
        let told = as_root.output().expect("started");
        assert!(!told.status.success());
        assert!(String::from_utf8_lossy(&told.stderr).contains("does not run as root"));
    } else {
        speak(UnixStream::connect(helper.socket()).expect("connected"));
    }
}

#[test]
fn systemd_may_hand_over_the_socket() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("handed");
    let listener = UnixListener::bind(&path).expect("a socket");
    let agent = getuid().as_raw().to_string();
    let helper = Helper::start_with(|command| {
        command.stdin(OwnedFd::from(listener)).args(["--agent-user", &agent]);
    });
    let stream = UnixStream::connect(&path).expect("connected");
    let mut peer =
        Peer { reader: BufReader::new(stream.try_clone().expect("a copy")), writer: stream };
    assert!(matches!(peer.ask(run(&["/bin/true"])), Answer::Exited { code: 0, .. }));
    assert!(!helper.socket().exists(), "no other is made");
}

/// The agent's side: every question gets an answer, whatever becomes of the helper.
#[tokio::test(flavor = "current_thread")]
async fn the_agent_gets_an_answer_to_every_question() {
    let mut helper = Helper::start();
    within("a socket", || helper.socket().exists().then_some(()));
    let file = helper.directory.path().join("office");
    std::fs::write(&file, "192.0.2.1\n").expect("written");
    let socket = helper.socket();
    let (questions, mut inbox) = mpsc::unbounded_channel();
    let (commands, mut answers) = mpsc::unbounded_channel();
    let ask = |id, ask| questions.send(Question { id, ask }).expect("asked");
    let arguments = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let script = async {
        let mut next = async || match tokio::time::timeout(PATIENCE, answers.recv()).await {
            Ok(Some(perform::Command::Answer(question::Answer { id, said }))) => (id, said),
            other => panic!("no answer: {other:?}"),
        };
        ask(1, Ask::Run(arguments(&["/bin/sh", "-c", "exit 1"])));
        assert_eq!(next().await, (1, Ok(Said::Exited(1))));
        ask(2, Ask::Resolve("localhost".to_owned()));
        assert!(matches!(next().await, (2, Ok(Said::Addresses(_)))));
        ask(3, Ask::Read(file.clone()));
        assert_eq!(next().await, (3, Ok(Said::Content("192.0.2.1\n".to_owned()))));
        ask(4, Ask::Read("/nonexistent".into()));
        assert!(matches!(next().await, (4, Err(why)) if why.starts_with("cannot be read: ")));
        ask(5, Ask::Read("/dev/zero".into()));
        assert!(matches!(next().await, (5, Err(why)) if why.ends_with("it is no file")));

        // It dies with a question open, is not there, and comes back.
        ask(6, Ask::Run(arguments(&["/bin/sleep", "1000"])));
        ask(7, Ask::Run(arguments(&["/bin/true"])));
        assert_eq!(next().await, (7, Ok(Said::Exited(0))), "the other one goes on");
        helper.child.kill().expect("killed");
        helper.child.wait().expect("dead");
        let (id, said) = next().await;
        assert!(id == 6 && said.is_err_and(|why| why.starts_with("guard-helper went away")));
        ask(8, Ask::Resolve("localhost".to_owned()));
        let (id, said) = next().await;
        let why = said.expect_err("nobody is there");
        assert!(id == 8 && why.contains("guard-helper.socket"), "{why}");
        let again = Helper::start();
        std::fs::rename(
            within("a socket with its mode", || {
                // Only then the helper has no more to do with the name.
                let mode = again.socket().metadata().ok()?.permissions().mode();
                (mode & 0o777 == 0o666).then(|| again.socket())
            }),
            helper.socket(),
        )
        .expect("put in its place");
        ask(9, Ask::Resolve("localhost".to_owned()));
        assert!(matches!(next().await, (9, Ok(Said::Addresses(_)))));
    };
    tokio::select! {
        () = script => {}
        () = asking::work(&mut inbox, &commands, &socket) => {}
    }
}
