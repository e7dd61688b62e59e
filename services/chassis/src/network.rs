use std::net::{IpAddr, Ipv6Addr};

/// Returns a client's network: the IPv4 address, or the IPv6 /64 (RFC 6177). IPv4-mapped addresses
/// count as IPv4.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
    }
}

pub(crate) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_is_ipv4_address_or_ipv6_slash_64() {
        let text = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(text("192.0.2.1"), "192.0.2.1");
        assert_eq!(text("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(text("2001:db8::1"), text("2001:db8::2:3:4:5"));
        assert_eq!(text("2001:db8:0:1:2:3:4:5"), "2001:db8:0:1::");
    }
}
