//! The fabric does what it says, before anything is concluded from it.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use integration_tests::{
    Fabric, Fault, Ping, Simulator, VIP_OF_SECOND_NIC, VIP_V6, VIPS, eventually, in_enclosure,
};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(10);
const NAMES: [&str; 3] = ["n1", "n2", "n3"];

fn fabric() -> Fabric {
    with_nics(1)
}

fn with_nics(nics: u8) -> Fabric {
    Fabric::start(&NAMES, nics, Duration::from_millis(200))
}

/// As `ip address` takes it.
fn on_eth0(address: IpAddr) -> String {
    match address {
        IpAddr::V4(_) => format!("{address}/32 dev eth0"),
        IpAddr::V6(_) => format!("{address}/128 dev eth0 nodad"),
    }
}

/// An outsider's hand: at once.
fn attach(simulator: &Simulator, verb: &str, nic: &str, address: IpAddr) {
    let command = format!("third_party_{verb}");
    simulator
        .command(&json!({"command": command, "nic": nic, "address": address, "immediate": true}));
}

/// From the client's side: where packets go, and what a node may send.
fn packets_follow_azure(fabric: &Fabric, vip: IpAddr, client: IpAddr) {
    let pinger = fabric.pinger(vip);
    let add = |node: &str| {
        fabric.namespace(node).ip(&format!("address add {}\n", on_eth0(vip)));
    };
    let hand =
        |verb: &str, node: &str| attach(fabric.simulator(), verb, &format!("{node}-nic"), vip);
    add("n1");
    // Azure does not know it: nothing gets there.
    hand("attach", "n2");
    eventually("the network knows", SOON, || !fabric.attached().is_empty());
    let asked = Instant::now();
    eventually("some probes were sent", SOON, || {
        pinger.so_far().0.iter().filter(|ping| ping.sent > asked).count() > 20
    });
    assert_eq!(pinger.so_far().answered_by().len(), 0);
    // Now it does.
    hand("detach", "n2");
    let moved = Instant::now();
    hand("attach", "n1");
    let first = pinger.answer(moved, SOON, |node| node == "n1");
    println!("from the outsider's command to the first answer: {:?}", first - moved);
    add("n2");
    let both = Instant::now();
    pinger.answer(both, SOON, |node| node == "n1");
    let before = fabric.spoofed();
    fabric.namespace("n2").run(move || {
        let socket = UdpSocket::bind((vip, 0)).expect("n2 has the address");
        socket.send_to(b"?", (client, 7)).expect("it leaves n2");
    });
    assert!(fabric.spoofed() > before, "a packet from an address that is not the NIC's");
    let pings = pinger.stop();
    assert_eq!(pings.answered_by().keys().collect::<Vec<_>>(), ["n1"]);
    println!("longest pause of the client itself: {:?}", pings.longest_pause());
    hand("detach", "n1");
    eventually("the network knows", SOON, || fabric.attached().is_empty());
}

#[test]
fn packets_for_a_vip_go_where_azure_has_it_and_nowhere_else() {
    in_enclosure(LIMIT, || {
        let fabric = fabric();
        let _echoes = NAMES.map(|node| fabric.echo(node));
        packets_follow_azure(&fabric, VIPS[0].into(), [10, 5, 1, 4].into());
        packets_follow_azure(&fabric, VIP_V6.into(), [0xfd00, 5, 1, 0, 0, 0, 0, 4].into());
        let slowest = fabric.rerouted().iter().map(|change| change.took).max();
        println!("an answer of the simulator is in force after at most {slowest:?}");
    });
}

#[test]
fn a_vip_of_a_second_nic_answers_only_where_a_rule_for_its_subnet_leads_the_answers_out() {
    in_enclosure(LIMIT, || {
        let fabric = with_nics(2);
        let (_echo, node) = (fabric.echo("n1"), fabric.namespace("n1"));
        node.ip(&format!("address add {VIP_OF_SECOND_NIC}/32 dev eth1\n"));
        attach(fabric.simulator(), "attach", "n1-nic2", VIP_OF_SECOND_NIC.into());
        let pinger = fabric.pinger(VIP_OF_SECOND_NIC);
        pinger.answer(Instant::now(), SOON, |node| node == "n1");
        assert_eq!(fabric.spoofed(), 0);
        let dropped_by_azure = |rules: &str| {
            node.ip(rules);
            let (since, before) = (Instant::now(), fabric.spoofed());
            eventually("answers were dropped", SOON, || fabric.spoofed() > before + 20);
            let pings = pinger.so_far();
            let answered = |ping: &&Ping| ping.sent > since && ping.answer.is_some();
            assert_eq!(pings.0.iter().filter(answered).count(), 0, "{rules}");
        };
        dropped_by_azure("rule del from 10.5.2.0/24\n");
        // As some images make it: for the NIC's own address.
        dropped_by_azure("rule add from 10.5.2.4 lookup 1\n");
        node.ip("rule add from 10.5.2.0/24 lookup 1\n");
        pinger.answer(Instant::now(), SOON, |node| node == "n1");
    });
}

#[test]
fn each_node_is_told_its_own_name_and_nics_by_the_metadata_service() {
    in_enclosure(LIMIT, || {
        let fabric = with_nics(2);
        for node in NAMES {
            let said = fabric.namespace(node).run(|| {
                let mut stream = TcpStream::connect("169.254.169.254:80").expect("it listens");
                let path = "/metadata/instance?api-version=2021-02-01";
                let head = "Host: 169.254.169.254\r\nMetadata: true\r\nConnection: close";
                write!(stream, "GET {path} HTTP/1.1\r\n{head}\r\n\r\n").expect("it reads");
                let mut said = String::new();
                stream.read_to_string(&mut said).expect("it answers");
                said
            });
            assert!(said.contains(&format!("\"name\": \"{node}\"")), "{node}: {said}");
            for address in fabric.addresses(node) {
                assert!(said.contains(&format!("\"{address}\"")), "{address}: {said}");
            }
        }
    });
}

#[test]
fn a_cut_link_is_cut_in_the_directions_that_were_asked_for() {
    in_enclosure(LIMIT, || {
        let fabric = with_nics(2);
        let by_nic = |nic: usize, from: &str, to: &str| {
            let [source, target] = [from, to].map(|node| (fabric.addresses(node)[nic], 0));
            let listener = fabric.namespace(to).run(move || UdpSocket::bind(target).unwrap());
            listener.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            let at = listener.local_addr().unwrap();
            fabric.namespace(from).run(move || {
                UdpSocket::bind(source).unwrap().send_to(b"?", at).unwrap();
            });
            listener.recv(&mut [0; 8]).is_ok()
        };
        // What is wrong with a node is wrong with all its NICs.
        let (all, none) = ([true; 2], [false; 2]);
        let one_way = |from: &str, to: &str| [0, 1].map(|nic| by_nic(nic, from, to));
        let both_ways = || (one_way("n1", "n2"), one_way("n2", "n1"));
        assert_eq!(both_ways(), (all, all));
        fabric.suffer([Fault::OneWay("n1".into(), "n2".into())]);
        assert_eq!(both_ways(), (none, all));
        fabric.heal();
        fabric.suffer([Fault::Mute("n2".into())]);
        assert_eq!(both_ways(), (all, none));
        fabric.heal();
        fabric.suffer([Fault::Cut("n1".into())]);
        assert_eq!(both_ways(), (none, none));
        fabric.heal();
        fabric.pull_cable("n1");
        assert_eq!(both_ways(), (none, none));
        fabric.put_cable_back("n1");
        // The other end's kernel notices a moment later.
        eventually("the cables carry again", SOON, || both_ways() == (all, all));
        fabric.bounce_interface("n2");
        eventually("the interfaces are back", SOON, || both_ways() == (all, all));
    });
}

#[test]
fn a_slow_link_keeps_what_nodes_say_for_as_long_as_it_was_told() {
    in_enclosure(LIMIT, || {
        let fabric = fabric();
        let address = (fabric.address("n2"), 7600);
        let listener = fabric.namespace("n2").run(move || TcpListener::bind(address).unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut back = stream.try_clone().unwrap();
                std::thread::spawn(move || std::io::copy(&mut &stream, &mut back));
            }
        });
        let connect =
            || fabric.namespace("n1").run(move || TcpStream::connect(address).expect("it listens"));
        let round_trip = |mut stream: &TcpStream| {
            let sent = Instant::now();
            stream.write_all(b"?")?;
            stream.read_exact(&mut [0]).map(|()| sent.elapsed())
        };
        let before = connect();
        let quick = round_trip(&before).unwrap();
        let delay = Duration::from_millis(80);
        fabric.suffer([Fault::Slow("n1".into(), delay)]);
        assert!(round_trip(&before).is_err(), "a connection of before has escaped");
        let slowed = connect();
        let slow = round_trip(&slowed).unwrap();
        println!("quick {quick:.1?}, slow {slow:.1?}");
        assert!(quick < delay && slow >= 2 * delay, "quick {quick:?}, slow {slow:?}");
        fabric.heal();
        let again = round_trip(&connect()).unwrap();
        assert!(again < delay, "{again:?}");
    });
}

/// Waits until the kernel has made the route by which packets for an IPv6 address come in, and has told
/// of the address: a work queue does both, after `ip` has ended. For the namespace of this thread.
fn received_here(vip: IpAddr) {
    let IpAddr::V6(vip) = vip else { return };
    let vip: String = vip.octets().iter().map(|octet| format!("{octet:02x}")).collect();
    eventually("it is received", SOON, || {
        let routes = std::fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap();
        // RTF_LOCAL; there is another one, for packets that leave.
        let is_local = |line: &str| line.split_whitespace().nth(8).is_some_and(|f| f >= "8");
        routes.lines().any(|line| line.starts_with(&vip) && is_local(line))
    });
}

/// Two threads hand one address to and fro as fast as the kernel lets them, each in its node's
/// namespace; `early` = the taker does not wait until the giver has dropped it, in one round.
fn hand_over(fabric: &Fabric, vip: IpAddr, rounds: u32, early: Option<u32>) {
    let turn = Arc::new(AtomicU32::new(0));
    let take = |node: &'static str, parity: u32| {
        let turn = Arc::clone(&turn);
        let namespace = fabric.namespace(node);
        let (done, end) = std::sync::mpsc::channel();
        namespace.run(move || {
            std::thread::spawn(move || {
                for round in (parity..rounds).step_by(2) {
                    while turn.load(Ordering::Acquire) < round {
                        std::thread::yield_now();
                    }
                    let change = |verb: &str| {
                        let mut ip = Command::new("ip");
                        ip.args(["address", verb]).args(on_eth0(vip).split(' '));
                        assert!(ip.status().unwrap().success());
                    };
                    change("add");
                    received_here(vip);
                    if early == Some(round + 1) {
                        turn.store(round + 1, Ordering::Release);
                        while turn.load(Ordering::Acquire) < round + 2 {
                            std::thread::yield_now();
                        }
                        change("del");
                    } else {
                        change("del");
                        turn.fetch_max(round + 1, Ordering::AcqRel);
                    }
                }
                done.send(()).unwrap();
            });
        });
        end
    };
    let ends = [take("n1", 0), take("n2", 1)];
    for end in ends {
        end.recv_timeout(LIMIT).expect("the rounds end");
    }
}

#[test]
fn the_observer_sees_no_overlap_where_an_address_is_handed_over_at_once() {
    in_enclosure(LIMIT, || {
        let fabric = fabric();
        for vip in [VIPS[0].into(), VIP_V6.into()] {
            let observer = fabric.observer();
            hand_over(&fabric, vip, 400, None);
            let history = observer.proves_one_holder();
            assert_eq!(history.passed_through().len(), 400);
            assert_eq!(history.0.len(), 800);
        }
    });
}

#[test]
fn the_observer_sees_one_overlap_among_hundreds_of_changes() {
    in_enclosure(LIMIT, || {
        let fabric = fabric();
        for vip in [VIPS[0].into(), VIP_V6.into()] {
            let observer = fabric.observer();
            hand_over(&fabric, vip, 200, Some(101));
            eventually("all was told", LIMIT, || observer.so_far().0.len() == 400);
            let found = observer.so_far().check().expect_err("two had it in round 101");
            assert!(found.starts_with(&format!("two holders of {vip}: n2")), "{found}");
        }
    });
}

#[test]
fn the_observer_sees_an_address_that_stands_at_two_interfaces_of_one_node() {
    in_enclosure(LIMIT, || {
        let fabric = with_nics(2);
        let observer = fabric.observer();
        let vip = VIPS[0];
        let add = |interface: &str| {
            fabric.namespace("n1").ip(&format!("address add {vip}/32 dev {interface}\n"));
        };
        add("eth1");
        add("eth0");
        eventually("both were told", SOON, || observer.so_far().0.len() == 2);
        let found = observer.so_far().check().expect_err("it is at two");
        assert!(found.starts_with(&format!("two holders of {vip}: n1 got it at eth0")), "{found}");
    });
}
