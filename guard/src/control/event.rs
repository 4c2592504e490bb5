//! What happens, as it happens, for whoever watches (`guardctl watch`, `guardctl top`).
//!
//! Input: the agent's threads tell. Output: each watcher has every event, in order, from
//! when it began to watch. Invariant: telling never waits. All share one buffer of
//! [`BUFFER`] events; a watcher that is further behind loses the oldest and is told how
//! many.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Receiver, Sender, channel};

use crate::control::protocol::Reloaded;
use crate::core::addr::Prefix;
use crate::core::jail::JailName;
use crate::core::reason::{Allowed, Reason};
use crate::core::time::Timestamp;

/// Events that a watcher may be behind.
pub const BUFFER: usize = 4_096;
/// Watchers at a time.
pub const WATCHERS: usize = 8;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Event {
    /// When the agent told it, in microseconds since the epoch.
    pub time: Timestamp,
    /// What it was.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum What {
    /// A filter found a failure that counts.
    Found {
        /// The jail.
        jail: JailName,
        /// Who failed.
        address: Prefix,
        /// When its daemon logged it.
        logged: Timestamp,
    },
    /// A failure does not count.
    Ignored {
        /// The jail.
        jail: JailName,
        /// Who failed.
        address: Prefix,
        /// Why.
        because: Allowed,
    },
    /// A ban is in force, in the kernel too.
    Banned(BanTold),
    /// A ban that is in force ends later.
    Prolonged(BanTold),
    /// A stored ban is in force again.
    Restored(BanTold),
    /// So many more stored bans are, which are not told one by one.
    RestoredMore {
        /// How many.
        bans: u64,
    },
    /// A ban is not in force any more.
    Unbanned {
        /// The jail.
        jail: JailName,
        /// Who.
        address: Prefix,
    },
    /// Nobody more can be banned: `limits.bans` is reached.
    Full {
        /// The jail.
        jail: JailName,
        /// Who is not banned.
        address: Prefix,
    },
    /// An address was not believed: the client can write where it stood.
    Planted {
        /// The jail.
        jail: JailName,
        /// The address.
        address: Prefix,
    },
    /// Somebody changed something in the kernel, and it was put right.
    Repaired {
        /// What, in words.
        what: String,
    },
    /// The kernel refuses what it should hold; guard goes on trying.
    NotEnforced {
        /// Why, in words.
        cause: String,
    },
    /// The kernel holds everything again.
    EnforcedAgain {
        /// How many bans.
        bans: u64,
    },
    /// A new configuration is in force.
    Reloaded(Reloaded),
    /// A new configuration was refused; the one before stays in force.
    ReloadRefused {
        /// Why, in words.
        problems: String,
    },
    /// This watcher was too slow.
    Missed {
        /// Events that it lost.
        events: u64,
    },
}

/// A ban as it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BanTold {
    /// The jail.
    pub jail: JailName,
    /// Who is banned.
    pub address: Prefix,
    /// Since when.
    pub since: Timestamp,
    /// Until when; `null` for ever.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: Reason,
}

/// Where events are told and watched; clones are of the same place.
#[derive(Clone, Debug)]
pub struct Events {
    sender: Sender<Arc<Event>>,
    watchers: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
    now: fn() -> Timestamp,
}

impl Events {
    /// A place where nothing was told yet; `now` dates what is.
    pub fn new(now: fn() -> Timestamp) -> Self {
        let (sender, _) = channel(BUFFER);
        Self { sender, watchers: Arc::default(), lost: Arc::default(), now }
    }

    /// Whether anybody watches; if not, nothing needs to be told.
    pub fn are_watched(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    /// Tells everybody who watches.
    pub fn tell(&self, what: What) {
        // An error means that nobody watches.
        let _ = self.sender.send(Arc::new(self.event(what)));
    }

    fn event(&self, what: What) -> Event {
        Event { time: (self.now)(), what }
    }

    /// Watches from now on; `None` when there are as many watchers as there may be.
    pub fn watch(&self) -> Option<Watcher> {
        let mut watching = self.watchers.load(Ordering::Relaxed);
        loop {
            if watching >= WATCHERS {
                return None;
            }
            match self.watchers.compare_exchange_weak(
                watching,
                watching + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => watching = now,
            }
        }
        Some(Watcher { receiver: self.sender.subscribe(), events: self.clone() })
    }

    /// How many watch.
    pub fn watchers(&self) -> u64 {
        self.watchers.load(Ordering::Relaxed) as u64
    }

    /// Events that watchers lost, ever.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Somebody who watches, until this is dropped.
#[derive(Debug)]
pub struct Watcher {
    receiver: Receiver<Arc<Event>>,
    events: Events,
}

impl Watcher {
    /// The next event; what was lost before it comes as [`What::Missed`]. `None` when there
    /// will be no more.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        match self.receiver.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(events)) => {
                self.events.lost.fetch_add(events, Ordering::Relaxed);
                Some(Arc::new(self.events.event(What::Missed { events })))
            }
            Err(RecvError::Closed) => None,
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.events.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Timestamp {
        Timestamp::from_seconds(2)
    }

    fn next(watcher: &mut Watcher) -> Event {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let event = runtime.block_on(watcher.next()).expect("an event");
        Event::clone(&event)
    }

    #[test]
    fn a_slow_watcher_is_told_what_it_lost_and_a_fast_one_loses_nothing() {
        let events = Events::new(clock);
        assert!(!events.are_watched());
        let mut slow = events.watch().expect("a place");
        let mut fast = events.watch().expect("a place");
        let told = BUFFER as u64 + 10;
        for bans in 0..told {
            events.tell(What::RestoredMore { bans });
            assert_eq!(next(&mut fast).what, What::RestoredMore { bans });
        }
        assert_eq!(next(&mut slow), Event { time: clock(), what: What::Missed { events: 10 } });
        assert_eq!(
            next(&mut slow).what,
            What::RestoredMore { bans: 10 },
            "the oldest that is left"
        );
        assert_eq!(events.lost(), 10);
    }

    #[test]
    fn places_are_few_and_free_again_when_a_watcher_goes() {
        let events = Events::new(clock);
        let mut watchers: Vec<Watcher> = (0..WATCHERS).filter_map(|_| events.watch()).collect();
        assert_eq!((watchers.len(), events.watchers()), (WATCHERS, WATCHERS as u64));
        assert!(events.watch().is_none(), "one too many");
        watchers.pop();
        assert!(events.watch().is_some());
    }

    #[test]
    fn an_event_reads_as_documented() {
        let text = r#"{"time":1000000,"event":"ignored","jail":"sshd","address":"192.0.2.1","because":{"why":"pardoned"}}"#;
        let event: Event = serde_json::from_str(text).expect("an event");
        assert!(matches!(event.what, What::Ignored { because: Allowed::Pardoned, .. }));
        assert_eq!(serde_json::to_string(&event).expect("JSON"), text);
    }
}
