//! What becomes of connections when a VIP moves, as clients see it: one that only reads, and one that
//! comes back at once.

use std::time::{Duration, Instant};

use integration_tests::{ClusterOptions, FabricCluster, VIPS, in_enclosure, wait_until};

use super::LIMIT;

/// Longer than a move with all that follows it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longer than clients are told, at ten lines a second.
const LINES: usize = 45;

/// What a move looks like from outside.
#[derive(Debug)]
struct Seen {
    /// From the order until it was done.
    moved: Duration,
    /// From the order until a client that only reads heard that its connection is over; none = it hangs.
    heard: Option<Duration>,
}

impl Seen {
    /// How long after the end of the move the client heard.
    fn late(&self) -> Duration {
        self.heard.expect("it hangs").saturating_sub(self.moved)
    }
}

/// Makes a VIP, moves it, and takes it away again. A client that comes back at once has a connection
/// that nothing disturbs.
fn moved(cluster: &FabricCluster, name: &str, release: &str) -> Seen {
    let done = |words: &[&str]| {
        let answer = cluster.command(words);
        assert_eq!(answer.exit, 0, "{words:?}: {}", answer.output);
    };
    let address = VIPS[1].to_string();
    done(&["vip", "create", name, "--address", &address, "--release", release, "--to", "n1"]);
    let reading = cluster.fabric.read_from(VIPS[1]);
    let asked = Instant::now();
    let seen = std::thread::scope(|scope| {
        let heard = scope.spawn(|| reading.is_over(PATIENCE));
        done(&["move", name, "--to", "n2", "--timeout", "40s"]);
        let moved = asked.elapsed();
        let again = cluster.fabric.connect(VIPS[1]);
        wait_until("the new connection goes on", PATIENCE, || {
            let kept = again.so_far();
            assert_eq!(kept.broken, None, "{name}, released {release}");
            (kept.lines >= LINES).then_some(()).ok_or_else(|| format!("{kept:?}"))
        });
        assert_eq!(again.so_far().node, "n2");
        let heard = heard.join().unwrap().map(|at| at - asked);
        Seen { moved, heard }
    });
    println!("{name}, released {release}: {seen:.2?}");
    done(&["vip", "delete", name]);
    seen
}

/// `told` has its connections reset, `hung` has not.
#[test]
fn a_client_that_only_reads_hears_of_a_move_however_it_releases() {
    in_enclosure(LIMIT, || {
        let vips = "[vips.hung]\nreset_connections = false\n";
        let cluster = FabricCluster::start(&ClusterOptions { vips, ..Default::default() });
        let early = moved(&cluster, "told", "early");
        assert!(early.heard.expect("it hangs") < Duration::from_secs(2), "{early:?}");
        // The address is detached before the holder lets go of it: Azure carries no RST from there,
        // and the next holder tells the client.
        let late = moved(&cluster, "told", "late");
        assert!(late.late() < Duration::from_secs(2), "{late:?}");
        assert_eq!(moved(&cluster, "hung", "early").heard, None);
        assert_eq!(moved(&cluster, "hung", "late").heard, None);
        cluster.proves_one_holder();
    });
}
