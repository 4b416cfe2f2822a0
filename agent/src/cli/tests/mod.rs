//! Values that the tests of the command line share, and the commands against a small fake server.

mod arguments;
mod azure;
mod commands;
mod fake;
mod hands;
mod rehearse;

use prost_types::Timestamp;
use vipfence_proto::v1::{
    self, GetStatusResponse, Move, MoveCause, MoveOutcome, NodeRole, NodeState, Phase, PhaseSpan,
    Vip, VipAddress, VipSpec,
};

/// 2026-09-01 12:00:00Z and so many milliseconds.
pub(super) fn at(ms: u32) -> Timestamp {
    Timestamp {
        seconds: 1_788_264_000 + i64::from(ms / 1_000),
        nanos: i32::try_from(ms % 1_000 * 1_000_000).expect("less than a second"),
    }
}

/// A VIP that is held.
pub(super) fn vip(name: &str, holder: &str, epoch: u64) -> Vip {
    Vip {
        name: name.to_owned(),
        spec: Some(VipSpec {
            addresses: vec![VipAddress {
                address: "10.5.0.110".to_owned(),
                prefix_len: 32,
                nic: String::new(),
            }],
            ..VipSpec::default()
        }),
        enabled: true,
        phase: Phase::Held.into(),
        holder: holder.to_owned(),
        epoch,
        attached_to: holder.to_owned(),
        revision: 40,
        ..Vip::default()
    }
}

/// `move-12` of `demo` from n1 to n2, in the last of these phases.
pub(super) fn move_at(phases: &[(Phase, u32)]) -> Move {
    let ends = phases.iter().skip(1).map(|(_, ms)| Some(at(*ms))).chain([None]);
    let history = phases.iter().zip(ends).map(|((phase, ms), ended)| PhaseSpan {
        phase: (*phase).into(),
        started: Some(at(*ms)),
        ended,
    });
    Move {
        id: "move-12".to_owned(),
        vip: "demo".to_owned(),
        from_node: "n1".to_owned(),
        to_node: "n2".to_owned(),
        cause: MoveCause::Request.into(),
        phase: phases.last().map_or(0, |(phase, _)| (*phase).into()),
        phase_history: history.collect(),
        started: Some(at(0)),
        ..Move::default()
    }
}

/// The same, ended after 2.6 s.
pub(super) fn move_ended(outcome: MoveOutcome) -> Move {
    let superseded = outcome == MoveOutcome::Superseded;
    Move {
        epoch: 8,
        outcome: outcome.into(),
        superseded_by: if superseded { "move-13".to_owned() } else { String::new() },
        ended: Some(at(2_600)),
        ..move_at(&[(Phase::Detaching, 0), (Phase::Held, 1_100)])
    }
}

/// A cluster of two with one VIP.
pub(super) fn status() -> GetStatusResponse {
    let node = |name: &str| v1::Node {
        name: name.to_owned(),
        role: NodeRole::Member.into(),
        state: NodeState::Alive.into(),
        address: format!("{name}:7600"),
        nics: vec![v1::Nic {
            name: "front".to_owned(),
            id: format!("/subscriptions/s/x/{name}-nic"),
        }],
        last_heard: Some(prost_types::Duration { seconds: 0, nanos: 300_000_000 }),
        version: "0.1.0".to_owned(),
        arm_ok: Some(true),
        detail: String::new(),
        pause: None,
    };
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    GetStatusResponse {
        cluster: "demo".to_owned(),
        answered_by: "n2".to_owned(),
        leader: "n1".to_owned(),
        term: 3,
        quorum: true,
        revision: 42,
        profile: "fast".to_owned(),
        nodes: vec![node("n1"), node("n2")],
        vips: vec![vip("demo", "n1", 7)],
        local: None,
        version: "0.1.0".to_owned(),
        lease_wait: seconds(5),
        failover_after: seconds(3),
        pause: None,
    }
}
