//! Subnets: which virtual network one is in, its prefixes, and which of their addresses can be used.

use core::net::IpAddr;

use serde_json::Value;

/// The id of the virtual network of a subnet.
#[must_use]
pub fn virtual_network_of(subnet: &str) -> Option<&str> {
    let at = subnet.to_ascii_lowercase().find("/subnets/")?;
    subnet.get(..at)
}

/// The prefixes of a subnet, as the document of its virtual network tells them.
#[must_use]
pub fn prefixes_of(network: &Value, subnet: &str) -> Vec<Prefix> {
    let subnets = network.pointer("/properties/subnets").and_then(Value::as_array);
    let known = subnets.into_iter().flatten().find(|known| {
        let id = known.get("id").and_then(Value::as_str);
        id.is_some_and(|id| id.eq_ignore_ascii_case(subnet))
    });
    let Some(properties) = known.and_then(|known| known.get("properties")) else {
        return vec![];
    };
    let one = properties.get("addressPrefix").and_then(Value::as_str);
    let many = properties.get("addressPrefixes").and_then(Value::as_array);
    let many = many.into_iter().flatten().filter_map(Value::as_str);
    one.into_iter().chain(many).filter_map(Prefix::parse).collect()
}

/// An address prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    network: IpAddr,
    length: u8,
}

impl core::fmt::Display for Prefix {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}/{}", self.network, self.length)
    }
}

impl Prefix {
    /// Reads one, such as `10.5.0.0/24`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (network, length) = text.split_once('/')?;
        let network: IpAddr = network.parse().ok()?;
        let length: u8 = length.parse().ok()?;
        let most = if network.is_ipv4() { 32 } else { 128 };
        (length <= most).then_some(Self { network, length })
    }

    /// The addresses before this one in the prefix, and those after it; none = it is outside.
    fn position(self, address: IpAddr) -> Option<(u128, u128)> {
        let (network, address, width): (u128, u128, u32) = match (self.network, address) {
            (IpAddr::V4(n), IpAddr::V4(a)) => (u32::from(n).into(), u32::from(a).into(), 32),
            (IpAddr::V6(n), IpAddr::V6(a)) => (n.into(), a.into(), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
        };
        let host_bits = width - u32::from(self.length);
        let size_less_one = 1u128.checked_shl(host_bits).map_or(u128::MAX, |size| size - 1);
        let first = network & !size_less_one;
        let before = address.checked_sub(first)?;
        (before <= size_less_one).then(|| (before, size_less_one - before))
    }

    /// Whether an address lies in it.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        self.position(address).is_some()
    }

    /// Azure reserves the first four addresses and the last one of a subnet.
    #[must_use]
    pub fn reserves(self, address: IpAddr) -> bool {
        self.position(address)
            .is_some_and(|(before, after)| before < 4 || (address.is_ipv4() && after == 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_knows_its_addresses_and_the_reserved_ones() {
        let prefix = Prefix::parse("10.5.0.0/24").expect("a prefix");
        let at = |last: u8| IpAddr::from([10, 5, 0, last]);
        assert!(prefix.contains(at(110)) && !prefix.contains(IpAddr::from([10, 5, 1, 0])));
        for reserved in [0, 1, 3, 255] {
            assert!(prefix.reserves(at(reserved)), "{reserved}");
        }
        assert!(!prefix.reserves(at(4)) && !prefix.reserves(at(254)));
        let six = Prefix::parse("fd00:1::/64").expect("a prefix");
        assert!(six.contains("fd00:1::10".parse().expect("an address")));
        assert!(!six.contains("fd00:2::10".parse().expect("an address")));
        assert!(!six.contains(at(4)));
    }
}
