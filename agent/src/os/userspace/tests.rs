use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vipfence_types::VipAddress;

use super::*;

/// Clocks that a test turns.
struct Turned(Mutex<Clocks>);

impl ClockSource for Turned {
    fn now(&self) -> Clocks {
        *self.0.lock().unwrap()
    }
}

struct Bench {
    driver: Userspace,
    clocks: Arc<Turned>,
    at: SocketAddr,
}

async fn bench() -> Bench {
    let start = Clocks::all_at(Duration::from_secs(1_000));
    let clocks = Arc::new(Turned(Mutex::new(start)));
    let driver = Userspace::new(NodeId::new("n1").unwrap(), clocks.clone());
    let (at, serving) = driver.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    tokio::spawn(serving);
    Bench { driver, clocks, at }
}

impl Bench {
    fn turn(&self, change: impl FnOnce(&mut Clocks)) {
        change(&mut self.clocks.0.lock().unwrap());
    }

    async fn add(&self, vip: &str, last: u8, epoch: u64) {
        let addition = Addition {
            vip: VipName::new(vip).unwrap(),
            epoch: Epoch(epoch),
            addresses: vec![VipAddress::host(IpAddr::from([10, 5, 0, last]))],
            lifetime: Duration::from_secs(3),
            deadline: crate::os::Deadline {
                clocks: self.clocks.clone(),
                computed_at: self.clocks.now(),
                within: Duration::from_millis(100),
            },
            probe: None,
        };
        let added = self.driver.add(vec![addition]).await;
        assert!(added.iter().all(Result::is_ok), "{added:?}");
    }

    /// Status line, content type and body.
    async fn get(&self, path: &str, host: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let typed = head.to_ascii_lowercase();
        assert!(typed.contains("content-type: application/json"), "{head}");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }
}

fn served(vip: &str, epoch: u64) -> (u16, String) {
    let body = format!(r#"{{"node":"n1","vip":"{vip}","epoch":{epoch}}}"#);
    (200, body)
}

fn refused(reason: &str) -> (u16, String) {
    (503, format!(r#"{{"node":"n1","reason":"{reason}"}}"#))
}

#[tokio::test]
async fn the_responder_answers_exactly_for_the_vip_that_the_node_has() {
    let bench = bench().await;
    assert_eq!(bench.get("/", "x").await, refused("no VIP is on n1"));
    bench.add("demo", 110, 7).await;
    assert_eq!(bench.get("/", "10.5.0.110").await, served("demo", 7));
    let gone = vec![IpAddr::from([10, 5, 0, 110])];
    bench.driver.remove(gone).await.unwrap();
    assert_eq!(bench.get("/", "x").await, refused("no VIP is on n1"));
}

#[tokio::test]
async fn of_several_vips_the_first_by_name_answers_unless_one_is_named() {
    let bench = bench().await;
    bench.add("web", 108, 8).await;
    bench.add("demo", 110, 7).await;
    assert_eq!(bench.get("/", "127.0.0.1:7800").await, served("demo", 7));
    assert_eq!(bench.get("/web", "x").await, served("web", 8));
    assert_eq!(bench.get("/", "web:80").await, served("web", 8));
    assert_eq!(bench.get("/", "10.5.0.108:80").await, served("web", 8));
    let not_here = refused("this VIP is not on n1");
    assert_eq!(bench.get("/db", "x").await, not_here);
}

#[tokio::test]
async fn no_answer_outlives_the_lifetime_whichever_clock_shows_its_end() {
    let clocks: [fn(&mut Clocks); 4] = [
        |now| now.wall_us += 3_000_000,
        |now| now.boot_us += 3_000_000,
        |now| now.mono_us += 3_000_000,
        |now| now.raw_us += 3_000_000,
    ];
    for end in clocks {
        let bench = bench().await;
        bench.add("demo", 110, 7).await;
        bench.turn(|now| now.boot_us += 2_999_999);
        assert_eq!(bench.get("/", "x").await, served("demo", 7));
        bench.turn(end);
        assert_eq!(bench.get("/", "x").await, refused("no VIP is on n1"));
        assert_eq!(bench.driver.found(&BTreeSet::new()).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_second_add_starts_the_lifetime_anew_under_the_new_epoch() {
    let bench = bench().await;
    bench.add("demo", 110, 7).await;
    bench.turn(|now| now.mono_us += 2_000_000);
    bench.add("demo", 110, 8).await;
    bench.turn(|now| now.mono_us += 2_000_000);
    assert_eq!(bench.get("/", "x").await, served("demo", 8));
    let left = bench.driver.found(&BTreeSet::new()).await.unwrap()[0].lifetime_left;
    assert_eq!(left, Some(Duration::from_secs(1)));
}

#[test]
fn a_host_loses_its_port() {
    assert_eq!(without_port("demo:80"), "demo");
    assert_eq!(without_port("[::1]:80"), "::1");
    assert_eq!(without_port("10.5.0.110"), "10.5.0.110");
}
