//! The OS shell: calls are worked off one after the other, take their time, and may fail.
//!
//! What is set and taken off here is on the kernel of the machine, and outlives the process.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use vipfence_agent_core::{self as agent, Call};
use vipfence_types::{Clocks, Epoch, Mutation, VipName};

use super::{Fact, Host, Local, Out, Process};
use crate::time::ms;

/// A call to the OS that waits for its turn.
#[derive(Debug)]
pub(super) enum OsCall {
    Add {
        call: Call,
        vip: VipName,
        epoch: Epoch,
        addresses: Vec<IpAddr>,
        lifetime: Duration,
        computed_at: Clocks,
        start_within: Duration,
    },
    Remove {
        call: Call,
        addresses: Vec<IpAddr>,
    },
    Sweep {
        call: Call,
        keep: BTreeSet<IpAddr>,
    },
}

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
        let problem = "the OS refuses".to_owned();
        let outcome = match call {
            OsCall::Add { call, vip, epoch, addresses, lifetime, computed_at, start_within } => {
                let late = host.now.longest_since(computed_at) > start_within;
                if late && !Mutation::LateAddKept.is_on() {
                    let problem = "the OS was busy".to_owned();
                    return self.tell_node(agent::Input::AddFailed { call, problem }, host, out);
                }
                for address in addresses.iter().filter(|_| works) {
                    host.kernel.set(host.now.mono_us, *address, lifetime, host.chance);
                    let (vip, address) = (vip.clone(), *address);
                    out.facts.push(Fact::Set { vip, epoch, address });
                }
                if fails {
                    agent::Input::AddFailed { call, problem }
                } else {
                    agent::Input::Added { call, at: host.now }
                }
            }
            OsCall::Remove { call, addresses } => {
                for address in addresses.into_iter().filter(|_| works) {
                    take_off(address, host, out);
                }
                removed(call, fails.then_some(problem))
            }
            OsCall::Sweep { call, keep } => {
                let strays: Vec<IpAddr> =
                    host.kernel.all().filter(|one| !keep.contains(one)).collect();
                for address in strays.into_iter().filter(|_| works) {
                    take_off(address, host, out);
                }
                removed(call, fails.then_some(problem))
            }
        };
        self.tell_node(outcome, host, out);
    }
}

fn take_off(address: IpAddr, host: &mut Host<'_>, out: &mut Out) {
    if host.kernel.drop(address) {
        out.facts.push(Fact::Dropped { address });
    }
}

fn removed(call: Call, problem: Option<String>) -> agent::Input {
    match problem {
        None => agent::Input::Dropped { call },
        Some(problem) => agent::Input::DropFailed { call, problem },
    }
}

fn os_time(host: &mut Host<'_>) -> u64 {
    host.chance.within(80, ms(2)) + host.chance.within(0, ms(host.os_slow_ms))
}
