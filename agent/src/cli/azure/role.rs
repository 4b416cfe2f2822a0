//! The role as a document: what `az role definition create` takes, Bicep, and the commands that
//! assign it.

use std::fmt::Write as _;

use serde_json::json;
use vipfence_coordinator_core::{Right, Rights};

use crate::cli::args::RoleFormat;

/// What a role that allows more, but is there already, is called in Azure.
const ALTERNATIVE: &str = "Network Contributor";

/// A role, ready to be printed.
#[derive(Debug)]
pub(super) struct RoleDocument {
    name: String,
    rights: Rights,
    /// It is assigned to the single resources in place of their groups.
    narrow: bool,
}

impl RoleDocument {
    pub(super) fn new(name: String, rights: Rights, narrow: bool) -> Self {
        Self { name, rights, narrow }
    }

    fn description(&self) -> String {
        let nics: Vec<&str> = self.rights.nics().map(name_of).collect();
        format!("Moves virtual IPs between the NICs {}; deletes nothing", nics.join(", "))
    }

    /// The file that `az role definition create --role-definition @FILE` takes.
    pub(super) fn json(&self) -> String {
        let actions: Vec<&str> = self.rights.actions().iter().map(|right| right.action).collect();
        let role = json!({
            "Name": self.name,
            "IsCustom": true,
            "Description": self.description(),
            "Actions": actions,
            "NotActions": [],
            "DataActions": [],
            "NotDataActions": [],
            "AssignableScopes": self.rights.groups(),
        });
        format!("{role:#}")
    }

    /// The same as Bicep, for `az deployment sub create`, with what each action is for.
    pub(super) fn bicep(&self) -> String {
        let mut text = String::from(
            "// What vipfence does in Azure, and nothing else; made by `vipfence azure role`.\n\
             targetScope = 'subscription'\n\n",
        );
        let name = bicep_text(&self.name);
        let _ = write!(
            text,
            "resource role 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {{\n  \
             name: guid(subscription().id, {name})\n  properties: {{\n    roleName: {name}\n    \
             description: {}\n    type: 'CustomRole'\n    permissions: [\n      {{\n        \
             actions: [\n",
            bicep_text(&self.description())
        );
        for Right { action, why } in self.rights.actions() {
            let _ = write!(text, "          // {why}\n          '{action}'\n");
        }
        text.push_str(
            "        ]\n        notActions: []\n      }\n    ]\n    assignableScopes: [\n",
        );
        for group in self.rights.groups() {
            let _ = writeln!(text, "      {}", bicep_text(&group));
        }
        text.push_str("    ]\n  }\n}\n\noutput roleId string = role.id");
        text
    }

    /// What to type next.
    pub(super) fn next_steps(&self, format: RoleFormat) -> String {
        let mut text = String::new();
        let unread: Vec<&str> = self.rights.unread().map(|nic| nic.as_str()).collect();
        if !unread.is_empty() {
            let ids: Vec<String> = unread.into_iter().map(shell_text).collect();
            let _ = write!(
                text,
                "What these NICs refer to is not known, so that the role allows to join anything \
                 that a NIC can refer to, in the groups of the NICs only:\n  {0}\nFetch their \
                 documents, and give them with --nic-documents nics.json:\n  az network nic show \
                 -o json --ids {1} > nics.json\n\n",
                ids.join("\n  "),
                ids.join(" ")
            );
        }
        text.push_str(match format {
            RoleFormat::Json => {
                "Create the role:\n  az role definition create --role-definition @role.json\n"
            }
            RoleFormat::Bicep => {
                "Create the role, in the subscription of the nodes:\n  az deployment sub create \
                 --location REGION --template-file role.bicep\n"
            }
        });
        text.push_str(
            "Assign it to the identity of every node (az vm identity show -g GROUP -n VM --query \
             principalId -o tsv):\n",
        );
        let groups = self.rights.groups();
        let scopes: Vec<&str> = match self.narrow {
            true => self.rights.resources().collect(),
            false => groups.iter().map(String::as_str).collect(),
        };
        for scope in scopes {
            let _ = writeln!(
                text,
                "  az role assignment create --role {} --assignee-object-id PRINCIPAL_ID \
                 --assignee-principal-type ServicePrincipal --scope {}",
                shell_text(&self.name),
                shell_text(scope)
            );
        }
        let _ = write!(
            text,
            "Azure's own role \"{ALTERNATIVE}\" at the same scopes will do as well; it allows \
             everything about networks, to delete NICs among it, but not to read VMs, which \
             `doctor` asks for.\nNew rights count once all of Azure knows them and a node has a \
             newer token: after minutes, at worst after a day."
        );
        text
    }
}

fn name_of(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or_default()
}

/// As a string of Bicep.
fn bicep_text(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('\'', "\\'").replace("${", "\\${");
    format!("'{}'", escaped.replace('\n', "\\n").replace('\r', "\\r"))
}

/// As one word of a shell.
fn shell_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use vipfence_types::NicId;

    use super::*;

    const GROUP: &str = "/subscriptions/s/resourceGroups";

    fn id(group: &str, rest: &str) -> String {
        format!("{GROUP}/{group}/providers/Microsoft.Network/{rest}")
    }

    fn document(narrow: bool) -> RoleDocument {
        let nic = id("vms", "networkInterfaces/n1-nic");
        let subnet = json!({"subnet": {"id": id("net", "virtualNetworks/v/subnets/s")}});
        let nic = json!({"id": nic, "properties": {"ipConfigurations": [{"properties": subnet}]}});
        RoleDocument::new("vipfence it's".to_owned(), Rights::of(&[], &[nic]), narrow)
    }

    #[test]
    fn the_json_is_what_az_takes() {
        let role: Value = serde_json::from_str(&document(false).json()).expect("JSON");
        let fields: Vec<&String> = role.as_object().expect("an object").keys().collect();
        let expected = [
            "Actions",
            "AssignableScopes",
            "DataActions",
            "Description",
            "IsCustom",
            "Name",
            "NotActions",
            "NotDataActions",
        ];
        assert_eq!(fields, expected);
        assert_eq!(role["IsCustom"], true);
        assert_eq!(
            role["AssignableScopes"],
            json!([format!("{GROUP}/net"), format!("{GROUP}/vms")])
        );
        let actions: Vec<&str> =
            role["Actions"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        assert_eq!(actions.len(), 6);
        assert!(actions.contains(&"Microsoft.Network/virtualNetworks/subnets/join/action"));
        assert!(actions.iter().all(|action| !action.ends_with("/delete") && !action.contains('*')));
    }

    #[test]
    fn the_bicep_says_what_each_action_is_for() {
        let document = document(false);
        let text = document.bicep();
        for Right { action, why } in document.rights.actions() {
            assert!(
                text.contains(&format!("          // {why}\n          '{action}'\n")),
                "{text}"
            );
        }
        assert!(text.contains("roleName: 'vipfence it\\'s'\n"), "{text}");
        assert!(
            text.contains(&format!("    assignableScopes: [\n      '{GROUP}/net'\n")),
            "{text}"
        );
        assert_eq!(text.matches('{').count(), text.matches('}').count());
        assert_eq!(text.matches('[').count(), text.matches(']').count());
    }

    #[test]
    fn strings_are_quoted_for_bicep_and_for_a_shell() {
        assert_eq!(bicep_text("a'b\\${c}\n"), "'a\\'b\\\\\\${c}\\n'");
        assert_eq!(shell_text("it's (x)"), r"'it'\''s (x)'");
    }

    #[test]
    fn the_next_steps_assign_it_to_groups_or_to_single_resources() {
        let wide = document(false).next_steps(RoleFormat::Json);
        assert!(wide.contains(&format!("--scope '{GROUP}/net'\n")), "{wide}");
        assert!(wide.contains("@role.json") && wide.contains(ALTERNATIVE));
        assert!(wide.contains(r"--role 'vipfence it'\''s' "), "{wide}");
        let narrow = document(true).next_steps(RoleFormat::Bicep);
        assert!(narrow.contains(&format!("--scope '{}'\n", id("net", "virtualNetworks/v"))));
        assert!(!narrow.contains(&format!("--scope '{GROUP}/net'\n")), "{narrow}");
    }

    #[test]
    fn a_nic_that_was_not_read_is_told_with_the_command_that_reads_it() {
        let nic = NicId::new(&id("vms", "networkInterfaces/n1-nic"));
        let document =
            RoleDocument::new("r".to_owned(), Rights::of(std::slice::from_ref(&nic), []), false);
        let text = document.next_steps(RoleFormat::Json);
        assert!(text.starts_with("What these NICs refer to is not known"), "{text}");
        let command = format!("az network nic show -o json --ids '{}' > nics.json", nic.as_str());
        assert!(text.contains(&command), "{text}");
    }
}
