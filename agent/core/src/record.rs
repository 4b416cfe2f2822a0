//! What a node knows of one VIP: it holds it, or lets go of it in three steps.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeSet;

use serde::Serialize;
use vipfence_types::{Clocks, Epoch, KERNEL_LIFETIME_CAP, Mutation, Probe, VipAddress};

use crate::lease::{Lease, Timer};
use crate::{Call, EndCause, Found};

/// How long a drop may take, repetitions included, before a watchdog is no longer fed.
const DROP_WITHIN: Duration = Duration::from_secs(1);
/// How often a renewal is tried that would not have lengthened the kernel lifetime.
const RENEWAL_PACE: Duration = Duration::from_millis(250);

/// Who changes an address twice within so long is answered at a slower pace: two programs that
/// fight over it must not eat the machine.
const DISTURBED_AGAIN: Duration = Duration::from_secs(1);

/// A VIP on this node; the diagram stands at [`Holder`](crate::Holder).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) enum Record {
    /// Entitled.
    Holding(Holding),
    /// Not entitled; the kernel was not yet read back without the address.
    Dropping(Dropping),
    /// Read back; not yet spent on disk.
    Spending(Spending),
    /// Spent and read back: every heartbeat confirms it, as long as the leader mentions it.
    Confirming(Epoch),
}

/// An entitlement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Holding {
    pub(crate) epoch: Epoch,
    pub(crate) addresses: Vec<VipAddress>,
    pub(crate) lease: Lease,
    /// The load balancer's probe that this node answers meanwhile.
    pub(crate) probe: Option<Probe>,
    pub(crate) kernel: Kernel,
    /// A planned release: the address goes when the tasks before it are done, or the lease is over.
    pub(crate) leaving: Option<Leaving>,
}

/// Why the address is about to go, and the epoch whose release is then to be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Leaving {
    pub(crate) owed: Epoch,
    pub(crate) cause: EndCause,
}

/// What is known of the kernel under the present epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Kernel {
    /// The lifetime last read back; counted from before it was set.
    pub(crate) set: Option<Timer>,
    /// The add under way.
    pub(crate) out: Option<OutstandingAdd>,
    /// The last add failed, or came too late: the kernel may have a lifetime that outlives the
    /// lease, until it is set anew or the address dropped.
    pub(crate) unsure: bool,
    /// The event of the first read back was told.
    pub(crate) told: bool,
    pub(crate) retry: Option<Timer>,
    pub(crate) problem: String,
    /// The last time that something else changed the address.
    pub(crate) disturbed: Option<Timer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct OutstandingAdd {
    /// Something else changed the address since this was asked for: its outcome proves nothing.
    pub(crate) outdated: bool,
    pub(crate) call: Call,
    pub(crate) computed_at: Clocks,
    pub(crate) lifetime: Duration,
}

/// What makes a renewal due before half of the lifetime is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Early {
    /// Nothing.
    No,
    /// Another VIP of this node is due, so that one that has spent a quarter of its lifetime goes
    /// with it: many VIPs then cost one look at the kernel, not one each.
    Along,
    /// The agent ends: what was set before this moment is renewed once more.
    Since(Clocks),
}

impl Early {
    fn is_for(self, set: Timer, now: Clocks) -> bool {
        match self {
            Self::No => false,
            Self::Along => set.is_quarter_gone(now),
            Self::Since(moment) => set.began_before(moment),
        }
    }
}

/// An address on its way off the OS.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Dropping {
    /// None = not known: asked to release what this boot never had. The whole OS is swept.
    pub(crate) addresses: Option<Vec<IpAddr>>,
    /// The epoch whose release is to be confirmed.
    pub(crate) owed: Option<Epoch>,
    pub(crate) call: Option<Call>,
    pub(crate) retry: Option<Timer>,
    /// Runs since the first call, for as long as a drop may take.
    begun: Option<Timer>,
    pub(crate) problem: String,
}

/// A release on its way to the disk.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Spending {
    pub(crate) epoch: Epoch,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) call: Option<Call>,
    pub(crate) retry: Option<Timer>,
}

fn is_over(retry: Option<Timer>, now: Clocks) -> bool {
    retry.is_none_or(|timer| timer.is_over(now))
}

fn left(retry: Option<Timer>, now: Clocks) -> Duration {
    retry.map_or(Duration::ZERO, |timer| timer.left(now))
}

/// The bare addresses.
pub(crate) fn bare(addresses: &[VipAddress]) -> Vec<IpAddr> {
    addresses.iter().map(|one| one.address).collect()
}

impl Holding {
    pub(crate) fn new(
        epoch: Epoch,
        addresses: Vec<VipAddress>,
        lease: Lease,
        probe: Option<Probe>,
    ) -> Self {
        Self { epoch, addresses, lease, probe, kernel: Kernel::default(), leaving: None }
    }

    /// Whether the address is in the kernel under this epoch, as far as was read back.
    pub(crate) fn is_added(&self, now: Clocks) -> bool {
        self.kernel.set.is_some_and(|set| !set.is_over(now))
    }

    /// Whether the entitlement is over: the lease has run out, or what may be in the kernel can
    /// no longer be put right under it.
    pub(crate) fn is_over(&self, now: Clocks) -> bool {
        let hopeless = self.kernel.unsure && self.lease.kernel_lifetime(now).is_none();
        self.lease.left(now).is_zero() || hopeless
    }

    /// Something else took an address off, or changed it: it is put back at once, or a little later
    /// when that happens again and again.
    pub(crate) fn disturb(&mut self, now: Clocks) {
        let again = self.kernel.disturbed.is_some_and(|last| !last.is_over(now));
        self.kernel.disturbed = Some(Timer::new(now, DISTURBED_AGAIN));
        self.kernel.set = None;
        self.kernel.retry = again.then(|| Timer::new(now, RENEWAL_PACE));
        if let Some(out) = &mut self.kernel.out {
            out.outdated = true;
        }
    }

    /// The lifetime that the kernel is to be given now, if any.
    pub(crate) fn add_due(&self, now: Clocks, early: Early) -> Option<Duration> {
        if self.kernel.out.is_some() || !is_over(self.kernel.retry, now) {
            return None;
        }
        let mut lifetime = self.lease.kernel_lifetime(now)?;
        if matches!(early, Early::Since(_)) && Mutation::KeptForEver.is_on() {
            lifetime = Duration::from_secs(u32::MAX.into());
        }
        match self.kernel.set {
            None => Some(lifetime),
            Some(set) => {
                let due = set.half_left(now).is_zero() || early.is_for(set, now);
                (due && lifetime > set.left(now)).then_some(lifetime)
            }
        }
    }

    /// Whether the agent may end and leave the address to the kernel: it has as much of the lease as
    /// it can be given since that moment, and nothing beyond.
    pub(crate) fn is_left_well(&self, now: Clocks, since: Clocks) -> bool {
        let Kernel { out, unsure, .. } = &self.kernel;
        let has_all = self.is_added(now) && self.add_due(now, Early::Since(since)).is_none();
        out.is_none() && !unsure && (has_all || self.lease.kernel_lifetime(now).is_none())
    }

    /// How long until time alone asks for something. `held_up`: nothing is to be added now.
    fn wait(&self, now: Clocks, silent: bool, held_up: bool) -> Duration {
        let mut wait = self.lease.left(now);
        if self.lease.hold && silent {
            wait = wait.min(self.lease.half_left(now));
        }
        if self.kernel.unsure {
            // Until less than a second is left: then it is dropped.
            let putting_right = self.lease.left(now).saturating_sub(Duration::from_secs(1));
            wait = wait.min(putting_right + Duration::from_micros(1));
        }
        if held_up || self.kernel.out.is_some() || self.lease.kernel_lifetime(now).is_none() {
            return wait;
        }
        let add = match (self.kernel.retry, self.kernel.set) {
            (Some(retry), _) if !retry.is_over(now) => retry.left(now),
            (_, None) => Duration::ZERO,
            (_, Some(set)) if set.half_left(now).is_zero() => RENEWAL_PACE,
            (_, Some(set)) => set.half_left(now),
        };
        wait.min(add)
    }
}

impl Dropping {
    pub(crate) fn new(addresses: Option<Vec<IpAddr>>, owed: Option<Epoch>) -> Self {
        let problem = String::new();
        Self { addresses, owed, call: None, retry: None, begun: None, problem }
    }

    pub(crate) fn begins(&mut self, now: Clocks, call: Call) {
        self.call = Some(call);
        self.begun.get_or_insert(Timer::new(now, DROP_WITHIN));
    }

    pub(crate) fn is_late(&self, now: Clocks) -> bool {
        self.begun.is_some_and(|begun| begun.is_over(now))
    }

    pub(crate) fn is_due(&self, now: Clocks) -> bool {
        self.call.is_none() && is_over(self.retry, now)
    }

    pub(crate) fn wait(&self, now: Clocks) -> Duration {
        self.call.map_or_else(|| left(self.retry, now), |_| Duration::MAX)
    }

    /// Whether all of its addresses are among `others`, so that adding those leaves none behind.
    pub(crate) fn is_within(&self, others: &[IpAddr]) -> bool {
        let mine = self.addresses.as_deref().unwrap_or_default();
        mine.iter().all(|one| others.contains(one))
    }
}

impl Spending {
    pub(crate) fn new(epoch: Epoch, addresses: Vec<IpAddr>) -> Self {
        Self { epoch, addresses, call: None, retry: None }
    }

    pub(crate) fn is_due(&self, now: Clocks) -> bool {
        self.call.is_none() && is_over(self.retry, now)
    }

    pub(crate) fn wait(&self, now: Clocks) -> Duration {
        self.call.map_or_else(|| left(self.retry, now), |_| Duration::MAX)
    }
}

impl Record {
    /// How long until time alone asks for something. `held_up`: a task comes first.
    pub(crate) fn wait(&self, now: Clocks, silent: bool, held_up: bool) -> Duration {
        match self {
            Self::Holding(holding) => holding.wait(now, silent, held_up),
            Self::Dropping(dropping) => dropping.wait(now),
            Self::Spending(_) if held_up => Duration::MAX,
            Self::Spending(spending) => spending.wait(now),
            Self::Confirming(_) => Duration::MAX,
        }
    }
}

/// Taking off the OS whatever no holding accounts for: what an earlier start left behind.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Sweep {
    /// Found at the start with a kernel lifetime of our making: left to the kernel, or to a new
    /// grant, until the first answer tells which.
    pub(crate) spare: BTreeSet<IpAddr>,
    pub(crate) wanted: bool,
    /// The start's own sweep is not done: an address without an end of its own may be there. The
    /// node joins only afterwards.
    pub(crate) before_joining: bool,
    pub(crate) call: Option<Call>,
    pub(crate) retry: Option<Timer>,
    /// Runs since the first call, for as long as a sweep may take.
    begun: Option<Timer>,
    /// Why the last one failed, for people.
    pub(crate) problem: String,
}

impl Sweep {
    pub(crate) fn of(found: &[Found]) -> Self {
        // A lifetime beyond the cap is not one that this program sets.
        let ours = |one: &Found| {
            let left = one.lifetime_left;
            left.is_some_and(|left| left <= KERNEL_LIFETIME_CAP)
        };
        let endless = !found.iter().all(ours);
        Self {
            spare: found.iter().filter(|one| ours(one)).map(|one| one.address).collect(),
            wanted: endless,
            before_joining: endless && !Mutation::JoinedBeforeSweep.is_on(),
            call: None,
            retry: None,
            begun: None,
            problem: String::new(),
        }
    }

    pub(crate) fn begins(&mut self, now: Clocks, call: Call) -> Option<Call> {
        self.begun.get_or_insert(Timer::new(now, DROP_WITHIN));
        self.wanted = false;
        self.call.replace(call)
    }

    /// The kernel was read back.
    pub(crate) fn is_done(&mut self) {
        self.call = None;
        self.retry = None;
        self.begun = None;
        self.before_joining = false;
        self.problem.clear();
    }

    pub(crate) fn is_late(&self, now: Clocks) -> bool {
        self.begun.is_some_and(|begun| begun.is_over(now))
    }

    pub(crate) fn may_find_something(&self) -> bool {
        self.wanted || self.call.is_some() || !self.spare.is_empty()
    }

    pub(crate) fn is_due(&self, now: Clocks) -> bool {
        self.wanted && is_over(self.retry, now)
    }

    pub(crate) fn wait(&self, now: Clocks) -> Duration {
        if self.wanted { left(self.retry, now) } else { Duration::MAX }
    }
}
