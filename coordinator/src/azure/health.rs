//! How Azure was last seen from this node: the token and ARM itself, told as one.
//!
//! Only what says something about Azure counts. A write that came too late or a URL that is not
//! ARM's is our own affair.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

/// How Azure was last seen from this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArmHealth {
    /// Whether there is a token that is good.
    pub token_ok: bool,
    /// Whether ARM takes requests of this node; none = not tried yet.
    pub arm_ok: Option<bool>,
    /// What is wrong; empty = nothing.
    pub detail: String,
}

#[derive(Default)]
struct Seen {
    token_ok: bool,
    /// Empty = nothing is wrong.
    token: String,
    arm_ok: Option<bool>,
    arm: String,
}

#[derive(Default)]
pub(super) struct Health {
    seen: Mutex<Seen>,
    told: watch::Sender<ArmHealth>,
}

impl Health {
    pub(super) fn subscribe(&self) -> watch::Receiver<ArmHealth> {
        self.told.subscribe()
    }

    /// Whether there is a good token, and what went wrong with the last fetch.
    pub(super) fn token(&self, ok: bool, problem: &str) {
        self.tell(|seen| {
            seen.token_ok = ok;
            problem.clone_into(&mut seen.token);
        });
    }

    /// What the last request that went towards ARM came to.
    pub(super) fn arm(&self, ok: bool, problem: &str) {
        self.tell(|seen| {
            seen.arm_ok = Some(ok);
            problem.clone_into(&mut seen.arm);
        });
    }

    fn tell(&self, change: impl FnOnce(&mut Seen)) {
        // Held until it is told, so that the last to change is the last to tell.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut seen);
        let without_token = !seen.token_ok && !seen.token.is_empty();
        let details = [seen.arm.as_str(), seen.token.as_str()];
        let now = ArmHealth {
            token_ok: seen.token_ok,
            // Without a token ARM takes nothing, whatever it took before.
            arm_ok: if without_token { Some(false) } else { seen.arm_ok },
            detail: details
                .into_iter()
                .filter(|text| !text.is_empty())
                .collect::<Vec<_>>()
                .join("; "),
        };
        self.told.send_if_modified(|told| {
            let changed = *told != now;
            *told = now;
            changed
        });
    }
}
