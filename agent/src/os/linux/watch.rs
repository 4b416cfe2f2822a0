//! Watches the kernel's address and interface events for what this agent has not done itself.
//!
//! An event only causes a look: what is reported is what the look found, so that the agent's own adds,
//! renewals and drops, and what was put right meanwhile, go unreported. Where events were lost
//! (the socket's queue overran), anything may have changed, and that is said.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::StreamExt as _;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::LinkFlags;
use tokio::sync::mpsc;
use vipfence_agent_core::Sighting;

use super::Ours;
use super::wire::{self, Entry, Look};

/// How many sightings may wait. Whoever sees more waits, and the kernel's queue may overrun then.
const KEPT: usize = 256;
/// How many events are worked off with one look.
const BATCH: usize = 512;

/// What an event may mean.
#[derive(Debug, PartialEq, Eq)]
enum Hint {
    Address(IpAddr),
    Anything,
}

/// Begins to watch.
pub(super) fn start(ours: Arc<Ours>) -> std::io::Result<mpsc::Receiver<Sighting>> {
    // A socket of its own: one has one dump at a time.
    let handle = wire::connect()?;
    let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let (connection, _, mut events) = rtnetlink::new_multicast_connection(&groups)?;
    tokio::spawn(connection);
    let (report, sightings) = mpsc::channel(KEPT);
    tokio::spawn(async move {
        let mut links_up = BTreeSet::new();
        while let Some((first, _)) = events.next().await {
            let mut hints: Vec<Hint> = hint(&first, &ours, &mut links_up).into_iter().collect();
            for _ in 0..BATCH {
                let Ok((event, _)) = events.try_recv() else { break };
                hints.extend(hint(&event, &ours, &mut links_up));
            }
            if hints.is_empty() {
                continue;
            }
            let seen = match wire::look(&handle).await {
                Ok(look) => sightings_of(&hints, &look, &ours),
                Err(error) => {
                    tracing::warn!("an address changed, and cannot be looked at: {error}");
                    vec![Sighting::Unknown]
                }
            };
            for sighting in seen {
                if report.send(sighting).await.is_err() {
                    return;
                }
            }
        }
        // Without events the kernel's lifetimes and each renewal's read back still hold.
        tracing::error!("the kernel's address events have ended");
    });
    Ok(sightings)
}

fn hint(
    event: &NetlinkMessage<RouteNetlinkMessage>,
    ours: &Ours,
    links_up: &mut BTreeSet<u32>,
) -> Option<Hint> {
    match &event.payload {
        NetlinkPayload::Overrun(_) => Some(Hint::Anything),
        NetlinkPayload::InnerMessage(message) => match message {
            RouteNetlinkMessage::NewAddress(_) => {
                let entry = wire::entry(message)?;
                (!ours.is_as_set(&entry)).then_some(Hint::Address(entry.address))
            }
            RouteNetlinkMessage::DelAddress(_) => {
                wire::entry(message).map(|entry| Hint::Address(entry.address))
            }
            RouteNetlinkMessage::NewLink(link) => {
                let works = LinkFlags::Up | LinkFlags::LowerUp;
                if link.header.flags.contains(works) {
                    links_up.insert(link.header.index).then_some(Hint::Anything)
                } else {
                    links_up.remove(&link.header.index);
                    None
                }
            }
            RouteNetlinkMessage::DelLink(link) => {
                links_up.remove(&link.header.index);
                None
            }
            _ => None,
        },
        _ => None,
    }
}

fn sightings_of(hints: &[Hint], look: &Look, ours: &Ours) -> Vec<Sighting> {
    if hints.contains(&Hint::Anything) {
        return vec![Sighting::Unknown];
    }
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for hint in hints {
        let Hint::Address(address) = *hint else { continue };
        if !seen.insert(address) {
            continue;
        }
        let there: Vec<&Entry> = look.of(address).collect();
        if there.is_empty() {
            found.push(Sighting::Gone(address));
        } else if there.len() > 1 || !there.iter().all(|entry| ours.is_as_set(entry)) {
            found.push(Sighting::Foreign(address));
        }
    }
    found
}
