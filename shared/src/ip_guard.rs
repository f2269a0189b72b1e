//! Addresses that a picture's source may never have.
//!
//! Whatever is not plainly public is refused: a name that resolves to one of these would let an outsider reach the
//! inside through us. Ranges are IANA's special-purpose registries (RFC 6890 and successors).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why a connection to an address is refused; `None` where it is public.
#[must_use]
pub fn forbidden(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => forbidden_v4(address),
        IpAddr::V6(address) => forbidden_v6(address),
    }
}

fn forbidden_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (0, ..) => Some("this network"),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Some("private"),
        (100, 64..=127, _) => Some("shared (CGNAT)"),
        (127, ..) => Some("loopback"),
        (169, 254, _) => Some("link-local"),
        (192, 0, 0) => Some("protocol assignments"),
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => Some("documentation"),
        (192, 88, 99) => Some("6to4 relay"),
        (198, 18..=19, _) => Some("benchmarking"),
        (224..=239, ..) => Some("multicast"),
        (240..=255, ..) => Some("reserved"),
        _ => None,
    }
}

fn forbidden_v6(address: Ipv6Addr) -> Option<&'static str> {
    let [s0, s1, s2, s3, s4, s5, s6, s7] = address.segments();
    let embedded = |high: u16, low: u16| {
        let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
        forbidden_v4(Ipv4Addr::new(a, b, c, d))
    };
    match [s0, s1, s2, s3, s4, s5] {
        [0, 0, 0, 0, 0, 0] => match (s6, s7) {
            (0, 0) => Some("unspecified"),
            (0, 1) => Some("loopback"),
            _ => Some("IPv4-compatible"),
        },
        // What the kernel would send as IPv4 is judged as IPv4.
        [0, 0, 0, 0, 0, 0xFFFF] => embedded(s6, s7),
        [0, 0, 0, 0, 0xFFFF, 0] => Some("IPv4-translated"),
        [0x64, 0xFF9B, ..] => Some("NAT64"),
        [0x100, 0, 0, ..] => Some("discard-only"),
        [0x2001, 0, ..] => Some("Teredo"),
        [0x2001, 0x2..=0x1FF, ..] => Some("protocol assignments"),
        [0x2001, 0xDB8, ..] | [0x3FFF, 0..=0xFFF, ..] => Some("documentation"),
        [0x2002, ..] => Some("6to4"),
        [0x5F00, ..] => Some("segment routing"),
        [0xFC00..=0xFDFF, ..] => Some("unique local"),
        [0xFE80..=0xFEBF, ..] => Some("link-local"),
        [0xFEC0..=0xFEFF, ..] => Some("site-local"),
        [0xFF00..=0xFFFF, ..] => Some("multicast"),
        // ISATAP: an IPv4 address inside any prefix.
        [_, _, _, _, 0 | 0x200, 0x5EFE] => Some("ISATAP"),
        [0x2000..=0x3FFF, ..] => None,
        _ => Some("unassigned"),
    }
}

#[cfg(test)]
mod tests {
    use super::forbidden;
    use std::net::IpAddr;

    #[test]
    fn nothing_but_public_addresses_is_reached() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.1.2.3",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2606:4700::200:5efe:7f00:1",
            "4000::1",
            "2606:4700::5efe:7f00:1",
        ] {
            assert!(forbidden(address.parse::<IpAddr>().unwrap()).is_some(), "{address}");
        }
    }

    #[test]
    fn public_addresses_are_reached() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "198.20.0.1",
            "2606:4700:4700::1111",
            "2a00:1450::1",
            "::ffff:1.1.1.1",
        ] {
            assert_eq!(forbidden(address.parse::<IpAddr>().unwrap()), None, "{address}");
        }
    }
}
