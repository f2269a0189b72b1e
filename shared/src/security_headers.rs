//! Security headers of every answer.

/// What an answer is, as far as its headers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// Pictures, for embedding anywhere.
    Image,
    /// The API, for the tenant's own pages.
    Api,
}

/// Headers for an answer. `production` adds HSTS with preload, which would lock a development host out of plain HTTP.
#[must_use]
pub fn of(surface: Surface, production: bool) -> Vec<(&'static str, &'static str)> {
    let mut headers = vec![
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        (
            "permissions-policy",
            "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        ),
    ];
    match surface {
        Surface::Image => headers.extend([
            ("content-security-policy", "default-src 'none'; sandbox"),
            ("cross-origin-resource-policy", "cross-origin"),
            ("access-control-allow-origin", "*"),
            ("timing-allow-origin", "*"),
        ]),
        Surface::Api => headers.extend([
            (
                "content-security-policy",
                "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
            ),
            ("cross-origin-resource-policy", "same-origin"),
        ]),
    }
    if production {
        headers.push((
            "strict-transport-security",
            "max-age=63072000; includeSubDomains; preload",
        ));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::{Surface, of};

    #[test]
    fn pictures_embed_anywhere_and_the_api_does_not() {
        let value = |surface, name| {
            of(surface, false)
                .into_iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value)
        };
        assert_eq!(
            value(Surface::Image, "cross-origin-resource-policy"),
            Some("cross-origin")
        );
        assert_eq!(value(Surface::Image, "access-control-allow-origin"), Some("*"));
        assert_eq!(value(Surface::Api, "cross-origin-resource-policy"), Some("same-origin"));
        assert_eq!(value(Surface::Api, "access-control-allow-origin"), None);
    }

    #[test]
    fn hsts_is_for_production() {
        let hsts = |production| {
            of(Surface::Api, production)
                .iter()
                .any(|(name, value)| *name == "strict-transport-security" && value.contains("preload"))
        };
        assert!(hsts(true) && !hsts(false));
    }
}
