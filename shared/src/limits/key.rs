//! Whom a limit counts: a client address, coarse enough that one client cannot be many.

use std::net::{IpAddr, Ipv6Addr};

/// Keys under which a client is counted, each with the factor that its quota is multiplied by.
///
/// IPv4 by address (mapped IPv6 as IPv4); IPv6 by /64, which one host commands, and by /48 at eight times the limit,
/// which one customer may command.
#[must_use]
pub fn of_client(address: IpAddr) -> Vec<(String, u32)> {
    match address.to_canonical() {
        IpAddr::V4(address) => vec![(address.to_string(), 1)],
        IpAddr::V6(address) => vec![(prefix(address, 64), 1), (prefix(address, 48), 8)],
    }
}

fn prefix(address: Ipv6Addr, bits: u32) -> String {
    let masked = u128::from(address) & !(u128::MAX >> bits);
    format!("{}/{bits}", Ipv6Addr::from(masked))
}

#[cfg(test)]
mod tests {
    use super::of_client;

    fn keys(address: &str) -> Vec<(String, u32)> {
        of_client(address.parse().unwrap())
    }

    #[test]
    fn one_client_is_one_key() {
        assert_eq!(keys("203.0.113.9"), [("203.0.113.9".to_owned(), 1)]);
        assert_eq!(keys("::ffff:203.0.113.9"), keys("203.0.113.9"));
        assert_eq!(
            keys("2001:db8:1:2:3:4:5:6"),
            [("2001:db8:1:2::/64".to_owned(), 1), ("2001:db8:1::/48".to_owned(), 8)]
        );
        assert_eq!(keys("2001:db8:1:2::1"), keys("2001:db8:1:2:ffff::1"));
        assert_ne!(keys("2001:db8:1:2::1")[0], keys("2001:db8:1:3::1")[0]);
    }
}
