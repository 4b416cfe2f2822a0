//! What a Coordinator takes in, and what it asks to be done.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vipfence_types::{Answer, ClusterName, Heartbeat, NodeId, Refusal, Term, Timing};

use crate::{
    ask::{Ask, AskError, Reply},
    nic::{HttpId, HttpRequest, HttpResult, ProblemKind},
    registry::{Applied, Command, Founder, Registry},
};

/// Names a proposal of this process.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ProposalId(pub u64);

/// Names a quorum round of this process.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct RoundId(pub u64);

/// How soon a quorum round is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pace {
    /// By messages of its own.
    AtOnce,
    /// By the heartbeats that a Raft leader sends anyway: it costs no message, and takes up to an
    /// interval between them longer.
    WithHeartbeat,
}

/// Names a heartbeat that waits for its answer.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct BeatId(pub u64);

/// Names an ask that waits for its reply.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct AskId(pub u64);

/// What a quorum round brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// The term in which this node was confirmed as leader.
    pub term: Term,
    /// State applied up to here reflects everything committed before the round began.
    pub read_index: u64,
}

/// Why a proposal brought nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProposeFault {
    /// Certain: it is not in the log.
    NotProposed,
    /// It may be committed, or may still be.
    Unknown,
}

/// Everything that can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// What this node sees of the leadership now.
    Leadership {
        /// The term.
        term: Term,
        /// Who leads, as far as known.
        leader: Option<NodeId>,
        /// Whether that is this process, in this term.
        leading: bool,
    },
    /// State was applied up to this index.
    Applied {
        /// The index.
        index: u64,
        /// The state.
        state: Arc<Registry>,
    },
    /// A heartbeat was received.
    Beat {
        /// Names it.
        id: BeatId,
        /// It.
        heartbeat: Heartbeat,
    },
    /// A caller asks for something.
    Asked {
        /// Names it.
        id: AskId,
        /// What.
        ask: Ask,
    },
    /// A proposal was applied at this index, or failed.
    Proposed {
        /// Which.
        id: ProposalId,
        /// What became of it.
        result: Result<(u64, Applied), ProposeFault>,
    },
    /// A quorum round has ended; none = it failed.
    Round {
        /// Which.
        id: RoundId,
        /// What it brought.
        result: Option<Confirmed>,
    },
    /// A request to ARM was answered, or failed.
    Http {
        /// Which.
        id: HttpId,
        /// What came back.
        result: HttpResult,
    },
    /// Time has passed.
    Tick,
}

/// Everything that the shell is asked to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Propose a command. The shell brings `Applied` up to its index before `Proposed`, or after.
    Propose {
        /// Names it.
        id: ProposalId,
        /// It.
        command: Command,
    },
    /// Make a quorum round that begins after this effect was emitted.
    Round {
        /// Names it.
        id: RoundId,
        /// How soon.
        pace: Pace,
    },
    /// Send a request to ARM; a write only while `send_before` allows it, checked as the last step.
    Http(HttpRequest),
    /// Answer a heartbeat.
    Answer {
        /// Which.
        id: BeatId,
        /// With what.
        answer: Result<Answer, Refusal>,
    },
    /// Reply to a caller.
    Reply {
        /// Which.
        id: AskId,
        /// With what.
        reply: Result<Reply, AskError>,
    },
    /// Hint to a node that it should beat at once. May be lost.
    Nudge {
        /// The node.
        node: NodeId,
    },
    /// Something went wrong with Azure: to be counted.
    Problem {
        /// What.
        kind: ProblemKind,
    },
    /// Stop leading, so that another voter is elected; if none is, lead on.
    StepDown,
}

/// What a Coordinator needs to know once.
#[derive(Clone, Debug)]
pub struct Setup {
    /// This node.
    pub node: NodeId,
    /// The cluster, for when it has to be founded.
    pub cluster: ClusterName,
    /// The timers to found it with.
    pub timing: Timing,
    /// The nodes to found it with.
    pub founders: Vec<Founder>,
    /// The api-version of the network provider.
    pub api_version: String,
    /// Whether Azure is relied on to refuse a NIC write with an old `If-Match`. If not, a NIC that a
    /// write of unknown outcome may still hit is waited for (`azure_max`) in place of sealed.
    pub trust_if_match: bool,
    /// Whether a NIC is sealed by a tag of ours, which stays on it. If not, its document is written
    /// as it is: an operation where the tag needs none.
    pub epoch_tag: bool,
}
