//! When a service counts as well: what single probes say, weighed.
//!
//! ```text
//!   unknown --- one good --------> well ---- `fall` bad in a row ----> failing
//!      |                            ^                                    | ^
//!      |                            +------- `rise` good in a row -------+ |
//!      +-------------------------------- `fall` bad in a row --------------+
//! ```
//!
//! A single probe never makes a service fail: not at the start either, when nothing is known of it.
//!
//! Deliberately not here: what is probed and when, and what follows from a verdict.

/// How many probes in a row change a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckRules {
    /// So many good ones, and what was failing is well.
    pub rise: u32,
    /// So many bad ones, and it is failing.
    pub fall: u32,
}

/// What is held of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not probed often enough; taken for well.
    Unknown,
    /// It is well.
    Well,
    /// It is not.
    Failing,
}

/// One check.
#[derive(Clone, Debug)]
pub struct Check {
    rules: CheckRules,
    verdict: Verdict,
    /// Probes in a row that spoke against the verdict.
    against: u32,
}

impl Check {
    /// A check that has seen nothing yet.
    #[must_use]
    pub fn new(rules: CheckRules) -> Self {
        Self { rules, verdict: Verdict::Unknown, against: 0 }
    }

    /// What is held of the service.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// A probe has ended. Whether the verdict is another one now.
    pub fn probed(&mut self, well: bool) -> bool {
        let (speaks_against, needed, other) = match self.verdict {
            Verdict::Unknown if well => (true, 1, Verdict::Well),
            Verdict::Unknown | Verdict::Well => (!well, self.rules.fall, Verdict::Failing),
            Verdict::Failing => (well, self.rules.rise, Verdict::Well),
        };
        self.against = if speaks_against { self.against.saturating_add(1) } else { 0 };
        if self.against < needed.max(1) {
            return false;
        }
        self.verdict = other;
        self.against = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict after each probe, as letters: `+` and `-` are probes.
    fn verdicts(rise: u32, fall: u32, probes: &str) -> String {
        let mut check = Check::new(CheckRules { rise, fall });
        let letter = |probe: char| {
            let (before, changed) = (check.verdict(), check.probed(probe == '+'));
            assert_eq!(changed, before != check.verdict());
            match check.verdict() {
                Verdict::Unknown => '?',
                Verdict::Well => 'w',
                Verdict::Failing => 'F',
            }
        };
        probes.chars().map(letter).collect()
    }

    #[test]
    fn a_verdict_changes_after_as_many_probes_in_a_row_as_the_rules_say() {
        assert_eq!(verdicts(2, 3, "+---"), "wwwF");
        assert_eq!(verdicts(2, 3, "+---++"), "wwwFFw");
        assert_eq!(verdicts(3, 1, "+-+++-"), "wFFFwF");
        assert_eq!(verdicts(1, 2, "+--+--"), "wwFwwF");
    }

    #[test]
    fn probes_that_are_not_in_a_row_change_nothing() {
        assert_eq!(verdicts(2, 3, "+--+--+--+"), "wwwwwwwwww");
        assert_eq!(verdicts(2, 1, "+-+-+-+-"), "wFFFFFFF");
    }

    #[test]
    fn what_nothing_is_known_of_is_well_at_the_first_good_probe_and_fails_at_no_first_bad_one() {
        assert_eq!(verdicts(3, 3, "+"), "w");
        assert_eq!(verdicts(3, 3, "--+--"), "??www");
        assert_eq!(verdicts(3, 3, "---"), "??F");
    }
}
