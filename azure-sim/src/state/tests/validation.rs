//! Bodies that Azure does not take.

use super::*;

/// Changes n1-nic's document, with the VIP in it, and sends it.
fn put_changed(change: impl FnOnce(&mut Value)) -> ArmResponse {
    let mut bench = Bench::new();
    let mut body = bench.with_address("n1-nic", VIP);
    change(&mut body);
    let answer = bench.put("n1-nic", body);
    assert!(
        answer.status == 200
            || bench.nic("n1-nic")["properties"]["provisioningState"] == "Succeeded"
    );
    answer
}

fn configs(body: &mut Value) -> &mut Vec<Value> {
    body["properties"]["ipConfigurations"].as_array_mut().expect("a list")
}

fn put_address(address: &str) -> ArmResponse {
    put_changed(|body| configs(body)[1]["properties"]["privateIPAddress"] = json!(address))
}

#[test]
fn a_nic_has_at_least_one_ip_configuration() {
    let answer = put_changed(|body| configs(body).clear());
    assert_refused(&answer, 400, "InvalidIPConfigCount");
    assert_eq!(
        answer.body.expect("a body"),
        json!({"error": {"code": "InvalidIPConfigCount", "message": "Network interface n1-nic must have one or more IP configurations.", "details": []}})
    );
}

#[test]
fn one_of_several_ip_configurations_is_the_primary_one() {
    let none = put_changed(|body| configs(body)[0]["properties"]["primary"] = json!(false));
    assert_refused(&none, 400, "NetworkInterfaceMustHaveOneOneIPConfigAsPrimary");
    let two = put_changed(|body| configs(body)[1]["properties"]["primary"] = json!(true));
    assert_refused(&two, 400, "NetworkInterfaceMustHaveOneOneIPConfigAsPrimary");
}

#[test]
fn the_primary_ip_configuration_of_a_vm_can_be_demoted_but_not_removed() {
    let removed = put_changed(|body| {
        configs(body).remove(0);
        configs(body)[0]["properties"]["primary"] = json!(true);
    });
    assert_refused(&removed, 400, "IpConfigDeleteNotSupported");
    assert_eq!(
        removed.body.expect("a body")["error"]["message"],
        "IP Configuration ipconfig1 cannot be deleted. Deletion and renaming of primary IP Configuration is not supported"
    );
    let demoted = put_changed(|body| {
        configs(body)[0]["properties"]["primary"] = json!(false);
        configs(body)[1]["properties"]["primary"] = json!(true);
    });
    assert_eq!(demoted.status, 200);
}

#[test]
fn an_address_lies_in_its_subnet_and_not_among_the_reserved_ones() {
    assert_refused(&put_address("10.6.0.110"), 400, "PrivateIPAddressNotInSubnet");
    for reserved in ["10.5.0.0", "10.5.0.3", "10.5.0.255"] {
        assert_refused(&put_address(reserved), 400, "PrivateIPAddressInReservedRange");
    }
    assert_refused(&put_address("10.5.0.4"), 400, "PrivateIPAddressIsAllocated");
    assert_refused(&put_address("ten"), 400, "InvalidIPAddressFormat");
    let none = put_changed(|body| {
        let properties = configs(body)[1]["properties"].as_object_mut().expect("an object");
        properties.remove("privateIPAddress");
    });
    assert_refused(&none, 400, "StaticIPAddressMissing");
}

#[test]
fn an_ip_configuration_names_a_subnet_that_exists() {
    let none = put_changed(|body| {
        configs(body)[1]["properties"].as_object_mut().expect("an object").remove("subnet");
    });
    assert_refused(&none, 400, "SubnetIsRequired");
    let wrong = put_changed(|body| configs(body)[1]["properties"]["subnet"] = json!({"id": "/x"}));
    assert_refused(&wrong, 400, "InvalidResourceReference");
}

#[test]
fn names_are_unique_whatever_their_case() {
    let answer = put_changed(|body| configs(body)[1]["name"] = json!("IPCONFIG1"));
    assert_refused(&answer, 400, "DuplicateIPConfigurationName");
}

#[test]
fn a_nic_has_at_most_256_ip_configurations() {
    let answer = put_changed(|body| {
        let one = configs(body)[1].clone();
        configs(body).extend((0..255).map(|i| {
            let mut config = one.clone();
            config["name"] = json!(format!("c{i}"));
            config
        }));
    });
    assert_refused(&answer, 400, "NetworkInterfaceIPConfigurationLimitReached");
}

#[test]
fn a_body_of_another_shape_is_refused() {
    let mut bench = Bench::new();
    let path = bench.nic_path("n1-nic");
    let no_body = bench.ask(ArmRequest::new("PUT", path));
    assert_refused(&no_body, 400, "InvalidRequestContent");
    for body in [
        json!([]),
        json!({"location": "westeurope", "properties": 1}),
        json!({"location": "westeurope", "properties": {"ipConfigurations": {}}}),
        json!({"location": "westeurope", "properties": {"ipConfigurations": [{}]}}),
        json!({"location": "westeurope", "properties": {"ipConfigurations": [{"name": "a"}]}}),
        json!({"location": "westeurope", "tags": {"a": 1}}),
    ] {
        assert_refused(&bench.put("n1-nic", body), 400, "InvalidRequestContent");
    }
    assert_refused(&bench.put("n1-nic", json!({"properties": {}})), 400, "LocationRequired");
}
