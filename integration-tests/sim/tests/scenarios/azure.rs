//! What belongs to an address in Azure, and what belongs to the NIC; VIPs of several addresses and
//! NICs; how nodes that do not lead fare with ARM.

use std::net::IpAddr;

use azure_sim::{AdminCommand, Rights, WorldConfig};
use serde_json::{Value, json};
use vipfence_sim::{
    Deed, Plan, World,
    time::{ms, secs},
};
use vipfence_types::{Profile, VipAddress, VipSpec};

use crate::stage::*;

const NICS: [&str; 3] = ["a-nic", "b-nic", "c-nic"];
const PUBLIC: &str =
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/publicIPAddresses/pip";

fn group(name: &str) -> String {
    let provider = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network";
    format!("{provider}/applicationSecurityGroups/{name}")
}

/// Each NIC is in other security groups, that of `c` in none. The address is on that of `a`, by
/// hand, with a public address.
fn in_other_groups(mut config: WorldConfig) -> WorldConfig {
    for nic in &mut config.nics {
        nic.application_security_groups = match nic.name.as_str() {
            "a-nic" => vec![group("web"), group("all")],
            "b-nic" => vec![group("db")],
            _ => vec![],
        };
        if nic.name == "a-nic" {
            nic.secondary.insert("by-hand".to_owned(), ADDRESS);
            nic.public_addresses.insert("by-hand".to_owned(), PUBLIC.to_owned());
        }
    }
    config
}

fn other_groups() -> Plan {
    Plan { arranged: in_other_groups, ..three(Profile::Fast) }
}

/// `demo` stands on this NIC alone, with its public address, in the groups of the NIC.
fn stands_on(world: &World, at: usize) -> Story {
    let properties = world.properties(NICS[at], ADDRESS).unwrap_or_default();
    let groups: Vec<String> = match at {
        A => vec![group("web"), group("all")],
        B => vec![group("db")],
        _ => vec![],
    };
    let groups: Value = groups.into_iter().map(|id| json!({ "id": id })).collect();
    let found = properties.get("applicationSecurityGroups").cloned().unwrap_or_else(|| json!([]));
    check(world, world.nics_with(ADDRESS) == [NICS[at]], "it is on one NIC")?;
    check(world, found == groups, &format!("its groups are {groups}, not {found}"))?;
    check(world, properties["publicIPAddress"]["id"] == PUBLIC, "it has its public address")
}

fn defined_by_hand(world: &mut World) -> Story {
    let elected = world.elect(C);
    check(world, elected, "c leads")?;
    world.run(secs(2));
    define(world, "demo", VipSpec::host(ADDRESS), "b");
    Ok(())
}

#[test]
fn the_nic_decides_about_security_groups_and_the_public_address_moves_along() {
    with_fence(&other_groups(), |world| {
        defined_by_hand(world)?;
        until(world, secs(20), "b holds demo", |world| world.is_held_by("demo", B))?;
        stands_on(world, B)?;
        for to in [C, A, B] {
            moves(world, to, secs(20))?;
            stands_on(world, to)?;
        }
        Ok(())
    });
}

#[test]
fn a_crash_between_the_two_puts_loses_no_public_address() {
    with_fence(&other_groups(), |world| {
        defined_by_hand(world)?;
        until(world, secs(20), "it is on no NIC", |world| world.nics_with(ADDRESS).is_empty())?;
        world.do_deed(Deed::Kill(C));
        until(world, secs(30), "b holds demo", |world| world.is_held_by("demo", B))?;
        stands_on(world, B)
    });
}

const OTHER_PUBLIC: &str =
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/publicIPAddresses/other";

fn with_two_public_addresses(config: WorldConfig) -> WorldConfig {
    let mut config = in_other_groups(config);
    for nic in config.nics.iter_mut().filter(|nic| nic.name == "a-nic") {
        nic.secondary.insert("by-hand-too".to_owned(), address(111));
        nic.public_addresses.insert("by-hand-too".to_owned(), OTHER_PUBLIC.to_owned());
    }
    config
}

#[test]
fn two_vips_that_move_in_one_batch_keep_each_its_own_public_address() {
    let plan = Plan { arranged: with_two_public_addresses, ..three(Profile::Fast) };
    with_fence(&plan, |world| {
        defined_by_hand(world)?;
        define(world, "other", VipSpec::host(address(111)), "b");
        for to in [B, C, A] {
            world.ask_move("demo", to);
            world.ask_move("other", to);
            until(world, secs(30), "both have moved", |world| {
                world.is_held_by("demo", to) && world.is_held_by("other", to)
            })?;
            for (vip, public) in [(ADDRESS, PUBLIC), (address(111), OTHER_PUBLIC)] {
                let properties = world.properties(NICS[to], vip).unwrap_or_default();
                let own = properties["publicIPAddress"]["id"] == public;
                check(world, own, &format!("{vip} has its own public address"))?;
            }
        }
        Ok(())
    });
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 5, 0, last])
}

/// Two addresses on the first NIC of a node, and one on the second.
fn three_addresses() -> VipSpec {
    let on = |last, nic: Option<&str>| VipAddress {
        nic: nic.map(str::to_owned),
        ..VipAddress::host(address(last))
    };
    let addresses = vec![on(110, None), on(111, Some("eth0")), on(112, Some("eth1"))];
    VipSpec { addresses, ..VipSpec::host(ADDRESS) }
}

fn with_two_nics(config: WorldConfig) -> WorldConfig {
    let mut config = config;
    for (name, last) in [("a", 24), ("b", 25), ("c", 26)] {
        config = config.with_nic(&format!("{name}-nic2"), name, [10, 5, 0, last]);
    }
    config
}

fn all_stand_on(world: &World, node: &str) -> Story {
    for (last, nic) in [(110, "nic"), (111, "nic"), (112, "nic2")] {
        let is_there = world.nics_with(address(last)) == [format!("{node}-{nic}")];
        check(world, is_there, &format!(".{last} is on {node}-{nic} alone"))?;
    }
    Ok(())
}

#[test]
fn a_vip_of_several_addresses_on_two_nics_moves_as_one() {
    let plan = Plan { arranged: with_two_nics, ..three(Profile::Fast) };
    with_fence(&plan, |world| {
        let elected = world.elect(C);
        check(world, elected, "c leads")?;
        world.run(secs(2));
        define(world, "demo", three_addresses(), "a");
        until(world, secs(20), "a holds demo", |world| world.is_held_by("demo", A))?;
        all_stand_on(world, "a")?;
        world.run(secs(5));
        let before = world.now();
        moves(world, B, secs(20))?;
        all_stand_on(world, "b")?;
        let puts = |world: &World, nic: &str| {
            let all = world.writes();
            let of_nic = all.iter().filter(|w| w.nic == nic && w.method == "PUT");
            of_nic.filter(|w| w.at > before && w.status < 300).count()
        };
        for nic in ["a-nic", "a-nic2", "b-nic", "b-nic2"] {
            check(world, puts(world, nic) == 1, &format!("one PUT for all addresses of {nic}"))?;
        }
        // And when its node dies.
        world.run(ms(500));
        world.do_deed(Deed::PowerOff(B));
        until(world, secs(40), "somebody else holds demo", |world| {
            world.is_held_by("demo", A) || world.is_held_by("demo", C)
        })?;
        all_stand_on(world, if world.is_held_by("demo", A) { "a" } else { "c" })
    });
}

#[test]
fn a_vip_of_both_address_families_moves_as_one() {
    with_fence(&three(Profile::Fast), |world| {
        let elected = world.elect(C);
        check(world, elected, "c leads")?;
        world.run(secs(2));
        let v6: IpAddr = "fd00:5::6e".parse().expect("an address");
        let addresses = vec![VipAddress::host(ADDRESS), VipAddress::host(v6)];
        define(world, "demo", VipSpec { addresses, ..VipSpec::host(ADDRESS) }, "a");
        until(world, secs(20), "a holds demo", |world| world.is_held_by("demo", A))?;
        moves(world, B, secs(20))?;
        for address in [ADDRESS, v6] {
            check(world, world.nics_with(address) == ["b-nic"], "it is on the NIC of b alone")?;
        }
        let document = world.azure().nic("b-nic").unwrap_or_default();
        let configs = document["properties"]["ipConfigurations"].as_array().cloned();
        let version = configs.unwrap_or_default().into_iter().find_map(|config| {
            let properties = &config["properties"];
            (properties["privateIPAddress"] == v6.to_string())
                .then(|| properties["privateIPAddressVersion"].clone())
        });
        check(world, version == Some(json!("IPv6")), "it is an IPv6 ipConfiguration")?;
        world.run(secs(5));
        // What a stranger does to one of them is put right.
        outsider_detaches(world, "b-nic", v6);
        until(world, secs(90), "it is back", |world| world.nics_with(v6) == ["b-nic"])
    });
}

fn rights_of_the_witness(world: &mut World, rights: Rights) {
    world.do_deed(Deed::Azure(AdminCommand::SetRights { node: "w".to_owned(), rights }));
}

#[test]
fn a_witness_without_rights_says_so_before_it_ever_leads_and_when_it_has_them() {
    with_fence(&four(Profile::Fast), |world| {
        rights_of_the_witness(world, Rights { read: false, write: false, join: false });
        a_holds(world, C)?;
        for node in [A, B, C] {
            check(world, world.arm_ok(node) == Some(true), "a member reaches ARM")?;
        }
        check(world, world.arm_ok(W) == Some(false), "the witness does not, and says so")?;
        check(world, world.leads(C), "nobody else has led")?;
        rights_of_the_witness(world, Rights::default());
        until(world, secs(31), "it has looked again", |world| world.arm_ok(W) == Some(true))?;
        // And what is lost later is noticed as well.
        rights_of_the_witness(world, Rights { read: false, ..Rights::default() });
        until(world, secs(61), "it has looked again", |world| world.arm_ok(W) == Some(false))
    });
}
