//! Step tests of the Mover: what a heartbeat is answered, and when a grant is over (design.md §6).

use core::{net::IpAddr, time::Duration};

use vipfence_types::{
    Answer, Clocks, ClusterName, Epoch, Heartbeat, NicId, NicRecord, NodeHealth, NodeId, Profile,
    Refusal, Role, Term, Timing, VipEpoch, VipName, VipReport, VipSpec, lease_wait,
};

use super::{Mover, News};
use crate::registry::{
    Applied, Body, Cause, Command, Expect, Founder, Granted, Registry, Request, Step, VipRecord,
};

const ADDRESS: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(10, 5, 0, 110));

fn at(ms: u64) -> Clocks {
    Clocks::all_at(Duration::from_millis(1_000_000 + ms))
}

fn node(name: &str) -> NodeId {
    NodeId::new(name).expect("a name")
}

fn demo() -> VipName {
    VipName::new("demo").expect("a name")
}

fn nic_of(name: &str) -> NicId {
    NicId::new(&format!(
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/{name}"
    ))
}

/// A Mover that was elected at 0, with the state that it has applied.
struct Stand {
    mover: Mover,
    state: Registry,
    seq: u64,
}

impl Stand {
    /// `demo` is granted to `a` at epoch 1 in an open move.
    fn granted() -> Self {
        let mut stand = Self { mover: Mover::new(node("a")), state: Registry::default(), seq: 0 };
        let founder = |name: &str| Founder {
            node: node(name),
            role: if name == "w" { Role::Witness } else { Role::Member },
            address: String::new(),
        };
        stand.apply(Body::Found {
            cluster: ClusterName::new("demo").expect("a name"),
            timing: Timing::of(Profile::Fast),
            nodes: ["a", "b", "w"].map(founder).to_vec(),
        });
        for name in ["a", "b"] {
            let nics = vec![NicRecord { name: "eth0".into(), id: nic_of(name) }];
            stand.apply(Body::ReportNics { node: node(name), nics });
        }
        stand.apply(Body::CreateVip {
            vip: demo(),
            spec: VipSpec::host(ADDRESS),
            enabled: true,
            to: Some(node("a")),
            request: Request::default(),
        });
        stand.mover.elected(at(0), Term(1));
        stand.step(0, Step::Grant { node: node("a"), floor: Epoch(0) });
        stand
    }

    fn apply(&mut self, body: Body) {
        let command = Command { format: 1, at_ms: 0, by: node("a"), body };
        let applied = self.state.apply(Term(1), &command);
        assert!(!matches!(applied, Applied::Refused(_)), "{applied:?} {command:?}");
    }

    fn step(&mut self, ms: u64, step: Step) {
        let phase = self.record().phase;
        self.apply(Body::Step { vip: demo(), phase, step });
        self.mover.applied(at(ms), &self.state);
    }

    fn record(&self) -> VipRecord {
        self.state.vip(&demo()).expect("the VIP").clone()
    }

    fn grant(&self) -> Granted {
        self.record().grant.grant().expect("a grant").clone()
    }

    fn release(&mut self, ms: u64) {
        let epoch = self.grant().epoch;
        self.step(ms, Step::Release { epoch });
    }

    fn expire(&mut self, ms: u64) {
        let epoch = self.grant().epoch;
        self.step(ms, Step::Expire { epoch });
    }

    fn target(&mut self, ms: u64, name: &str) {
        self.apply(Body::StartMove {
            vip: demo(),
            to: Some(node(name)),
            cause: Cause::Request,
            expect: Expect::default(),
            force: false,
            request: Request::default(),
        });
        self.mover.applied(at(ms), &self.state);
    }

    fn heartbeat(&mut self, boot: &str) -> Heartbeat {
        self.seq += 1;
        Heartbeat {
            cluster: ClusterName::new("demo").expect("a name"),
            node: node("a"),
            boot: boot.into(),
            replaces: vec![],
            seq: self.seq,
            held: vec![],
            released: vec![],
            cut: vec![],
            refused: vec![],
            highest_epoch: Epoch(0),
            nics: vec![],
            health: NodeHealth::default(),
            failing: vec![],
            reached: vec![],
            version: String::new(),
        }
    }

    fn hear(&mut self, ms: u64, heartbeat: &Heartbeat) -> Result<News, Refusal> {
        self.mover.beat(at(ms), &self.state, heartbeat)
    }

    fn answer(&mut self, received_ms: u64) -> Answer {
        let heartbeat = self.heartbeat("a1");
        self.mover
            .answer(at(received_ms), &self.state, &heartbeat, at(received_ms))
            .expect("an answer")
    }

    fn left(&self, now: Clocks) -> Duration {
        let lead = self.mover.lead().expect("it leads");
        self.mover.wait_left(lead, now, &self.record(), &self.grant())
    }

    /// When the grant is over, in milliseconds.
    fn over_ms(&self) -> u64 {
        let over = |ms: &u64| self.left(at(*ms)).is_zero();
        (0..100_000).find(over).expect("it ends")
    }
}

fn wait_ms() -> u64 {
    let wait = lease_wait(Duration::from_secs(4)).as_micros().div_ceil(1_000);
    u64::try_from(wait).expect("it is short")
}

fn epoch(number: u64) -> VipEpoch {
    VipEpoch { vip: demo(), epoch: Epoch(number) }
}

// ---- answers (H11) ------------------------------------------------------------------------

#[test]
fn a_grant_is_in_answers_only_while_it_is_granted_or_releasing() {
    let mut stand = Stand::granted();
    let told = |answer: Answer| {
        let granted: Vec<VipEpoch> = answer.grants.into_iter().map(|grant| grant.at).collect();
        (granted, answer.releasing)
    };
    assert_eq!(told(stand.answer(10)), (vec![epoch(1)], vec![]));
    stand.target(20, "b");
    assert_eq!(told(stand.answer(20)), (vec![epoch(1)], vec![]));
    stand.release(30);
    assert_eq!(told(stand.answer(40)), (vec![epoch(1)], vec![epoch(1)]));
    stand.expire(50);
    assert_eq!(told(stand.answer(60)), (vec![], vec![epoch(1)]));
    stand.step(70, Step::Over { epoch: Epoch(1), confirmed: true });
    assert_eq!(told(stand.answer(80)), (vec![], vec![]));
}

#[test]
fn a_grant_in_an_answer_counts_from_that_very_step() {
    let mut stand = Stand::granted();
    stand.answer(5_000);
    stand.release(5_000);
    stand.answer(6_000);
    // Nothing but the answer itself happened in between.
    stand.expire(30_000);
    assert_eq!(stand.over_ms(), 6_000 + wait_ms());
}

#[test]
fn an_answer_without_a_grant_prolongs_nothing() {
    let mut stand = Stand::granted();
    stand.answer(1_000);
    stand.target(1_100, "b");
    stand.expire(4_000);
    stand.answer(4_500);
    assert_eq!(stand.over_ms(), 1_000 + wait_ms());
}

#[test]
fn an_answer_to_another_node_carries_and_prolongs_nothing() {
    let mut stand = Stand::granted();
    let heartbeat = Heartbeat { node: node("b"), ..stand.heartbeat("b1") };
    let answer =
        stand.mover.answer(at(9_000), &stand.state, &heartbeat, at(9_000)).expect("an answer");
    assert_eq!((answer.grants, answer.releasing), (vec![], vec![]));
    stand.expire(20_000);
    assert_eq!(stand.over_ms(), wait_ms());
}

// ---- when a grant is over -------------------------------------------------------------------

#[test]
fn without_an_answer_the_wait_counts_from_the_moment_of_election() {
    let mut stand = Stand::granted();
    // H10: elected again, later.
    stand.mover.deposed();
    stand.mover.elected(at(2_000), Term(2));
    stand.expire(50_000);
    assert_eq!(stand.over_ms(), 2_000 + wait_ms());
}

#[test]
fn answers_of_an_earlier_term_die_with_it() {
    let mut stand = Stand::granted();
    stand.answer(9_000);
    stand.mover.deposed();
    stand.mover.elected(at(10_000), Term(2));
    stand.expire(50_000);
    assert_eq!(stand.over_ms(), 10_000 + wait_ms());
}

#[test]
fn the_wait_counts_from_the_earlier_of_two_moments() {
    // (ii) is earlier: Expiring is applied, and the process is elected later.
    let mut stand = Stand::granted();
    stand.answer(500);
    stand.target(900, "b");
    stand.expire(1_000);
    stand.mover.deposed();
    stand.mover.elected(at(3_000), Term(2));
    assert_eq!(stand.over_ms(), 1_000 + wait_ms());
    // A re-commit does not move it.
    stand.apply(Body::Lead);
    stand.mover.applied(at(3_500), &stand.state);
    assert_eq!(stand.over_ms(), 1_000 + wait_ms());
}

#[test]
fn a_process_that_starts_with_expiring_on_disk_counts_from_its_start() {
    let mut stand = Stand::granted();
    stand.expire(0);
    let mut fresh = Mover::new(node("b"));
    fresh.applied(at(7_000), &stand.state);
    fresh.elected(at(8_000), Term(2));
    stand.mover = fresh;
    assert_eq!(stand.over_ms(), 7_000 + wait_ms());
}

#[test]
fn the_latest_receipt_counts_in_whatever_order_answers_are_given() {
    // V1b.
    let mut stand = Stand::granted();
    stand.answer(2_000);
    stand.answer(1_000);
    stand.expire(9_000);
    assert_eq!(stand.over_ms(), 2_000 + wait_ms());
}

#[test]
fn an_earlier_epoch_of_the_address_counts_as_well() {
    // V1: answered at epoch 1; epoch 2 of the same node was never answered.
    let mut stand = Stand::granted();
    stand.answer(60_000);
    stand.step(60_100, Step::Grant { node: node("a"), floor: Epoch(0) });
    assert_eq!(stand.grant().epoch, Epoch(2));
    stand.expire(60_200);
    assert_eq!(stand.over_ms(), 60_000 + wait_ms());
}

#[test]
fn the_moment_of_another_epochs_expiring_does_not_count() {
    let mut stand = Stand::granted();
    stand.answer(500);
    stand.expire(1_000);
    stand.step(1_100, Step::Grant { node: node("a"), floor: Epoch(0) });
    stand.answer(20_000);
    stand.expire(20_100);
    assert_eq!(stand.over_ms(), 20_000 + wait_ms());
}

#[test]
fn a_step_of_the_wall_clock_ends_no_wait() {
    // V3.
    let mut stand = Stand::granted();
    stand.answer(1_000);
    stand.expire(1_500);
    let now = Clocks { wall_us: at(90_000).wall_us, ..at(2_000) };
    assert_eq!(stand.left(now), stand.left(at(2_000)));
    let suspended = Clocks { boot_us: at(90_000).boot_us, ..at(2_000) };
    assert_eq!(stand.left(suspended), stand.left(at(2_000)));
}

#[test]
fn a_longer_lease_of_an_earlier_profile_is_waited_for_and_lowered_after_one_old_wait() {
    // V4.
    let mut stand = Stand::granted();
    stand.apply(Body::SetTiming { timing: Timing::of(Profile::Standard) });
    stand.apply(Body::SetTiming { timing: Timing::of(Profile::Fast) });
    stand.mover.applied(at(1_000), &stand.state);
    assert_eq!(stand.grant().lease_ttl_ms, 10_000);
    let lowered = |stand: &Stand, ms| stand.mover.lead().expect("it leads").lowered(at(ms));
    let old = lease_wait(Duration::from_secs(10)).as_millis();
    let old = u64::try_from(old).expect("it is short");
    assert_eq!(lowered(&stand, 1_000 + old), []);
    assert_eq!(lowered(&stand, 1_001 + old), [(demo(), Epoch(1))]);
    assert_eq!(stand.answer(1_500).grants[0].lease_ttl_ms, 4_000, "answers are short at once");
}

// ---- what nodes say -------------------------------------------------------------------------

#[test]
fn a_release_is_confirmed_only_for_its_epoch_and_by_the_present_boot() {
    let mut stand = Stand::granted();
    let released = Heartbeat { released: vec![epoch(1)], ..stand.heartbeat("a1") };
    let confirms = |stand: &Stand, number| {
        stand.mover.lead().expect("it leads").peers.confirms(&node("a"), &epoch(number))
    };
    stand.hear(10, &released).expect("heard");
    assert!(confirms(&stand, 1));
    assert!(!confirms(&stand, 2), "H2");
    // H1: another boot takes its place; what the old one sent comes in late.
    let reborn = Heartbeat { replaces: vec!["a0".into(), "a1".into()], ..stand.heartbeat("a2") };
    stand.hear(20, &reborn).expect("it names the boot it replaces");
    assert!(!confirms(&stand, 1));
    let late = Heartbeat { seq: 99, ..released };
    assert_eq!(stand.hear(30, &late), Err(Refusal::SecondBoot { boot: "a2".into() }));
    assert!(!confirms(&stand, 1));
}

#[test]
fn an_older_heartbeat_never_replaces_what_a_later_one_said() {
    let mut stand = Stand::granted();
    let early = stand.heartbeat("a1");
    let added =
        VipReport { at: epoch(1), added: true, problem: String::new(), unfit: String::new() };
    let late = Heartbeat { held: vec![added], ..stand.heartbeat("a1") };
    stand.hear(10, &late).expect("heard");
    stand.hear(20, &early).expect("heard");
    let lead = stand.mover.lead().expect("it leads");
    assert!(lead.peers.has_added(&node("a"), &epoch(1)));
    assert!(!lead.peers.has_added(&node("a"), &epoch(2)));
}

#[test]
fn another_boot_is_refused_until_the_known_one_was_silent_for_a_lease_wait() {
    let mut stand = Stand::granted();
    let first = stand.heartbeat("a1");
    stand.hear(0, &first).expect("heard");
    let second = stand.heartbeat("a2");
    let refused = Err(Refusal::SecondBoot { boot: "a1".into() });
    assert_eq!(stand.hear(wait_ms() - 1, &second), refused);
    assert_eq!(stand.hear(wait_ms(), &second), Ok(News::Something));
    let again = Err(Refusal::SecondBoot { boot: "a2".into() });
    assert_eq!(stand.hear(wait_ms() + 10, &first), again);
}

#[test]
fn strangers_are_refused_and_a_follower_hears_nobody() {
    let mut stand = Stand::granted();
    let beat = stand.heartbeat("a1");
    let other = Heartbeat { cluster: ClusterName::new("x").expect("a name"), ..beat.clone() };
    let cluster = ClusterName::new("demo").expect("a name");
    assert_eq!(stand.hear(1, &other), Err(Refusal::WrongCluster { cluster }));
    let unknown = Heartbeat { node: node("z"), ..beat.clone() };
    assert_eq!(stand.hear(1, &unknown), Err(Refusal::UnknownNode));
    stand.mover.deposed();
    assert!(matches!(stand.hear(1, &beat), Err(Refusal::NotLeader { .. })));
    assert_eq!(stand.mover.answer(at(1), &stand.state, &beat, at(1)), None);
}

#[test]
fn a_failed_target_is_passed_over_for_a_while_each_time_that_it_fails() {
    let mut stand = Stand::granted();
    let beat = stand.heartbeat("a1");
    stand.hear(0, &beat).expect("heard");
    let failed = |stand: &Stand, ms: u64| {
        let (lead, record) = (stand.mover.lead().expect("it leads"), stand.record());
        lead.failed.get(&(record.name, node("a"))).is_some_and(|(_, t)| t.later_than(at(ms)))
    };
    stand.mover.target_failed(at(0), &demo(), &node("a"), "full");
    assert!(failed(&stand, 59_000) && !failed(&stand, 61_000));
    stand.mover.target_failed(at(90_000), &demo(), &node("a"), "full");
    assert!(failed(&stand, 120_000));
    stand.mover.forgive(&demo(), &node("a"));
    assert!(!failed(&stand, 120_000));
}
