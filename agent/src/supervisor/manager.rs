//! The service manager, by `sd_notify`: READY once a leader has answered, one line of STATUS,
//! WATCHDOG while the loop runs, STOPPING.

use std::{fmt::Write as _, io, sync::mpsc, thread, time::Duration};

use sd_notify::NotifyState;
use tracing::warn;
use vipfence_agent_core::LocalView;
use vipfence_types::Clocks;

/// How many messages may wait for a service manager that is slow to read.
const WORDS_KEPT: usize = 8;

type Sink = dyn Fn(&[NotifyState<'_>]) -> io::Result<()> + Send;

/// See the module.
pub(crate) struct Manager {
    send: Box<Sink>,
    leads: Box<dyn Fn() -> bool + Send>,
    /// Half of what `WATCHDOG_USEC` allows.
    feed_every: Option<Duration>,
    fed: Option<Clocks>,
    ready: bool,
    stopping: bool,
    status: String,
    complained: bool,
}

impl Manager {
    /// The one that started this process and wants to hear of it: `NOTIFY_SOCKET` names its socket.
    pub(crate) fn from_environment(leads: impl Fn() -> bool + Send + 'static) -> Option<Self> {
        std::env::var_os("NOTIFY_SOCKET")?;
        Some(Self::new(from_a_thread(), leads, sd_notify::watchdog_enabled()))
    }

    pub(super) fn new(
        send: impl Fn(&[NotifyState<'_>]) -> io::Result<()> + Send + 'static,
        leads: impl Fn() -> bool + Send + 'static,
        watchdog: Option<Duration>,
    ) -> Self {
        Self {
            send: Box::new(send),
            leads: Box::new(leads),
            feed_every: watchdog.map(|limit| limit / 2),
            fed: None,
            ready: false,
            stopping: false,
            status: String::new(),
            complained: false,
        }
    }

    /// Half of the time between two words to the watchdog: the latest comes after three quarters of
    /// what is allowed.
    pub(super) fn look_every(&self) -> Option<Duration> {
        self.feed_every.map(|every| every / 2)
    }

    pub(super) fn look(&mut self, now: Clocks, view: &LocalView) {
        let status = status(view, (self.leads)());
        let mut news = Vec::new();
        if view.joined && !self.ready {
            self.ready = true;
            news.push(NotifyState::Ready);
        }
        if view.stopping && !self.stopping {
            self.stopping = true;
            news.push(NotifyState::Stopping);
        }
        let due = |every| self.fed.is_none_or(|fed: Clocks| now.mono_since(fed) >= every);
        if self.feed_every.is_some_and(due) {
            self.fed = Some(now);
            news.push(NotifyState::Watchdog);
        }
        if status != self.status {
            self.status = status;
            news.push(NotifyState::Status(&self.status));
        }
        if news.is_empty() {
            return;
        }
        if let Err(error) = (self.send)(&news)
            && !std::mem::replace(&mut self.complained, true)
        {
            warn!("cannot tell the service manager: {error}");
        }
    }
}

/// Sends from a thread of its own: a service manager that does not read its socket makes whoever
/// writes to it wait, and the loop that renews leases must not.
fn from_a_thread() -> impl Fn(&[NotifyState<'_>]) -> io::Result<()> + Send {
    let (queue, said) = mpsc::sync_channel::<String>(WORDS_KEPT);
    // One that cannot be started hears nothing, which the first word tells.
    let _not_started = thread::Builder::new().name("notify".to_owned()).spawn(move || {
        let mut complained = false;
        for text in said {
            // A word that is lost is no reason to stop serving; it would be repeated for nothing.
            if let Err(error) = sd_notify::notify(&[NotifyState::Custom(&text)])
                && !std::mem::replace(&mut complained, true)
            {
                warn!("cannot tell the service manager: {error}");
            }
        }
    });
    move |news| {
        let lines: Vec<String> = news.iter().map(NotifyState::to_string).collect();
        queue.try_send(lines.join("\n")).map_err(io::Error::other)
    }
}

/// One line for people: who leads is told by `status`; here stands what this node has.
fn status(view: &LocalView, leads: bool) -> String {
    let mut line = if leads { "leader" } else { "follower" }.to_owned();
    let mut sep = "; holds ";
    for held in &view.held {
        let _ = write!(line, "{sep}{} (epoch {})", held.vip, held.epoch);
        sep = ", ";
    }
    if view.held.is_empty() {
        line.push_str("; holds no VIP");
    }
    if !view.detail.is_empty() {
        let _ = write!(line, "; {}", view.detail.replace('\n', " "));
    }
    line
}
