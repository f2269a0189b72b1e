//! Which address a client has: never what it says of itself, unless a proxy we trust says so too.

use std::net::IpAddr;

/// Where the client's address is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientIpSource {
    /// The peer of the connection.
    Peer,
    /// `CF-Connecting-IP`, which Cloudflare sets and nobody else can; for deployments on Cloudflare only.
    Cloudflare,
    /// A header that trusted proxies append to.
    Header(String),
}

/// The configuration is not one we know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientIpError {
    /// `CLIENT_IP` has another value.
    #[error("CLIENT_IP must be peer, cf or header:<name>")]
    Source,
    /// `TRUSTED_PROXIES` has an entry that is no address range.
    #[error("TRUSTED_PROXIES: {0:?} is no address or range such as 10.0.0.0/8")]
    Proxy(String),
}

impl ClientIpSource {
    /// Reads `CLIENT_IP`; empty means `peer`.
    ///
    /// # Errors
    /// [`ClientIpError::Source`].
    pub fn parse(text: &str) -> Result<Self, ClientIpError> {
        match text.trim() {
            "" | "peer" => Ok(Self::Peer),
            "cf" => Ok(Self::Cloudflare),
            other => other
                .strip_prefix("header:")
                .filter(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
                .map(|name| Self::Header(name.to_ascii_lowercase()))
                .ok_or(ClientIpError::Source),
        }
    }
}

/// Ranges of proxies whose word counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<(IpAddr, u8)>);

impl TrustedProxies {
    /// Reads `TRUSTED_PROXIES`: addresses and ranges, comma-separated.
    ///
    /// # Errors
    /// [`ClientIpError::Proxy`] with the entry that is wrong.
    pub fn parse(text: &str) -> Result<Self, ClientIpError> {
        let entry = |part: &str| {
            let (address, bits) = part
                .split_once('/')
                .map_or((part, None), |(address, bits)| (address, Some(bits)));
            let address: IpAddr = address.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Some(most), |bits| bits.parse::<u8>().ok().filter(|bits| *bits <= most))?;
            Some((address, bits))
        };
        text.split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(|part| entry(part).ok_or_else(|| ClientIpError::Proxy(part.to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.0
            .iter()
            .any(|(range, bits)| match (range, address.to_canonical()) {
                (IpAddr::V4(range), IpAddr::V4(address)) => {
                    (u32::from(*range) ^ u32::from(address))
                        .checked_shr(32 - u32::from(*bits))
                        .unwrap_or(0)
                        == 0
                }
                (IpAddr::V6(range), IpAddr::V6(address)) => {
                    (u128::from(*range) ^ u128::from(address))
                        .checked_shr(128 - u32::from(*bits))
                        .unwrap_or(0)
                        == 0
                }
                _ => false,
            })
    }
}

/// The client's address: `peer` is that of the connection, `header` the value of the configured header.
///
/// A header is believed only from a trusted peer, and only up to the rightmost address that is not trusted itself:
/// everything left of it may be the client's own invention.
#[must_use]
pub fn resolve(
    source: &ClientIpSource,
    proxies: &TrustedProxies,
    peer: Option<IpAddr>,
    header: Option<&str>,
) -> Option<IpAddr> {
    match source {
        ClientIpSource::Peer => peer,
        ClientIpSource::Cloudflare => header.and_then(parse_address),
        ClientIpSource::Header(_) => {
            let peer = peer?;
            if !proxies.contains(peer) {
                return Some(peer);
            }
            let mut nearest = peer;
            for hop in header.unwrap_or_default().rsplit(',') {
                let Some(address) = parse_address(hop) else { break };
                nearest = address;
                if !proxies.contains(address) {
                    break;
                }
            }
            Some(nearest)
        }
    }
}

/// An address with or without port, brackets and white space.
#[must_use]
pub fn parse_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Ok(socket) = text.parse::<std::net::SocketAddr>() {
        return Some(socket.ip().to_canonical());
    }
    text.trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>()
        .ok()
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::{ClientIpSource, TrustedProxies, parse_address, resolve};

    fn of(source: &str, proxies: &str, peer: &str, header: Option<&str>) -> String {
        let source = ClientIpSource::parse(source).unwrap();
        let proxies = TrustedProxies::parse(proxies).unwrap();
        resolve(&source, &proxies, peer.parse().ok(), header)
            .unwrap()
            .to_string()
    }

    #[test]
    fn a_header_counts_only_from_a_trusted_proxy() {
        assert_eq!(of("peer", "", "198.51.100.1", Some("1.2.3.4")), "198.51.100.1");
        assert_eq!(
            of("header:x-forwarded-for", "10.0.0.0/8", "198.51.100.1", Some("1.2.3.4")),
            "198.51.100.1"
        );
        assert_eq!(
            of("header:x-forwarded-for", "10.0.0.0/8", "10.1.1.1", Some("1.2.3.4")),
            "1.2.3.4"
        );
        assert_eq!(of("cf", "", "10.1.1.1", Some("1.2.3.4")), "1.2.3.4");
    }

    #[test]
    fn what_the_client_wrote_itself_does_not_count() {
        let through = |header| {
            of(
                "header:x-forwarded-for",
                "10.0.0.0/8, 2001:db8::/32",
                "10.1.1.1",
                Some(header),
            )
        };
        assert_eq!(through("6.6.6.6, 1.2.3.4, 10.2.2.2"), "1.2.3.4");
        assert_eq!(through("6.6.6.6, garbage, 10.2.2.2"), "10.2.2.2");
        assert_eq!(through("2001:db8::1"), "2001:db8::1");
        assert_eq!(through(""), "10.1.1.1");
    }

    #[test]
    fn addresses_come_in_many_spellings() {
        for (text, address) in [
            ("1.2.3.4:80", "1.2.3.4"),
            ("[::1]:80", "::1"),
            ("[::1]", "::1"),
            (" ::ffff:1.2.3.4 ", "1.2.3.4"),
        ] {
            assert_eq!(parse_address(text).unwrap().to_string(), address);
        }
        assert_eq!(parse_address("unix:/x"), None);
    }

    #[test]
    fn wrong_configuration_is_named() {
        assert!(ClientIpSource::parse("header:").is_err() && ClientIpSource::parse("x-forwarded-for").is_err());
        for bad in ["10.0.0.0/33", "ten", "10.0.0.0/x"] {
            assert!(TrustedProxies::parse(bad).unwrap_err().to_string().contains(bad));
        }
        assert!(
            TrustedProxies::parse("0.0.0.0/0")
                .unwrap()
                .contains("9.9.9.9".parse().unwrap())
        );
    }
}
