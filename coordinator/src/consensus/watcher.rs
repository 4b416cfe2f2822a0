//! Follows openraft's metrics: publishes who leads, has this node stand for election when no leader
//! is heard, and keeps a leader without a quorum silent.

use std::{sync::Arc, time::Duration};

use openraft::ServerState;
use tokio::{sync::watch, time::Instant};
use vipfence_coordinator_core::{Candidacy, Candidate};
use vipfence_types::{NodeId, Term};

use super::{
    Leadership,
    clocked::Clocked,
    config::Roster,
    quiet::Voice,
    types::{Metrics, Raft},
};

/// What the watcher needs.
pub(super) struct Watcher {
    pub(super) raft: Raft,
    pub(super) node: NodeId,
    pub(super) roster: Arc<Roster>,
    pub(super) voice: Arc<Voice>,
    pub(super) candidacy: Arc<Clocked<Candidacy>>,
    pub(super) leadership: watch::Sender<Leadership>,
    /// Why Raft ended, once it has.
    pub(super) ended: watch::Sender<Option<String>>,
}

/// The term that this node leads, if it does.
pub(super) fn leads(metrics: &Metrics) -> Option<Term> {
    let leads = metrics.running_state.is_ok()
        && metrics.state == ServerState::Leader
        && metrics.current_leader == Some(metrics.id);
    leads.then_some(Term(metrics.current_term))
}

/// How long ago a quorum acknowledged this leader, as of the last tick.
pub(super) fn quorum_ack_age(metrics: &Metrics) -> Option<Duration> {
    metrics.millis_since_quorum_ack.map(Duration::from_millis)
}

/// What others are told.
pub(super) fn leadership(metrics: &Metrics, roster: &Roster) -> Leadership {
    let leading = leads(metrics).is_some();
    let leader = metrics.current_leader.and_then(|id| roster.name(id));
    Leadership { term: Term(metrics.current_term), leader: leader.cloned(), leading }
}

impl Watcher {
    /// Runs until Raft stops.
    pub(super) async fn run(self) {
        let mut metrics = self.raft.metrics();
        loop {
            let (now, leads, age) = {
                let metrics = metrics.borrow_and_update();
                let now = leadership(&metrics, &self.roster);
                if let Err(fatal) = &metrics.running_state {
                    self.ended.send_replace(Some(fatal.to_string()));
                    break;
                }
                (now, leads(&metrics), quorum_ack_age(&metrics))
            };
            let stands_at = self.stand(&now).await;
            self.publish(now);
            let look_again = self.listen(leads, age).min(stands_at);
            tokio::select! {
                changed = metrics.changed() => {
                    if changed.is_err() {
                        self.ended.send_replace(Some("raft stopped".to_owned()));
                        break;
                    }
                }
                () = self.voice.changed() => {}
                () = tokio::time::sleep_until(look_again) => {}
            }
        }
        // A node whose Raft has stopped leads nothing, whatever it said last.
        let term = self.leadership.borrow().term;
        self.publish(Leadership { term, leader: None, leading: false });
    }

    fn publish(&self, now: Leadership) {
        self.leadership.send_if_modified(|known| {
            let changed = *known != now;
            if changed {
                tracing::info!(
                    node = %self.node,
                    term = now.term.0,
                    leader = now.leader.as_ref().map(tracing::field::display),
                    leading = now.leading,
                    "leadership changed"
                );
                *known = now;
            }
            changed
        });
    }

    /// Has this node stand for election if it is time, and says when to look again.
    async fn stand(&self, seen: &Leadership) -> Instant {
        loop {
            let look =
                |rule: &mut Candidacy, now| rule.look(now, seen.leader.as_ref(), seen.leading);
            match self.candidacy.with(look) {
                Candidate::Waits(until) => return self.candidacy.instant(until),
                Candidate::Stands => {
                    // A Raft that has stopped says so in the metrics, too.
                    let _ = self.raft.trigger().elect().await;
                }
            }
        }
    }

    fn listen(&self, leads: Option<Term>, age: Option<Duration>) -> Instant {
        let was_silent = self.voice.is_silent();
        let look_again = self.voice.look(leads, age);
        let silent = self.voice.is_silent();
        if silent && !was_silent {
            tracing::warn!(
                ?age,
                "no majority answers this leader: it is silent, so that others can be elected"
            );
        }
        // The network is silent already; this only spares openraft the attempts.
        self.raft.runtime_config().heartbeat(!silent);
        look_again
    }
}
