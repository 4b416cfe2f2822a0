//! The end of an agent: VIPs that move away, that are kept, and that have nowhere to go.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use integration_tests::v1::{GetStatusResponse, NodeState};
use integration_tests::{ByHand, Dev, DevOptions, Turn, eventually, is_alive, wait_until};
use rustix::process::Signal;

/// `on_stop = keep`: SIGTERM, and a start within the lease. (An address of the userspace driver dies
/// with its process: that no request is lost can be seen with kernel addresses only.)
#[test]
fn an_agent_that_keeps_its_vips_is_back_within_the_lease_and_nothing_moves() {
    let _turn = Turn::alone();
    let dev = Dev::start(DevOptions::quick());
    let (_, holder) = dev.leader_apart();
    let file = dev.dir().join(&holder).join("agent.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("[node]\n", "[node]\non_stop = \"keep\"\n", 1)).unwrap();
    dev.kill(&holder);
    dev.start_node(&holder);
    eventually("the VIP is served", Duration::from_secs(10), || {
        dev.responder(&holder).is_ok_and(|answer| answer.status == 200)
    });
    dev.settled();

    let (before, journal) = (dev.vip(), dev.simulator().last_entry());
    let pid = dev.pid(&holder);
    let told = Instant::now();
    dev.signal(&holder, Signal::TERM);
    eventually("the agent ends", Duration::from_secs(4), || !is_alive(pid));
    println!("the agent ended after {:?}", told.elapsed());
    dev.start_node(&holder);
    eventually("the VIP is served again", Duration::from_secs(4), || {
        dev.responder(&holder).is_ok_and(|answer| answer.status == 200)
    });
    println!("and served again after {:?}", told.elapsed());
    let status = wait_until("the node is heard", Duration::from_secs(20), || {
        let status = dev.settled();
        let node = status.nodes.iter().find(|known| known.name == holder).expect("a member");
        if node.state() == NodeState::Alive { Ok(status.clone()) } else { Err(format!("{node:?}")) }
    });
    let after = &status.vips[0];
    assert_eq!((&after.holder, after.epoch), (&before.holder, before.epoch), "nothing moves");
    assert_eq!(dev.simulator().writes_after(journal), [], "nothing is written to a NIC");
}

#[test]
fn an_agent_whose_vip_has_nowhere_to_go_ends_at_once_and_says_so() {
    let _turn = Turn::alone();
    let mut hand = ByHand::start();
    hand.ready();
    let made = hand.cli().run(["vip", "create", "web", "--address", "10.5.0.110", "--to", "n1"]);
    assert_eq!(made.exit, 0, "{}", made.output);
    hand.agents[1].kill();
    let silent = |status: &GetStatusResponse| {
        status.nodes.iter().any(|node| node.name == "n2" && node.state() == NodeState::Silent)
    };
    hand.status(0, silent);
    let told = Instant::now();
    let mut n1 = hand.agents.remove(0);
    n1.signal(Signal::TERM);
    // It would give the leader 20 s to move its VIPs. (The other vote is the witness's.)
    let ended = n1.end_with_output(Duration::from_secs(10));
    println!("the agent ended after {:?}", told.elapsed());
    assert!(ended.status.success(), "{}", ended.output);
    let says = "stopped; nobody serves web now: no candidate is eligible: n2 is silent";
    assert!(ended.output.contains(says), "{}", ended.output);
}

/// A service manager's socket.
struct Manager(UnixDatagram);

impl Manager {
    /// All that is said from now on, for so long.
    fn hears_for(&self, span: Duration) -> Vec<String> {
        let end = Instant::now() + span;
        let mut heard = Vec::new();
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|l| !l.is_zero()) {
            self.0.set_read_timeout(Some(left)).unwrap();
            let mut bytes = [0; 4_096];
            if let Ok(length) = self.0.recv(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                heard.extend(text.lines().map(str::to_owned));
            }
        }
        heard
    }

    /// Waits until a line has these words.
    fn hears(&self, words: &str) {
        let mut heard: Vec<String> = Vec::new();
        wait_until(&format!("the agent says {words}"), Duration::from_secs(20), || {
            heard.extend(self.hears_for(Duration::from_millis(100)));
            let said = heard.iter().any(|line| line.contains(words));
            if said { Ok(()) } else { Err(format!("{heard:?}")) }
        });
    }
}

#[test]
fn the_service_manager_is_told_when_the_node_has_joined_what_it_holds_and_that_its_loop_runs() {
    let _turn = Turn::alone();
    let mut hand = ByHand::start();
    hand.ready();
    let folder = tempfile::TempDir::new().unwrap();
    let socket = folder.path().join("notify");
    let manager = Manager(UnixDatagram::bind(&socket).unwrap());
    hand.agents[0].kill();
    let environment = [("NOTIFY_SOCKET", socket.to_str().unwrap()), ("WATCHDOG_USEC", "2000000")];
    let mut n1 = hand.agent_with("n1", &environment);
    manager.hears("READY=1");

    let made = hand.cli().run(["vip", "create", "web", "--address", "10.5.0.110", "--to", "n1"]);
    assert_eq!(made.exit, 0, "{}", made.output);
    manager.hears("; holds web (epoch 1)");

    let fed = |heard: &[String]| heard.iter().filter(|line| *line == "WATCHDOG=1").count();
    assert!(fed(&manager.hears_for(Duration::from_secs(4))) >= 2);
    n1.signal(Signal::STOP);
    manager.hears_for(Duration::from_millis(200));
    assert_eq!(fed(&manager.hears_for(Duration::from_secs(3))), 0);
    n1.signal(Signal::CONT);
    manager.hears("WATCHDOG=1");
    n1.signal(Signal::TERM);
    manager.hears("STOPPING=1");
    assert!(n1.end(Duration::from_secs(30)).success());
}
