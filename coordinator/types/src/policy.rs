//! When a VIP is moved by itself, and when not.
//!
//! Everything here is about liveness and taste. Who may hold a VIP rests on leases and epochs alone
//! (I1, I5), whatever stands in these policies.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::InvalidSpec;

/// The longest time that a policy can name: a week.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// When a VIP goes back by itself to a candidate of higher priority than its holder's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failback {
    /// Never: somebody moves it.
    #[default]
    Manual,
    /// When the candidate has been eligible for so long.
    After {
        /// The time, in milliseconds.
        ms: u64,
    },
    /// As soon as the candidate is eligible, and has been for [`Failback::SETTLED`].
    Prefer,
}

impl Failback {
    /// How long a candidate must have been eligible under `Prefer`: one that comes and goes is not
    /// followed.
    pub const SETTLED: Duration = Duration::from_secs(10);

    /// How long a candidate must have been eligible; none = the VIP does not go back by itself.
    #[must_use]
    pub fn wait(self) -> Option<Duration> {
        match self {
            Self::Manual => None,
            Self::After { ms } => Some(Duration::from_millis(ms)),
            Self::Prefer => Some(Self::SETTLED),
        }
    }
}

/// How often a VIP may be moved because of its health, or back, by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlapBudget {
    /// So many moves ...
    pub moves: u32,
    /// ... in this time, in milliseconds.
    pub window_ms: u64,
}

impl Default for FlapBudget {
    fn default() -> Self {
        Self { moves: 3, window_ms: 600_000 }
    }
}

impl FlapBudget {
    /// The most moves of a budget: their times are kept in the VIP's record.
    pub const MAX_MOVES: u32 = 32;

    /// How many of these moves still count at this time of the wall clock. One that lies further
    /// ahead than the window does not: the clock has been set back.
    #[must_use]
    pub fn used(self, moves_ms: &[u64], now_ms: u64) -> usize {
        moves_ms.iter().filter(|at| now_ms.abs_diff(**at) < self.window_ms).count()
    }

    /// Whether nothing is left of it.
    #[must_use]
    pub fn is_spent(self, moves_ms: &[u64], now_ms: u64) -> bool {
        u32::try_from(self.used(moves_ms, now_ms)).unwrap_or(u32::MAX) >= self.moves
    }
}

/// Whether a failover waits for somebody's word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failover {
    /// It does not.
    #[default]
    Automatic,
    /// It waits for so long, and then does what it is told here.
    Confirm {
        /// The time, in milliseconds.
        timeout_ms: u64,
        /// What is done when nobody has answered in time.
        then: Unanswered,
    },
}

/// What becomes of a failover about which nobody has said anything in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unanswered {
    /// The VIP moves.
    Move,
    /// It stays until somebody confirms after all, or the reason is gone.
    Stay,
}

/// Holds the policies of a VIP against what they may be.
pub(crate) fn check(
    failback: Failback,
    budget: FlapBudget,
    failover: Failover,
) -> Result<(), InvalidSpec> {
    let within = |field: &str, ms: u64, least_ms: u64| {
        let longest = u64::try_from(LONGEST.as_millis()).unwrap_or(u64::MAX);
        if (least_ms..=longest).contains(&ms) {
            return Ok(());
        }
        let problem = format!("{ms} ms is not {least_ms} ms to 7 days");
        Err(InvalidSpec { field: field.to_owned(), problem })
    };
    match failback {
        Failback::Manual | Failback::Prefer => {}
        Failback::After { ms } => within("failback_after", ms, 0)?,
    }
    if budget.moves == 0 || budget.moves > FlapBudget::MAX_MOVES {
        let problem = format!("{} is not 1 to {}", budget.moves, FlapBudget::MAX_MOVES);
        return Err(InvalidSpec { field: "flap_budget.moves".to_owned(), problem });
    }
    within("flap_budget.window", budget.window_ms, 1_000)?;
    match failover {
        Failover::Automatic => Ok(()),
        Failover::Confirm { timeout_ms, .. } => within("confirmation.timeout", timeout_ms, 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_counts_the_moves_of_its_window_whichever_way_the_clock_was_set() {
        let budget = FlapBudget { moves: 2, window_ms: 1_000 };
        assert!(!budget.is_spent(&[10_000], 10_500));
        assert!(budget.is_spent(&[10_000, 10_400], 10_999));
        assert!(!budget.is_spent(&[10_000, 10_400], 11_000));
        assert!(budget.is_spent(&[10_000, 10_400], 9_999), "a clock that was set back a little");
        assert!(!budget.is_spent(&[10_000, 10_400], 5_000), "and far");
    }

    #[test]
    fn policies_out_of_bounds_name_their_field() {
        let (manual, budget, auto) = (Failback::Manual, FlapBudget::default(), Failover::Automatic);
        assert_eq!(check(manual, budget, auto), Ok(()));
        let field = |result: Result<(), InvalidSpec>| result.map_err(|error| error.field);
        let never = FlapBudget { moves: 0, ..budget };
        assert_eq!(field(check(manual, never, auto)), Err("flap_budget.moves".to_owned()));
        let instant = FlapBudget { window_ms: 0, ..budget };
        assert_eq!(field(check(manual, instant, auto)), Err("flap_budget.window".to_owned()));
        let late = Failback::After { ms: u64::MAX };
        assert_eq!(field(check(late, budget, auto)), Err("failback_after".to_owned()));
        let hasty = Failover::Confirm { timeout_ms: 0, then: Unanswered::Move };
        assert_eq!(field(check(manual, budget, hasty)), Err("confirmation.timeout".to_owned()));
    }
}
