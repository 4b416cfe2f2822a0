//! What becomes of connections when a VIP is let go of, as a client sees it that only reads.

use std::time::{Duration, Instant};

use integration_tests::{ClusterOptions, FabricCluster, VIPS, in_enclosure};

use super::LIMIT;

/// Longer than a move with all that follows it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes a VIP, moves it, and takes it away again. From the order to move until the client hears that
/// its connection is over; none = it hangs.
fn heard_after(cluster: &FabricCluster, name: &str, release: &str) -> Option<Duration> {
    let done = |words: &[&str]| {
        let answer = cluster.command(words);
        assert_eq!(answer.exit, 0, "{words:?}: {}", answer.output);
    };
    let address = VIPS[1].to_string();
    done(&["vip", "create", name, "--address", &address, "--release", release, "--to", "n1"]);
    let reading = cluster.fabric.read_from(VIPS[1]);
    let asked = Instant::now();
    std::thread::scope(|scope| {
        let heard = scope.spawn(|| reading.is_over(PATIENCE));
        done(&["move", name, "--to", "n2", "--timeout", "40s"]);
        println!("{name}, released {release}: moved after {:.2?}", asked.elapsed());
        let heard = heard.join().unwrap().map(|at| at - asked);
        println!("{name}, released {release}: the client heard after {heard:.2?}");
        done(&["vip", "delete", name]);
        heard
    })
}

/// `told` has its connections reset, `hung` has not.
#[test]
fn a_client_that_only_reads_hears_of_a_move_that_releases_early_and_of_no_other() {
    in_enclosure(LIMIT, || {
        let vips = "[vips.hung]\nreset_connections = false\n";
        let cluster = FabricCluster::start(&ClusterOptions { vips, ..Default::default() });
        let heard = heard_after(&cluster, "told", "early");
        assert!(heard.expect("it hangs") < Duration::from_secs(2), "{heard:?}");
        assert_eq!(heard_after(&cluster, "hung", "early"), None);
        // The address is detached before the holder lets go of it: Azure carries no RST from there.
        assert_eq!(heard_after(&cluster, "told", "late"), None);
        assert_eq!(heard_after(&cluster, "hung", "late"), None);
        cluster.proves_one_holder();
    });
}
