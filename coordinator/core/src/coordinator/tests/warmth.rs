//! A node that does not lead keeps its own view of ARM warm.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::json;
use vipfence_types::{Clocks, ClusterName, Profile, Term, Timing};

use super::{
    arm::{Fault, Rule},
    bench::{Bench, nic_of, node, secs},
};
use crate::{
    coordinator::{Coordinator, Effect, Input, Setup},
    nic::{HttpAnswer, HttpFault, HttpRequest, HttpResult, Method},
};

/// A machine that follows, in a cluster whose members have told their NICs.
struct Follower {
    core: Coordinator,
    now: Duration,
}

impl Follower {
    fn new(name: &str) -> Self {
        let bench = Bench::new();
        let setup = Setup {
            node: node(name),
            cluster: ClusterName::new("demo").expect("a name"),
            timing: Timing::of(Profile::Fast),
            founders: vec![],
            api_version: "v".into(),
            trust_if_match: true,
            epoch_tag: true,
        };
        let now = bench.now;
        let mut core = Coordinator::new(setup, Clocks::all_at(now));
        let (term, leader) = (Term(1), Some(node("a")));
        let leadership = Input::Leadership { term, leader, leading: false };
        assert_eq!(core.step(Clocks::all_at(now), leadership), [], "no NIC is known yet");
        assert_eq!(core.wake_in(Clocks::all_at(now)), None);
        let applied = Input::Applied { index: 1, state: Arc::new(bench.log) };
        let mut follower = Self { core, now };
        let first = follower.step(applied);
        assert_eq!(first.len(), 1, "at once");
        follower
    }

    fn step(&mut self, input: Input) -> Vec<HttpRequest> {
        let effects = self.core.step(Clocks::all_at(self.now), input);
        let request = |effect| match effect {
            Effect::Http(request) => request,
            other => panic!("a follower asks for {other:?}"),
        };
        effects.into_iter().map(request).collect()
    }

    /// Runs for a span in which every request, the first included, is answered so. When each was made,
    /// counted from the beginning, in seconds.
    fn made(&mut self, span: Duration, result: &HttpResult) -> Vec<u64> {
        let (begin, mut made) = (self.now, vec![]);
        let mut id = crate::nic::HttpId(1);
        loop {
            let answer = Input::Http { id, result: result.clone() };
            assert_eq!(self.step(answer), [], "an answer asks for nothing");
            let next = loop {
                let clocks = Clocks::all_at(self.now);
                let wake = self.core.wake_in(clocks).expect("it wakes");
                self.now += wake;
                if self.now > begin + span {
                    return made;
                }
                if let Some(request) = self.step(Input::Tick).pop() {
                    break request;
                }
            };
            assert_eq!((next.method, &next.body), (Method::Get, &None), "it never writes");
            made.push((self.now - begin).as_secs());
            id = next.id;
        }
    }
}

fn ok() -> HttpResult {
    Ok(HttpAnswer { status: 200, headers: BTreeMap::new(), body: json!({}) })
}

#[test]
fn a_follower_looks_once_a_minute_and_twice_while_it_fails() {
    assert_eq!(Follower::new("b").made(secs(200), &ok()), [60, 120, 180]);
    let body = json!({"error": {"code": "AuthorizationFailed", "message": "x"}});
    let denied = Ok(HttpAnswer { status: 403, headers: BTreeMap::new(), body });
    assert_eq!(Follower::new("b").made(secs(100), &denied), [30, 60, 90]);
    let lost = Err(HttpFault::Unknown("x".into()));
    assert_eq!(Follower::new("w").made(secs(100), &lost), [30, 60, 90]);
}

#[test]
fn a_member_looks_at_its_own_nic_and_a_witness_at_a_members() {
    for (name, nic) in [("b", "b"), ("w", "a")] {
        let mut follower = Follower::new(name);
        let answer = Input::Http { id: crate::nic::HttpId(1), result: ok() };
        follower.step(answer);
        follower.now += secs(61);
        let request = follower.step(Input::Tick).pop().expect("a look");
        assert_eq!(request.path, format!("{}?api-version=v", nic_of(nic).as_str()));
    }
}

#[test]
fn a_look_that_is_not_answered_is_not_repeated() {
    let mut follower = Follower::new("b");
    follower.now += secs(1_000);
    assert_eq!(follower.step(Input::Tick), []);
}

#[test]
fn a_leader_counts_its_problems_and_says_when_a_human_must_act() {
    let mut bench = Bench::held_by_a();
    for (code, kind) in [("AuthorizationFailed", "forbidden"), ("ScopeLocked", "barred")] {
        bench.problems.clear();
        let status = if kind == "barred" { 409 } else { 403 };
        let fault = Fault::Answer(status, code);
        bench.arm.rules =
            vec![Rule { nic: "", method: Some(Method::Put), fault, left: usize::MAX }];
        bench.move_to("b");
        bench.run(secs(4));
        assert!(bench.problems.get(kind).is_some_and(|met| *met > 1), "{:?}", bench.problems);
        assert!(bench.blocked().contains("[a human must act]"), "{}", bench.story());
        bench.arm.rules.clear();
        assert!(bench.run_until(secs(60), |b| b.is_held_by("b")), "{}", bench.story());
        bench.move_to("a");
        assert!(bench.run_until(secs(60), |b| b.is_held_by("a")), "{}", bench.story());
    }
}
