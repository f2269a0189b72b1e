//! What `serve` reads of traces from flags and environment. The variables are OpenTelemetry's.

use url::Url;

use super::CommandError;
use crate::spans::{Target, Tracing};

/// Flags and variables of traces.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Whether traces are recorded, at the edges as well: 1 for yes, 0 for no.
    #[arg(long, env = "TRACING_ENABLED", value_name = "0|1", default_value = "0", value_parser = switch)]
    tracing_enabled: bool,
    /// OTLP receiver over HTTP, without /v1/traces. Without it spans are lines of the log.
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        value_name = "URL",
        default_value = "",
        hide_default_value = true
    )]
    otlp_endpoint: String,
    /// Headers for it: name=value, comma-separated.
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_HEADERS",
        hide_env_values = true,
        value_name = "NAME=VALUE,..",
        default_value = "",
        hide_default_value = true
    )]
    otlp_headers: String,
    /// Share of the traces begun on this site that are recorded, 0 to 1. Traces that come with a request are recorded as they wish.
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", value_name = "SHARE", default_value_t = 1.0)]
    trace_share: f64,
    /// What the service is called in traces; -edge and -origin are appended.
    #[arg(long, env = "OTEL_SERVICE_NAME", value_name = "NAME", default_value = "kado")]
    service_name: String,
}

impl Args {
    /// Checks them; `None` where tracing is off.
    pub(crate) fn check(&self) -> Result<Option<Tracing>, CommandError> {
        if !self.tracing_enabled {
            return Ok(None);
        }
        if !(self.trace_share > 0.0 && self.trace_share <= 1.0) {
            return Err(usage(
                "OTEL_TRACES_SAMPLER_ARG: a share above 0 and up to 1 is expected; to record nothing, TRACING_ENABLED=0",
            ));
        }
        let target = if self.otlp_endpoint.is_empty() {
            Target::Stdout
        } else {
            Target::Otlp {
                url: traces_url(&self.otlp_endpoint).ok_or_else(|| {
                    usage("OTEL_EXPORTER_OTLP_ENDPOINT: an http(s) address without credentials, query and fragment is expected")
                })?,
                headers: headers(&self.otlp_headers)
                    .ok_or_else(|| usage("OTEL_EXPORTER_OTLP_HEADERS: name=value, comma-separated, is expected"))?,
            }
        };
        Ok(Some(Tracing {
            share: self.trace_share,
            target,
        }))
    }

    pub(crate) fn service(&self) -> &str {
        &self.service_name
    }
}

fn usage(text: &str) -> CommandError {
    CommandError::Configuration(text.to_owned())
}

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "true" => Ok(true),
        "0" | "false" | "" => Ok(false),
        _ => Err("1 or 0 is expected".to_owned()),
    }
}

/// Where an endpoint takes traces.
fn traces_url(endpoint: &str) -> Option<Url> {
    let mut url = Url::parse(endpoint).ok()?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    let path = format!("{}/v1/traces", url.path().trim_end_matches('/'));
    url.set_path(&path);
    plain.then_some(url)
}

/// Names and values; values are percent-encoded (W3C baggage).
fn headers(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let decoded = pairs.map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8().ok()?;
        let name = axum::http::HeaderName::try_from(name.trim()).ok()?;
        axum::http::HeaderValue::from_str(&value).ok()?;
        Some((name.as_str().to_owned(), value.into_owned()))
    });
    decoded.collect()
}

#[cfg(test)]
mod tests {
    use super::{headers, switch, traces_url};

    #[test]
    fn an_endpoint_takes_traces_below_it() {
        for (endpoint, wanted) in [
            ("http://localhost:4318", "http://localhost:4318/v1/traces"),
            ("https://a.example/otlp/", "https://a.example/otlp/v1/traces"),
        ] {
            assert_eq!(traces_url(endpoint).unwrap().as_str(), wanted);
        }
        for wrong in ["localhost:4318", "grpc://a", "http://u:p@a", "http://a?b", ""] {
            assert_eq!(traces_url(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn headers_are_read_and_nonsense_is_refused() {
        let read = headers("Authorization=Basic%20abc, x-tenant=1").unwrap();
        assert_eq!(
            read,
            [
                ("authorization".into(), "Basic abc".into()),
                ("x-tenant".into(), "1".into())
            ]
        );
        assert_eq!(headers(""), Some(Vec::new()));
        for wrong in ["a", "a b=c", "a=%0a"] {
            assert_eq!(headers(wrong), None, "{wrong}");
        }
        assert_eq!((switch("1"), switch("0"), switch("")), (Ok(true), Ok(false), Ok(false)));
        assert!(switch("yes").is_err());
    }
}
