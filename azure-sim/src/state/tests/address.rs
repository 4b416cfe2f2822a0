//! Who has an address, and whom it reaches.

use super::*;

#[test]
fn an_address_is_on_one_nic_of_its_network_only() {
    let mut bench = Bench::new();
    bench.attached("n1-nic", VIP);
    let (n1, n2) = (bench.world.config().nic_id("n1-nic"), bench.world.config().nic_id("n2-nic"));
    let refused = bench.attach("n2-nic", VIP);
    assert_refused(&refused, 400, "PrivateIPAddressIsAllocated");
    assert_eq!(
        refused.body.expect("a body"),
        json!({"error": {"code": "PrivateIPAddressIsAllocated", "message": format!(
            "IP configuration {n2}/ipConfigurations/vip-10.5.0.110 is using the private IP address 10.5.0.110 which is already allocated to resource {n1}/ipConfigurations/vip-10.5.0.110."),
            "details": []}})
    );
    let primary = bench.attach("n2-nic", [10, 5, 0, 200].into());
    assert_refused(&primary, 400, "PrivateIPAddressIsAllocated");
}

#[test]
fn a_refused_put_changes_nothing() {
    let mut bench = Bench::new();
    bench.attached("n1-nic", VIP);
    let before = bench.nic("n2-nic");
    bench.attach("n2-nic", VIP);
    assert_eq!(bench.nic("n2-nic"), before);
}

#[test]
fn a_detached_address_is_free_when_the_detach_is_done() {
    let mut bench = Bench::new();
    bench.attached("n1-nic", VIP);
    bench.detach("n1-nic", VIP);
    let id = bench.world.config().nic_id("n1-nic");
    bench.wait(999);
    let early = bench.attach("n2-nic", VIP);
    assert_refused(&early, 400, "PrivateIPAddressIsAllocated");
    let text = early.body.expect("a body").to_string();
    assert!(text.contains(&format!("already allocated to resource {id}.")), "{text}");
    assert_eq!(bench.reaches(VIP), Some("n1-nic".to_owned()), "until the operation has ended");
    bench.wait(1);
    assert_eq!(bench.reaches(VIP), None);
    assert_eq!(bench.attach("n2-nic", VIP).status, 200);
    bench.wait(999);
    assert_eq!(bench.reaches(VIP), None);
    bench.wait(1);
    assert_eq!(bench.reaches(VIP), Some("n2-nic".to_owned()));
}

#[test]
fn a_detached_address_is_free_when_the_detach_is_accepted_by_setting() {
    let mut bench = Bench::with(|s| s.address_freed = AddressFreed::AtAccept);
    bench.attached("n1-nic", VIP);
    bench.detach("n1-nic", VIP);
    bench.wait(500);
    assert_eq!(bench.attach("n2-nic", VIP).status, 200);
    assert_eq!(bench.reaches(VIP), Some("n1-nic".to_owned()));
    bench.wait(500);
    assert_eq!(bench.reaches(VIP), None);
    bench.wait(500);
    assert_eq!(bench.reaches(VIP), Some("n2-nic".to_owned()));
}

#[test]
fn a_freed_address_can_need_cleaning_first() {
    let mut bench = Bench::with(|s| s.cleanup_ms = 5_000);
    bench.attached("n1-nic", VIP);
    bench.detach("n1-nic", VIP);
    bench.wait(1_000);
    assert_refused(&bench.attach("n2-nic", VIP), 400, "PrivateIPAddressIsBeingCleanedUp");
    bench.wait(4_999);
    assert_refused(&bench.attach("n1-nic", VIP), 400, "PrivateIPAddressIsBeingCleanedUp");
    bench.wait(1);
    assert_eq!(bench.attach("n2-nic", VIP).status, 200);
}

#[test]
fn the_data_plane_can_lag_behind_success() {
    let mut bench = Bench::with(|s| s.data_plane_lag_ms = 700);
    let put = bench.attach("n1-nic", VIP);
    bench.wait(1_000);
    assert_eq!(bench.poll(&put)["status"], "Succeeded");
    bench.wait(699);
    assert_eq!(bench.reaches(VIP), None);
    assert_eq!(bench.world.next_deadline(), Some(Duration::from_millis(1_700)));
    bench.wait(1);
    assert_eq!(bench.reaches(VIP), Some("n1-nic".to_owned()));
    assert_eq!(bench.world.next_deadline(), None);
}

#[test]
fn each_change_of_the_data_plane_has_a_version_and_an_entry() {
    let mut bench = Bench::new();
    assert_eq!(bench.world.attachments_version(), 4);
    bench.attached("n1-nic", VIP);
    assert_eq!(bench.world.attachments_version(), 5);
    let change = bench.world.journal_after(0).find_map(|entry| match &entry.event {
        JournalEvent::DataPlane { version, changes } => {
            Some((entry.at_ms, *version, changes.clone()))
        }
        _ => None,
    });
    let nic = Some(bench.world.config().nic_id("n1-nic"));
    assert_eq!(change, Some((1_000, 5, vec![AttachmentChange { address: VIP, nic }])));
}

#[test]
fn a_dynamic_address_is_found_and_then_kept() {
    let mut bench = Bench::new();
    let mut body = bench.nic("n1-nic");
    let subnet = body["properties"]["ipConfigurations"][0]["properties"]["subnet"].clone();
    let configs = body["properties"]["ipConfigurations"].as_array_mut().expect("a list");
    configs.push(json!({"name": "more", "properties": {"subnet": subnet}}));
    let put = bench.put("n1-nic", body).body.expect("a NIC");
    let found = &put["properties"]["ipConfigurations"][1]["properties"];
    assert_eq!(found["privateIPAddress"], "10.5.0.7");
    assert_eq!(found["privateIPAllocationMethod"], "Dynamic");
    bench.wait(1_000);
    let body = bench.nic("n1-nic");
    let put = bench.put("n1-nic", body).body.expect("a NIC");
    let kept = &put["properties"]["ipConfigurations"][1]["properties"];
    assert_eq!(kept["privateIPAddress"], "10.5.0.7");
}

#[test]
fn a_block_of_addresses_is_held_as_a_whole() {
    let mut bench = Bench::new();
    let mut body = bench.with_address("n1-nic", VIP);
    body["properties"]["ipConfigurations"][1]["properties"]["privateIPAddress"] =
        json!("10.5.0.112/28");
    let put = bench.put("n1-nic", body).body.expect("a NIC");
    let block = &put["properties"]["ipConfigurations"][1]["properties"]["privateIPAddress"];
    assert_eq!(block, "10.5.0.112/28");
    bench.wait(1_000);
    assert_eq!(bench.reaches([10, 5, 0, 127].into()), Some("n1-nic".to_owned()));
    let inside = bench.attach("n2-nic", [10, 5, 0, 120].into());
    assert_refused(&inside, 400, "PrivateIPAddressIsAllocated");
}

#[test]
fn a_full_subnet_gives_no_address() {
    let mut config = WorldConfig::default();
    config.virtual_networks[0].subnets[0].prefix = "10.5.0.0/29".parse().expect("a prefix");
    let mut config = config.with_node("n1", Ipv4Addr::new(10, 5, 0, 4));
    for last in [5, 6] {
        config = config.with_stranger(&format!("s{last}"), Ipv4Addr::new(10, 5, 0, last));
    }
    let mut bench = Bench { world: World::new(config).expect("a world"), now: Duration::ZERO };
    let mut body = bench.with_address("n1-nic", VIP);
    let properties = &mut body["properties"]["ipConfigurations"][1]["properties"];
    properties["privateIPAllocationMethod"] = json!("Dynamic");
    let full = bench.put("n1-nic", body);
    assert_refused(&full, 400, "SubnetIsFull");
    let message = &full.body.expect("a body")["error"]["message"];
    assert_eq!(
        message,
        "Subnet subnet with address prefix 10.5.0.0/29 does not have enough capacity for 1 IP addresses."
    );
}

#[test]
fn two_networks_may_use_the_same_addresses() {
    let mut config = WorldConfig::nodes(1);
    let mut other = config.virtual_networks[0].clone();
    other.name = "other".to_owned();
    config.virtual_networks.push(other);
    let mut twin = config.nics[0].clone();
    twin.name = "twin".to_owned();
    twin.virtual_network = "other".to_owned();
    config.nics.push(twin);
    assert!(World::new(config.clone()).is_ok());
    config.nics[1].virtual_network = "vnet".to_owned();
    assert_eq!(
        World::new(config).err().map(|e| e.to_string()),
        Some("NIC twin: address 10.5.0.4 is taken twice".to_owned())
    );
}

// ---- IPv6 ---------------------------------------------------------------------------------------

fn dual_stack() -> Bench {
    let config = WorldConfig::nodes(2).dual_stack();
    Bench { world: World::new(config).expect("a world"), now: Duration::ZERO }
}

#[test]
fn an_ipv6_address_moves_like_any_other_and_is_shown_as_one() {
    let mut bench = dual_stack();
    let address: IpAddr = "fd00:5::6e".parse().expect("an address");
    bench.attached("n1-nic", address);
    assert_refused(&bench.attach("n2-nic", address), 400, "PrivateIPAddressIsAllocated");
    let config = bench.nic("n1-nic")["properties"]["ipConfigurations"][1]["properties"].clone();
    assert_eq!(config["privateIPAddress"], "fd00:5::6e");
    assert_eq!(
        (&config["privateIPAddressVersion"], &config["primary"]),
        (&json!("IPv6"), &json!(false))
    );
    assert_eq!(bench.detach("n1-nic", address).status, 200);
    bench.wait(60_000);
    bench.attached("n2-nic", address);
}

#[test]
fn an_ipv6_address_needs_an_ipv6_prefix_and_is_never_primary() {
    let mut bench = Bench::new();
    let address: IpAddr = "fd00:5::6e".parse().expect("an address");
    assert_refused(&bench.attach("n1-nic", address), 400, "SubnetDoesNotHaveIPv6Prefix");
    let mut bench = dual_stack();
    let outside = "fd00:6::6e".parse().expect("an address");
    assert_refused(&bench.attach("n1-nic", outside), 400, "PrivateIPAddressNotInSubnet");
    let mut body = bench.with_address("n1-nic", address);
    let configs = &mut body["properties"]["ipConfigurations"];
    configs[0]["properties"]["primary"] = json!(false);
    configs[1]["properties"]["primary"] = json!(true);
    assert_refused(&bench.put("n1-nic", body), 400, "Ipv6IpConfigurationCannotBePrimary");
    let mut body = bench.with_address("n1-nic", address);
    let config = &mut body["properties"]["ipConfigurations"][1]["properties"];
    config["privateIPAddressVersion"] = json!("IPv4");
    assert_refused(&bench.put("n1-nic", body), 400, "InvalidIPAddressFormat");
}
