//! The loop with a real state directory, the userspace driver and a leader made of a mutex.

use std::net::IpAddr;

use futures_util::future::BoxFuture;
use tempfile::TempDir;
use vipfence_types::{
    Answer, Clocks, Epoch, Grant, Heartbeat, Refusal, Term, VipAddress, VipEpoch, VipName,
};

use super::*;
use crate::clock::SystemClocks;
use crate::os::userspace::Userspace;
use crate::supervisor::{Device, Supervisor};

/// What the leader says to the next heartbeats.
#[derive(Clone)]
enum Says {
    Grant(u64),
    Release(u64),
    Nothing,
    NoQuorum,
    Silence,
}

struct Leader {
    says: Mutex<Says>,
    heard: watch::Sender<Option<Heartbeat>>,
}

impl Leader {
    fn say(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }
}

fn demo(epoch: u64) -> VipEpoch {
    VipEpoch { vip: VipName::new("demo").unwrap(), epoch: Epoch(epoch) }
}

fn address() -> IpAddr {
    IpAddr::from([10, 5, 0, 110])
}

impl BeatTransport for Leader {
    fn beat(&self, heartbeat: Heartbeat) -> BoxFuture<'_, Result<Answer, BeatError>> {
        Box::pin(async move {
            let seq = heartbeat.seq;
            let answer = |grants, releasing| Answer {
                seq,
                term: Term(1),
                grants,
                releasing,
                nowhere: vec![],
                reach: vec![],
            };
            let says = self.says.lock().unwrap().clone();
            self.heard.send_replace(Some(heartbeat));
            match says {
                Says::Grant(epoch) => {
                    let grant = Grant {
                        at: demo(epoch),
                        lease_ttl_ms: 2_500,
                        addresses: vec![VipAddress::host(address())],
                        hold_without_quorum: false,
                        probe: None,
                        cut: vec![],
                    };
                    Ok(answer(vec![grant], vec![]))
                }
                Says::Release(epoch) => Ok(answer(vec![], vec![demo(epoch)])),
                Says::Nothing => Ok(answer(vec![], vec![])),
                Says::NoQuorum => Err(BeatError::Refused(Refusal::NoQuorum)),
                Says::Silence => std::future::pending().await,
            }
        })
    }
}

struct Bench {
    dir: TempDir,
    leader: Arc<Leader>,
    driver: Userspace,
    node: NodeHandle,
    heard: watch::Receiver<Option<Heartbeat>>,
}

impl Bench {
    async fn start(says: Says) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), "b1", says).await
    }

    async fn start_in(dir: TempDir, boot: &str, says: Says) -> Self {
        let clocks: Arc<dyn ClockSource> = Arc::new(SystemClocks);
        let driver = Userspace::new(NodeId::new("n1").unwrap(), clocks);
        Self::start_on(dir, boot, says, driver).await
    }

    async fn start_on(dir: TempDir, boot: &str, says: Says, driver: Userspace) -> Self {
        let clocks: Arc<dyn ClockSource> = Arc::new(SystemClocks);
        Self::start_with(dir, boot, says, driver, clocks, Supervisor::default()).await
    }

    async fn start_with(
        dir: TempDir,
        boot: &str,
        says: Says,
        driver: Userspace,
        clocks: Arc<dyn ClockSource>,
        supervisor: Supervisor,
    ) -> Self {
        let (heard_by, heard) = watch::channel(None);
        let leader = Arc::new(Leader { says: Mutex::new(says), heard: heard_by });
        let name = NodeId::new("n1").unwrap();
        let boot = BootId::from(boot);
        let (state, remembered) = NodeState::open(dir.path(), &boot).unwrap();
        let config = NodeConfig {
            cluster: ClusterName::new("c1").unwrap(),
            node: name,
            boot,
            nics: vec![],
            version: "1".into(),
            heartbeat: Duration::from_millis(100),
            managed: BTreeSet::new(),
        };
        let parts = NodeParts {
            driver: Arc::new(driver.clone()),
            transport: Arc::clone(&leader) as Arc<dyn BeatTransport>,
            clocks,
            state,
            remembered,
            supervisor,
            tally: Arc::new(()),
            attendant: Arc::new(Attendant::idle()),
        };
        let node = NodeRunner::spawn(config, parts).await.unwrap();
        Self { dir, leader, driver, node, heard }
    }

    async fn hears(&mut self, what: impl Fn(&Heartbeat) -> bool) -> Heartbeat {
        let heard = self.heard.wait_for(|beat| beat.as_ref().is_some_and(&what));
        heard.await.unwrap().clone().unwrap()
    }

    async fn shows(&self, what: impl Fn(&LocalView) -> bool) -> LocalView {
        let mut changes = self.node.changes();
        changes.wait_for(what).await.unwrap().clone()
    }

    async fn on_os(&self) -> Vec<IpAddr> {
        let found = self.driver.found(&BTreeSet::new()).await.unwrap();
        found.iter().map(|one| one.address).collect()
    }
}

#[tokio::test]
async fn a_granted_vip_is_on_the_os_and_said_to_be_there() {
    let mut bench = Bench::start(Says::Grant(7)).await;
    let said = bench.hears(|beat| beat.held.iter().any(|vip| vip.added)).await;
    assert_eq!(said.held[0].at, demo(7));
    assert_eq!(bench.on_os().await, [address()]);
    let view = bench.node.view();
    assert_eq!((view.held[0].epoch, view.held[0].added), (Epoch(7), true));
}

#[tokio::test]
async fn without_a_quorum_the_address_goes_with_its_lease() {
    for says in [Says::NoQuorum, Says::Silence] {
        let bench = Bench::start(Says::Grant(7)).await;
        bench.shows(|view| view.held.iter().any(|vip| vip.added)).await;
        let before = SystemClocks.now();
        bench.leader.say(says);
        let view = bench.shows(|view| view.held.is_empty()).await;
        let took = SystemClocks.now().longest_since(before);
        assert!(took < Duration::from_millis(2_600), "{took:?}");
        assert_eq!(bench.on_os().await, Vec::<IpAddr>::new());
        assert!(view.detail.contains("the lease of demo ended"), "{view:?}");
    }
}

#[tokio::test]
async fn what_was_confirmed_is_on_disk_and_refused_after_a_restart() {
    let mut bench = Bench::start(Says::Grant(7)).await;
    bench.hears(|beat| beat.held.iter().any(|vip| vip.added)).await;
    bench.leader.say(Says::Release(7));
    bench.hears(|beat| beat.released == [demo(7)]).await;
    assert_eq!(bench.on_os().await, Vec::<IpAddr>::new());
    bench.leader.say(Says::Nothing);
    bench.node.stop(OnStop::Move, Duration::from_secs(5)).await;

    let dir = bench.dir;
    let mut bench = Bench::start_in(dir, "b2", Says::Grant(7)).await;
    let said = bench.hears(|beat| !beat.refused.is_empty()).await;
    assert_eq!(said.refused, [demo(7)]);
    assert_eq!(said.replaces, [BootId::from("b1")]);
    assert_eq!(said.highest_epoch, Epoch(7));
    assert_eq!(bench.on_os().await, Vec::<IpAddr>::new());
}

#[tokio::test]
async fn a_nudge_brings_a_heartbeat_and_a_stop_lets_go() {
    let mut bench = Bench::start(Says::Grant(7)).await;
    bench.node.heartbeat_every(Duration::from_secs(3_600)).await;
    let first = bench.hears(|beat| beat.held.iter().any(|vip| vip.added)).await;
    bench.node.nudge();
    bench.hears(|beat| beat.seq > first.seq).await;
    bench.node.health(Some(true), String::new()).await;
    bench.hears(|beat| beat.health.arm_ok == Some(true)).await;
    bench.node.stop(OnStop::Move, Duration::ZERO).await;
    assert_eq!(bench.on_os().await, Vec::<IpAddr>::new());
    let last = bench.heard.borrow().clone().unwrap();
    assert!(last.health.stopping && last.released == [demo(7)]);
}

#[tokio::test]
async fn a_node_that_keeps_its_vips_leaves_the_address_to_its_lifetime_and_tells_nobody() {
    let mut bench = Bench::start(Says::Grant(7)).await;
    bench.hears(|beat| beat.held.iter().any(|vip| vip.added)).await;
    bench.node.stop(OnStop::Keep, Duration::from_secs(1)).await;
    let [left] = bench.driver.found(&BTreeSet::new()).await.unwrap()[..] else {
        panic!("the address stays")
    };
    let lifetime = left.lifetime_left.expect("it ends");
    assert!(lifetime <= Duration::from_secs(2), "within the lease of 2.5 s: {lifetime:?}");
    let last = bench.heard.borrow().clone().unwrap();
    assert!(!last.health.stopping && last.released.is_empty());

    // The next start is granted it again, under the same epoch.
    let Bench { dir, driver, .. } = bench;
    let mut bench = Bench::start_on(dir, "b2", Says::Grant(7), driver).await;
    let said = bench.hears(|beat| beat.held.iter().any(|vip| vip.added)).await;
    assert_eq!((said.held[0].at.clone(), said.refused), (demo(7), vec![]));
}

/// Clocks that a test can step, each by itself, in microseconds.
#[derive(Clone, Default)]
struct Stepped(Arc<Mutex<(i64, u64, u64)>>);

impl Stepped {
    fn step(&self, wall_ms: i64, boot_ms: u64, mono_ms: u64) {
        let mut by = self.0.lock().unwrap();
        *by = (by.0 + wall_ms * 1_000, by.1 + boot_ms * 1_000, by.2 + mono_ms * 1_000);
    }
}

impl ClockSource for Stepped {
    fn now(&self) -> Clocks {
        let (now, (wall, boot, mono)) = (SystemClocks.now(), *self.0.lock().unwrap());
        Clocks {
            wall_us: now.wall_us.saturating_add_signed(wall),
            boot_us: now.boot_us + boot,
            mono_us: now.mono_us + mono,
            raw_us: now.raw_us + mono,
        }
    }
}

async fn holding_by(clocks: &Stepped, supervisor: Supervisor) -> Bench {
    let clocks: Arc<dyn ClockSource> = Arc::new(clocks.clone());
    let driver = Userspace::new(NodeId::new("n1").unwrap(), Arc::clone(&clocks));
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start_with(dir, "b1", Says::Grant(7), driver, clocks, supervisor).await;
    bench.shows(|view| view.held.iter().any(|vip| vip.added)).await;
    // Nobody answers any more: what ends from here on, ends by the clocks.
    bench.leader.say(Says::Silence);
    bench
}

/// Freezes and clock steps, as the clocks show them: the lease is 2.5 s.
#[tokio::test]
async fn whichever_clock_shows_that_a_lease_is_over_ends_it_at_the_next_look() {
    for (what, wall, boot, mono) in [
        ("the wall clock is set forward", 60_000, 0, 0),
        ("the machine slept", 3_000, 3_000, 0),
        ("the agent, or the machine, stood still", 3_000, 3_000, 3_000),
        ("and the wall clock was set back meanwhile", -60_000, 0, 3_000),
    ] {
        let clocks = Stepped::default();
        let bench = holding_by(&clocks, Supervisor::default()).await;
        let before = SystemClocks.now();
        clocks.step(wall, boot, mono);
        bench.shows(|view| view.held.is_empty()).await;
        let took = SystemClocks.now().mono_since(before);
        assert!(took < Duration::from_millis(1_500), "{what}: {took:?}");
        assert_eq!(bench.on_os().await, Vec::<IpAddr>::new(), "{what}");
    }
}

#[tokio::test]
async fn a_wall_clock_that_is_set_back_prolongs_no_lease() {
    let clocks = Stepped::default();
    let bench = holding_by(&clocks, Supervisor::default()).await;
    let before = SystemClocks.now();
    clocks.step(-3_600_000, 0, 0);
    bench.shows(|view| view.held.is_empty()).await;
    let took = SystemClocks.now().mono_since(before);
    assert!(took < Duration::from_millis(2_600), "{took:?}");
    assert_eq!(bench.on_os().await, Vec::<IpAddr>::new());
}

/// A device is fed by the loop, and by nothing else in the process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_that_hangs_feeds_no_watchdog() {
    let mut fifo = crate::supervisor::tests::Fifo::new();
    let supervisor = Supervisor::new(None, Some(Device::arm(&fifo.path).unwrap()));
    let bench = holding_by(&Stepped::default(), supervisor).await;
    let node = bench.node.clone();
    let hung = std::thread::spawn(move || {
        let holder = node.holder();
        // The loop may be between its last step and its last word.
        std::thread::sleep(Duration::from_millis(300));
        fifo.heard();
        std::thread::sleep(Duration::from_millis(1_500));
        let heard = fifo.heard();
        drop(holder);
        (heard, fifo)
    });
    let (heard, mut fifo) = tokio::task::spawn_blocking(|| hung.join().unwrap()).await.unwrap();
    assert_eq!(heard, b"", "it hung for three of its looks");
    bench.shows(|view| view.held.is_empty()).await;
    while fifo.heard().is_empty() {
        tokio::task::yield_now().await;
    }
    // And with nothing left on the OS a clean end disarms it.
    bench.node.stop(OnStop::Move, Duration::ZERO).await;
    assert_eq!(fifo.heard().last(), Some(&b'V'));
}

/// A driver that is frozen before each add, for longer than the machine allows.
struct Frozen(Clocks);

impl ClockSource for Frozen {
    fn now(&self) -> Clocks {
        self.0
    }
}

#[tokio::test]
async fn an_add_that_waited_too_long_is_not_begun() {
    use super::calls::{AddCall, OsCall, work_os};
    let now = Clocks::all_at(Duration::from_secs(10));
    let clocks: Arc<dyn ClockSource> = Arc::new(Frozen(now.plus(Duration::from_millis(101))));
    let driver = Userspace::new(NodeId::new("n1").unwrap(), Arc::clone(&clocks));
    let (calls, queue) = mpsc::unbounded_channel();
    let (outcomes, mut inputs) = mpsc::channel(1);
    let call = vipfence_agent_core::Call(1);
    calls
        .send(OsCall::Add(AddCall {
            call,
            addition: crate::os::Addition {
                vip: VipName::new("demo").unwrap(),
                epoch: Epoch(7),
                addresses: vec![VipAddress::host(address())],
                lifetime: Duration::from_secs(3),
                deadline: crate::os::Deadline {
                    clocks: Arc::clone(&clocks),
                    computed_at: now,
                    within: Duration::from_millis(100),
                },
                probe: None,
            },
        }))
        .ok()
        .unwrap();
    drop(calls);
    work_os(queue, Arc::new(driver.clone()), clocks, outcomes).await;
    let problem = "the OS was busy for 101 ms".to_owned();
    let outcome = inputs.recv().await;
    assert_eq!(outcome, Some(Input::AddFailed { call, problem }));
    assert_eq!(driver.found(&BTreeSet::new()).await.unwrap(), []);
}
