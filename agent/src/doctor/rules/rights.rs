//! What the identity must be allowed to do, and whether it is.
//!
//! A NIC is written whole, so Azure asks for the right to join everything that the document refers
//! to, also where it stays as it is. [azure.md §9]

use serde_json::Value;
use vipfence_coordinator_core::NicDocument;
use vipfence_types::{Finding, NicId};

use super::super::{
    check::Check,
    facts::{Facts, Permission, Seen},
};

/// An action on a scope that a move needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Need {
    pub(in super::super) scope: String,
    pub(in super::super) action: &'static str,
}

/// Where in an ipConfiguration other resources are named, and what joining them is called.
const LINKS: [(&str, &str); 6] = [
    ("subnet", "Microsoft.Network/virtualNetworks/subnets/join/action"),
    ("publicIPAddress", "Microsoft.Network/publicIPAddresses/join/action"),
    (
        "applicationSecurityGroups",
        "Microsoft.Network/applicationSecurityGroups/joinIpConfiguration/action",
    ),
    (
        "loadBalancerBackendAddressPools",
        "Microsoft.Network/loadBalancers/backendAddressPools/join/action",
    ),
    ("loadBalancerInboundNatRules", "Microsoft.Network/loadBalancers/inboundNatRules/join/action"),
    (
        "applicationGatewayBackendAddressPools",
        "Microsoft.Network/applicationGateways/backendAddressPools/join/action",
    ),
];
const SECURITY_GROUP: &str = "Microsoft.Network/networkSecurityGroups/join/action";

/// What reading and writing this NIC needs.
pub(in super::super) fn needed(nic: &NicId, document: &NicDocument) -> Vec<Need> {
    let need = |scope: &str, action| Need { scope: scope.to_owned(), action };
    let mut needs = vec![
        need(nic.as_str(), "Microsoft.Network/networkInterfaces/read"),
        need(nic.as_str(), "Microsoft.Network/networkInterfaces/write"),
    ];
    let properties = &document.value()["properties"];
    needs.extend(ids(&properties["networkSecurityGroup"]).map(|id| need(id, SECURITY_GROUP)));
    for config in properties["ipConfigurations"].as_array().into_iter().flatten() {
        for (field, action) in LINKS {
            needs.extend(ids(&config["properties"][field]).map(|id| need(id, action)));
        }
    }
    needs.sort();
    needs.dedup_by(|a, b| a.action == b.action && a.scope.eq_ignore_ascii_case(&b.scope));
    needs
}

/// The ids of one reference or of a list of them.
fn ids(value: &Value) -> impl Iterator<Item = &str> {
    let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    list.iter().filter_map(|entry| entry["id"].as_str())
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let documents = facts.nics.iter().filter_map(|nic| Some((&nic.id, nic.document.yes()?)));
    let mut needs: Vec<Need> = documents.flat_map(|(id, document)| needed(id, document)).collect();
    needs.sort();
    needs.dedup();
    let mut findings = Vec::new();
    let mut unreadable = None;
    for need in needs {
        match facts.rights.get(&need.scope.to_ascii_lowercase()) {
            Some(Seen::Yes(permissions)) if allows(permissions, need.action) => {}
            Some(Seen::Yes(_)) => findings.push(Check::RightMissing.finds(
                &need.scope,
                format!("the identity of this node may not {} there", need.action),
                "assign the role that `vipfence azure role` prints, or Network Contributor, at that \
                 scope; a new role may take a day to reach a running VM",
            )),
            Some(Seen::Refused(refusal)) => unreadable = Some(refusal.told()),
            Some(Seen::Silent(why)) => unreadable = Some(why.clone()),
            None => {}
        }
    }
    if let Some(told) = unreadable {
        findings.push(Check::RightsUnreadable.finds(
            &facts.arm,
            format!("what the identity may do could not be seen: {told}"),
            "add Microsoft.Authorization/permissions/read to the role, or move a VIP as a rehearsal",
        ));
    }
    findings
}

/// Whether some entry allows the action and does not except it.
fn allows(permissions: &[Permission], action: &str) -> bool {
    let matches = |patterns: &[String]| patterns.iter().any(|pattern| fits(pattern, action));
    permissions.iter().any(|entry| matches(&entry.actions) && !matches(&entry.except))
}

/// Whether a pattern with `*` for any piece fits an action; both without case.
fn fits(pattern: &str, action: &str) -> bool {
    let (pattern, action) = (pattern.to_ascii_lowercase(), action.to_ascii_lowercase());
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = action.strip_prefix(first) else { return false };
    let mut last = None;
    for piece in pieces {
        if let Some(before) = last.replace(piece) {
            let Some(at) = rest.find(before) else { return false };
            rest = &rest[at + before.len()..];
        }
    }
    last.map_or(rest.is_empty(), |last| rest.ends_with(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_in_azure() {
        let write = "Microsoft.Network/networkInterfaces/write";
        for pattern in ["*", "Microsoft.Network/*", "microsoft.network/*/WRITE", write, "*/write"] {
            assert!(fits(pattern, write), "{pattern}");
        }
        for pattern in ["*/read", "Microsoft.Compute/*", "Microsoft.Network/networkInterfaces", ""]
        {
            assert!(!fits(pattern, write), "{pattern}");
        }
        assert!(fits("a*b*c", "a1b2c") && !fits("a*b*c", "ab2cd"));
    }

    #[test]
    fn an_exception_takes_back_what_its_own_entry_gives_and_no_other() {
        let entry = |actions: &[&str], except: &[&str]| Permission {
            actions: actions.iter().map(|&a| a.to_owned()).collect(),
            except: except.iter().map(|&a| a.to_owned()).collect(),
        };
        let all_but = entry(&["*"], &["*/write"]);
        assert!(allows(std::slice::from_ref(&all_but), "X/read"));
        assert!(!allows(std::slice::from_ref(&all_but), "X/write"));
        assert!(allows(&[all_but, entry(&["X/*"], &[])], "X/write"));
    }
}
