//! The glue to consensus: the seat has its turn, and what it leaves goes to peers and to the driver.
//!
//! Raft itself, its log and its network are in `crate::seat`.

use vipfence_coordinator_core as core;
use vipfence_types::{Clocks, Mutation};

use super::{Fact, Host, Local, Out, Process, spot_of};
use crate::{
    net::Message,
    seat::{Leadership, Outgoing},
    time::us,
};

/// How many quorum rounds are remembered, for the watcher of the truth.
const ROUNDS_KEPT: usize = 64;

impl Process {
    pub(super) fn run_raft(&mut self, host: &mut Host<'_>, out: &mut Out) {
        for outgoing in self.seat.run(host.mono()) {
            self.carry_out_raft(outgoing, host, out);
        }
        if let Some(why) = self.seat.stopped() {
            out.facts.push(Fact::RaftStopped(why));
        }
        if *self.seat.leadership() != self.leadership {
            if self.leadership.leader.is_some() || self.stands_since == Clocks::default() {
                self.stands_since = host.now;
            }
            self.leadership = self.seat.leadership().clone();
            out.facts.push(Fact::Leadership(self.leadership.clone()));
            let Leadership { term, leader, leading } = self.leadership.clone();
            let input = core::Input::Leadership { term, leader, leading };
            if Mutation::WaitFromCandidacy.is_on() && leading {
                let true_now = host.now;
                host.now = self.stands_since;
                self.drive(input, host, out);
                host.now = true_now;
            } else {
                self.drive(input, host, out);
            }
        }
        self.raft_serial += 1;
        if let Some(due) = self.seat.next_timer() {
            let wait = us(due.saturating_sub(host.mono())).max(1);
            out.locals.push((wait, Local::Raft(self.raft_serial)));
        }
    }

    pub(super) fn carry_out_raft(
        &mut self,
        outgoing: Outgoing,
        host: &mut Host<'_>,
        out: &mut Out,
    ) {
        // A task of its own carries each result to the driver: they overtake each other.
        let soon = host.chance.within(5, 250);
        match outgoing {
            Outgoing::Request { to, call, request } => {
                let message = Message::Raft { call, request };
                self.send(spot_of(to), None, message, out);
            }
            Outgoing::Answer { to, incarnation, call, answer } => {
                let message = Message::RaftAnswer { call, answer };
                self.send(spot_of(to), Some(incarnation), message, out);
            }
            Outgoing::Committed(commit) => out.facts.push(Fact::Committed(commit)),
            Outgoing::Applied { index, state } => {
                // What the driver does not get to see is replaced, as in a watch channel.
                if self.applied.is_none() {
                    out.locals.push((soon, Local::Applied));
                }
                self.applied = Some((index, state));
            }
            Outgoing::Proposed { id, result } => {
                let input = Box::new(core::Input::Proposed { id, result });
                out.locals.push((soon, Local::Input(input)));
            }
            Outgoing::Rounded { id, result } => {
                if let (Some(begun), Some(confirmed)) = (self.rounds_begun.remove(&id), result) {
                    self.rounds.push_back((begun, confirmed));
                    if self.rounds.len() > ROUNDS_KEPT {
                        self.rounds.pop_front();
                    }
                }
                let input = Box::new(core::Input::Round { id, result });
                out.locals.push((soon, Local::Input(input)));
            }
            Outgoing::Started(Ok(())) => {}
            Outgoing::Started(Err(why)) => out.facts.push(Fact::RaftStopped(why)),
        }
    }
}
