//! Everything at once.

use std::time::Duration;

use integration_tests::{ClusterOptions, Dice, FabricCluster, in_enclosure, stir};

/// Three minutes; by command thirty and more: `cargo xtask bench fabric --chaos 30`.
const LENGTH: Duration = Duration::from_secs(180);

#[test]
fn a_cluster_is_stirred_for_three_minutes_and_two_nodes_never_have_the_vip() {
    in_enclosure(LENGTH + Duration::from_secs(120), || {
        let mut dice = Dice::new();
        let operation = Duration::from_millis(500);
        let options = ClusterOptions { operation, ..ClusterOptions::default() };
        let turmoil = stir(FabricCluster::start(&options), &mut dice, LENGTH);
        println!("{turmoil:#?}");
        assert!(turmoil.deeds.len() >= 16, "every fault has hit: {:?}", turmoil.deeds);
        assert!(turmoil.passed_on > 3, "the address went round: {}", turmoil.passed_on);
    });
}
