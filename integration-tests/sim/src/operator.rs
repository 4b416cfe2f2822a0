//! The operator: whoever calls the API. Each call has a request id; without an answer it is repeated
//! at another node, and in the end it is ok, failed or unknown, like in every honest history.

use vipfence_coordinator_core::{Applied, Ask, AskError, Refused, Reply, Request, Scope};
use vipfence_types::{MoveId, NodeId, RequestId, VipName};

use crate::time::{At, ms, secs};

/// How long a call is tried.
const PATIENCE: u64 = secs(8);

/// What became of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// It was done; the move, if there is one.
    Ok(Option<MoveId>),
    /// It was refused: nothing was changed.
    Failed(AskError),
    /// Nobody knows.
    Unknown,
}

/// A call.
#[derive(Clone, Debug)]
pub struct Call {
    /// What is asked.
    pub ask: Ask,
    /// When it was begun.
    pub begun: At,
    /// What became of it, and when; none = it goes on.
    pub ended: Option<(At, Ended)>,
    node: usize,
    attempt: u32,
    /// A message of it may have reached a leader.
    tried: bool,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Operator {
    calls: Vec<Call>,
    requests: u64,
}

impl Operator {
    /// A new request id.
    pub fn request(&mut self) -> Request {
        self.requests += 1;
        let id = RequestId::from(format!("r{}", self.requests));
        Request { id: Some(id), content: String::new(), caller: "operator".to_owned() }
    }

    /// All calls so far.
    #[must_use]
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// What was acknowledged is lost with the log: of no earlier call is anything known.
    pub(crate) fn log_is_lost(&mut self, now: At) {
        for call in &mut self.calls {
            call.ended = Some((now, Ended::Unknown));
        }
    }

    pub(crate) fn begin(&mut self, now: At, node: usize, ask: Ask) -> usize {
        self.calls.push(Call { ask, begun: now, ended: None, node, attempt: 0, tried: false });
        self.calls.len() - 1
    }

    pub(crate) fn asked(&self, op: usize) -> &Ask {
        &self.calls[op].ask
    }

    /// The next attempt: its number, at which node, and what.
    pub(crate) fn attempt(&mut self, op: usize) -> (u32, usize, Ask) {
        let call = &mut self.calls[op];
        call.attempt += 1;
        call.tried = true;
        (call.attempt, call.node, call.ask.clone())
    }

    /// An attempt had no answer in time, or may be repeated now; whether it is.
    pub(crate) fn no_answer(&mut self, now: At, op: usize, attempt: u32, nodes: usize) -> bool {
        let call = &mut self.calls[op];
        if call.ended.is_some() || call.attempt != attempt {
            return false;
        }
        if now.saturating_sub(call.begun) > PATIENCE {
            call.ended = Some((now, Ended::Unknown));
            return false;
        }
        call.node = (call.node + 1) % nodes;
        true
    }

    /// An answer has come; how long to wait before the next attempt, if there is to be one.
    pub(crate) fn answered(
        &mut self,
        now: At,
        op: usize,
        attempt: u32,
        answer: Result<Reply, AskError>,
        nodes: &[NodeId],
    ) -> Option<u64> {
        let call = &mut self.calls[op];
        if call.ended.is_some() {
            return None;
        }
        let ended = match answer {
            Ok(Reply::Applied { applied: Applied::Move(id), .. }) => Ended::Ok(Some(id)),
            Ok(Reply::Applied { applied: Applied::Refused(refused), .. }) => {
                Ended::Failed(AskError::Refused(refused))
            }
            Ok(_) => Ended::Ok(None),
            Err(AskError::NotLeader { leader }) => {
                let known = leader.and_then(|leader| nodes.iter().position(|n| *n == leader));
                // `no_answer` goes on to the next node.
                let count = nodes.len();
                call.node = known.map_or(call.node, |known| (known + count - 1) % count);
                return (call.attempt == attempt).then_some(ms(40));
            }
            Err(AskError::NotReady | AskError::OutcomeUnknown) => {
                let count = nodes.len();
                call.node = (call.node + count - 1) % count;
                return (call.attempt == attempt).then_some(ms(60));
            }
            Err(error) => Ended::Failed(error),
        };
        call.ended = Some((now, ended));
        None
    }

    /// The moves that were acknowledged, with their VIPs.
    pub(crate) fn acknowledged(&self) -> impl Iterator<Item = (MoveId, Option<&VipName>)> + '_ {
        self.calls.iter().filter_map(|call| match &call.ended {
            Some((_, Ended::Ok(Some(id)))) => Some((*id, vip_of(&call.ask))),
            _ => None,
        })
    }

    /// How many calls ended ok, failed and unknown.
    #[must_use]
    pub fn tally(&self) -> [usize; 3] {
        let of = |what: fn(&Ended) -> bool| {
            let ended = self.calls.iter().filter_map(|call| call.ended.as_ref());
            ended.filter(|(_, ended)| what(ended)).count()
        };
        [
            of(|ended| matches!(ended, Ended::Ok(_))),
            of(|ended| matches!(ended, Ended::Failed(_))),
            of(|ended| matches!(ended, Ended::Unknown)),
        ]
    }
}

/// The VIP that is asked about.
pub(crate) fn vip_of(ask: &Ask) -> Option<&VipName> {
    match ask {
        Ask::CreateVip { vip, .. }
        | Ask::UpdateVip { vip, .. }
        | Ask::SetIntent { vip, .. }
        | Ask::MoveVip { vip, .. }
        | Ask::Confirm { vip, .. } => Some(vip),
        Ask::Pause { scope, .. } | Ask::Resume { scope, .. } => match scope {
            Scope::Vip(vip) => Some(vip),
            Scope::Node(_) | Scope::Cluster => None,
        },
        Ask::View => None,
    }
}

/// Whether a refusal says that the request id was used for something else: never so here.
pub(crate) fn is_reuse(error: &AskError) -> bool {
    matches!(error, AskError::Refused(Refused::RequestIdReused(_)))
}
