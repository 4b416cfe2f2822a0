//! `Diagnose`: every node looks at itself, and the one that was asked compares what they say.
//!
//! What is looked at, and what it means, is the agent's affair ([`Examiner`]): here it is only asked
//! for, carried and put together. It changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use futures_util::future::{BoxFuture, join_all};
use tokio::time::timeout;
use tonic::{Request, Status, transport::Channel};
use vipfence_coordinator_core::{Intent, Registry};
use vipfence_proto::v1::{self, cluster_service_client::ClusterServiceClient};
use vipfence_types::{Examined, Finding, NicId, NodeId, VipName, VipSpec};

use super::{Api, convert};

/// A node tries everything within this, time-outs of its own included.
const WITHIN: Duration = Duration::from_secs(45);

/// What a node is to look at.
#[derive(Clone, Debug, Default)]
pub struct Examine {
    /// The VIPs, and whether this node may hold them.
    pub vips: Vec<(VipName, VipSpec, bool)>,
    /// Addresses that are to become VIPs.
    pub addresses: Vec<IpAddr>,
    /// A load balancer's frontend that the nodes are to stand behind.
    pub frontend: Option<Frontend>,
    /// The NICs of all members.
    pub members: BTreeSet<NicId>,
    /// Also look for who has the addresses: one node is enough for that.
    pub whole_cluster: bool,
}

/// A frontend of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontend {
    /// Its ARM id.
    pub id: String,
    /// The port of the health probe; none = any.
    pub probe_port: Option<u16>,
}

/// Looks at this node, and judges.
pub trait Examiner: Send + Sync {
    /// Looks at everything.
    fn examine(&self, ask: Examine) -> BoxFuture<'_, Examined>;
    /// Whether a TCP connection to `host:port` can be opened from here; none = it can.
    fn reach(&self, address: String) -> BoxFuture<'_, Option<Finding>>;
    /// What only the comparison of the nodes shows.
    fn compare(
        &self,
        state: &Registry,
        vips: &[VipName],
        examined: &[Examined],
        silent: &BTreeMap<NodeId, String>,
    ) -> Vec<Finding>;
}

impl Api {
    pub(super) async fn diagnose(
        &self,
        message: v1::DiagnoseRequest,
    ) -> Result<v1::DiagnoseResponse, Status> {
        let examiner = self.examiner.as_ref();
        let examiner = examiner.ok_or_else(|| Status::unimplemented("this node has no doctor"))?;
        let state = self.applied_here();
        let of_vip = match message.vip.as_str() {
            "" => None,
            name => Some(convert::vip_name("vip", name)?),
        };
        if let Some(name) = &of_vip
            && !state.vips.contains_key(name)
        {
            return Err(super::errors::vip_not_found(name.as_str()));
        }
        if message.this_node_only {
            let node = self.diagnose_here(&**examiner, &state, of_vip.as_ref(), &message).await;
            return Ok(v1::DiagnoseResponse { nodes: vec![node], findings: vec![] });
        }
        let looks_for_addresses = self.who_looks_for_addresses(&state);
        let mut names: BTreeSet<NodeId> = state.nodes.keys().cloned().collect();
        // A node whose cluster is not born yet knows itself.
        names.insert(self.node.clone());
        let asked = names.iter().map(async |node| {
            let message = v1::DiagnoseRequest {
                this_node_only: true,
                whole_cluster: looks_for_addresses.as_ref() == Some(node),
                ..message.clone()
            };
            if *node == self.node {
                return self.diagnose_here(&**examiner, &state, of_vip.as_ref(), &message).await;
            }
            self.diagnose_there(node, message).await.unwrap_or_else(|why| v1::NodeDiagnosis {
                node: node.to_string(),
                unreached: why,
                ..v1::NodeDiagnosis::default()
            })
        });
        let nodes = join_all(asked).await;
        let findings = if message.reach.is_empty() {
            compared(&**examiner, &state, of_vip, &nodes)
        } else {
            vec![]
        };
        Ok(v1::DiagnoseResponse { nodes, findings })
    }

    /// One node with a NIC: this one if it has any.
    fn who_looks_for_addresses(&self, state: &Registry) -> Option<NodeId> {
        let with_nics = || state.nodes.iter().filter(|(_, record)| !record.nics.is_empty());
        let here = with_nics().find(|(node, _)| **node == self.node);
        here.or_else(|| with_nics().next()).map(|(node, _)| node.clone())
    }

    async fn diagnose_here(
        &self,
        examiner: &dyn Examiner,
        state: &Registry,
        of_vip: Option<&VipName>,
        message: &v1::DiagnoseRequest,
    ) -> v1::NodeDiagnosis {
        if !message.reach.is_empty() {
            let finding = examiner.reach(message.reach.clone()).await;
            return v1::NodeDiagnosis {
                node: self.node.to_string(),
                findings: finding.iter().map(convert::finding_message).collect(),
                version: super::VERSION.to_owned(),
                ..v1::NodeDiagnosis::default()
            };
        }
        let vips = state.vips.values().filter(|record| {
            record.intent != Intent::Deleted && of_vip.is_none_or(|vip| record.name == *vip)
        });
        let nics = state.nodes.values().flat_map(|node| &node.nics);
        let ask = Examine {
            vips: vips
                .map(|record| {
                    let may_hold = state.candidates(&record.spec).contains(&&self.node);
                    (record.name.clone(), record.spec.clone(), may_hold)
                })
                .collect(),
            addresses: vec![],
            frontend: message.load_balancer.as_ref().map(|check| Frontend {
                id: check.frontend_id.clone(),
                probe_port: u16::try_from(check.probe_port).ok().filter(|port| *port > 0),
            }),
            members: nics.map(|nic| nic.id.clone()).collect(),
            whole_cluster: message.whole_cluster,
        };
        match timeout(WITHIN, examiner.examine(ask)).await {
            Ok(examined) => convert::diagnosis(&examined),
            Err(_) => v1::NodeDiagnosis {
                node: self.node.to_string(),
                unreached: format!("it was not done within {} s", WITHIN.as_secs()),
                ..v1::NodeDiagnosis::default()
            },
        }
    }

    async fn diagnose_there(
        &self,
        node: &NodeId,
        message: v1::DiagnoseRequest,
    ) -> Result<v1::NodeDiagnosis, String> {
        let channel: Channel =
            self.consensus.channel(node).ok_or("it is not among this node's peers")?;
        let mut request = Request::new(message);
        request.set_timeout(WITHIN);
        let call = async { ClusterServiceClient::new(channel).diagnose(request).await };
        let answer = timeout(WITHIN, call)
            .await
            .map_err(|_| format!("it did not answer within {} s", WITHIN.as_secs()))?
            .map_err(|status| status.message().to_owned())?;
        answer.into_inner().nodes.into_iter().next().ok_or_else(|| "it said nothing".to_owned())
    }
}

fn compared(
    examiner: &dyn Examiner,
    state: &Registry,
    of_vip: Option<VipName>,
    nodes: &[v1::NodeDiagnosis],
) -> Vec<v1::Finding> {
    let reached = nodes.iter().filter(|node| node.unreached.is_empty());
    let examined: Vec<Examined> = reached.filter_map(convert::examined).collect();
    let silent = nodes
        .iter()
        .filter(|node| !node.unreached.is_empty())
        .filter_map(|node| Some((NodeId::new(&node.node).ok()?, node.unreached.clone())));
    let vips: Vec<VipName> = match of_vip {
        Some(vip) => vec![vip],
        None => state.vips.keys().cloned().collect(),
    };
    let findings = examiner.compare(state, &vips, &examined, &silent.collect());
    findings.iter().map(convert::finding_message).collect()
}
