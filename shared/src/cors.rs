//! Cross-origin rules of the API: exact origins, credentials for them and nobody else.

/// Headers that a page may read from an answer.
pub const EXPOSED: &str = "RateLimit, RateLimit-Policy, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, \
     X-RateLimit-Reset-After, X-User-RateLimit-Limit, X-User-RateLimit-Remaining, X-User-RateLimit-Reset, Retry-After, ETag, \
     Location, X-Request-Id, Cache-Status, Kado-Image";
/// Headers that a page may send.
pub const ALLOWED_HEADERS: &str =
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, X-Request-Id, traceparent";
/// Methods that a page may use.
pub const ALLOWED_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";

/// Whether text is an origin as browsers write it: scheme, host, and a port only where it is not the default.
#[must_use]
pub fn is_origin(text: &str) -> bool {
    url::Url::parse(text)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text)
}

/// Headers for an answer to a request from `origin`; `preflight` for an OPTIONS request that asks for a method.
///
/// `Vary: Origin` comes always, so that no cache gives one origin's answer to another.
#[must_use]
pub fn headers(allowed: &[String], origin: Option<&str>, preflight: bool) -> Vec<(&'static str, String)> {
    let mut headers = vec![("vary", "Origin".to_owned())];
    let Some(origin) = origin.filter(|origin| allowed.iter().any(|entry| entry == origin)) else {
        return headers;
    };
    headers.push(("access-control-allow-origin", origin.to_owned()));
    headers.push(("access-control-allow-credentials", "true".to_owned()));
    if preflight {
        headers.push(("access-control-allow-methods", ALLOWED_METHODS.to_owned()));
        headers.push(("access-control-allow-headers", ALLOWED_HEADERS.to_owned()));
        headers.push(("access-control-max-age", "600".to_owned()));
    } else {
        headers.push(("access-control-expose-headers", EXPOSED.to_owned()));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::{headers, is_origin};

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for good in ["https://example.com", "http://localhost:3000", "https://[::1]:8443"] {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "*",
            "null",
            "https://example.com/",
            "https://example.com:443",
            "https://EXAMPLE.com",
            "ftp://example.com",
            "example.com",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }

    #[test]
    fn only_a_listed_origin_is_let_in() {
        let allowed = ["https://app.example.com".to_owned()];
        let names = |origin, preflight| {
            headers(&allowed, origin, preflight)
                .iter()
                .map(|(name, _)| *name)
                .collect::<Vec<_>>()
        };
        assert!(names(Some("https://app.example.com"), false).contains(&"access-control-allow-credentials"));
        assert!(names(Some("https://app.example.com"), true).contains(&"access-control-allow-methods"));
        for stranger in [
            None,
            Some("https://evil.example"),
            Some("null"),
            Some("https://app.example.com.evil.example"),
        ] {
            assert_eq!(names(stranger, true), ["vary"], "{stranger:?}");
        }
    }
}
