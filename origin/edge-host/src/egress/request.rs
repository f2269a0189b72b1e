//! What the Worker asks for.

use std::time::Duration;

use http::HeaderMap;
use kado_shared::headers::{
    KADO_ALLOW_PORT, KADO_ALLOW_PRIVATE, KADO_MAX_BYTES, KADO_SOURCE, KADO_TIMEOUT_MS, KADO_VIA,
};
use url::{Host, Url};

use super::FetchError;

/// What we add to `Via`, and know a loop by.
pub(crate) const VIA: &str = "1.1 kado";

/// Longest address, in bytes.
const MAX_URL: usize = 8 * 1024;
/// No fetch takes longer, whatever is asked.
const LONGEST: Duration = Duration::from_secs(60);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// No fetch brings more, whatever is asked.
pub(crate) const MOST_BYTES: u64 = 256 * 1024 * 1024;
const DEFAULT_BYTES: u64 = 100 * 1024 * 1024;

/// A source to be fetched, its address checked as far as an address can be.
#[derive(Debug, Clone)]
pub(crate) struct SourceRequest {
    pub(crate) url: Url,
    pub(crate) port: u16,
    pub(crate) allow_private: bool,
    pub(crate) max_bytes: u64,
    pub(crate) timeout: Duration,
    /// The whole `Via` field to send.
    pub(crate) via: String,
}

impl SourceRequest {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Self, FetchError> {
        let text = |name: &str| match headers.get(name) {
            None => Ok(None),
            Some(value) => value.to_str().map(Some).map_err(|_| FetchError::Protocol),
        };
        let flag = |name: &str| text(name).map(|v| v == Some("1"));
        let allow_private = flag(KADO_ALLOW_PRIVATE)?;
        let source = text(KADO_SOURCE)?.ok_or(FetchError::Protocol)?;
        let url = checked_url(source)?;
        // A listed private host is an operator's own, and its port is part of what was listed.
        let any_port = allow_private || flag(KADO_ALLOW_PORT)?;
        let port = url
            .port_or_known_default()
            .filter(|p| *p != 0)
            .ok_or(FetchError::AddressRefused)?;
        if !any_port && port != 80 && port != 443 {
            return Err(FetchError::AddressRefused);
        }
        let timeout = number(text(KADO_TIMEOUT_MS)?)?
            .map_or(DEFAULT_TIMEOUT, Duration::from_millis)
            .min(LONGEST);
        let max_bytes = number(text(KADO_MAX_BYTES)?)?.unwrap_or(DEFAULT_BYTES).min(MOST_BYTES);
        let via = via(text(KADO_VIA)?)?;
        Ok(Self {
            url,
            port,
            allow_private,
            max_bytes,
            timeout,
            via,
        })
    }

    /// The host, as resolver and TLS want it: without brackets, without a trailing dot.
    pub(crate) fn host(&self) -> String {
        match self.url.host() {
            Some(Host::Domain(name)) => name.trim_end_matches('.').to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => String::new(),
        }
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }
}

fn checked_url(text: &str) -> Result<Url, FetchError> {
    if text.len() > MAX_URL {
        return Err(FetchError::AddressRefused);
    }
    let url = Url::parse(text).map_err(|_| FetchError::AddressRefused)?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        && match url.host() {
            Some(Host::Domain(name)) => !name.trim_end_matches('.').is_empty(),
            address => address.is_some(),
        };
    if plain {
        Ok(url)
    } else {
        Err(FetchError::AddressRefused)
    }
}

fn number(text: Option<&str>) -> Result<Option<u64>, FetchError> {
    let Some(text) = text else { return Ok(None) };
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(FetchError::Protocol);
    }
    // What does not fit is larger than every bound.
    Ok(Some(text.parse().unwrap_or(u64::MAX)))
}

/// The field to send. One that names us already has been through here: a loop.
fn via(inbound: Option<&str>) -> Result<String, FetchError> {
    const LONGEST_VIA: usize = 1024;
    let inbound = inbound.unwrap_or_default().trim();
    let loops = inbound
        .split(',')
        .filter_map(|hop| hop.split_ascii_whitespace().nth(1))
        .any(|name| name.eq_ignore_ascii_case("kado"));
    match inbound {
        _ if loops || inbound.len() > LONGEST_VIA => Err(FetchError::Protocol),
        "" => Ok(VIA.to_owned()),
        hops => Ok(format!("{hops}, {VIA}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(list: &[(&'static str, &str)]) -> Result<SourceRequest, FetchError> {
        let headers = list
            .iter()
            .map(|(n, v)| (n.parse::<http::HeaderName>().unwrap(), v.parse().unwrap()))
            .collect();
        SourceRequest::from_headers(&headers)
    }

    fn source(url: &str) -> Result<SourceRequest, FetchError> {
        request(&[(KADO_SOURCE, url)])
    }

    #[test]
    fn a_plain_address_gets_the_default_bounds() {
        let asked = source("https://cdn.example.com/a%20b.jpg?x=1").unwrap();
        assert_eq!(
            (asked.port, asked.max_bytes, asked.timeout),
            (443, DEFAULT_BYTES, DEFAULT_TIMEOUT)
        );
        assert_eq!((asked.via.as_str(), asked.host().as_str()), (VIA, "cdn.example.com"));
        assert!(asked.is_tls() && !asked.allow_private);
    }

    #[test]
    fn other_schemes_credentials_and_ports_are_refused() {
        for url in [
            "ftp://a.test/",
            "file:///etc/passwd",
            "data:image/png,x",
            "http://user@a.test/",
            "http://:p@a.test/",
            "http://a.test:8080/",
            "http://a.test:22/",
            "http://a.test:0/",
            "http://",
            "http:///",
            "http://./",
            "a.test",
            "",
        ] {
            assert_eq!(
                source(url).map(|_| ()).unwrap_err(),
                FetchError::AddressRefused,
                "{url}"
            );
        }
        assert_eq!(source("http://a.test:443/").unwrap().port, 443);
        let odd = [(KADO_SOURCE, "http://a.test:8080/")];
        assert!(request(&[odd[0], (KADO_ALLOW_PORT, "1")]).is_ok());
        assert!(request(&[odd[0], (KADO_ALLOW_PRIVATE, "1")]).is_ok());
        assert!(request(&[odd[0], (KADO_ALLOW_PORT, "0")]).is_err());
    }

    #[test]
    fn hosts_are_what_a_browser_takes_them_for() {
        for (url, host) in [
            ("http://0x7f.1/", "127.0.0.1"),
            ("http://2130706433/", "127.0.0.1"),
            ("http://[::ffff:127.0.0.1]/", "::ffff:127.0.0.1"),
            ("http://LOCALHOST./", "localhost"),
            ("http://a.test\\@b.test/", "a.test"),
        ] {
            assert_eq!(source(url).unwrap().host(), host, "{url}");
        }
    }

    #[test]
    fn bounds_can_be_lowered_but_not_raised() {
        let asked = request(&[
            (KADO_SOURCE, "http://a.test/"),
            (KADO_MAX_BYTES, "5"),
            (KADO_TIMEOUT_MS, "70"),
        ])
        .unwrap();
        assert_eq!((asked.max_bytes, asked.timeout), (5, Duration::from_millis(70)));
        let huge = "99999999999999999999999";
        let asked = request(&[
            (KADO_SOURCE, "http://a.test/"),
            (KADO_MAX_BYTES, huge),
            (KADO_TIMEOUT_MS, huge),
        ])
        .unwrap();
        assert_eq!((asked.max_bytes, asked.timeout), (MOST_BYTES, LONGEST));
        for bad in ["", "-1", "1e3", "ten"] {
            assert_eq!(
                request(&[(KADO_SOURCE, "http://a.test/"), (KADO_MAX_BYTES, bad)])
                    .map(|_| ())
                    .unwrap_err(),
                FetchError::Protocol
            );
        }
    }

    #[test]
    fn a_via_that_names_us_is_a_loop() {
        let with = |via: &str| request(&[(KADO_SOURCE, "http://a.test/"), (KADO_VIA, via)]).map(|r| r.via);
        assert_eq!(
            with("1.1 proxy, 2 other"),
            Ok("1.1 proxy, 2 other, 1.1 kado".to_owned())
        );
        assert_eq!(with("1.1 proxy, 1.1 kado"), Err(FetchError::Protocol));
        assert_eq!(with("2  Kado (x)"), Err(FetchError::Protocol));
        assert_eq!(with("1.1 mikado"), Ok("1.1 mikado, 1.1 kado".to_owned()));
    }

    proptest! {
        #[test]
        fn any_address_is_read_without_panic_and_never_with_credentials(url in "[ -~]{0,60}") {
            if let Ok(asked) = source(&format!("http://{url}")) {
                prop_assert!(asked.url.username().is_empty());
                prop_assert!(asked.port == 80 || asked.port == 443);
                prop_assert!(!asked.host().is_empty());
            }
        }
    }
}
