//! VMs with several identities, or with none.

use super::*;

const TOKEN: &str = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fmanagement.azure.com%2F";

fn identity(name: &str) -> IdentityConfig {
    IdentityConfig {
        name: name.to_owned(),
        client_id: Some(format!("client-of-{name}")),
        object_id: Some(format!("object-of-{name}")),
        subscription: None,
        resource_group: Some("identities".to_owned()),
        roles: None,
    }
}

/// n1 has two user-assigned identities, n2 one, n3 none; only n1 has its own, too, if wanted.
fn bench(own: bool) -> Bench {
    let mut config = WorldConfig::nodes(3);
    config.identities = vec![identity("a"), identity("b")];
    for (vm, names) in config.vms.iter_mut().zip([&["a", "b"][..], &["b"], &[]]) {
        vm.identities = names.iter().map(ToString::to_string).collect();
        vm.system_assigned = own && vm.name == "n1";
    }
    Bench::of(config)
}

impl Bench {
    /// `client_id` of the answer, or what the refusal says.
    fn client(&mut self, node: &str, selector: &str) -> (u16, String) {
        let answer = self.imds(node, &format!("{TOKEN}{selector}"));
        let body = answer.body.expect("a body");
        let said =
            if answer.status == 200 { &body["client_id"] } else { &body["error_description"] };
        (answer.status, said.as_str().expect("a text").to_owned())
    }
}

#[test]
fn imds_gives_the_identity_that_is_named() {
    let mut bench = bench(true);
    let resource = bench.world.config().identity_id("b");
    assert!(resource.ends_with(
        "/resourceGroups/identities/providers/Microsoft.ManagedIdentity/userAssignedIdentities/b"
    ));
    for selector in
        ["client_id=client-of-b", "object_id=object-of-b", &format!("msi_res_id={resource}")]
    {
        assert_eq!(bench.client("n1", &format!("&{selector}")), (200, "client-of-b".to_owned()));
        assert_eq!(bench.client("n3", &format!("&{selector}")).0, 400, "n3 does not have it");
    }
    let nobody = (400, "Identity not found".to_owned());
    assert_eq!(bench.client("n2", "&client_id=client-of-a"), nobody);
    let vm = bench.world.config().vm_id("n1");
    assert_eq!(bench.client("n1", &format!("&msi_res_id={vm}")), nobody, "a VM is no identity");
}

#[test]
fn without_a_name_it_is_the_vms_own_or_the_only_one() {
    let mut own = bench(true);
    let (status, client) = own.client("n1", "");
    assert_eq!((status, client.starts_with("client-of")), (200, false));
    let mut bench = bench(false);
    assert_eq!(bench.client("n2", ""), (200, "client-of-b".to_owned()));
    assert_eq!(bench.client("n3", ""), (400, "Identity not found".to_owned()));
    let several = "Multiple user assigned identities exist, please specify the clientId / \
                   resourceId of the identity in the token request";
    assert_eq!(bench.client("n1", ""), (400, several.to_owned()));
}

#[test]
fn a_user_assigned_identity_signs_its_writes_with_its_own_name() {
    let mut bench = bench(false);
    let request = bench.put_request("n1-nic", json!({}));
    let token = bench.token("n2");
    bench.world.arm(bench.now, request.with_token(&token));
    assert_eq!(bench.last_write().principal.as_deref(), Some("b"));
}

#[test]
fn an_identity_that_is_not_there_makes_no_world() {
    let mut config = WorldConfig::nodes(1);
    config.vms[0].identities.push("ghost".to_owned());
    let refused = World::new(config).expect_err("an impossible world").to_string();
    assert_eq!(refused, "VM n1 names identity ghost, which does not exist");
}
