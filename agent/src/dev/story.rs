//! What to tell of the cluster: its events, and what the leader thinks of the nodes.
//!
//! A function of what was heard; `run` hears and prints. A sentence is told when something
//! changed, and once.

use std::collections::BTreeMap;

use vipfence_proto::v1;

/// So many times in a row must a leader call a node silent that it has never heard: a new leader
/// has not heard anybody.
const PATIENCE: u8 = 6;
/// So many times in a row must no leader answer: an election is short.
const NO_LEADER: u8 = 4;

/// The events that were told.
#[derive(Debug, Default)]
pub(super) struct EventStory {
    last: u64,
}

/// What was told of the leader's view.
#[derive(Debug, Default)]
pub(super) struct ViewStory {
    states: BTreeMap<String, NodeStory>,
    unanswered: u8,
    blocked: BTreeMap<String, String>,
}

#[derive(Debug)]
struct NodeStory {
    told: v1::NodeState,
    /// How often in a row it was called silent without having been heard.
    unheard: u8,
}

impl EventStory {
    /// The number to ask for events after.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Events, oldest first; those that were told already are passed over.
    pub(super) fn on_events(&mut self, events: &[v1::Event]) -> Vec<String> {
        let mut lines = Vec::new();
        for event in events {
            if event.number > self.last {
                self.last = event.number;
                lines.push(event.message.clone());
            }
        }
        lines
    }
}

impl ViewStory {
    /// The leader's view.
    pub(super) fn on_status(&mut self, status: &v1::GetStatusResponse) -> Vec<String> {
        let mut lines = Vec::new();
        if self.unanswered >= NO_LEADER {
            lines.push(format!("{} leads and reaches a majority", status.leader));
        }
        self.unanswered = 0;
        for node in &status.nodes {
            lines.extend(self.on_node(node, &status.leader));
        }
        for vip in &status.vips {
            lines.extend(self.on_vip(vip));
        }
        lines
    }

    /// No node could say who leads.
    pub(super) fn on_no_status(&mut self, why: &str) -> Option<String> {
        self.unanswered = self.unanswered.saturating_add(1);
        (self.unanswered == NO_LEADER).then(|| {
            format!(
                "no leader with a majority answers ({why}): nothing can be moved, and a holder \
                 releases when its lease ends"
            )
        })
    }

    fn on_node(&mut self, node: &v1::Node, leader: &str) -> Option<String> {
        let state = node.state();
        if state == v1::NodeState::Unspecified {
            return None;
        }
        let known = self
            .states
            .entry(node.name.clone())
            .or_insert(NodeStory { told: v1::NodeState::Alive, unheard: 0 });
        let unheard = state == v1::NodeState::Silent && node.last_heard.is_none();
        known.unheard = if unheard { known.unheard.saturating_add(1) } else { 0 };
        if state == known.told || (unheard && known.unheard < PATIENCE) {
            return None;
        }
        known.told = state;
        let name = &node.name;
        Some(match state {
            v1::NodeState::Alive => format!("{name} is alive: the leader {leader} hears it"),
            v1::NodeState::Suspect => {
                format!("{name} is suspect: {leader} has not heard it lately")
            }
            v1::NodeState::Silent => format!("{name} is silent: its VIPs fail over"),
            v1::NodeState::Stopping => format!("{name} says that it is stopping"),
            v1::NodeState::Unspecified => return None,
        })
    }

    /// Why a VIP does not proceed.
    fn on_vip(&mut self, vip: &v1::Vip) -> Option<String> {
        let open = vip.current_move.as_ref();
        let why = [&vip.blocked_reason, open.map_or(&vip.blocked_reason, |m| &m.blocked_reason)];
        let why = why.into_iter().find(|why| !why.is_empty()).cloned().unwrap_or_default();
        let told = self.blocked.insert(vip.name.clone(), why.clone()).unwrap_or_default();
        (!why.is_empty() && why != told).then(|| format!("VIP {} waits: {why}", vip.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, state: v1::NodeState, heard: bool) -> v1::Node {
        v1::Node {
            name: name.to_owned(),
            state: state.into(),
            last_heard: heard.then(prost_types::Duration::default),
            ..v1::Node::default()
        }
    }

    fn status(node: v1::Node) -> v1::GetStatusResponse {
        v1::GetStatusResponse {
            leader: "n1".to_owned(),
            nodes: vec![node],
            ..v1::GetStatusResponse::default()
        }
    }

    #[test]
    fn every_event_is_told_once() {
        let event = |number, message: &str| v1::Event {
            number,
            message: message.to_owned(),
            ..v1::Event::default()
        };
        let mut story = EventStory::default();
        assert_eq!(story.on_events(&[event(1, "a"), event(2, "b")]), ["a", "b"]);
        assert_eq!(story.on_events(&[event(2, "b"), event(3, "c")]), ["c"]);
        // A node that lags behind says old things.
        assert!(story.on_events(&[event(1, "a"), event(3, "c")]).is_empty());
        assert_eq!(story.last(), 3);
    }

    #[test]
    fn a_change_of_a_node_is_told_once() {
        use v1::NodeState::{Alive, Silent, Suspect};
        let mut story = ViewStory::default();
        let mut lines = Vec::new();
        for state in [Alive, Alive, Suspect, Suspect, Silent, Silent, Alive] {
            lines.extend(story.on_status(&status(node("n2", state, true))));
        }
        let words: Vec<&str> =
            lines.iter().filter_map(|line| line.split(&[' ', ':'][..]).nth(2)).collect();
        assert_eq!(words, ["suspect", "silent", "alive"]);
    }

    #[test]
    fn a_new_leader_that_has_heard_nobody_yet_alarms_nobody() {
        let mut story = ViewStory::default();
        let unheard = status(node("n2", v1::NodeState::Silent, false));
        for _ in 1..PATIENCE {
            assert!(story.on_status(&unheard).is_empty());
        }
        assert_eq!(story.on_status(&unheard).len(), 1);
        assert!(story.on_status(&unheard).is_empty());
    }

    #[test]
    fn the_loss_of_the_majority_and_its_return_are_told_once() {
        let mut story = ViewStory::default();
        let told: Vec<bool> = (0..8).map(|_| story.on_no_status("no votes").is_some()).collect();
        assert_eq!(told.iter().filter(|told| **told).count(), 1);
        assert!(!told[0]);
        let alive = status(node("n1", v1::NodeState::Alive, true));
        assert_eq!(story.on_status(&alive), ["n1 leads and reaches a majority"]);
        assert!(story.on_status(&alive).is_empty());
    }

    #[test]
    fn what_hinders_a_vip_is_told_when_it_is_new() {
        let mut story = ViewStory::default();
        let mut with = |reason: &str| {
            let vip = v1::Vip {
                name: "demo".to_owned(),
                blocked_reason: reason.to_owned(),
                ..v1::Vip::default()
            };
            story.on_status(&v1::GetStatusResponse {
                vips: vec![vip],
                ..v1::GetStatusResponse::default()
            })
        };
        assert_eq!(with("no candidate"), ["VIP demo waits: no candidate"]);
        assert!(with("no candidate").is_empty());
        assert!(with("").is_empty());
        assert_eq!(with("no candidate").len(), 1);
    }
}
