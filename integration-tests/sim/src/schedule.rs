//! The schedule of a seed: what the world is made of, which faults strike it and when, and what its
//! operator asks for. Drawn whole before the run, so that a fault can be left out and the rest stays
//! as it was.

mod around;
mod front;
mod path;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use azure_sim::{
    AddressFreed, AdminCommand, ConcurrentWrite, Fault as ArmFault, FaultEffect, Lock, Power,
    TenantUpdate, Throttling,
};
use vipfence_coordinator_core::{Ask, Expect, Intent, Request};
use vipfence_types::{Candidate, NodeId, Profile, Release, RequestId, Timing, VipName, VipSpec};

use around::Around;
use front::Front;
use path::Path;

use crate::{
    chance::Chance,
    net::Spot,
    time::{At, PauseSeen, ms, secs},
    world::{Deed, Plan, node_id},
};

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Five minutes, at least ten faults.
    Long,
    /// Forty seconds, some faults.
    Short,
    /// Fifteen seconds, a few faults: for searches of very many seeds.
    Brief,
}

impl Length {
    fn span(self) -> u64 {
        match self {
            Self::Long => secs(300),
            Self::Short => secs(40),
            Self::Brief => secs(15),
        }
    }
}

/// A fault, or a call of the operator: what is left out as a whole.
#[derive(Clone, Debug)]
pub struct Strike {
    /// Which kind.
    pub kind: &'static str,
    /// What is done, and when.
    pub deeds: Vec<(At, Deed)>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// What the world is made of.
    pub plan: Plan,
    /// The VIPs that the operator defines at the beginning.
    pub vips: Vec<(VipName, VipSpec)>,
    /// Everything else.
    pub strikes: Vec<Strike>,
    /// When the faults are over.
    pub until: At,
}

/// Faults of the list in the design that wait for the feature which they strike.
pub const WAITING_FAULTS: &[&str] = &[
    "membership changes during all of these",
    "mixed versions",
    "mixed configuration",
    "announced maintenance",
];

const STREAM: u64 = 50;
/// The faults begin when the cluster has stood for a moment.
const CALM: u64 = secs(6);

impl Schedule {
    /// The schedule of a seed.
    #[must_use]
    pub fn draw(seed: u64, length: Length) -> Self {
        let mut draw = Draw {
            chance: Chance::of(seed, STREAM),
            wiped: false,
            nodes: 0,
            vips: Vec::new(),
            asks: 0,
        };
        let mut plan = draw.plan();
        draw.nodes = plan.nodes.len();
        let mut vips = draw.vips(&plan);
        draw.vips = vips.iter().map(|(name, _)| name.clone()).collect();
        let until = CALM + length.span();
        let faults = match length {
            Length::Long => draw.chance.within(12, 40),
            Length::Short => draw.chance.within(3, 12),
            Length::Brief => draw.chance.within(2, 6),
        };
        let mut strikes: Vec<Strike> = (0..faults).map(|_| draw.fault(&plan, until)).collect();
        let asks = faults + draw.chance.within(2, 20);
        strikes.extend((0..asks).map(|_| draw.call(&plan, until)));
        let mut around = Around::of(seed);
        plan.duties = around.duties(&draw.vips);
        around.policies(&mut vips);
        let nodes: Vec<NodeId> = plan.nodes.iter().map(|(name, _)| node_id(name)).collect();
        strikes.extend(around.strikes(&nodes, &draw.vips, until));
        let mut front = Front::of(seed, &draw.vips);
        plan.frontends = front.frontends();
        front.define(&mut vips, &mut strikes);
        strikes.extend(front.strikes(nodes.len(), until));
        let mut path = Path::of(seed, &draw.vips);
        path.define(&mut vips, &mut strikes);
        strikes.extend(path.strikes(nodes.len(), until));
        // What is begun last may be over first: by when they begin.
        strikes.sort_by_key(|strike| strike.deeds.first().map(|(at, _)| *at));
        Self { plan, vips, strikes, until }
    }

    /// How many faults of which kind.
    #[must_use]
    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        let mut kinds = BTreeMap::new();
        for strike in self.strikes.iter().filter(|strike| !strike.kind.starts_with("ask")) {
            *kinds.entry(strike.kind).or_default() += 1;
        }
        kinds
    }
}

/// Every definition of a VIP: those at the beginning, and those that the operator makes later.
fn each_spec(
    vips: &mut [(VipName, VipSpec)],
    strikes: &mut [Strike],
    change: impl Fn(&VipName, &mut VipSpec),
) {
    vips.iter_mut().for_each(|(vip, spec)| change(vip, spec));
    for (_, deed) in strikes.iter_mut().flat_map(|strike| &mut strike.deeds) {
        if let Deed::Ask(_, Ask::CreateVip { vip, spec, .. }) = deed {
            change(vip, spec);
        }
    }
}

/// The IPv6 address of a VIP that has one.
fn ipv6_of(index: u8) -> IpAddr {
    Ipv6Addr::new(0xfd00, 5, 0, 0, 0, 0, 0, 0x110 + u16::from(index)).into()
}

struct Draw {
    chance: Chance,
    /// One disk may be lost: a second one would be more than Raft promises to bear.
    wiped: bool,
    nodes: usize,
    vips: Vec<VipName>,
    asks: u64,
}

impl Draw {
    // ---- what the world is made of --------------------------------------------------------------

    fn plan(&mut self) -> Plan {
        let timing = Timing::of(match self.chance.within(0, 9) {
            0..=6 => Profile::Fast,
            7..=8 => Profile::Standard,
            _ => Profile::Tolerant,
        });
        let mut plan = match self.chance.within(0, 5) {
            0 => Plan::with_witness(timing, 2),
            1 => Plan::with_witness(timing, 4),
            _ => Plan::three(timing),
        };
        plan.azure = self.settings();
        plan.epoch_tag = !self.chance.one_in(6);
        plan.trust_if_match = plan.azure.put_honours_if_match && !self.chance.one_in(16);
        if plan.only_time_clears() {
            // Ours are late by a minute at most.
            plan.timing.profile = Profile::Custom;
            plan.timing.azure_max_ms = 90_000;
        }
        plan
    }

    fn settings(&mut self) -> azure_sim::Settings {
        let chance = &mut self.chance;
        azure_sim::Settings {
            operation_ms: *chance.pick(&[200, 1_000, 1_000, 3_000, 8_000]),
            detach_operation_ms: chance.one_in(4).then(|| chance.within(100, 6_000)),
            retry_after_s: (!chance.one_in(4)).then_some(10),
            retry_after_grows: chance.one_in(3),
            tenant_update: *chance.pick(&[
                TenantUpdate::Allocated,
                TenantUpdate::Running,
                TenantUpdate::Always,
            ]),
            put_honours_if_match: !chance.one_in(8),
            body_etag_counts: chance.one_in(8),
            throttling: match chance.within(0, 5) {
                0 => Throttling::tight(),
                1 | 2 => Throttling::documented(),
                _ => Throttling::default(),
            },
            early_operation_404_ms: if chance.one_in(5) { chance.within(50, 1_500) } else { 0 },
            concurrent_write: *chance.pick(&[
                ConcurrentWrite::Retryable429,
                ConcurrentWrite::Retryable429,
                ConcurrentWrite::Conflict409,
                ConcurrentWrite::Supersede,
            ]),
            patch_waits_for_operation: !chance.one_in(4),
            etag_changes_on_completion: !chance.one_in(4),
            patch_changes_etag: !chance.one_in(4),
            same_put_changes_etag: !chance.one_in(3),
            patch_tags: *chance.pick(&[azure_sim::PatchTags::Replace, azure_sim::PatchTags::Merge]),
            address_freed: *chance.pick(&[
                AddressFreed::AtCompletion,
                AddressFreed::AtCompletion,
                AddressFreed::AtAccept,
            ]),
            cleanup_ms: if chance.one_in(5) { chance.within(200, 4_000) } else { 0 },
            failed_goal_stays: !chance.one_in(3),
            data_plane_lag_ms: if chance.one_in(6) { chance.within(100, 3_000) } else { 0 },
            token_life_s: if chance.one_in(6) { 60 } else { 86_400 },
            ..azure_sim::Settings::default()
        }
    }

    fn vips(&mut self, plan: &Plan) -> Vec<(VipName, VipSpec)> {
        let count = *self.chance.pick(&[1, 1, 2, 3]);
        (0..count)
            .map(|index| {
                let name = VipName::new(&format!("v{}", index + 1)).expect("a valid name");
                (name, self.spec(plan, index))
            })
            .collect()
    }

    fn spec(&mut self, plan: &Plan, index: u8) -> VipSpec {
        let mut spec = VipSpec::host(Ipv4Addr::new(10, 5, 0, 110 + index).into());
        if self.chance.one_in(4) {
            let second = Ipv4Addr::new(10, 5, 0, 140 + index);
            spec.addresses.push(vipfence_types::VipAddress::host(second.into()));
        }
        if self.chance.one_in(4) {
            spec.addresses.push(vipfence_types::VipAddress::host(ipv6_of(index)));
        }
        if self.chance.one_in(3) {
            spec.release = Release::Early;
        }
        spec.release_timeout_ms = *self.chance.pick(&[1_000, 3_000, 10_000]);
        if self.chance.one_in(3) {
            for (name, role) in plan.nodes.iter().filter(|(_, role)| role.may_hold()) {
                let _ = role;
                let priority = u32::try_from(self.chance.within(0, 3)).unwrap_or(0);
                spec.candidates.insert(node_id(name), Candidate { priority });
            }
        }
        spec
    }

    // ---- faults -----------------------------------------------------------------------------------

    fn node(&mut self) -> usize {
        self.chance.index(self.nodes)
    }

    /// Of one of the VIPs, from 0.
    fn vip_number(&mut self) -> u8 {
        u8::try_from(self.chance.index(self.vips.len())).unwrap_or(0)
    }

    /// From a moment up to three times the longest lease of the fast profiles; sometimes longer.
    fn span(&mut self) -> u64 {
        match self.chance.within(0, 9) {
            0..=3 => self.chance.within(ms(50), secs(2)),
            4..=7 => self.chance.within(secs(1), secs(12)),
            _ => self.chance.within(secs(10), secs(40)),
        }
    }

    fn fault(&mut self, plan: &Plan, until: At) -> Strike {
        let at = self.chance.within(CALM, until - secs(1));
        let end = (at + self.span()).min(until);
        let node = self.node();
        let strike = |kind, deeds| Strike { kind, deeds };
        let between =
            |kind, begin, finish| Strike { kind, deeds: vec![(at, begin), (end, finish)] };
        match self.chance.within(0, 30) {
            0 | 1 => between("kill", Deed::Kill(node), Deed::Start(node)),
            2 => self.power_off(plan, node, (at, end)),
            3 | 4 => between("stop the process", Deed::Stop(node), Deed::Continue(node)),
            5 => {
                let shown = self.chance.one_in(2);
                let seen = if shown { PauseSeen::Shown } else { PauseSeen::Hidden };
                between("pause the machine", Deed::Pause(node, seen), Deed::Resume(node))
            }
            6..=8 => {
                let links = self.partition(node);
                let cut = links.iter().map(|(from, to)| (at, Deed::Cut(*from, *to)));
                let join = links.iter().map(|(from, to)| (end, Deed::Join(*from, *to)));
                strike("cut links", cut.chain(join).collect())
            }
            9 => {
                let links = self.partition(node);
                let (lost, delay) = (self.chance.within(20, 500), self.chance.within(0, 400));
                let rough = |lost, delay| {
                    move |(from, to): &(Spot, Spot)| Deed::Roughen(*from, *to, lost, delay)
                };
                let bad = links.iter().map(rough(lost, delay)).map(|deed| (at, deed));
                let good = links.iter().map(rough(0, 0)).map(|deed| (end, deed));
                strike("rough links", bad.chain(good).collect())
            }
            10 => {
                let by = self.chance.signed(-30_000_000, 30_000_000);
                strike("the wall clock jumps", vec![(at, Deed::JumpWall(node, by))])
            }
            11 => {
                let by = self.chance.within(20, 1_500);
                between("slow disk", Deed::SlowDisk(node, by), Deed::SlowDisk(node, 0))
            }
            12 => between("full disk", Deed::FullDisk(node, true), Deed::FullDisk(node, false)),
            13 => {
                let (fails, slow) = (self.chance.within(2, 6), self.chance.within(0, 300));
                between("bad OS", Deed::BadOs(node, fails, slow), Deed::BadOs(node, 0, 0))
            }
            14..=17 => {
                let fault = self.arm_fault(plan);
                let deed = Deed::Azure(AdminCommand::AddFault { fault });
                strike("Azure fails", vec![(at, deed)])
            }
            18 => {
                let nic = Some(self.nic(plan));
                let freeze = Deed::Azure(AdminCommand::Freeze { nic: nic.clone() });
                let thaw = Deed::Azure(AdminCommand::Unfreeze { nic });
                between("an operation is stuck", freeze, thaw)
            }
            // Without If-Match an outsider's write is lost where ours comes close behind it (§11 b).
            19 if plan.azure.put_honours_if_match => self.outsider(plan, at),
            20 => {
                let name = plan.nodes[node].0.clone();
                let fault = Some(*self.chance.pick(&[
                    azure_sim::ImdsFault::Down,
                    azure_sim::ImdsFault::Silent,
                    azure_sim::ImdsFault::Status(500),
                ]));
                let down = AdminCommand::SetImds { node: name.clone(), fault };
                let up = AdminCommand::SetImds { node: name.clone(), fault: None };
                let revoke = AdminCommand::RevokeTokens { node: name };
                let mut deeds = vec![(at, Deed::Azure(down)), (end, Deed::Azure(up))];
                if self.chance.one_in(2) {
                    deeds.insert(1, (at, Deed::Azure(revoke)));
                }
                strike("IMDS is down", deeds)
            }
            21 => {
                let name = plan.nodes[node].0.clone();
                let rights = |read, write| {
                    let rights = azure_sim::Rights { read, write, ..Default::default() };
                    Deed::Azure(AdminCommand::SetRights { node: name.clone(), rights })
                };
                let reads = self.chance.one_in(2);
                between("rights are taken", rights(reads, false), rights(true, true))
            }
            22 => match self.chance.within(0, 3) {
                0 if !self.wiped => {
                    self.wiped = true;
                    between("a wiped node with its old id", Deed::Wipe(node), Deed::Start(node))
                }
                0 | 3 => strike("clean stop", vec![(at, Deed::CleanStop(node))]),
                1 => strike("step down", vec![(at, Deed::StepDown)]),
                _ => {
                    let profile = *self.chance.pick(&[Profile::Fast, Profile::Tolerant]);
                    let azure_max_ms = plan.timing.azure_max_ms;
                    let timing = match plan.only_time_clears() {
                        false => Timing::of(profile),
                        true => {
                            Timing { profile: Profile::Custom, azure_max_ms, ..Timing::of(profile) }
                        }
                    };
                    let deed = Deed::SetTiming(timing);
                    strike("the timers are changed", vec![(at, deed)])
                }
            },
            23 | 19 => self.forbidden(plan, (at, end)),
            24 => {
                let deed = Deed::Azure(AdminCommand::DrainBuckets { node: None });
                strike("somebody uses up Azure's budget", vec![(at, deed)])
            }
            25 => {
                let nic = self.nic(plan);
                let command = if self.chance.one_in(2) {
                    AdminCommand::FailNic { nic }
                } else {
                    AdminCommand::CancelOperation { nic }
                };
                strike("a NIC fails", vec![(at, Deed::Azure(command))])
            }
            26 => {
                // Within the leases of the faster profiles, or beyond them.
                let away = self.chance.within(50, 9_000);
                strike("upgrade", vec![(at, Deed::Upgrade(node, away))])
            }
            27 => {
                let address = Ipv4Addr::new(10, 5, 0, 110 + self.vip_number()).into();
                let deeds = vec![
                    (at, Deed::Kill(node)),
                    (at + self.chance.within(0, ms(500)), Deed::LeaveBehind(node, address)),
                    (end.max(at + ms(501)), Deed::Start(node)),
                ];
                strike("an address is left behind", deeds)
            }
            28 | 29 => {
                let address = Ipv4Addr::new(10, 5, 0, 110 + self.vip_number()).into();
                let deeds = [Deed::GuestAdds(node, address), Deed::GuestDrops(node, address)];
                let deed = self.chance.pick(&deeds).clone();
                strike("a guest program changes an address", vec![(at, deed)])
            }
            _ => self.two_at_once(at, end),
        }
    }

    /// The VM is off; Azure may know of it, and then takes less time for its NIC.
    fn power_off(&mut self, plan: &Plan, node: usize, (at, end): (At, At)) -> Strike {
        let mut deeds = vec![(at, Deed::PowerOff(node)), (end, Deed::Start(node))];
        if self.chance.one_in(2) {
            let known = *self.chance.pick(&[Power::Stopped, Power::Deallocated]);
            let tell = |power| {
                Deed::Azure(AdminCommand::SetPower { node: plan.nodes[node].0.clone(), power })
            };
            deeds.insert(1, (at, tell(known)));
            deeds.push((end, tell(Power::Running)));
        }
        Strike { kind: "power off", deeds }
    }

    /// A lock or a policy stands in the way for a while.
    fn forbidden(&mut self, plan: &Plan, (at, end): (At, At)) -> Strike {
        let nic = (!self.chance.one_in(4)).then(|| self.nic(plan));
        let (set, lift) = if self.chance.one_in(2) {
            let lock = |lock| AdminCommand::SetLock { nic: nic.clone(), lock };
            (lock(Some(Lock::ReadOnly)), lock(None))
        } else {
            let policy = |policy| AdminCommand::SetPolicy { nic: nic.clone(), policy };
            (policy(Some("no-changes".to_owned())), policy(None))
        };
        let deeds = vec![(at, Deed::Azure(set)), (end, Deed::Azure(lift))];
        Strike { kind: "a lock or a policy", deeds }
    }

    /// The holder's and the leader's troubles together: what single faults rarely meet.
    fn two_at_once(&mut self, at: At, end: At) -> Strike {
        let (one, other) = (self.node(), self.node());
        let deeds = vec![
            (at, Deed::Stop(one)),
            (at + self.chance.within(0, ms(800)), Deed::Kill(other)),
            (end, Deed::Continue(one)),
            (end + self.chance.within(0, ms(300)), Deed::Start(other)),
        ];
        Strike { kind: "two nodes at once", deeds }
    }

    /// Directed links around a node: symmetric, one way, partial, or to Azure.
    fn partition(&mut self, node: usize) -> Vec<(Spot, Spot)> {
        let me = Spot::Node(node);
        let others: Vec<Spot> =
            (0..self.nodes).filter(|other| *other != node).map(Spot::Node).collect();
        let one = *self.chance.pick(&others);
        let both = |other: &Spot| [(me, *other), (*other, me)];
        match self.chance.within(0, 7) {
            0 | 1 => others.iter().flat_map(both).collect(),
            2 => others.iter().map(|other| (me, *other)).collect(),
            3 => others.iter().map(|other| (*other, me)).collect(),
            4 => both(&one).to_vec(),
            5 => vec![(me, one)],
            6 => both(&Spot::Arm).to_vec(),
            _ => vec![(Spot::Arm, me)],
        }
    }

    fn nic(&mut self, plan: &Plan) -> String {
        let members: Vec<&String> =
            plan.nodes.iter().filter(|(_, role)| role.may_hold()).map(|(name, _)| name).collect();
        format!("{}-nic", self.chance.pick(&members))
    }

    fn arm_fault(&mut self, plan: &Plan) -> ArmFault {
        let code = |code: &str| code.to_owned();
        let refuse = |status, code: &str, retry_after_s| FaultEffect::Refuse {
            status,
            code: code.to_owned(),
            message: String::new(),
            retry_after_s,
        };
        let effect = match self.chance.within(0, 19) {
            0 => refuse(429, "TooManyRequests", Some(self.chance.within(1, 20))),
            1 => refuse(429, "RetryableError", None),
            2 => refuse(409, "AnotherOperationInProgress", None),
            3 => refuse(500, "InternalServerError", None),
            4 => refuse(503, "ServiceUnavailable", None),
            5 => refuse(412, "PreconditionFailed", None),
            6 => FaultEffect::NeverArrives,
            7 | 8 => FaultEffect::LoseAnswer { close: self.chance.one_in(2) },
            9..=10 => FaultEffect::Delay { ms: self.chance.within(100, 60_000) },
            13 => refuse(400, "PrivateIPAddressIsBeingCleanedUp", None),
            14 => refuse(429, "ReferencedResourceNotProvisioned", None),
            15 => refuse(401, "InvalidAuthenticationToken", None),
            16 => refuse(403, "LinkedAuthorizationFailed", None),
            17 => {
                let codes = [
                    "SubnetIsFull",
                    "PrivateIPAddressNotInSubnet",
                    "IpConfigDeleteNotSupported",
                    "InvalidRequestFormat",
                    "ACodeThatNobodyKnows",
                ];
                let code = *self.chance.pick(&codes);
                refuse(400, code, None)
            }
            18 => FaultEffect::FailOperation {
                code: (*self.chance.pick(&["OperationPreempted", "AnotherOperationInProgress"]))
                    .to_owned(),
                message: String::new(),
                takes_effect: false,
            },
            11 => FaultEffect::OperationTakes { ms: self.chance.within(100, 40_000) },
            _ => FaultEffect::FailOperation {
                code: code("InternalServerError"),
                message: String::new(),
                takes_effect: self.chance.one_in(5),
            },
        };
        let mut fault = ArmFault::once(effect);
        fault.times = u32::try_from(self.chance.within(1, 4)).unwrap_or(1);
        fault.skip = u32::try_from(self.chance.within(0, 3)).unwrap_or(0);
        if self.chance.one_in(3) {
            fault = fault.on_nic(&self.nic(plan));
        }
        if self.chance.one_in(5) {
            fault = fault.for_method("*");
        }
        fault
    }

    /// Somebody with rights and no manners.
    fn outsider(&mut self, plan: &Plan, at: At) -> Strike {
        let index = u8::try_from(self.chance.within(0, 2)).unwrap_or(0);
        let address = match self.chance.one_in(4) {
            false => IpAddr::from([10, 5, 0, 110 + index]),
            true => ipv6_of(index),
        };
        let nic = self.nic(plan);
        let immediate = self.chance.one_in(2);
        let detach = |nic: &str| {
            let nic = nic.to_owned();
            Deed::Azure(AdminCommand::ThirdPartyDetach { nic, address, immediate })
        };
        let attach = |nic: &str| {
            let (nic, ip_config) = (nic.to_owned(), None);
            Deed::Azure(AdminCommand::ThirdPartyAttach { nic, address, ip_config, immediate })
        };
        let mut deeds = vec![(at, detach(&nic))];
        if self.chance.one_in(2) {
            let taken_at = at + self.chance.within(ms(10), secs(3));
            // A stranger's own NIC blocks the move until he lets go again.
            let thief =
                if self.chance.one_in(3) { "stranger-nic".to_owned() } else { self.nic(plan) };
            deeds.push((taken_at, attach(&thief)));
            if thief == "stranger-nic" {
                deeds.push((taken_at + self.chance.within(secs(1), secs(15)), detach(&thief)));
            }
        }
        Strike { kind: "an outsider edits NICs", deeds }
    }

    // ---- the operator -------------------------------------------------------------------------------

    fn request(&mut self) -> Request {
        self.asks += 1;
        let id = RequestId::from(format!("s{}", self.asks));
        Request { id: Some(id), content: String::new(), caller: "operator".to_owned() }
    }

    fn call(&mut self, plan: &Plan, until: At) -> Strike {
        let at = self.chance.within(CALM, until);
        let node = self.node();
        let vip = self.chance.pick(&self.vips.clone()).clone();
        let request = self.request();
        let (kind, ask) = match self.chance.within(0, 19) {
            0 => ("ask: disable", Ask::SetIntent { vip, intent: Intent::Disabled, request }),
            1 | 2 => ("ask: enable", Ask::SetIntent { vip, intent: Intent::Held, request }),
            3 => ("ask: delete", Ask::SetIntent { vip, intent: Intent::Deleted, request }),
            4..=6 => {
                let index = self.vips.iter().position(|known| *known == vip).unwrap_or(0);
                let spec = self.spec(plan, u8::try_from(index).unwrap_or(0));
                let (enabled, to) = (true, self.target(plan));
                ("ask: create", Ask::CreateVip { vip, spec, enabled, to, request })
            }
            _ => {
                let to = self.target(plan);
                let (dry_run, force) = (self.chance.one_in(20), self.chance.one_in(10));
                let expect = Expect::default();
                ("ask: move", Ask::MoveVip { vip, to, expect, dry_run, force, request })
            }
        };
        let mut deeds = vec![(at, Deed::Ask(node, ask.clone()))];
        if self.chance.one_in(5) {
            // A client that had no answer: the same request again, through another node.
            let again = at + self.chance.within(ms(10), secs(4));
            deeds.push((again, Deed::Ask(self.node(), ask)));
        }
        Strike { kind, deeds }
    }

    fn target(&mut self, plan: &Plan) -> Option<NodeId> {
        let members: Vec<&String> =
            plan.nodes.iter().filter(|(_, role)| role.may_hold()).map(|(name, _)| name).collect();
        (!self.chance.one_in(4)).then(|| node_id(self.chance.pick::<&String>(&members)))
    }
}
