//! What the node's events look like in the log. ERROR = a human must act, WARN = unexpected, went
//! on, INFO = a state changed.

use tracing::{error, info, warn};
use vipfence_agent_core::{EndCause, Event};
use vipfence_types::{Refusal, VipName};

/// Counts what happens on the node.
pub(crate) trait NodeTally: Send + Sync {
    /// Something has happened.
    fn event(&self, event: &Event);
}

/// Where nobody counts.
impl NodeTally for () {
    fn event(&self, _event: &Event) {}
}

/// Writes one event to the log.
pub(super) fn write(event: &Event) {
    match event {
        Event::Entitled { vip, epoch } => info!(%vip, %epoch, "this node holds the VIP"),
        Event::NotEntitled { vip, epoch, cause } => match cause {
            EndCause::LeaseEnded => {
                warn!(%vip, %epoch, "this node holds the VIP no more: {cause}");
            }
            EndCause::NotGranted | EndCause::Released | EndCause::Stopping => {
                info!(%vip, %epoch, "this node holds the VIP no more: {cause}");
            }
        },
        Event::Added { vip, epoch } => info!(%vip, %epoch, "the address is on this node"),
        Event::AddFailed { vip, epoch, problem } => {
            warn!(%vip, %epoch, "cannot add the address, trying again: {problem}")
        }
        Event::Dropped { vip } => info!(%vip, "the address is off this node"),
        Event::DropFailed { vip, problem } => {
            let vip = vip.as_ref().map_or("", |vip| vip.as_str());
            warn!(vip, "cannot drop the address, trying again: {problem}");
        }
        Event::Disturbed { vip, epoch, address } => warn!(
            %vip, %epoch, %address,
            "something else took the address off this node, or changed it; it is put back"
        ),
        Event::Stray { address } => warn!(
            %address,
            "something else put the address of a VIP on this node, which does not hold it; it is \
             taken off (cloud-init, cloud-netconfig and nm-cloud-setup do that; `vipfence doctor` \
             names the line that stops them)"
        ),
        Event::Released { vip, epoch } => info!(%vip, %epoch, "released"),
        Event::PersistFailed { vip, problem } => {
            // The release cannot be confirmed, so whoever waits for it waits for the whole lease.
            error!(%vip, "cannot write the state directory: {problem}");
        }
        Event::GrantRefused { vip, epoch } => {
            warn!(%vip, %epoch, "a grant was refused: its epoch is over on this node");
        }
        Event::HeldWithoutQuorum { vip, epoch } => {
            warn!(%vip, %epoch, "the VIP is kept without a quorum (on_quorum_loss = hold)");
        }
        Event::Nowhere { vip, reason } => {
            error!(%vip, "nobody takes the VIP over from this node, which stops: {reason}");
        }
        Event::Paused { gap, held } => {
            let held: Vec<&str> = held.iter().map(VipName::as_str).collect();
            let (gap_ms, held) = (gap.as_millis(), held.join(", "));
            warn!(gap_ms, held, "this agent, or its machine, stood still");
        }
        Event::WallStepped { by_us } => {
            warn!(
                by_ms = by_us / 1_000,
                "the wall clock was set; forward, that can end a lease early"
            );
        }
        Event::TaskStarted { vip, epoch, task } => info!(%vip, %epoch, "{task} begins"),
        Event::TaskEnded { vip, epoch, task, outcome } => match outcome {
            Ok(()) => info!(%vip, %epoch, "{task} has ended"),
            Err(problem) => warn!(%vip, %epoch, "{task} failed: {problem}"),
        },
        Event::LeaderAnswers { term } => info!(%term, "a leader answers"),
        Event::LeaderSilent { problem } => warn!("no leader answers: {problem}"),
        Event::TurnedAway { refusal } => match refusal {
            // A node that was just added, or a cluster that is just being born: it may pass.
            Refusal::UnknownNode | Refusal::NotLeader { .. } | Refusal::NoQuorum => {
                warn!("this node is turned away: {refusal}");
            }
            Refusal::WrongCluster { .. } | Refusal::SecondBoot { .. } => {
                error!("this node is turned away: {refusal}");
            }
        },
    }
}
