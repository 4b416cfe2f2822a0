//! Azure's load balancers, as nodes of the network: they stay as they are and probe every 5 s. Two
//! failures in a row take a node out, one answer takes it in. An answer counts in its round only.
//!
//! They know nothing of holders: whoever answers is sent traffic. When what arrives is up to the world.

use std::{collections::BTreeMap, net::IpAddr};

use crate::time::secs;

/// How often a load balancer probes.
pub(crate) const INTERVAL: u64 = secs(5);
/// So many failures in a row take a node out.
const FAILURES: u32 = 2;

/// A frontend, and the port that is probed for it on all nodes that may hold VIPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frontend {
    /// Its address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
}

/// A load balancer with one frontend.
#[derive(Clone, Debug)]
pub(crate) struct Balancer {
    pub(crate) front: Frontend,
    round: u64,
    backends: BTreeMap<usize, Backend>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Backend {
    is_in: bool,
    failures: u32,
    /// In this round.
    heard: bool,
}

/// A node is sent traffic from now on, or no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    In(usize),
    Out(usize),
}

impl Balancer {
    pub(crate) fn new(front: Frontend, backends: impl Iterator<Item = usize>) -> Self {
        let backends = backends.map(|node| (node, Backend::default())).collect();
        Self { front, round: 0, backends }
    }

    /// The next round begins: who said nothing in the last one has failed. Returns its number.
    pub(crate) fn next_round(&mut self, turns: &mut Vec<Turn>) -> u64 {
        for (node, backend) in &mut self.backends {
            if self.round > 0 && !backend.heard {
                turns.extend(backend.fails(*node));
            }
            backend.heard = false;
        }
        self.round += 1;
        self.round
    }

    /// A node has answered a probe, or refused it.
    pub(crate) fn hears(&mut self, node: usize, round: u64, answered: bool) -> Option<Turn> {
        let backend = self.backends.get_mut(&node)?;
        if round != self.round || core::mem::replace(&mut backend.heard, true) {
            return None;
        }
        if !answered {
            return backend.fails(node);
        }
        backend.failures = 0;
        (!core::mem::replace(&mut backend.is_in, true)).then_some(Turn::In(node))
    }

    /// The nodes that are probed.
    pub(crate) fn nodes(&self) -> Vec<usize> {
        self.backends.keys().copied().collect()
    }

    /// The nodes that are sent traffic.
    pub(crate) fn healthy(&self) -> Vec<usize> {
        let healthy = self.backends.iter().filter(|(_, backend)| backend.is_in);
        healthy.map(|(node, _)| *node).collect()
    }
}

impl Backend {
    fn fails(&mut self, node: usize) -> Option<Turn> {
        self.failures += 1;
        let out = self.is_in && self.failures >= FAILURES;
        self.is_in &= !out;
        out.then_some(Turn::Out(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balancer() -> Balancer {
        let front = Frontend { address: IpAddr::from([10, 5, 0, 170]), port: 63_001 };
        Balancer::new(front, 0..2)
    }

    #[test]
    fn one_answer_takes_a_node_in_and_two_failures_in_a_row_take_it_out() {
        let (mut balancer, mut turns) = (balancer(), Vec::new());
        let round = balancer.next_round(&mut turns);
        assert_eq!(balancer.hears(0, round, true), Some(Turn::In(0)));
        assert_eq!(balancer.hears(1, round, false), None);
        let round = balancer.next_round(&mut turns);
        assert_eq!(balancer.hears(0, round, false), None, "the first failure");
        balancer.next_round(&mut turns);
        assert_eq!((balancer.healthy(), turns.len()), (vec![0], 0), "a second one is not over");
        balancer.next_round(&mut turns);
        assert_eq!((balancer.healthy(), turns), (vec![], vec![Turn::Out(0)]), "silence is one");
    }

    #[test]
    fn an_answer_to_an_earlier_round_counts_for_nothing() {
        let (mut balancer, mut turns) = (balancer(), Vec::new());
        let round = balancer.next_round(&mut turns);
        balancer.next_round(&mut turns);
        assert_eq!(balancer.hears(0, round, true), None);
        assert_eq!(balancer.healthy(), Vec::<usize>::new());
    }
}
