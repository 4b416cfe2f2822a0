//! `vipfence azure role`: where its NICs come from, and what it prints.

use serde_json::{Value, json};
use vipfence_proto::v1;

use super::{
    commands::{nobody, typed},
    fake::Fake,
    status,
};
use crate::cli::exit::Exit;

const GROUP: &str = "/subscriptions/s/resourceGroups";

fn nic_id(name: &str) -> String {
    format!("{GROUP}/vms/providers/Microsoft.Network/networkInterfaces/{name}")
}

/// Two nodes with a NIC each.
fn cluster() -> v1::GetStatusResponse {
    let mut status = status();
    for node in &mut status.nodes {
        node.nics = vec![v1::Nic { name: "front".to_owned(), id: nic_id(&node.name) }];
    }
    status
}

fn document(name: &str) -> Value {
    let network = format!("{GROUP}/net/providers/Microsoft.Network");
    json!({
        "id": nic_id(name),
        "networkSecurityGroup": {"id": format!("{network}/networkSecurityGroups/nsg")},
        "ipConfigurations": [{"subnet": {"id": format!("{network}/virtualNetworks/v/subnets/s")}}],
    })
}

fn file(documents: &Value) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), documents.to_string()).expect("it is written");
    file
}

fn actions(role: &Value) -> usize {
    role["Actions"].as_array().expect("a list").len()
}

#[tokio::test]
async fn the_role_covers_the_nics_of_the_cluster_and_what_their_documents_name() {
    let fake = Fake::default();
    fake.script().linearizable.push_back(Ok(cluster()));
    let documents = file(&json!([document("n1"), document("n2")]));
    let line =
        format!("vipfence azure role --no-doctor --nic-documents {}", documents.path().display());
    let ended = typed(&line, &[fake.serve().await]).await;
    assert_eq!(ended.exit, Exit::Done, "{}", ended.err);
    let role: Value = serde_json::from_str(&ended.out).expect("JSON alone");
    assert_eq!(role["Name"], "vipfence demo");
    let groups = json!([format!("{GROUP}/net"), format!("{GROUP}/vms")]);
    assert_eq!((&role["AssignableScopes"], actions(&role)), (&groups, 7));
    assert!(ended.err.starts_with("Create the role:"), "{}", ended.err);
    assert!(ended.err.contains("Network Contributor"), "{}", ended.err);
}

#[tokio::test]
async fn without_documents_it_allows_more_and_says_how_to_do_better() {
    let fake = Fake::default();
    fake.script().local = Some(cluster());
    let line = "vipfence azure role --name mine --scope /subscriptions/s/resourceGroups/more";
    let ended = typed(line, &[fake.serve().await]).await;
    assert_eq!(ended.exit, Exit::Done, "no quorum is needed: {}", ended.err);
    let role: Value = serde_json::from_str(&ended.out).expect("JSON alone");
    let groups = json!([format!("{GROUP}/more"), format!("{GROUP}/vms")]);
    assert_eq!((&role["Name"], &role["AssignableScopes"]), (&json!("mine"), &groups));
    assert_eq!(actions(&role), 18, "what doctor reads among them");
    for name in ["n1", "n2"] {
        assert!(ended.err.contains(&format!("  '{}'\n", nic_id(name))), "{}", ended.err);
    }
}

#[tokio::test]
async fn documents_will_do_before_there_is_a_cluster() {
    let documents = file(&document("n1"));
    let line = format!(
        "vipfence azure role --format bicep --assign resources --nic-documents {}",
        documents.path().display()
    );
    let ended = typed(&line, &[nobody().await]).await;
    assert_eq!(ended.exit, Exit::Done, "{}", ended.err);
    assert!(ended.out.contains("    roleName: 'vipfence'\n"), "{}", ended.out);
    assert!(ended.err.starts_with("no node of the cluster answered; only NICs"), "{}", ended.err);
    assert!(ended.err.contains(&format!("--scope '{}'", nic_id("n1"))), "{}", ended.err);
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_with_the_remedy() {
    let ended = typed("vipfence azure role", &[nobody().await]).await;
    assert_eq!((ended.exit, ended.out.as_str()), (Exit::Unavailable, ""));
    assert!(ended.err.contains("--nic-documents FILE"), "{}", ended.err);
    let other = file(&json!({"id": "/x"}));
    let line = format!("vipfence azure role --nic-documents {}", other.path().display());
    let ended = typed(&line, &[nobody().await]).await;
    assert_eq!(ended.exit, Exit::Usage);
    assert!(ended.err.contains("document 1 has no `id` of a network interface"), "{}", ended.err);
    let fake = Fake::default();
    fake.script().linearizable.push_back(Ok(cluster()));
    let ended = typed("vipfence azure role --scope /x", &[fake.serve().await]).await;
    assert_eq!(ended.exit, Exit::Usage);
    assert!(ended.err.contains("--scope: /x is no resource group"), "{}", ended.err);
}

#[tokio::test]
async fn the_role_of_deploy_is_what_is_printed_for_its_nics() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/azure");
    let line = format!("vipfence azure role --name vipfence --nic-documents {folder}/nics.json");
    let ended = typed(&line, &[nobody().await]).await;
    assert_eq!(ended.exit, Exit::Done, "{}", ended.err);
    let kept = std::fs::read_to_string(format!("{folder}/role.json")).expect("the file");
    assert_eq!(kept, ended.out, "write it anew: {line} > {folder}/role.json");
}
