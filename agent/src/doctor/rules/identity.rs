//! The metadata service, the identity, its token, and the way to ARM.

use vipfence_types::Finding;

use super::super::{
    check::Check,
    facts::{Facts, Refusal, Seen},
};

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = metadata(facts);
    if findings.is_empty()
        && let Some(problem) = &facts.keeper
    {
        findings.push(Check::TokenMissing.finds(
            &facts.imds,
            format!("the agent has no token: {problem}"),
            "see the section [azure] of the agent's file: who this node is to be for Azure",
        ));
    }
    if facts.keeper.is_none() {
        findings.extend(way(facts));
    }
    findings.extend(clock(facts));
    findings
}

fn metadata(facts: &Facts) -> Vec<Finding> {
    // Who has a token from elsewhere does not need the metadata service.
    let Some(token) = &facts.token else { return vec![] };
    let imds = &facts.imds;
    match &facts.instance {
        Seen::Yes(_) => {}
        Seen::Silent(why) => {
            // The token comes from the same place: one finding says both.
            return vec![Check::ImdsUnreachable.finds(
                imds,
                format!("the instance metadata service is not reached: {why}"),
                "let the agent reach 169.254.169.254, port 80: no proxy, no rule of the guest's \
                 firewall against it, and the route that Azure's DHCP gives",
            )];
        }
        Seen::Refused(refusal) => {
            return vec![Check::ImdsError.finds(
                imds,
                format!("the instance metadata service answers {}", refusal.told()),
                "if it lasts longer than a few minutes, the VM's host has a problem: redeploy the VM",
            )];
        }
    }
    match token {
        Seen::Yes(()) => vec![],
        Seen::Silent(why) => vec![Check::ImdsUnreachable.finds(
            imds,
            format!("the metadata service does not answer to the request for a token: {why}"),
            "try again in a minute; if it lasts, redeploy the VM",
        )],
        Seen::Refused(refusal) => vec![no_token(facts, refusal)],
    }
}

/// The codes are the same for everything: only the text tells. [azure.md §7]
fn no_token(facts: &Facts, refusal: &Refusal) -> Finding {
    let told = refusal.told();
    let says = |words: &str| refusal.message.to_ascii_lowercase().contains(words);
    if says("multiple user assigned") {
        return Check::SeveralIdentities.finds(
            &facts.imds,
            format!("this VM has several user-assigned identities and none is chosen: {told}"),
            "set azure.client_id in the agent's file to the client id of the one to use",
        );
    }
    if refusal.status == 400 && says("identity not found") {
        return match &facts.client_id {
            Some(client_id) => Check::IdentityUnknown.finds(
                client_id,
                format!("this VM has no user-assigned identity of this client id: {told}"),
                "assign it (`az vm identity assign --identities ID`), or correct azure.client_id",
            ),
            None => Check::NoIdentity.finds(
                &facts.imds,
                format!("this VM has no managed identity: {told}"),
                "switch it on (`az vm identity assign`) and give it the role that `vipfence azure \
                 role` prints",
            ),
        };
    }
    Check::ImdsError.finds(
        &facts.imds,
        format!("the metadata service gives no token: {told}"),
        "if it lasts longer than a few minutes, redeploy the VM",
    )
}

/// ARM as the NICs' documents show it: they are the first thing that every node reads.
fn way(facts: &Facts) -> Option<Finding> {
    let answers = || facts.nics.iter().map(|nic| &nic.document);
    let refused = |wanted: fn(&Refusal) -> bool| {
        answers().find_map(|seen| seen.refusal().filter(|refusal| wanted(refusal)))
    };
    if let Some(refusal) = refused(|refusal| refusal.status == 401) {
        return Some(Check::TokenRefused.finds(
            &facts.arm,
            format!("ARM does not accept the token: {}", refusal.told()),
            "check azure.audience and azure.arm (which cloud?), the tenant of the identity, and \
             this VM's clock",
        ));
    }
    if let Some(refusal) = refused(|refusal| refusal.code == "SubscriptionNotFound") {
        return Some(Check::SubscriptionNotFound.finds(
            &facts.arm,
            format!("the identity does not see the subscription of its NICs: {}", refusal.told()),
            "correct the ids in [[nics]], or give the identity a role in that subscription",
        ));
    }
    if let Some(refusal) = refused(|refusal| refusal.status == 429) {
        return Some(Check::ArmThrottled.finds(
            &facts.arm,
            format!("ARM throttles this identity: {}", refusal.told()),
            "find out what else uses this identity so much, and give vipfence one of its own",
        ));
    }
    let silent = |seen: &Seen<_>| matches!(seen, Seen::Silent(_));
    let first = answers().next()?;
    if let (Seen::Silent(why), true) = (first, answers().all(silent)) {
        return Some(Check::ArmUnreachable.finds(
            &facts.arm,
            format!("ARM is not reached from this node: {why}"),
            "let every voter reach it over HTTPS (NSG: service tag AzureResourceManager; a proxy: \
             HTTPS_PROXY in the unit), and check azure.arm and azure.ca_file",
        ));
    }
    None
}

fn clock(facts: &Facts) -> Option<Finding> {
    let ahead = facts.ahead_of_arm_s.filter(|ahead| ahead.abs() > 30)?;
    let (by, way) = (ahead.abs(), if ahead > 0 { "ahead of" } else { "behind" });
    Some(Check::ClockOff.finds(
        "clock",
        format!("the clock of this VM is {by} s {way} ARM's: tokens are taken for expired, or are"),
        "let chrony or systemd-timesyncd set it (Hyper-V: refclock PHC /dev/ptp_hyperv)",
    ))
}
