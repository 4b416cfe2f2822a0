//! What concerns several values at once: this node among its peers, duplicates, the number of
//! votes, and what may go unencrypted.

use std::{collections::BTreeSet, net::SocketAddr, ops::Range};

use vipfence_agent_core::OnStop;

use super::{
    problem::Problem,
    reader::{Placed, Reader, nearest},
    sections::{Draft, PlacedPeer, PlacedVip},
};

/// The address of the metadata service: link-local, answered by the host, plain HTTP by design.
const IMDS_HOST: &str = "169.254.169.254";

pub(super) fn check(reader: &mut Reader, draft: &Draft) {
    duplicates(reader, draft);
    if draft.peers_whole {
        own_peer(reader, draft);
        votes(reader, draft);
    }
    nics(reader, draft);
    units(reader, draft);
    listeners(reader, draft);
    endpoints(reader, draft);
}

fn duplicates(reader: &mut Reader, draft: &Draft) {
    let names = draft.peers.iter().map(|peer| peer.node.with(peer.node.value.to_string()));
    twice(reader, "peer", names, "every node has a name of its own");
    let addresses = draft.peers.iter().map(|peer| peer.address.clone());
    twice(reader, "address", addresses, "every node has an address of its own");
    let names = draft.nics.iter().map(|nic| nic.name.clone());
    twice(reader, "NIC name", names, "every NIC of the node has a name of its own");
    let ids = draft.nics.iter().map(|nic| nic.id.with(nic.id.value.folded().to_owned()));
    twice(reader, "NIC id", ids, "name every NIC once; ids compare without case");
}

fn twice(
    reader: &mut Reader,
    what: &str,
    values: impl Iterator<Item = Placed<String>>,
    help: &str,
) {
    let mut seen = BTreeSet::new();
    for placed in values {
        let message = format!("{what} \"{}\" stands twice", placed.value);
        if !seen.insert(placed.value) {
            let problem = Problem::error(message, "the second time");
            reader.report(problem.at(placed.span).help(help));
        }
    }
}

fn own(draft: &Draft) -> Option<&PlacedPeer> {
    let node = draft.node.as_ref()?;
    draft.peers.iter().find(|peer| peer.node.value == node.value)
}

fn own_peer(reader: &mut Reader, draft: &Draft) {
    let Some(node) = &draft.node else { return };
    if draft.peers.is_empty() {
        let problem = Problem::error("the file names no peers", "this node at least")
            .at(node.span.clone())
            .help("add a [[peers]] entry for every node of the cluster, the same on all of them");
        reader.report(problem);
        return;
    }
    let Some(own) = own(draft) else {
        let names: Vec<&str> = draft.peers.iter().map(|peer| peer.node.value.as_str()).collect();
        let list = names.join(", ");
        let help = match nearest(node.value.as_str(), &names) {
            Some(near) => format!("did you mean \"{near}\"? The peers are: {list}"),
            None => format!("add a [[peers]] entry for it; the peers are: {list}"),
        };
        let message = format!("this node, \"{}\", is not among the peers", node.value);
        reader.report(Problem::error(message, "not a peer").at(node.span.clone()).help(help));
        return;
    };
    let Some(grpc) = &draft.grpc else { return };
    let announced = own.address.value.rsplit(':').next().and_then(|port| port.parse().ok());
    if announced.is_some_and(|port: u16| port != grpc.value.port()) {
        let problem = Problem::warning(
            format!("{} listens on another port than its peers call", node.value),
            format!("the peers call {}", own.address.value),
        );
        reader.report(
            problem
                .at(grpc.span.clone())
                .help("use the port of this node's [[peers]] entry, unless something forwards it"),
        );
    }
}

fn votes(reader: &mut Reader, draft: &Draft) {
    if draft.peers.is_empty() {
        return;
    }
    let voters = draft.peers.iter().filter(|peer| peer.role.value.votes()).count();
    let at = draft.peers_span.clone();
    if voters == 0 {
        let problem = Problem::error("no peer has a vote", "the peers begin here").at(at);
        reader.report(problem.help("make at least one of them a member, better three"));
        return;
    }
    if voters.is_multiple_of(2) {
        let problem = Problem::warning(
            format!("{voters} of the peers vote: an even number"),
            "the peers begin here",
        );
        let survives = (voters - 1) / 2;
        reader.report(problem.at(at).help(format!(
            "{voters} votes survive the loss of {survives}, as {} would; add a witness: a node \
             that votes and holds nothing",
            voters - 1
        )));
    }
}

fn nics(reader: &mut Reader, draft: &Draft) {
    let Some(own) = own(draft) else { return };
    if own.role.value.may_hold() && draft.nics.is_empty() && !draft.nics_given {
        let problem =
            Problem::error(format!("{} may hold VIPs but has no NIC", own.node.value), "this node");
        reader.report(problem.at(own.node.span.clone()).help(
            "add a [[nics]] entry with the id of its network interface, or give it the role \
             \"witness\"",
        ));
    }
}

/// A unit follows one VIP; and units that are bound to the agent do not outlive its restart.
fn units(reader: &mut Reader, draft: &Draft) {
    let each = |vip: &PlacedVip| {
        let place = vip.units.clone();
        vip.units.value.clone().into_iter().map(move |unit| place.with(unit))
    };
    let units = draft.vips.iter().flat_map(each);
    twice(reader, "unit", units, "a unit starts and stops with one VIP, and stands there once");
    let kept = draft.on_stop.as_ref().filter(|on_stop| on_stop.value == OnStop::Keep);
    let Some(kept) = kept.filter(|_| draft.vips.iter().any(|vip| !vip.units.value.is_empty()))
    else {
        return;
    };
    let problem = Problem::error("`on_stop = \"keep\"` keeps no units", "keeps addresses only");
    reader.report(problem.at(kept.span.clone()).help(
        "units are bound to the agent, so that they do not run on when it was killed, and stop at its \
         restart: use `on_stop = \"move\"`, or leave `units` out of the VIPs' sections",
    ));
}

fn listeners(reader: &mut Reader, draft: &Draft) {
    if draft.insecure {
        return;
    }
    let mut reported: Vec<Range<usize>> = Vec::new();
    for listener in [&draft.grpc, &draft.http, &draft.responder].into_iter().flatten() {
        // One address may stand for two listeners.
        if is_local(&listener.value) || reported.contains(&listener.span) {
            continue;
        }
        reported.push(listener.span.clone());
        let message = format!(
            "a listener on {} would be open to the network without encryption",
            listener.value.ip()
        );
        let problem = Problem::error(message, "not a loopback address").at(listener.span.clone());
        reader.report(problem.help(
            "TLS is not built yet, and whoever reaches this port can move VIPs: listen on \
             127.0.0.1, or accept it on a network you trust with `insecure = true` in [listen]",
        ));
    }
}

fn is_local(address: &SocketAddr) -> bool {
    address.ip().is_loopback()
}

fn endpoints(reader: &mut Reader, draft: &Draft) {
    if draft.insecure {
        return;
    }
    for (endpoint, key) in
        [(&draft.arm, "arm"), (&draft.imds, "imds"), (&draft.authority, "authority")]
    {
        let Some(endpoint) = endpoint else { continue };
        if may_be_plain(&endpoint.value, key) {
            continue;
        }
        let problem = Problem::error(
            format!("`{key}` would send tokens over plain http"),
            "not https, not loopback",
        );
        reader.report(problem.at(endpoint.span.clone()).help(
            "use https; plain http is for a simulator on this machine, or with `insecure = true` \
             in [listen]",
        ));
    }
}

fn may_be_plain(text: &str, key: &str) -> bool {
    // What is no URL has been reported where it was read.
    let Ok(url) = reqwest::Url::parse(text) else { return true };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    url.scheme() == "https" || loopback || (key == "imds" && host == IMDS_HOST)
}
