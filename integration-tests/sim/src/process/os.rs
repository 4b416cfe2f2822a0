//! The OS shell: calls are worked off one after the other, take their time, and may fail.
//!
//! What is set and taken off here is on the kernel of the machine, and outlives the process. A load
//! balancer's probe is answered after its address is there, and refused before it goes, as in
//! `agent/src/os/linux`.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use vipfence_agent_core::{self as agent, Call};
use vipfence_types::{Clocks, Connection, Mutation, Probe, VipEpoch, VipName};

use super::{Fact, Host, Local, Out, Process};
use crate::{chance::Chance, time::ms};

/// A call to the OS that waits for its turn.
#[derive(Debug)]
pub(super) enum OsCall {
    Add(Addition, Option<Probe>),
    /// The last part of an add: a load balancer's probe is answered.
    Answer(Addition, Probe),
    Remove {
        call: Call,
        addresses: Vec<IpAddr>,
    },
    Sweep {
        call: Call,
        keep: BTreeSet<IpAddr>,
    },
    Tell {
        vip: VipName,
        connections: Vec<Connection>,
        computed_at: Clocks,
        start_within: Duration,
    },
}

/// What is to be on the OS.
#[derive(Debug)]
pub(super) struct Addition {
    pub(super) call: Call,
    pub(super) at: VipEpoch,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) lifetime: Duration,
    pub(super) computed_at: Clocks,
    pub(super) start_within: Duration,
}

impl Addition {
    fn is_late(&self, host: &Host<'_>) -> bool {
        host.now.longest_since(self.computed_at) > self.start_within
    }

    fn failed(&self, problem: &str) -> agent::Input {
        agent::Input::AddFailed { call: self.call, problem: problem.to_owned() }
    }

    fn done(&self, fails: bool, host: &Host<'_>) -> agent::Input {
        if fails {
            return self.failed(REFUSED);
        }
        agent::Input::Added { call: self.call, at: host.now }
    }
}

const REFUSED: &str = "the OS refuses";
const BUSY: &str = "the OS was busy";

impl Process {
    pub(super) fn ask_os(&mut self, call: OsCall, host: &mut Host<'_>, out: &mut Out) {
        self.os.push_back(call);
        if self.os.len() == 1 {
            out.locals.push((os_time(host), Local::Os));
        }
    }

    /// The call at the front is carried out now.
    pub(super) fn work_os(&mut self, host: &mut Host<'_>, out: &mut Out) {
        let Some(call) = self.os.pop_front() else { return };
        if !self.os.is_empty() {
            out.locals.push((os_time(host), Local::Os));
        }
        let fails = host.os_fails > 0 && host.chance.one_in(host.os_fails);
        // A call that fails may have done its work all the same.
        let works = !fails || host.chance.one_in(2);
        let outcome = match call {
            OsCall::Add(addition, probe) => {
                let set = set(&addition, works, host, out);
                match probe {
                    // Last: a node that answers the probe is sent traffic.
                    Some(probe) if set && !fails => {
                        return self.answer_next(addition, probe, host, out);
                    }
                    _ if set => addition.done(fails, host),
                    _ => addition.failed(BUSY),
                }
            }
            OsCall::Answer(addition, probe) => match answer(&addition, &probe, works, host, out) {
                true => addition.done(fails, host),
                false => addition.failed(BUSY),
            },
            OsCall::Remove { call, addresses } => {
                // First: who does not answer the probe is sent nothing.
                if works && !Mutation::AnsweredAfterDrop.is_on() {
                    host.kernel.gate.refuse(&addresses);
                }
                let connections = drawn(&addresses, host);
                if !connections.is_empty() {
                    self.tell_node(agent::Input::Cut { call, connections }, host, out);
                }
                for address in addresses.into_iter().filter(|_| works) {
                    take_off(address, host, out);
                }
                removed(call, fails)
            }
            OsCall::Sweep { call, keep } => {
                let strays: Vec<IpAddr> =
                    host.kernel.all().filter(|one| !keep.contains(one)).collect();
                if works {
                    host.kernel.gate.refuse(&strays);
                }
                for address in strays.into_iter().filter(|_| works) {
                    take_off(address, host, out);
                }
                removed(call, fails)
            }
            // A kernel refuses where the address is not there; the machine must not count on it.
            OsCall::Tell { vip, connections, computed_at, start_within } => {
                let late = host.now.longest_since(computed_at) > start_within;
                if !late || Mutation::ToldLate.is_on() {
                    let addresses = connections.iter().map(|one| one.vip.ip()).collect();
                    out.facts.push(Fact::Told { vip, addresses });
                }
                return;
            }
        };
        self.tell_node(outcome, host, out);
    }

    /// The addresses are there; a moment later the probe is answered.
    fn answer_next(
        &mut self,
        addition: Addition,
        probe: Probe,
        host: &mut Host<'_>,
        out: &mut Out,
    ) {
        if self.os.is_empty() {
            // Before the first listener the program `nft` is run.
            let guarded = host.kernel.gate.has_listener(probe.port);
            let nft = if guarded { 0 } else { host.chance.within(ms(3), ms(60)) };
            out.locals.push((nft + os_time(host), Local::Os));
        }
        self.os.push_front(OsCall::Answer(addition, probe));
    }
}

/// Whether it was begun in time.
fn set(addition: &Addition, works: bool, host: &mut Host<'_>, out: &mut Out) -> bool {
    if addition.is_late(host) && !Mutation::LateAddKept.is_on() {
        return false;
    }
    for address in addition.addresses.iter().copied().filter(|_| works) {
        host.kernel.set(host.now.mono_us, address, addition.lifetime, host.chance);
        let VipEpoch { vip, epoch } = addition.at.clone();
        out.facts.push(Fact::Set { vip, epoch, address });
    }
    true
}

/// Whether it was begun in time: the lifetime runs since it was computed.
fn answer(
    addition: &Addition,
    probe: &Probe,
    works: bool,
    host: &mut Host<'_>,
    out: &mut Out,
) -> bool {
    if addition.is_late(host) && !Mutation::AnsweredTooLate.is_on() {
        return false;
    }
    let bounded = !Mutation::AnsweredWithoutEnd.is_on();
    let lifetime = if bounded { addition.lifetime } else { Duration::from_secs(3_600) };
    if works {
        host.kernel.gate.listen(&addition.addresses, probe);
        host.kernel.gate.open(host.now.mono_us, probe.port, lifetime, host.chance);
        let (VipEpoch { vip, epoch }, port) = (addition.at.clone(), probe.port);
        out.facts.push(Fact::Opened { vip, epoch, port });
    }
    true
}

/// Connections to what is about to go: each address has a few, or none. From a stream of their own.
fn drawn(addresses: &[IpAddr], host: &Host<'_>) -> Vec<Connection> {
    let mut chance = Chance::of(host.now.mono_us, 0);
    let there = addresses.iter().filter(|address| host.kernel.has(**address));
    let mut all = Vec::new();
    for address in there {
        for _ in 0..chance.within(0, 3) {
            let port = u16::try_from(chance.within(1_024, 65_535)).unwrap_or_default();
            let client = ([10, 5, 0, 200], port).into();
            all.push(Connection { client, vip: (*address, 5_432).into() });
        }
    }
    all
}

fn take_off(address: IpAddr, host: &mut Host<'_>, out: &mut Out) {
    if host.kernel.drop(address) {
        out.facts.push(Fact::Dropped { address });
    }
}

fn removed(call: Call, fails: bool) -> agent::Input {
    if fails {
        return agent::Input::DropFailed { call, problem: REFUSED.to_owned() };
    }
    agent::Input::Dropped { call }
}

fn os_time(host: &mut Host<'_>) -> u64 {
    host.chance.within(80, ms(2)) + host.chance.within(0, ms(host.os_slow_ms))
}
