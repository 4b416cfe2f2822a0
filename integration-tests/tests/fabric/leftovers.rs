//! Addresses that an agent that was killed has left behind.

use std::thread;
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
fn an_agent_that_is_upgraded_within_its_lease_costs_not_one_packet_and_no_write() {
    in_enclosure(LIMIT, || {
        let cluster = cluster();
        let (_, holder) = cluster.leader_apart();
        cluster.keeps_on_stop(&holder);
        let _ = cluster.kill_agent(&holder);
        cluster.start_agent(&holder);
        // An agent that was entitled to nothing yet keeps nothing when it is stopped.
        eventually("the new agent holds the VIP", Duration::from_secs(5), || {
            cluster.log(&holder).contains("this node holds the VIP")
        });
        cluster.settled();
        let before = cluster.vip();
        let journal = cluster.fabric.simulator().last_entry();
        let (pinger, connection) = (cluster.pinger(), cluster.connect());
        // The package is replaced meanwhile.
        let stopped = cluster.stop_agent(&holder);
        thread::sleep(Duration::from_secs(1));
        cluster.start_agent(&holder);
        cluster.settled();
        // Longer than a lease, so that the new agent's own renewals are seen.
        thread::sleep(Duration::from_secs(5));
        let (pings, kept) = (pinger.stop(), connection.so_far());
        assert_eq!(pings.lost(), 0, "{:?}", pings.outages(Duration::from_millis(20)));
        assert!(kept.broken.is_none(), "{kept:?}");
        let after = cluster.vip();
        assert_eq!((after.holder, after.epoch), (before.holder, before.epoch));
        assert_eq!(cluster.fabric.simulator().writes_after(journal), []);
        assert_eq!(cluster.history().lost(&holder, stopped), None);
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
