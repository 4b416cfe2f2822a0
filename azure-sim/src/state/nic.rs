//! A network interface: what a client wrote, and what Azure shows of it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::error::ArmError;
use super::net::Prefix;

/// Never writable at the top of a NIC. `[S]`
const READ_ONLY: [&str; 9] = [
    "virtualMachine",
    "privateEndpoint",
    "tapConfigurations",
    "macAddress",
    "primary",
    "vnetEncryptionSupported",
    "defaultOutboundConnectivityEnabled",
    "hostedWorkloads",
    "dscpConfiguration",
];

/// Also read-only, but shown by this simulator with values of its own. `[S]`
const READ_ONLY_RENDERED: [&str; 2] = ["resourceGuid", "provisioningState"];

/// A NIC as it stands.
#[derive(Debug, Clone)]
pub(crate) struct Nic {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) vm: Option<String>,
    pub(crate) mac: String,
    pub(crate) resource_guid: String,
    pub(crate) etag: String,
    pub(crate) goal: Goal,
    pub(crate) provisioning: Provisioning,
    /// The operation that runs.
    pub(crate) operation: Option<String>,
    /// Addresses that have left the document and are not free yet.
    pub(crate) releasing: BTreeSet<IpAddr>,
}

/// `provisioningState`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provisioning {
    Succeeded,
    Updating,
    Failed,
}

impl Provisioning {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::Updating => "Updating",
            Self::Failed => "Failed",
        }
    }
}

/// The writable part of a NIC: what the last accepted PUT said.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Goal {
    pub(crate) location: String,
    pub(crate) tags: Map<String, Value>,
    /// `properties` without `ipConfigurations` and the read-only ones.
    pub(crate) properties: Map<String, Value>,
    pub(crate) ip_configs: Vec<IpConfig>,
    /// Lower-case name of the network that the addresses belong to.
    pub(crate) network: String,
}

impl Goal {
    pub(crate) fn addresses(&self) -> BTreeSet<IpAddr> {
        self.ip_configs.iter().flat_map(|c| c.block.addresses()).collect()
    }

    pub(crate) fn primary(&self) -> Option<&IpConfig> {
        self.ip_configs.iter().find(|c| c.primary)
    }
}

/// An ipConfiguration.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct IpConfig {
    pub(crate) name: String,
    /// One address, or a block on newer API versions. `[S]`
    pub(crate) block: Prefix,
    /// `privateIPAddress` as written: with a length only if it was sent with one.
    pub(crate) written: String,
    pub(crate) subnet_id: String,
    pub(crate) primary: bool,
    pub(crate) dynamic: bool,
    /// Every other writable property, known here or not.
    pub(crate) properties: Map<String, Value>,
}

/// The body of a PUT, checked for its form only.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Draft {
    pub(crate) location: String,
    pub(crate) tags: Map<String, Value>,
    pub(crate) properties: Map<String, Value>,
    pub(crate) ip_configs: Vec<DraftIpConfig>,
}

/// An ipConfiguration of a [`Draft`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DraftIpConfig {
    pub(crate) name: String,
    pub(crate) address: Option<String>,
    pub(crate) subnet_id: Option<String>,
    pub(crate) primary: bool,
    pub(crate) dynamic: bool,
    pub(crate) ipv6: bool,
    pub(crate) properties: Map<String, Value>,
}

impl Draft {
    /// Reads a body. Read-only fields are ignored, whatever they say. `[W]`
    pub(crate) fn parse(body: Option<&Value>) -> Result<Self, ArmError> {
        let body = body
            .and_then(Value::as_object)
            .ok_or_else(|| ArmError::bad_content("the body is not a JSON object"))?;
        let location = body.get("location").and_then(Value::as_str).ok_or_else(|| {
            // [I] for NICs; ARM's general word for it.
            ArmError::front_door(
                400,
                "LocationRequired",
                "The location property is required for this definition.",
            )
        })?;
        let tags = parse_tags(body.get("tags"))?;
        let mut properties = match body.get("properties") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(properties)) => properties.clone(),
            Some(_) => return Err(ArmError::bad_content("properties is not an object")),
        };
        for field in READ_ONLY.iter().chain(&READ_ONLY_RENDERED) {
            properties.remove(*field);
        }
        let ip_configs = match properties.remove("ipConfigurations") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(list)) => {
                list.into_iter().map(DraftIpConfig::parse).collect::<Result<_, _>>()?
            }
            Some(_) => return Err(ArmError::bad_content("ipConfigurations is not an array")),
        };
        Ok(Self { location: location.to_owned(), tags, properties, ip_configs })
    }
}

impl DraftIpConfig {
    fn parse(value: Value) -> Result<Self, ArmError> {
        let name = value
            .get("name")
            .and_then(Value::as_str)
            .filter(|name| !name.is_empty())
            .ok_or_else(|| ArmError::bad_content("an ipConfiguration has no name"))?
            .to_owned();
        let Some(mut properties) = value.get("properties").and_then(Value::as_object).cloned()
        else {
            return Err(ArmError::bad_content("an ipConfiguration has no properties"));
        };
        properties.remove("provisioningState");
        properties.remove("privateLinkConnectionProperties");
        let text = |value: Option<Value>| value.as_ref().and_then(Value::as_str).map(str::to_owned);
        let address = text(properties.remove("privateIPAddress"));
        let method = text(properties.remove("privateIPAllocationMethod"));
        let subnet = properties.remove("subnet");
        let subnet_id = text(subnet.and_then(|subnet| subnet.get("id").cloned()));
        let primary = properties.remove("primary").and_then(|p| p.as_bool()).unwrap_or(false);
        let ipv6 = match properties.remove("privateIPAddressVersion").as_ref().map(Value::as_str) {
            None | Some(Some("IPv4")) => false,
            Some(Some("IPv6")) => true,
            Some(_) => return Err(ArmError::bad_content("no such privateIPAddressVersion")),
        };
        Ok(Self {
            name,
            dynamic: !method.is_some_and(|m| m.eq_ignore_ascii_case("Static")),
            address,
            subnet_id,
            primary,
            ipv6,
            properties,
        })
    }
}

/// Tags are an object of texts.
pub(crate) fn parse_tags(tags: Option<&Value>) -> Result<Map<String, Value>, ArmError> {
    match tags {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(tags)) if tags.values().all(Value::is_string) => Ok(tags.clone()),
        Some(_) => Err(ArmError::bad_content("tags is not an object of strings")),
    }
}

/// A document, or a list of them, without what an older API version did not have. `[W]`
pub(crate) fn as_of(mut document: Value, api_version: &str) -> Value {
    if api_version < "2021-08-01" {
        if let Some(list) = document.get_mut("value").and_then(Value::as_array_mut) {
            list.iter_mut().for_each(strip);
        }
        strip(&mut document);
    }
    document
}

/// Takes away what came with 2021-08-01.
fn strip(document: &mut Value) {
    if let Some(nic) = document.as_object_mut() {
        nic.remove("kind");
    }
    if let Some(properties) = document.get_mut("properties").and_then(Value::as_object_mut) {
        properties.remove("vnetEncryptionSupported");
    }
}

impl Nic {
    /// The document of a GET, in the shape of a recorded one. `[W]`
    pub(crate) fn document(&self, vm_id: Option<&str>) -> Value {
        let mut properties = self.goal.properties.clone();
        let mut set = |name: &str, value: Value| properties.insert(name.to_owned(), value);
        set("provisioningState", json!(self.provisioning.as_str()));
        set("resourceGuid", json!(self.resource_guid));
        set("ipConfigurations", self.ip_configs());
        // Fields that a NIC without a VM does not have. [W]
        if let Some(vm_id) = vm_id {
            set("macAddress", json!(self.mac));
            set("primary", json!(true));
            set("virtualMachine", json!({"id": vm_id}));
        }
        set("vnetEncryptionSupported", json!(false));
        set("hostedWorkloads", json!([]));
        set("tapConfigurations", json!([]));
        for (name, default) in [
            ("enableAcceleratedNetworking", json!(false)),
            ("enableIPForwarding", json!(false)),
            ("nicType", json!("Standard")),
        ] {
            properties.entry(name).or_insert(default);
        }
        let dns = properties.entry("dnsSettings").or_insert_with(|| json!({}));
        if let Some(dns) = dns.as_object_mut() {
            dns.entry("dnsServers").or_insert_with(|| json!([]));
            dns.insert("appliedDnsServers".to_owned(), json!([]));
            dns.insert(
                "internalDomainNameSuffix".to_owned(),
                json!("simulated.ax.internal.cloudapp.net"),
            );
        }
        json!({
            "name": self.name,
            "id": self.id,
            "etag": self.etag,
            "location": self.goal.location,
            "tags": self.goal.tags,
            "properties": properties,
            "type": "Microsoft.Network/networkInterfaces",
            "kind": "Regular",
        })
    }

    /// The documents of its ipConfigurations; their ETag is the NIC's. `[W]`
    pub(crate) fn ip_configs(&self) -> Value {
        self.goal.ip_configs.iter().map(|config| self.ip_config(config)).collect()
    }

    pub(crate) fn ip_config(&self, config: &IpConfig) -> Value {
        let mut properties = config.properties.clone();
        let mut set = |name: &str, value: Value| properties.insert(name.to_owned(), value);
        set("provisioningState", json!(self.provisioning.as_str()));
        set("privateIPAddress", json!(config.written));
        set("privateIPAllocationMethod", json!(if config.dynamic { "Dynamic" } else { "Static" }));
        set("subnet", json!({"id": config.subnet_id}));
        set("primary", json!(config.primary));
        let version = if config.block.network().is_ipv4() { "IPv4" } else { "IPv6" };
        set("privateIPAddressVersion", json!(version));
        json!({
            "name": config.name,
            "id": self.ip_config_id(&config.name),
            "etag": self.etag,
            "type": "Microsoft.Network/networkInterfaces/ipConfigurations",
            "properties": properties,
        })
    }

    pub(crate) fn ip_config_id(&self, name: &str) -> String {
        format!("{}/ipConfigurations/{name}", self.id)
    }
}
