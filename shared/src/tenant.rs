//! Tenants: who a request belongs to.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use uuid::Uuid;

/// Identifier of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantId(pub Uuid);

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is no tenant identifier in hyphenated lower-case form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tenant identifier is a UUID in hyphenated lower-case form")]
pub struct NotATenantId;

impl FromStr for TenantId {
    type Err = NotATenantId;

    /// Takes the hyphenated lower-case form only, so that one tenant has one spelling in keys and signatures.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = Uuid::parse_str(text).map_err(|_| NotATenantId)?;
        if id.hyphenated().to_string() == text {
            Ok(Self(id))
        } else {
            Err(NotATenantId)
        }
    }
}

/// A `Host` header as tenants are looked up by it: lower-case, without port and without a trailing dot.
///
/// `None` where it cannot be a host name or an address: empty, longer than 253 bytes, or with characters that no host has.
#[must_use]
pub fn normalize_host(host: &str) -> Option<String> {
    let host = host.trim();
    let name = if let Some(rest) = host.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        if !(port.is_empty() || is_port(port.strip_prefix(':')?)) {
            return None;
        }
        return address
            .parse::<std::net::Ipv6Addr>()
            .ok()
            .map(|address| format!("[{address}]"));
    } else if let Some((name, port)) = host.split_once(':') {
        if !is_port(port) {
            return None;
        }
        name
    } else {
        host
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let plausible = !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        });
    plausible.then(|| name.to_ascii_lowercase())
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::{TenantId, normalize_host};
    use proptest::prelude::{any, prop_assert_eq, proptest};

    #[test]
    fn one_host_has_one_spelling() {
        for (given, normal) in [
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("example.com:8787", "example.com"),
            ("t-1.localhost:80", "t-1.localhost"),
            ("[::1]:8787", "[::1]"),
            ("127.0.0.1", "127.0.0.1"),
        ] {
            assert_eq!(normalize_host(given).as_deref(), Some(normal), "{given}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for bad in [
            "",
            ".",
            "a..b",
            "exa mple.com",
            "a/b",
            "a@b",
            "host:port",
            "host:",
            "host:99999",
            "[::1",
            "[zz]",
            "ho\0st",
            "exämple.com",
        ] {
            assert_eq!(normalize_host(bad), None, "{bad}");
        }
        assert_eq!(normalize_host(&format!("{}.com", "a".repeat(64))), None);
    }

    #[test]
    fn a_tenant_has_one_spelling() {
        assert!("6f1c1b9e-7c0a-4d8e-9d51-0b8f5a1f2e3d".parse::<TenantId>().is_ok());
        for bad in [
            "6F1C1B9E-7C0A-4D8E-9D51-0B8F5A1F2E3D",
            "6f1c1b9e7c0a4d8e9d510b8f5a1f2e3d",
            "",
            "tenant",
        ] {
            assert!(bad.parse::<TenantId>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn normal_form_is_idempotent(text in any::<String>()) {
            if let Some(host) = normalize_host(&text) {
                prop_assert_eq!(normalize_host(&host), Some(host));
            }
        }
    }
}
