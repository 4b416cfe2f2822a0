//! Heartbeats and their answers, in and out.

use tonic::Status;
use vipfence_proto::v1;
use vipfence_types::{
    Answer, Connection, Cut, Epoch, Grant, Heartbeat, NicId, NicRecord, NodeHealth, NodeId,
    Nowhere, Reach, Term, VipEpoch, VipFailing, VipName, VipReport,
};

use super::{
    spec::{address, address_message, probe, probe_message},
    vip_name,
};
use crate::api::errors::invalid_name;

pub(in crate::api) fn heartbeat(message: v1::BeatRequest) -> Result<Heartbeat, Status> {
    let name =
        |field: &str, name: &str| NodeId::new(name).map_err(|error| invalid_name(field, &error));
    let at = |entry: &v1::VipAtEpoch| -> Result<VipEpoch, Status> {
        Ok(VipEpoch { vip: vip_name("vip", &entry.vip)?, epoch: Epoch(entry.epoch) })
    };
    let held = message.held.iter().map(|report| {
        let vip = vip_name("held.vip", &report.vip)?;
        let at = VipEpoch { vip, epoch: Epoch(report.epoch) };
        Ok(VipReport {
            at,
            added: report.added,
            problem: report.problem.clone(),
            unfit: report.unfit.clone(),
        })
    });
    let nics = message.nics.iter();
    let failing = message.failing.iter().map(|failing| {
        let vip = vip_name("failing.vip", &failing.vip)?;
        Ok(VipFailing { vip, reason: failing.reason.clone() })
    });
    Ok(Heartbeat {
        cluster: vipfence_types::ClusterName::new(&message.cluster)
            .map_err(|error| invalid_name("cluster", &error))?,
        node: name("node", &message.node)?,
        boot: message.boot.as_str().into(),
        replaces: message.replaces.into_iter().map(Into::into).collect(),
        seq: message.seq,
        held: held.collect::<Result<_, Status>>()?,
        released: message.released.iter().map(at).collect::<Result<_, _>>()?,
        cut: cuts(&message.cut),
        refused: message.refused.iter().map(at).collect::<Result<_, _>>()?,
        highest_epoch: Epoch(message.highest_epoch),
        nics: nics
            .map(|nic| NicRecord { name: nic.name.clone(), id: NicId::new(&nic.id) })
            .collect(),
        health: NodeHealth {
            stopping: message.stopping,
            arm_ok: message.arm_ok,
            detail: message.detail,
        },
        failing: failing.collect::<Result<_, Status>>()?,
        reached: message.reached.iter().map(at).collect::<Result<_, _>>()?,
        version: message.version,
    })
}

/// What can be read of cut connections. No lease depends on them, so nothing of them is refused.
fn cuts(messages: &[v1::VipCut]) -> Vec<Cut> {
    let mut room = Connection::PER_MESSAGE;
    let cut = |message: &v1::VipCut| {
        let vip = VipName::new(&message.vip).ok()?;
        let at = VipEpoch { vip, epoch: Epoch(message.epoch) };
        Some(Cut { at, connections: connections(&message.connections, &mut room) })
    };
    messages.iter().filter_map(cut).collect()
}

/// As many as are carried of one VIP, and as there is room for.
fn connections(messages: &[v1::Connection], room: &mut usize) -> Vec<Connection> {
    let read = |message: &v1::Connection| {
        let (client, vip) = (message.client.parse().ok()?, message.vip.parse().ok()?);
        Some(Connection { client, vip })
    };
    let most = Connection::PER_VIP.min(*room);
    let connections: Vec<Connection> = messages.iter().filter_map(read).take(most).collect();
    *room -= connections.len();
    connections
}

fn connection_messages(connections: &[Connection]) -> Vec<v1::Connection> {
    let message = |one: &Connection| v1::Connection {
        client: one.client.to_string(),
        vip: one.vip.to_string(),
    };
    connections.iter().map(message).collect()
}

pub(in crate::api) fn answer(message: v1::BeatResponse) -> Result<Answer, String> {
    let at = |vip: &str, epoch: u64| -> Result<VipEpoch, String> {
        let vip = VipName::new(vip).map_err(|error| error.to_string())?;
        Ok(VipEpoch { vip, epoch: Epoch(epoch) })
    };
    let mut room = Connection::PER_MESSAGE;
    let grants = message.grants.into_iter().map(|grant| {
        let addresses = grant.addresses.iter().map(|entry| {
            address("grants.addresses", entry).map_err(|status| status.message().to_owned())
        });
        Ok(Grant {
            at: at(&grant.vip, grant.epoch)?,
            lease_ttl_ms: grant.lease_ttl_ms,
            addresses: addresses.collect::<Result<_, String>>()?,
            hold_without_quorum: grant.hold_without_quorum,
            probe: grant
                .probe
                .as_ref()
                .map(probe)
                .transpose()
                .map_err(|status| status.message().to_owned())?,
            cut: connections(&grant.cut, &mut room),
        })
    });
    let reach = message.reach.into_iter().map(|entry| {
        let target = entry.target.parse();
        let target =
            target.map_err(|_| format!("\"{}\" is no address with a port", entry.target))?;
        Ok(Reach { at: at(&entry.vip, entry.epoch)?, target })
    });
    Ok(Answer {
        seq: message.seq,
        term: Term(message.term),
        grants: grants.collect::<Result<_, String>>()?,
        releasing: message
            .releasing
            .iter()
            .map(|entry| at(&entry.vip, entry.epoch))
            .collect::<Result<_, _>>()?,
        nowhere: message
            .nowhere
            .into_iter()
            .map(|entry| {
                let vip = VipName::new(&entry.vip).map_err(|error| error.to_string())?;
                Ok(Nowhere { vip, reason: entry.reason })
            })
            .collect::<Result<_, String>>()?,
        reach: reach.collect::<Result<_, String>>()?,
    })
}

pub(in crate::api) fn heartbeat_message(beat: &Heartbeat) -> v1::BeatRequest {
    let at = |at: &VipEpoch| v1::VipAtEpoch { vip: at.vip.to_string(), epoch: at.epoch.0 };
    let held = beat.held.iter().map(|report| v1::VipReport {
        vip: report.at.vip.to_string(),
        epoch: report.at.epoch.0,
        added: report.added,
        problem: report.problem.clone(),
        unfit: report.unfit.clone(),
    });
    let failing = beat
        .failing
        .iter()
        .map(|one| v1::VipFailing { vip: one.vip.to_string(), reason: one.reason.clone() });
    let nics = beat.nics.iter();
    let cut = beat.cut.iter().map(|cut| v1::VipCut {
        vip: cut.at.vip.to_string(),
        epoch: cut.at.epoch.0,
        connections: connection_messages(&cut.connections),
    });
    v1::BeatRequest {
        cluster: beat.cluster.to_string(),
        node: beat.node.to_string(),
        boot: beat.boot.to_string(),
        replaces: beat.replaces.iter().map(ToString::to_string).collect(),
        seq: beat.seq,
        held: held.collect(),
        released: beat.released.iter().map(at).collect(),
        refused: beat.refused.iter().map(at).collect(),
        highest_epoch: beat.highest_epoch.0,
        nics: nics
            .map(|nic| v1::NodeNic { name: nic.name.clone(), id: nic.id.to_string() })
            .collect(),
        stopping: beat.health.stopping,
        arm_ok: beat.health.arm_ok,
        detail: beat.health.detail.clone(),
        version: beat.version.clone(),
        failing: failing.collect(),
        reached: beat.reached.iter().map(at).collect(),
        cut: cut.collect(),
    }
}

pub(in crate::api) fn answer_message(answer: Answer) -> v1::BeatResponse {
    let grants = answer.grants.iter().map(|grant| v1::Grant {
        vip: grant.at.vip.to_string(),
        epoch: grant.at.epoch.0,
        lease_ttl_ms: grant.lease_ttl_ms,
        addresses: grant.addresses.iter().map(address_message).collect(),
        hold_without_quorum: grant.hold_without_quorum,
        probe: grant.probe.as_ref().map(probe_message),
        cut: connection_messages(&grant.cut),
    });
    let releasing = answer.releasing.iter();
    v1::BeatResponse {
        seq: answer.seq,
        term: answer.term.0,
        grants: grants.collect(),
        releasing: releasing
            .map(|at| v1::VipAtEpoch { vip: at.vip.to_string(), epoch: at.epoch.0 })
            .collect(),
        nowhere: answer
            .nowhere
            .into_iter()
            .map(|one| v1::VipNowhere { vip: one.vip.to_string(), reason: one.reason })
            .collect(),
        reach: answer
            .reach
            .into_iter()
            .map(|one| v1::VipReach {
                vip: one.at.vip.to_string(),
                epoch: one.at.epoch.0,
                target: one.target.to_string(),
            })
            .collect(),
    }
}
