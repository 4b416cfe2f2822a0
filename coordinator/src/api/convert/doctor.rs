//! What the doctor finds, in and out.

use vipfence_proto::v1;
use vipfence_types::{Examined, Finding, NicId, NodeId, Severity};

use super::timestamp;

pub(in crate::api) fn finding_message(finding: &Finding) -> v1::Finding {
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
pub(in crate::api) fn examined(message: &v1::NodeDiagnosis) -> Option<Examined> {
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
