//! The gate before probe ports, as a kernel has it: an element that ends by itself, and a listener
//! behind it that ends with its process (`agent/src/os/linux/gate.rs`, `probe.rs`).
//!
//! Who comes in is up to the element alone: the kernel completes the handshake also for a process that
//! is stopped. Elements are looked up with their time, so that they end within two ticks (HZ 250) of
//! it; they follow the monotonic clock, and stand still while the machine is paused.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use vipfence_types::{Probe, ProbeProtocol};

use crate::{
    chance::Chance,
    time::{ms, us},
};

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    /// The elements, and when they end by the monotonic clock.
    open: BTreeMap<u16, u64>,
    listeners: BTreeMap<u16, Listener>,
}

#[derive(Clone, Debug)]
struct Listener {
    /// Of the VIP.
    addresses: Vec<IpAddr>,
    protocol: ProbeProtocol,
}

/// Who answers a probe that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    /// The connection is the answer: the kernel.
    Kernel,
    /// What is said on it is: the process, when it runs.
    Process,
}

impl Gate {
    /// Whether somebody listens.
    pub(crate) fn has_listener(&self, port: u16) -> bool {
        self.listeners.contains_key(&port)
    }

    /// The process listens. Who comes in is up to the gate all the same.
    pub(crate) fn listen(&mut self, addresses: &[IpAddr], probe: &Probe) {
        let listener = Listener { addresses: addresses.to_vec(), protocol: probe.protocol };
        self.listeners.insert(probe.port, listener);
    }

    /// The port is open for so long, from now on.
    pub(crate) fn open(&mut self, mono: u64, port: u16, life: Duration, chance: &mut Chance) {
        self.open.insert(port, mono + us(life) + chance.within(0, ms(8)));
    }

    /// No probe for one of these addresses is answered any more.
    pub(crate) fn refuse(&mut self, addresses: &[IpAddr]) {
        let open = &mut self.open;
        self.listeners.retain(|port, listener| {
            let stays = !listener.addresses.iter().any(|one| addresses.contains(one));
            if !stays {
                open.remove(port);
            }
            stays
        });
    }

    /// The process has ended, however. What it has opened stays open, and nobody listens behind it.
    pub(crate) fn process_ended(&mut self) {
        self.listeners.clear();
    }

    /// Who answers a probe that comes now; none = it is refused.
    pub(crate) fn answers(&self, mono: u64, port: u16) -> Option<Answers> {
        let listener = self.listeners.get(&port)?;
        let open = self.open.get(&port).is_some_and(|ends| mono < *ends);
        open.then_some(match listener.protocol {
            ProbeProtocol::Tcp => Answers::Kernel,
            ProbeProtocol::Http => Answers::Process,
        })
    }

    /// The ports at which a probe is answered now.
    pub(crate) fn answered(&self, mono: u64) -> impl Iterator<Item = u16> + '_ {
        self.open.keys().copied().filter(move |port| self.answers(mono, *port).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::secs;

    #[test]
    fn a_probe_is_answered_only_while_the_element_stands_and_somebody_listens() {
        let address = IpAddr::from([10, 5, 0, 170]);
        let probe = Probe { port: 63_001, protocol: ProbeProtocol::Tcp, reply: String::new() };
        let mut gate = Gate::default();
        gate.listen(&[address], &probe);
        assert_eq!(gate.answers(secs(1), probe.port), None, "a listener alone");
        gate.open(secs(1), probe.port, Duration::from_secs(3), &mut Chance::of(1, 1));
        assert_eq!(gate.answers(secs(4) - 1, probe.port), Some(Answers::Kernel));
        assert_eq!(gate.answers(secs(4) + ms(9), probe.port), None, "the element is over");
        gate.process_ended();
        assert_eq!(gate.answers(secs(2), probe.port), None, "an element alone");
        gate.listen(&[address], &probe);
        gate.refuse(&[address]);
        assert_eq!(gate.answers(secs(2), probe.port), None, "refused");
    }
}
