//! One request as the gateway sees it: parsed once, passed on by reference.

use std::net::IpAddr;

use kado_shared::{
    client_ip::{self, ClientIpSource},
    headers::{TRACEPARENT, X_REQUEST_ID},
    request_id, span,
    trace::TraceContext,
};
use wasm_bindgen::JsValue;
use web_sys::Request;

use crate::{environment::Environment, gateway::telemetry::spans, js};

/// A request and what was read from it.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) request: Request,
    /// Names in lower case.
    fields: Vec<(String, String)>,
    pub(crate) method: String,
    is_https: bool,
    /// Path exactly as sent; begins with `/`.
    pub(crate) path: String,
    /// Query exactly as sent, without `?`.
    pub(crate) query: Option<String>,
    pub(crate) host: String,
    pub(crate) id: String,
    pub(crate) trace: TraceContext,
    /// The client's span, where it has one.
    pub(crate) parent_span: Option<[u8; 8]>,
    pub(crate) client_ip: Option<IpAddr>,
    pub(crate) started_ms: u64,
}

impl Exchange {
    /// Reads a request.
    pub(crate) fn read(request: Request, environment: &Environment) -> Result<Self, JsValue> {
        let js::Read {
            method,
            url,
            peer,
            fields,
        } = js::read(&request)?;
        let header = |name: &str| find(&fields, name).map(str::to_owned);
        let host = header("host").unwrap_or_default();
        let (path, query) = target(&url, &host);
        let id = match header(X_REQUEST_ID).filter(|id| request_id::is_acceptable(id)) {
            Some(id) => id,
            None => request_id::from_random(js::random()?),
        };
        let parent = header(TRACEPARENT).as_deref().and_then(TraceContext::parse);
        let trace = match parent {
            Some(parent) => parent.child(js::random()?),
            None => {
                let trace_id = js::random()?;
                TraceContext {
                    trace_id,
                    span_id: js::random()?,
                    flags: u8::from(span::is_sampled(spans::share(), trace_id)),
                }
            }
        };
        let named = match &environment.client_ip {
            ClientIpSource::Peer => None,
            ClientIpSource::Cloudflare => header("cf-connecting-ip"),
            ClientIpSource::Header(name) => header(name),
        };
        let client_ip = client_ip::resolve(
            &environment.client_ip,
            &environment.proxies,
            client_ip::parse_address(&peer),
            named.as_deref(),
        );
        Ok(Self {
            method,
            is_https: url.starts_with("https:"),
            path,
            query,
            host,
            id,
            trace,
            parent_span: parent.map(|parent| parent.span_id),
            client_ip,
            started_ms: js::now_ms(),
            fields,
            request,
        })
    }

    /// A header's value; several of one name are joined by commas.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        find(&self.fields, name).map(str::to_owned)
    }

    /// All fields, names in lower case.
    pub(crate) fn fields(&self) -> &[(String, String)] {
        &self.fields
    }

    /// `https` or `http`, as the request came to this process.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.is_https { "https" } else { "http" }
    }

    /// Path and query as sent.
    pub(crate) fn path_and_query(&self) -> String {
        self.query
            .as_ref()
            .map_or_else(|| self.path.clone(), |query| format!("{}?{query}", self.path))
    }

    /// The client's address as text; empty where it is unknown.
    pub(crate) fn client_ip_text(&self) -> String {
        self.client_ip.map(|address| address.to_string()).unwrap_or_default()
    }
}

/// A field's value, by any spelling of its name.
fn find<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let field = fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    field.map(|(_, value)| value.as_str())
}

/// Path and query of an address, exactly as they stand in it.
///
/// The host may itself contain a slash where a client made it up, so it is taken off as a whole.
fn target(url: &str, host: &str) -> (String, Option<String>) {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let target = after_scheme
        .strip_prefix(host)
        .filter(|rest| !host.is_empty() && (rest.is_empty() || rest.starts_with(['/', '?'])))
        .unwrap_or_else(|| {
            after_scheme
                .find('/')
                .and_then(|start| after_scheme.get(start..))
                .unwrap_or("/")
        });
    let (path, query) = target
        .split_once('?')
        .map_or((target, None), |(path, query)| (path, Some(query.to_owned())));
    (
        if path.is_empty() {
            "/".to_owned()
        } else {
            path.to_owned()
        },
        query,
    )
}

#[cfg(test)]
mod tests {
    use super::target;

    #[test]
    fn the_target_is_kept_as_sent() {
        for (url, host, path, query) in [
            (
                "http://a.localhost:8787/img/w=1/https://b/c?d=e?f",
                "a.localhost:8787",
                "/img/w=1/https://b/c",
                Some("d=e?f"),
            ),
            ("http://a/x/../%2e%2e/b", "a", "/x/../%2e%2e/b", None),
            ("http://a@b/c?/x", "a@b/c?", "/x", None),
            ("https://a", "a", "/", None),
            ("http://A/x", "a", "/x", None),
            ("http://a?q", "a", "/", Some("q")),
        ] {
            assert_eq!(target(url, host), (path.to_owned(), query.map(str::to_owned)), "{url}");
        }
    }
}
