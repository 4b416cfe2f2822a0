//! The plan of a seed: which faults strike when, and what the operator asks for. Drawn whole before
//! the run; only whom a blow meets, and when an ambush is sprung, depends on what the nodes do.
//!
//! Faults at any time hit what matters too rarely. So most of a plan are *scenes*, each of them aimed
//! at a fence: a holder that is out of reach for about a lease, a leader that stands still between its
//! decision and its write, a cluster that loses its leader while a failover is under way.

use std::time::Duration;

use azure_sim::{AdminCommand, Fault, FaultEffect, Settings};
use vipfence_coordinator_core::{Body, Step};
use vipfence_sim::chance::Chance;
use vipfence_sim::time::{At, ms, secs};
use vipfence_types::{Profile, Timing};

/// How many nodes there are.
pub(super) const NODES: usize = 3;

/// The faults begin when the cluster has stood for a moment.
const CALM: At = secs(5);

/// Who is struck; known only at that moment.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whom {
    Node(usize),
    /// Whoever leads.
    Leader,
    /// Whoever holds this VIP.
    Holder(usize),
}

/// What strikes a node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Blow {
    /// kill -9 of its process.
    Kill,
    /// The machine loses power.
    PowerOff,
    /// An operator stops the agent cleanly.
    CleanStop,
    /// Its process stands still (SIGSTOP), and goes on later.
    Stop,
    /// The machine stands still with its kernel, and two of its clocks show it later.
    Pause,
    /// No message passes between it and the other nodes.
    Isolate,
    /// Azure is not to be reached from it.
    CutArm,
}

/// Something that is done to the stage, or asked for.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    /// A node is struck, for so long.
    Strike(Whom, Blow, At),
    /// A process starts, where there is none.
    Start(usize),
    /// What stands still goes on.
    GoOn(usize),
    /// No message passes between two nodes.
    Part(usize, usize),
    /// No message passes in this direction.
    PartOneWay(usize, usize),
    /// Messages between two nodes wait.
    Hold(usize, usize),
    /// Messages between two nodes pass again.
    Join(usize, usize),
    /// So many of ten thousand messages break their connection.
    Loss(u64),
    /// The longest latency from now on.
    Latency(Duration),
    /// Somebody sets the wall clock.
    JumpWall(usize, i64),
    /// Azure can be reached from a node again.
    MendArm(usize),
    /// Something is done to Azure.
    Azure(AdminCommand),
    /// The operator asks for something.
    Ask(Ask),
}

/// What an operator asks for.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// Defines a VIP.
    Create(usize),
    /// Moves it: to this node, or to the best one.
    Move(usize, Option<usize>),
    Disable(usize),
    Enable(usize),
}

/// A moment that an ambush waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Moment {
    /// A failover is under way: a node is no longer granted what it has.
    Expiring,
    /// Azure is to be asked to take a VIP off a NIC.
    Detaching,
    /// Azure is to be asked to put a VIP on a NIC.
    Attaching,
    /// A leader was elected.
    Elected,
    /// A write to Azure has been decided, confirmed by a quorum, and not yet been sent.
    WriteDecided,
}

impl Moment {
    const ALL: [Self; 5] =
        [Self::Expiring, Self::Detaching, Self::Attaching, Self::Elected, Self::WriteDecided];

    /// What an entry of the log means.
    pub(super) fn of(body: &Body) -> Option<Self> {
        match body {
            Body::Step { step: Step::Expire { .. }, .. } => Some(Self::Expiring),
            Body::Step { step: Step::BeginDetach { .. }, .. } => Some(Self::Detaching),
            Body::Step { step: Step::BeginAttach { .. }, .. } => Some(Self::Attaching),
            _ => None,
        }
    }
}

/// A deed that waits for its moment, from some time on, once.
#[derive(Clone, Debug)]
pub(super) struct Ambush {
    pub(super) from: At,
    pub(super) moment: Moment,
    /// It is done so long after the moment.
    pub(super) late: At,
    pub(super) deed: Deed,
}

/// See the module.
pub(super) struct Plan {
    pub(super) azure: Settings,
    pub(super) vips: usize,
    pub(super) timing: Timing,
    /// A snapshot is taken after so many entries, and so many are kept.
    pub(super) entries: (u64, u64),
    pub(super) deeds: Vec<(At, Deed)>,
    pub(super) ambushes: Vec<Ambush>,
    /// When the faults are over.
    pub(super) until: At,
}

impl Plan {
    pub(super) fn draw(seed: u64) -> Self {
        let mut chance = Chance::of(seed, 1);
        let azure = settings(&mut chance);
        let vips = if chance.one_in(3) { 2 } else { 1 };
        // A matter of taste, never of safety: a failover may be begun long before the lease is over.
        let failover_after_ms = *chance.pick(&[1_000, 1_500, 3_000]);
        let timing = Timing { failover_after_ms, ..Timing::of(Profile::Fast) };
        let entries = if chance.one_in(2) { (2_000, 500) } else { (20, 5) };
        let until = CALM + secs(chance.within(25, 40));
        let lease = ms(timing.lease_ttl_ms);
        let nothing = (Vec::new(), Vec::new());
        let mut draw = Draw { chance, vips, lease, until, deeds: nothing.0, ambushes: nothing.1 };
        draw.everything();
        let Draw { mut deeds, ambushes, .. } = draw;
        deeds.sort_by_key(|(at, _)| *at);
        Self { azure, vips, timing, entries, deeds, ambushes, until }
    }
}

fn settings(chance: &mut Chance) -> Settings {
    Settings {
        // Short ones, so that nothing but the wait for a lease keeps two holders apart.
        operation_ms: *chance.pick(&[50, 200, 1_000, 3_000]),
        early_operation_404_ms: if chance.one_in(5) { chance.within(50, 1_500) } else { 0 },
        patch_waits_for_operation: !chance.one_in(4),
        etag_changes_on_completion: !chance.one_in(4),
        patch_changes_etag: !chance.one_in(4),
        cleanup_ms: if chance.one_in(5) { chance.within(200, 4_000) } else { 0 },
        data_plane_lag_ms: if chance.one_in(6) { chance.within(100, 3_000) } else { 0 },
        ..Settings::default()
    }
}

struct Draw {
    chance: Chance,
    vips: usize,
    lease: At,
    until: At,
    deeds: Vec<(At, Deed)>,
    ambushes: Vec<Ambush>,
}

impl Draw {
    fn everything(&mut self) {
        for vip in 0..self.vips {
            self.deeds.push((secs(2), Deed::Ask(Ask::Create(vip))));
        }
        let mut at = self.first_scene();
        while at < self.until {
            at += self.chance.within(ms(200), secs(6));
            at = self.scene(at);
        }
        for _ in 0..self.chance.within(2, 6) {
            let at = self.chance.within(CALM, self.until);
            // What is begun ends, at the latest by the heal. Short ones are ridden out by a lease.
            let longest = *self.chance.pick(&[secs(3), secs(12)]);
            let end = at + self.chance.within(ms(100), longest);
            self.fault(at, end);
        }
        for _ in 0..self.chance.within(3, 10) {
            let at = self.chance.within(CALM, self.until);
            self.ask(at);
        }
    }

    /// While everything is well a holder is out of reach for longer than a lease, and lives: nothing
    /// but the wait for its lease keeps the next one from it. Returns when it is over.
    fn first_scene(&mut self) -> At {
        let at = CALM + self.chance.within(0, secs(1));
        let span = self.chance.within(self.lease, 2 * self.lease);
        let blow = *self.chance.pick(&[Blow::Isolate, Blow::Isolate, Blow::Stop]);
        let holder = Whom::Holder(self.chance.index(self.vips));
        self.deeds.push((at, Deed::Strike(holder, blow, span)));
        at + span
    }

    /// A scene that begins now; returns when the next one may begin.
    fn scene(&mut self, at: At) -> At {
        // From what a lease rides out to what none does.
        let span = self.chance.within(self.lease / 2, 3 * self.lease);
        let holder = Whom::Holder(self.chance.index(self.vips));
        let away = *self.chance.pick(&[Blow::Isolate, Blow::Isolate, Blow::Stop, Blow::Pause]);
        let soon = self.chance.within(0, ms(400));
        match self.chance.within(0, 6) {
            // A holder out of reach.
            0 | 1 => self.deeds.push((at, Deed::Strike(holder, away, span))),
            // And while it is, something happens to the leader.
            2 => {
                self.deeds.push((at, Deed::Strike(holder, away, span)));
                let moment = *self.chance.pick(&[Moment::Expiring, Moment::Attaching]);
                let blow =
                    *self.chance.pick(&[Blow::Kill, Blow::Stop, Blow::Isolate, Blow::CutArm]);
                let short = self.chance.within(ms(50), self.lease / 2);
                self.ambush(at, moment, soon, Deed::Strike(Whom::Leader, blow, short));
            }
            // Leader and holder at once: whoever leads next knows nothing of any answer.
            3 => {
                let short = self.chance.within(ms(50), secs(1));
                self.deeds.push((at, Deed::Strike(holder, away, span)));
                self.deeds.push((at + soon, Deed::Strike(Whom::Leader, Blow::Kill, short)));
            }
            // A leader that is gone, or stands still, when it is about to write.
            4 | 5 => {
                self.ask_to_move(at);
                let blow = *self.chance.pick(&[Blow::Stop, Blow::Pause, Blow::Isolate, Blow::Kill]);
                let late = if self.chance.one_in(2) { 0 } else { soon };
                self.ambush(at, Moment::WriteDecided, late, Deed::Strike(Whom::Leader, blow, span));
            }
            // A write that Azure carries out late, for a leader that is soon gone.
            _ => {
                self.ask_to_move(at);
                let effect = FaultEffect::Delay { ms: self.chance.within(500, 9_000) };
                let fault = Fault::once(effect).for_method("PUT");
                self.deeds.push((at, Deed::Azure(AdminCommand::AddFault { fault })));
                let blow = *self.chance.pick(&[Blow::Kill, Blow::Isolate, Blow::Stop]);
                self.ambush(at, Moment::WriteDecided, soon, Deed::Strike(Whom::Leader, blow, span));
            }
        }
        if self.chance.one_in(3) {
            let moment = *self.chance.pick(&Moment::ALL);
            let whom = if self.chance.one_in(2) { Whom::Leader } else { holder };
            self.ambush(at, moment, soon, Deed::Strike(whom, away, span));
        }
        // The next one may begin while this one is not over.
        at + self.chance.within(span / 2, span + secs(2))
    }

    fn ambush(&mut self, from: At, moment: Moment, late: At, deed: Deed) {
        self.ambushes.push(Ambush { from, moment, late, deed });
    }

    fn ask_to_move(&mut self, at: At) {
        let vip = self.chance.index(self.vips);
        let to = self.chance.index(NODES);
        self.deeds.push((at, Deed::Ask(Ask::Move(vip, Some(to)))));
    }

    fn span(&mut self, at: At, end: At, begin: Deed, over: Deed) {
        self.deeds.extend([(at, begin), (end, over)]);
    }

    fn fault(&mut self, at: At, end: At) {
        let node = self.chance.index(NODES);
        let other = (node + 1 + self.chance.index(NODES - 1)) % NODES;
        match self.chance.within(0, 19) {
            0..=2 => self.strike(Blow::Kill, at, end),
            3 => self.strike(Blow::Stop, at, end),
            4 => self.strike(Blow::Pause, at, end),
            5 => self.strike(Blow::PowerOff, at, end),
            6 => self.strike(Blow::CleanStop, at, end),
            7..=9 => self.strike(Blow::Isolate, at, end),
            10 | 11 => self.strike(Blow::CutArm, at, end),
            12 => self.span(at, end, Deed::Part(node, other), Deed::Join(node, other)),
            13 => self.span(at, end, Deed::PartOneWay(node, other), Deed::Join(node, other)),
            14 => self.span(at, end, Deed::Hold(node, other), Deed::Join(node, other)),
            15 => {
                let loss = *self.chance.pick(&[5, 50, 200]);
                self.span(at, end, Deed::Loss(loss), Deed::Loss(0));
            }
            16 => {
                let slow = Duration::from_millis(self.chance.within(20, 150));
                let usual = Duration::from_millis(super::run::LATENCY_MS);
                self.span(at, end, Deed::Latency(slow), Deed::Latency(usual));
            }
            17 => {
                let by = self.chance.signed(-20_000_000, 20_000_000);
                self.deeds.push((at, Deed::JumpWall(node, by)));
            }
            _ => {
                let fault = self.azure_fault();
                self.deeds.push((at, Deed::Azure(AdminCommand::AddFault { fault })));
            }
        }
    }

    fn strike(&mut self, blow: Blow, at: At, end: At) {
        let whom = match self.chance.within(0, 3) {
            0 => Whom::Leader,
            1 => Whom::Holder(self.chance.index(self.vips)),
            _ => Whom::Node(self.chance.index(NODES)),
        };
        self.deeds.push((at, Deed::Strike(whom, blow, end - at)));
    }

    fn azure_fault(&mut self) -> Fault {
        let refuse = |status, code: &str| FaultEffect::Refuse {
            status,
            code: code.to_owned(),
            message: String::new(),
            retry_after_s: None,
        };
        let effect = match self.chance.within(0, 7) {
            0 => refuse(429, "RetryableError"),
            1 => refuse(409, "AnotherOperationInProgress"),
            2 => refuse(500, "InternalServerError"),
            3 => FaultEffect::NeverArrives,
            4 => FaultEffect::LoseAnswer { close: true },
            5 => FaultEffect::LoseAnswer { close: false },
            6 => FaultEffect::Delay { ms: self.chance.within(500, 9_000) },
            _ => FaultEffect::FailOperation {
                code: "InternalServerError".to_owned(),
                message: String::new(),
                takes_effect: self.chance.one_in(2),
            },
        };
        Fault::once(effect).times(u32::try_from(self.chance.within(1, 3)).unwrap_or(1))
    }

    fn ask(&mut self, at: At) {
        let vip = self.chance.index(self.vips);
        let ask = match self.chance.within(0, 9) {
            0 => {
                let end = at + self.chance.within(ms(100), secs(5));
                self.deeds.push((end, Deed::Ask(Ask::Enable(vip))));
                Ask::Disable(vip)
            }
            1 => Ask::Move(vip, None),
            _ => Ask::Move(vip, Some(self.chance.index(NODES))),
        };
        self.deeds.push((at, Deed::Ask(ask)));
    }
}
