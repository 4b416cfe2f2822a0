//! A machine, a clock, and words to speak to them in.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use vipfence_types::{
    Answer, BootId, Clocks, ClusterName, Connection, Epoch, Grant, Heartbeat, NicId, NicRecord,
    NodeId, Nowhere, Reach, Refusal, Term, VipAddress, VipEpoch, VipName,
};

use crate::{Call, Effect, EndCause, Event, Found, Holder, Input, Spent, Start};

pub(super) const TTL: u64 = 10_000;

/// A machine of the standard profile that has sent its first heartbeat.
#[derive(Clone)]
pub(super) struct Bench {
    pub(super) holder: Holder,
    pub(super) now: Clocks,
    pub(super) seq: u64,
    answered: u64,
    /// What the next answer says beside grants and releases.
    pub(super) nowhere: Vec<Nowhere>,
    /// What every answer asks to reach.
    pub(super) reach: Vec<Reach>,
    /// What was said of pauses and clock steps.
    pub(super) gaps: Vec<Effect>,
}

pub(super) fn name(vip: &str) -> VipName {
    VipName::new(vip).unwrap()
}

pub(super) fn address(vip: &str) -> IpAddr {
    let last = if vip == "demo" { 110 } else { 111 };
    IpAddr::from([10, 5, 0, last])
}

pub(super) fn connection(vip: &str, port: u16) -> Connection {
    Connection { client: ([10, 5, 0, 9], port).into(), vip: (address(vip), 5_432).into() }
}

pub(super) fn at(vip: &str, epoch: u64) -> VipEpoch {
    VipEpoch { vip: name(vip), epoch: Epoch(epoch) }
}

pub(super) fn grant(vip: &str, epoch: u64) -> Grant {
    Grant {
        at: at(vip, epoch),
        lease_ttl_ms: TTL,
        addresses: vec![VipAddress::host(address(vip))],
        hold_without_quorum: false,
        probe: None,
        cut: vec![],
    }
}

pub(super) fn secs(span: u64) -> Duration {
    Duration::from_secs(span)
}

pub(super) fn ms(span: u64) -> Duration {
    Duration::from_millis(span)
}

pub(super) fn start() -> Start {
    Start {
        cluster: ClusterName::new("c1").unwrap(),
        node: NodeId::new("n1").unwrap(),
        boot: BootId::from("boot-1"),
        replaces: vec![],
        nics: vec![NicRecord { name: "nic0".into(), id: NicId::new("/nic") }],
        version: "1".into(),
        heartbeat: secs(1),
        spent: Spent::default(),
        highest_epoch: Epoch(0),
        managed: BTreeSet::new(),
        duties: BTreeMap::new(),
        serving: BTreeMap::new(),
        found: Vec::<Found>::new(),
    }
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::from(start()).0
    }

    pub(super) fn from(start: Start) -> (Self, Vec<Effect>) {
        let now = Clocks::all_at(secs(1_000));
        let (holder, effects) = Holder::start(now, start);
        let mut bench =
            Self { holder, now, seq: 0, answered: 0, nowhere: vec![], reach: vec![], gaps: vec![] };
        bench.note(&effects);
        (bench, effects)
    }

    fn note(&mut self, effects: &[Effect]) {
        if let Some(heartbeat) = beats(effects).last() {
            self.seq = heartbeat.seq;
        }
        let wait = self.holder.next_deadline(self.now);
        assert_ne!(wait, Some(Duration::ZERO), "{:?}", self.holder);
    }

    pub(super) fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = self.holder.step(self.now, input);
        // Most tests let time pass at once, which to a machine is a pause.
        let is_gap = |effect: &mut Effect| {
            matches!(effect, Effect::Event(Event::Paused { .. } | Event::WallStepped { .. }))
        };
        self.gaps.extend(effects.extract_if(.., is_gap));
        self.note(&effects);
        effects
    }

    /// Time passes; the machine is told at the end only.
    pub(super) fn pass(&mut self, span: Duration) -> Vec<Effect> {
        self.now = self.now.plus(span);
        self.step(Input::Tick)
    }

    pub(super) fn answer_to(
        &mut self,
        seq: u64,
        grants: &[Grant],
        releasing: &[VipEpoch],
    ) -> Vec<Effect> {
        let (nowhere, reach) = (core::mem::take(&mut self.nowhere), self.reach.clone());
        self.step(Input::Answered {
            boot: BootId::from("boot-1"),
            answer: Answer {
                seq,
                term: Term(3),
                grants: grants.to_vec(),
                releasing: releasing.to_vec(),
                nowhere,
                reach,
            },
        })
    }

    /// The newest heartbeat is answered; a nudge brings one when there is none.
    pub(super) fn answer(&mut self, grants: &[Grant], releasing: &[VipEpoch]) -> Vec<Effect> {
        if self.answered == self.seq {
            self.step(Input::Nudged);
        }
        self.answered = self.seq;
        self.answer_to(self.seq, grants, releasing)
    }

    pub(super) fn refuse(&mut self, refusal: Refusal) -> Vec<Effect> {
        let seq = self.seq;
        self.step(Input::Refused { boot: BootId::from("boot-1"), seq, refusal })
    }

    /// A second passes, and the heartbeat that it brings is answered.
    pub(super) fn beat_and_answer(
        &mut self,
        grants: &[Grant],
        releasing: &[VipEpoch],
    ) -> Vec<Effect> {
        let mut effects = self.pass(secs(1));
        effects.extend(self.answer(grants, releasing));
        effects
    }

    pub(super) fn added(&mut self, call: Call) -> Vec<Effect> {
        let at = self.now.plus(ms(1));
        self.step(Input::Added { call, at })
    }

    /// A machine that holds demo at epoch 5, added; its news are said and answered.
    pub(super) fn holding() -> Self {
        let mut bench = Self::new();
        let effects = bench.answer(&[grant("demo", 5)], &[]);
        let call = add_call(&effects);
        bench.added(call);
        bench.answer(&[grant("demo", 5)], &[]);
        bench
    }

    pub(super) fn held(&self) -> Vec<(String, u64, bool)> {
        let view = self.holder.view(self.now);
        let held = view.held.iter();
        held.map(|h| (h.vip.to_string(), h.epoch.0, h.added)).collect()
    }

    pub(super) fn detail(&self) -> String {
        self.holder.view(self.now).detail
    }

    /// Repeats ticks for a time, each when the machine wants it, and collects what it does.
    pub(super) fn run(&mut self, span: Duration) -> Vec<Effect> {
        let end = self.now.plus(span);
        let mut all = Vec::new();
        loop {
            let Some(wait) = self.holder.next_deadline(self.now) else {
                return all;
            };
            let left = end.mono_since(self.now);
            if wait > left {
                self.now = end;
                return all;
            }
            all.extend(self.pass(wait));
        }
    }
}

pub(super) fn beats(effects: &[Effect]) -> Vec<&Heartbeat> {
    let mut beats: Vec<&Heartbeat> = Vec::new();
    for effect in effects {
        if let Effect::Send { heartbeat, .. } = effect {
            beats.push(heartbeat);
        }
    }
    beats
}

pub(super) fn adds(effects: &[Effect]) -> Vec<(Call, u64, Duration)> {
    let of = |effect: &Effect| match effect {
        Effect::Add { call, epoch, lifetime, .. } => Some((*call, epoch.0, *lifetime)),
        _ => None,
    };
    effects.iter().filter_map(of).collect()
}

pub(super) fn add_call(effects: &[Effect]) -> Call {
    adds(effects).first().expect("an add").0
}

pub(super) fn drop_call(effects: &[Effect]) -> Call {
    let of = |effect: &Effect| match effect {
        Effect::Drop { call, .. } | Effect::Sweep { call, .. } => Some(*call),
        _ => None,
    };
    effects.iter().find_map(of).expect("a drop")
}

pub(super) fn persist_call(effects: &[Effect]) -> Call {
    let of = |effect: &Effect| match effect {
        Effect::PersistSpent { call, .. } => Some(*call),
        _ => None,
    };
    effects.iter().find_map(of).expect("a flush")
}

/// Effects but heartbeats.
pub(super) fn acts(effects: &[Effect]) -> Vec<Effect> {
    let is_act = |effect: &&Effect| !matches!(effect, Effect::Send { .. });
    effects.iter().filter(is_act).cloned().collect()
}

pub(super) fn ended(epoch: u64, cause: EndCause) -> Effect {
    Effect::Event(Event::NotEntitled { vip: name("demo"), epoch: Epoch(epoch), cause })
}

pub(super) fn entitled(epoch: u64) -> Effect {
    Effect::Event(Event::Entitled { vip: name("demo"), epoch: Epoch(epoch) })
}

pub(super) fn drop_of(call: Call) -> Effect {
    Effect::Drop { call, vip: name("demo"), addresses: vec![address("demo")] }
}
