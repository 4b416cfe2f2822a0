//! Address prefixes, and which of their addresses Azure keeps for itself.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A prefix such as 10.5.0.0/24 or fd00:5::/64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix {
    first: IpAddr,
    length: u8,
}

/// Text that is no prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a prefix such as 10.5.0.0/24 or fd00:5::/64")]
pub struct PrefixError(String);

/// How long an address of this family is.
fn bits_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

impl Prefix {
    /// The prefix of `length` bits that starts at `address`.
    ///
    /// # Errors
    /// `length` is longer than an address, or `address` is not its first address.
    pub fn new(address: impl Into<IpAddr>, length: u8) -> Result<Self, PrefixError> {
        let first = address.into();
        let refuse = || PrefixError(format!("{first}/{length}"));
        if length > bits_of(first) {
            return Err(refuse());
        }
        let prefix = Self { first, length };
        if number(first) & prefix.host_mask() != 0 {
            return Err(refuse());
        }
        Ok(prefix)
    }

    /// The prefix that holds one address.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        Self { first: address, length: bits_of(address) }
    }

    fn host_mask(self) -> u128 {
        let host_bits = u32::from(bits_of(self.first) - self.length);
        1_u128.checked_shl(host_bits).map_or(u128::MAX, |above| above - 1)
    }

    fn last(self) -> u128 {
        number(self.first) | self.host_mask()
    }

    fn address(self, number: u128) -> IpAddr {
        match self.first {
            IpAddr::V4(_) => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
            IpAddr::V6(_) => Ipv6Addr::from(number).into(),
        }
    }

    /// Whether the address lies in the prefix.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4()
            && (number(self.first)..=self.last()).contains(&number(address))
    }

    /// Azure keeps the first four addresses of a subnet and its last. `[S]` for IPv4, `[I]` for IPv6.
    #[must_use]
    pub fn reserved(self, address: IpAddr) -> bool {
        let address = number(address);
        address < number(self.first).saturating_add(4) || address == self.last()
    }

    /// Length in bits.
    #[must_use]
    pub fn length(self) -> u8 {
        self.length
    }

    /// How many addresses it has, as a power of two.
    #[must_use]
    pub fn host_bits(self) -> u8 {
        bits_of(self.first) - self.length
    }

    /// First address.
    #[must_use]
    pub fn network(self) -> IpAddr {
        self.first
    }

    /// Every address of the prefix, the reserved ones included. Of an IPv6 subnet they are too many
    /// to go through.
    pub fn addresses(self) -> impl Iterator<Item = IpAddr> {
        (number(self.first)..=self.last()).map(move |number| self.address(number))
    }

    /// The addresses that a NIC may have.
    pub fn usable(self) -> impl Iterator<Item = IpAddr> {
        self.addresses().filter(move |address| !self.reserved(*address))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network(), self.length)
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || PrefixError(text.to_owned());
        let (address, length) = text.split_once('/').ok_or_else(refuse)?;
        let address: IpAddr = address.parse().map_err(|_| refuse())?;
        let length = length.parse().map_err(|_| refuse())?;
        Self::new(address, length)
    }
}

impl TryFrom<String> for Prefix {
    type Error = PrefixError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn azure_keeps_the_first_four_addresses_and_the_last() {
        let prefix: Prefix = "10.5.0.0/29".parse().expect("a prefix");
        let usable: Vec<String> = prefix.usable().map(|a| a.to_string()).collect();
        assert_eq!(usable, ["10.5.0.4", "10.5.0.5", "10.5.0.6"]);
    }

    #[test]
    fn a_prefix_must_start_at_its_first_address() {
        assert!("10.5.0.1/24".parse::<Prefix>().is_err());
        assert!("10.5.0.0/33".parse::<Prefix>().is_err());
        assert!("0.0.0.0/0".parse::<Prefix>().is_ok());
        assert_eq!("10.5.0.9/32".parse::<Prefix>().expect("a prefix").addresses().count(), 1);
    }

    #[test]
    fn an_ipv6_prefix_has_addresses_of_its_own_family_only() {
        let prefix: Prefix = "fd00:5::/64".parse().expect("a prefix");
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert!(prefix.contains(address("fd00:5::6e")) && !prefix.contains(address("fd00:6::1")));
        assert!(!prefix.contains(address("0.0.0.5")) && prefix.reserved(address("fd00:5::3")));
        assert_eq!(prefix.usable().next(), Some(address("fd00:5::4")));
        assert!("::/0".parse::<Prefix>().is_ok() && "fd00::1/64".parse::<Prefix>().is_err());
        assert!("fd00::/129".parse::<Prefix>().is_err());
    }
}
