//! The role of `vipfence azure role`, against the roles of the simulator: with it everything works,
//! and whatever action is taken away from it is missed by name.
//!
//! All NICs refer to everything that a role can be asked for, in other groups and in another
//! subscription; polls need their right too.

use std::collections::BTreeSet;

use azure_sim::{
    AdminCommand, BuiltInRole, JournalEvent, Role, RoleAssignment, RoleDefinition, WorldConfig,
};
use serde_json::json;
use vipfence_coordinator_core::Rights;
use vipfence_sim::{Deed, Plan, World, time::secs};
use vipfence_types::{NicId, VipSpec};

use crate::{foreign_parts::*, stage::*};

const EDGE: &str = "/subscriptions/s/resourceGroups/edge/providers/Microsoft.Network";
const OTHER: &str = "other";

/// As with foreign parts; besides every NIC is behind a load balancer, and the address of `demo` is
/// on that of `a` by hand, with a public address and a pool of its own.
fn behind_a_load_balancer(config: WorldConfig) -> WorldConfig {
    let mut config = with_foreign_parts(config);
    config.settings.journal_reads = true;
    config.settings.polling_needs_right = true;
    let id = |below: String| json!([{ "id": format!("{EDGE}/loadBalancers/lb/{below}") }]);
    for nic in &mut config.nics {
        let pool = ("loadBalancerBackendAddressPools", id("backendAddressPools/theirs".to_owned()));
        let rule = ("loadBalancerInboundNatRules", id(format!("inboundNatRules/{}", nic.name)));
        let of_theirs = [pool, rule].map(|(name, value)| (name.to_owned(), value));
        nic.ip_config_properties.insert("theirs".to_owned(), of_theirs.into_iter().collect());
        if nic.name == "a-nic" {
            let pool = id("backendAddressPools/demo".to_owned());
            let of_demo = [("loadBalancerBackendAddressPools".to_owned(), pool)];
            nic.secondary.insert("by-hand".to_owned(), ADDRESS);
            nic.public_addresses
                .insert("by-hand".to_owned(), format!("{EDGE}/publicIPAddresses/demo"));
            nic.ip_config_properties.insert("by-hand".to_owned(), of_demo.into_iter().collect());
        }
    }
    config
}

fn plan() -> Plan {
    Plan { arranged: behind_a_load_balancer, ..plan_with_foreign_parts() }
}

/// What `vipfence azure role` makes of the cluster's NICs, for the subscription of operations too.
fn rights(world: &World) -> Rights {
    let azure = world.azure();
    let nics = ["a-nic", "b-nic", "c-nic"];
    let ids = nics.map(|nic| NicId::new(&azure.config().nic_id(nic)));
    let documents = nics.map(|nic| azure.nic(nic).expect("it is there"));
    let mut rights = Rights::of(&ids, &documents);
    let subscription = format!("/subscriptions/{}", azure.config().subscription);
    rights.add(&subscription).expect("a subscription");
    assert_eq!(rights.unread().count(), 0);
    rights
}

fn actions(rights: &Rights) -> Vec<String> {
    rights.actions().iter().map(|right| right.action.to_owned()).collect()
}

fn custom(rights: &Rights, actions: Vec<String>) -> Role {
    Role::Custom(RoleDefinition {
        name: "vipfence".to_owned(),
        actions,
        not_actions: Vec::new(),
        assignable_scopes: rights.groups(),
    })
}

/// Every node's identity has this role at these scopes, and nothing else.
fn give<'a>(world: &mut World, role: &Role, scopes: impl IntoIterator<Item = &'a str>) {
    let at = |scope: &str| RoleAssignment { role: role.clone(), scope: scope.to_owned() };
    let given: Vec<RoleAssignment> = scopes.into_iter().map(at).collect();
    for node in ["a", "b", "c"] {
        let assignments = Some(given.clone());
        world.do_deed(Deed::Azure(AdminCommand::SetRoles { node: node.to_owned(), assignments }));
    }
}

fn give_at_groups(world: &mut World, rights: &Rights, actions: Vec<String>) {
    let groups = rights.groups();
    give(world, &custom(rights, actions), groups.iter().map(String::as_str));
}

/// The actions that Azure has refused since some entry of its journal.
fn denied_since(world: &World, seq: u64) -> BTreeSet<String> {
    let entries = world.azure().journal_after(seq);
    let denied = entries.filter_map(|entry| match &entry.event {
        JournalEvent::Write(call) | JournalEvent::Read(call) => call.denied.clone(),
        _ => None,
    });
    denied.collect()
}

/// Whether a move says what is missing.
fn names(world: &World, action: &str) -> bool {
    let words = format!("may not {action} at /subscriptions/");
    let logs = world.registry().logs.values();
    logs.flat_map(|log| &log.moves).any(|known| known.blocked_reason.contains(&words))
}

/// `demo` is defined and taken over from the hand that made it; `b` holds it.
fn begins(world: &mut World) -> Story {
    let elected = world.elect(C);
    check(world, elected, "c leads")?;
    world.run(secs(2));
    define(world, "demo", VipSpec::host(ADDRESS), "b");
    until(world, secs(20), "b holds demo", |world| world.is_held_by("demo", B))?;
    // The background seals.
    world.run(secs(3));
    Ok(())
}

/// A VIP is defined, and one is moved: every request that there is.
fn all_requests(world: &mut World) {
    define(world, OTHER, VipSpec::host([10, 5, 0, 120].into()), "a");
    world.ask_move("demo", A);
}

fn all_is_done(world: &World) -> bool {
    world.is_held_by("demo", A) && world.is_held_by(OTHER, A)
}

#[test]
fn the_role_that_is_printed_is_enough() {
    with_fence(&plan(), |world| {
        let rights = rights(world);
        let whole = actions(&rights);
        give_at_groups(world, &rights, whole);
        let begun = world.azure().journal_seq();
        begins(world)?;
        all_requests(world);
        until(world, secs(30), "everything is done", all_is_done)?;
        world.run(secs(70));
        let denied = denied_since(world, begun);
        check(world, denied.is_empty(), &format!("nothing was refused: {denied:?}"))
    });
}

#[test]
fn it_is_enough_on_the_single_resources_but_for_polls() {
    with_fence(&plan(), |world| {
        let ids = ["a-nic", "b-nic", "c-nic"].map(|nic| world.azure().config().nic_id(nic));
        let documents = ["a-nic", "b-nic", "c-nic"].map(|nic| world.azure().nic(nic));
        let rights = Rights::of(&ids.map(|id| NicId::new(&id)), documents.iter().flatten());
        let role = custom(&rights, actions(&rights));
        let resources: Vec<String> = rights.resources().map(str::to_owned).collect();
        give(world, &role, resources.iter().map(String::as_str));
        let begun = world.azure().journal_seq();
        begins(world)?;
        all_requests(world);
        until(world, secs(30), "everything is done", all_is_done)?;
        let denied = denied_since(world, begun);
        let polls = "Microsoft.Network/locations/operations/read".to_owned();
        check(world, denied == BTreeSet::from([polls]), &format!("only polls: {denied:?}"))
    });
}

#[test]
fn the_built_in_network_contributor_is_enough_too() {
    with_fence(&plan(), |world| {
        let rights = rights(world);
        let groups = rights.groups();
        let role = Role::BuiltIn(BuiltInRole::NetworkContributor);
        give(world, &role, groups.iter().map(String::as_str));
        begins(world)?;
        all_requests(world);
        until(world, secs(30), "everything is done", all_is_done)
    });
}

/// Those without which VIPs move all the same.
const CAN_BE_DONE_WITHOUT: [&str; 3] = [
    "Microsoft.Network/locations/operations/read",
    "Microsoft.Network/virtualNetworks/read",
    "Microsoft.Network/virtualNetworks/checkIpAddressAvailability/read",
];

/// One action less than the role has, from the middle of a cluster's life on.
fn without_one(world: &mut World, taken: &str) -> Story {
    let rights = rights(world);
    let whole = actions(&rights);
    give_at_groups(world, &rights, whole.clone());
    begins(world)?;
    let rest = whole.iter().filter(|action| *action != taken).cloned().collect();
    give_at_groups(world, &rights, rest);
    let begun = world.azure().journal_seq();
    all_requests(world);
    if CAN_BE_DONE_WITHOUT.contains(&taken) {
        until(world, secs(30), "everything is done", all_is_done)?;
    } else {
        until(world, secs(15), "the move names what is missing", |world| names(world, taken))?;
        check(world, !world.is_held_by("demo", A), "it does not go on")?;
    }
    let denied = denied_since(world, begun);
    let expected = BTreeSet::from([taken.to_owned()]);
    check(world, denied == expected, &format!("Azure missed it, and only it: {denied:?}"))?;
    give_at_groups(world, &rights, whole);
    until(world, secs(70), "demo is held once it is there", |world| {
        [A, B, C].into_iter().any(|node| world.is_held_by("demo", node))
    })
}

#[test]
fn each_action_of_the_role_is_missed_by_name() {
    let world = World::new(1, &plan());
    let all = actions(&rights(&world));
    assert_eq!(all.len(), 11, "everything that a NIC here refers to, and our own: {all:?}");
    let mut problems = Vec::new();
    for (seed, action) in (0..).zip(&all) {
        if let Err(problem) = one_of_many(seed, &plan(), |world| without_one(world, action)) {
            problems.push(format!("{problem}\n^^^ without {action}\n"));
        }
    }
    assert!(problems.is_empty(), "{}\n{} actions", problems.join("\n"), problems.len());
}
