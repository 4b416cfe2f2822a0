//! Requests as no client would send them: converted or refused, and the refusal fits into the
//! headers that carry it.

use foreign_bytes::{bytes, cases, noise, word};
use proptest::prelude::*;
use prost::Message;
use tonic::Status;
use vipfence_proto::v1;

use super::{
    convert,
    read::View,
    vip::{list_moves, list_vips, move_id},
};
use vipfence_coordinator_core::Registry;
use vipfence_types::Connection;

/// What HTTP/2 implementations take at least: with more the client sees a broken connection.
const MAX_REFUSAL: usize = 8 << 10;

fn spec() -> v1::VipSpec {
    let address =
        |text: &str| v1::VipAddress { address: text.into(), prefix_len: 32, nic: "nic0".into() };
    v1::VipSpec {
        addresses: vec![address("10.5.0.110"), address("fd00::110")],
        candidates: vec![v1::Candidate { node: "n1".into(), priority: 10 }],
        release_timeout: Some(prost_types::Duration { seconds: 10, nanos: 5_000_000 }),
        mode: v1::VipMode::LoadBalancer.into(),
        probe: Some(probe()),
        failback: v1::FailbackPolicy::After.into(),
        failback_after: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
        flap_budget: Some(v1::FlapBudget {
            moves: 3,
            window: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
        }),
        confirmation: Some(v1::Confirmation {
            timeout: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            unanswered: v1::UnansweredPolicy::Stay.into(),
        }),
        ..v1::VipSpec::default()
    }
}

fn probe() -> v1::Probe {
    let protocol = v1::ProbeProtocol::Http.into();
    v1::Probe { port: 63_001, protocol, reply: "up".into() }
}

fn create() -> v1::CreateVipRequest {
    v1::CreateVipRequest {
        name: "demo".into(),
        spec: Some(spec()),
        target_node: "n1".into(),
        request_id: "r1".into(),
        ..v1::CreateVipRequest::default()
    }
}

fn cut() -> Vec<v1::Connection> {
    let connection =
        |client: &str, vip: &str| v1::Connection { client: client.into(), vip: vip.into() };
    vec![
        connection("10.5.0.9:51234", "10.5.0.110:5432"),
        connection("[fd00::9]:51234", "[fd00::110]:5432"),
    ]
}

fn beat() -> v1::BeatRequest {
    let at = || v1::VipAtEpoch { vip: "demo".into(), epoch: 7 };
    v1::BeatRequest {
        cluster: "c".into(),
        node: "n1".into(),
        boot: "b1".into(),
        replaces: vec!["b0".into()],
        seq: 3,
        held: vec![v1::VipReport {
            vip: "demo".into(),
            epoch: 7,
            added: true,
            problem: "x".into(),
            unfit: "x".into(),
        }],
        failing: vec![v1::VipFailing { vip: "demo".into(), reason: "x".into() }],
        reached: vec![at()],
        released: vec![at()],
        cut: vec![v1::VipCut { vip: "demo".into(), epoch: 7, connections: cut() }],
        refused: vec![at()],
        highest_epoch: 9,
        nics: vec![v1::NodeNic { name: "nic0".into(), id: "/subscriptions/s".into() }],
        arm_ok: Some(true),
        version: "1".into(),
        ..v1::BeatRequest::default()
    }
}

fn beaten() -> v1::BeatResponse {
    let grant = v1::Grant {
        vip: "demo".into(),
        epoch: 7,
        lease_ttl_ms: 4_000,
        addresses: spec().addresses,
        hold_without_quorum: false,
        probe: Some(probe()),
        cut: cut(),
    };
    let releasing = vec![v1::VipAtEpoch { vip: "demo".into(), epoch: 7 }];
    let nowhere = vec![v1::VipNowhere { vip: "demo".into(), reason: "x".into() }];
    let reach =
        vec![v1::VipReach { vip: "demo".into(), epoch: 7, target: "10.5.0.110:7600".into() }];
    v1::BeatResponse { seq: 3, term: 2, grants: vec![grant], releasing, nowhere, reach }
}

/// The message itself with damaged bytes, as far as protobuf takes them.
fn messages<T: Message + Default + Clone + std::fmt::Debug + 'static>(seed: T) -> BoxedStrategy<T> {
    let damaged = bytes(vec![seed.encode_to_vec()]);
    prop_oneof![8 => damaged, 1 => noise()]
        .prop_map(move |raw| T::decode(raw.0.as_slice()).unwrap_or_else(|_| seed.clone()))
        .boxed()
}

/// One with odd texts and numbers in its fields.
fn specs() -> BoxedStrategy<v1::VipSpec> {
    let address = (word(), any::<u32>(), word())
        .prop_map(|(address, prefix_len, nic)| v1::VipAddress { address, prefix_len, nic });
    let host = word().prop_map(|nic| v1::VipAddress { nic, ..spec().addresses[0].clone() });
    let addresses = prop::collection::vec(prop_oneof![address, host], 0..4);
    let candidate =
        (word(), any::<u32>()).prop_map(|(node, priority)| v1::Candidate { node, priority });
    let span = || {
        let any = (any::<i64>(), any::<i32>())
            .prop_map(|(seconds, nanos)| prost_types::Duration { seconds, nanos });
        prop::option::of(any)
    };
    let parts = (
        addresses,
        prop::collection::vec(candidate, 0..3),
        span(),
        any::<(i32, i32, i32)>(),
        (span(), any::<i32>(), any::<u32>(), span(), any::<bool>()),
        prop::option::of((any::<u32>(), any::<i32>(), "[ -~]{0,300}")),
    );
    let odd = parts.prop_map(|(addresses, candidates, release_timeout, enums, policies, probe)| {
        let (mode, release, loss) = enums;
        let (failback_after, failback, moves, window, confirms) = policies;
        let confirmation = v1::Confirmation { timeout: window, unanswered: loss % 4 };
        let probe = probe.map(|(port, protocol, reply)| {
            let (port, protocol) = (port % 70_000, protocol % 4);
            v1::Probe { port, protocol, reply }
        });
        v1::VipSpec {
            addresses,
            candidates,
            release_timeout,
            mode: mode % 4,
            release: release % 4,
            on_quorum_loss: loss % 4,
            drift: loss % 5,
            failback: failback % 5,
            failback_after,
            flap_budget: (moves % 2 == 0).then_some(v1::FlapBudget { moves, window }),
            confirmation: confirms.then_some(confirmation),
            probe,
            data_path: failback % 6,
            data_path_port: moves % 70_000,
        }
    });
    prop_oneof![1 => odd, 1 => messages(spec())].boxed()
}

fn check_refusal(status: &Status) {
    let headers = status.message().len() + status.details().len();
    assert!(headers <= MAX_REFUSAL, "a refusal of {headers} bytes: {:.200}", status.message());
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn any_definition_of_a_vip_is_taken_or_refused_briefly(message in specs()) {
        match convert::spec(Some(&message)) {
            Err(status) => check_refusal(&status),
            Ok(spec) => {
                let again = convert::spec(Some(&convert::spec_message(&spec)));
                prop_assert_eq!(again.ok(), Some(spec.clone()), "what is shown can be sent back");
                if let Err(error) = spec.check() {
                    prop_assert!(error.to_string().len() <= 1_000);
                } else {
                    // It is stored, and shown, by every node.
                    let stored = serde_json::to_string(&spec).expect("plain").len();
                    prop_assert!(stored <= 16 << 10, "{stored} bytes");
                }
            }
        }
    }

    #[test]
    fn any_request_is_converted_or_refused_briefly(
        create in messages(create()), id in word(), token in word(), size in any::<u32>(),
    ) {
        let refusals = [
            convert::vip_name("name", &id).err(),
            convert::node_name("node", &id).err(),
            convert::request_id(&id).err(),
            move_id(&id).err(),
            convert::spec(create.spec.as_ref()).err(),
        ];
        refusals.iter().flatten().for_each(check_refusal);
        let asked = convert::request("CreateVip", &"r".into(), &create, "me");
        prop_assert_eq!(asked.content.len(), "CreateVip:".len() + 2 * create.encoded_len());
        let state = Registry::default();
        let list = v1::ListVipsRequest { page_size: size, page_token: token.clone(), ..Default::default() };
        let _ = list_vips(&state, &View::default(), &list);
        let list = v1::ListMovesRequest { page_size: size, page_token: token, vip: id, ..Default::default() };
        if let Err(status) = list_moves(&state, &list) {
            check_refusal(&status);
        }
    }

    #[test]
    fn any_heartbeat_is_converted_or_refused(beat in messages(beat())) {
        match convert::heartbeat(beat) {
            Err(status) => check_refusal(&status),
            Ok(heartbeat) => {
                let again = convert::heartbeat(convert::heartbeat_message(&heartbeat));
                prop_assert_eq!(again.ok(), Some(heartbeat));
            }
        }
    }

    #[test]
    fn any_answer_to_a_heartbeat_is_converted_or_refused(response in messages(beaten())) {
        if let Ok(answer) = convert::answer(response) {
            let again = convert::answer(convert::answer_message(answer.clone()));
            prop_assert_eq!(again, Ok(answer));
        }
    }
}

#[test]
fn more_connections_than_are_carried_and_those_that_cannot_be_read_are_left_out() {
    let mut odd = v1::Connection { client: "nobody".into(), ..cut()[0].clone() };
    odd.vip.clear();
    let of = |vip: &str, epoch| {
        let connections = [vec![odd.clone()], vec![cut(); Connection::PER_VIP].concat()].concat();
        v1::VipCut { vip: vip.into(), epoch, connections }
    };
    let all = [of("Not A Name", 1)].into_iter().chain((0..6).map(|epoch| of("demo", epoch)));
    let heartbeat = convert::heartbeat(v1::BeatRequest { cut: all.collect(), ..beat() });
    let carried = heartbeat.expect("it is taken all the same").cut;
    let carried: Vec<usize> = carried.iter().map(|cut| cut.connections.len()).collect();
    assert_eq!(carried, [1_024, 1_024, 1_024, 1_024, 0, 0]);

    let grants = (0..6).map(|_| v1::Grant {
        cut: vec![cut(); Connection::PER_VIP].concat(),
        ..beaten().grants[0].clone()
    });
    let answer = convert::answer(v1::BeatResponse { grants: grants.collect(), ..beaten() });
    let told = answer.expect("a grant is taken all the same").grants;
    let told: Vec<usize> = told.iter().map(|grant| grant.cut.len()).collect();
    assert_eq!(told, [1_024, 1_024, 1_024, 1_024, 0, 0]);
}
