//! What exporters of metrics ask over the socket, in the form in which they send it
//! (lists of old-style strings, protocol 2, several requests on one connection), gives the
//! same values from both servers.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use guard::compat::pickle::{Bounds, decode_answer, encode};
use guard::compat::value::Value;
use guard::compat::{CLOSE, END};

use super::sides::Sides;

const ASKED: &[&[&str]] = &[
    &["ping", "100"],
    &["status"],
    &["status", "files"],
    &["status", "units"],
    &["get", "files", "bantime"],
    &["get", "files", "findtime"],
    &["get", "files", "maxretry"],
    &["get", "units", "maxretry"],
    &["banned"],
];

/// Compares both servers' values, with a ban in force, and checks their forms.
pub(crate) fn check(sides: &Sides<'_>) -> Result<()> {
    let ban = [&["set", "files", "banip", "192.0.2.77"][..]];
    let unban = [&["unban", "--all"][..]];
    let (theirs, ours) = (sides.server_socket(), sides.agent_socket());
    for socket in [&theirs, &ours, &sides.named_socket()] {
        converse(socket, &ban)?;
    }
    let (theirs_say, ours_say) = (converse(&theirs, ASKED)?, converse(&ours, ASKED)?);
    for ((words, theirs), ours) in ASKED.iter().zip(&theirs_say).zip(&ours_say) {
        ensure!(theirs == ours, "{words:?}: {theirs:?} by Fail2Ban, {ours:?} by guard");
    }
    // (0, [("Filter", [("Currently failed", n), …]), ("Actions", […])])
    let part = |value: &Value, at: usize| {
        value.items().and_then(|items| items.get(at)).cloned().context("a part")
    };
    let actions = part(&part(&part(&ours_say[2], 1)?, 1)?, 1)?;
    let current = part(&part(&actions, 0)?, 1)?;
    ensure!(current == Value::Number(1), "{current:?} of {:?}", ours_say[2]);
    for socket in [&theirs, &ours, &sides.named_socket()] {
        converse(socket, &unban)?;
    }
    other_jails(&ours)?;
    refused(&ours)
}

/// A client that reads another configuration than guard is told so.
fn other_jails(socket: &Path) -> Result<()> {
    let add = |jail: &str| Value::texts(["add", jail, "polling"]);
    let stream = Value::List(vec![add("files"), add("elsewhere")]);
    let verb = [Value::text("reload"), Value::text("--all"), Value::List(Vec::new())];
    let request = Value::List(verb.into_iter().chain([stream]).collect());
    let answer = exchange(&mut connect(socket)?, &encode(&request))?;
    let told = answer.items().and_then(|pair| pair.get(1)?.as_text()).context("words")?;
    ensure!(told.starts_with("OK"), "{told}");
    ensure!(told.contains("only there: units") && told.contains("reads: elsewhere"), "{told}");
    Ok(())
}

/// What no client sends is answered with an error that the client shows, and the server
/// goes on; whoever sends without end is left.
fn refused(socket: &Path) -> Result<()> {
    let call = b"cos\nsystem\n(S'touch /nowhere'\ntR.";
    let answer = exchange(&mut connect(socket)?, call)?;
    let Value::Text(text) = &answer else { bail!("{answer:?}") };
    ensure!(text.starts_with("ERROR: reading a pickle"), "{text}");
    let mut endless = connect(socket)?;
    let megabyte = vec![b'N'; 1 << 20];
    let sent = (0..64).take_while(|_| endless.write_all(&megabyte).is_ok()).count();
    ensure!(sent < 64, "64 MB of a request were taken");
    let answers = converse(socket, &[&["ping"]])?;
    ensure!(answers == [Value::Tuple(vec![Value::Number(0), Value::text("pong")])]);
    Ok(())
}

fn connect(socket: &Path) -> Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(stream)
}

fn converse(socket: &Path, requests: &[&[&str]]) -> Result<Vec<Value>> {
    let mut stream = connect(socket)?;
    let mut answers = Vec::new();
    for words in requests {
        let mut request = b"\x80\x02](".to_vec();
        for word in *words {
            request.extend([b'U', u8::try_from(word.len())?]);
            request.extend(word.as_bytes());
        }
        request.extend(b"e.");
        answers.push(exchange(&mut stream, &request).with_context(|| format!("{words:?}"))?);
    }
    stream.write_all(CLOSE)?;
    stream.write_all(END)?;
    Ok(answers)
}

fn exchange(stream: &mut UnixStream, request: &[u8]) -> Result<Value> {
    stream.write_all(request)?;
    stream.write_all(END)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.ends_with(END) {
        let read = stream.read(&mut buffer)?;
        ensure!(read > 0, "the server left");
        answer.extend(&buffer[..read]);
    }
    answer.truncate(answer.len() - END.len());
    Ok(decode_answer(&answer, Bounds::default())?)
}
