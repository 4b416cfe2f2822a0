//! Several subscriptions and resource groups.

use super::*;

const OTHER: &str = "00000000-0000-4000-8000-0000000000b6";

/// The network and n1 are at home, n2 with its NIC is in group `apps`, and a NIC of the same name as
/// n1's is in another subscription.
fn bench() -> Bench {
    let twin = Ipv4Addr::new(10, 5, 0, 50);
    let mut config = WorldConfig::nodes(2).with_stranger("n1-nic", twin);
    config.vms[1].resource_group = Some("apps".to_owned());
    config.nics[1].resource_group = Some("apps".to_owned());
    config.nics[2].subscription = Some(OTHER.to_owned());
    config.nics[2].resource_group = Some("theirs".to_owned());
    Bench::of(config)
}

fn nic_in(subscription: &str, group: &str, name: &str) -> String {
    format!(
        "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Network/\
         networkInterfaces/{name}"
    )
}

impl Bench {
    fn apps_nic(&self) -> String {
        nic_in(&self.world.config().subscription, "apps", "n2-nic")
    }

    /// Ids of a list.
    fn ids(&mut self, path: &str) -> Vec<String> {
        let list = self.get(&format!("{path}?{API}")).body.expect("a list");
        let list = list["value"].as_array().expect("a list");
        list.iter().map(|one| one["id"].as_str().expect("an id").to_owned()).collect()
    }
}

#[test]
fn lists_show_what_is_in_their_group_or_subscription() {
    let mut bench = bench();
    let home = bench.world.config().subscription.clone();
    let (mine, apps) = (bench.world.config().nic_id("n1-nic"), bench.apps_nic());
    let theirs = nic_in(OTHER, "theirs", "n1-nic");
    let nics = |scope: &str| format!("{scope}/providers/Microsoft.Network/networkInterfaces");
    let group = bench.world.config().resource_group_id();
    assert_eq!(bench.ids(&nics(&group)), std::slice::from_ref(&mine));
    let all = bench.ids(&nics(&format!("/subscriptions/{home}")));
    assert_eq!(all, [apps.clone(), mine]);
    assert_eq!(bench.ids(&nics(&format!("/subscriptions/{OTHER}"))), [theirs]);
    let vms = format!("/subscriptions/{home}/resourceGroups/APPS/providers/Microsoft.Compute");
    assert_eq!(bench.ids(&format!("{vms}/virtualMachines")), [bench.world.config().vm_id("n2")]);
    assert!(bench.world.config().vm_id("n2").contains("/resourceGroups/apps/"));
    let groups = bench.ids(&format!("/subscriptions/{home}/resourcegroups"));
    assert_eq!(groups, [group, format!("/subscriptions/{home}/resourceGroups/apps")]);
    assert_eq!(bench.ids("/subscriptions").len(), 2);
}

#[test]
fn a_nic_elsewhere_works_on_the_network_at_home() {
    let mut bench = bench();
    let apps = bench.apps_nic();
    let put = bench.attach(&apps, VIP);
    assert_eq!(put.status, 200);
    assert_eq!(put.body.as_ref().expect("a NIC")["id"], apps);
    assert_eq!(bench.poll(&put), json!({"status": "InProgress"}));
    bench.wait(60_000);
    assert_eq!(bench.poll(&put), json!({"status": "Succeeded"}));
    assert_eq!(bench.world.attachments().attachments[&VIP], apps);
    // Addresses are the network's: nobody else can have it.
    assert_refused(&bench.attach("n1-nic", VIP), 400, "PrivateIPAddressIsAllocated");
    let twin = nic_in(OTHER, "theirs", "n1-nic");
    assert_refused(&bench.attach(&twin, VIP), 400, "PrivateIPAddressIsAllocated");
}

#[test]
fn nics_of_one_name_are_two_nics_with_operations_in_their_own_subscription() {
    let mut bench = bench();
    let twin = nic_in(OTHER, "theirs", "n1-nic");
    let put = bench.attach(&twin, VIP);
    let url = put.header("Azure-AsyncOperation").expect("an operation").to_owned();
    assert!(url.contains(&format!("/subscriptions/{OTHER}/providers/Microsoft.Network/")), "{url}");
    assert_eq!(
        bench.nic("n1-nic")["properties"]["ipConfigurations"].as_array().map(Vec::len),
        Some(1)
    );
    assert_eq!(
        bench.nic(&twin)["properties"]["ipConfigurations"].as_array().map(Vec::len),
        Some(2)
    );
    // The tester's hand goes by the id where a name is not enough, and by the name where it is.
    bench.admin(AdminCommand::SetLock {
        nic: Some("n2-nic".to_owned()),
        lock: Some(Lock::ReadOnly),
    });
    let apps = bench.apps_nic();
    let refused = bench.attach(&apps, VIP);
    assert_refused(&refused, 409, "ScopeLocked");
    bench.admin(AdminCommand::SetLock { nic: None, lock: Some(Lock::ReadOnly) });
    assert_refused(&bench.attach("n1-nic", VIP), 409, "ScopeLocked");
    assert_eq!(bench.detach(&twin, VIP).status, 200, "a lock at home locks nothing elsewhere");
}

#[test]
fn what_is_elsewhere_is_not_found_here() {
    let mut bench = bench();
    let home = bench.world.config().resource_group_id();
    let here = format!("{home}/providers/Microsoft.Network/networkInterfaces/n2-nic?{API}");
    assert_refused(&bench.get(&here), 404, "ResourceNotFound");
    let apps = home.replace("vipfence", "apps");
    for (path, kind) in [
        ("Microsoft.Network/virtualNetworks/vnet", "Microsoft.Network/virtualNetworks/vnet"),
        ("Microsoft.Compute/virtualMachines/n1", "Microsoft.Compute/virtualMachines/n1"),
        ("Microsoft.Network/networkInterfaces/none", "Microsoft.Network/networkInterfaces/none"),
    ] {
        let answer = bench.get(&format!("{apps}/providers/{path}?{API}"));
        assert_refused(&answer, 404, "ResourceNotFound");
        let message = answer.body.expect("a body")["error"]["message"].clone();
        let expected = format!("The Resource '{kind}' under resource group 'apps' was not found.");
        assert!(message.as_str().is_some_and(|text| text.starts_with(&expected)), "{message}");
    }
    let none = bench.get(&format!("{}?{API}", nic_in(OTHER, "vipfence", "n1-nic")));
    assert_refused(&none, 404, "ResourceGroupNotFound");
}

#[test]
fn every_list_comes_in_pages() {
    let mut bench = bench();
    bench.attached("n1-nic", VIP);
    let changes = json!({"page_size": 1}).as_object().expect("an object").clone();
    bench.admin(AdminCommand::ChangeSettings { changes });
    let home = bench.world.config().subscription.clone();
    let nic = bench.world.config().nic_id("n1-nic");
    let scope = format!("/subscriptions/{home}");
    for (path, length) in [
        ("/subscriptions".to_owned(), 2),
        (format!("{scope}/resourcegroups"), 2),
        (format!("{scope}/providers/Microsoft.Network/networkInterfaces"), 2),
        (format!("{scope}/providers/Microsoft.Network/virtualNetworks"), 1),
        (format!("{scope}/providers/Microsoft.Compute/virtualMachines"), 2),
        (format!("{nic}/ipConfigurations"), 2),
    ] {
        let (mut next, mut pages) = (Some(format!("{path}?{API}")), 0);
        while let Some(url) = next.take() {
            let page = bench.get(&url).body.expect("a page");
            assert_eq!(page["value"].as_array().map(Vec::len), Some(1), "{url}");
            pages += 1;
            let link = page["nextLink"].as_str();
            next = link
                .and_then(|link| link.strip_prefix("https://management.azure.com"))
                .map(str::to_owned);
        }
        assert_eq!(pages, length, "{path}");
    }
}
