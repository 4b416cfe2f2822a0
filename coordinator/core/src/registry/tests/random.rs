//! Random commands against the invariants.

use core::cell::Cell;

use proptest::{prelude::*, test_runner::TestRunner};

use super::*;

/// A command in the making: what it names is looked up in the state that it meets, so that most
/// steps fit, and their node is mostly the one that the move is about.
#[derive(Clone, Copy, Debug)]
struct Rough {
    kind: u8,
    vip: u8,
    node: u8,
    other: u8,
    /// Names a phase or an epoch that is not the present one.
    wrong: bool,
}

fn rough() -> impl Strategy<Value = Rough> {
    (0u8..46, 0u8..3, 0u8..4, 0u8..4, prop::bool::weighted(0.05))
        .prop_map(|(kind, vip, node, other, wrong)| Rough { kind, vip, node, other, wrong })
}

fn body_of(rough: Rough, state: &Registry) -> Body {
    let names = ["a", "b", "c", "w"];
    let name = vip(&format!("v{}", rough.vip));
    let record = state.vip(&name);
    let to = match record.and_then(|record| record.target.clone()) {
        Some(target) if rough.other > 0 => target,
        _ => node(names[usize::from(rough.node)]),
    };
    let address = ip(110 + rough.vip % 2 + u8::from(rough.wrong));
    let here = |node: &str| Place { nic: nic(node), address };
    let off = u64::from(rough.wrong);
    let epoch = Epoch(record.map_or(0, |record| record.epoch().0) + off);
    let cleared = || match rough.other {
        0 => BTreeSet::new(),
        _ => nics(&names),
    };
    let request = match rough.other {
        0 => by(&format!("r{}", rough.node), if rough.wrong { "x" } else { "y" }),
        _ => Request::default(),
    };
    let by = "me".to_owned();
    let scope = || match rough.other {
        0 => Scope::Cluster,
        1 => Scope::Node(node(names[usize::from(rough.node)])),
        _ => Scope::Vip(vip(&format!("v{}", rough.vip))),
    };
    let step = match rough.kind {
        0..=1 => {
            let (spec, enabled) = (VipSpec::host(address), rough.other != 1);
            return Body::CreateVip { vip: name, spec, enabled, to: None, request };
        }
        2 => {
            let intent = match rough.other {
                0 => Intent::Deleted,
                1 => Intent::Disabled,
                _ => Intent::Held,
            };
            return Body::SetIntent { vip: name, intent, to: Some(to), request };
        }
        3 => return Body::Lead,
        4 => {
            let all = [Profile::Fast, Profile::Standard, Profile::Tolerant, Profile::Fast];
            return Body::SetTiming { timing: Timing::of(all[usize::from(rough.node)]) };
        }
        5 => {
            let timing = Revision(state.timing_since.0 + off);
            return Body::LowerLease { vip: name, epoch, timing };
        }
        6 => {
            let to = Some(node(names[usize::from(rough.node)]));
            let cause = match rough.other {
                0 => Cause::HolderUnhealthy,
                1 => Cause::Failback,
                _ => Cause::Request,
            };
            let (expect, force) = (Expect::default(), rough.wrong);
            return Body::StartMove { vip: name, to, cause, expect, force, request };
        }
        7..=8 => Step::Target { node: to },
        9..=10 => Step::BeginDetach {
            from: [here(names[usize::from(rough.other)])].into(),
            found: BTreeMap::new(),
            cleared: cleared(),
        },
        11..=12 | 24..=25 => {
            let places = [here(to.as_str())].into();
            Step::BeginAttach { node: to, to: places, found: BTreeMap::new() }
        }
        13 => Step::Attached,
        14 => Step::Detached,
        15 => Step::Release { epoch },
        16 => Step::Expire { epoch },
        17..=18 | 26..=27 => Step::Over { epoch, confirmed: rough.other > 1 },
        19..=20 => Step::Grant { node: to, floor: Epoch(u64::from(rough.node)) },
        21..=22 | 28..=36 => Step::Held { epoch, cleared: cleared() },
        40..=41 => {
            return Body::Pause { scope: scope(), until_ms: None, reason: String::new(), by };
        }
        42 => {
            let over = (rough.other == 0).then_some(1_000);
            return Body::Resume { scope: scope(), over, by };
        }
        43..=44 => {
            let phase = Revision(record.map_or(0, |record| record.phase.0).saturating_sub(off));
            let (pending, withheld) = restrained(rough.other);
            return Body::Restrain { vip: name, phase, pending, withheld };
        }
        45 => return Body::Confirm { vip: name, go: rough.other > 1, by },
        _ => Step::Ended { cleared: cleared() },
    };
    let phase = Revision(record.map_or(0, |record| record.phase.0).saturating_sub(off));
    Body::Step { vip: name, phase, step }
}

fn restrained(what: u8) -> (Option<Pending>, Option<Withheld>) {
    let pending = Pending {
        cause: if what > 1 { Cause::HolderSilent } else { Cause::HolderUnhealthy },
        what: "it is silent".to_owned(),
        since_ms: 1,
        until_ms: 2,
        answer: None,
    };
    let (why, what_text) = (WithheldWhy::FlapBudgetSpent, "too often".to_owned());
    let withheld = Withheld { why, what: what_text, since_ms: 1, told_ms: 1 };
    (Some(pending).filter(|_| what > 0), Some(withheld).filter(|_| what.is_multiple_of(2)))
}

/// What may not differ when a command was refused.
fn without_revision(state: &Registry) -> Registry {
    Registry { revision: Revision(0), ..state.clone() }
}

fn check_step(
    before: &Registry,
    after: &Registry,
    body: &Body,
    epochs: &mut BTreeMap<Epoch, (NodeId, VipName)>,
) {
    let mut addresses = BTreeSet::new();
    for (name, record) in &after.vips {
        for entry in &record.spec.addresses {
            assert!(addresses.insert(entry.address), "I5: {} twice", entry.address);
        }
        let old = before.vip(name);
        let old_grant = old.and_then(|record| record.grant.grant());
        if let Some(grant) = record.grant.grant() {
            let owner = (grant.node.clone(), name.clone());
            if old_grant.map(|old| old.epoch) != Some(grant.epoch) {
                let highest = epochs.last_key_value().map_or(Epoch(0), |(epoch, _)| *epoch);
                assert!(grant.epoch > highest, "I5: epochs strictly rise");
                epochs.insert(grant.epoch, owner.clone());
            }
            assert_eq!(epochs.get(&grant.epoch), Some(&owner), "I5: one node and VIP");
            assert!(grant.epoch <= after.epoch);
            let same = old_grant.is_none_or(|old| old.node == grant.node);
            assert!(same, "rule 1: from {old_grant:?} to {grant:?}");
        }
        if let Some(old) = old.filter(|old| old.open.is_some() && record.open.is_none()) {
            let held = record.is_held()
                && record.azure.attached_to() == record.holder()
                && record.target.as_ref() == record.holder();
            let ended = record.grant == GrantTrack::Over && record.azure == AzureTrack::Detached;
            assert!(held || ended, "rule 2: {old:?} to {record:?}");
        }
        if let Some(old) = old {
            let clears = matches!(body, Body::Step { step, .. } if matches!(
                step, Step::Held { .. } | Step::BeginDetach { .. } | Step::Ended { .. }
            ));
            assert!(clears || record.exposed.is_superset(&old.exposed), "I2: {body:?}");
        }
        let writing = match &record.azure {
            AzureTrack::Detaching { from } => from.clone(),
            AzureTrack::Attaching { to, .. } => to.clone(),
            AzureTrack::Detached | AzureTrack::Attached { .. } => BTreeSet::new(),
        };
        for place in writing {
            assert!(record.exposed.contains(&place.nic), "I2: a write to {place:?}");
        }
    }
    // Hands off, questions and answers entitle nobody and move nothing.
    let restrains = matches!(
        body,
        Body::Pause { .. } | Body::Resume { .. } | Body::Restrain { .. } | Body::Confirm { .. }
    );
    for (name, record) in before.vips.iter().filter(|_| restrains) {
        let now = after.vip(name);
        let tracks = |record: &VipRecord| {
            (record.grant.clone(), record.azure.clone(), record.azure_phase, record.open)
        };
        assert_eq!(now.map(tracks), Some(tracks(record)), "I1: {body:?}");
    }
    for record in after.vips.values() {
        let most = usize::try_from(vipfence_types::FlapBudget::MAX_MOVES).expect("few");
        assert!(record.restraint.flaps_ms.len() <= most, "{:?}", record.restraint);
    }
    for (name, record) in &before.vips {
        let gone = !after.vips.contains_key(name);
        let empty = record.grant == GrantTrack::Over && record.azure == AzureTrack::Detached;
        assert!(!gone || empty, "H9: {name} went with a grant or an address");
    }
}

#[test]
fn no_sequence_of_commands_breaks_an_invariant() {
    let config = ProptestConfig { cases: 300, ..ProptestConfig::default() };
    let (held, ended, gone, over) =
        (Cell::new(0_u32), Cell::new(0_u32), Cell::new(0_u32), Cell::new(0_u32));
    let (paused, waits) = (Cell::new(0_u32), Cell::new(0_u32));
    let count = |of: &Cell<u32>| of.set(of.get() + 1);
    let walk = |roughs: Vec<Rough>| {
        let mut bench = Bench::new();
        let mut epochs = BTreeMap::new();
        for rough in roughs {
            let before = bench.0.clone();
            let body = body_of(rough, &before);
            let applied = bench.apply(body.clone());
            if matches!(applied, Applied::Refused(_)) {
                prop_assert_eq!(without_revision(&before), without_revision(&bench.0));
            }
            check_step(&before, &bench.0, &body, &mut epochs);
            match (&body, &applied) {
                (Body::Step { step: Step::Held { .. }, .. }, Applied::Done) => count(&held),
                (Body::Step { step: Step::Over { .. }, .. }, Applied::Done) => count(&over),
                (Body::Step { step: Step::Ended { .. }, .. }, Applied::Done) => count(&ended),
                (Body::Pause { .. }, Applied::Done) => count(&paused),
                (Body::Confirm { .. }, Applied::Done) => count(&waits),
                _ => {}
            }
            gone.set(gone.get() + u32::from(bench.0.vips.len() < before.vips.len()));
        }
        let text = serde_json::to_string(&bench.0).expect("text");
        prop_assert_eq!(serde_json::from_str::<Registry>(&text).ok(), Some(bench.0));
        Ok(())
    };
    let roughs = prop::collection::vec(rough(), 100..300);
    TestRunner::new(config).run(&roughs, walk).unwrap_or_else(|error| panic!("{error}"));
    // A walk that never gets anywhere proves nothing.
    let reached = [("held", held), ("ended", ended), ("gone", gone), ("over", over)];
    for (what, often) in reached.into_iter().chain([("paused", paused), ("confirmed", waits)]) {
        assert!(often.get() >= 10, "{what} only {} times", often.get());
    }
}
