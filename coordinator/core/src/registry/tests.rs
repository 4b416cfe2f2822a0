//! Step tests of the Registry: one table of all steps and tracks, the rules one by one, and random
//! commands against the invariants.

mod foreign;
mod moves;
mod random;
mod restraint;
mod table;

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use vipfence_types::{InvalidSpec, NicId, NicRecord, NodeId, RequestId, Role};

use super::*;

fn node(name: &str) -> NodeId {
    NodeId::new(name).expect("a name")
}

fn vip(name: &str) -> VipName {
    VipName::new(name).expect("a name")
}

fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 5, 0, last])
}

fn nic(node: &str) -> NicId {
    NicId::new(&format!(
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/{node}"
    ))
}

fn place(node: &str) -> Place {
    Place { nic: nic(node), address: ip(110) }
}

fn places(nodes: &[&str]) -> BTreeSet<Place> {
    nodes.iter().map(|node| place(node)).collect()
}

fn nics(nodes: &[&str]) -> BTreeSet<NicId> {
    nodes.iter().map(|node| nic(node)).collect()
}

fn by(id: &str, content: &str) -> Request {
    Request { id: Some(RequestId::from(id)), content: content.to_owned(), caller: "me".to_owned() }
}

fn grant(holder: &str, epoch: u64) -> Granted {
    Granted { node: node(holder), epoch: Epoch(epoch), lease_ttl_ms: 10_000 }
}

fn begin_detach(from: &[&str], cleared: &[&str]) -> Step {
    Step::BeginDetach { from: places(from), found: BTreeMap::new(), cleared: nics(cleared) }
}

fn begin_attach(to: &str) -> Step {
    Step::BeginAttach { node: node(to), to: places(&[to]), found: BTreeMap::new() }
}

fn grant_to(to: &str) -> Step {
    Step::Grant { node: node(to), floor: Epoch(0) }
}

/// A founded cluster of a, b, c and the witness w, with its leader elected.
#[derive(Clone)]
struct Bench(Registry);

impl Bench {
    fn new() -> Self {
        let founder = |(name, role): (&str, Role)| Founder {
            node: node(name),
            role,
            address: format!("{name}:7440"),
        };
        let roles =
            [("a", Role::Member), ("b", Role::Member), ("c", Role::Learner), ("w", Role::Witness)];
        let mut bench = Self(Registry::default());
        assert_eq!(bench.apply(Body::Lead), Applied::Refused(Refused::NotFounded));
        let found = Body::Found {
            cluster: ClusterName::new("c").expect("a name"),
            timing: Timing::of(Profile::Standard),
            nodes: roles.map(founder).to_vec(),
        };
        assert_eq!(bench.apply(found.clone()), Applied::Done);
        assert_eq!(bench.apply(found), Applied::Refused(Refused::AlreadyFounded));
        assert_eq!(bench.apply(Body::Lead), Applied::Done);
        bench
    }

    /// With VIP "v" held by a at epoch 1.
    fn held() -> Self {
        let mut bench = Self::new();
        assert!(matches!(bench.create("v", 110, Some("a")), Applied::Move(_)));
        bench.walk(&[grant_to("a"), begin_detach(&[], &[]), begin_attach("a"), Step::Attached]);
        bench.walk(&[Step::Held { epoch: Epoch(1), cleared: nics(&["a"]) }]);
        assert!(bench.v().is_held());
        bench
    }

    fn apply(&mut self, body: Body) -> Applied {
        let term = self.0.term.max(Term(1));
        self.apply_in(term, body)
    }

    fn apply_in(&mut self, term: Term, body: Body) -> Applied {
        let at_ms = 1_000 + self.0.revision.0;
        self.0.apply(term, &Command { format: COMMAND_FORMAT, at_ms, by: node("a"), body })
    }

    fn create(&mut self, name: &str, last: u8, to: Option<&str>) -> Applied {
        self.create_by(name, last, to, Request::default())
    }

    fn create_by(&mut self, name: &str, last: u8, to: Option<&str>, request: Request) -> Applied {
        let (spec, to) = (VipSpec::host(ip(last)), to.map(node));
        self.apply(Body::CreateVip { vip: vip(name), spec, enabled: true, to, request })
    }

    fn start(&mut self, to: Option<&str>, request: Request) -> Applied {
        self.start_with(to, false, Expect::default(), request)
    }

    fn start_with(
        &mut self,
        to: Option<&str>,
        force: bool,
        expect: Expect,
        request: Request,
    ) -> Applied {
        let (to, cause) = (to.map(node), Cause::Request);
        self.apply(Body::StartMove { vip: vip("v"), to, cause, expect, force, request })
    }

    fn intend(&mut self, intent: Intent, request: Request) -> Applied {
        self.apply(Body::SetIntent { vip: vip("v"), intent, to: None, request })
    }

    fn v(&self) -> &VipRecord {
        self.0.vip(&vip("v")).expect("VIP v")
    }

    fn step(&mut self, step: Step) -> Applied {
        let phase = self.v().phase;
        self.apply(Body::Step { vip: vip("v"), phase, step })
    }

    fn walk(&mut self, steps: &[Step]) {
        for step in steps {
            assert_eq!(self.step(step.clone()), Applied::Done, "{step:?}");
        }
    }

    /// Ends the grant of a deleted or disabled "v" and detaches it from a.
    fn empty(&mut self) {
        let epoch = self.v().epoch();
        self.walk(&[
            Step::Release { epoch },
            Step::Over { epoch, confirmed: true },
            begin_detach(&["a"], &[]),
            Step::Detached,
        ]);
    }

    fn edit(&mut self, edit: impl FnOnce(&mut VipRecord)) {
        edit(Arc::make_mut(self.0.vips.get_mut(&vip("v")).expect("VIP v")));
    }
}

// ---- rules and bindings ---------------------------------------------------------------------

#[test]
fn rule_1_another_node_is_granted_only_when_the_old_grant_is_over() {
    let mut bench = Bench::held();
    bench.start(Some("b"), Request::default());
    let refused = Applied::Refused(Refused::Misfit("the old grant is not over".to_owned()));
    assert_eq!(bench.step(grant_to("b")), refused);
    bench.walk(&[Step::Release { epoch: Epoch(1) }]);
    assert_eq!(bench.step(grant_to("b")), refused);
    bench.walk(&[Step::Expire { epoch: Epoch(1) }]);
    assert_eq!(bench.step(grant_to("b")), refused);
    bench.walk(&[Step::Over { epoch: Epoch(1), confirmed: false }, grant_to("b")]);
    assert_eq!((bench.v().holder(), bench.v().epoch()), (Some(&node("b")), Epoch(2)));
}

#[test]
fn rule_2_held_needs_the_attach_the_grant_and_a_nic_that_is_not_exposed() {
    let mut bench = Bench::held();
    bench.start(Some("b"), Request::default());
    let held = |cleared: &[&str]| Step::Held { epoch: Epoch(2), cleared: nics(cleared) };
    bench.walk(&[begin_detach(&["a"], &[]), begin_attach("b"), Step::Attached]);
    bench
        .walk(&[Step::Expire { epoch: Epoch(1) }, Step::Over { epoch: Epoch(1), confirmed: true }]);
    assert!(matches!(bench.step(held(&["b"])), Applied::Refused(Refused::Misfit(_))));
    bench.walk(&[grant_to("b")]);
    let exposed = Applied::Refused(Refused::Misfit("b is exposed".to_owned()));
    assert_eq!(bench.step(held(&["a"])), exposed);
    bench.walk(&[held(&["b"])]);
    assert_eq!(bench.v().exposed, nics(&["a"]));
    assert!(bench.v().is_held());
}

#[test]
fn a_step_of_another_epoch_or_another_phase_is_stale() {
    let mut bench = Bench::held();
    bench.start(Some("b"), Request::default());
    let stale = Applied::Refused(Refused::Stale);
    assert_eq!(bench.step(Step::Release { epoch: Epoch(9) }), stale);
    assert_eq!(bench.step(Step::Expire { epoch: Epoch(9) }), stale);
    bench.walk(&[Step::Release { epoch: Epoch(1) }]);
    assert_eq!(bench.step(Step::Over { epoch: Epoch(9), confirmed: true }), stale);
    let old = bench.v().phase;
    assert_eq!(bench.apply(Body::Lead), Applied::Done);
    let step = Step::Over { epoch: Epoch(1), confirmed: true };
    let late = Body::Step { vip: vip("v"), phase: old, step };
    assert_eq!(bench.apply(late), stale);
    assert_eq!(bench.v().epoch(), Epoch(1));
}

#[test]
fn a_new_leader_changes_every_phase_in_one_entry() {
    let mut bench = Bench::held();
    bench.create("u", 111, None);
    assert_eq!(bench.apply_in(Term(7), Body::Lead), Applied::Done);
    let revision = bench.0.revision;
    for record in bench.0.vips.values() {
        assert_eq!((record.phase, record.azure_phase), (revision, revision));
    }
    assert_eq!((bench.0.term, bench.0.leader.as_ref()), (Term(7), Some(&node("a"))));
    let elections = |bench: &Bench| {
        bench.0.events.iter().filter(|event| event.kind == EventKind::LeaderElected).count()
    };
    assert_eq!(elections(&bench), 2);
    bench.apply_in(Term(7), Body::Lead);
    assert_eq!(elections(&bench), 2, "the same leader again is no news");
    assert!(bench.v().azure_phase > revision);
}

#[test]
fn a_move_back_to_the_holder_needs_no_wait_but_a_new_epoch() {
    let mut bench = Bench::held();
    bench.start(Some("b"), Request::default());
    bench.walk(&[Step::Expire { epoch: Epoch(1) }]);
    bench.start(Some("a"), Request::default());
    bench.walk(&[grant_to("a")]);
    assert_eq!(bench.v().grant, GrantTrack::Granted(grant("a", 2)));
}

// ---- exposure -------------------------------------------------------------------------------

#[test]
fn nics_are_exposed_before_they_are_written_and_cleared_by_three_steps_only() {
    let mut bench = Bench::held();
    assert_eq!(bench.v().exposed, BTreeSet::new());
    bench.start(Some("b"), Request::default());
    bench.walk(&[begin_detach(&["a", "x"], &[])]);
    assert_eq!(bench.v().exposed, nics(&["a", "x"]));
    bench.walk(&[begin_attach("b")]);
    assert_eq!(bench.v().exposed, nics(&["a", "b", "x"]));
    bench.start(Some("c"), Request::default());
    assert_eq!(bench.v().exposed, nics(&["a", "b", "x"]), "H6: superseding clears nothing");
    // What a detach clears it may also name: it is exposed by that very step.
    bench.walk(&[begin_detach(&["b"], &["a", "b"]), begin_attach("c"), Step::Attached]);
    assert_eq!(bench.v().exposed, nics(&["b", "c", "x"]));
    bench
        .walk(&[Step::Expire { epoch: Epoch(1) }, Step::Over { epoch: Epoch(1), confirmed: true }]);
    bench.apply(Body::Lead);
    assert_eq!(bench.v().exposed, nics(&["b", "c", "x"]));
    let cleared = nics(&["c", "x"]);
    bench.walk(&[grant_to("c"), Step::Held { epoch: Epoch(2), cleared }]);
    assert_eq!(bench.v().exposed, nics(&["b"]));
}

#[test]
fn a_deleted_vip_with_an_exposed_nic_cannot_end() {
    let mut bench = Bench::held();
    bench.intend(Intent::Deleted, Request::default());
    bench.empty();
    let refused = Applied::Refused(Refused::Misfit("a is exposed".to_owned()));
    assert_eq!(bench.step(Step::Ended { cleared: BTreeSet::new() }), refused);
    assert_eq!(bench.v().exposed, nics(&["a"]));
    bench.walk(&[Step::Ended { cleared: nics(&["a"]) }]);
    assert_eq!(bench.0.vip(&vip("v")), None);
    let last = bench.0.events.back().expect("an event");
    assert_eq!(last.kind, EventKind::VipDeleted);
}

#[test]
fn a_disabled_vip_ends_only_when_nothing_of_it_is_exposed() {
    let mut bench = Bench::held();
    bench.intend(Intent::Disabled, Request::default());
    bench.empty();
    let exposed = Applied::Refused(Refused::Misfit("a is exposed".to_owned()));
    assert_eq!(bench.step(Step::Ended { cleared: BTreeSet::new() }), exposed);
    bench.walk(&[Step::Ended { cleared: nics(&["a"]) }]);
    let record = bench.v();
    assert_eq!((record.open, record.shown_phase()), (None, Phase::Detached));
    let refused = Applied::Refused(Refused::VipDisabled(vip("v")));
    assert_eq!(bench.start(Some("a"), Request::default()), refused);
}

// ---- epochs and addresses -------------------------------------------------------------------

#[test]
fn an_epoch_is_above_everything_that_any_node_has_seen() {
    let mut bench = Bench::new();
    bench.create("v", 110, Some("a"));
    bench.walk(&[Step::Grant { node: node("a"), floor: Epoch(50) }]);
    assert_eq!(bench.v().epoch(), Epoch(51));
    bench.walk(&[Step::Grant { node: node("a"), floor: Epoch(3) }]);
    assert_eq!(bench.v().epoch(), Epoch(52));
}

#[test]
fn the_last_epoch_of_all_is_never_given_twice() {
    let mut bench = Bench::new();
    bench.create("v", 110, Some("a"));
    let last = Step::Grant { node: node("a"), floor: Epoch(u64::MAX) };
    assert!(matches!(bench.step(last), Applied::Refused(Refused::Misfit(_))));
    assert_eq!(bench.0.epoch, Epoch(0), "a report of that kind spends nothing");
    bench.walk(&[Step::Grant { node: node("a"), floor: Epoch(u64::MAX - 1) }]);
    assert!(matches!(bench.step(grant_to("a")), Applied::Refused(Refused::Misfit(_))));
}

#[test]
fn deleting_and_creating_a_vip_does_not_reset_its_epoch() {
    let mut bench = Bench::held();
    bench.intend(Intent::Deleted, Request::default());
    bench.empty();
    bench.walk(&[Step::Ended { cleared: nics(&["a"]) }]);
    bench.create("v", 110, Some("b"));
    bench.walk(&[grant_to("b")]);
    assert_eq!(bench.v().epoch(), Epoch(2));
}

#[test]
fn an_address_is_in_one_record_at_most_those_being_deleted_included() {
    let mut bench = Bench::held();
    let taken = Applied::Refused(Refused::AddressTaken { address: ip(110), vip: vip("v") });
    assert_eq!(bench.create("u", 110, None), taken);
    bench.intend(Intent::Deleted, Request::default());
    assert_eq!(bench.create("u", 110, None), taken);
    assert_eq!(bench.create("v", 111, None), Applied::Refused(Refused::VipDeleting(vip("v"))));
    bench.empty();
    assert_eq!(bench.create("u", 110, None), taken);
    bench.walk(&[Step::Ended { cleared: nics(&["a"]) }]);
    assert!(matches!(bench.create("u", 110, None), Applied::Move(_)));
}

#[test]
fn an_update_changes_policies_but_never_addresses() {
    let mut bench = Bench::held();
    let update = |spec| Body::UpdateVip { vip: vip("v"), spec, request: Request::default() };
    let other = bench.apply(update(VipSpec::host(ip(111))));
    let Applied::Refused(Refused::InvalidSpec(InvalidSpec { field, .. })) = other else {
        panic!("{other:?}");
    };
    assert_eq!(field, "spec.addresses");
    let phase = bench.v().phase;
    let spec = VipSpec { release_timeout_ms: 5_000, ..VipSpec::host(ip(110)) };
    assert_eq!(bench.apply(update(spec.clone())), Applied::Done);
    assert_eq!((&bench.v().spec, bench.v().phase), (&spec, phase));
}

// ---- timers ---------------------------------------------------------------------------------

#[test]
fn a_longer_lease_counts_at_once_and_a_shorter_one_per_grant() {
    let mut bench = Bench::held();
    let lease = |bench: &Bench| bench.v().grant.grant().map(|grant| grant.lease_ttl_ms);
    let set = |profile| Body::SetTiming { timing: Timing::of(profile) };
    let lower = |epoch, timing| Body::LowerLease { vip: vip("v"), epoch: Epoch(epoch), timing };
    let stale = Applied::Refused(Refused::Stale);
    let phase = bench.v().phase;
    bench.apply(set(Profile::Fast));
    let outdated = bench.0.timing_since;
    bench.apply(set(Profile::Tolerant));
    assert_eq!(lease(&bench), Some(30_000));
    bench.apply(set(Profile::Fast));
    assert_eq!(lease(&bench), Some(30_000), "V4: grants under the old lease may be alive");
    let present = bench.0.timing_since;
    assert_eq!(bench.apply(lower(1, outdated)), stale, "decided under earlier timers");
    assert_eq!(bench.apply(lower(9, present)), stale);
    assert_eq!(lease(&bench), Some(30_000));
    // A new epoch for the same node keeps the longer lease.
    bench.start(Some("b"), Request::default());
    bench.start(Some("a"), Request::default());
    assert_eq!(bench.v().phase, bench.0.revision);
    bench.walk(&[grant_to("a")]);
    assert_eq!(lease(&bench), Some(30_000));
    let before = bench.v().phase;
    assert_eq!(bench.apply(lower(2, present)), Applied::Done);
    assert_eq!((lease(&bench), bench.v().phase), (Some(4_000), before));
    assert!(before > phase);
    let bad = Timing { lease_ttl_ms: 1, ..Timing::of(Profile::Fast) };
    let refused = bench.apply(Body::SetTiming { timing: bad });
    assert!(matches!(refused, Applied::Refused(Refused::InvalidTiming(_))));
    assert_eq!(bench.0.timing, Timing::of(Profile::Fast));
}

// ---- encoding and bounds --------------------------------------------------------------------

#[test]
fn a_command_of_a_later_version_is_kept_and_refused() {
    let later = json!({"Teleport": {"vip": "v", "speed": 3}});
    let step = json!({"Step": {"vip": "v", "phase": 3, "step": {"Warp": {}}}});
    for body in [later, step] {
        let text = json!({"format": 1, "at_ms": 5, "by": "a", "body": body}).to_string();
        let command: Command = serde_json::from_str(&text).expect("a command");
        assert_eq!(command.body, Body::Unknown(body));
        let mut bench = Bench::held();
        let before = bench.v().clone();
        let refused = Applied::Refused(Refused::UnknownCommand);
        assert_eq!(bench.0.apply(Term(1), &command), refused);
        assert_eq!(*bench.v(), before);
        // A node of the later version must find it as it was written.
        let again = serde_json::to_value(&command).expect("a value");
        assert_eq!(again, serde_json::from_str::<Value>(&text).expect("a value"));
        assert_eq!(serde_json::from_value::<Command>(again).ok(), Some(command));
    }
    let mut bench = Bench::held();
    let command = Command { format: COMMAND_FORMAT + 1, at_ms: 0, by: node("a"), body: Body::Lead };
    assert_eq!(bench.0.apply(Term(9), &command), Applied::Refused(Refused::UnknownCommand));
    assert_eq!(bench.0.term, Term(1));
}

#[test]
fn a_registry_reads_what_it_writes() {
    let mut bench = Bench::held();
    let nics = vec![NicRecord { name: "eth0".to_owned(), id: nic("a") }];
    bench.apply(Body::ReportNics { node: node("a"), nics });
    bench.start(Some("b"), by("r", "to b"));
    let found = BTreeMap::from([(ip(110), json!({"publicIPAddress": {"id": "/pip"}}))]);
    bench.walk(&[Step::BeginDetach { from: places(&["a"]), found, cleared: BTreeSet::new() }]);
    let operation = AzureOperation {
        nic: nic("a"),
        kind: OperationKind::Detach,
        url: "u".to_owned(),
        status: "InProgress".to_owned(),
        started_ms: 1,
        ended_ms: None,
    };
    let note = Note::Operation(operation);
    bench.apply(Body::Note { vip: vip("v"), id: MoveId(2), note });
    let text = serde_json::to_string(&bench.0).expect("text");
    assert_eq!(serde_json::from_str::<Registry>(&text).ok(), Some(bench.0));
}

#[test]
fn a_note_shows_something_and_voids_no_decision() {
    let mut bench = Bench::held();
    bench.start(Some("b"), Request::default());
    let (phase, azure_phase) = (bench.v().phase, bench.v().azure_phase);
    let note = Note::Blocked { reason: "full".to_owned(), next_attempt_ms: Some(7) };
    let body = Body::Note { vip: vip("v"), id: MoveId(2), note };
    assert_eq!(bench.apply(body), Applied::Done);
    assert_eq!((bench.v().phase, bench.v().azure_phase), (phase, azure_phase));
    assert_eq!(bench.v().revision, bench.0.revision);
    let reason =
        |bench: &Bench| bench.0.open_move(&vip("v")).map(|known| known.blocked_reason.clone());
    assert_eq!(reason(&bench).as_deref(), Some("full"));
    bench.walk(&[begin_detach(&["a"], &[])]);
    assert_eq!(reason(&bench).as_deref(), Some(""), "another phase is hindered by nothing yet");
}

#[test]
fn the_past_is_bounded() {
    let mut bench = Bench::held();
    for n in 0..600 {
        let to = if n % 2 == 0 { "b" } else { "c" };
        bench.start(Some(to), by(&format!("r{n}"), to));
        for _ in 0..2 {
            bench.walk(&[begin_detach(&["a"], &[]), begin_attach(to)]);
        }
    }
    let log = &bench.0.logs[&vip("v")];
    assert_eq!(log.moves.len(), history::MAX_PER_VIP);
    assert_eq!(log.requests.len(), history::MAX_PER_VIP);
    assert_eq!(bench.0.events.len(), history::MAX_EVENTS);
    assert!(bench.0.open_move(&vip("v")).is_some());
    for _ in 0..200 {
        bench.walk(&[begin_detach(&["a"], &[]), begin_attach("c")]);
    }
    let open = bench.0.open_move(&vip("v")).expect("open");
    assert_eq!(open.phases.len(), Move::MAX_SPANS);
}

#[test]
fn only_the_last_vips_that_went_are_remembered() {
    let delete = |vip| {
        let (intent, request) = (Intent::Deleted, by("d", "delete"));
        Body::SetIntent { vip, intent, to: None, request }
    };
    let mut bench = Bench::new();
    for n in 0..(history::MAX_REMOVED + 10) {
        let name = vip(&format!("v{n}"));
        let spec = VipSpec::host(ip(110));
        let request = by("r", "create");
        let (vip, to) = (name.clone(), None);
        bench.apply(Body::CreateVip { vip, spec, enabled: false, to, request });
        bench.apply(delete(name.clone()));
        let phase = bench.0.vip(&name).expect("a VIP").phase;
        let step = Step::Ended { cleared: BTreeSet::new() };
        assert_eq!(bench.apply(Body::Step { vip: name, phase, step }), Applied::Done);
    }
    assert_eq!(bench.0.removed.len(), history::MAX_REMOVED);
    assert_eq!(bench.0.logs.len(), history::MAX_REMOVED);
    // A repeated request is answered as before while the log is there.
    let last = bench.0.last_move;
    let name = vip(&format!("v{}", history::MAX_REMOVED + 9));
    assert_eq!(bench.apply(delete(name)), Applied::Move(last));
    let forgotten = vip("v0");
    let refused = Applied::Refused(Refused::VipNotFound(forgotten.clone()));
    assert_eq!(bench.apply(delete(forgotten)), refused);
    let (oldest, _) = bench.0.removed.front().expect("one");
    assert!(bench.0.watch_floor < *oldest && bench.0.watch_floor > Revision(0));
}
