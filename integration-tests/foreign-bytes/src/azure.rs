//! Valid answers of Azure, to be broken.
//!
//! The NIC documents have every kind of field that Microsoft's published examples of
//! `networkInterfaces` show (API version 2024-05-01), and some that nobody has heard of.

use serde_json::{Value, json};

/// The subscription and resource group of all ids.
const GROUP: &str = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g";

fn id(kind: &str, name: &str) -> String {
    format!("{GROUP}/providers/Microsoft.Network/{kind}/{name}")
}

/// The id of a NIC.
#[must_use]
pub fn nic_id(name: &str) -> String {
    id("networkInterfaces", name)
}

fn subnet() -> Value {
    json!({"id": format!("{}/subnets/a", id("virtualNetworks", "vnet"))})
}

fn config(nic: &str, name: &str, address: &str, primary: bool, more: &Value) -> Value {
    let mut properties = json!({
        "provisioningState": "Succeeded", "privateIPAddress": address,
        "privateIPAllocationMethod": if primary { "Dynamic" } else { "Static" },
        "privateIPAddressVersion": if address.contains(':') { "IPv6" } else { "IPv4" },
        "primary": primary, "subnet": subnet(),
    });
    if let (Some(all), Some(more)) = (properties.as_object_mut(), more.as_object()) {
        all.extend(more.clone());
    }
    json!({
        "name": name, "id": format!("{}/ipConfigurations/{name}", nic_id(nic)),
        "etag": "W/\"00000000-0000-0000-0000-0000000000aa\"",
        "type": "Microsoft.Network/networkInterfaces/ipConfigurations", "properties": properties,
    })
}

fn nic(name: &str, state: &str, configs: Vec<Value>) -> Value {
    let mut configs = configs;
    configs.insert(0, config(name, "ipconfig1", "10.5.0.4", true, &json!({})));
    json!({
        "name": name, "id": nic_id(name), "location": "westeurope",
        "etag": "W/\"00000000-0000-0000-0000-0000000000aa\"", "kind": "Regular",
        "type": "Microsoft.Network/networkInterfaces",
        "tags": {"owner": "somebody else", "cost-centre": "12", "vipfence": "c:t3.1"},
        "futureField": {"ratio": 0.1, "large": u64::MAX, "list": [1, null, "x", {"deep": []}]},
        "properties": {
            "provisioningState": state, "resourceGuid": "00000000-0000-0000-0000-0000000000bb",
            "ipConfigurations": configs,
            "dnsSettings": {"dnsServers": ["10.5.0.2"], "appliedDnsServers": [],
                "internalDomainNameSuffix": "x.internal.cloudapp.net"},
            "macAddress": "00-0D-3A-00-00-01", "enableAcceleratedNetworking": true,
            "enableIPForwarding": true, "vnetEncryptionSupported": false,
            "disableTcpStateTracking": false, "primary": true, "hostedWorkloads": [],
            "networkSecurityGroup": {"id": id("networkSecurityGroups", "nsg")},
            "virtualMachine": {"id": format!("{GROUP}/providers/Microsoft.Compute/virtualMachines/{name}")},
            "tapConfigurations": [], "nicType": "Standard", "allowPort25Out": false,
            "auxiliaryMode": "None", "auxiliarySku": "None",
        },
    })
}

/// NIC documents: bare, with a VIP and all that can hang on it, with strangers, half done.
#[must_use]
pub fn nics() -> Vec<Value> {
    let hangs = json!({
        "publicIPAddress": {"id": id("publicIPAddresses", "pip"), "properties": {"deleteOption": "Detach"}},
        "applicationSecurityGroups": [{"id": id("applicationSecurityGroups", "asg")}],
        "loadBalancerBackendAddressPools": [{"id": format!("{}/backendAddressPools/p", id("loadBalancers", "lb"))}],
        "loadBalancerInboundNatRules": [], "gatewayLoadBalancer": null,
    });
    let none = json!({});
    vec![
        nic("n1", "Succeeded", vec![]),
        nic("n1", "Succeeded", vec![config("n1", "vipfence-v", "10.5.0.110", false, &hangs)]),
        nic(
            "n1",
            "Succeeded",
            vec![
                config("n1", "theirs", "10.5.0.77", false, &hangs),
                config("n1", "vipfence-v", "10.5.0.110", false, &none),
                config("n1", "vipfence-v-2", "fd00::110", false, &none),
                config("n1", "block", "10.5.0.160/28", false, &none),
            ],
        ),
        nic("n1", "Updating", vec![config("n1", "vipfence-v", "10.5.0.110", false, &none)]),
        nic("n1", "Failed", vec![config("n1", "vipfence-v", "10.5.0.110", false, &none)]),
    ]
}

/// Error bodies, and the bodies of failed operations.
#[must_use]
pub fn errors() -> Vec<Value> {
    let allocated = format!(
        "IP configuration {}/ipConfigurations/vipfence-v is using the private IP address \
         10.5.0.110 which is already allocated to resource {}/ipConfigurations/x.",
        nic_id("n1"),
        nic_id("n2")
    );
    let error = |code: &str, message: &str| {
        let detail = json!({"code": "PrivateIPAddressIsBeingCleanedUp", "message": "10.5.0.110"});
        json!({"error": {"code": code, "message": message, "details": [detail]}})
    };
    let plain = |code: &str| json!({"error": {"code": code, "message": "text", "details": []}});
    vec![
        error("PrivateIPAddressIsAllocated", &allocated),
        plain("AnotherOperationInProgress"),
        plain("RetryableError"),
        plain("PreconditionFailed"),
        plain("ScopeLocked"),
        plain("LinkedAuthorizationFailed"),
        plain("ResourceNotFound"),
        json!({"code": "InvalidAuthenticationToken", "message": "text"}),
        json!({"status": "Failed", "error": {"code": "Canceled", "message": "text"}}),
    ]
}

/// The bodies of asynchronous operations.
#[must_use]
pub fn operations() -> Vec<Value> {
    let mut all = errors();
    all.extend(["Succeeded", "InProgress", "Failed", "Canceled"].map(
        |word| json!({"status": word, "properties": {"output": null}, "percentComplete": 50}),
    ));
    all
}

/// What the survey of a new VIP reads besides NICs.
#[must_use]
pub fn networks() -> Vec<Value> {
    let subnet = |prefixes: Value| {
        json!({"id": format!("{}/subnets/a", id("virtualNetworks", "vnet")), "name": "a",
            "properties": prefixes})
    };
    vec![
        json!({"id": id("virtualNetworks", "vnet"), "properties": {
            "subnets": [subnet(json!({"addressPrefix": "10.5.0.0/24"}))]}}),
        json!({"id": id("virtualNetworks", "vnet"), "properties": {
            "subnets": [subnet(json!({"addressPrefixes": ["10.5.0.0/24", "fd00::/64"]}))]}}),
        json!({"available": true, "availableIPAddresses": [], "isPlatformReserved": false}),
        json!({"available": false, "availableIPAddresses": ["10.5.0.9"]}),
        json!({"value": nics(), "nextLink": "https://management.azure.com/next"}),
    ]
}

/// Answers of the instance metadata service to who asks for a token.
#[must_use]
pub fn tokens() -> Vec<Value> {
    let token = |expires: Value| {
        json!({"access_token": "token", "client_id": "00000000-0000-0000-0000-000000000001",
            "expires_in": "86399", "expires_on": expires, "ext_expires_in": "86399",
            "not_before": "1700000000", "resource": "https://management.azure.com/",
            "token_type": "Bearer"})
    };
    vec![
        token(json!("4102444800")),
        token(json!(4_102_444_800_u64)),
        token(json!("99999999999999999")),
        token(json!("-9223372036854775808")),
        json!({"error": "invalid_request", "error_description": "Identity not found"}),
    ]
}
