//! How far a long verb is, on a terminal; nothing elsewhere.
//!
//! It is drawn on stderr, so that stdout stays data.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget};

/// Something that moves.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Says what is being done, without knowing how much there is.
    pub(super) fn words(hidden: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, target(hidden));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// Says what is being done.
    pub(super) fn say(&self, what: &str) {
        self.0.set_message(what.to_owned());
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
