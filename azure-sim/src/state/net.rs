//! IPv4 prefixes, and which of their addresses Azure keeps for itself.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An IPv4 prefix such as 10.5.0.0/24.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix {
    first: u32,
    length: u8,
}

/// Text that is no IPv4 prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not an IPv4 prefix such as 10.5.0.0/24")]
pub struct PrefixError(String);

impl Prefix {
    /// The prefix of `length` bits that starts at `address`.
    ///
    /// # Errors
    /// `length` is over 32, or `address` is not its first address.
    pub fn new(address: Ipv4Addr, length: u8) -> Result<Self, PrefixError> {
        let refuse = || PrefixError(format!("{address}/{length}"));
        if length > 32 {
            return Err(refuse());
        }
        let prefix = Self { first: u32::from(address), length };
        if prefix.first & prefix.host_mask() != 0 {
            return Err(refuse());
        }
        Ok(prefix)
    }

    fn host_mask(self) -> u32 {
        u32::MAX.checked_shr(u32::from(self.length)).unwrap_or(0)
    }

    fn last(self) -> u32 {
        self.first | self.host_mask()
    }

    /// Whether the address lies in the prefix.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        (self.first..=self.last()).contains(&u32::from(address))
    }

    /// Azure keeps the first four addresses of a subnet and its last. `[S]`
    #[must_use]
    pub fn reserved(self, address: Ipv4Addr) -> bool {
        let address = u32::from(address);
        address < self.first.saturating_add(4) || address == self.last()
    }

    /// Length in bits.
    #[must_use]
    pub fn length(self) -> u8 {
        self.length
    }

    /// First address.
    #[must_use]
    pub fn network(self) -> Ipv4Addr {
        Ipv4Addr::from(self.first)
    }

    /// Every address of the prefix, the reserved ones included.
    pub fn addresses(self) -> impl Iterator<Item = Ipv4Addr> {
        (self.first..=self.last()).map(Ipv4Addr::from)
    }

    /// The addresses that a NIC may have.
    pub fn usable(self) -> impl Iterator<Item = Ipv4Addr> {
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
        let address = address.parse().map_err(|_| refuse())?;
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
}
