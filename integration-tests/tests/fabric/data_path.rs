//! Whether, and when, other nodes reach a VIP at its new holder.

use std::time::Duration;

use integration_tests::{in_enclosure, wait_until};

use super::{LIMIT, cluster};

#[test]
fn what_must_be_reached_is_held_when_another_node_has_reached_it() {
    in_enclosure(LIMIT, || {
        let cluster = cluster();
        let changed = cluster.command(&["vip", "update", "demo", "--data-path", "required"]);
        assert_eq!(changed.exit, 0, "{}", changed.output);
        for _ in 0..2 {
            let (_, holder) = cluster.leader_apart();
            let to = cluster.another(&[&holder]);
            cluster.move_to(&to);
            wait_until("another node has reached it", Duration::from_secs(20), || {
                let vip = cluster.vip();
                let by_another = !vip.reached_by.is_empty() && vip.reached_by != to;
                // Held is later than, or together with, the first answer.
                let told = (vip.reached, vip.held_since);
                let in_order = matches!(told, (Some(reached), Some(held))
                    if (reached.seconds, reached.nanos) <= (held.seconds, held.nanos));
                (vip.holder == to && by_another && in_order).then_some(()).ok_or(format!("{vip:?}"))
            });
        }
        cluster.proves_one_holder();
    });
}
