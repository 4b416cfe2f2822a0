//! The definition of a VIP, in and out: what is shown can be sent back.

use std::collections::BTreeMap;

use tonic::Status;
use vipfence_proto::v1;
use vipfence_types::{
    Candidate, DataPath, DriftPolicy, Failback, Failover, FlapBudget, Mode, NodeId, Probe,
    ProbeProtocol, QuorumLoss, Release, Unanswered, VipAddress, VipSpec,
};

use super::{duration, millis};
use crate::api::errors::{invalid, invalid_name};

pub(in crate::api) fn spec(message: Option<&v1::VipSpec>) -> Result<VipSpec, Status> {
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
        data_path: match message.data_path() {
            v1::DataPathPolicy::Unspecified if message.data_path != 0 => {
                return Err(unknown("spec.data_path"));
            }
            v1::DataPathPolicy::Unspecified | v1::DataPathPolicy::Off => DataPath::Off,
            v1::DataPathPolicy::Report => DataPath::Report,
            v1::DataPathPolicy::Required => DataPath::Required,
        },
        data_path_port: match message.data_path_port {
            0 => VipSpec::default_data_path_port(),
            given => port("spec.data_path_port", given)?,
        },
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
        failback: failback(message)?,
        flap_budget: flap_budget(message.flap_budget.as_ref())?,
        failover: failover(message.confirmation.as_ref())?,
    })
}

fn port(field: &str, given: u32) -> Result<u16, Status> {
    u16::try_from(given)
        .map_err(|_| invalid("INVALID_SPEC", field, format!("{given} is not 1 to 65535")))
}

pub(super) fn probe(message: &v1::Probe) -> Result<Probe, Status> {
    let protocol = match message.protocol() {
        v1::ProbeProtocol::Unspecified if message.protocol != 0 => {
            let problem = "this version does not know it";
            return Err(invalid("INVALID_SPEC", "spec.probe.protocol", problem));
        }
        v1::ProbeProtocol::Unspecified | v1::ProbeProtocol::Tcp => ProbeProtocol::Tcp,
        v1::ProbeProtocol::Http => ProbeProtocol::Http,
    };
    let port = port("spec.probe.port", message.port)?;
    Ok(Probe { port, protocol, reply: message.reply.clone() })
}

pub(super) fn probe_message(probe: &Probe) -> v1::Probe {
    let protocol = match probe.protocol {
        ProbeProtocol::Tcp => v1::ProbeProtocol::Tcp,
        ProbeProtocol::Http => v1::ProbeProtocol::Http,
    };
    v1::Probe { port: probe.port.into(), protocol: protocol.into(), reply: probe.reply.clone() }
}

pub(super) fn address(field: &str, entry: &v1::VipAddress) -> Result<VipAddress, Status> {
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

fn failback(message: &v1::VipSpec) -> Result<Failback, Status> {
    let field = "spec.failback_after";
    let after = match &message.failback_after {
        None => None,
        Some(given) => {
            Some(millis(given).ok_or_else(|| invalid("INVALID_SPEC", field, "it is negative"))?)
        }
    };
    match (message.failback(), after) {
        (v1::FailbackPolicy::Unspecified, _) if message.failback != 0 => {
            Err(invalid("INVALID_SPEC", "spec.failback", "this version does not know it"))
        }
        (v1::FailbackPolicy::Unspecified | v1::FailbackPolicy::Manual, None) => {
            Ok(Failback::Manual)
        }
        (v1::FailbackPolicy::Prefer, None) => Ok(Failback::Prefer),
        (v1::FailbackPolicy::After, Some(ms)) => Ok(Failback::After { ms }),
        (v1::FailbackPolicy::After, None) => {
            Err(invalid("INVALID_SPEC", field, "FAILBACK_POLICY_AFTER needs it"))
        }
        (_, Some(_)) => {
            Err(invalid("INVALID_SPEC", field, "it goes with FAILBACK_POLICY_AFTER alone"))
        }
    }
}

fn flap_budget(message: Option<&v1::FlapBudget>) -> Result<FlapBudget, Status> {
    let Some(message) = message else { return Ok(FlapBudget::default()) };
    let window = message.window.as_ref().and_then(millis);
    let window_ms = window.ok_or_else(|| {
        invalid("INVALID_SPEC", "spec.flap_budget.window", "it is missing or negative")
    })?;
    Ok(FlapBudget { moves: message.moves, window_ms })
}

fn failover(message: Option<&v1::Confirmation>) -> Result<Failover, Status> {
    let Some(message) = message else { return Ok(Failover::Automatic) };
    let timeout = message.timeout.as_ref().and_then(millis);
    let timeout_ms = timeout.ok_or_else(|| {
        invalid("INVALID_SPEC", "spec.confirmation.timeout", "it is missing or negative")
    })?;
    let then = match message.unanswered() {
        v1::UnansweredPolicy::Move => Unanswered::Move,
        v1::UnansweredPolicy::Stay => Unanswered::Stay,
        v1::UnansweredPolicy::Unspecified => {
            let problem = "say UNANSWERED_POLICY_MOVE or UNANSWERED_POLICY_STAY";
            return Err(invalid("INVALID_SPEC", "spec.confirmation.unanswered", problem));
        }
    };
    Ok(Failover::Confirm { timeout_ms, then })
}

pub(super) fn address_message(entry: &VipAddress) -> v1::VipAddress {
    v1::VipAddress {
        address: entry.address.to_string(),
        prefix_len: u32::from(entry.prefix_len),
        nic: entry.nic.clone().unwrap_or_default(),
    }
}

pub(in crate::api) fn spec_message(spec: &VipSpec) -> v1::VipSpec {
    let candidates = spec.candidates.iter().map(|(node, candidate)| v1::Candidate {
        node: node.to_string(),
        priority: candidate.priority,
    });
    let (failback, failback_after) = failback_message(spec.failback);
    v1::VipSpec {
        addresses: spec.addresses.iter().map(address_message).collect(),
        mode: match spec.mode {
            Mode::IpConfig => v1::VipMode::IpConfig,
            Mode::LoadBalancer => v1::VipMode::LoadBalancer,
        }
        .into(),
        probe: spec.probe.as_ref().map(probe_message),
        data_path: match spec.data_path {
            DataPath::Off => v1::DataPathPolicy::Off,
            DataPath::Report => v1::DataPathPolicy::Report,
            DataPath::Required => v1::DataPathPolicy::Required,
        }
        .into(),
        data_path_port: spec.data_path_port.into(),
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
        failback: failback.into(),
        failback_after,
        flap_budget: Some(v1::FlapBudget {
            moves: spec.flap_budget.moves,
            window: Some(span(spec.flap_budget.window_ms)),
        }),
        confirmation: confirmation_message(spec.failover),
    }
}

fn failback_message(failback: Failback) -> (v1::FailbackPolicy, Option<prost_types::Duration>) {
    match failback {
        Failback::Manual => (v1::FailbackPolicy::Manual, None),
        Failback::Prefer => (v1::FailbackPolicy::Prefer, None),
        Failback::After { ms } => (v1::FailbackPolicy::After, Some(span(ms))),
    }
}

fn confirmation_message(failover: Failover) -> Option<v1::Confirmation> {
    let Failover::Confirm { timeout_ms, then } = failover else { return None };
    let unanswered = match then {
        Unanswered::Move => v1::UnansweredPolicy::Move,
        Unanswered::Stay => v1::UnansweredPolicy::Stay,
    };
    Some(v1::Confirmation { timeout: Some(span(timeout_ms)), unanswered: unanswered.into() })
}

fn span(ms: u64) -> prost_types::Duration {
    duration(std::time::Duration::from_millis(ms))
}
