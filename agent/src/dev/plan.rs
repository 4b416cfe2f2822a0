//! What is to be started: the nodes with their endpoints, and the simulated Azure.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use azure_sim::{Prefix, WorldConfig};
use vipfence_types::Profile;

use super::ports::{Ports, local};

/// The most nodes that the layout of the ports and the wiping of a folder know.
pub(super) const MAX_NODES: usize = 9;
/// The VIP's name.
pub(super) const VIP_NAME: &str = "demo";
/// The VIP's address.
pub(super) const VIP_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 5, 0, 110));
/// An address on a NIC that is not the cluster's: to see it refused.
const STRANGER: (&str, Ipv4Addr) = ("stranger-nic", Ipv4Addr::new(10, 5, 0, 200));

/// `n1` for 0.
pub(super) fn node_name(index: usize) -> String {
    format!("n{}", index + 1)
}

/// A node to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlannedNode {
    pub(super) name: String,
    pub(super) grpc: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) responder: SocketAddr,
    pub(super) imds: SocketAddr,
    pub(super) nic_id: String,
}

/// A cluster to be.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) nodes: Vec<PlannedNode>,
    pub(super) arm: SocketAddr,
    pub(super) vip: SocketAddr,
    pub(super) profile: Profile,
    pub(super) world: WorldConfig,
}

impl Plan {
    pub(super) fn new(ports: &Ports, profile: Profile, arm_latency: Duration) -> Self {
        // At most MAX_NODES.
        let count = u8::try_from(ports.nodes.len()).unwrap_or(u8::MAX);
        let mut world = WorldConfig::nodes(count)
            .static_primaries()
            .dual_stack()
            .with_stranger(STRANGER.0, STRANGER.1);
        // Room for as many VIPs as a NIC takes.
        for subnet in world.virtual_networks.iter_mut().flat_map(|network| &mut network.subnets) {
            if let Ok(wide) = Prefix::new(Ipv4Addr::new(10, 5, 0, 0), 22) {
                subnet.prefix = wide;
            }
        }
        world.settings.operation_ms = u64::try_from(arm_latency.as_millis()).unwrap_or(u64::MAX);
        let nodes = ports.nodes.iter().enumerate().map(|(index, ports)| {
            let name = node_name(index);
            PlannedNode {
                nic_id: world.nic_id(&format!("{name}-nic")),
                grpc: local(ports.grpc),
                http: local(ports.http),
                responder: local(ports.responder),
                imds: local(ports.imds),
                name,
            }
        });
        Self {
            nodes: nodes.collect(),
            arm: local(ports.arm),
            vip: local(ports.vip),
            profile,
            world,
        }
    }

    /// Base of the simulated ARM's URLs.
    pub(super) fn arm_url(&self) -> String {
        format!("http://{}", self.arm)
    }

    /// Base of the simulator's own interface.
    pub(super) fn admin_url(&self) -> String {
        format!("http://{}/admin", self.arm)
    }

    /// Where the VIP is served.
    pub(super) fn vip_url(&self) -> String {
        format!("http://{}", self.vip)
    }

    /// The node of a NIC; ARM ids compare without case.
    pub(super) fn node_of_nic(&self, id: &str) -> Option<&PlannedNode> {
        self.nodes.iter().find(|node| node.nic_id.eq_ignore_ascii_case(id))
    }

    /// The node's name, for messages.
    pub(super) fn name(&self, index: usize) -> &str {
        self.nodes.get(index).map_or("?", |node| node.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_the_nic_of_its_name_in_the_world() {
        let ports = Ports::at(7600, 3).unwrap();
        let plan = Plan::new(&ports, Profile::Fast, Duration::from_millis(250));
        assert_eq!(plan.world.settings.operation_ms, 250);
        let nics: Vec<&str> = plan.world.nics.iter().map(|nic| nic.name.as_str()).collect();
        assert_eq!(nics, ["n1-nic", "n2-nic", "n3-nic", "stranger-nic"]);
        let id = plan.nodes[1].nic_id.to_uppercase();
        assert_eq!(plan.node_of_nic(&id).map(|node| node.name.as_str()), Some("n2"));
        assert_eq!(plan.node_of_nic(&plan.world.nic_id("stranger-nic")), None);
        azure_sim::World::new(plan.world).expect("a possible world");
    }
}
