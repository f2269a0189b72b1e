//! One fetch: resolve, check, connect, ask, and hand on what comes.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::time::{Instant, timeout, timeout_at};
use url::Host;

use super::FetchError;
use super::body::{BodyLimits, GuardedBody};
use super::connect::{Stream, tcp, tls};
use super::failures::{Failures, SourceFailure};
use super::guard::Guard;
use super::host_slots::{HostSlot, HostSlots};
use super::request::SourceRequest;
use super::resolve::Resolve;
use crate::http1::{AbortOnDrop, Body, empty};

/// What of a source's answer the Worker is told. Nothing else passes, so a source cannot speak as the egress.
const PASSED_ON: [HeaderName; 6] = [
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::ETAG,
    header::LAST_MODIFIED,
    header::CACHE_CONTROL,
    header::LOCATION,
];

/// Largest head of an answer, in bytes.
const MAX_HEAD: usize = 64 * 1024;
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("Kado/", env!("CARGO_PKG_VERSION")));

/// How patient the egress is, beside what a request asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) connect: Duration,
    pub(crate) first_byte: Duration,
    pub(crate) pause: Duration,
    /// Bytes a second.
    pub(crate) min_rate: u64,
    pub(crate) grace: Duration,
    pub(crate) per_host: usize,
    /// How long a source's failure is remembered.
    pub(crate) remember: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            first_byte: Duration::from_secs(10),
            pause: Duration::from_secs(10),
            min_rate: 4 * 1024,
            grace: Duration::from_secs(5),
            per_host: 8,
            remember: Duration::from_secs(3),
        }
    }
}

/// Fetches sources.
pub(crate) struct Fetcher {
    resolver: Arc<dyn Resolve>,
    guard: Guard,
    tls: Arc<ClientConfig>,
    limits: Limits,
    hosts: HostSlots,
    failures: Failures,
    pub(crate) counts: Arc<Counts>,
}

/// What became of fetches, since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) answered: AtomicU64,
    pub(crate) failed: [AtomicU64; FetchError::ALL.len()],
}

impl Counts {
    fn fail(&self, error: FetchError) {
        if let Some(counter) = FetchError::ALL
            .iter()
            .position(|e| *e == error)
            .and_then(|i| self.failed.get(i))
        {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Fetcher {
    pub(crate) fn new(resolver: Arc<dyn Resolve>, guard: Guard, tls: Arc<ClientConfig>, limits: Limits) -> Self {
        Self {
            resolver,
            guard,
            tls,
            limits,
            hosts: HostSlots::new(limits.per_host),
            failures: Failures::new(limits.remember),
            counts: Arc::default(),
        }
    }

    /// Fetches. The failure is logged here with what the Worker is not told.
    pub(crate) async fn fetch(&self, asked: &SourceRequest) -> Result<Response<Body>, FetchError> {
        let deadline = Instant::now() + asked.timeout;
        let fetched = timeout_at(deadline, self.fetch_by(asked, deadline))
            .await
            .unwrap_or(Err(FetchError::Timeout));
        match &fetched {
            Ok(_) => {
                self.counts.answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => self.report(asked)(*error),
        }
        fetched
    }

    fn report(&self, asked: &SourceRequest) -> impl Fn(FetchError) + Send + 'static {
        let counts = Arc::clone(&self.counts);
        let host = asked.host();
        move |error| {
            counts.fail(error);
            tracing::info!(
                event = "egress-failed",
                host,
                reason = error.as_str(),
                "a source could not be fetched"
            );
        }
    }

    async fn fetch_by(&self, asked: &SourceRequest, deadline: Instant) -> Result<Response<Body>, FetchError> {
        let host = asked.host();
        let slot = self.hosts.enter(host.clone()).await;
        let address = asked.url.as_str();
        // Looked at with a place in hand: who waited for one learns of those before.
        match self.failures.of(address) {
            Some(SourceFailure::Fetch(error)) => return Err(error),
            Some(SourceFailure::Status(status)) => {
                let mut again = Response::new(empty());
                *again.status_mut() = status;
                return Ok(again);
            }
            None => {}
        }
        let answer = self.ask(asked, deadline, host, slot).await;
        let failure = match &answer {
            Ok(answer) => SourceFailure::of_status(answer.status()),
            Err(error) => SourceFailure::of_error(*error),
        };
        if let Some(failure) = failure {
            self.failures.note(address, failure);
        }
        answer
    }

    async fn ask(
        &self,
        asked: &SourceRequest,
        deadline: Instant,
        host: String,
        slot: HostSlot,
    ) -> Result<Response<Body>, FetchError> {
        let addresses = self.addresses(asked, &host).await?;
        let stream = tcp(&addresses, asked.port, self.limits.connect).await?;
        let stream: Box<dyn Stream> = if asked.is_tls() {
            tls(stream, &host, &self.tls, self.limits.connect).await?
        } else {
            Box::new(stream)
        };
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| FetchError::Protocol)?;
        let connection = AbortOnDrop(tokio::spawn(async move {
            let _ = connection.await;
        }));
        let answer = timeout(self.limits.first_byte, sender.send_request(request_for(asked)?))
            .await
            .map_err(|_| FetchError::Timeout)?
            .map_err(|_| FetchError::Protocol)?;
        let (parts, body) = answer.into_parts();
        check_head(parts.status, &parts.headers, asked.max_bytes)?;
        let mut passed = Response::new(empty());
        *passed.status_mut() = parts.status;
        for name in PASSED_ON {
            if let Some(value) = parts.headers.get(&name) {
                passed.headers_mut().insert(name, value.clone());
            }
        }
        if parts.status.is_redirection() {
            // Where it leads is all that counts; the Worker decides whether to ask for that.
            passed.headers_mut().remove(header::CONTENT_LENGTH);
            return Ok(passed);
        }
        if !body.is_end_stream() {
            let limits = BodyLimits {
                max_bytes: asked.max_bytes,
                deadline,
                pause: self.limits.pause,
                min_rate: self.limits.min_rate,
                grace: self.limits.grace,
            };
            let report = Box::new(self.report(asked));
            *passed.body_mut() = GuardedBody::new(body, limits, connection, slot, report).boxed_unsync();
        }
        Ok(passed)
    }

    /// The addresses of the host, all of them checked.
    async fn addresses(&self, asked: &SourceRequest, host: &str) -> Result<Vec<IpAddr>, FetchError> {
        let addresses = match asked.url.host() {
            Some(Host::Ipv4(address)) => vec![IpAddr::V4(address)],
            Some(Host::Ipv6(address)) => vec![IpAddr::V6(address)],
            _ => timeout(self.limits.connect, self.resolver.resolve(host.to_owned()))
                .await
                .map_err(|_| FetchError::Dns)?
                .map_err(|_| FetchError::Dns)?,
        };
        self.guard.check(&addresses, asked.allow_private)?;
        Ok(addresses)
    }
}

fn request_for(asked: &SourceRequest) -> Result<Request<Empty<Bytes>>, FetchError> {
    let target = match asked.url.query() {
        Some(query) => format!("{}?{query}", asked.url.path()),
        None => asked.url.path().to_owned(),
    };
    let authority = match (asked.url.host_str(), asked.url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => return Err(FetchError::AddressRefused),
    };
    Request::builder()
        .uri(target)
        .header(header::HOST, authority)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, "image/*, */*;q=0.5")
        .header(header::ACCEPT_ENCODING, "identity")
        .header(header::VIA, &asked.via)
        .body(Empty::new())
        .map_err(|_| FetchError::AddressRefused)
}

fn check_head(status: StatusCode, headers: &HeaderMap, max_bytes: u64) -> Result<(), FetchError> {
    if status.is_informational() || status == StatusCode::PARTIAL_CONTENT {
        return Err(FetchError::Protocol);
    }
    // `identity` was asked for, and nothing is decoded here: decoding is where a small body becomes a huge one.
    let encoded = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|v| !v.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"));
    if encoded && !status.is_redirection() {
        return Err(FetchError::Protocol);
    }
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|n| n > max_bytes) && !status.is_redirection() {
        return Err(FetchError::TooLarge);
    }
    Ok(())
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
