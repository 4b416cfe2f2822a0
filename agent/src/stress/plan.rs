//! The plan of a seed: which faults strike when, and what the operator asks for. Drawn whole before
//! the run.

use std::time::Duration;

use azure_sim::{AdminCommand, Fault, FaultEffect, Settings};
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
    /// No message passes between two nodes.
    Part(usize, usize),
    /// No message passes in this direction.
    PartOneWay(usize, usize),
    /// Messages between two nodes wait.
    Hold(usize, usize),
    /// Messages between two nodes pass again; what waited arrives.
    Release(usize, usize),
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

/// See the module.
pub(super) struct Plan {
    pub(super) azure: Settings,
    pub(super) vips: usize,
    pub(super) timing: Timing,
    /// A snapshot is taken after so many entries, and so many are kept.
    pub(super) entries: (u64, u64),
    pub(super) deeds: Vec<(At, Deed)>,
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
        let until = CALM + secs(chance.within(25, 45));
        let mut draw = Draw { chance, vips, until, deeds: Vec::new() };
        draw.everything();
        let mut deeds = draw.deeds;
        deeds.sort_by_key(|(at, _)| *at);
        Self { azure, vips, timing, entries, deeds, until }
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
    until: At,
    deeds: Vec<(At, Deed)>,
}

impl Draw {
    fn everything(&mut self) {
        for vip in 0..self.vips {
            self.deeds.push((secs(2), Deed::Ask(Ask::Create(vip))));
        }
        for _ in 0..self.chance.within(4, 10) {
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

    fn span(&mut self, at: At, end: At, begin: Deed, over: Deed) {
        self.deeds.extend([(at, begin), (end, over)]);
    }

    fn fault(&mut self, at: At, end: At) {
        let node = self.chance.index(NODES);
        let other = (node + 1 + self.chance.index(NODES - 1)) % NODES;
        match self.chance.within(0, 19) {
            0..=4 => self.strike(Blow::Kill, at, end),
            5 => self.strike(Blow::PowerOff, at, end),
            6 => self.strike(Blow::CleanStop, at, end),
            7..=9 => self.strike(Blow::Isolate, at, end),
            10 | 11 => self.strike(Blow::CutArm, at, end),
            12 => self.span(at, end, Deed::Part(node, other), Deed::Join(node, other)),
            13 => self.span(at, end, Deed::PartOneWay(node, other), Deed::Join(node, other)),
            14 => self.span(at, end, Deed::Hold(node, other), Deed::Release(node, other)),
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
