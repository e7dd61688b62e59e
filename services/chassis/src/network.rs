//! What an IP address stands for: its network, and whether it is a loopback address.

use std::net::{IpAddr, Ipv6Addr};

/// Returns what counts as one client: an IPv4 address, or the first address of an IPv6 /64, as a
/// client with one of its addresses has all of them (RFC 6177).
///
/// An IPv4 address that is mapped into IPv6 is that IPv4 address.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
    }
}

/// Returns whether only processes of this machine reach `address`.
pub(crate) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_ipv4_address_or_an_ipv6_slash_64() {
        let text = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(text("192.0.2.1"), "192.0.2.1");
        assert_eq!(text("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(text("2001:db8::1"), text("2001:db8::2:3:4:5"));
        assert_eq!(text("2001:db8:0:1:2:3:4:5"), "2001:db8:0:1::");
    }
}
