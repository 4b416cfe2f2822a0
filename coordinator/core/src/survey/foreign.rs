//! A survey among answers that make no sense: it ends, with a verdict.

use std::sync::Arc;

use foreign_bytes::{azure, body, cases, word};
use proptest::prelude::*;
use vipfence_types::{NicRecord, NodeId, Role, VipAddress};

use super::*;
use crate::{
    nic::{HttpAnswer, HttpFault},
    registry::NodeRecord,
};

fn state() -> Registry {
    let node = |name: &str| {
        let nic = NicRecord { name: "nic0".into(), id: NicId::new(&azure::nic_id(name)) };
        let record = NodeRecord {
            format: 1,
            role: Role::Member,
            address: String::new(),
            nics: vec![nic],
            hold: None,
        };
        (NodeId::new(name).expect("a name"), Arc::new(record))
    };
    Registry { nodes: BTreeMap::from([node("n1"), node("n2")]), ..Registry::default() }
}

fn spec() -> VipSpec {
    let host = |text: &str| VipAddress::host(text.parse().expect("an address"));
    let addresses = vec![host("10.5.0.110"), host("fd00::110")];
    VipSpec { addresses, ..VipSpec::host(IpAddr::from([10, 5, 0, 110])) }
}

fn answers() -> impl Strategy<Value = HttpResult> {
    let seeds = [azure::nics(), azure::networks()].concat();
    let status = prop_oneof![6 => Just(200_u16), 1 => any::<u16>()];
    let answer = (status, prop_oneof![3 => body(seeds), 1 => body(azure::errors())])
        .prop_map(|(status, body)| Ok(HttpAnswer { status, headers: BTreeMap::new(), body }));
    prop_oneof![9 => answer, 1 => Just(Err(HttpFault::Unknown("x".into())))]
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn any_answers_bring_a_survey_to_an_end(
        answers in prop::collection::vec(answers(), 24),
    ) {
        let (mut next, state) = (0, state());
        let (mut survey, mut open) =
            Survey::begin(&state, &spec(), "v", &mut next).expect("nodes with NICs");
        let mut answers = answers.into_iter().cycle();
        for asked in 0..100 {
            let Some(request) = open.pop() else { break };
            prop_assert!(asked < 50, "it asks without end");
            let (more, verdict) =
                survey.answered(request.id, answers.next().expect("a cycle"), &mut next);
            open.extend(more);
            if let Some(verdict) = verdict {
                prop_assert!(open.is_empty());
                let told = verdict.err().map_or(0, |error| error.to_string().len());
                prop_assert!(told < 8_000, "told in {told} bytes");
                return Ok(());
            }
        }
        prop_assert!(false, "it asks nothing, and has no verdict");
    }

    #[test]
    fn any_prefix_is_read_or_refused(text in word(), last in any::<u8>()) {
        for address in [IpAddr::from([10, 5, 0, last]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, u16::from(last)])] {
            if let Some(prefix) = Prefix::parse(&text) {
                prop_assert!(prefix.contains(address) || !prefix.reserves(address));
            }
        }
        let _ = virtual_network_of(&text);
    }
}
