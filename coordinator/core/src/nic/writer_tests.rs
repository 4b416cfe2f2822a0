//! Step tests of the NicWriter: what comes in, and exactly what goes out.

mod batches;
mod foreign;
mod operations;
mod seals;

use core::{net::IpAddr, time::Duration};
use std::collections::BTreeMap;

use serde_json::{Value, json};
use vipfence_types::{
    Clocks, ClusterName, NicId, NodeId, Profile, Revision, Role, Term, Timing, VipName, VipSpec,
};

use super::{
    HttpAnswer, HttpFault, HttpId, HttpRequest, HttpResult, Method, NicEffect, NicWriter, Presence,
    ProblemKind, SendBefore, Setup, Want,
    budget::{Budget, Urgency},
    writer::OperationNews,
};
use crate::registry::{
    Applied, AzureOperation, Body, COMMAND_FORMAT, Command, Founder, OperationKind, Registry,
    Request,
};

const NIC: &str =
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/n1";
const URL: &str = "https://arm/operations/1";
const WINDOW: Duration = Duration::from_secs(1);
const AZURE_MAX: Duration = Duration::from_secs(300);

fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 5, 0, last])
}

fn name(last: u8) -> VipName {
    VipName::new(&format!("v{last}")).expect("a name")
}

fn ok(status: u16, body: Value) -> HttpResult {
    Ok(HttpAnswer { status, headers: BTreeMap::new(), body })
}

fn accepted_with(url: &str) -> HttpResult {
    let headers = BTreeMap::from([("azure-asyncoperation".to_owned(), url.to_owned())]);
    Ok(HttpAnswer { status: 201, headers, body: json!({}) })
}

fn error(status: u16, code: &str, message: &str) -> HttpResult {
    ok(status, json!({"error": {"code": code, "message": message}}))
}

fn lost() -> HttpResult {
    Err(HttpFault::Unknown("timed out".into()))
}

fn status(word: &str) -> HttpResult {
    ok(200, json!({ "status": word }))
}

/// A NIC with a primary and these secondary addresses, all in one state.
fn nic_in(state: &str, etag: &str, addresses: &[u8]) -> Value {
    let mut configs = vec![json!({"name": "ipconfig1", "properties": {
        "provisioningState": state, "privateIPAddress": "10.5.0.4", "primary": true,
        "subnet": {"id": "/subnet"}}})];
    configs.extend(addresses.iter().map(|last| {
        json!({"name": format!("vipfence-v{last}"), "properties": {
            "provisioningState": state, "privateIPAddress": ip(*last).to_string(),
            "privateIPAllocationMethod": "Static", "privateIPAddressVersion": "IPv4",
            "primary": false, "subnet": {"id": "/subnet"}}})
    }));
    json!({"etag": etag, "tags": {"owner": "them"},
        "properties": {"provisioningState": state, "ipConfigurations": configs}})
}

fn nic(etag: &str, addresses: &[u8]) -> HttpResult {
    ok(200, nic_in("Succeeded", etag, addresses))
}

fn present(last: u8, phase: Revision) -> (IpAddr, Want) {
    let presence = Presence::Present { name: format!("vipfence-v{last}"), found: json!({}) };
    (ip(last), Want { vip: name(last), phase, presence })
}

fn absent(last: u8, phase: Revision) -> (IpAddr, Want) {
    (ip(last), Want { vip: name(last), phase, presence: Presence::Absent })
}

/// One NicWriter with a clock and a committed state of five VIPs.
struct Bench {
    writer: NicWriter,
    state: Registry,
    now: Clocks,
    next: u64,
    budget: Budget,
}

impl Bench {
    fn new() -> Self {
        let mut state = Registry::default();
        let node = NodeId::new("a").expect("a name");
        let founder = Founder { node: node.clone(), role: Role::Member, address: String::new() };
        let mut bodies = vec![Body::Found {
            cluster: ClusterName::new("c").expect("a name"),
            timing: Timing::of(Profile::Fast),
            nodes: vec![founder],
        }];
        bodies.extend((110..=114).map(|last| Body::CreateVip {
            vip: name(last),
            spec: VipSpec::host(ip(last)),
            enabled: true,
            to: None,
            request: Request::default(),
        }));
        for body in bodies {
            let command = Command { format: COMMAND_FORMAT, at_ms: 0, by: node.clone(), body };
            assert!(!matches!(state.apply(Term(3), &command), Applied::Refused(_)));
        }
        let now = Clocks::all_at(Duration::from_secs(1_000));
        let setup = Setup {
            nic: NicId::new(NIC),
            api_version: "v".to_owned(),
            term: Term(3),
            elected_at: now,
            write_window: WINDOW,
            azure_max: AZURE_MAX,
            cluster: "c".to_owned(),
            trust_if_match: true,
            epoch_tag: true,
            exposed: true,
        };
        let budget = Budget::new(now);
        Self { writer: NicWriter::new(setup, now), state, now, next: 0, budget }
    }

    fn phase(&self, last: u8) -> Revision {
        self.state.vip(&name(last)).expect("a VIP").azure_phase
    }

    /// A move to nowhere in particular: what was decided on the VIP before is void.
    fn bump(&mut self, last: u8) {
        let command = Command {
            format: COMMAND_FORMAT,
            at_ms: 0,
            by: NodeId::new("a").expect("a name"),
            body: Body::StartMove {
                vip: name(last),
                to: None,
                cause: crate::registry::Cause::Request,
                expect: crate::registry::Expect::default(),
                force: false,
                request: Request::default(),
            },
        };
        assert!(matches!(self.state.apply(Term(3), &command), Applied::Move(_)));
    }

    fn want(&mut self, wants: &[(IpAddr, Want)]) {
        self.writer.want(wants.iter().cloned().collect(), BTreeMap::new(), self.now);
    }

    fn want_present(&mut self, lasts: &[u8]) {
        let wants: Vec<_> = lasts.iter().map(|last| present(*last, self.phase(*last))).collect();
        self.want(&wants);
    }

    fn want_seal(&mut self, last: u8) {
        let seals = BTreeMap::from([(name(last), self.phase(last))]);
        self.writer.want(BTreeMap::new(), seals, self.now);
    }

    fn later(&mut self, ms: u64) {
        self.now = self.now.plus(Duration::from_millis(ms));
    }

    fn tick(&mut self) -> Vec<NicEffect> {
        self.writer.tick(self.now, &mut self.budget, &mut self.next)
    }

    fn round(&mut self) -> Vec<NicEffect> {
        self.writer.on_round(self.now, Some(&self.state), &mut self.next)
    }

    /// Answers the request that was sent last.
    fn answer(&mut self, result: HttpResult) -> Vec<NicEffect> {
        self.writer.on_http(self.now, HttpId(self.next), result)
    }

    /// The one request that a tick sends.
    fn sent(&mut self) -> HttpRequest {
        let effects = self.tick();
        one_request(effects)
    }

    /// Expects a read of the NIC, and answers it.
    fn reads(&mut self, result: HttpResult) {
        let expected = self.get(self.next + 1, &format!("{NIC}?api-version=v"));
        assert_eq!(self.tick(), vec![expected]);
        assert_eq!(self.answer(result), vec![]);
    }

    /// Expects a poll of the operation, and answers it.
    fn polls(&mut self, result: HttpResult) -> Vec<NicEffect> {
        let expected = self.get(self.next + 1, URL);
        assert_eq!(self.tick(), vec![expected]);
        self.answer(result)
    }

    /// Expects a quorum round, which succeeds, and the write that follows.
    fn writes(&mut self) -> HttpRequest {
        assert_eq!(self.tick(), vec![NicEffect::Round]);
        let effects = self.round();
        one_request(effects)
    }

    fn get(&self, id: u64, path: &str) -> NicEffect {
        NicEffect::Http(HttpRequest {
            id: HttpId(id),
            method: Method::Get,
            path: path.to_owned(),
            headers: BTreeMap::new(),
            body: None,
            send_before: None,
        })
    }

    fn quiet(&mut self) {
        assert_eq!(self.tick(), vec![]);
    }

    fn cleared(&self) -> bool {
        self.writer.is_cleared(self.now)
    }
}

fn one_request(effects: Vec<NicEffect>) -> HttpRequest {
    let [NicEffect::Http(request)] = effects.as_slice() else {
        panic!("not one request: {effects:?}");
    };
    request.clone()
}

/// The secondary addresses of a document.
fn addresses(body: Option<&Value>) -> Vec<String> {
    let configs = body.and_then(|body| body.pointer("/properties/ipConfigurations"));
    let configs = configs.and_then(Value::as_array).expect("ipConfigurations");
    let address = |config: &Value| {
        config.pointer("/properties/privateIPAddress").and_then(Value::as_str).map(str::to_owned)
    };
    configs.iter().skip(1).filter_map(address).collect()
}

// ---- reading, and one write -----------------------------------------------------------------

#[test]
fn the_first_thing_is_a_read_and_without_wants_nothing_follows() {
    let mut bench = Bench::new();
    assert_eq!(bench.writer.lists(ip(110)), None);
    bench.reads(nic("1", &[110]));
    assert_eq!(bench.writer.lists(ip(110)), Some(true));
    assert_eq!(bench.writer.lists(ip(111)), Some(false));
    bench.quiet();
    assert_eq!(bench.writer.wake_in(bench.now), None);
    assert!(!bench.cleared());
}

#[test]
fn a_write_is_a_compare_and_swap_after_a_quorum_round_within_the_window() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    bench.reads(nic("W/\"1\"", &[]));
    assert_eq!(bench.tick(), vec![NicEffect::Round]);
    let began = bench.now;
    bench.later(40);
    let effects = bench.round();
    let sent = NicEffect::Http(HttpRequest {
        id: HttpId(2),
        method: Method::Put,
        path: format!("{NIC}?api-version=v"),
        headers: BTreeMap::from([
            ("if-match".to_owned(), "W/\"1\"".to_owned()),
            ("x-ms-client-request-id".to_owned(), "vipfence-3-2".to_owned()),
        ]),
        body: Some(json!({"etag": "W/\"1\"", "tags": {"owner": "them"}, "properties": {
        "provisioningState": "Succeeded", "ipConfigurations": [
            {"name": "ipconfig1", "properties": {"provisioningState": "Succeeded",
                "privateIPAddress": "10.5.0.4", "primary": true, "subnet": {"id": "/subnet"}}},
            {"name": "vipfence-v110", "properties": {"privateIPAddress": "10.5.0.110",
                "privateIPAllocationMethod": "Static", "privateIPAddressVersion": "IPv4",
                "primary": false, "subnet": {"id": "/subnet"}}},
        ]}})),
        send_before: Some(SendBefore { began, window: WINDOW }),
    });
    assert_eq!(effects, vec![sent]);
    bench.quiet();
    assert_eq!(bench.writer.lists(ip(110)), None, "a write is in flight");
}

#[test]
fn an_attach_is_followed_to_its_end_and_then_read_back() {
    let mut bench = Bench::new();
    let want = present(110, bench.phase(110)).1;
    bench.want_present(&[110]);
    bench.reads(nic("1", &[]));
    bench.writes();
    let news = |status: &str, ended_ms| NicEffect::Operation {
        vips: vec![name(110)],
        news: OperationNews {
            kind: OperationKind::Attach,
            url: URL.to_owned(),
            status: status.to_owned(),
            started_ms: 1_000_000,
            ended_ms,
        },
    };
    assert_eq!(bench.answer(accepted_with(URL)), vec![news("InProgress", None)]);
    assert!(bench.writer.is_accepted(ip(110), &want) && !bench.cleared());
    bench.quiet();
    assert_eq!(bench.writer.wake_in(bench.now), Some(Duration::from_millis(50)));
    bench.later(50);
    assert_eq!(bench.polls(status("InProgress")), vec![]);
    assert_eq!(bench.writer.lists(ip(110)), None);
    bench.later(50);
    assert_eq!(bench.polls(status("Succeeded")), vec![news("Succeeded", Some(1_000_100))]);
    assert_eq!(bench.writer.lists(ip(110)), None, "H14: not read back yet");
    bench.reads(nic("2", &[110]));
    assert_eq!(bench.writer.lists(ip(110)), Some(true));
    assert!(bench.cleared(), "another ETag was read");
    bench.quiet();
    assert_eq!(bench.writer.wake_in(bench.now), None);
}

#[test]
fn polls_grow_apart_with_the_age_of_the_operation() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    bench.reads(nic("1", &[]));
    bench.writes();
    bench.answer(accepted_with(URL));
    bench.later(10_000);
    bench.polls(status("InProgress"));
    assert_eq!(bench.writer.wake_in(bench.now), Some(Duration::from_millis(700)));
    bench.later(90_000);
    bench.polls(status("InProgress"));
    assert_eq!(bench.writer.wake_in(bench.now), Some(Duration::from_secs(3)));
}

#[test]
fn two_vips_of_a_nic_travel_in_one_put() {
    let mut bench = Bench::new();
    let wants = [present(110, bench.phase(110)), absent(111, bench.phase(111))];
    bench.want(&wants);
    bench.reads(nic("1", &[111, 112]));
    let put = bench.writes();
    assert_eq!(addresses(put.body.as_ref()), ["10.5.0.112", "10.5.0.110"]);
    let effects = bench.answer(accepted_with(URL));
    let [NicEffect::Operation { vips, .. }] = effects.as_slice() else {
        panic!("no news: {effects:?}");
    };
    assert_eq!(*vips, [name(110), name(111)]);
}

// ---- when nothing is sent -------------------------------------------------------------------

#[test]
fn a_plan_is_void_when_the_phase_changed_during_the_round() {
    let mut bench = Bench::new();
    bench.want_present(&[110, 111]);
    bench.reads(nic("1", &[]));
    assert_eq!(bench.tick(), vec![NicEffect::Round]);
    bench.bump(111);
    assert_eq!(bench.round(), vec![]);
    bench.want_present(&[110, 111]);
    let put = bench.writes();
    assert_eq!(addresses(put.body.as_ref()).len(), 2);
}

#[test]
fn a_plan_is_void_when_the_wants_changed_during_the_round() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    bench.reads(nic("1", &[]));
    assert_eq!(bench.tick(), vec![NicEffect::Round]);
    bench.want(&[]);
    assert_eq!(bench.round(), vec![]);
    bench.quiet();
}

#[test]
fn a_step_of_the_grant_track_does_not_void_a_plan() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    bench.reads(nic("1", &[]));
    assert_eq!(bench.tick(), vec![NicEffect::Round]);
    let vip = bench.state.vip(&name(110)).expect("a VIP").clone();
    let note = Command {
        format: COMMAND_FORMAT,
        at_ms: 0,
        by: NodeId::new("a").expect("a name"),
        body: Body::Note {
            vip: name(110),
            id: vip.open.expect("open"),
            note: crate::registry::Note::Blocked { reason: "x".into(), next_attempt_ms: None },
        },
    };
    assert_eq!(bench.state.apply(Term(3), &note), Applied::Done);
    assert_eq!(one_request(bench.round()).method, Method::Put);
}

#[test]
fn without_a_majority_nothing_is_sent() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    bench.reads(nic("1", &[]));
    assert_eq!(bench.tick(), vec![NicEffect::Round]);
    assert_eq!(bench.writer.on_round(bench.now, None, &mut bench.next), vec![]);
    bench.quiet();
    assert_eq!(bench.writer.wake_in(bench.now), Some(Duration::from_millis(200)));
    bench.later(200);
    assert_eq!(bench.writes().method, Method::Put);
}

#[test]
fn a_document_that_is_updating_proves_nothing_and_is_not_written() {
    let mut bench = Bench::new();
    bench.want_present(&[110, 111]);
    bench.reads(ok(200, nic_in("Updating", "1", &[110])));
    assert_eq!(bench.writer.lists(ip(110)), None);
    bench.quiet();
    assert_eq!(bench.writer.wake_in(bench.now), Some(Duration::from_millis(50)));
    bench.later(50);
    bench.reads(nic("2", &[110]));
    assert_eq!(addresses(bench.writes().body.as_ref()), ["10.5.0.110", "10.5.0.111"]);
}

#[test]
fn an_address_in_a_document_that_failed_is_written_again() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    bench.reads(ok(200, nic_in("Failed", "1", &[110])));
    assert_eq!(bench.writer.lists(ip(110)), None);
    assert_eq!(bench.writes().headers.get("if-match").map(String::as_str), Some("1"));
}

#[test]
fn a_strangers_ip_configuration_that_failed_is_no_reason_to_write_or_to_wait() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    let mut document = nic_in("Succeeded", "1", &[110, 200]);
    let state = document.pointer_mut("/properties/ipConfigurations/2/properties/provisioningState");
    *state.expect("a state") = json!("Failed");
    bench.reads(ok(200, document));
    bench.quiet();
    assert_eq!(bench.writer.lists(ip(110)), Some(true));
    assert_eq!(bench.writer.lists(ip(200)), None);
}

#[test]
fn an_ip_configuration_of_ours_that_is_updating_is_waited_for() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    let mut document = nic_in("Succeeded", "1", &[110]);
    let state = document.pointer_mut("/properties/ipConfigurations/1/properties/provisioningState");
    *state.expect("a state") = json!("Updating");
    bench.reads(ok(200, document));
    bench.quiet();
    assert_eq!(bench.writer.lists(ip(110)), None);
    assert_eq!(bench.writer.wake_in(bench.now), Some(Duration::from_millis(50)));
    bench.later(50);
    bench.reads(nic("2", &[110]));
    assert_eq!(bench.writer.lists(ip(110)), Some(true));
}

// ---- outcomes of a write --------------------------------------------------------------------

/// A NIC that one accepted write has cleared, with another write on its way.
fn cleared_and_writing() -> Bench {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    bench.reads(nic("1", &[]));
    bench.writes();
    bench.answer(ok(200, json!({})));
    bench.reads(nic("2", &[110]));
    assert!(bench.cleared());
    bench.want_present(&[110, 111]);
    bench.writes();
    assert!(!bench.cleared(), "until it is answered, its outcome is unknown");
    bench
}

#[test]
fn another_etag_leads_to_a_fresh_read_and_another_round() {
    let mut bench = cleared_and_writing();
    bench.answer(error(412, "PreconditionFailed", ""));
    assert!(bench.cleared());
    bench.reads(nic("3", &[110, 113]));
    let put = bench.writes();
    assert_eq!(put.headers.get("if-match").map(String::as_str), Some("3"));
    assert_eq!(addresses(put.body.as_ref()), ["10.5.0.110", "10.5.0.113", "10.5.0.111"]);
}

#[test]
fn a_refused_or_unsent_write_leaves_the_nic_as_clear_as_it_was() {
    for result in [
        error(400, "PrivateIPAddressNotInSubnet", ""),
        error(409, "AnotherOperationInProgress", ""),
        error(429, "RetryableError", ""),
        error(403, "AuthorizationFailed", ""),
        error(401, "ExpiredAuthenticationToken", ""),
        Err(HttpFault::NotSent("the window has passed".into())),
    ] {
        let mut bench = cleared_and_writing();
        bench.answer(result.clone());
        assert!(bench.cleared(), "{result:?}");
        let mut bench = Bench::new();
        bench.want_present(&[110]);
        bench.reads(nic("1", &[]));
        bench.writes();
        bench.answer(result.clone());
        assert!(!bench.cleared(), "{result:?}");
    }
}

#[test]
fn an_unknown_outcome_exposes_the_nic_until_a_later_write_has_changed_its_etag() {
    for result in [
        lost(),
        error(500, "InternalServerError", ""),
        error(503, "RetryableError", ""),
        error(504, "OperationPreempted", ""),
        error(500, "AnotherOperationInProgress", ""),
        error(408, "RequestTimeout", ""),
    ] {
        let mut bench = cleared_and_writing();
        bench.answer(result.clone());
        assert!(!bench.cleared(), "{result:?}");
        bench.later(200);
        bench.reads(nic("2", &[110]));
        assert!(!bench.cleared(), "a read clears nothing");
        bench.writes();
        bench.answer(ok(200, json!({})));
        assert!(!bench.cleared(), "it may have changed nothing");
        bench.reads(nic("3", &[110]));
        assert!(bench.cleared());
    }
}

#[test]
fn a_write_of_unknown_outcome_that_was_executed_leaves_nothing_to_wait_for() {
    let mut bench = cleared_and_writing();
    bench.answer(lost());
    assert_eq!(bench.writer.problem(ip(111)).map(|p| &p.kind), Some(&ProblemKind::Unknown));
    bench.later(200);
    bench.reads(nic("3", &[110, 111]));
    bench.quiet();
    assert_eq!(bench.writer.lists(ip(111)), Some(true));
    assert_eq!(bench.writer.problem(ip(111)), None);
    assert_eq!(bench.writer.wake_in(bench.now), None, "no ticks without end");
}

#[test]
fn a_problem_of_an_address_that_arrived_by_itself_is_forgotten() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    bench.reads(nic("1", &[]));
    bench.writes();
    bench.answer(error(400, "PrivateIPAddressIsBeingCleanedUp", ""));
    bench.reads(nic("2", &[110]));
    bench.quiet();
    bench.later(200);
    bench.quiet();
    assert_eq!(bench.writer.problem(ip(110)), None);
    assert_eq!(bench.writer.wake_in(bench.now), None);
}

#[test]
fn retry_after_is_kept_to() {
    let mut bench = cleared_and_writing();
    let headers = BTreeMap::from([("retry-after".to_owned(), "17".to_owned())]);
    bench.answer(Ok(HttpAnswer { status: 429, headers, body: Value::Null }));
    assert_eq!(bench.writer.wake_in(bench.now), Some(Duration::from_secs(17)));
    bench.later(16_999);
    bench.quiet();
    bench.later(1);
    bench.reads(nic("2", &[110]));
    assert_eq!(bench.writes().method, Method::Put);
}

#[test]
fn wants_that_are_replaced_while_a_write_is_in_flight_wait_for_its_outcome() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    let old = present(110, bench.phase(110)).1;
    bench.reads(nic("1", &[]));
    bench.writes();
    bench.bump(110);
    let (address, new) = absent(110, bench.phase(110));
    bench.want(&[(address, new.clone())]);
    bench.quiet();
    bench.answer(accepted_with(URL));
    assert!(bench.writer.is_accepted(address, &old));
    assert!(!bench.writer.is_accepted(address, &new));
    bench.later(50);
    bench.polls(status("Succeeded"));
    bench.reads(nic("2", &[110]));
    assert_eq!(addresses(bench.writes().body.as_ref()), Vec::<String>::new());
    bench.answer(accepted_with(URL));
    assert!(bench.writer.is_accepted(address, &new));
    assert!(!bench.writer.is_accepted(address, &old));
}

#[test]
fn only_a_read_after_the_wish_shows_that_there_is_nothing_to_take_off() {
    let mut bench = Bench::new();
    bench.reads(nic("1", &[]));
    bench.later(36_000);
    let (address, want) = absent(110, bench.phase(110));
    bench.want(&[(address, want.clone())]);
    assert!(!bench.writer.is_accepted(address, &want), "an old write may have put it there since");
    bench.reads(nic("2", &[110]));
    assert!(!bench.writer.is_accepted(address, &want));
    bench.writes();
    bench.answer(accepted_with(URL));
    assert!(bench.writer.is_accepted(address, &want));

    let (other, not_there) = absent(111, bench.phase(111));
    bench.later(50);
    bench.polls(status("Succeeded"));
    bench.reads(nic("3", &[]));
    bench.later(1);
    bench.want(&[(address, want.clone()), (other, not_there.clone())]);
    bench.reads(nic("3", &[]));
    assert!(
        bench.writer.is_accepted(address, &want) && bench.writer.is_accepted(other, &not_there)
    );
    bench.quiet();
}

// ---- a NIC that is gone ---------------------------------------------------------------------

#[test]
fn a_nic_that_is_gone_lists_nothing_and_exposes_nothing() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    bench.reads(error(404, "ResourceNotFound", ""));
    assert!(bench.writer.is_gone() && bench.cleared());
    assert_eq!(bench.writer.lists(ip(110)), Some(false));
    bench.quiet();
    assert_eq!(bench.writer.wake_in(bench.now), None);
    bench.later(1_000);
    bench.writer.read_after(Some(bench.now), Urgency::Move);
    bench.later(1);
    bench.reads(nic("1", &[110]));
    assert!(!bench.writer.is_gone() && !bench.cleared());
    bench.quiet();
}

#[test]
fn a_nic_that_goes_away_during_a_write_is_read_again() {
    let mut bench = Bench::new();
    bench.want_present(&[110]);
    bench.reads(nic("1", &[]));
    bench.writes();
    bench.answer(error(404, "ResourceNotFound", ""));
    assert_eq!(bench.writer.lists(ip(110)), None);
    bench.reads(error(404, "ResourceNotFound", ""));
    assert_eq!(bench.writer.lists(ip(110)), Some(false));
}

#[test]
fn a_read_that_fails_is_tried_again_with_growing_back_off() {
    let mut bench = Bench::new();
    for wait_ms in [200, 400, 800] {
        bench.reads(lost());
        bench.quiet();
        assert_eq!(bench.writer.wake_in(bench.now), Some(Duration::from_millis(wait_ms)));
        bench.later(wait_ms);
    }
    bench.reads(nic("1", &[]));
    assert!(bench.writer.nic_problem().is_none());
}

#[test]
fn a_document_counts_from_when_it_was_asked_for() {
    let mut bench = Bench::new();
    let before = bench.now;
    assert_eq!(bench.sent().method, Method::Get);
    bench.later(30);
    let during = bench.now;
    bench.answer(nic("1", &[]));
    assert!(bench.writer.document_since(before).is_some());
    assert!(bench.writer.document_since(during).is_none());
    bench.writer.read_after(Some(during), Urgency::Move);
    bench.later(1);
    bench.reads(nic("1", &[]));
    assert!(bench.writer.document_since(during).is_some());
}
