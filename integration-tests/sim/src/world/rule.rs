//! Rules: what a script sees of a message, and what it may do with it.
//!
//! A rule sees what kind of message it is, never its bytes, and cannot change one.

use openraft::EntryPayload;
use vipfence_coordinator_core::Body;
use vipfence_types::VipEpoch;

use crate::{
    net::{Message, Spot},
    seat::RaftRequest,
};

/// What a rule of a script does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Pass,
    /// It is lost.
    Drop,
    /// It is kept until released.
    Keep,
}

/// A rule for the messages.
pub(super) type Rule = Box<dyn FnMut(Spot, Spot, &Kind) -> Verdict>;

/// What a rule of a script sees of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A candidate asks for a vote.
    Vote,
    /// A leader replicates these commands, or only shows that it is there.
    Append(Vec<Body>),
    /// A leader feeds a snapshot.
    Snapshot,
    /// An answer to one of those.
    RaftAnswer,
    /// A heartbeat.
    Beat {
        /// What it confirms.
        released: Vec<VipEpoch>,
        /// What it has reached.
        reached: Vec<VipEpoch>,
    },
    /// The answer to one.
    BeatAnswer {
        /// What it grants.
        grants: Vec<VipEpoch>,
        /// What it wants back.
        releasing: Vec<VipEpoch>,
    },
    /// A hint to beat.
    Nudge,
    /// A request to ARM that reads.
    ArmRead,
    /// A request to ARM that writes.
    ArmWrite {
        /// The NIC.
        nic: String,
    },
    /// The answer to either.
    ArmAnswer,
    /// The answer of a VIP's address to a node that tries to reach it.
    Reached,
    /// Anything else.
    Other,
}

impl Kind {
    /// Belongs to the nodes' Rafts.
    #[must_use]
    pub fn is_raft(&self) -> bool {
        matches!(self, Self::Vote | Self::Append(_) | Self::Snapshot | Self::RaftAnswer)
    }

    /// Belongs to the heartbeats of an agent.
    #[must_use]
    pub fn is_beat(&self) -> bool {
        matches!(self, Self::Beat { .. } | Self::BeatAnswer { .. } | Self::Nudge)
    }

    /// Writes to this NIC.
    #[must_use]
    pub fn writes(&self, nic: &str) -> bool {
        matches!(self, Self::ArmWrite { nic: other } if other == nic)
    }

    pub(super) fn of(message: &Message) -> Self {
        match message {
            Message::Raft { request: RaftRequest::Vote(_), .. } => Self::Vote,
            Message::Raft { request: RaftRequest::Append(append), .. } => {
                let bodies = append.entries.iter().filter_map(|entry| match &entry.payload {
                    EntryPayload::Normal(command) => Some(command.body.clone()),
                    EntryPayload::Blank | EntryPayload::Membership(_) => None,
                });
                Self::Append(bodies.collect())
            }
            Message::Raft { request: RaftRequest::Snapshot(_), .. } => Self::Snapshot,
            Message::RaftAnswer { .. } => Self::RaftAnswer,
            Message::Beat { heartbeat } => Self::Beat {
                released: heartbeat.released.clone(),
                reached: heartbeat.reached.clone(),
            },
            Message::BeatAnswer { answer, .. } => {
                let answer = answer.as_ref().ok();
                let grants = answer.map(|answer| &answer.grants).into_iter().flatten();
                Self::BeatAnswer {
                    grants: grants.map(|grant| grant.at.clone()).collect(),
                    releasing: answer.map(|answer| answer.releasing.clone()).unwrap_or_default(),
                }
            }
            Message::Nudge => Self::Nudge,
            Message::Arm { request, .. } if request.method == "GET" => Self::ArmRead,
            Message::Arm { request, .. } => {
                let path = request.path_and_query.split('?').next().unwrap_or_default();
                Self::ArmWrite { nic: path.rsplit('/').next().unwrap_or_default().to_owned() }
            }
            Message::ArmAnswer { .. } => Self::ArmAnswer,
            Message::Reached { .. } => Self::Reached,
            Message::Imds
            | Message::ImdsAnswer { .. }
            | Message::Ask { .. }
            | Message::AskAnswer { .. }
            | Message::Probe { .. }
            | Message::Reach { .. }
            | Message::ProbeAnswer { .. } => Self::Other,
        }
    }
}
