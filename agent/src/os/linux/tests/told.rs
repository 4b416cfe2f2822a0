//! A client that only reads, as a late release leaves it: its connection was cut where nothing could
//! reach it. What it hears when the address has come back.

use std::io::{ErrorKind, Write as _};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use socket2::{Domain, Socket, Type};

use super::probes::can_gate;
use super::*;

/// Longer than it takes a kernel to answer.
const QUIET: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(5);

/// A client with an address of its own: the kernel would give it the VIP's. To an IPv6 address that
/// was just added the kernel finds its way a moment later.
fn connect(from: &str, to: SocketAddr) -> TcpStream {
    loop {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(ip(from), 0).into()).unwrap();
        if socket.connect_timeout(&to.into(), QUIET).is_ok() {
            return socket.into();
        }
    }
}

/// What a client hears that waits for an answer.
fn hears(stream: &mut TcpStream, within: Duration) -> ErrorKind {
    stream.set_read_timeout(Some(within)).unwrap();
    stream.read(&mut [0]).expect_err("nobody says anything").kind()
}

/// What leaves a VIP's address is carried, or not.
fn azure(carries: bool) {
    let rules = match carries {
        true => "delete table inet azure",
        false => {
            "add table inet azure
            add chain inet azure out { type filter hook output priority 0; }
            add rule inet azure out ip saddr 10.5.0.110 drop
            add rule inet azure out ip6 saddr fd00::110 drop"
        }
    };
    let nft = Command::new("nft").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").arg(rules).output();
    let nft = nft.unwrap();
    assert!(nft.status.success(), "{}", String::from_utf8_lossy(&nft.stderr));
}

#[test]
fn a_client_whose_connection_was_cut_unheard_hears_of_it_once_it_is_told() {
    inside("told::a_client_whose_connection_was_cut_unheard_hears_of_it_once_it_is_told", async {
        if !can_gate() {
            return;
        }
        let node = Node::new().await;
        up(&node.somebody, "lo").await;
        for (own, vip) in [("10.5.0.4", "10.5.0.110"), ("fd00::4", "fd00::110")] {
            node.add(&[vip], 12).await.unwrap();
            let service = TcpListener::bind((ip(vip), 0)).unwrap();
            let at = service.local_addr().unwrap();
            let mut reads = connect(own, at);
            let _at_the_old_holder = service.accept().unwrap();

            azure(false);
            let cut = node.kernel.reset_connections(&[ip(vip)]).await;
            let known = Connection { client: reads.local_addr().unwrap(), vip: at };
            assert_eq!(cut, [known]);
            assert_eq!(hears(&mut reads, QUIET), ErrorKind::WouldBlock);
            azure(true);

            // Without the address nobody is told, in nobody's name.
            node.kernel.remove(vec![ip(vip)]).await.unwrap();
            node.kernel.tell(&cut).await;
            assert_eq!(hears(&mut reads, QUIET), ErrorKind::WouldBlock);

            node.add(&[vip], 12).await.unwrap();
            let mut healthy = connect(own, at);
            let mut served = service.accept().unwrap().0;
            let another = Connection { client: healthy.local_addr().unwrap(), vip: at };
            // Beside one that is alive, and one of which nothing can be told.
            let odd = Connection { vip: (Ipv6Addr::LOCALHOST, 1).into(), ..known };
            node.kernel.tell(&[odd, another, known]).await;
            assert_eq!(hears(&mut reads, PATIENCE), ErrorKind::ConnectionReset);

            assert_eq!(hears(&mut healthy, QUIET), ErrorKind::WouldBlock);
            served.write_all(b"!").unwrap();
            healthy.set_read_timeout(Some(PATIENCE)).unwrap();
            healthy.read_exact(&mut [0]).expect("what is alive stays alive");
            node.kernel.remove(vec![ip(vip)]).await.unwrap();
        }
        assert!(!node.kernel.mute.load(Ordering::Relaxed), "nothing to complain of");
    });
}

#[test]
fn a_process_that_may_not_tell_says_what_it_lacks() {
    inside("told::a_process_that_may_not_tell_says_what_it_lacks", async {
        let known =
            Connection { client: ([10, 5, 0, 9], 1).into(), vip: ([10, 5, 0, 110], 1).into() };
        let refused = std::thread::spawn(move || {
            let mut may = capabilities(None).unwrap();
            may.effective.remove(CapabilitySet::NET_RAW);
            set_capabilities(None, may).unwrap();
            tell::send(&[known], 0)
        });
        let refused = refused.join().unwrap().expect_err("it may not");
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    });
}
