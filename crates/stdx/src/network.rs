//! Networks as an address and the bits of it that count. No sockets: addresses are plain values.

use std::net::IpAddr;

/// Whether `network/bits` holds `ip`. An IPv4 address in IPv6 clothes counts as IPv4.
pub fn holds(network: IpAddr, bits: u8, ip: IpAddr) -> bool {
    match (network, ip.to_canonical()) {
        (IpAddr::V4(network), IpAddr::V4(ip)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            u32::from(network) & mask == u32::from(ip) & mask
        }
        (IpAddr::V6(network), IpAddr::V6(ip)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            u128::from(network) & mask == u128::from(ip) & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_own_addresses_only() {
        let ip = |s: &str| s.parse::<IpAddr>().expect("an address");
        assert!(holds(ip("10.1.0.0"), 16, ip("10.1.255.9")) && !holds(ip("10.1.0.0"), 16, ip("10.2.0.1")));
        assert!(holds(ip("0.0.0.0"), 0, ip("8.8.8.8")) && !holds(ip("0.0.0.0"), 0, ip("::1")));
        assert!(holds(ip("127.0.0.1"), 32, ip("::ffff:127.0.0.1")));
        assert!(
            holds(ip("2001:db8::"), 32, ip("2001:db8:1::5"))
                && !holds(ip("2001:db8::"), 64, ip("2001:db8:1::5"))
        );
    }
}
