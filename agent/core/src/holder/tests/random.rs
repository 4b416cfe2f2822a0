//! Random answers, delays, clock steps, failures and restarts around one machine, with a kernel
//! and a disk that do as they are told, late. After each step (I1, I5, I8):
//!
//! - nothing is held, and nothing added, beyond a lease that was granted;
//! - no client is told anything of a VIP without a lease, or in the name of another VIP's address;
//! - nothing is added that was ever confirmed as released, or is spent on disk;
//! - nothing is confirmed that is not spent on disk, or that the kernel still has;
//! - an agent that was stopped has ended in time, and if it kept its VIPs and had time to, it left
//!   no address that outlives its lease, and told nobody to move them;
//! - what [`around`](super::around) says of tasks;
//! - the machine never asks to be woken at once for ever.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;
use vipfence_types::{
    Answer, BootId, Clocks, Connection, Epoch, Grant, Nowhere, Refusal, Term, VipEpoch, VipName,
};

use super::around::{Around, duties};
use super::bench::{address, at, connection, grant, name, start};
use crate::{Effect, Found, Holder, Input, OnStop, Sighting, Spent, Start};

const VIPS: [&str; 2] = ["demo", "other"];

/// One thing that happens.
#[derive(Clone, Debug)]
enum Move {
    Pass {
        ms: u64,
    },
    StepWall {
        ms: i64,
    },
    Answer {
        back: u64,
        words: [Word; 2],
        ttl_ms: u64,
        hold: bool,
    },
    /// The leader says the same again.
    Again,
    Refuse {
        second_boot: bool,
    },
    Nudge,
    Sight {
        vip: usize,
        what: u8,
    },
    Kernel {
        fails: bool,
    },
    Disk {
        fails: bool,
    },
    Task {
        how: u8,
    },
    Stop {
        keep: bool,
        within_ms: u64,
    },
    Restart,
}

/// What an answer says of a VIP.
#[derive(Clone, Copy, Debug)]
struct Word {
    granted: bool,
    releasing: bool,
    epoch: u64,
}

fn word() -> impl Strategy<Value = Word> {
    (any::<bool>(), prop::bool::weighted(0.3), 1_u64..5)
        .prop_map(|(granted, releasing, epoch)| Word { granted, releasing, epoch })
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let answer = (0_u64..3, [word(), word()], 500_u64..20_000, any::<bool>());
    let one = prop_oneof![
        8 => (0_u64..3_000).prop_map(|ms| Move::Pass { ms }),
        1 => (-30_000_i64..30_000).prop_map(|ms| Move::StepWall { ms }),
        3 => answer.prop_map(|(back, words, ttl_ms, hold)| Move::Answer { back, words, ttl_ms, hold }),
        6 => Just(Move::Again),
        1 => any::<bool>().prop_map(|second_boot| Move::Refuse { second_boot }),
        2 => Just(Move::Nudge),
        2 => (0_usize..2, 0_u8..4).prop_map(|(vip, what)| Move::Sight { vip, what }),
        10 => prop::bool::weighted(0.2).prop_map(|fails| Move::Kernel { fails }),
        12 => prop::bool::weighted(0.1).prop_map(|fails| Move::Disk { fails }),
        10 => (0_u8..8).prop_map(|how| Move::Task { how }),
        1 => (any::<bool>(), 0_u64..3_000)
            .prop_map(|(keep, within_ms)| Move::Stop { keep, within_ms }),
        1 => Just(Move::Restart),
    ];
    prop::collection::vec(one, 1..300)
}

struct World {
    holder: Holder,
    boot: u64,
    now: Clocks,
    /// By number: the heartbeats of this boot.
    sent: BTreeMap<u64, Clocks>,
    /// Every lease that an answer carried: the latest end counts.
    leases: Vec<(VipEpoch, Clocks, Duration, bool)>,
    /// Addresses in the kernel, each with the moment it was set and its lifetime.
    kernel: BTreeMap<IpAddr, (Clocks, Duration)>,
    kernel_calls: VecDeque<Effect>,
    disk_calls: VecDeque<Effect>,
    disk: Spent,
    around: Around,
    confirmed: BTreeMap<VipName, Epoch>,
    said: [Word; 2],
    stopping: Option<Stopping>,
    set_by_this_boot: BTreeSet<IpAddr>,
}

/// The agent was told to stop.
struct Stopping {
    on_stop: OnStop,
    since: Clocks,
    /// When it must have ended, counted from then.
    end: Duration,
}

fn boot(number: u64) -> BootId {
    BootId::from(format!("boot-{number}"))
}

impl World {
    fn new(tasks: &[(u8, bool); 2]) -> Self {
        let now = Clocks::all_at(Duration::from_secs(100_000));
        let of = |(vip, (bits, same)): (&&str, &(u8, bool))| (name(vip), duties(*bits, *same));
        let around = Around::of(VIPS.iter().zip(tasks).map(of).collect());
        let first = Start { boot: boot(1), duties: around.duties.clone(), ..start() };
        let (holder, effects) = Holder::start(now, first);
        let mut world = Self {
            holder,
            boot: 1,
            now,
            sent: BTreeMap::new(),
            leases: Vec::new(),
            kernel: BTreeMap::new(),
            kernel_calls: VecDeque::new(),
            disk_calls: VecDeque::new(),
            disk: Spent::default(),
            around,
            confirmed: BTreeMap::new(),
            said: [Word { granted: true, releasing: false, epoch: 1 }; 2],
            stopping: None,
            set_by_this_boot: BTreeSet::new(),
        };
        world.take(effects);
        world
    }

    fn expire(&mut self) {
        let now = self.now;
        // Kernel lifetimes run by a clock that nobody steps.
        self.kernel.retain(|_, (set, lifetime)| now.mono_since(*set) < *lifetime);
    }

    fn step(&mut self, input: Input) {
        let effects = self.holder.step(self.now, input);
        self.take(effects);
    }

    fn take(&mut self, effects: Vec<Effect>) {
        self.expire();
        let ended = effects.contains(&Effect::Stopped);
        self.carry_out(effects);
        for held in self.holder.view(self.now).held {
            let key = VipEpoch { vip: held.vip, epoch: held.epoch };
            assert!(self.may_hold(&key, held.lease_left), "held too long");
        }
        let wait = self.holder.next_deadline(self.now);
        assert_ne!(wait, Some(Duration::ZERO), "{:?}", self.holder);
        if ended {
            self.check_what_is_left();
            self.restart();
        } else if let Some(Stopping { since, end, .. }) = &self.stopping {
            assert!(self.now.longest_since(*since) < *end, "a stop takes too long");
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        self.around.asked(self.now, &effects);
        for effect in effects {
            match &effect {
                Effect::Send { heartbeat, .. } => {
                    self.sent.insert(heartbeat.seq, self.now);
                    let moves = self.stopping.as_ref().is_some_and(|s| s.on_stop == OnStop::Move);
                    assert_eq!(heartbeat.health.stopping, moves);
                    for released in &heartbeat.released {
                        self.check_confirmation(released);
                    }
                }
                Effect::Add { .. } => {
                    self.check_add(&effect);
                    self.kernel_calls.push_back(effect);
                }
                Effect::Tell { vip, connections, start_within, .. } => {
                    self.check_tell(vip, *start_within);
                    let ours = |one: &Connection| one.vip.ip() == address(vip.as_str());
                    assert!(connections.iter().all(ours), "told in another's name");
                    self.kernel_calls.push_back(effect);
                }
                Effect::Drop { .. } | Effect::Sweep { .. } => self.kernel_calls.push_back(effect),
                Effect::PersistSpent { .. } | Effect::Run { .. } | Effect::NoteServing { .. } => {
                    self.disk_calls.push_back(effect);
                }
                Effect::PersistHighest { .. }
                | Effect::Abort { .. }
                | Effect::Event(_)
                | Effect::Reach { .. }
                | Effect::Stopped => {}
            }
        }
    }

    /// An agent that had time to put things right leaves no address that outlives its lease (by
    /// more than the kernel's call may take).
    fn check_what_is_left(&self) {
        let Some(Stopping { on_stop: OnStop::Keep, since, end }) = &self.stopping else {
            return;
        };
        if self.now.longest_since(*since) >= *end {
            return;
        }
        for (address, (set, lifetime)) in &self.kernel {
            let left = lifetime.saturating_sub(self.now.mono_since(*set));
            let covered = self.leases.iter().any(|(granted, sent, ttl, hold)| {
                let lease = ttl.saturating_sub(self.now.mono_since(*sent));
                let of_it = super::bench::address(granted.vip.as_str()) == *address;
                of_it && (*hold || left <= lease + Duration::from_millis(100))
            });
            // What an earlier boot left is the kernel's, and ends by itself.
            assert!(covered || !self.set_by_this_boot.contains(address), "{address} for {left:?}");
        }
    }

    fn may_hold(&self, key: &VipEpoch, for_so_long: Duration) -> bool {
        self.leases.iter().any(|(granted, sent, ttl, hold)| {
            let left = ttl.saturating_sub(self.now.longest_since(*sent));
            granted == key && (*hold || for_so_long <= left)
        })
    }

    fn check_tell(&self, vip: &VipName, for_so_long: Duration) {
        let any = self
            .leases
            .iter()
            .any(|(granted, ..)| granted.vip == *vip && self.may_hold(granted, for_so_long));
        assert!(any, "told without a lease");
    }

    fn check_confirmation(&mut self, released: &VipEpoch) {
        self.around.check_confirmation(self.now, &released.vip);
        let known = self.disk.vips.get(&released.vip);
        assert!(known >= Some(&released.epoch), "confirmed, not spent");
        let address = address(released.vip.as_str());
        assert!(!self.kernel.contains_key(&address), "confirmed, still there");
        for call in &self.kernel_calls {
            let adds = matches!(call, Effect::Add { vip, .. } if *vip == released.vip);
            assert!(!adds, "confirmed, and being added");
        }
        let highest = self.confirmed.entry(released.vip.clone()).or_default();
        *highest = released.epoch.max(*highest);
    }

    fn check_add(&self, effect: &Effect) {
        let Effect::Add { vip, epoch, lifetime, .. } = effect else {
            return;
        };
        self.around.check_add(vip, *epoch);
        assert!(Some(epoch) > self.confirmed.get(vip), "confirmed, revived");
        let spent = self.disk.forbids(vip, &[address(vip.as_str())], *epoch);
        // What is being written may be on disk before the machine hears of it, but then the
        // machine has an epoch above it.
        assert!(!spent, "spent, revived");
        let whole = lifetime.subsec_nanos() == 0;
        assert!(whole && (1..=12).contains(&lifetime.as_secs()), "{lifetime:?}");
        let key = VipEpoch { vip: vip.clone(), epoch: *epoch };
        assert!(self.may_hold(&key, *lifetime), "added beyond the lease");
    }

    fn kernel(&mut self, fails: bool) {
        let Some(effect) = self.kernel_calls.pop_front() else {
            return;
        };
        let problem = "kernel".to_owned();
        match effect {
            Effect::Add { call, addresses, lifetime, .. } => {
                // Also a call that fails may have done its work.
                for one in addresses {
                    self.kernel.insert(one.address, (self.now, lifetime));
                    self.set_by_this_boot.insert(one.address);
                }
                let at = self.now;
                self.step(if fails {
                    Input::AddFailed { call, problem }
                } else {
                    Input::Added { call, at }
                });
            }
            Effect::Tell { vip, computed_at, start_within, .. } => {
                if self.now.longest_since(computed_at) <= start_within {
                    self.check_tell(&vip, Duration::ZERO);
                }
            }
            Effect::Drop { call, .. } | Effect::Sweep { call, .. } if fails => {
                self.step(Input::DropFailed { call, problem });
            }
            Effect::Drop { call, addresses, .. } => {
                self.kernel.retain(|one, _| !addresses.contains(one));
                let connections = vec![connection(VIPS[0], 1)];
                self.step(Input::Cut { call, connections });
                self.step(Input::Dropped { call });
            }
            Effect::Sweep { call, keep, .. } => {
                self.kernel.retain(|one, _| keep.contains(one));
                self.step(Input::Dropped { call });
            }
            other => unreachable!("not a kernel call: {other:?}"),
        }
    }

    fn disk(&mut self, fails: bool) {
        let (call, vip, addresses, epoch) = match self.disk_calls.pop_front() {
            Some(Effect::PersistSpent { call, vip, addresses, epoch }) => {
                (call, vip, addresses, epoch)
            }
            Some(other) => {
                let input = self.around.disk(&other, fails);
                return input.into_iter().for_each(|input| self.step(input));
            }
            None => return,
        };
        if fails {
            let problem = "disk".to_owned();
            self.step(Input::PersistFailed { call, problem });
        } else {
            self.disk.spend(&vip, &addresses, epoch);
            self.step(Input::Persisted { call });
        }
    }

    fn answer(&mut self, back: u64, words: [Word; 2], ttl_ms: u64, hold: bool) {
        let Some((&newest, _)) = self.sent.last_key_value() else {
            return;
        };
        let seq = newest.saturating_sub(back);
        let Some(&sent) = self.sent.get(&seq) else {
            return;
        };
        self.said = words;
        let mut grants = Vec::new();
        let mut releasing = Vec::new();
        for (vip, word) in VIPS.iter().zip(words) {
            if word.granted {
                let ours = |port| VIPS.map(|vip| connection(vip, port));
                let given = Grant {
                    cut: (1..word.epoch).map_while(|n| n.try_into().ok()).flat_map(ours).collect(),
                    lease_ttl_ms: ttl_ms,
                    hold_without_quorum: hold,
                    ..grant(vip, word.epoch)
                };
                let ttl = Duration::from_millis(ttl_ms);
                self.leases.push((given.at.clone(), sent, ttl, hold));
                grants.push(given);
            }
            if word.releasing {
                releasing.push(at(vip, word.epoch));
            }
        }
        // To whoever does not stop it means nothing.
        let reason = "nobody".to_owned();
        let nowhere = vec![Nowhere { vip: name(VIPS[0]), reason }];
        let answer = Answer { seq, term: Term(1), grants, releasing, nowhere, reach: vec![] };
        let boot = boot(self.boot);
        self.step(Input::Answered { boot, answer });
    }

    fn refuse(&mut self, second_boot: bool) {
        let seq = self.sent.keys().last().copied().unwrap_or(0);
        let refusal =
            if second_boot { Refusal::SecondBoot { boot: boot(0) } } else { Refusal::NoQuorum };
        let boot = boot(self.boot);
        self.step(Input::Refused { boot, seq, refusal });
    }

    /// Something else touches an address, or seems to.
    fn sight(&mut self, address: IpAddr, what: u8) {
        let input = match what {
            0 => {
                self.kernel.remove(&address);
                Input::Sighted(Sighting::Gone(address))
            }
            1 => Input::Sighted(Sighting::Foreign(address)),
            2 => Input::Sighted(Sighting::Unknown),
            _ => Input::Managed { addresses: [address].into() },
        };
        self.step(input);
    }

    /// Killed, and started again: what was asked of the kernel and of the disk is lost.
    fn restart(&mut self) {
        self.expire();
        self.boot += 1;
        self.sent.clear();
        self.leases.clear();
        self.kernel_calls.clear();
        self.disk_calls.clear();
        self.around.killed();
        self.stopping = None;
        self.set_by_this_boot.clear();
        let now = self.now;
        let found = self.kernel.iter().map(|(address, (set, lifetime))| Found {
            address: *address,
            lifetime_left: Some(lifetime.saturating_sub(now.mono_since(*set))),
        });
        let (holder, effects) = Holder::start(
            now,
            Start {
                boot: boot(self.boot),
                spent: self.disk.clone(),
                duties: self.around.duties.clone(),
                serving: self.around.serving.clone(),
                found: found.collect(),
                ..start()
            },
        );
        self.holder = holder;
        self.take(effects);
    }

    fn stop(&mut self, keep: bool, within: Duration) {
        let on_stop = if keep { OnStop::Keep } else { OnStop::Move };
        if self.stopping.is_none() {
            let farewell = Duration::from_secs(if keep { 1 } else { 2 });
            let end = within + farewell;
            self.stopping = Some(Stopping { on_stop, since: self.now, end });
        }
        self.step(Input::Stop { on_stop, within });
    }

    fn make(&mut self, one: Move) {
        match one {
            Move::Pass { ms } => {
                self.now = self.now.plus(Duration::from_millis(ms));
                self.step(Input::Tick);
            }
            Move::StepWall { ms } => {
                self.now.wall_us = self.now.wall_us.saturating_add_signed(ms * 1_000);
                self.step(Input::Tick);
            }
            Move::Answer { back, words, ttl_ms, hold } => self.answer(back, words, ttl_ms, hold),
            Move::Again => {
                self.step(Input::Nudged);
                self.answer(0, self.said, 10_000, false);
            }
            Move::Refuse { second_boot } => self.refuse(second_boot),
            Move::Nudge => self.step(Input::Nudged),
            Move::Sight { vip, what } => self.sight(address(VIPS[vip]), what),
            Move::Kernel { fails } => self.kernel(fails),
            Move::Disk { fails } => self.disk(fails),
            Move::Task { how } => {
                let input = self.around.ends(how);
                input.into_iter().for_each(|input| self.step(input));
            }
            Move::Stop { keep, within_ms } => self.stop(keep, Duration::from_millis(within_ms)),
            Move::Restart => self.restart(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]

    #[test]
    fn no_lease_is_outlived_and_no_release_is_confirmed_early_or_taken_back(
        moves in moves(),
        tasks in [(127_u8..128, any::<bool>()), (0..128, any::<bool>())],
    ) {
        assert_eq!(name("demo").as_str(), VIPS[0]);
        let mut world = World::new(&tasks);
        for one in moves {
            world.make(one);
        }
    }
}
