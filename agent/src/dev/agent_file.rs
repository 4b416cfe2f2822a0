//! `DIR/n1/agent.toml`: a plain configuration file, as a person would write it.

use super::plan::{Plan, PlannedNode};

/// The cluster's name.
const CLUSTER: &str = "dev";

/// The text of a node's file. Every value is a name, an address or an ARM id: none needs escaping.
pub(super) fn text(plan: &Plan, node: &PlannedNode) -> String {
    let PlannedNode { name, grpc, http, responder, imds, nic_id } = node;
    let profile = plan.profile;
    let peers: String = plan
        .nodes
        .iter()
        .map(|peer| {
            format!(
                "[[peers]]\nname = \"{}\"\naddress = \"{}\"\nrole = \"member\"\n\n",
                peer.name, peer.grpc
            )
        })
        .collect();
    let arm = plan.arm_url();
    format!(
        "# Written by `vipfence dev`, which writes it anew at every start.\n\
         cluster = \"{CLUSTER}\"\n\
         profile = \"{profile}\"\n\n\
         [node]\nname = \"{name}\"\ndata_dir = \"data\"\n\n\
         [listen]\ngrpc = \"{grpc}\"\nhttp = \"{http}\"\n\n\
         {peers}\
         [[nics]]\nname = \"primary\"\nid = \"{nic_id}\"\n\n\
         [azure]\narm = \"{arm}\"\nimds = \"http://{imds}\"\n\n\
         [os]\ndriver = \"userspace\"\nresponder = \"{responder}\"\n"
    )
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use vipfence_types::Profile;

    use super::*;
    use crate::{
        config::{self, OsDriver},
        dev::ports::Ports,
    };

    #[test]
    fn the_agent_takes_the_file_without_a_remark() {
        let ports = Ports::at(7600, 3).unwrap();
        let plan = Plan::new(&ports, Profile::Fast, Duration::from_secs(1));
        for node in &plan.nodes {
            let loaded = config::parse("agent.toml", &text(&plan, node), Path::new("/tmp/d/n"))
                .unwrap_or_else(|error| panic!("{}", error.render(false)));
            assert!(loaded.warnings.problems().is_empty(), "{}", loaded.warnings);
            let config = loaded.config;
            assert_eq!(config.node.as_str(), node.name);
            assert_eq!((config.cluster.as_str(), config.profile), ("dev", Profile::Fast));
            assert_eq!(config.data_dir, Path::new("/tmp/d/n/data"));
            assert_eq!((config.listen.grpc, config.listen.http), (node.grpc, node.http));
            assert_eq!(config.peers.len(), 3);
            assert_eq!(config.nics.len(), 1);
            assert_eq!(config.azure.arm, plan.arm_url());
            assert_eq!(config.azure.imds, format!("http://{}", node.imds));
            assert_eq!(config.os, OsDriver::Userspace { responder: node.responder });
        }
    }
}
