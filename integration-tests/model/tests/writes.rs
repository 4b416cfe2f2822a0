//! The writes model, searched to the end at small bounds, and broken by the loss of each rule.

#![allow(clippy::print_stdout, reason = "the figures are worth reading: --nocapture")]

use vipfence_model::writes::{
    Bounds, I2, LOAD_BEARING, NOT_PROMISED, NOTHING_SHOWS, Rule, SMALL, Writes,
};
use vipfence_model::{Limits, Rules, check};

fn holds(bounds: Bounds, rules: Rules<Rule>) {
    let report = check(Writes { rules, bounds, only: None }, Limits::TEST);
    println!("{bounds:?}: {report}");
    assert!(report.exhausted, "{report}: {:#?}", report.broken);
    assert_eq!(report.reached.len(), 2, "something has to happen: {:?}", report.reached);
}

fn breaks(bounds: Bounds, rules: Rules<Rule>, property: &'static str, what: &str) {
    let report = check(Writes { rules, bounds, only: Some(property) }, Limits::TEST);
    println!("{what}: {report}");
    let broken = report.broken.unwrap_or_else(|| panic!("nothing shows {what}"));
    assert_eq!(broken.property, property, "{what}");
}

#[test]
fn no_stale_write_moves_a_vip_that_was_reported_as_held() {
    for (_, bounds) in SMALL {
        holds(*bounds, Rules::full());
    }
}

#[test]
fn each_rule_of_the_writes_is_needed() {
    for &(rule, property, bounds) in LOAD_BEARING {
        breaks(bounds, Rules::without(&[rule]), property, &format!("{rule:?}"));
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

#[test]
fn what_is_not_promised_is_seen_to_happen() {
    for &(what, bounds) in NOT_PROMISED {
        breaks(bounds, Rules::full(), I2, what);
    }
}
