//! Which interface carries an address: pure, from one look at the OS.

use std::net::IpAddr;

use super::super::{Interface, Selector};
use super::wire::{Link, Look};

/// Why no interface can be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoPlace {
    #[error("the VIP names the NIC \"{0}\", which this node's file does not have under [[nics]]")]
    NoNic(String),
    #[error("this node's file has no [[nics]]")]
    NoNics,
    #[error("this node has no interface {0}; it has {1}")]
    NoInterface(Selector, String),
    #[error(
        "no interface of this node has an address in the subnet of {0}; name the interface of the \
         NIC: `interface` or `mac` under [[nics]] (there is {1})"
    )]
    NoSubnet(IpAddr, String),
    #[error(
        "several interfaces of this node have an address in the subnet of {0}: {1}; name the one \
         that belongs to the NIC: `interface` or `mac` under [[nics]]"
    )]
    SeveralSubnets(IpAddr, String),
}

/// The interface for an address of a VIP that names this NIC; none = the node's first.
pub(super) fn choose<'a>(
    interfaces: &[Interface],
    nic: Option<&str>,
    address: IpAddr,
    look: &'a Look,
) -> Result<&'a Link, NoPlace> {
    let interface = match nic {
        None => interfaces.first().ok_or(NoPlace::NoNics)?,
        Some(name) => {
            let named = interfaces.iter().find(|interface| interface.nic == name);
            named.ok_or_else(|| NoPlace::NoNic(name.to_owned()))?
        }
    };
    let real = || look.links.iter().filter(|link| !link.is_loopback);
    let found = match &interface.selector {
        Selector::Name(name) => look.links.iter().find(|link| link.name == *name),
        // Accelerated networking puts a second interface with the same MAC below the one that has
        // the addresses: the one with addresses is meant.
        Selector::Mac(mac) => {
            let mut fit: Vec<&Link> = real().filter(|link| link.mac == mac).collect();
            fit.sort_by_key(|link| !look.entries.iter().any(|entry| entry.link == link.index));
            fit.first().copied()
        }
        Selector::Subnet => return by_subnet(address, look),
    };
    let have = || names(real());
    found.ok_or_else(|| NoPlace::NoInterface(interface.selector.clone(), have()))
}

/// The interface with an address in whose subnet this one is; the longest prefix counts. Where no
/// interface has one, such as with addresses of their own only (/32): the only interface there is.
fn by_subnet(address: IpAddr, look: &Look) -> Result<&Link, NoPlace> {
    let real = || look.links.iter().filter(|link| !link.is_loopback);
    let mut longest = 0;
    let mut fit: Vec<&Link> = Vec::new();
    for entry in &look.entries {
        let Some(link) = real().find(|link| link.index == entry.link) else { continue };
        let its_own = entry.address == address || entry.marked;
        if its_own || !contains(entry.address, entry.prefix_len, address) {
            continue;
        }
        if entry.prefix_len > longest {
            longest = entry.prefix_len;
            fit.clear();
        }
        if entry.prefix_len == longest && !fit.contains(&link) {
            fit.push(link);
        }
    }
    let up: Vec<&Link> = real().filter(|link| link.is_up).collect();
    match (fit.as_slice(), up.as_slice()) {
        ([one], _) | ([], [one]) => Ok(one),
        ([], _) => Err(NoPlace::NoSubnet(address, names(real()))),
        (several, _) => Err(NoPlace::SeveralSubnets(address, names(several.iter().copied()))),
    }
}

fn names<'a>(links: impl Iterator<Item = &'a Link>) -> String {
    let names: Vec<&str> = links.map(|link| link.name.as_str()).collect();
    if names.is_empty() { "no interface".to_owned() } else { names.join(", ") }
}

/// Whether `address` is in the subnet of `of`.
fn contains(of: IpAddr, prefix_len: u8, address: IpAddr) -> bool {
    match (of, address) {
        (IpAddr::V4(of), IpAddr::V4(address)) => {
            let differ = u32::from(of) ^ u32::from(address);
            prefix_len > 0 && differ.leading_zeros() >= u32::from(prefix_len)
        }
        (IpAddr::V6(of), IpAddr::V6(address)) => {
            let differ = u128::from(of) ^ u128::from(address);
            prefix_len > 0 && differ.leading_zeros() >= u32::from(prefix_len)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::address::AddressScope;

    use super::super::wire::Entry;
    use super::*;

    fn look() -> Look {
        let link = |index: u32, name: &str, last: u8| Link {
            index,
            name: name.to_owned(),
            mac: vec![0, 0x0d, 0x3a, 0, 0, last],
            is_loopback: name == "lo",
            is_up: true,
            no_arp: false,
        };
        let entry = |link: u32, address: &str, prefix_len: u8| Entry {
            link,
            address: address.parse().unwrap(),
            prefix_len,
            marked: false,
            valid: None,
            secondary: false,
            scope: AddressScope::Universe,
        };
        Look {
            links: vec![
                link(1, "lo", 0),
                link(2, "eth0", 1),
                link(3, "eth1", 2),
                link(4, "enP1s1", 1),
            ],
            entries: vec![
                entry(1, "127.0.0.1", 8),
                entry(2, "10.5.0.4", 24),
                entry(3, "10.5.1.4", 24),
                entry(3, "fd00::4", 64),
            ],
        }
    }

    fn interfaces(selector: Selector) -> Vec<Interface> {
        vec![Interface { nic: "nic0".to_owned(), selector }]
    }

    fn chosen(selector: Selector, address: &str, look: &Look) -> Result<String, String> {
        let address = address.parse().unwrap();
        choose(&interfaces(selector), None, address, look)
            .map(|link| link.name.clone())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn an_interface_is_found_by_name_by_mac_and_by_subnet() {
        let look = look();
        let name = Selector::Name("eth1".to_owned());
        assert_eq!(chosen(name, "10.5.0.110", &look).unwrap(), "eth1");
        let mac = Selector::Mac([0, 0x0d, 0x3a, 0, 0, 1]);
        assert_eq!(chosen(mac, "10.9.0.1", &look).unwrap(), "eth0", "not the one below it");
        assert_eq!(chosen(Selector::Subnet, "10.5.0.110", &look).unwrap(), "eth0");
        assert_eq!(chosen(Selector::Subnet, "10.5.1.110", &look).unwrap(), "eth1");
        assert_eq!(chosen(Selector::Subnet, "fd00::110", &look).unwrap(), "eth1");
    }

    #[test]
    fn what_cannot_be_told_is_refused_with_the_remedy() {
        let mut look = look();
        let name = chosen(Selector::Name("eth7".to_owned()), "10.5.0.110", &look).unwrap_err();
        assert!(name.contains("\"eth7\"") && name.contains("eth0, eth1"), "{name}");
        let nowhere = chosen(Selector::Subnet, "192.168.0.1", &look).unwrap_err();
        assert!(nowhere.contains("`interface` or `mac`"), "{nowhere}");
        let again =
            Entry { link: 3, address: "10.5.0.9".parse().unwrap(), ..look.entries[1].clone() };
        look.entries.push(again);
        let several = chosen(Selector::Subnet, "10.5.0.110", &look).unwrap_err();
        assert!(several.contains("eth0, eth1"), "{several}");
        let nic = choose(&interfaces(Selector::Subnet), Some("nic1"), [10, 5, 0, 1].into(), &look);
        assert_eq!(nic, Err(NoPlace::NoNic("nic1".to_owned())));
    }

    #[test]
    fn the_only_interface_is_taken_where_no_subnet_says_which() {
        let mut look = look();
        look.links.truncate(2);
        look.entries[1].prefix_len = 32;
        assert_eq!(chosen(Selector::Subnet, "10.5.0.110", &look).unwrap(), "eth0");
    }
}
