//! Every rule is broken once, and the deterministic world notices.

use vipfence_sim::mutants::{SHOWN_BY_NOTHING, control, run_all, run_each};
use vipfence_types::Mutation;

#[test]
fn every_broken_rule_is_noticed() {
    let found = run_all(Mutation::ALL, |_| {});
    let missed: Vec<String> =
        found.iter().filter(|one| one.is_missed()).map(ToString::to_string).collect();
    assert!(missed.is_empty(), "not noticed:\n{}", missed.join("\n"));
}

#[test]
fn the_same_dramas_violate_nothing_while_the_rules_are_in_place() {
    let violations = run_each(Mutation::ALL, |mutation| {
        let violation = (1..=4).find_map(|seed| control(mutation, seed));
        violation.map(|violation| format!("{mutation:?}: {violation}"))
    });
    let violations: Vec<String> = violations.into_iter().flatten().collect();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn the_page_names_exactly_the_mutations_of_the_list() {
    let page = include_str!("../../../docs/mutations.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| M"));
    let named: Vec<String> =
        rows.filter_map(|row| Some(row.split('|').nth(1)?.trim().to_owned())).collect();
    let list: Vec<String> = Mutation::ALL.iter().map(|one| format!("`{one:?}`")).collect();
    assert_eq!(named, list, "cargo run -p vipfence-sim -- mutants --write docs/mutations.md");
    for (mutation, _) in SHOWN_BY_NOTHING {
        assert!(page.contains(&format!("- M{} `{mutation:?}`", mutation.number())));
    }
}
