//! Where a picture comes from: the source part of an image address, and the list of hosts a tenant allows.

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::{Host, Url};
use uuid::Uuid;

/// Longest source, in bytes.
pub const MAX_SOURCE_BYTES: usize = 4096;
/// Most hosts a tenant may list.
pub const MAX_ALLOWED: usize = 100;

/// The source part of an image address, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A stored original.
    Stored(Uuid),
    /// A path, with its query, on the tenant's image origin; begins with `/`.
    OriginPath(String),
    /// An absolute `http(s)` address.
    Absolute(Box<Url>),
}

/// Why a source is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Not a source of any of the three forms.
    #[error("{0}")]
    Malformed(&'static str),
    /// A right address that the tenant does not allow.
    #[error("{0}")]
    NotAllowed(&'static str),
}

impl Source {
    /// Parses everything that follows `<options>/`, as sent, and the query that followed it.
    ///
    /// `https:/host` is repaired; a source that begins `https%3A` or `http%3A` is decoded once; nothing else is.
    ///
    /// # Errors
    /// [`SourceError::Malformed`] with what would be right.
    pub fn parse(raw: &str, query: Option<&str>) -> Result<Self, SourceError> {
        use SourceError::Malformed;
        if raw.is_empty() {
            return Err(Malformed(
                "the source is missing: u/<id>, a path, or an http(s) address",
            ));
        }
        if raw.len() + query.map_or(0, str::len) > MAX_SOURCE_BYTES {
            return Err(Malformed("the source is longer than 4096 bytes"));
        }
        if let Some(id) = raw.strip_prefix("u/") {
            if query.is_some() {
                return Err(Malformed("a stored picture takes no query string"));
            }
            return match Uuid::parse_str(id) {
                Ok(parsed) if parsed.hyphenated().to_string() == id => Ok(Self::Stored(parsed)),
                _ => Err(Malformed(
                    "a stored picture is u/ and its identifier, a lower-case UUID",
                )),
            };
        }
        let decoded;
        let mut source = raw;
        if starts_ignoring_case(raw, "https%3a") || starts_ignoring_case(raw, "http%3a") {
            decoded = percent_decode_str(raw)
                .decode_utf8()
                .map_err(|_| Malformed("the encoded source is not UTF-8"))?
                .into_owned();
            source = &decoded;
        }
        if source.bytes().any(|byte| byte == b'\\' || byte.is_ascii_control()) {
            return Err(Malformed("the source has a backslash or a control character"));
        }
        let scheme_end = ["https:", "http:"]
            .into_iter()
            .find(|scheme| starts_ignoring_case(source, scheme))
            .map(str::len);
        match scheme_end.and_then(|end| source.split_at_checked(end)) {
            Some((scheme, rest)) => absolute(scheme, rest, query),
            None => {
                refuse_hidden_steps(source)?;
                let mut path = String::with_capacity(source.len() + 1);
                if !source.starts_with('/') {
                    path.push('/');
                }
                path.push_str(source);
                append_query(&mut path, query);
                // `//host/…` would name a host where a path is meant.
                if path.starts_with("//") {
                    Err(Malformed("a source path begins with one slash"))
                } else {
                    Ok(Self::OriginPath(path))
                }
            }
        }
    }

    /// The address to fetch, checked against what the tenant allows; `None` for a stored picture.
    ///
    /// # Errors
    /// [`SourceError::NotAllowed`] where no entry of the list covers it, [`SourceError::Malformed`] where the path does
    /// not make an address with the image origin.
    pub fn resolve(&self, image_origin: &str, allowed: &[AllowedSource]) -> Result<Option<Target>, SourceError> {
        match self {
            Self::Stored(_) => Ok(None),
            Self::OriginPath(path) => {
                if image_origin.is_empty() {
                    return Err(SourceError::NotAllowed("no image origin is set for source paths"));
                }
                let base = Url::parse(image_origin)
                    .map_err(|_| SourceError::NotAllowed("the image origin is not a valid address"))?;
                let joined = format!("{}{path}", image_origin.trim_end_matches('/'));
                let url = Url::parse(&joined)
                    .map_err(|_| SourceError::Malformed("the source path does not make an address"))?;
                if url.host() != base.host() || url.port() != base.port() || url.scheme() != base.scheme() {
                    return Err(SourceError::Malformed("the source path leaves the image origin"));
                }
                // The operator named this origin, so its port is meant; its address is still judged by the list.
                let private = allowed
                    .iter()
                    .any(|entry| entry.allow_private && entry.covers_host(&url));
                Ok(Some(Target {
                    allow_private: private,
                    allow_port: true,
                    url,
                }))
            }
            Self::Absolute(url) => check_allowed(url, allowed).map(Some),
        }
    }

    /// What the cache key is made of: the same source always has the same identity.
    #[must_use]
    pub fn identity(&self, target: Option<&Target>) -> String {
        match (self, target) {
            (Self::Stored(id), _) => format!("u/{id}"),
            (_, Some(target)) => target.url.as_str().to_owned(),
            (Self::OriginPath(path), None) => path.clone(),
            (Self::Absolute(url), None) => url.as_str().to_owned(),
        }
    }
}

/// An address that may be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where.
    pub url: Url,
    /// Whether it may resolve to an address that is not public.
    pub allow_private: bool,
    /// Whether its port is listed though it is neither 80 nor 443.
    pub allow_port: bool,
}

/// Checks an address, or where a redirect leads, against the tenant's list.
///
/// # Errors
/// [`SourceError::NotAllowed`].
pub fn check_allowed(url: &Url, allowed: &[AllowedSource]) -> Result<Target, SourceError> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(SourceError::NotAllowed("only http and https addresses are fetched"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(SourceError::NotAllowed("an address with credentials is not fetched"));
    }
    refuse_hidden_steps(url.path())?;
    let entry = allowed
        .iter()
        .find(|entry| entry.covers(url))
        .ok_or(SourceError::NotAllowed(
            "the source's host, port or path is not on the list of allowed sources",
        ))?;
    let mut url = url.clone();
    url.set_fragment(None);
    Ok(Target {
        url,
        allow_private: entry.allow_private,
        allow_port: entry.port.is_some(),
    })
}

/// Checks where a redirect leads: to a listed host, or within the image origin that the operator named.
///
/// # Errors
/// As [`check_allowed`].
pub fn check_redirect(url: &Url, image_origin: &str, allowed: &[AllowedSource]) -> Result<Target, SourceError> {
    let within = Url::parse(image_origin).is_ok_and(|base| base.origin() == url.origin());
    if !within || !url.username().is_empty() || url.password().is_some() {
        return check_allowed(url, allowed);
    }
    refuse_hidden_steps(url.path())?;
    let mut url = url.clone();
    url.set_fragment(None);
    let allow_private = allowed
        .iter()
        .any(|entry| entry.allow_private && entry.covers_host(&url));
    Ok(Target {
        url,
        allow_private,
        allow_port: true,
    })
}

fn absolute(scheme: &str, rest: &str, query: Option<&str>) -> Result<Source, SourceError> {
    use SourceError::Malformed;
    let rest = rest.trim_start_matches('/');
    refuse_hidden_steps(rest.split(['?', '#']).next().unwrap_or_default())?;
    let mut address = format!("{}//{rest}", scheme.to_ascii_lowercase());
    append_query(&mut address, query);
    let mut url = Url::parse(&address).map_err(|_| Malformed("the source is not a valid http(s) address"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Malformed("the source carries credentials"));
    }
    url.set_fragment(None);
    Ok(Source::Absolute(Box::new(url)))
}

fn append_query(address: &mut String, query: Option<&str>) {
    if let Some(query) = query {
        address.push(if address.contains('?') { '&' } else { '?' });
        address.push_str(query);
    }
}

/// Refuses `..`, also where it only appears after one or two decodings: a path prefix on the list would mean nothing.
fn refuse_hidden_steps(path: &str) -> Result<(), SourceError> {
    let once = percent_decode_str(path).decode_utf8_lossy().into_owned();
    let twice = percent_decode_str(&once).decode_utf8_lossy().into_owned();
    for form in [path, once.as_str(), twice.as_str()] {
        if form.split(['/', '\\']).any(|segment| segment == ".." || segment == ".") {
            return Err(SourceError::Malformed("the source has a dot segment"));
        }
        if form.chars().any(|c| c == '\\' || c.is_ascii_control()) {
            return Err(SourceError::Malformed(
                "the source has a backslash or a control character",
            ));
        }
    }
    Ok(())
}

fn starts_ignoring_case(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// One entry of the setting `allowedSources`: text (`"images.example.com"`, `"*.example.com"`), or an object with more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AllowedSource {
    /// Exact host, `*.suffix` for its subdomains, or an IP literal.
    pub host: String,
    /// Path that the address's path must begin with; begins with `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,
    /// Port besides 80 and 443.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Whether the host may resolve to an address that is not public.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_private: bool,
}

impl AllowedSource {
    /// Reads the setting's value.
    ///
    /// # Errors
    /// What would be right.
    pub fn list_from_json(value: &Value) -> Result<Vec<Self>, String> {
        const FORM: &str = "must be a list of at most 100 hosts, each \"host\", \"*.suffix\" or {\"host\", \"pathPrefix\", \"port\", \"allowPrivate\"}";
        let list = value.as_array().filter(|list| list.len() <= MAX_ALLOWED).ok_or(FORM)?;
        let read = |item: &Value| {
            let entry = match item {
                Value::String(host) => Self {
                    host: host.clone(),
                    path_prefix: None,
                    port: None,
                    allow_private: false,
                },
                other => serde_json::from_value(other.clone()).map_err(|error| format!("{FORM}: {error}"))?,
            };
            entry.normalized()
        };
        list.iter().map(read).collect()
    }

    fn normalized(mut self) -> Result<Self, String> {
        self.host = self.host.to_ascii_lowercase();
        let name = self.host.strip_prefix("*.").unwrap_or(&self.host);
        if crate::tenant::normalize_host(name).as_deref() != Some(name) {
            return Err(format!(
                "{:?} is no host: write \"images.example.com\" or \"*.example.com\", without scheme and port",
                self.host
            ));
        }
        if self.path_prefix.as_ref().is_some_and(|prefix| !prefix.starts_with('/')) {
            return Err("pathPrefix must begin with /".to_owned());
        }
        Ok(self)
    }

    fn covers(&self, url: &Url) -> bool {
        let port = match url.port() {
            None => self.port.is_none() || self.port == url.port_or_known_default(),
            Some(port) => self.port == Some(port),
        };
        let path = self
            .path_prefix
            .as_ref()
            .is_none_or(|prefix| url.path().starts_with(prefix.as_str()));
        port && path && self.covers_host(url)
    }

    fn covers_host(&self, url: &Url) -> bool {
        match url.host() {
            Some(Host::Domain(domain)) => {
                let domain = domain.strip_suffix('.').unwrap_or(domain);
                match self.host.strip_prefix("*.") {
                    Some(suffix) => domain
                        .strip_suffix(suffix)
                        .is_some_and(|sub| sub.len() > 1 && sub.ends_with('.')),
                    None => domain == self.host,
                }
            }
            // An address never matches a wildcard; it counts only where it is listed as such.
            Some(Host::Ipv4(address)) => address.to_string() == self.host,
            Some(Host::Ipv6(address)) => format!("[{address}]") == self.host,
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AllowedSource, Source, SourceError, check_redirect};
    use proptest::prelude::{any, proptest};
    use serde_json::json;

    fn allowed(value: &serde_json::Value) -> Vec<AllowedSource> {
        AllowedSource::list_from_json(value).unwrap()
    }

    fn fetched(raw: &str, query: Option<&str>, list: &serde_json::Value) -> Result<String, SourceError> {
        let source = Source::parse(raw, query)?;
        Ok(source
            .resolve("https://origin.example.com/base/", &allowed(list))?
            .unwrap()
            .url
            .to_string())
    }

    #[test]
    fn the_three_forms_are_read() {
        let id = "6f1c1b9e-7c0a-4d8e-9d51-0b8f5a1f2e3d";
        assert!(matches!(Source::parse(&format!("u/{id}"), None), Ok(Source::Stored(_))));
        assert_eq!(
            fetched("uploads/a.jpg", None, &json!([])).unwrap(),
            "https://origin.example.com/base/uploads/a.jpg"
        );
        assert_eq!(
            fetched("/a.jpg", Some("v=2"), &json!([])).unwrap(),
            "https://origin.example.com/base/a.jpg?v=2"
        );
        let list = || json!(["cdn.example.com"]);
        for raw in [
            "https://cdn.example.com/a%20b.jpg",
            "https:/cdn.example.com/a%20b.jpg",
            "https%3A%2F%2Fcdn.example.com%2Fa%20b.jpg",
            "HTTPS://CDN.example.com/a%20b.jpg",
        ] {
            assert_eq!(
                fetched(raw, None, &list()).unwrap(),
                "https://cdn.example.com/a%20b.jpg",
                "{raw}"
            );
        }
        assert_eq!(
            fetched("https://cdn.example.com/o/a%2Fb.jpg", Some("x=1"), &list()).unwrap(),
            "https://cdn.example.com/o/a%2Fb.jpg?x=1"
        );
    }

    #[test]
    fn malformed_sources_are_refused() {
        let id = "6f1c1b9e-7c0a-4d8e-9d51-0b8f5a1f2e3d";
        for raw in [
            "",
            "u/",
            "u/../x",
            "u/6F1C1B9E-7C0A-4D8E-9D51-0B8F5A1F2E3D",
            "a/../b",
            "%2e%2e/b",
            "a%2f..%2fb",
            "%252e%252e/b",
            "a\\b",
            "a%5cb",
            "a%00b",
            "//host/x",
            "https://user:pw@host/a",
            "https://host/%2e%2e/x",
            "https://host/..%5cx",
            "https://",
            "http:///",
            "https%3A%2F%2Fho%ff/",
        ] {
            assert!(
                matches!(Source::parse(raw, None), Err(SourceError::Malformed(_))),
                "{raw}"
            );
        }
        assert!(Source::parse(&format!("u/{id}"), Some("x")).is_err());
        assert!(Source::parse(&"a".repeat(5000), None).is_err());
    }

    #[test]
    fn only_listed_hosts_are_fetched() {
        let list = || json!(["cdn.example.com", "*.img.example.com", {"host": "paths.example.com", "pathPrefix": "/public/"}, {"host": "ports.example.com", "port": 8443}, "203.0.113.9"]);
        for good in [
            "https://cdn.example.com/a",
            "https://cdn.example.com./a",
            "https://a.img.example.com/a",
            "https://a.b.img.example.com/a",
            "https://paths.example.com/public/a",
            "https://ports.example.com:8443/a",
            "http://203.0.113.9/a",
        ] {
            assert!(fetched(good, None, &list()).is_ok(), "{good}");
        }
        for bad in [
            "https://example.com/a",
            "https://img.example.com/a",
            "https://evilimg.example.com/a",
            "https://cdn.example.com.evil.example/a",
            "https://paths.example.com/private/a",
            "https://paths.example.com/publicity",
            "https://ports.example.com/a",
            "https://cdn.example.com:8443/a",
            "http://203.0.113.10/a",
            "http://[::1]/a",
            "http://0xcb007109.evil.example/a",
            "https://localhost/a",
        ] {
            assert!(
                matches!(fetched(bad, None, &list()), Err(SourceError::NotAllowed(_))),
                "{bad}"
            );
        }
        // An odd spelling of a listed address is that address, and nothing else.
        assert_eq!(
            fetched("http://0xcb007109/a", None, &list()).unwrap(),
            "http://203.0.113.9/a"
        );
    }

    #[test]
    fn a_redirect_stays_where_a_request_might_go() {
        let list = allowed(&json!([{"host": "paths.example.com", "pathPrefix": "/public/"}]));
        let to = |address: &str| {
            check_redirect(
                &url::Url::parse(address).unwrap(),
                "https://origin.example.com/base",
                &list,
            )
        };
        assert_eq!(
            to("https://paths.example.com/public/a#part").unwrap().url.as_str(),
            "https://paths.example.com/public/a"
        );
        assert!(to("https://origin.example.com/elsewhere").is_ok());
        for bad in [
            "https://paths.example.com/public/..%2fprivate/a",
            "https://paths.example.com/private/a",
            "http://origin.example.com/other-scheme",
            "https://user@origin.example.com/a",
            "https://evil.example/a",
            "file:///etc/passwd",
        ] {
            assert!(to(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn private_addresses_need_their_own_word() {
        let list = allowed(&json!([{"host": "10.0.0.7", "allowPrivate": true}, "cdn.example.com"]));
        let target = |raw| Source::parse(raw, None).unwrap().resolve("", &list).unwrap().unwrap();
        assert!(target("http://10.0.0.7/a").allow_private);
        assert!(!target("http://cdn.example.com/a").allow_private);
    }

    #[test]
    fn a_list_that_cannot_mean_anything_is_refused() {
        for bad in [
            json!("x"),
            json!(["https://a.example"]),
            json!(["a:80"]),
            json!(["*"]),
            json!([{"host": "a", "pathPrefix": "x"}]),
            json!([{"host": "a", "ports": 1}]),
            json!([1]),
        ] {
            assert!(AllowedSource::list_from_json(&bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_source_is_survived(raw in any::<String>(), query in any::<Option<String>>()) {
            let list = [AllowedSource { host: "a.example".into(), path_prefix: None, port: None, allow_private: false }];
            if let Ok(source) = Source::parse(&raw, query.as_deref()) {
                let _ = source.resolve("https://o.example", &list);
            }
        }
    }
}
