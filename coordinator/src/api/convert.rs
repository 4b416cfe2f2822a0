//! Conversions between the messages of the API and the words of the coordinator.

use std::collections::BTreeMap;

use prost_types::{Duration as ProtoDuration, Timestamp};
use tonic::Status;
use vipfence_coordinator_core::{
    self as core, Cause, Intent, MovePlan, NodeState, OperationKind, Outcome, Phase, Registry,
    Request, VipRecord,
};
use vipfence_proto::v1;
use vipfence_types::{
    Answer, Candidate, DriftPolicy, Epoch, Examined, Finding, Grant, Heartbeat, Mode, NicId,
    NicRecord, NodeHealth, NodeId, Nowhere, Probe, ProbeProtocol, QuorumLoss, Release, RequestId,
    Role, Severity, Term, VipAddress, VipEpoch, VipFailing, VipName, VipReport, VipSpec,
};

use super::errors::{invalid, invalid_name};

// ---- into the coordinator ---------------------------------------------------------------------

pub(super) fn vip_name(field: &str, name: &str) -> Result<VipName, Status> {
    VipName::new(name).map_err(|error| invalid_name(field, &error))
}

/// A node name that may be left out.
pub(super) fn node_name(field: &str, name: &str) -> Result<Option<NodeId>, Status> {
    if name.is_empty() {
        return Ok(None);
    }
    NodeId::new(name).map(Some).map_err(|error| invalid_name(field, &error))
}

/// The caller's request id, or a new one.
pub(super) fn request_id(given: &str) -> Result<RequestId, Status> {
    if given.len() > 128 {
        return Err(invalid("INVALID_REQUEST_ID", "request_id", "it is longer than 128 bytes"));
    }
    if given.is_empty() {
        return Ok(uuid::Uuid::new_v4().to_string().into());
    }
    Ok(given.into())
}

/// Who asks for what. `content` is the message without its request id: two requests are the same if
/// it is.
pub(super) fn request(
    method: &str,
    id: &RequestId,
    content: &impl prost::Message,
    caller: &str,
) -> Request {
    let bytes = content.encode_to_vec();
    let mut text = format!("{method}:");
    for byte in bytes {
        use std::fmt::Write as _;
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Request { id: Some(id.clone()), content: text, caller: caller.to_owned() }
}

pub(super) fn spec(message: Option<&v1::VipSpec>) -> Result<VipSpec, Status> {
    let Some(message) = message else {
        return Err(invalid("INVALID_SPEC", "spec", "it is missing"));
    };
    let mut addresses = Vec::new();
    for (at, entry) in message.addresses.iter().enumerate() {
        addresses.push(address(&format!("spec.addresses[{at}]"), entry)?);
    }
    let mut candidates = BTreeMap::new();
    for (at, candidate) in message.candidates.iter().enumerate() {
        let field = format!("spec.candidates[{at}].node");
        let node = NodeId::new(&candidate.node).map_err(|error| invalid_name(&field, &error))?;
        let entry = Candidate { priority: candidate.priority };
        if candidates.insert(node, entry).is_some() {
            return Err(invalid("INVALID_SPEC", &field, "it stands twice"));
        }
    }
    let release_timeout_ms = match &message.release_timeout {
        None => 10_000,
        Some(duration) => millis(duration)
            .ok_or_else(|| invalid("INVALID_SPEC", "spec.release_timeout", "it is negative"))?,
    };
    let unknown = |field: &str| invalid("INVALID_SPEC", field, "this version does not know it");
    Ok(VipSpec {
        addresses,
        mode: match message.mode() {
            v1::VipMode::Unspecified if message.mode != 0 => return Err(unknown("spec.mode")),
            v1::VipMode::Unspecified | v1::VipMode::IpConfig => Mode::IpConfig,
            v1::VipMode::LoadBalancer => Mode::LoadBalancer,
        },
        probe: message.probe.as_ref().map(probe).transpose()?,
        candidates,
        release: match message.release() {
            v1::ReleasePolicy::Unspecified if message.release != 0 => {
                return Err(unknown("spec.release"));
            }
            v1::ReleasePolicy::Unspecified | v1::ReleasePolicy::Late => Release::Late,
            v1::ReleasePolicy::Early => Release::Early,
        },
        release_timeout_ms,
        on_quorum_loss: match message.on_quorum_loss() {
            v1::QuorumLossPolicy::Unspecified if message.on_quorum_loss != 0 => {
                return Err(unknown("spec.on_quorum_loss"));
            }
            v1::QuorumLossPolicy::Unspecified | v1::QuorumLossPolicy::Release => {
                QuorumLoss::Release
            }
            v1::QuorumLossPolicy::Hold => QuorumLoss::Hold,
        },
        drift: match message.drift() {
            v1::DriftPolicy::Unspecified if message.drift != 0 => {
                return Err(unknown("spec.drift"));
            }
            v1::DriftPolicy::Unspecified | v1::DriftPolicy::Repair => DriftPolicy::Repair,
            v1::DriftPolicy::Report => DriftPolicy::Report,
        },
    })
}

fn probe(message: &v1::Probe) -> Result<Probe, Status> {
    let invalid = |field: &str, problem: String| invalid("INVALID_SPEC", field, problem);
    let port = u16::try_from(message.port)
        .map_err(|_| invalid("spec.probe.port", format!("{} is not 1 to 65535", message.port)))?;
    let protocol = match message.protocol() {
        v1::ProbeProtocol::Unspecified if message.protocol != 0 => {
            let problem = "this version does not know it".to_owned();
            return Err(invalid("spec.probe.protocol", problem));
        }
        v1::ProbeProtocol::Unspecified | v1::ProbeProtocol::Tcp => ProbeProtocol::Tcp,
        v1::ProbeProtocol::Http => ProbeProtocol::Http,
    };
    Ok(Probe { port, protocol, reply: message.reply.clone() })
}

fn probe_message(probe: &Probe) -> v1::Probe {
    let protocol = match probe.protocol {
        ProbeProtocol::Tcp => v1::ProbeProtocol::Tcp,
        ProbeProtocol::Http => v1::ProbeProtocol::Http,
    };
    v1::Probe { port: probe.port.into(), protocol: protocol.into(), reply: probe.reply.clone() }
}

fn address(field: &str, entry: &v1::VipAddress) -> Result<VipAddress, Status> {
    let ip: std::net::IpAddr = entry.address.parse().map_err(|_| {
        let problem =
            format!("\"{}\" is not an IP address; write it like 10.5.0.110", entry.address);
        invalid("INVALID_ADDRESS", &format!("{field}.address"), problem)
    })?;
    let whole = if ip.is_ipv4() { 32 } else { 128 };
    let prefix_len = match entry.prefix_len {
        0 => whole,
        given => u8::try_from(given).ok().filter(|len| *len <= whole).ok_or_else(|| {
            let problem = format!("{given} is not 1 to {whole}");
            invalid("INVALID_ADDRESS", &format!("{field}.prefix_len"), problem)
        })?,
    };
    let nic = (!entry.nic.is_empty()).then(|| entry.nic.clone());
    Ok(VipAddress { address: ip, prefix_len, nic })
}

pub(super) fn heartbeat(message: v1::BeatRequest) -> Result<Heartbeat, Status> {
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
        version: message.version,
    })
}

pub(super) fn answer(message: v1::BeatResponse) -> Result<Answer, String> {
    let at = |vip: &str, epoch: u64| -> Result<VipEpoch, String> {
        let vip = VipName::new(vip).map_err(|error| error.to_string())?;
        Ok(VipEpoch { vip, epoch: Epoch(epoch) })
    };
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
        })
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
    })
}

// ---- out of the coordinator -------------------------------------------------------------------

pub(super) fn heartbeat_message(beat: &Heartbeat) -> v1::BeatRequest {
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
    }
}

pub(super) fn answer_message(answer: Answer) -> v1::BeatResponse {
    let grants = answer.grants.iter().map(|grant| v1::Grant {
        vip: grant.at.vip.to_string(),
        epoch: grant.at.epoch.0,
        lease_ttl_ms: grant.lease_ttl_ms,
        addresses: grant.addresses.iter().map(address_message).collect(),
        hold_without_quorum: grant.hold_without_quorum,
        probe: grant.probe.as_ref().map(probe_message),
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
    }
}

fn address_message(entry: &VipAddress) -> v1::VipAddress {
    v1::VipAddress {
        address: entry.address.to_string(),
        prefix_len: u32::from(entry.prefix_len),
        nic: entry.nic.clone().unwrap_or_default(),
    }
}

pub(super) fn vip_message(state: &Registry, record: &VipRecord) -> v1::Vip {
    let open = state.open_move(&record.name);
    // Where a load balancer sends traffic is not ours to say.
    let attached_to = record.azure.attached_to().filter(|_| !record.spec.on_nics().is_empty());
    v1::Vip {
        name: record.name.to_string(),
        spec: Some(spec_message(&record.spec)),
        enabled: record.intent == Intent::Held,
        phase: phase_message(record.shown_phase()).into(),
        holder: record.holder().map_or(String::new(), ToString::to_string),
        epoch: record.epoch().0,
        attached_to: attached_to.map_or(String::new(), ToString::to_string),
        revision: record.revision.0,
        current_move: open.map(|open| move_message(open)),
        blocked_reason: open.map_or(String::new(), |open| open.blocked_reason.clone()),
        exposed_nics: record.exposed.iter().map(ToString::to_string).collect(),
        held_since: record.held_since_ms.map(timestamp),
        drift: record.drift.as_ref().map(|drift| drift.what.clone()).unwrap_or_default(),
        drift_since: record.drift.as_ref().map(|drift| timestamp(drift.since_ms)),
    }
}

pub(super) fn spec_message(spec: &VipSpec) -> v1::VipSpec {
    let candidates = spec.candidates.iter().map(|(node, candidate)| v1::Candidate {
        node: node.to_string(),
        priority: candidate.priority,
    });
    v1::VipSpec {
        addresses: spec.addresses.iter().map(address_message).collect(),
        mode: match spec.mode {
            Mode::IpConfig => v1::VipMode::IpConfig,
            Mode::LoadBalancer => v1::VipMode::LoadBalancer,
        }
        .into(),
        probe: spec.probe.as_ref().map(probe_message),
        candidates: candidates.collect(),
        release: match spec.release {
            Release::Late => v1::ReleasePolicy::Late,
            Release::Early => v1::ReleasePolicy::Early,
        }
        .into(),
        release_timeout: Some(duration(spec.release_timeout())),
        on_quorum_loss: match spec.on_quorum_loss {
            QuorumLoss::Release => v1::QuorumLossPolicy::Release,
            QuorumLoss::Hold => v1::QuorumLossPolicy::Hold,
        }
        .into(),
        drift: match spec.drift {
            DriftPolicy::Repair => v1::DriftPolicy::Repair,
            DriftPolicy::Report => v1::DriftPolicy::Report,
        }
        .into(),
    }
}

pub(super) fn move_message(known: &core::Move) -> v1::Move {
    let phases = known.phases.iter().map(|span| v1::PhaseSpan {
        phase: phase_message(span.phase).into(),
        started: Some(timestamp(span.started_ms)),
        ended: span.ended_ms.map(timestamp),
    });
    let operations = known.operations.iter().map(|operation| v1::AzureOperation {
        nic: operation.nic.to_string(),
        kind: kind_message(operation.kind).into(),
        url: operation.url.clone(),
        status: operation.status.clone(),
        started: Some(timestamp(operation.started_ms)),
        ended: operation.ended_ms.map(timestamp),
    });
    let (outcome, superseded_by) = match known.outcome {
        None => (v1::MoveOutcome::Unspecified, String::new()),
        Some(Outcome::Done) => (v1::MoveOutcome::Done, String::new()),
        Some(Outcome::AlreadyHeld) => (v1::MoveOutcome::AlreadyHeld, String::new()),
        Some(Outcome::Superseded(by)) => (v1::MoveOutcome::Superseded, by.to_string()),
    };
    let phase =
        known.phases.last().map_or(v1::Phase::Unspecified, |span| phase_message(span.phase));
    v1::Move {
        id: known.id.to_string(),
        vip: known.vip.to_string(),
        epoch: known.epoch.0,
        from_node: known.from_node.as_ref().map_or(String::new(), ToString::to_string),
        to_node: known.to_node.as_ref().map_or(String::new(), ToString::to_string),
        cause: cause_message(known.cause).into(),
        caller: known.caller.clone(),
        request_id: known.request_id.as_ref().map_or(String::new(), ToString::to_string),
        phase: phase.into(),
        phase_history: phases.collect(),
        blocked_reason: known.blocked_reason.clone(),
        next_attempt: known.next_attempt_ms.map(timestamp),
        azure_operations: operations.collect(),
        outcome: outcome.into(),
        superseded_by,
        started: Some(timestamp(known.started_ms)),
        ended: known.ended_ms.map(timestamp),
        plan: None,
    }
}

/// The answer of a dry run: a Move that nobody has committed.
pub(super) fn plan_message(vip: &VipName, plan: &MovePlan) -> v1::Move {
    let writes = plan.writes.iter().map(|write| v1::PlannedWrite {
        nic: write.nic.to_string(),
        kind: kind_message(write.kind).into(),
        json_patch: write.patch.to_string(),
    });
    v1::Move {
        vip: vip.to_string(),
        from_node: plan.from_node.as_ref().map_or(String::new(), ToString::to_string),
        to_node: plan.to_node.to_string(),
        cause: v1::MoveCause::Request.into(),
        outcome: v1::MoveOutcome::Planned.into(),
        plan: Some(v1::MovePlan {
            phases: plan.phases.iter().map(|phase| phase_message(*phase).into()).collect(),
            writes: writes.collect(),
            expected_duration: Some(duration(plan.expected.takes)),
            expected_from_moves: u32::try_from(plan.expected.moves).unwrap_or(u32::MAX),
            expected_basis: plan.expected.basis.clone(),
        }),
        ..v1::Move::default()
    }
}

pub(super) fn event_message(event: &core::Event) -> v1::Event {
    v1::Event {
        number: event.number,
        time: Some(timestamp(event.at_ms)),
        kind: event.kind.as_str().to_owned(),
        vip: event.vip.as_ref().map_or(String::new(), ToString::to_string),
        node: event.node.as_ref().map_or(String::new(), ToString::to_string),
        epoch: event.epoch.0,
        term: event.term.0,
        message: event.message.clone(),
    }
}

pub(super) fn role_message(role: Role) -> v1::NodeRole {
    match role {
        Role::Member => v1::NodeRole::Member,
        Role::Witness => v1::NodeRole::Witness,
        Role::Learner => v1::NodeRole::Learner,
    }
}

pub(super) fn state_message(state: NodeState) -> v1::NodeState {
    match state {
        NodeState::Alive => v1::NodeState::Alive,
        NodeState::Suspect => v1::NodeState::Suspect,
        NodeState::Silent => v1::NodeState::Silent,
        NodeState::Stopping => v1::NodeState::Stopping,
    }
}

fn phase_message(phase: Phase) -> v1::Phase {
    match phase {
        Phase::Planned => v1::Phase::Planned,
        Phase::Releasing => v1::Phase::Releasing,
        Phase::Expiring => v1::Phase::Expiring,
        Phase::Detaching => v1::Phase::Detaching,
        Phase::Attaching => v1::Phase::Attaching,
        Phase::Granting => v1::Phase::Granting,
        Phase::Held => v1::Phase::Held,
        Phase::Detached => v1::Phase::Detached,
    }
}

fn kind_message(kind: OperationKind) -> v1::AzureOperationKind {
    match kind {
        OperationKind::Detach => v1::AzureOperationKind::Detach,
        OperationKind::Attach => v1::AzureOperationKind::Attach,
        OperationKind::Seal => v1::AzureOperationKind::Seal,
    }
}

fn cause_message(cause: Cause) -> v1::MoveCause {
    match cause {
        Cause::Request => v1::MoveCause::Request,
        Cause::Created => v1::MoveCause::Created,
        Cause::HolderSilent => v1::MoveCause::HolderSilent,
        Cause::HolderStopping => v1::MoveCause::HolderStopping,
        Cause::Enabled => v1::MoveCause::Enabled,
        Cause::Disabled => v1::MoveCause::Disabled,
        Cause::Deleted => v1::MoveCause::Deleted,
        Cause::TargetFailed => v1::MoveCause::TargetFailed,
        Cause::Drift => v1::MoveCause::Drift,
        Cause::EpochRefused => v1::MoveCause::EpochRefused,
    }
}

// ---- the doctor -------------------------------------------------------------------------------

pub(super) fn finding_message(finding: &Finding) -> v1::Finding {
    let severity = match finding.severity {
        Severity::Notice => v1::FindingSeverity::Notice,
        Severity::Warning => v1::FindingSeverity::Warning,
        Severity::Error => v1::FindingSeverity::Error,
    };
    v1::Finding {
        check: finding.check.clone(),
        severity: severity.into(),
        vip: finding.vip.as_ref().map_or(String::new(), ToString::to_string),
        subject: finding.subject.clone(),
        message: finding.message.clone(),
        remedy: finding.remedy.clone(),
    }
}

/// What a node found out about itself, as a message.
#[must_use]
pub fn diagnosis(examined: &Examined) -> v1::NodeDiagnosis {
    v1::NodeDiagnosis {
        node: examined.node.to_string(),
        unreached: String::new(),
        findings: examined.findings.iter().map(finding_message).collect(),
        version: examined.version.clone(),
        time: Some(timestamp(examined.wall_ms)),
        virtual_networks: examined.networks.iter().cloned().collect(),
        nics: examined.nics.iter().map(ToString::to_string).collect(),
        peers: examined.peers.iter().cloned().collect(),
    }
}

/// What the comparison needs of it; its findings go to the caller as they came.
pub(super) fn examined(message: &v1::NodeDiagnosis) -> Option<Examined> {
    let time = message.time.unwrap_or_default();
    let seconds = u64::try_from(time.seconds).unwrap_or(0);
    let millis = u64::try_from(time.nanos / 1_000_000).unwrap_or(0);
    Some(Examined {
        node: NodeId::new(&message.node).ok()?,
        version: message.version.clone(),
        wall_ms: seconds.saturating_mul(1_000).saturating_add(millis),
        findings: vec![],
        networks: message.virtual_networks.iter().cloned().collect(),
        nics: message.nics.iter().map(|nic| NicId::new(nic)).collect(),
        peers: message.peers.iter().cloned().collect(),
    })
}

fn timestamp(ms: u64) -> Timestamp {
    let nanos = i32::try_from(ms % 1_000 * 1_000_000).expect("less than a second");
    Timestamp { seconds: i64::try_from(ms / 1_000).unwrap_or(i64::MAX), nanos }
}

pub(super) fn duration(span: std::time::Duration) -> ProtoDuration {
    let nanos = i32::try_from(span.subsec_nanos()).expect("less than a second");
    ProtoDuration { seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX), nanos }
}

fn millis(span: &ProtoDuration) -> Option<u64> {
    let seconds = u64::try_from(span.seconds).ok()?;
    let nanos = u64::try_from(span.nanos).ok()?;
    seconds.checked_mul(1_000)?.checked_add(nanos / 1_000_000)
}
