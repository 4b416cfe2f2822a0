//! Faults that wait for a request, or for an operation, and strike a given number of times.

use serde::{Deserialize, Serialize};

/// A fault: which requests it means, how often, and what it does to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Sender, by the name of its VM; `None` = anybody.
    #[serde(default)]
    pub node: Option<String>,
    /// Name of the NIC in the path; `None` = any path.
    #[serde(default)]
    pub nic: Option<String>,
    /// HTTP method; `None` = any that writes, `*` = any. `POLL` = a GET of an operation, which is
    /// among the `GET`s too.
    #[serde(default)]
    pub method: Option<String>,
    /// Lets so many pass first.
    #[serde(default)]
    pub skip: u32,
    /// Strikes so many after that.
    #[serde(default = "once")]
    pub times: u32,
    /// What it does.
    pub effect: FaultEffect,
}

fn once() -> u32 {
    1
}

impl Fault {
    /// A fault that strikes the next write of anybody to anything.
    #[must_use]
    pub fn once(effect: FaultEffect) -> Self {
        Self { node: None, nic: None, method: None, skip: 0, times: 1, effect }
    }

    /// The same for one NIC only.
    #[must_use]
    pub fn on_nic(mut self, nic: &str) -> Self {
        self.nic = Some(nic.to_owned());
        self
    }

    /// The same for one sender only.
    #[must_use]
    pub fn by_node(mut self, node: &str) -> Self {
        self.node = Some(node.to_owned());
        self
    }

    /// The same for one method only.
    #[must_use]
    pub fn for_method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// The same, several times.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }
}

/// What a fault does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultEffect {
    /// Refused before anything is looked at.
    Refuse {
        /// HTTP status.
        status: u16,
        /// `error.code`
        code: String,
        /// `error.message`
        #[serde(default)]
        message: String,
        /// `Retry-After`
        #[serde(default)]
        retry_after_s: Option<u64>,
    },
    /// Lost on its way: not processed, the connection is closed.
    NeverArrives,
    /// Processed, but the answer is lost: the outcome is unknown to the client.
    LoseAnswer {
        /// The connection is closed, otherwise the client waits until it gives up.
        #[serde(default)]
        close: bool,
    },
    /// Kept until released, then processed: a late write. It does not matter whether the client
    /// still waits.
    Hold,
    /// The same for a fixed time.
    Delay {
        /// How long.
        ms: u64,
    },
    /// The next operation that starts ends `Failed`.
    FailOperation {
        /// `error.code` of the poll.
        code: String,
        /// `error.message`
        #[serde(default)]
        message: String,
        /// The data plane and the allocation change all the same.
        #[serde(default)]
        takes_effect: bool,
    },
    /// The next operation that starts takes so long, whatever the settings say.
    OperationTakes {
        /// How long.
        ms: u64,
    },
}

impl FaultEffect {
    fn waits_for_operation(&self) -> bool {
        match self {
            Self::FailOperation { .. } | Self::OperationTakes { .. } => true,
            Self::Refuse { .. }
            | Self::NeverArrives
            | Self::LoseAnswer { .. }
            | Self::Hold
            | Self::Delay { .. } => false,
        }
    }
}

/// The word for a GET of an operation.
pub(crate) const POLL: &str = "POLL";

/// What a fault is held against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Aim<'a> {
    pub(crate) node: Option<&'a str>,
    pub(crate) nic: Option<&'a str>,
    pub(crate) method: &'a str,
}

/// The faults that wait.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    waiting: Vec<Fault>,
}

impl Faults {
    pub(crate) fn waiting(&self) -> &[Fault] {
        &self.waiting
    }

    pub(crate) fn add(&mut self, fault: Fault) {
        if fault.times > 0 {
            self.waiting.push(fault);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// What strikes an arriving request: the oldest fault that fits.
    pub(crate) fn strike_request(&mut self, aim: Aim<'_>) -> Option<FaultEffect> {
        self.strike(aim, |effect| !effect.waits_for_operation())
    }

    /// What strikes a starting operation: every kind once.
    pub(crate) fn strike_operation(&mut self, aim: Aim<'_>) -> Vec<FaultEffect> {
        let fails = self.strike(aim, |e| matches!(e, FaultEffect::FailOperation { .. }));
        let takes = self.strike(aim, |e| matches!(e, FaultEffect::OperationTakes { .. }));
        fails.into_iter().chain(takes).collect()
    }

    fn strike(&mut self, aim: Aim<'_>, kind: impl Fn(&FaultEffect) -> bool) -> Option<FaultEffect> {
        let mut struck = None;
        for fault in self.waiting.iter_mut().filter(|f| kind(&f.effect) && f.means(aim)) {
            if fault.skip > 0 {
                fault.skip -= 1;
            } else {
                fault.times -= 1;
                struck = Some(fault.effect.clone());
                break;
            }
        }
        self.waiting.retain(|fault| fault.times > 0);
        struck
    }
}

impl Fault {
    fn means(&self, aim: Aim<'_>) -> bool {
        let fits = |wanted: &Option<String>, is: Option<&str>| {
            wanted.as_ref().is_none_or(|w| is.is_some_and(|is| w.eq_ignore_ascii_case(is)))
        };
        let method = match self.method.as_deref() {
            None => !matches!(aim.method, "GET" | POLL),
            Some("*") => true,
            Some("GET") if aim.method == POLL => true,
            Some(method) => method.eq_ignore_ascii_case(aim.method),
        };
        method && fits(&self.node, aim.node) && fits(&self.nic, aim.nic)
    }
}
