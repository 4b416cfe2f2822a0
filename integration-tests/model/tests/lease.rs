//! The lease model, searched to the end at small bounds, and broken by the loss of each rule.

#![allow(clippy::print_stdout, reason = "the figures are worth reading: --nocapture")]

use vipfence_model::lease::{Bounds, LOAD_BEARING, Lease, NOTHING_SHOWS, Rule, SMALL};
use vipfence_model::{Limits, Rules, check};

fn holds(bounds: Bounds, rules: Rules<Rule>) {
    let report = check(Lease { rules, bounds, only: None }, Limits::TEST);
    println!("{bounds:?}: {report}");
    assert!(report.exhausted, "{report}: {:#?}", report.broken);
    assert_eq!(report.reached.len(), 2, "something has to happen: {:?}", report.reached);
}

#[test]
fn the_leases_hold_with_all_their_rules() {
    for (_, bounds) in SMALL {
        holds(*bounds, Rules::full());
    }
}

#[test]
fn each_rule_of_the_leases_is_needed() {
    for &(rule, property, bounds) in LOAD_BEARING {
        let rules = Rules::without(&[rule]);
        let report = check(Lease { rules, bounds, only: Some(property) }, Limits::TEST);
        println!("{rule:?}: {report}");
        let broken = report.broken.unwrap_or_else(|| panic!("{rule:?} is missed by nothing"));
        assert_eq!(broken.property, property, "{rule:?}");
    }
}

#[test]
fn nothing_shows_the_loss_of_the_rules_that_are_said_to_be_so() {
    for &(rule, _) in NOTHING_SHOWS {
        for (_, bounds) in SMALL {
            holds(*bounds, Rules::without(&[rule]));
        }
    }
}
