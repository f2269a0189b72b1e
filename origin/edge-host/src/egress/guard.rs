//! Which addresses may be connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use kado_shared::ip_guard::forbidden;

use super::FetchError;

/// More answers than any honest name has; a longer list is not searched for a good one.
const MOST_ADDRESSES: usize = 64;

/// Where machines tell their secrets to whoever asks from inside (AWS over IPv6, Azure, Alibaba, Oracle). Refused even
/// where private addresses are allowed; 169.254.169.254 is, as everything link-local.
const METADATA: [IpAddr; 4] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// What a host that the tenant listed as private may resolve to beside public addresses. Everything else that is
/// forbidden stays so: link-local, multicast, tunnels, reserved ranges.
const ALLOWED_AS_PRIVATE: [&str; 4] = ["private", "loopback", "shared (CGNAT)", "unique local"];

/// Judges addresses.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guard {
    /// Addresses of this site that this machine does not know as its own.
    pub(crate) own: Vec<IpAddr>,
}

impl Guard {
    /// All of them, or none: a name with one forbidden address among good ones is an attempt.
    pub(crate) fn check(&self, addresses: &[IpAddr], allow_private: bool) -> Result<(), FetchError> {
        if addresses.is_empty() {
            return Err(FetchError::Dns);
        }
        if addresses.len() > MOST_ADDRESSES || addresses.iter().any(|a| self.refuses(*a, allow_private)) {
            return Err(FetchError::AddressRefused);
        }
        Ok(())
    }

    fn refuses(&self, address: IpAddr, allow_private: bool) -> bool {
        let plain = address.to_canonical();
        if METADATA.contains(&plain) {
            return true;
        }
        match forbidden(address).or_else(|| forbidden(plain)) {
            Some(reason) => !(allow_private && ALLOWED_AS_PRIVATE.contains(&reason)),
            None => !allow_private && (self.own.contains(&plain) || is_of_this_machine(plain)),
        }
    }
}

/// Whether the system would use this very address as the sender's when talking to it: then it is one of ours. Nothing
/// is sent for that.
fn is_of_this_machine(address: IpAddr) -> bool {
    let any: SocketAddr = match address {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    UdpSocket::bind(any)
        .and_then(|socket| {
            socket.connect((address, 9))?;
            socket.local_addr()
        })
        .is_ok_and(|local| local.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(addresses: &[&str], allow_private: bool) -> Result<(), FetchError> {
        let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        Guard {
            own: vec!["9.9.9.9".parse().unwrap()],
        }
        .check(&addresses, allow_private)
    }

    const REFUSED: Result<(), FetchError> = Err(FetchError::AddressRefused);

    #[test]
    fn public_addresses_pass_and_one_bad_one_spoils_them() {
        assert_eq!(
            check(&["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"], false),
            Ok(())
        );
        assert_eq!(check(&["93.184.215.14", "127.0.0.1"], false), REFUSED);
        assert_eq!(check(&["93.184.215.14", "169.254.169.254"], true), REFUSED);
        assert_eq!(check(&[], false), Err(FetchError::Dns));
        assert_eq!(check(&["93.184.215.14"; MOST_ADDRESSES + 1], false), REFUSED);
    }

    #[test]
    fn inside_addresses_are_refused_in_every_spelling() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "0.0.0.0",
            "169.254.169.254",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:0:7f00:1::",
            "168.63.129.16",
            "::ffff:168.63.129.16",
        ] {
            assert_eq!(check(&[address], false), REFUSED, "{address}");
        }
    }

    #[test]
    fn a_private_host_may_be_inside_but_never_metadata_or_link_local() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "100.64.0.1",
            "::1",
            "fd12::1",
            "::ffff:10.0.0.1",
            "93.184.215.14",
        ] {
            assert_eq!(check(&[address], true), Ok(()), "{address}");
        }
        for address in [
            "169.254.169.254",
            "fe80::1",
            "0.0.0.0",
            "224.0.0.1",
            "fd00:ec2::254",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "::ffff:169.254.169.254",
            "64:ff9b::a00:1",
        ] {
            assert_eq!(check(&[address], true), REFUSED, "{address}");
        }
    }

    #[test]
    fn the_sites_own_addresses_are_refused() {
        assert_eq!(check(&["9.9.9.9"], false), REFUSED);
        assert!(
            is_of_this_machine("127.0.0.1".parse().unwrap()),
            "the kernel knows its own"
        );
        assert!(!is_of_this_machine("93.184.215.14".parse().unwrap()));
    }
}
