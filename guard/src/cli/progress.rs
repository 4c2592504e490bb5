//! How far a long verb is, on a terminal; nothing elsewhere.
//!
//! It is drawn on stderr, so that stdout stays data.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar or a word that moves.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Says what is being done, without knowing how much there is.
    pub(super) fn words(hidden: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, target(hidden));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// Shows how much of `bytes` is done; without a total only how much.
    pub(super) fn bytes(bytes: Option<u64>, hidden: bool) -> Self {
        let bar = ProgressBar::with_draw_target(bytes, target(hidden));
        let form = match bytes {
            Some(_) => {
                "{bar:30} {percent:>3} %  {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left"
            }
            None => "{spinner} {human_pos} entries, {per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(form) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Says what is being done.
    pub(super) fn say(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }

    /// So much is done by now.
    pub(super) fn reached(&self, done: u64) {
        self.0.set_position(done);
    }
}

/// What was drawn goes away, so that the report stands alone.
impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn target(hidden: bool) -> ProgressDrawTarget {
    // Without a terminal the library draws nothing either.
    if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(5) }
}
