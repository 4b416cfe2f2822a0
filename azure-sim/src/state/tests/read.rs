//! What reads show.

use super::*;

#[test]
fn a_nic_of_a_vm_has_the_recorded_shape() {
    let mut bench = Bench::new();
    let answer = bench.get(&bench.nic_path("n1-nic"));
    assert_eq!(answer.status, 200);
    let nic = answer.body.clone().expect("a NIC");
    assert_eq!(answer.header("etag"), nic["etag"].as_str());
    let config = bench.world.config().clone();
    let id = config.nic_id("n1-nic");
    assert_eq!(
        nic,
        json!({
            "name": "n1-nic", "id": id, "etag": nic["etag"], "location": "westeurope", "tags": {},
            "properties": {
                "provisioningState": "Succeeded",
                "resourceGuid": nic["properties"]["resourceGuid"],
                "ipConfigurations": [{
                    "name": "ipconfig1",
                    "id": format!("{id}/ipConfigurations/ipconfig1"),
                    "etag": nic["etag"],
                    "type": "Microsoft.Network/networkInterfaces/ipConfigurations",
                    "properties": {
                        "provisioningState": "Succeeded",
                        "privateIPAddress": "10.5.0.4",
                        "privateIPAllocationMethod": "Dynamic",
                        "subnet": {"id": config.subnet_id("vnet", "subnet")},
                        "primary": true,
                        "privateIPAddressVersion": "IPv4",
                    },
                }],
                "dnsSettings": {
                    "dnsServers": [], "appliedDnsServers": [],
                    "internalDomainNameSuffix": "simulated.ax.internal.cloudapp.net",
                },
                "macAddress": "00-0D-3A-A5-00-00",
                "enableAcceleratedNetworking": false,
                "vnetEncryptionSupported": false,
                "enableIPForwarding": false,
                "primary": true,
                "virtualMachine": {"id": config.vm_id("n1")},
                "hostedWorkloads": [], "tapConfigurations": [],
                "nicType": "Standard",
            },
            "type": "Microsoft.Network/networkInterfaces",
            "kind": "Regular",
        })
    );
}

#[test]
fn a_nic_without_a_vm_has_no_mac_address_and_no_vm() {
    let mut bench = Bench::new();
    let nic = bench.nic("stranger");
    for absent in ["macAddress", "primary", "virtualMachine"] {
        assert!(nic["properties"].get(absent).is_none(), "{absent}");
    }
}

#[test]
fn paths_are_compared_without_case() {
    let mut bench = Bench::new();
    let path = bench.nic_path("n1-nic").to_uppercase();
    assert_eq!(bench.get(&path).body.expect("a NIC")["name"], "n1-nic");
}

#[test]
fn nics_are_listed_in_group_and_subscription() {
    let mut bench = Bench::new();
    let subscription = bench.world.config().subscription.clone();
    let group = bench.world.config().resource_group_id();
    for scope in [group, format!("/subscriptions/{subscription}")] {
        let path = format!("{scope}/providers/Microsoft.Network/networkInterfaces?{API}");
        let list = bench.get(&path).body.expect("a list");
        assert_eq!(list["value"].as_array().expect("a list").len(), 4);
        assert!(list.get("nextLink").is_none());
        assert_eq!(list["value"][0], bench.nic("n1-nic"));
    }
}

#[test]
fn a_long_list_comes_in_pages() {
    let mut bench = Bench::with(|s| s.page_size = Some(3));
    let group = bench.world.config().resource_group_id();
    let first = bench.get(&format!("{group}/providers/Microsoft.Network/networkInterfaces?{API}"));
    let first = first.body.expect("a page");
    assert_eq!(first["value"].as_array().expect("a list").len(), 3);
    let next = first["nextLink"].as_str().expect("a link");
    let next = next.strip_prefix("https://management.azure.com").expect("absolute");
    let second = bench.get(next).body.expect("a page");
    assert_eq!(second["value"][0]["name"], "stranger");
    assert!(second.get("nextLink").is_none());
}

#[test]
fn ip_configurations_can_be_read_one_by_one_but_not_written() {
    let mut bench = Bench::new();
    let id = bench.world.config().nic_id("n1-nic");
    let one = format!("{id}/ipConfigurations/ipconfig1?{API}");
    let nic = bench.nic("n1-nic");
    let expected = &nic["properties"]["ipConfigurations"];
    let list = bench.get(&format!("{id}/ipConfigurations?{API}"));
    assert_eq!(list.body.expect("a list")["value"], *expected);
    assert_eq!(bench.get(&one).body.expect("a config"), expected[0]);
    let missing = bench.get(&format!("{id}/ipConfigurations/none?{API}"));
    assert_refused(&missing, 404, "NotFound");
    let put = bench.ask(ArmRequest::new("PUT", one).with_body(json!({})));
    assert_refused(&put, 405, "MethodNotAllowed");
}

#[test]
fn what_does_not_exist_is_not_found() {
    let mut bench = Bench::new();
    let none = bench.get(&bench.nic_path("none"));
    assert_refused(&none, 404, "ResourceNotFound");
    assert_eq!(
        none.body.expect("a body"),
        json!({"error": {"code": "ResourceNotFound", "message": "The Resource 'Microsoft.Network/networkInterfaces/none' under resource group 'vipfence' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix"}}),
        "the front door has no details"
    );
    let path = bench.nic_path("n1-nic");
    let other_group = bench.get(&path.replace("resourceGroups/vipfence", "resourceGroups/other"));
    assert_refused(&other_group, 404, "ResourceGroupNotFound");
    let subscription = bench.world.config().subscription.clone();
    let other = bench.get(&path.replace(&subscription, "other"));
    assert_refused(&other, 404, "SubscriptionNotFound");
    assert_refused(&bench.get(&format!("/nowhere?{API}")), 404, "InvalidResourceType");
}

#[test]
fn a_vm_names_its_nics() {
    let mut bench = Bench::new();
    let id = bench.world.config().vm_id("n2");
    let vm = bench.get(&format!("{id}?{API}")).body.expect("a VM");
    assert_eq!(
        vm["properties"]["networkProfile"]["networkInterfaces"],
        json!([{"id": bench.world.config().nic_id("n2-nic"), "properties": {"primary": true}}])
    );
    bench.admin(AdminCommand::SetPower { node: "n2".to_owned(), power: Power::Deallocated });
    let vm = bench.get(&format!("{id}?$expand=instanceView&{API}")).body.expect("a VM");
    assert_eq!(vm["properties"]["instanceView"]["statuses"][1]["code"], "PowerState/deallocated");
    let none = bench.get(&format!("{}?{API}", bench.world.config().vm_id("none")));
    assert_refused(&none, 404, "ResourceNotFound");
}

#[test]
fn a_network_and_its_subnet_show_their_prefix() {
    let mut bench = Bench::new();
    let id = bench.world.config().virtual_network_id("vnet");
    let network = bench.get(&format!("{id}?{API}")).body.expect("a network");
    let subnet = bench.get(&format!("{id}/subnets/subnet?{API}")).body.expect("a subnet");
    assert_eq!(network["properties"]["subnets"], json!([subnet]));
    assert_eq!(subnet["properties"]["addressPrefix"], "10.5.0.0/24");
}

#[test]
fn a_check_of_an_address_says_free_taken_or_reserved() {
    let mut bench = Bench::new();
    let id = bench.world.config().virtual_network_id("vnet");
    let mut check = |address: &str| {
        bench.get(&format!("{id}/CheckIPAddressAvailability?ipAddress={address}&{API}"))
    };
    let free = check("10.5.0.110").body.expect("an answer");
    assert_eq!(free, json!({"available": true, "isPlatformReserved": false}));
    let others = ["10.5.0.7", "10.5.0.8", "10.5.0.9", "10.5.0.10", "10.5.0.11"];
    let taken = check("10.5.0.4").body.expect("an answer");
    assert_eq!(
        taken,
        json!({"available": false, "availableIPAddresses": others, "isPlatformReserved": false})
    );
    assert_eq!(check("10.5.0.1").body.expect("an answer")["isPlatformReserved"], true);
    assert_refused(&check("10.9.0.1"), 400, "PrivateIPAddressNotInAnySubnet");
    assert_refused(&check("x"), 400, "InvalidIPAddressFormat");
}

#[test]
fn az_finds_the_subscription_and_the_endpoints() {
    let mut bench = Bench::new();
    let list = bench.get("/subscriptions?api-version=2022-12-01").body.expect("a list");
    assert_eq!(list["value"][0]["state"], "Enabled");
    let request = ArmRequest::new("GET", "////metadata/endpoints?api-version=2022-09-01");
    let request = request.with_header("host", "127.0.0.1:8600");
    let ArmOutcome::Answer(answer) = bench.world.arm(bench.now, request) else { panic!("lost") };
    let endpoints = answer.body.expect("one object");
    assert_eq!(endpoints["resourceManager"], "http://127.0.0.1:8600");
    assert!(endpoints["authentication"].is_object() && endpoints["suffixes"].is_object());
}

#[test]
fn a_load_balancer_is_served_as_the_world_has_it() {
    let mut config = WorldConfig::nodes(1);
    let id = format!("{}/providers/Microsoft.Network/loadBalancers/lb", config.resource_group_id());
    config.load_balancers = vec![json!({"id": id, "name": "lb", "properties": {"probes": []}})];
    let mut bench = Bench::of(config);
    let answer = bench.ask(ArmRequest::new("GET", format!("{}?{API}", id.to_uppercase())));
    assert_eq!((answer.status, answer.body.expect("a body")["name"].clone()), (200, json!("lb")));
    let other = bench.ask(ArmRequest::new("GET", format!("{id}2?{API}")));
    assert_eq!(other.status, 404);
}
