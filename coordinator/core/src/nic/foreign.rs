//! Answers of Azure as nobody would send them: every one is read or refused, and no edit touches
//! what is not ours (I3).

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use foreign_bytes::{azure, body, cases, depth, mutated, word};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{AzureError, Edit, HttpAnswer, NicDocument, Problem};

/// More than stands around it in an entry of the log, a snapshot or a message of consensus.
const LEVELS_AROUND: usize = 30;

const CONFIGS: &str = "/properties/ipConfigurations";

fn addresses() -> impl Strategy<Value = IpAddr> {
    prop::sample::select(&["10.5.0.4", "10.5.0.110", "10.5.0.77", "10.5.0.99", "fd00::110"][..])
        .prop_map(|text| text.parse().expect("an address"))
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let name = prop_oneof![Just("vipfence-v".to_owned()), word()];
    let attach = (addresses(), name, body(azure::nics()))
        // It comes out of a document that was accepted.
        .prop_filter("too deep", |(_, _, found)| depth(found) < NicDocument::MAX_DEPTH - 5)
        .prop_map(|(address, name, found)| Edit::Attach { address, name, found });
    let detach = addresses().prop_map(|address| Edit::Detach { address });
    prop::collection::vec(prop_oneof![attach, detach], 0..4)
}

fn configs(document: &Value) -> Vec<Value> {
    document.pointer(CONFIGS).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// The document but for its list of ipConfigurations.
fn without_configs(document: &Value) -> Value {
    let mut rest = document.clone();
    if let Some(list) = rest.pointer_mut(CONFIGS) {
        *list = Value::Null;
    }
    rest
}

fn is_primary(config: &Value) -> bool {
    config.pointer("/properties/primary") == Some(&json!(true))
}

/// Whether an address is one that these edits may take off.
fn is_detached(config: &Value, edits: &[Edit]) -> bool {
    let text = config.pointer("/properties/privateIPAddress").and_then(Value::as_str);
    let address = text.and_then(|text| text.split('/').next()?.parse::<IpAddr>().ok());
    edits.iter().any(|edit| match edit {
        Edit::Detach { address: asked } => address == Some(*asked),
        Edit::Attach { .. } => false,
    })
}

/// I3, said of the document before and after.
fn check_edit(before: &Value, after: &Value, edits: &[Edit]) {
    assert_eq!(without_configs(before), without_configs(after), "only the list is edited");
    let (old, new) = (configs(before), configs(after));
    assert!(!new.is_empty() || old.is_empty(), "a NIC is left without an ipConfiguration");
    for config in &old {
        let kept = new.contains(config);
        assert!(kept || !is_primary(config), "a primary is gone: {config}");
        assert!(kept || is_detached(config, edits), "not ours, and gone: {config}");
    }
    for config in new.iter().filter(|config| !old.contains(config)) {
        assert!(!is_primary(config), "a primary was made: {config}");
        let asked: BTreeSet<String> = edits
            .iter()
            .filter_map(|edit| match edit {
                Edit::Attach { address, .. } => Some(address.to_string()),
                Edit::Detach { .. } => None,
            })
            .collect();
        let address = config.pointer("/properties/privateIPAddress").and_then(Value::as_str);
        assert!(address.is_some_and(|address| asked.contains(address)), "unasked: {config}");
    }
}

fn look_at_everything(document: &NicDocument, address: IpAddr) {
    let _ = (document.etag(), document.provisioning(), document.is_settled(address));
    let _ = (document.configs().count(), document.found(address), document.subnet());
    let tags = document.tags_with("vipfence", "x");
    assert_eq!(tags.pointer("/tags/vipfence"), Some(&json!("x")));
    let tagged = document.with_tag("vipfence", "x");
    let mut rest = tagged.clone();
    let mut known = document.value().clone();
    for value in [&mut rest, &mut known] {
        value.as_object_mut().map(|map| map.remove("tags"));
    }
    assert_eq!(rest, known, "a seal changes nothing but tags");
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn any_nic_document_is_survived_and_keeps_what_is_not_ours(
        answer in prop_oneof![4 => mutated(azure::nics()), 1 => body(azure::nics())],
        address in addresses(),
        edits in edits(),
    ) {
        let Ok(document) = NicDocument::new(answer) else { return Ok(()) };
        look_at_everything(&document, address);
        if let Ok(edited) = document.edited(&edits) {
            check_edit(document.value(), &edited, &edits);
            let patch = document.patch_to(&edited);
            prop_assert_eq!(patch == json!([]), configs(&edited) == configs(document.value()));
            // An edit that is made already changes nothing.
            let again = NicDocument::new(edited.clone()).expect("it is one still");
            let nothing_undone = edits.len() < 2;
            prop_assert!(!nothing_undone || again.edited(&edits) == Ok(edited));
        }
    }

    #[test]
    fn any_arm_answer_is_survived_and_told_briefly(
        status in prop_oneof![any::<u16>(), prop::sample::select(&[200_u16, 400, 404, 409, 412, 429, 503][..])],
        retry_after in word(),
        body in body(azure::operations()),
        address in addresses(),
        name in word(),
    ) {
        let headers = BTreeMap::from([("retry-after".to_owned(), retry_after)]);
        let answer = HttpAnswer { status, headers, body };
        let (problem, after) = Problem::of_answer(&answer);
        prop_assert!(after.is_none_or(|after| after.as_secs() <= 300));
        let of_operation = Problem::of_operation("Failed", &answer.body);
        // It goes into the log of the cluster, and before people.
        for problem in [problem, of_operation] {
            prop_assert!(problem.text.len() <= 2_000, "{} bytes", problem.text.len());
        }
        let error = AzureError::read(&answer.body);
        let _ = error.names(address, &name);
    }

    #[test]
    fn what_is_found_on_a_nic_survives_the_log(answer in body(azure::nics()), address in addresses()) {
        let Ok(document) = NicDocument::new(answer) else { return Ok(()) };
        let Some(found) = document.found(address) else { return Ok(()) };
        // A parser refuses what is nested too deeply, and a log that cannot be read back stops
        // every node for good: there must be room for what stands around it.
        let entry = (0..LEVELS_AROUND).fold(found, |inner, _| json!([inner]));
        let again: Option<Value> = serde_json::from_str(&entry.to_string()).ok();
        prop_assert_eq!(again, Some(entry));
    }

    #[test]
    fn a_document_that_was_read_can_be_sent_and_read_again(bytes in foreign_bytes::json_bytes(azure::nics())) {
        let Ok(document) = NicDocument::new(foreign_bytes::parsed(&bytes)) else { return Ok(()) };
        let text = document.value().to_string();
        let again: Option<Value> = serde_json::from_str(&text).ok();
        prop_assert_eq!(again.as_ref(), Some(document.value()));
    }
}
