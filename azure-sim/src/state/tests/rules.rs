//! Bodies whose ipConfigurations contradict each other, or another NIC's.

use super::*;

const ASG: &str =
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/applicationSecurityGroups/web";
const PUBLIC: &str =
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/publicIPAddresses/pip";

fn message(answer: &ArmResponse) -> &str {
    let body = answer.body.as_ref().expect("a body");
    body["error"]["message"].as_str().expect("a text")
}

/// A PUT of n1-nic with the VIP, changed; the bench for what comes after.
fn put_changed(bench: &mut Bench, change: impl FnOnce(&mut Value)) -> ArmResponse {
    let mut body = bench.with_address("n1-nic", VIP);
    change(&mut body["properties"]["ipConfigurations"]);
    bench.put("n1-nic", body)
}

#[test]
fn the_ip_configurations_of_a_nic_are_in_one_subnet() {
    let mut config = WorldConfig::nodes(1);
    config.virtual_networks[0].subnets.push(SubnetConfig {
        name: "second".to_owned(),
        prefix: "10.5.1.0/24".parse().expect("a prefix"),
        prefix_v6: None,
    });
    let second = config.subnet_id("vnet", "second");
    let mut bench = Bench { world: World::new(config).expect("a world"), now: Duration::ZERO };
    let answer = put_changed(&mut bench, |configs| {
        configs[1]["properties"]["subnet"]["id"] = json!(second);
        configs[1]["properties"]["privateIPAddress"] = json!("10.5.1.110");
    });
    assert_refused(&answer, 400, "IPConfigurationsOnSameNicCannotUseDifferentSubnets");
    assert_eq!(message(&answer), "IPConfigurations on a Nic cannot belong to different subnets.");
}

#[test]
fn the_ip_configurations_of_a_nic_are_in_the_same_application_security_groups() {
    let mut bench = Bench::new();
    let groups = json!([{"id": ASG}]);
    let answer = put_changed(&mut bench, |configs| {
        configs[0]["properties"]["applicationSecurityGroups"] = groups.clone();
    });
    assert_refused(
        &answer,
        400,
        "AllIpConfigurationsOnANicMustBelongToTheSameApplicationSecurityGroups",
    );
    let id = bench.world.config().nic_id("n1-nic");
    assert_eq!(
        message(&answer),
        format!(
            "All IPConfigurations on a Network Interface should reference the same set of Application Security Groups. IPConfiguration {id}/ipConfigurations/ipconfig1 references ASG(s) {ASG}, wheras IPConfiguration {id}/ipConfigurations/vip-10.5.0.110 references ASG(s) ."
        )
    );
    let both = put_changed(&mut bench, |configs| {
        configs[0]["properties"]["applicationSecurityGroups"] = groups.clone();
        configs[1]["properties"]["applicationSecurityGroups"] =
            json!([{"id": ASG.to_ascii_uppercase()}]);
    });
    assert_eq!(both.status, 200);
}

#[test]
fn an_ip_configuration_is_in_at_most_20_application_security_groups() {
    for (count, status) in [(20, 200), (21, 400)] {
        let groups: Value = (0..count).map(|i| json!({"id": format!("{ASG}{i}")})).collect();
        let answer = put_changed(&mut Bench::new(), |configs| {
            for i in 0..2 {
                configs[i]["properties"]["applicationSecurityGroups"] = groups.clone();
            }
        });
        assert_eq!(answer.status, status);
    }
}

#[test]
fn a_public_address_is_on_one_ip_configuration_only() {
    let mut bench = Bench::new();
    let put = put_changed(&mut bench, |configs| {
        configs[1]["properties"]["publicIPAddress"] = json!({"id": PUBLIC});
    });
    assert_eq!(put.status, 200);
    let mut body = bench.nic("n2-nic");
    body["properties"]["ipConfigurations"][0]["properties"]["publicIPAddress"] =
        json!({"id": PUBLIC.to_ascii_lowercase()});
    let taken = bench.put("n2-nic", body);
    assert_refused(&taken, 400, "PublicIPAddressInUse");
    let id = |nic| bench.world.config().nic_id(nic);
    assert_eq!(
        message(&taken),
        format!(
            "Resource {}/ipConfigurations/ipconfig1 is referencing public IP address {} that is already allocated to resource {}/ipConfigurations/vip-10.5.0.110.",
            id("n2-nic"),
            PUBLIC.to_ascii_lowercase(),
            id("n1-nic")
        )
    );
    bench.wait(1_000);
    // Its own NIC may keep it, once.
    let twice = put_changed(&mut bench, |configs| {
        let configs = configs.as_array_mut().expect("a list");
        configs.truncate(2);
        configs[0]["properties"]["publicIPAddress"] = json!({"id": PUBLIC});
    });
    assert_refused(&twice, 400, "PublicIPReferencedByMultipleIPConfigs");
    let body = bench.nic("n1-nic");
    assert_eq!(bench.put("n1-nic", body).status, 200);
}

#[test]
fn a_vm_has_at_most_256_ip_configurations_over_all_its_nics() {
    for (more, status) in [(250, 200), (251, 400)] {
        let mut config = WorldConfig::nodes(1);
        config.virtual_networks[0].subnets[0].prefix = "10.5.0.0/22".parse().expect("a prefix");
        let mut second = config.nics[0].clone();
        second.name = "second".to_owned();
        second.primary_address = Ipv4Addr::new(10, 5, 0, 5).into();
        second.secondary =
            (0..4_u8).map(|i| (format!("s{i}"), Ipv4Addr::new(10, 5, 0, 6 + i).into())).collect();
        config.nics.push(second);
        let mut bench = Bench { world: World::new(config).expect("a world"), now: Duration::ZERO };
        let mut body = bench.nic("n1-nic");
        let subnet = body["properties"]["ipConfigurations"][0]["properties"]["subnet"].clone();
        let configs = body["properties"]["ipConfigurations"].as_array_mut().expect("a list");
        configs.extend((0..more).map(|i| {
            json!({"name": format!("c{i}"), "properties": {
                "privateIPAllocationMethod": "Dynamic", "subnet": subnet}})
        }));
        let answer = bench.put("n1-nic", body);
        assert_eq!(answer.status, status, "{more} more: {:?}", answer.error_code());
        if status == 400 {
            assert_refused(&answer, 400, "VirtualMachineIPConfigurationLimitReached");
        }
    }
}

#[test]
fn an_etag_in_the_body_counts_by_setting() {
    for (counts, status) in [(false, 200), (true, 412)] {
        let mut bench = Bench::with(|s| s.body_etag_counts = counts);
        let body = bench.with_address("n1-nic", VIP);
        bench.patch("n1-nic", json!({"a": "1"}));
        assert_eq!(bench.put("n1-nic", body.clone()).status, status);
        // A header is stronger.
        bench.wait(1_000);
        let put = bench.put_request("n1-nic", body).with_header("If-Match", "*");
        assert_eq!(bench.ask(put).status, 200);
    }
}

#[test]
fn the_primary_ip_configuration_comes_first_by_setting() {
    for (first, names) in
        [(false, ["ipconfig1", "vip-10.5.0.110"]), (true, ["vip-10.5.0.110", "ipconfig1"])]
    {
        let mut bench = Bench::with(|s| s.primary_first = first);
        put_changed(&mut bench, |configs| {
            configs[0]["properties"]["primary"] = json!(false);
            configs[1]["properties"]["primary"] = json!(true);
        });
        let nic = bench.nic("n1-nic");
        let configs = nic["properties"]["ipConfigurations"].as_array().expect("a list");
        assert_eq!(configs.iter().map(|c| &c["name"]).collect::<Vec<_>>(), names);
    }
}

#[test]
fn the_status_of_a_refusal_for_cleaning_is_a_setting() {
    let mut bench = Bench::with(|s| {
        s.cleanup_ms = 5_000;
        s.cleanup_status = 409;
    });
    bench.attached("n1-nic", VIP);
    bench.detach("n1-nic", VIP);
    bench.wait(1_000);
    assert_refused(&bench.attach("n2-nic", VIP), 409, "PrivateIPAddressIsBeingCleanedUp");
}

#[test]
fn an_old_api_version_does_not_show_what_came_later() {
    let mut bench = Bench::new();
    let id = bench.world.config().nic_id("n1-nic");
    let list = id.rsplit_once('/').expect("a path").0.to_owned();
    for (version, has) in [("2020-06-01", false), ("2021-08-01", true)] {
        let nic = bench.get(&format!("{id}?api-version={version}")).body.expect("a NIC");
        let list = bench.get(&format!("{list}?api-version={version}")).body.expect("a list");
        for nic in [&nic, &list["value"][0]] {
            assert_eq!(nic.get("kind").is_some(), has);
            assert_eq!(nic["properties"].get("vnetEncryptionSupported").is_some(), has);
        }
    }
    let network = bench.world.config().virtual_network_id("vnet");
    for (version, has) in [("2017-10-01", false), ("2018-11-01", true)] {
        let check = format!(
            "{network}/CheckIPAddressAvailability?ipAddress=10.5.0.50&api-version={version}"
        );
        let body = bench.get(&check).body.expect("a body");
        assert_eq!(body.get("isPlatformReserved").is_some(), has);
    }
}
