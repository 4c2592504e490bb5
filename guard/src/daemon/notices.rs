//! Tells others of bans, by `guard-helper` (`[[notify]]` of `guard.toml`).
//!
//! Input: reports of what the kernel holds by now. Output: programs that the helper runs,
//! and counters. Invariant: the thread that enforces bans never waits. What is more than a
//! hook's `per-minute`, or than the queue holds, is dropped and counted; a helper that
//! hangs or is not there costs notices, never bans.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::config::agent::Settings;
use crate::config::notify::{Hook, Means};
use crate::control::protocol::Notified;
use crate::core::effects::Report;
use crate::core::jail::JailName;
use crate::core::time::Timestamp;
use crate::daemon::asking::Link;
use crate::helper::protocol::{Answer, Request, Response, Task};

mod facts;

/// Notices that may wait for the helper.
const QUEUE: usize = 1_024;
/// Notices that the helper has in hand.
const IN_HAND: usize = 4;
/// How much longer than a program the helper may take before it is given up.
const HELPER_PATIENCE: Duration = Duration::from_secs(10);
/// The longest time that the helper gives a program.
const LONGEST: Duration = Duration::from_secs(60);
/// How often a webhook is tried again.
const RETRIES: u32 = 2;

/// The end at which bans come in.
#[derive(Debug)]
pub struct Notifier {
    hooks: Vec<(Hook, Bucket)>,
    host: String,
    queue: mpsc::Sender<Notice>,
    counts: Arc<Counts>,
}

/// The end at which the helper is asked.
#[derive(Debug)]
pub struct Notices {
    inbox: mpsc::Receiver<Notice>,
    counts: Arc<Counts>,
    /// What the helper was asked and has not answered: until when it may, and whether it is
    /// a webhook.
    in_hand: HashMap<u64, (Instant, bool)>,
}

/// A reload gives up what waits and what is in hand.
impl Drop for Notices {
    fn drop(&mut self) {
        let lost = self.inbox.len() + self.in_hand.len();
        self.counts.dropped.fetch_add(lost as u64, Ordering::Relaxed);
    }
}

/// One hook to be told one thing.
#[derive(Debug)]
struct Notice {
    task: Task,
    limit: Duration,
    is_webhook: bool,
}

/// What became of notices.
#[derive(Debug, Default)]
pub struct Counts {
    told: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    /// Why the last one that failed did; none once one was told.
    trouble: Mutex<Option<String>>,
}

/// Both ends for a configuration.
pub fn open(settings: &Settings, counts: Arc<Counts>) -> (Notifier, Notices) {
    let (queue, inbox) = mpsc::channel(QUEUE);
    let hooks = settings.notify.iter().map(|hook| (hook.clone(), Bucket::new(hook.per_minute)));
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy().into_owned();
    let hooks = hooks.collect();
    (
        Notifier { hooks, host, queue, counts: Arc::clone(&counts) },
        Notices { inbox, counts, in_hand: HashMap::new() },
    )
}

impl Notifier {
    /// Has everybody told who wants to know. `names` are the started jails by
    /// [`JailId`](crate::core::jail::JailId).
    pub fn tell(&mut self, names: &[JailName], reports: &[Report], now: Timestamp) {
        if self.hooks.is_empty() {
            return;
        }
        for report in reports {
            let Some(facts) = facts::of(report, names, &self.host, now) else { continue };
            for (hook, bucket) in &mut self.hooks {
                if !hook.wants(facts.jail, facts.is_ban) {
                    continue;
                }
                let sent = bucket.take(now) && self.queue.try_send(notice(hook, &facts)).is_ok();
                if !sent {
                    self.counts.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// What the helper is asked to do.
fn notice(hook: &Hook, facts: &facts::Facts<'_>) -> Notice {
    let seconds = u64::try_from(hook.timeout.micros() / 1_000_000).unwrap_or(1);
    let (arguments, input, limit) = match &hook.means {
        Means::Program(arguments) => {
            (arguments.clone(), facts.json.clone(), Duration::from_secs(seconds))
        }
        Means::Webhook(url) => {
            let attempts = u64::from(RETRIES) + 1;
            let limit = Duration::from_secs((seconds + 5) * attempts).min(LONGEST);
            let arguments = ["/usr/bin/curl", "--disable", "--config", "-"];
            (arguments.map(str::to_owned).to_vec(), curl(url, &facts.json, seconds), limit)
        }
    };
    let timeout = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    let environment = match &hook.means {
        Means::Program(_) => facts.environment.clone(),
        Means::Webhook(_) => Vec::new(),
    };
    let is_webhook = matches!(hook.means, Means::Webhook(_));
    Notice { task: Task::Tell { arguments, environment, input, timeout }, limit, is_webhook }
}

/// A configuration for curl. It is read from standard input, so that nobody sees the URL,
/// which may hold a password, in the list of processes. Redirections are not followed.
fn curl(url: &str, json: &str, seconds: u64) -> String {
    // What stands in quotes: curl knows these two escapes, and JSON has no line ends.
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        "url = \"{}\"\nproto = \"=http,https\"\ngloboff\nheader = \"Content-Type: application/json\"\n\
         user-agent = \"guard/{}\"\ndata-raw = \"{}\"\nmax-time = {seconds}\nretry = {RETRIES}\n\
         retry-connrefused\nmax-filesize = 65536\nfail\nsilent\nshow-error\noutput = \"/dev/null\"\n\
         write-out = \"%{{http_code}}\"\n",
        quoted(url),
        env!("CARGO_PKG_VERSION"),
        quoted(json),
    )
}

impl Notices {
    /// Works for ever.
    pub async fn work(&mut self, socket: &Path) {
        let mut link: Option<Link> = None;
        let Self { inbox, counts, in_hand } = self;
        let mut last = 0;
        loop {
            let due = in_hand.values().map(|(due, _)| *due).min();
            let answered = async {
                match &mut link {
                    Some(link) => link.next().await,
                    None => std::future::pending().await,
                }
            };
            let overdue = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let lost = tokio::select! {
                answered = answered => match answered {
                    Ok(Response { id, answer }) => {
                        if let Some((_, is_webhook)) = in_hand.remove(&id) {
                            counts.note(outcome(answer, is_webhook));
                        }
                        None
                    }
                    Err(cause) => Some(format!("guard-helper went away: {cause}")),
                },
                () = overdue => Some("guard-helper does not answer".to_owned()),
                notice = inbox.recv(), if in_hand.len() < IN_HAND => match notice {
                    None => return std::future::pending().await,
                    Some(Notice { task, limit, is_webhook }) => {
                        last += 1;
                        let due = Instant::now() + limit + HELPER_PATIENCE;
                        in_hand.insert(last, (due, is_webhook));
                        send(&mut link, socket, Request { id: last, task }).await.err()
                    }
                },
            };
            if let Some(why) = lost {
                link = None;
                for _ in in_hand.drain() {
                    counts.note(Err(why.clone()));
                }
            }
        }
    }
}

async fn send(link: &mut Option<Link>, socket: &Path, request: Request) -> Result<(), String> {
    let open = match link {
        Some(open) => open,
        None => link.insert(Link::open(socket).await?),
    };
    open.send(&request).await.map_err(|cause| format!("guard-helper went away: {cause}"))
}

/// What an answer means for whoever should have been told.
fn outcome(answer: Answer, is_webhook: bool) -> Result<(), String> {
    match answer {
        // Of what is no error to curl, a redirection is one here.
        Answer::Exited { code: 0, output } if is_webhook && !succeeded(&output) => {
            let status = output.lines().last().unwrap_or_default().escape_debug().to_string();
            Err(format!("the webhook answered {status}"))
        }
        Answer::Exited { code: 0, .. } => Ok(()),
        Answer::Exited { code, output } => {
            let said = output.trim().lines().last().unwrap_or_default().escape_debug().to_string();
            Err(format!("it ended with {code}: {said}"))
        }
        Answer::Failed(why) => Err(why.escape_debug().to_string()),
        Answer::Addresses(_) => Err("guard-helper answered something else".to_owned()),
    }
}

/// Whether the HTTP status that curl tells is one of success.
fn succeeded(output: &str) -> bool {
    // Before it stands what went wrong with earlier attempts.
    let status = output.lines().last().unwrap_or_default();
    status.len() == 3 && status.starts_with('2')
}

impl Counts {
    fn note(&self, outcome: Result<(), String>) {
        let counter = if outcome.is_ok() { &self.told } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        let trouble = outcome.err();
        let mut known = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        // Once, not at each ban: an attacker decides how many there are.
        if let Some(why) = trouble.as_ref().filter(|why| known.as_ref() != Some(why)) {
            tracing::error!(target: "fail2ban.actions", "[[notify]]: {why}");
        }
        *known = trouble;
    }

    /// For `status`.
    pub fn figures(&self) -> Notified {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Notified { told: of(&self.told), failed: of(&self.failed), dropped: of(&self.dropped) }
    }

    /// What is wrong, in words.
    pub fn problems(&self) -> Vec<String> {
        let Notified { failed, dropped, .. } = self.figures();
        let mut problems = Vec::new();
        if let Some(why) = &*self.trouble.lock().unwrap_or_else(PoisonError::into_inner) {
            problems.push(format!("{failed} notices of bans failed, the last one because {why}"));
        }
        if dropped > 0 {
            problems.push(format!(
                "{dropped} notices of bans were dropped: there were more than `per-minute` of \
                 [[notify]], or guard-helper is too slow"
            ));
        }
        problems
    }
}

/// So many at once, and as many again in each minute.
#[derive(Debug)]
struct Bucket {
    per_minute: i64,
    /// In parts of which a minute's microseconds make one notice.
    level: i64,
    at: Option<Timestamp>,
}

/// Microseconds.
const MINUTE: i64 = 60_000_000;

impl Bucket {
    fn new(per_minute: u32) -> Self {
        let per_minute = i64::from(per_minute);
        Self { per_minute, level: per_minute * MINUTE, at: None }
    }

    fn take(&mut self, now: Timestamp) -> bool {
        // A clock that goes back gives nothing.
        let passed = self.at.map_or(0, |at| (now - at).micros().clamp(0, MINUTE));
        self.at = Some(now);
        self.level = (self.level + passed * self.per_minute).min(self.per_minute * MINUTE);
        let enough = self.level >= MINUTE;
        self.level -= if enough { MINUTE } else { 0 };
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_so_many_and_so_many_again_each_minute() {
        let mut bucket = Bucket::new(3);
        let at = Timestamp::from_seconds;
        let taken = |bucket: &mut Bucket, time| (0..10).filter(|_| bucket.take(time)).count();
        assert_eq!(taken(&mut bucket, at(1_000)), 3);
        assert_eq!(taken(&mut bucket, at(1_019)), 0);
        assert_eq!(taken(&mut bucket, at(1_020)), 1);
        assert_eq!(taken(&mut bucket, at(900)), 0, "a clock that was put back");
        assert_eq!(taken(&mut bucket, at(100_000)), 3);
    }

    #[test]
    fn what_curl_reads_holds_one_url_and_one_text() {
        let text = curl("https://h.example/a?b=c", r#"{"reason":"a \"b\" \\ \n url = x"}"#, 10);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.iter().filter(|line| line.starts_with("url")).count(), 1, "{text}");
        assert!(
            lines.contains(&r#"data-raw = "{\"reason\":\"a \\\"b\\\" \\\\ \\n url = x\"}""#),
            "{text}"
        );
    }
}
