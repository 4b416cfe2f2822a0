//! What the cluster has agreed on: an own replica of the log.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use vipfence_coordinator_core::{Applied, Body, Command, Registry, Step};
use vipfence_types::{NodeId, Term};

use super::{Violation, violated};
use crate::seat::SeatCommit;

/// See the module.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) index: u64,
    pub(crate) registry: Registry,
    /// The state before the last entry.
    pub(crate) before: Registry,
    seen: BTreeMap<u64, u64>,
}

/// An entry that a node was the first to apply.
#[derive(Clone, Debug)]
pub(crate) struct News {
    pub(crate) index: u64,
    pub(crate) term: Term,
    pub(crate) command: Command,
    pub(crate) applied: Applied,
}

impl News {
    /// For the timeline.
    pub(crate) fn told(&self, by: &NodeId) -> String {
        let body = match &self.command.body {
            Body::Step { vip, step, .. } => format!("{vip}: {}", told(step)),
            Body::Found { .. } => "found".to_owned(),
            Body::Note { note, .. } => format!("note {note:?}"),
            other => format!("{other:?}"),
        };
        let refused = match &self.applied {
            Applied::Refused(why) => format!(" REFUSED ({why})"),
            Applied::Done | Applied::Move(_) => String::new(),
        };
        format!("log {} in term {} (first at {by}): {body}{refused}", self.index, self.term)
    }
}

fn told(step: &Step) -> String {
    match step {
        Step::BeginDetach { from, cleared, .. } => {
            let from: Vec<&str> = from.iter().map(|place| place.nic.name()).collect();
            let cleared: Vec<&str> = cleared.iter().map(vipfence_types::NicId::name).collect();
            format!("begin detach from {from:?}, cleared {cleared:?}")
        }
        Step::BeginAttach { node, .. } => format!("begin attach to {node}"),
        other => format!("{other:?}"),
    }
}

impl Log {
    /// A node has applied an entry; returns it when that is news.
    ///
    /// Raft's own promise (State Machine Safety), on which all others rest.
    pub(crate) fn take(
        &mut self,
        node: usize,
        commit: SeatCommit,
    ) -> Result<Option<News>, Violation> {
        let SeatCommit { index, term, command, applied } = commit;
        let mut hasher = DefaultHasher::new();
        term.0.hash(&mut hasher);
        command.as_ref().map(|command| format!("{command:?}")).hash(&mut hasher);
        let hash = hasher.finish();
        if let Some(known) = self.seen.get(&index) {
            if *known != hash {
                let what = format!("node {node} applies another entry {index} than the first one");
                return violated("Raft", what).map(|()| None);
            }
            return Ok(None);
        }
        self.seen.insert(index, hash);
        if index > 0 && index != self.index + 1 {
            let what = format!("entry {index} is applied after {}", self.index);
            return violated("Raft", what).map(|()| None);
        }
        self.index = index;
        let Some(command) = command else { return Ok(None) };
        self.before = self.registry.clone();
        let same = self.registry.apply(term, &command);
        if Some(&same) != applied.as_ref() {
            let what = format!("entry {index} has another result at node {node}: {applied:?}");
            return violated("Registry", what).map(|()| None);
        }
        Ok(Some(News { index, term, command: *command, applied: same }))
    }
}
