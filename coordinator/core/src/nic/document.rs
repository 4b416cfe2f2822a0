//! A NIC document as Azure sent it, and the only edits that we make to it.
//!
//! Unknown fields keep their meaning because the value itself is edited. A primary ipConfiguration
//! is never removed or changed, and a NIC is never left without one (I3): such an edit is refused
//! here, before anything is sent.

use core::net::IpAddr;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Map, Value, json};
use vipfence_types::Mutation;

/// The provisioning state of a NIC or an ipConfiguration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provisioning {
    /// The last operation is done.
    Succeeded,
    /// An operation is running; the document shows its goal.
    Updating,
    /// The last operation failed; the document may still show its goal.
    Failed,
}

impl Provisioning {
    fn read(properties: Option<&Value>) -> Self {
        match properties.and_then(|p| p.get("provisioningState")).and_then(Value::as_str) {
            Some("Succeeded") => Self::Succeeded,
            Some("Failed" | "Canceled") => Self::Failed,
            // Updating, Creating, Deleting, or a word of a later version: not settled.
            _ => Self::Updating,
        }
    }
}

/// The document is not one of a NIC.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a NIC document: {0}")]
pub struct Malformed(&'static str);

/// One ipConfiguration, as far as we look at it.
#[derive(Clone, Debug, PartialEq)]
pub struct IpConfig<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its private address, without a prefix length.
    pub address: Option<IpAddr>,
    /// Whether it is the primary one.
    pub primary: bool,
    /// Its own provisioning state.
    pub provisioning: Provisioning,
    /// The id of its subnet.
    pub subnet: Option<&'a str>,
    properties: Option<&'a Value>,
}

/// An edit of our own.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Put an address on the NIC.
    Attach {
        /// The address.
        address: IpAddr,
        /// The name of our ipConfiguration.
        name: String,
        /// What belongs to it and moves along.
        found: Value,
    },
    /// Take a secondary address off the NIC.
    Detach {
        /// The address.
        address: IpAddr,
    },
}

/// Why an edit is refused before anything is sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditRefused {
    /// The address is the NIC's primary one.
    #[error("{0} is the primary address of the NIC and is never touched")]
    Primary(IpAddr),
    /// Our name is taken by another address.
    #[error(
        "the NIC's ipConfiguration \"{name}\" has another address ({address}); rename or remove it"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// The address that stands under it.
        address: String,
    },
    /// The NIC would be left without an ipConfiguration.
    #[error("the NIC would be left without an ipConfiguration")]
    WouldBeEmpty,
    /// No subnet to put it in.
    #[error("the NIC has no primary ipConfiguration with a subnet")]
    NoSubnet,
    /// The NIC is full.
    #[error("the NIC has {0} addresses, which is the most that Azure allows")]
    Full(usize),
}

/// The NIC decides about them, not the address: "All IPConfigurations on a Network Interface should
/// reference the same set of Application Security Groups" (Azure/azure-cli#21551).
const SECURITY_GROUPS: &str = "applicationSecurityGroups";

/// What `found` never carries: it is the NIC's own, or ours to set.
const OWN_PROPERTIES: [&str; 8] = [
    "provisioningState",
    "privateIPAddress",
    "privateIPAllocationMethod",
    "privateIPAddressVersion",
    "primary",
    "subnet",
    "privateLinkConnectionProperties",
    SECURITY_GROUPS,
];

/// A NIC document. A clone is cheap, and so is looking an address up: with 250 VIPs on a NIC both
/// are done for each of them after every input.
#[derive(Clone, Debug, PartialEq)]
pub struct NicDocument(Arc<Indexed>);

/// A document, and what is asked of it time and again: where things are in its list of
/// ipConfigurations, the first of each, and how they are.
#[derive(Clone, Debug, PartialEq)]
struct Indexed {
    value: Value,
    provisioning: Provisioning,
    addresses: BTreeMap<IpAddr, Known>,
    /// In lower case.
    names: BTreeMap<String, usize>,
}

/// What is known of an ipConfiguration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    at: usize,
    primary: bool,
    provisioning: Provisioning,
}

impl Known {
    fn of(at: usize, config: &IpConfig<'_>) -> Self {
        Self { at, primary: config.primary, provisioning: config.provisioning }
    }
}

impl Indexed {
    fn new(value: Value) -> Self {
        let (mut addresses, mut names) = (BTreeMap::new(), BTreeMap::new());
        for (at, config) in list(&value).iter().map(read_config).enumerate() {
            if let Some(address) = config.address {
                addresses.entry(address).or_insert(Known::of(at, &config));
            }
            names.entry(config.name.to_ascii_lowercase()).or_insert(at);
        }
        let provisioning = Provisioning::read(value.get("properties"));
        Self { value, provisioning, addresses, names }
    }

    /// Adds an ipConfiguration at the end, of an address and a name that are not there yet.
    fn push(&mut self, address: IpAddr, name: &str, config: Value) {
        let at = list(&self.value).len();
        let known = Known::of(at, &read_config(&config));
        if let Some(Value::Array(configs)) = self.value.pointer_mut(CONFIGS) {
            configs.push(config);
            self.addresses.insert(address, known);
            self.names.insert(name.to_ascii_lowercase(), at);
        }
    }
}

const CONFIGS: &str = "/properties/ipConfigurations";

fn list(document: &Value) -> &[Value] {
    let configs = document.pointer(CONFIGS).and_then(Value::as_array);
    configs.map(Vec::as_slice).unwrap_or_default()
}

impl NicDocument {
    /// The most private addresses on a NIC (Azure's published limit).
    pub const MAX_ADDRESSES: usize = 256;
    /// How deeply a document may be nested; Azure's are below 10. Pieces of it go into the log,
    /// inside of other values. A JSON parser refuses 128 levels, and an entry that cannot be read
    /// back would stop every node for good.
    pub const MAX_DEPTH: usize = 64;

    /// Takes a document that has an ETag and a list of ipConfigurations.
    ///
    /// # Errors
    /// Names what is missing.
    pub fn new(document: Value) -> Result<Self, Malformed> {
        let has_tag = document.get("etag").is_some_and(Value::is_string);
        let configs = document.pointer(CONFIGS);
        if !has_tag {
            return Err(Malformed("it has no etag"));
        }
        if !configs.is_some_and(Value::is_array) {
            return Err(Malformed("it has no properties.ipConfigurations"));
        }
        if !is_shallow(&document, Self::MAX_DEPTH) {
            return Err(Malformed("it is nested too deeply"));
        }
        Ok(Self(Arc::new(Indexed::new(document))))
    }

    /// The document itself.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.0.value
    }

    /// The ETag, in the form that `If-Match` takes.
    #[must_use]
    pub fn etag(&self) -> &str {
        self.0.value.get("etag").and_then(Value::as_str).unwrap_or_default()
    }

    /// The provisioning state of the NIC.
    #[must_use]
    pub fn provisioning(&self) -> Provisioning {
        self.0.provisioning
    }

    /// Whether the NIC, and its ipConfiguration of this address if there is one, are done. Other
    /// ipConfigurations do not matter: a stranger's may stay Failed for ever.
    #[must_use]
    pub fn is_settled(&self, address: IpAddr) -> bool {
        let done = |known: &Known| known.provisioning == Provisioning::Succeeded;
        self.0.provisioning == Provisioning::Succeeded
            && self.0.addresses.get(&address).is_none_or(done)
    }

    /// Whether an address is on the NIC, and is not its primary one.
    #[must_use]
    pub fn has_secondary(&self, address: IpAddr) -> bool {
        self.0.addresses.get(&address).is_some_and(|known| !known.primary)
    }

    /// The ipConfigurations, in the document's order.
    pub fn configs(&self) -> impl Iterator<Item = IpConfig<'_>> {
        list(&self.0.value).iter().map(read_config)
    }

    /// The ipConfiguration that has an address.
    #[must_use]
    pub fn find(&self, address: IpAddr) -> Option<IpConfig<'_>> {
        self.at(self.0.addresses.get(&address)?.at)
    }

    fn at(&self, index: usize) -> Option<IpConfig<'_>> {
        list(&self.0.value).get(index).map(read_config)
    }

    /// The id of the subnet of the primary ipConfiguration.
    #[must_use]
    pub fn subnet(&self) -> Option<&str> {
        self.primary().and_then(|config| config.subnet).or_else(|| {
            // A NIC with one ipConfiguration need not say which is primary.
            self.configs().next().and_then(|config| config.subnet)
        })
    }

    fn primary(&self) -> Option<IpConfig<'_>> {
        self.configs().find(|config| config.primary)
    }

    /// The application security groups that every ipConfiguration of this NIC has to have.
    fn security_groups(&self) -> Option<&Value> {
        let model = self.primary().or_else(|| self.configs().next())?;
        model.properties?.get(SECURITY_GROUPS)
    }

    /// What belongs to the ipConfiguration of an address and has to move along.
    #[must_use]
    pub fn found(&self, address: IpAddr) -> Option<Value> {
        let config = self.find(address)?;
        let mut kept = config.properties?.as_object()?.clone();
        kept.retain(|key, value| {
            let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
            !OWN_PROPERTIES.contains(&key.as_str()) && !empty
        });
        Some(Value::Object(kept))
    }

    /// The document with our edits made, detaches first. An edit that is made already changes
    /// nothing.
    ///
    /// # Errors
    /// Names the edit that would touch what is not ours.
    pub fn edited(&self, edits: &[Edit]) -> Result<Value, EditRefused> {
        let mut next = self.clone();
        let detached = edits.iter().filter_map(|edit| match edit {
            Edit::Detach { address } => Some(*address),
            Edit::Attach { .. } => None,
        });
        next.detach(&detached.collect())?;
        for edit in edits {
            if let Edit::Attach { address, name, found } = edit {
                next.attach(*address, name, found)?;
            }
        }
        if Mutation::NicFromModel.is_on() {
            next.keep_what_is_modelled();
        }
        if Mutation::PrimaryDropped.is_on() {
            next.retain_configs(|config| !config.primary);
        }
        Ok(Arc::unwrap_or_clone(next.0).value)
    }

    /// Whether an address could be attached under a name, without making the edit.
    ///
    /// # Errors
    /// Names what would be touched that is not ours.
    pub fn could_attach(&self, address: IpAddr, name: &str) -> Result<(), EditRefused> {
        self.attachable(address, name).map(|_| ())
    }

    /// A fault: only the fields that this module looks at are left.
    fn keep_what_is_modelled(&mut self) {
        let document = Arc::make_mut(&mut self.0);
        if let Some(Value::Object(properties)) = document.value.get_mut("properties") {
            properties.retain(|key, _| key == "ipConfigurations" || key == "provisioningState");
        }
    }

    fn retain_configs(&mut self, keep: impl Fn(&IpConfig<'_>) -> bool) {
        let mut value = self.0.value.clone();
        if let Some(Value::Array(configs)) = value.pointer_mut(CONFIGS) {
            configs.retain(|config| keep(&read_config(config)));
        }
        self.0 = Arc::new(Indexed::new(value));
    }

    /// The subnet to attach an address in; none = it stands there already.
    fn attachable(&self, address: IpAddr, name: &str) -> Result<Option<&str>, EditRefused> {
        if let Some(config) = self.find(address) {
            return if config.primary { Err(EditRefused::Primary(address)) } else { Ok(None) };
        }
        let named = self.0.names.get(&name.to_ascii_lowercase());
        if let Some(other) = named.and_then(|at| self.at(*at)) {
            let address = other.address.map_or("none".to_owned(), |known| known.to_string());
            return Err(EditRefused::NameTaken { name: name.to_owned(), address });
        }
        let count = list(&self.0.value).len();
        if count >= Self::MAX_ADDRESSES {
            return Err(EditRefused::Full(count));
        }
        self.subnet().map(Some).ok_or(EditRefused::NoSubnet)
    }

    fn attach(&mut self, address: IpAddr, name: &str, found: &Value) -> Result<(), EditRefused> {
        let Some(subnet) = self.attachable(address, name)? else { return Ok(()) };
        let version = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        let mut properties: Map<String, Value> = found.as_object().cloned().unwrap_or_default();
        properties.insert("privateIPAddress".into(), json!(address.to_string()));
        properties.insert("privateIPAllocationMethod".into(), json!("Static"));
        properties.insert("privateIPAddressVersion".into(), json!(version));
        properties.insert("primary".into(), json!(false));
        properties.insert("subnet".into(), json!({ "id": subnet }));
        // An earlier version's log may still carry those of the NIC that it was found on.
        properties.remove(SECURITY_GROUPS);
        if let Some(groups) = self.security_groups() {
            properties.insert(SECURITY_GROUPS.into(), groups.clone());
        }
        let config = json!({ "name": name, "properties": properties });
        Arc::make_mut(&mut self.0).push(address, name, config);
        Ok(())
    }

    fn detach(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<(), EditRefused> {
        // Azure would not list an address twice. Should it, all of them go or none.
        let goes = |config: &IpConfig<'_>| config.address.is_some_and(|at| addresses.contains(&at));
        let going: Vec<IpConfig<'_>> = self.configs().filter(goes).collect();
        if going.is_empty() {
            return Ok(());
        }
        if list(&self.0.value).len() <= going.len() {
            return Err(EditRefused::WouldBeEmpty);
        }
        if let Some(address) = going.iter().find(|config| config.primary).and_then(|c| c.address) {
            return Err(EditRefused::Primary(address));
        }
        self.retain_configs(|config| !goes(config));
        Ok(())
    }

    /// All tags, with ours set: the body of a seal.
    #[must_use]
    pub fn tags_with(&self, key: &str, value: &str) -> Value {
        let mut tags =
            self.0.value.get("tags").and_then(Value::as_object).cloned().unwrap_or_default();
        tags.insert(key.to_owned(), json!(value));
        json!({ "tags": tags })
    }

    /// The whole document with our tag set: a seal where a tag PATCH does not change the ETag.
    #[must_use]
    pub fn with_tag(&self, key: &str, value: &str) -> Value {
        let mut next = self.0.value.clone();
        if let (Some(document), Some(tags)) =
            (next.as_object_mut(), self.tags_with(key, value).get("tags"))
        {
            document.insert("tags".to_owned(), tags.clone());
        }
        next
    }

    /// What an edited document changes in this one, as a JSON patch (RFC 6902).
    #[must_use]
    pub fn patch_to(&self, edited: &Value) -> Value {
        let (path, before, after) = (CONFIGS, list(&self.0.value), list(edited));
        // From the back, so that earlier indexes stay true.
        let removed = before.iter().enumerate().rev().filter(|(_, known)| !after.contains(known));
        let removed =
            removed.map(|(at, _)| json!({"op": "remove", "path": format!("{path}/{at}")}));
        let added = after.iter().filter(|known| !before.contains(known));
        let added =
            added.map(|new| json!({"op": "add", "path": format!("{path}/-"), "value": new}));
        Value::Array(removed.chain(added).collect())
    }
}

/// Looked at for every answer: it allocates nothing, and goes no deeper than it allows.
fn is_shallow(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(list) => levels > 0 && list.iter().all(|v| is_shallow(v, levels - 1)),
        Value::Object(map) => levels > 0 && map.values().all(|v| is_shallow(v, levels - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

fn read_config(config: &Value) -> IpConfig<'_> {
    let properties = config.get("properties");
    let text = |key: &str| properties.and_then(|p| p.get(key)).and_then(Value::as_str);
    IpConfig {
        name: config.get("name").and_then(Value::as_str).unwrap_or_default(),
        // It may hold a CIDR such as 172.20.2.16/28.
        address: text("privateIPAddress")
            .and_then(|address| address.split('/').next())
            .and_then(|address| address.parse().ok()),
        primary: properties
            .and_then(|p| p.get("primary"))
            .and_then(Value::as_bool)
            .unwrap_or_default(),
        provisioning: Provisioning::read(properties),
        subnet: properties.and_then(|p| p.pointer("/subnet/id")).and_then(Value::as_str),
        properties,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(secondary: &[(&str, &str)]) -> NicDocument {
        let mut configs = vec![json!({
            "name": "ipconfig1", "etag": "W/\"1\"",
            "properties": {"provisioningState": "Succeeded", "privateIPAddress": "10.5.0.4",
                "primary": true, "subnet": {"id": "/vnet/subnets/a"}, "unheardOf": [1, 2]},
        })];
        configs.extend(secondary.iter().map(|(name, address)| json!({
            "name": name, "properties": {"provisioningState": "Succeeded",
                "privateIPAddress": address, "primary": false, "subnet": {"id": "/vnet/subnets/a"},
                "publicIPAddress": {"id": "/pip"}, "loadBalancerBackendAddressPools": []},
        })));
        let value = json!({"etag": "W/\"1\"", "tags": {"owner": "them"}, "futureField": {"x": 1},
            "properties": {"provisioningState": "Succeeded", "ipConfigurations": configs,
                "enableIPForwarding": true}});
        NicDocument::new(value).expect("a NIC document")
    }

    fn vip() -> IpAddr {
        IpAddr::from([10, 5, 0, 110])
    }

    fn attach() -> Edit {
        Edit::Attach { address: vip(), name: "vipfence-demo".into(), found: json!({}) }
    }

    #[test]
    fn an_attach_adds_one_ip_configuration_and_leaves_every_other_byte() {
        let before = document(&[]);
        let after = before.edited(&[attach()]).expect("an edit of ours");
        let added = after.pointer("/properties/ipConfigurations/1").cloned();
        let expected = json!({"name": "vipfence-demo", "properties": {
            "privateIPAddress": "10.5.0.110", "privateIPAllocationMethod": "Static",
            "privateIPAddressVersion": "IPv4", "primary": false,
            "subnet": {"id": "/vnet/subnets/a"}}});
        assert_eq!(added, Some(expected));
        let after = NicDocument::new(after).expect("a NIC");
        let undone = after.edited(&[Edit::Detach { address: vip() }]);
        assert_eq!(undone.as_ref(), Ok(before.value()));
    }

    #[test]
    fn what_belongs_to_an_ip_configuration_is_found_and_moves_along() {
        let found = document(&[("old", "10.5.0.110/32")]).found(vip());
        assert_eq!(found, Some(json!({"publicIPAddress": {"id": "/pip"}})));
        let edit = Edit::Attach { address: vip(), name: "x".into(), found: found.expect("found") };
        let after = document(&[]).edited(&[edit]).expect("an edit of ours");
        let moved = after.pointer("/properties/ipConfigurations/1/properties/publicIPAddress/id");
        assert_eq!(moved, Some(&json!("/pip")));
    }

    /// A NIC whose ipConfigurations are all in these groups.
    fn in_groups(groups: &Value, secondary: &[(&str, &str)]) -> NicDocument {
        let mut value = document(secondary).value().clone();
        let configs = value.pointer_mut("/properties/ipConfigurations");
        for config in configs.and_then(Value::as_array_mut).expect("a list") {
            config["properties"][SECURITY_GROUPS] = groups.clone();
        }
        NicDocument::new(value).expect("a NIC")
    }

    #[test]
    fn a_vip_gets_the_security_groups_of_the_nic_that_it_goes_to() {
        let (web, db) = (json!([{"id": "/asg/web"}]), json!([{"id": "/asg/db"}, {"id": "/asg/x"}]));
        let found = in_groups(&web, &[("old", "10.5.0.110")]).found(vip()).expect("found");
        assert_eq!(found, json!({"publicIPAddress": {"id": "/pip"}}), "they stay with the NIC");
        // What an earlier version committed carries those of the old NIC.
        let before = json!({"publicIPAddress": {"id": "/pip"}, SECURITY_GROUPS: web});
        for (found, pip) in [(json!({}), false), (found, true), (before, true)] {
            for (target, expected) in
                [(in_groups(&db, &[]), Some(&db)), (in_groups(&json!([]), &[]), Some(&json!([])))]
                    .into_iter()
                    .chain([(document(&[]), None)])
            {
                let edit = Edit::Attach { address: vip(), name: "x".into(), found: found.clone() };
                let after = target.edited(&[edit]).expect("an edit of ours");
                let added = after.pointer("/properties/ipConfigurations/1/properties");
                let added = added.expect("it is there");
                assert_eq!(added.get(SECURITY_GROUPS), expected, "{found}");
                assert_eq!(added.get("publicIPAddress").is_some(), pip, "{found}");
            }
        }
    }

    #[test]
    fn a_nic_that_does_not_say_which_is_primary_decides_by_its_only_ip_configuration() {
        let groups = json!([{"id": "/asg/web"}]);
        let mut value = in_groups(&groups, &[]).value().clone();
        value["properties"]["ipConfigurations"][0]["properties"]["primary"] = Value::Null;
        let document = NicDocument::new(value).expect("a NIC");
        let after = document.edited(&[attach()]).expect("an edit of ours");
        let added = &after["properties"]["ipConfigurations"][1]["properties"];
        assert_eq!(added[SECURITY_GROUPS], groups);
    }

    #[test]
    fn a_number_is_sent_back_as_it_was_read() {
        // Without serde_json's `float_roundtrip` the last digit is another one.
        let text =
            r#"{"etag":"1","properties":{"ipConfigurations":[]},"x":1.708008032750582e-118}"#;
        let nic = NicDocument::new(serde_json::from_str(text).expect("JSON"));
        assert_eq!(nic.expect("a NIC document").value().to_string(), text);
    }

    #[test]
    fn an_address_that_stands_twice_does_not_take_the_primary_along() {
        let twice = IpAddr::from([10, 5, 0, 4]);
        let mut value = document(&[("x", "10.5.0.4"), ("y", "10.5.0.9")]).value().clone();
        if let Some(Value::Array(configs)) = value.pointer_mut("/properties/ipConfigurations") {
            // The secondary one stands first, so it is the one that is found.
            configs.swap(0, 1);
        }
        let nic = NicDocument::new(value.clone()).expect("a NIC document");
        let detach = [Edit::Detach { address: twice }];
        assert_eq!(nic.edited(&detach), Err(EditRefused::Primary(twice)));
        if let Some(Value::Array(configs)) = value.pointer_mut("/properties/ipConfigurations") {
            configs.truncate(2);
        }
        let nic = NicDocument::new(value).expect("a NIC document");
        assert_eq!(nic.edited(&detach), Err(EditRefused::WouldBeEmpty));
    }

    #[test]
    fn a_document_nested_too_deeply_for_the_log_is_refused() {
        let nested = |levels| {
            let mut value = document(&[]).value().clone();
            value["future"] = (1..levels).fold(json!([]), |inner, _| json!([inner]));
            NicDocument::new(value)
        };
        assert!(nested(NicDocument::MAX_DEPTH - 1).is_ok());
        assert_eq!(nested(NicDocument::MAX_DEPTH + 1), Err(Malformed("it is nested too deeply")));
    }

    #[test]
    fn a_primary_is_never_touched_and_a_nic_never_emptied() {
        let primary = IpAddr::from([10, 5, 0, 4]);
        let nic = document(&[("x", "10.5.0.110")]);
        let detach = [Edit::Detach { address: primary }];
        assert_eq!(nic.edited(&detach), Err(EditRefused::Primary(primary)));
        assert_eq!(document(&[]).edited(&detach), Err(EditRefused::WouldBeEmpty));
        let attach = Edit::Attach { address: primary, name: "x2".into(), found: json!({}) };
        assert_eq!(nic.edited(&[attach]), Err(EditRefused::Primary(primary)));
    }

    #[test]
    fn our_name_with_another_address_is_refused() {
        let nic = document(&[("VIPFENCE-demo", "10.5.0.77")]);
        let refused = nic.edited(&[attach()]).expect_err("the name is taken");
        assert!(refused.to_string().contains("10.5.0.77"), "{refused}");
    }

    #[test]
    fn an_edit_that_is_made_already_changes_nothing() {
        let nic = document(&[("theirs", "10.5.0.110")]);
        assert_eq!(nic.edited(&[attach()]).as_ref(), Ok(nic.value()));
        let gone = Edit::Detach { address: IpAddr::from([10, 5, 0, 99]) };
        assert_eq!(nic.edited(&[gone]).as_ref(), Ok(nic.value()));
    }

    #[test]
    fn a_seal_keeps_every_tag() {
        let body = document(&[]).tags_with("vipfence", "demo:7.1");
        assert_eq!(body, json!({"tags": {"owner": "them", "vipfence": "demo:7.1"}}));
    }

    #[test]
    fn the_patch_of_a_move_names_just_what_changes() {
        let nic = document(&[("old", "10.5.0.110")]);
        let edited = nic.edited(&[Edit::Detach { address: vip() }]).expect("an edit of ours");
        let expected = json!([{"op": "remove", "path": "/properties/ipConfigurations/1"}]);
        assert_eq!(nic.patch_to(&edited), expected);
    }

    #[test]
    fn a_state_of_a_later_version_counts_as_not_settled() {
        let mut value = document(&[]).value().clone();
        *value.pointer_mut("/properties/provisioningState").expect("there") = json!("Pondering");
        assert!(!NicDocument::new(value).expect("a NIC").is_settled(vip()));
    }
}
