//! What only the comparison of the nodes shows.

use std::collections::BTreeMap;

use vipfence_types::{Examined, Finding, NodeId, VipName};

use super::super::check::Check;

/// Wall clocks may differ so much.
const CLOCKS_MS: u64 = 10_000;

/// What the cluster knows of itself, for the comparison.
pub(crate) struct Roster {
    /// The nodes with a vote.
    pub(crate) voters: usize,
    /// The VIPs that are to be held, each with its number of candidates.
    pub(crate) candidates: BTreeMap<VipName, usize>,
}

/// Compares what the nodes found out about themselves.
pub(crate) fn compare(
    roster: &Roster,
    examined: &[Examined],
    silent: &BTreeMap<NodeId, String>,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = silent
        .iter()
        .map(|(node, why)| {
            Check::NodeSilent.finds(
                node.as_str(),
                format!("{node} did not tell how it is: {why}"),
                "start its agent, or open the port between the nodes, and ask again",
            )
        })
        .collect();
    findings.extend(networks(examined));
    findings.extend(nics(examined));
    findings.extend(peers(examined));
    findings.extend(versions(examined));
    findings.extend(clocks(examined));
    findings.extend(votes(roster));
    findings.extend(roster.candidates.iter().filter(|(_, count)| **count < 2).map(|(vip, _)| {
        Check::NoStandby.finds_of(
            vip,
            vip.as_str(),
            format!("no other node may take over {vip}"),
            "add a member to the cluster, or a candidate to the VIP",
        )
    }));
    findings
}

/// Each value with the nodes that have it.
fn by<V: Ord>(
    examined: &[Examined],
    values: impl Fn(&Examined) -> Vec<V>,
) -> BTreeMap<V, Vec<&str>> {
    let mut by: BTreeMap<V, Vec<&str>> = BTreeMap::new();
    for node in examined {
        for value in values(node) {
            by.entry(value).or_default().push(node.node.as_str());
        }
    }
    by
}

fn told<V: std::fmt::Display>(by: &BTreeMap<V, Vec<&str>>) -> String {
    let parts = by.iter().map(|(value, nodes)| format!("{}: {value}", nodes.join(", ")));
    parts.collect::<Vec<_>>().join("; ")
}

fn networks(examined: &[Examined]) -> Option<Finding> {
    let networks = by(examined, |node| node.networks.iter().cloned().collect());
    // Several NICs per node may be in several networks, each of which all nodes must share.
    let with_nics = examined.iter().filter(|node| !node.networks.is_empty()).count();
    let shared = networks.values().all(|nodes| nodes.len() == with_nics);
    (!shared).then(|| {
        Check::SeveralNetworks.finds(
            "virtual networks",
            format!("the NICs are not in one virtual network: {}", told(&networks)),
            "a private address cannot leave its virtual network: put all candidates into one",
        )
    })
}

fn nics(examined: &[Examined]) -> Vec<Finding> {
    let nics = by(examined, |node| node.nics.iter().map(|nic| nic.folded().to_owned()).collect());
    let twice = nics.into_iter().filter(|(_, nodes)| nodes.len() > 1);
    twice
        .map(|(nic, nodes)| {
            Check::NicTwice.finds(
                &nic,
                format!("{} name the same NIC", nodes.join(" and ")),
                "correct the ids in [[nics]]: each node names its own NICs",
            )
        })
        .collect()
}

fn peers(examined: &[Examined]) -> Option<Finding> {
    let lists = by(examined, |node| vec![node.peers.iter().cloned().collect::<Vec<_>>().join(" ")]);
    (lists.len() > 1).then(|| {
        Check::PeersDiffer.finds(
            "[[peers]]",
            format!("the files of the nodes do not name the same peers: {}", told(&lists)),
            "write the same [[peers]] into the file of every node",
        )
    })
}

fn versions(examined: &[Examined]) -> Option<Finding> {
    let versions = by(examined, |node| vec![node.version.clone()]);
    (versions.len() > 1).then(|| {
        Check::VersionsDiffer.finds(
            "versions",
            format!("the nodes run different versions: {}", told(&versions)),
            "finish the upgrade",
        )
    })
}

fn clocks(examined: &[Examined]) -> Option<Finding> {
    let first = examined.iter().map(|node| node.wall_ms).min()?;
    let ahead = examined.iter().filter(|node| node.wall_ms - first > CLOCKS_MS);
    let ahead: Vec<String> = ahead
        .map(|node| format!("{} by {} s", node.node, (node.wall_ms - first) / 1_000))
        .collect();
    (!ahead.is_empty()).then(|| {
        Check::ClocksDiffer.finds(
            "clocks",
            format!("the clocks of the nodes differ: ahead are {}", ahead.join(", ")),
            "let chrony or systemd-timesyncd set them; leases do not rest on them, tokens and logs do",
        )
    })
}

fn votes(roster: &Roster) -> Option<Finding> {
    let voters = roster.voters;
    voters.is_multiple_of(2).then(|| {
        Check::FewVotes.finds(
            "votes",
            format!("{voters} nodes vote: the loss of {} stops every failover", voters.div_ceil(2)),
            "add a witness: a node that votes and holds nothing",
        )
    })
}
