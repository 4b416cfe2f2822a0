//! What is not ours on the NICs: what worlds begin with, and whether it is still there.
//!
//! The oracle compares documents as well, at each write; this compares the first with the last, and
//! knows ours by the names of ipConfigurations alone.

use std::collections::BTreeMap;

use azure_sim::{AdminCommand, WorldConfig};
use serde_json::Value;
use vipfence_sim::{Deed, World};

use crate::stage::*;

const NETWORK: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network";

/// Each NIC has an ipConfiguration of somebody else with a public address, a security group,
/// application security groups and tags.
pub(crate) fn with_foreign_parts(mut config: WorldConfig) -> WorldConfig {
    for (last, nic) in (50..).zip(&mut config.nics) {
        let public = format!("{NETWORK}/publicIPAddresses/pip-{last}");
        nic.secondary.insert("theirs".to_owned(), [10, 5, 0, last].into());
        nic.public_addresses.insert("theirs".to_owned(), public);
        nic.network_security_group = Some(format!("{NETWORK}/networkSecurityGroups/nsg"));
        nic.application_security_groups =
            vec![format!("{NETWORK}/applicationSecurityGroups/web-{last}")];
        nic.tags.insert("cost-centre".to_owned(), "4711".to_owned());
    }
    config
}

/// The documents of all NICs without what is ours, by name.
pub(crate) fn foreign_parts(world: &World) -> BTreeMap<String, Value> {
    let nics = world.azure().config().nics.iter().map(|nic| nic.name.clone());
    let part = |nic: String| {
        let document = world.azure().nic(&nic).map(foreign_part).unwrap_or_default();
        (nic, document)
    };
    nics.map(part).collect()
}

/// Nothing foreign has changed since. NICs that are gone are left out: no node may delete one.
pub(crate) fn is_untouched(world: &World, before: &BTreeMap<String, Value>) -> Story {
    for (nic, now) in foreign_parts(world).into_iter().filter(|(_, now)| !now.is_null()) {
        let before = before.get(&nic).cloned().unwrap_or_default();
        let what = format!("what is foreign on {nic} is unchanged: {before} and now {now}");
        check(world, now == before, &what)?;
    }
    Ok(())
}

/// A document without our ipConfigurations, our tag, and what Azure changes with every write. The
/// order of ipConfigurations means nothing (azure.md §1).
fn foreign_part(mut document: Value) -> Value {
    if let Some(tags) = document.get_mut("tags").and_then(Value::as_object_mut) {
        tags.remove("vipfence");
    }
    let configs = document.pointer_mut("/properties/ipConfigurations");
    if let Some(configs) = configs.and_then(Value::as_array_mut) {
        let name = |config: &Value| config["name"].as_str().unwrap_or_default().to_owned();
        configs.retain(|config| !name(config).starts_with("vipfence-"));
        configs.sort_by_key(name);
    }
    strip(&mut document);
    document
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| name != "etag" && name != "provisioningState");
            fields.values_mut().for_each(strip);
        }
        Value::Array(values) => values.iter_mut().for_each(strip),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn a_foreign_part_is_everything_but_ours() {
    let mut world = World::new(1, &plan_with_foreign_parts());
    world.run(1);
    let before = foreign_parts(&world);
    assert!(before["a-nic"].to_string().contains("pip-50"), "{before:?}");
    assert!(!before["a-nic"].to_string().contains("etag"), "{before:?}");
    let (nic, address, ip_config) = ("a-nic".to_owned(), [10, 5, 0, 99].into(), None);
    let attach = AdminCommand::ThirdPartyAttach { nic, address, ip_config, immediate: true };
    world.do_deed(Deed::Azure(attach));
    assert!(is_untouched(&world, &before).is_err(), "an ipConfiguration more is seen");
}

/// Three members of the fast profile, on NICs with foreign parts.
pub(crate) fn plan_with_foreign_parts() -> vipfence_sim::Plan {
    let profile = vipfence_types::Profile::Fast;
    vipfence_sim::Plan { arranged: with_foreign_parts, ..three(profile) }
}
