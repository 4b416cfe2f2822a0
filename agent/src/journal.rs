//! What the cluster agreed on, in this node's log.

use std::sync::Arc;

use vipfence_coordinator::consensus::Consensus;

/// Logs every event of the replicated state from now on.
pub(crate) async fn follow(consensus: Consensus) {
    let mut applied = consensus.applied();
    let mut last = applied.borrow().state.last_event;
    while applied.changed().await.is_ok() {
        let state = Arc::clone(&applied.borrow_and_update().state);
        for event in state.events.iter().filter(|event| event.number > last) {
            let (vip, node) = (event.vip.as_ref(), event.node.as_ref());
            tracing::info!(
                kind = event.kind.as_str(),
                vip = vip.map(tracing::field::display),
                node = node.map(tracing::field::display),
                epoch = event.epoch.0,
                term = event.term.0,
                "{}",
                event.message
            );
        }
        last = last.max(state.last_event);
    }
}
