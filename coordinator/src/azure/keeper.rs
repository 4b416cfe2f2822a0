//! The token keeper: a move never waits for who gives tokens.
//!
//! Tokens come from `azure_identity`, which on its own would go to the metadata service in the middle
//! of a move, and refuse a token that is still good. So it is asked in the background only: at start, at half of the token's life, once when ARM refuses the token (and more and
//! more slowly while it refuses the next ones as well), and once for each request that ARM denies for
//! want of a permission, since a token may be older than a role. The last token is served until it
//! expires. Each fetch uses a new credential, since a credential keeps
//! tokens of its own.
//!
//! Whether a fetch is due is asked of the clocks every few seconds rather than slept for: a timer
//! stands still while the VM is paused, and a token's life may be a day.

#[cfg(test)]
mod foreign;
#[cfg(test)]
mod troubles;

use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use azure_core::http::HttpClient;
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use vipfence_coordinator_core::Method;
use vipfence_types::{Clocks, brief};

use super::{AzureSetupError, health::Health, identity::Identity};
use crate::driver::ReadClocks;

/// One fetch is given up after this.
const FETCH_TIMEOUT: Duration = Duration::from_secs(15);
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Never refreshed more often than this, whatever a token's life and however often ARM refuses.
const REFRESH_MIN: Duration = Duration::from_secs(5);
/// The same while ARM refuses one token after another.
const REFUSED_MAX: Duration = Duration::from_secs(300);
/// So many denied requests are remembered.
const MAX_DENIED: usize = 64;
/// How often the clocks are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// A token in its last moments is not sent any more.
const LAST_MOMENTS_S: u64 = 2;

/// A token and until when it is good.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token {
    secret: Arc<str>,
    expires_s: u64,
}

impl Token {
    pub(super) fn as_str(&self) -> &str {
        &self.secret
    }
}

#[derive(Clone, Default)]
pub(super) struct Kept {
    token: Option<Token>,
    /// ARM does not take it.
    refused: bool,
    /// How many in a row it has not taken.
    refusals: u32,
    /// ARM denied something to its bearer.
    denied: bool,
    /// Half of its life when it was fetched.
    half: Duration,
    /// Why the last fetch failed; empty = it did not.
    problem: String,
}

#[cfg(test)]
impl Kept {
    pub(super) fn is(&self, secret: &str) -> bool {
        self.token.as_ref().is_some_and(|token| token.as_str() == secret)
    }
}

/// A request by what it asks: its method and its path.
pub(super) type Named = (Method, String);

/// When the next fetch is due.
#[derive(Default)]
struct Pace {
    last: Option<Clocks>,
    failures: u32,
    /// Somebody waits for a token, or ARM refused the one there is.
    asked: bool,
}

/// See the module.
pub(super) struct Keeper {
    scope: String,
    identity: Identity,
    transport: Arc<dyn HttpClient>,
    clocks: ReadClocks,
    health: Arc<Health>,
    kept: watch::Sender<Kept>,
    asked: Notify,
    /// What was denied since it was last allowed: a fresh token has been asked for.
    denied: Mutex<Vec<Named>>,
}

impl Keeper {
    pub(super) fn new(
        identity: Identity,
        transport: Arc<dyn HttpClient>,
        audience: &str,
        clocks: ReadClocks,
        health: Arc<Health>,
    ) -> Result<Self, AzureSetupError> {
        let what = identity.what();
        let fail = |problem| AzureSetupError::Identity { what, problem };
        identity.credential(&transport).map_err(fail)?;
        Ok(Self {
            // The credential takes this ending off again: the audience is asked for as written.
            scope: format!("{audience}/.default"),
            identity,
            transport,
            clocks,
            health,
            kept: watch::Sender::default(),
            asked: Notify::new(),
            denied: Mutex::default(),
        })
    }

    /// Fetches, and keeps fetching.
    pub(super) async fn keep(&self) {
        let mut pace = Pace::default();
        loop {
            let wait = self.due_in(&pace);
            if wait.is_zero() {
                self.fetch_now(&mut pace).await;
                continue;
            }
            tokio::select! {
                () = sleep(wait.min(LOOK)) => {}
                () = self.asked.notified() => pace.asked = true,
            }
            self.tell();
        }
    }

    fn due_in(&self, pace: &Pace) -> Duration {
        let Some(last) = pace.last else { return Duration::ZERO };
        let kept = self.kept.borrow();
        let good = kept.token.as_ref().is_some_and(|token| self.is_good(token));
        let pause = if pace.failures > 0 && (good || !pace.asked) {
            (RETRY_MIN * 2_u32.saturating_pow(pace.failures - 1)).min(RETRY_MAX)
        } else if !good {
            RETRY_MIN
        } else if kept.refused {
            let doublings = kept.refusals.saturating_sub(1).min(6);
            (REFRESH_MIN * 2_u32.pow(doublings)).min(REFUSED_MAX)
        } else if kept.denied {
            REFRESH_MIN
        } else {
            kept.half.max(REFRESH_MIN)
        };
        pause.saturating_sub((self.clocks)().boot_since(last))
    }

    async fn fetch_now(&self, pace: &mut Pace) {
        pace.last = Some((self.clocks)());
        pace.asked = false;
        match self.fetch().await {
            Ok(token) => {
                pace.failures = 0;
                let half = Duration::from_secs(token.expires_s.saturating_sub(self.now_s()) / 2);
                self.kept.send_modify(|kept| {
                    let refusals = kept.refusals;
                    *kept = Kept { token: Some(token), half, refusals, ..Kept::default() };
                });
            }
            Err(problem) => {
                // Six doublings are past the longest pause.
                pace.failures = (pace.failures + 1).min(6);
                tracing::warn!("no token of {}: {problem}", self.identity.what());
                self.kept.send_modify(|kept| kept.problem = problem);
            }
        }
        self.tell();
    }

    fn tell(&self) {
        let kept = self.kept.borrow();
        let good = kept.token.as_ref().is_some_and(|token| self.is_good(token));
        self.health.token(good, &kept.problem);
    }

    async fn fetch(&self) -> Result<Token, String> {
        let credential = self.identity.credential(&self.transport)?;
        let scopes = [self.scope.as_str()];
        let fetched = timeout(FETCH_TIMEOUT, Box::pin(credential.get_token(&scopes, None)))
            .await
            .map_err(|_| format!("no answer within {FETCH_TIMEOUT:?}"))?
            .map_err(|error| innermost(&error))?;
        let expires_s = u64::try_from(fetched.expires_on.unix_timestamp()).unwrap_or(0);
        let token = Token { secret: fetched.token.secret().into(), expires_s };
        if self.is_good(&token) {
            return Ok(token);
        }
        let ago = self.now_s().saturating_sub(expires_s);
        Err(format!("the token just fetched expired {ago} s ago: is the clock of this VM right?"))
    }

    /// The token, at once if there is one that is good; else the first one that comes within
    /// `patience`.
    pub(super) async fn token(&self, patience: Duration) -> Result<Token, String> {
        let mut kept = self.kept.subscribe();
        let good = |kept: &Kept| kept.token.as_ref().is_some_and(|token| self.is_good(token));
        if !good(&kept.borrow()) {
            self.asked.notify_one();
        }
        if let Ok(Ok(now)) = timeout(patience, kept.wait_for(good)).await
            && let Some(token) = now.token.clone()
        {
            return Ok(token);
        }
        let problem = self.kept.borrow().problem.clone();
        let problem = if problem.is_empty() {
            "who gives it has not answered yet".to_owned()
        } else {
            problem
        };
        Err(format!("there is no token of {}: {problem}", self.identity.what()))
    }

    /// ARM refused this token: fetch another, once.
    pub(super) fn refused(&self, token: &Token) {
        let present = |kept: &Kept| kept.token.as_ref() == Some(token) && !kept.refused;
        let marked = self.kept.send_if_modified(|kept| {
            let marked = present(kept);
            kept.refused |= marked;
            kept.refusals = kept.refusals.saturating_add(u32::from(marked));
            marked
        });
        if marked {
            tracing::warn!("ARM refused the token: fetching a new one");
            self.asked.notify_one();
        }
    }

    /// ARM took the token.
    pub(super) fn accepted(&self) {
        self.kept.send_if_modified(|kept| {
            let were_some = kept.refusals > 0 && !kept.refused;
            if were_some {
                kept.refusals = 0;
            }
            were_some
        });
    }

    /// ARM denied a request for want of a permission: the token may be older than the role, so another
    /// is fetched, once until the same request is allowed.
    pub(super) fn denied(&self, named: Named) {
        let mut known = self.denied.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(&named) {
            return;
        }
        if known.len() >= MAX_DENIED {
            known.remove(0);
        }
        known.push(named);
        drop(known);
        tracing::warn!("ARM denies a permission: fetching a new token, in case a role is newer");
        self.kept.send_modify(|kept| kept.denied = true);
        self.asked.notify_one();
    }

    /// ARM carried a request out.
    pub(super) fn allowed(&self, named: &Named) {
        let mut known = self.denied.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|denied| denied != named);
    }

    fn is_good(&self, token: &Token) -> bool {
        token.expires_s > self.now_s() + LAST_MOMENTS_S
    }

    fn now_s(&self) -> u64 {
        (self.clocks)().wall_us / 1_000_000
    }

    #[cfg(test)]
    pub(super) fn is_fetch_due(&self) -> bool {
        let kept = self.kept.borrow();
        kept.refused || kept.denied
    }

    #[cfg(test)]
    pub(super) fn subscribe(&self) -> watch::Receiver<Kept> {
        self.kept.subscribe()
    }
}

/// What was wrong, without the credential's advice around it.
fn innermost(error: &dyn Error) -> String {
    let mut inner = error;
    while let Some(cause) = inner.source() {
        inner = cause;
    }
    // It may quote the whole answer, and is told in every heartbeat.
    brief(&inner.to_string())
}
