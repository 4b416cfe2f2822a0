//! Behind a load balancer: the frontend, its rules, their health probe, and the pool.
//!
//! The holder has the frontend's address itself, so the rules must leave it as the destination
//! (floating IP), and it alone answers the probe. [azure.md §8]

use serde_json::Value;
use vipfence_types::Finding;

use super::super::{
    check::Check,
    facts::{Facts, FrontendFacts, Seen},
};

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let Some(frontend) = &facts.frontend else { return vec![] };
    let id = frontend.asked.id.as_str();
    let document = match &frontend.document {
        Seen::Yes(document) => document,
        Seen::Refused(refusal) if refusal.status == 404 => return vec![missing(id)],
        Seen::Refused(refusal) => return vec![unreadable(id, &refusal.told())],
        Seen::Silent(why) => return vec![unreadable(id, why)],
    };
    if !list(document, "frontendIPConfigurations").iter().any(|known| is(&known["id"], id)) {
        return vec![missing(id)];
    }
    let rules = list(document, "loadBalancingRules");
    let of_frontend = |rule: &&Value| is(&rule["properties"]["frontendIPConfiguration"]["id"], id);
    let rules: Vec<&Value> = rules.iter().filter(of_frontend).collect();
    if rules.is_empty() {
        return vec![Check::FrontendWithoutRule.finds(
            id,
            "no rule of the load balancer uses this frontend: it lets nothing through",
            "add a rule for all ports (HA ports) with floating IP, a health probe and the pool of \
             the nodes",
        )];
    }
    let mut findings: Vec<Finding> =
        rules.iter().flat_map(|rule| judge_rule(frontend, document, rule)).collect();
    findings.extend(pools(facts, &rules));
    findings
}

fn missing(id: &str) -> Finding {
    Check::FrontendMissing.finds(
        id,
        "the load balancer has no such frontend",
        "correct the id: `az network lb frontend-ip list --query \"[].id\"` prints them",
    )
}

fn unreadable(id: &str, told: &str) -> Finding {
    Check::FrontendUnreadable.finds(
        id,
        format!("the load balancer cannot be read: {told}"),
        "allow Microsoft.Network/loadBalancers/read there",
    )
}

fn list<'a>(document: &'a Value, key: &str) -> &'a [Value] {
    document["properties"][key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn is(value: &Value, id: &str) -> bool {
    value.as_str().is_some_and(|known| known.eq_ignore_ascii_case(id))
}

fn judge_rule(frontend: &FrontendFacts, document: &Value, rule: &Value) -> Vec<Finding> {
    let (name, properties) = (rule["name"].as_str().unwrap_or("?"), &rule["properties"]);
    let mut findings = Vec::new();
    if properties["enableFloatingIP"] != true {
        findings.push(Check::FloatingIpOff.finds(
            name,
            format!("rule {name} has no floating IP: packets come with the node's own address"),
            "`az network lb rule update --floating-ip true`",
        ));
    }
    let probe = &properties["probe"]["id"];
    let known = list(document, "probes").iter();
    let port = known
        .filter(|known| probe.as_str().is_some_and(|id| is(&known["id"], id)))
        .find_map(|known| known["properties"]["port"].as_u64());
    let wanted = frontend.asked.probe_port.map(u64::from);
    let message = match (port, wanted) {
        (None, _) => format!("rule {name} has no health probe: it sends to every node of the pool"),
        (Some(port), Some(wanted)) if port != wanted => {
            format!("the health probe of rule {name} asks port {port}, not {wanted}")
        }
        (Some(_), _) => return findings,
    };
    findings.push(Check::ProbePortDiffers.finds(
        name,
        message,
        "give the rule a TCP or HTTP probe at the port that the holder answers",
    ));
    findings
}

/// Each NIC stands with some ipConfiguration in a pool of each rule.
fn pools(facts: &Facts, rules: &[&Value]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for nic in &facts.nics {
        let Some(document) = nic.document.yes() else { continue };
        let configs = document.value()["properties"]["ipConfigurations"].as_array();
        let joined: Vec<&str> = configs
            .into_iter()
            .flatten()
            .flat_map(|config| list(config, "loadBalancerBackendAddressPools"))
            .filter_map(|pool| pool["id"].as_str())
            .collect();
        let in_pool = |rule: &&Value| {
            let one = &rule["properties"]["backendAddressPool"]["id"];
            let many = list(rule, "backendAddressPools").iter().map(|pool| &pool["id"]);
            std::iter::once(one).chain(many).any(|pool| joined.iter().any(|id| is(pool, id)))
        };
        if !rules.iter().all(in_pool) {
            let name = nic.id.name();
            findings.push(Check::NicNotInPool.finds(
                nic.id.as_str(),
                format!("NIC {name} is not in the pool of every rule of the frontend"),
                "`az network nic ip-config address-pool add` it",
            ));
        }
    }
    // One NIC behind the load balancer is enough.
    if findings.len() < facts.nics.len() { vec![] } else { findings }
}
