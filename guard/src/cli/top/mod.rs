//! `guardctl top`: the agent at work, on the terminal.
//!
//! ```text
//! figures (once a second) ┐
//! events, keys, signals   ┴─Input─► state (model) ──► draw ──► terminal
//! ```
//!
//! Invariant: the terminal is as it was when this ends, however it ends short of SIGKILL.

mod draw;
mod state;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self as terminal, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Context, Failure, output};
use crate::control::client;
use crate::control::protocol::{Request, Response};
use state::{Input, Key, Top};

/// How often the agent is asked for its figures.
const PERIOD: Duration = Duration::from_secs(1);
/// The shortest time between two drawings.
const FRAME: Duration = Duration::from_millis(50);

pub(super) fn top(context: &Context) -> Result<(), Failure> {
    if context.json {
        return Err(Failure::Usage(
            "top has no JSON: `guardctl watch --json` and `guardctl metrics --json` have".into(),
        ));
    }
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "top needs a terminal; `guardctl watch` and `guardctl metrics` do not".to_owned(),
        ));
    }
    // An agent that is not there, or does not let us, is told in the usual way.
    let first = context.ask(&Request::Figures)?;
    let (inputs, inbox) = channel();
    if let Response::Figures(figures) = first {
        let _ = inputs.send(Input::Figures(figures));
    }
    let broken = |error: io::Error| Failure::NotDone(format!("the terminal: {error}"));
    spawn_signals(inputs.clone()).map_err(broken)?;
    let mut screen = Screen::open().map_err(broken)?;
    let socket = &context.settings.socket;
    spawn_figures(socket.clone(), inputs.clone());
    spawn_events(socket.clone(), inputs.clone());
    spawn_keys(inputs);
    show(&mut screen, &inbox).map_err(broken)
}

/// Draws what comes in, until somebody has seen enough.
fn show(screen: &mut Screen, inbox: &Receiver<Input>) -> io::Result<()> {
    let colour = output::colour(true);
    let mut top = Top::default();
    loop {
        screen.0.draw(|frame| draw::draw(frame, &top, colour))?;
        let due = Instant::now() + FRAME;
        // Something is worth a new picture; what comes right after it is in that too.
        let Ok(first) = inbox.recv() else { return Ok(()) };
        if !top.take(first) {
            return Ok(());
        }
        loop {
            match inbox.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(input) => {
                    if !top.take(input) {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }
}

/// The terminal, in raw mode and on its other screen until this is dropped; after a panic
/// too.
struct Screen(ratatui::DefaultTerminal);

impl Screen {
    fn open() -> io::Result<Self> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self(terminal)),
            Err(error) => {
                ratatui::restore();
                Err(error)
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Drawing hides it; a terminal that is gone does not matter.
        let _ = self.0.show_cursor();
        ratatui::restore();
    }
}

/// Asks for the figures as long as somebody looks.
fn spawn_figures(socket: PathBuf, inputs: Sender<Input>) {
    thread::spawn(move || {
        loop {
            thread::sleep(PERIOD);
            let input = match client::ask(&socket, &Request::Figures) {
                Ok(Response::Figures(figures)) => Input::Figures(figures),
                Ok(Response::Error(error)) => Input::Gone(error),
                Ok(_) => Input::Gone("the agent answered something else".to_owned()),
                Err(error) => Input::Gone(error.to_string()),
            };
            if inputs.send(input).is_err() {
                return;
            }
        }
    });
}

/// Hands on events; watches anew when the agent was away.
fn spawn_events(socket: PathBuf, inputs: Sender<Input>) {
    thread::spawn(move || {
        loop {
            if let Ok(mut watching) = client::watch(&socket) {
                while let Ok(Some(event)) = watching.next_event() {
                    if inputs.send(Input::Event(event)).is_err() {
                        return;
                    }
                }
            }
            thread::sleep(PERIOD);
        }
    });
}

fn spawn_keys(inputs: Sender<Input>) {
    thread::spawn(move || {
        loop {
            let input = match terminal::read() {
                Ok(terminal::Event::Key(key)) => meaning(key).map(Input::Key),
                Ok(terminal::Event::Resize(..)) => Some(Input::Resized),
                Ok(_) => None,
                // The terminal is gone.
                Err(_) => Some(Input::End),
            };
            let end = matches!(input, Some(Input::End));
            if input.is_some_and(|input| inputs.send(input).is_err()) || end {
                return;
            }
        }
    });
}

fn meaning(key: KeyEvent) -> Option<Key> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c') if control => Key::Quit,
        KeyCode::Char('q') => Key::Quit,
        KeyCode::Esc => Key::Close,
        KeyCode::Left | KeyCode::Char('<') => Key::Left,
        KeyCode::Right | KeyCode::Char('>') => Key::Right,
        KeyCode::Char('r') => Key::Reverse,
        KeyCode::Char('p' | ' ') => Key::Pause,
        KeyCode::Up | KeyCode::Char('k') => Key::Up,
        KeyCode::Down | KeyCode::Char('j') => Key::Down,
        KeyCode::Char('h' | '?') => Key::Help,
        _ => return None,
    })
}

/// Ends it in order when the process is told to end.
fn spawn_signals(inputs: Sender<Input>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    let mut told = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()]
        .into_iter()
        .map(signal)
        .collect::<io::Result<Vec<_>>>()?;
    drop(_entered);
    thread::spawn(move || {
        runtime.block_on(async {
            let [terminate, interrupt, hangup] = told.as_mut_slice() else { return };
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {}
            }
            // Whoever draws may have ended already.
            let _ = inputs.send(Input::End);
        });
    });
    Ok(())
}
