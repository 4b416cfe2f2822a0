//! What the identity must be allowed to do, and whether it is.
//!
//! Which actions a move needs is the coordinator's table ([`Rights`]), of which `vipfence azure role`
//! makes a role as well.

use vipfence_coordinator_core::Rights;
use vipfence_types::Finding;

use super::super::{
    check::Check,
    facts::{Facts, NicFacts, Permission, Seen},
};

/// What the NICs that were read need.
pub(in super::super) fn needed<'a>(nics: impl Iterator<Item = &'a NicFacts>) -> Rights {
    let documents = nics.filter_map(|nic| Some(nic.document.yes()?.value()));
    Rights::of([], documents)
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let rights = needed(facts.nics.iter());
    let mut findings = Vec::new();
    let mut unreadable = None;
    for (scope, action) in rights.needs() {
        match facts.rights.get(&scope.to_ascii_lowercase()) {
            Some(Seen::Yes(permissions)) if allows(permissions, action) => {}
            Some(Seen::Yes(_)) => findings.push(Check::RightMissing.finds(
                scope,
                format!("the identity of this node may not {action} there"),
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
            "use the role that `vipfence azure role` prints, or move a VIP as a rehearsal",
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
