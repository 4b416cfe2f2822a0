//! I7: leader only.

use std::collections::BTreeMap;

use vipfence_coordinator_core::Confirmed;
use vipfence_types::{Clocks, NodeId, Term};

use super::{Truth, Verdict, violated};
use crate::{process::HandedOver, seat::Leadership};

/// See the module.
#[derive(Default)]
pub(crate) struct Leaders {
    /// The process that has led each term.
    led: BTreeMap<Term, (u64, usize)>,
}

impl Leaders {
    /// A term is led by one process only: every rule that names a term rests on it.
    pub(crate) fn sees(&mut self, process: u64, node: usize, seen: &Leadership) -> Verdict {
        if !seen.leading {
            return Ok(());
        }
        let first = *self.led.entry(seen.term).or_insert((process, node));
        if first.0 != process {
            let what = format!("term {} is led by two processes", seen.term);
            return violated("I7", what);
        }
        Ok(())
    }

    /// I7: "An Azure write starts only in a term in which its leader itself committed (or, taking
    /// over, re-committed) the phase that asks for it, after a quorum round that began after the
    /// decision, returned that same term, and found the phase revision unchanged; and only within
    /// `write_window` (1 s, boot clock) of the beginning of that round, checked as the last step."
    pub(crate) fn writes(&self, _truth: &Truth<'_>, name: &NodeId, handed: &HandedOver) -> Verdict {
        let fail = |why: &str| violated("I7", format!("{name} writes to Azure {why}"));
        let state = &handed.state;
        if state.leader.as_ref() != Some(name) {
            return fail("without having committed that it leads");
        }
        let Some(window) = handed.request.send_before else {
            return fail("without a window");
        };
        // What a writer takes as the beginning may lie before the round, never after it.
        let of_its_term = |(began, round): &(Clocks, Confirmed)| {
            !window.began.later_than(*began) && round.term == state.term
        };
        if !handed.rounds.iter().rev().any(of_its_term) {
            return fail("without a quorum round of its term");
        }
        let window_us = u64::try_from(window.window.as_micros()).unwrap_or(u64::MAX);
        if window_us > state.timing.write_window_ms * 1_000 {
            return fail("with too long a window");
        }
        if handed.clocks.boot_us.saturating_sub(window.began.boot_us) >= window_us {
            return fail("after its window");
        }
        Ok(())
    }
}
