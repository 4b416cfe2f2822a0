//! Addresses that an agent that was killed has left behind.

use std::time::Duration;

use integration_tests::{VIPS, eventually, in_enclosure};

use super::{LIMIT, cluster};

#[test]
fn an_address_that_was_left_behind_without_an_end_is_dropped_before_the_agent_joins() {
    in_enclosure(LIMIT, || {
        let cluster = cluster();
        let (_, holder) = cluster.leader_apart();
        let killed = cluster.kill_agent(&holder);
        let forever = format!("address change {}/32 dev eth0 valid_lft forever\n", VIPS[0]);
        cluster.fabric.namespace(&holder).ip(&forever);
        cluster.start_agent(&holder);
        eventually("it is dropped", Duration::from_secs(3), || {
            cluster.history().lost(&holder, killed).is_some()
        });
        cluster.settled();
        cluster.proves_one_holder();
    });
}

#[test]
fn an_agent_that_is_killed_and_restarted_at_once_makes_no_second_holder() {
    in_enclosure(LIMIT, || {
        let cluster = cluster();
        for _ in 0..3 {
            let holder = cluster.vip().holder;
            let _ = cluster.kill_agent(&holder);
            cluster.start_agent(&holder);
            cluster.settled();
        }
        cluster.proves_one_holder();
    });
}
