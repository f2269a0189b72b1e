//! The key of an entry: namespace and full address, as a fingerprint.

use foyer::{Code, Error, Result};
use http::{HeaderMap, Uri};
use sha2::{Digest, Sha256};

/// workerd's header for a named cache.
const NAMESPACE: &str = "cf-cache-namespace";

/// SHA-256 over namespace and address. Two addresses never share an entry, and an index of millions stays small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 32]);

impl Key {
    /// The key of a request; `None` when it names no host, since then the address is not complete.
    pub(crate) fn of(uri: &Uri, headers: &HeaderMap) -> Option<Self> {
        let mut hash = Sha256::new();
        // A NUL cannot occur in a header or an address, so the parts cannot run into each other.
        if let Some(namespace) = headers.get(NAMESPACE) {
            hash.update(b"named\0");
            hash.update(namespace.as_bytes());
        }
        hash.update(b"\0");
        hash.update(uri.scheme_str().unwrap_or("http").as_bytes());
        hash.update(b"\0");
        match uri.authority() {
            Some(authority) => hash.update(authority.as_str().to_ascii_lowercase().as_bytes()),
            None => hash.update(headers.get(http::header::HOST)?.as_bytes().to_ascii_lowercase()),
        }
        hash.update(b"\0");
        hash.update(
            uri.path_and_query()
                .map_or("/", http::uri::PathAndQuery::as_str)
                .as_bytes(),
        );
        Some(Self(hash.finalize().into()))
    }
}

impl Key {
    pub(crate) fn first_byte(&self) -> u8 {
        self.0[0]
    }
}

impl Code for Key {
    fn encode(&self, writer: &mut impl std::io::Write) -> Result<()> {
        writer.write_all(&self.0).map_err(Error::io_error)
    }

    fn decode(reader: &mut impl std::io::Read) -> Result<Self> {
        let mut bytes = [0; 32];
        reader.read_exact(&mut bytes).map_err(Error::io_error)?;
        Ok(Self(bytes))
    }

    fn estimated_size(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(uri: &str, headers: &[(&'static str, &str)]) -> Option<Key> {
        let map = headers
            .iter()
            .map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap()))
            .collect();
        Key::of(&uri.parse().unwrap(), &map)
    }

    #[test]
    fn scheme_host_port_path_query_and_namespace_all_count() {
        let all = [
            key("http://a/x", &[]),
            key("https://a/x", &[]),
            key("http://a:81/x", &[]),
            key("http://b/x", &[]),
            key("http://a/x?", &[]),
            key("http://a/x?b", &[]),
            key("http://a/X", &[]),
            key("http://a/x", &[(NAMESPACE, "n")]),
            key("http://a/x", &[(NAMESPACE, "")]),
            key("http://a/x", &[(NAMESPACE, "N")]),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(a.is_some());
            assert!(all.iter().skip(i + 1).all(|b| a != b), "{i}");
        }
    }

    #[test]
    fn the_address_in_the_request_line_wins_over_host() {
        assert_eq!(key("http://a/x", &[("host", "b")]), key("http://A/x", &[]));
        assert_eq!(key("/x", &[("host", "a")]), key("http://a/x", &[]));
        assert_eq!(key("/x", &[]), None);
    }
}
