//! Many VIPs on one NIC: everything due there travels in one PUT.

use core::net::IpAddr;

use vipfence_types::{VipName, VipSpec};

use super::bench::{Bench, node, secs};
use crate::{ask::Ask, nic::Method, registry::Request};

const MANY: u8 = 60;

fn name(number: u8) -> VipName {
    VipName::new(&format!("v{number:03}")).expect("a name")
}

/// With that many VIPs held by `b`, and operations of 10 s.
fn with_many_at_b() -> Bench {
    let mut bench = Bench::new();
    for number in 0..MANY {
        bench.ask(Ask::CreateVip {
            vip: name(number),
            spec: VipSpec::host(IpAddr::from([10, 5, 0, 120 + number])),
            enabled: true,
            to: Some(node("b")),
            request: Request::default(),
        });
        // So many callers at once, and no more.
        if number % 16 == 15 {
            bench.run(secs(3));
        }
    }
    assert!(bench.run_until(secs(60), |b| all_held_by(b, "b")), "{}", bench.story());
    bench.run(secs(5));
    bench.arm.takes = secs(10);
    bench.arm.writes.clear();
    bench
}

fn all_held_by(bench: &Bench, holder: &str) -> bool {
    (0..MANY).all(|number| {
        let record = bench.log.vip(&name(number));
        record.is_some_and(|record| record.is_held() && record.holder() == Some(&node(holder)))
    })
}

/// PUTs that were accepted and refused.
fn puts(bench: &Bench) -> (usize, usize) {
    let puts = bench.arm.writes.iter().filter(|seen| seen.method == Method::Put);
    let (taken, refused): (Vec<_>, Vec<_>) = puts.partition(|seen| seen.status < 300);
    (taken.len(), refused.len())
}

#[test]
fn a_dead_node_with_many_vips_costs_one_detach_and_one_attach() {
    let mut bench = with_many_at_b();
    bench.kill("b");
    let failed_over = bench.run_until(secs(60), |b| all_held_by(b, "a"));
    assert!(failed_over, "{:?}\n{}", puts(&bench), bench.story());
    let (taken, refused) = puts(&bench);
    assert_eq!(taken, 2, "{:?}", bench.arm.writes);
    assert!(refused <= 12, "{refused} attaches were refused while the detach ran");
}
