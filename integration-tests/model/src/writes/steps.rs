//! What can happen in the writes model, and what comes of it.

use super::state::{Operation, Phase, bit};
use super::{Draft, Kind, Outsider, Rule, State, Trust, Write, Writes};

/// One event. NICs are numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Somebody asks for the VIP to be moved; an open move is superseded.
    Move {
        /// The NIC of the target.
        to: u8,
    },
    /// The VIP leaves its rest: the leader commits Detaching, or Attaching where it is nowhere.
    Begin,
    /// The leader commits that the NIC, where it has found the address, is exposed.
    Expose(u8),
    /// The leader commits Attaching.
    Attaching,
    /// The leader reads the address on another NIC and commits Detaching again.
    DetachAgain,
    /// The leader reads the NIC, asks its quorum, and sends.
    Send {
        /// Where.
        nic: u8,
        /// What.
        kind: Kind,
    },
    /// Where a rule about the order is dropped: the leader decides, the GET comes later.
    Decide {
        /// Where.
        nic: u8,
        /// What.
        kind: Kind,
    },
    /// Where such a rule is dropped: GET, and PUT at once.
    SendLate(Draft),
    /// A write reaches Azure and is accepted.
    Accept(Write),
    /// A write reaches Azure and is refused.
    Refuse(Write),
    /// A seal is accepted, and the ETag stays as it was.
    AcceptSealInVain(Write),
    /// The leader gives up waiting: the outcome is unknown.
    TimeOut(Write),
    /// The operation of a NIC succeeds.
    Succeed(u8),
    /// The operation of a NIC fails; the document goes on showing what was asked for.
    Fail(u8),
    /// The operation of a NIC fails, and the document goes back to what there was.
    RollBack(u8),
    /// The leader reads the target back.
    ReadBack,
    /// The leader commits that the VIP is held.
    ReportHeld,
    /// A leader is elected, and re-commits what is open.
    Elect,
    /// Without trust in `If-Match`: the leader waits `write_window + azure_max`.
    Wait,
    /// An outsider takes the address off this NIC.
    OutsiderDetaches(u8),
    /// An outsider takes the address from where it is to this NIC.
    OutsiderTakes(u8),
}

impl Writes {
    fn keeps(&self, rule: Rule) -> bool {
        self.rules.keep(rule)
    }

    fn nics(&self) -> impl Iterator<Item = u8> + use<> {
        0..self.bounds.nics
    }

    /// Whether Azure refuses a write that was made from an older document.
    fn compares(&self) -> bool {
        self.bounds.trust == Trust::IfMatch && self.keeps(Rule::IfMatch)
    }

    /// Whether the leader's own latest write or seal there was accepted.
    fn is_cleared(&self, state: &State, nic: u8) -> bool {
        let pending = state.awaits(nic) && self.keeps(Rule::PendingExposes);
        state.cleared & bit(nic) != 0 && !pending
    }

    /// Everything that can happen next.
    pub(super) fn steps(&self, state: &State, steps: &mut Vec<Step>) {
        if state.moves < self.bounds.moves {
            steps.extend(self.nics().filter(|to| *to != state.to).map(|to| Step::Move { to }));
        }
        if state.term < self.bounds.terms {
            steps.push(Step::Elect);
        }
        self.plan_steps(state, steps);
        self.write_steps(state, steps);
        self.azure_steps(state, steps);
        self.outsider_steps(state, steps);
    }

    /// The NICs other than the target where the leader finds the address.
    fn found(&self, state: &State) -> impl Iterator<Item = u8> + use<> {
        let (nics, to) = (state.nics, state.to);
        self.nics().filter(move |nic| {
            let it = nics[usize::from(*nic)];
            *nic != to && (it.goal || (it.real && it.operation == Operation::Failed))
        })
    }

    fn plan_steps(&self, state: &State, steps: &mut Vec<Step>) {
        let elsewhere = self.found(state).next().is_some();
        match state.phase {
            Phase::Rest => {
                let leaves = elsewhere || !state.target().goal;
                if leaves && self.others_are_sealed(state) {
                    steps.push(Step::Begin);
                }
            }
            Phase::Detaching => {
                let hidden = self.found(state).filter(|nic| !state.is_exposed(*nic));
                steps.extend(hidden.map(Step::Expose));
                if !elsewhere || !self.keeps(Rule::AttachAfterDetach) {
                    steps.push(Step::Attaching);
                }
            }
            Phase::Attaching => {
                if elsewhere {
                    steps.push(Step::DetachAgain);
                }
            }
        }
        let arrived = state.phase != Phase::Detaching && !state.held;
        if arrived && !state.read && self.reads_back(state) {
            steps.push(Step::ReadBack);
        }
        let fenced = !state.is_exposed(state.to) || self.is_cleared(state, state.to);
        if arrived && state.read && (fenced || !self.keeps(Rule::SealTarget)) {
            steps.push(Step::ReportHeld);
        }
    }

    fn reads_back(&self, state: &State) -> bool {
        let nic = state.target();
        let succeeded = nic.real && nic.operation == Operation::Idle;
        nic.goal && (succeeded || !self.keeps(Rule::ReadBackSucceeded))
    }

    /// The condition of the first write after a rest.
    fn others_are_sealed(&self, state: &State) -> bool {
        let nowhere = self.nics().all(|nic| !state.nic(nic).uses_address());
        let needed =
            self.keeps(Rule::SealOthers) && (!nowhere || self.keeps(Rule::SealBeforeRepair));
        !needed || self.nics().all(|nic| !state.is_exposed(nic) || self.is_cleared(state, nic))
    }

    fn write_steps(&self, state: &State, steps: &mut Vec<Step>) {
        for nic in self.nics().filter(|nic| !state.awaits(*nic)) {
            for kind in [Kind::Attach, Kind::Detach, Kind::Seal] {
                if self.wants(state, nic, kind) {
                    steps.push(if self.reads_late() && kind != Kind::Seal {
                        Step::Decide { nic, kind }
                    } else {
                        Step::Send { nic, kind }
                    });
                }
            }
        }
        steps.extend(state.drafts.iter().map(|draft| Step::SendLate(*draft)));
        let awaited = state.writes.iter().filter(|write| write.awaited);
        steps.extend(awaited.map(|write| Step::TimeOut(*write)));
        let waits = self.bounds.trust != Trust::IfMatch && state.exposed & !state.cleared != 0;
        if waits && state.writes.iter().all(|write| !write.awaited) {
            steps.push(Step::Wait);
        }
    }

    /// Whether the GET may come after the quorum round, or there is none.
    fn reads_late(&self) -> bool {
        let order = [Rule::QuorumRound, Rule::RoundAfterGet, Rule::RevisionAfterRound];
        order.iter().any(|rule| !self.keeps(*rule))
    }

    /// What the committed phase asks for, as the leader reads the NIC now.
    fn wants(&self, state: &State, nic: u8, kind: Kind) -> bool {
        let it = state.nic(nic);
        let may_write = state.is_exposed(nic)
            || !self.keeps(Rule::ExposedBeforeWrite)
            || !self.keeps(Rule::ThirdPartyExposed)
            || !self.keeps(Rule::EntriesClear);
        let idle = it.operation != Operation::Running && may_write;
        match kind {
            Kind::Detach => {
                idle && state.phase == Phase::Detaching && nic != state.to && it.uses_address()
            }
            Kind::Attach => {
                let there = it.goal && it.real;
                idle && state.phase == Phase::Attaching && nic == state.to && !there
            }
            Kind::Seal => {
                let needed = state.is_exposed(nic) && !self.is_cleared(state, nic);
                let target = nic == state.to && it.goal && state.phase == Phase::Attaching;
                needed
                    && (target || state.phase == Phase::Rest)
                    && self.bounds.trust == Trust::IfMatch
            }
        }
    }

    fn azure_steps(&self, state: &State, steps: &mut Vec<Step>) {
        for write in &state.writes {
            if state.nic(write.nic).operation == Operation::Running {
                continue;
            }
            let used = |nic: u8| nic != write.nic && state.nic(nic).uses_address();
            if write.kind != Kind::Attach || !self.nics().any(used) {
                steps.push(Step::Accept(*write));
                if write.kind == Kind::Seal && !self.keeps(Rule::SealChecksETag) {
                    steps.push(Step::AcceptSealInVain(*write));
                }
            } else if write.awaited {
                steps.push(Step::Refuse(*write));
            }
        }
        for nic in self.nics().filter(|nic| state.nic(*nic).operation == Operation::Running) {
            steps.push(Step::Succeed(nic));
            if state.failures < self.bounds.failures {
                steps.extend([Step::Fail(nic), Step::RollBack(nic)]);
            }
        }
    }

    fn outsider_steps(&self, state: &State, steps: &mut Vec<Step>) {
        let may = match self.bounds.outsider {
            Outsider::None => false,
            Outsider::AfterSeals => {
                self.nics().all(|nic| !state.is_exposed(nic) || self.is_cleared(state, nic))
            }
            Outsider::Reopens | Outsider::AnyTime => true,
        };
        let at_rest = |nic: &u8| {
            let it = state.nic(*nic);
            it.goal && it.real && it.operation == Operation::Idle
        };
        if let Some(from) = self.nics().find(at_rest).filter(|_| may && state.outsiders == 0) {
            steps.push(Step::OutsiderDetaches(from));
            let others = self
                .nics()
                .filter(|nic| *nic != from && state.nic(*nic).operation == Operation::Idle);
            steps.extend(others.map(Step::OutsiderTakes));
        }
    }

    /// What comes of a step.
    pub(super) fn take(&self, state: &mut State, step: Step) {
        match step {
            Step::Move { to } => self.ask(state, to),
            Step::Begin => self.begin(state),
            Step::Expose(nic) => self.expose_found(state, nic),
            Step::Attaching => self.attaching(state),
            Step::DetachAgain => self.detach_again(state),
            Step::Send { nic, kind } => Self::send(state, nic, kind, false),
            Step::Decide { nic, kind } => {
                state.drafts.push(Draft { nic, kind, mine: true, stale: false });
            }
            Step::SendLate(draft) => self.send_late(state, draft),
            Step::Accept(write) => self.accept(state, write),
            Step::Refuse(write) => state.remove(write),
            Step::AcceptSealInVain(write) => {
                state.remove(write);
                if write.awaited {
                    state.cleared |= bit(write.nic);
                }
            }
            Step::TimeOut(write) => self.time_out(state, write),
            Step::Succeed(nic) => {
                let it = &mut state.nics[usize::from(nic)];
                (it.real, it.operation) = (it.goal, Operation::Idle);
            }
            Step::Fail(nic) => {
                state.nics[usize::from(nic)].operation = Operation::Failed;
                state.failures += 1;
            }
            Step::RollBack(nic) => {
                let it = &mut state.nics[usize::from(nic)];
                (it.goal, it.operation) = (it.real, Operation::Failed);
                state.failures += 1;
                self.document_changed(state, nic);
            }
            Step::ReadBack => state.read = true,
            Step::ReportHeld => self.report_held(state),
            Step::Elect => self.elect(state),
            Step::Wait => self.wait(state),
            Step::OutsiderDetaches(nic) => self.outsider(state, nic, None),
            Step::OutsiderTakes(to) => {
                let from = self.nics().find(|nic| state.nic(*nic).goal);
                self.outsider(state, from.unwrap_or(to), Some(to));
            }
        }
    }

    /// Every commit voids what was decided on an earlier revision.
    fn committed(&self, state: &mut State) {
        let (rule, round) = (Rule::RevisionAfterRound, Rule::RoundAfterGet);
        if self.keeps(rule) && self.keeps(round) {
            state.drafts.retain(|draft| !draft.mine);
        }
        state.read = false;
    }

    fn expose(&self, state: &mut State, nic: u8) {
        if self.keeps(Rule::ExposedBeforeWrite) {
            state.exposed |= bit(nic);
        }
    }

    fn ask(&self, state: &mut State, to: u8) {
        state.moves += 1;
        (state.to, state.held, state.detached) = (to, false, false);
        if state.phase != Phase::Rest {
            state.phase = Phase::Detaching;
            if !self.keeps(Rule::SupersedingAdds) {
                state.exposed = 0;
            }
        }
        self.committed(state);
    }

    fn take_cleared_out(&self, state: &mut State) {
        for nic in self.nics().filter(|nic| self.is_cleared(state, *nic)).collect::<Vec<_>>() {
            state.exposed &= !bit(nic);
        }
    }

    fn begin(&self, state: &mut State) {
        self.take_cleared_out(state);
        let places: Vec<u8> = self.found(state).collect();
        state.held = false;
        if places.is_empty() {
            self.attaching(state);
            return;
        }
        state.phase = Phase::Detaching;
        places.into_iter().for_each(|nic| self.expose_found(state, nic));
        self.committed(state);
    }

    fn expose_found(&self, state: &mut State, nic: u8) {
        if self.keeps(Rule::ThirdPartyExposed) || state.outsiders == 0 {
            self.expose(state, nic);
        }
        self.committed(state);
    }

    fn attaching(&self, state: &mut State) {
        state.detached = self.found(state).next().is_none();
        state.phase = Phase::Attaching;
        self.expose(state, state.to);
        self.committed(state);
    }

    fn detach_again(&self, state: &mut State) {
        (state.phase, state.detached) = (Phase::Detaching, false);
        let places: Vec<u8> = self.found(state).collect();
        places.into_iter().for_each(|nic| self.expose_found(state, nic));
        self.committed(state);
    }

    fn send(state: &mut State, nic: u8, kind: Kind, stale: bool) {
        state.attached_too_early |= kind == Kind::Attach && !state.detached;
        state.writes.push(Write { nic, kind, awaited: true, stale });
    }

    fn send_late(&self, state: &mut State, draft: Draft) {
        state.drafts.retain(|other| *other != draft);
        let Draft { nic, kind, mine, stale } = draft;
        let awaited = mine && !state.awaits(nic);
        state.writes.push(Write { nic, kind, awaited, stale });
    }

    fn accept(&self, state: &mut State, write: Write) {
        state.remove(write);
        let it = &mut state.nics[usize::from(write.nic)];
        let wanted = match write.kind {
            Kind::Attach => true,
            Kind::Detach => false,
            Kind::Seal => it.goal,
        };
        if write.kind != Kind::Seal {
            state.stale_write_moved_it |= write.stale && (it.goal != wanted || it.real != wanted);
            it.goal = wanted;
            let there = it.real == wanted;
            it.operation = if there { Operation::Idle } else { Operation::Running };
        }
        self.document_changed(state, write.nic);
        if write.awaited {
            self.answered(state, write);
        }
    }

    /// No write that was made from the document before this one is accepted any more.
    fn document_changed(&self, state: &mut State, nic: u8) {
        if self.compares() {
            state.writes.retain(|write| write.nic != nic);
        }
    }

    fn answered(&self, state: &mut State, write: Write) {
        if self.bounds.trust == Trust::IfMatch {
            state.cleared |= bit(write.nic);
        }
        if !self.keeps(Rule::ExposedBeforeWrite) {
            state.exposed |= bit(write.nic);
        }
        if !self.keeps(Rule::EntriesClear) {
            state.exposed &= !bit(write.nic);
        }
        if write.nic == state.to && self.keeps(Rule::ReadBackAfterWrite) {
            state.read = false;
        }
    }

    fn time_out(&self, state: &mut State, write: Write) {
        state.remove(write);
        state.writes.push(Write { awaited: false, ..write });
        if self.keeps(Rule::OwnUnknownExposes) {
            state.cleared &= !bit(write.nic);
        }
    }

    fn report_held(&self, state: &mut State) {
        self.take_cleared_out(state);
        (state.phase, state.held, state.read, state.detached) = (Phase::Rest, true, false, false);
        state.writes.iter_mut().for_each(|write| write.stale = true);
        state.drafts.iter_mut().for_each(|draft| draft.stale = true);
    }

    fn elect(&self, state: &mut State) {
        state.term += 1;
        (state.cleared, state.read) = (0, false);
        state.writes.iter_mut().for_each(|write| write.awaited = false);
        if self.keeps(Rule::QuorumRound) && self.keeps(Rule::RoundAfterGet) {
            state.drafts.clear();
        }
        state.drafts.iter_mut().for_each(|draft| draft.mine = false);
    }

    fn wait(&self, state: &mut State) {
        if self.bounds.trust == Trust::BoundedWait {
            state.writes.clear();
        }
        state.cleared = u8::MAX >> (8 - self.bounds.nics);
        if self.keeps(Rule::ReadBackAfterWrite) {
            state.read = false;
        }
    }

    fn outsider(&self, state: &mut State, from: u8, to: Option<u8>) {
        state.outsiders += 1;
        state.held = false;
        let it = &mut state.nics[usize::from(from)];
        (it.goal, it.real) = (false, false);
        self.document_changed(state, from);
        if let Some(to) = to {
            let it = &mut state.nics[usize::from(to)];
            (it.goal, it.real) = (true, true);
            self.document_changed(state, to);
        }
        state.read = false;
        if self.bounds.outsider == Outsider::Reopens {
            state.writes.iter_mut().for_each(|write| write.stale = false);
            state.drafts.iter_mut().for_each(|draft| draft.stale = false);
        }
    }

    /// Forgets what makes no difference: two equal writes are as good as one that may still arrive,
    /// since with `If-Match` only the first can be accepted. (Without, a second arrival of the same
    /// write is left out.)
    pub(super) fn tidy(&self, state: &mut State) {
        state.writes.sort_unstable();
        state.writes.dedup();
        state.drafts.sort_unstable();
        state.drafts.dedup();
    }
}

impl State {
    fn remove(&mut self, write: Write) {
        self.writes.retain(|other| *other != write);
    }
}
