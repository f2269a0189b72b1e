//! Posts to addresses that somebody configured: resolved once, every address judged, connected to one of exactly those,
//! as with sources.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::time::timeout;
use url::{Host, Url};

use super::FetchError;
use super::connect::{Stream, tcp, tls};
use super::guard::Guard;
use super::resolve::{Resolve, SystemResolver};
use super::tls::client_config;
use crate::HostError;
use crate::http1::AbortOnDrop;

/// Longest time of one post, from the name to the end of the answer.
const WHOLE: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(3);
/// Bytes of an answer that are read before the connection is given up; nothing is done with them.
const MOST_ANSWER: usize = 64 * 1024;

/// Why nothing was posted, or nobody answered. Tells no address and none of the other side's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PostError(&'static str);

impl From<FetchError> for PostError {
    fn from(error: FetchError) -> Self {
        Self(error.as_str())
    }
}

/// Posts.
pub struct Poster {
    resolver: Arc<dyn Resolve>,
    guard: Guard,
    tls: Arc<ClientConfig>,
}

impl std::fmt::Debug for Poster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Poster")
    }
}

impl Poster {
    /// With the machine's resolver and trust store.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new() -> Result<Self, HostError> {
        Ok(Self {
            resolver: Arc::new(SystemResolver::new()),
            guard: Guard::default(),
            tls: client_config()?,
        })
    }

    /// Posts `body` and answers the status. `trusted` is whether an operator named the address: then it may be private and
    /// have any port.
    ///
    /// # Errors
    /// [`PostError`]; a status of any kind is none.
    pub async fn post(
        &self,
        url: &Url,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
        trusted: bool,
    ) -> Result<u16, PostError> {
        timeout(WHOLE, self.exchange(url, headers, body, trusted))
            .await
            .unwrap_or(Err(FetchError::Timeout))
            .map_err(PostError::from)
    }

    async fn exchange(
        &self,
        url: &Url,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
        trusted: bool,
    ) -> Result<u16, FetchError> {
        let port = url
            .port_or_known_default()
            .filter(|port| trusted || matches!(port, 80 | 443))
            .ok_or(FetchError::AddressRefused)?;
        let (host, addresses) = match url.host().ok_or(FetchError::AddressRefused)? {
            Host::Ipv4(address) => (address.to_string(), vec![IpAddr::V4(address)]),
            Host::Ipv6(address) => (address.to_string(), vec![IpAddr::V6(address)]),
            Host::Domain(name) => {
                let name = name.trim_end_matches('.').to_owned();
                let found = self.resolver.resolve(name.clone()).await.map_err(|_| FetchError::Dns)?;
                (name, found)
            }
        };
        self.guard.check(&addresses, trusted)?;
        let stream = tcp(&addresses, port, CONNECT).await?;
        let stream: Box<dyn Stream> = if url.scheme() == "https" {
            tls(stream, &host, &self.tls, CONNECT).await?
        } else {
            Box::new(stream)
        };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|_| FetchError::Protocol)?;
        let _connection = AbortOnDrop(tokio::spawn(async move {
            let _ = connection.await;
        }));
        let answer = sender
            .send_request(request(url, headers, body)?)
            .await
            .map_err(|_| FetchError::Protocol)?;
        let status = answer.status().as_u16();
        // Read, so that the other side is not cut in the middle of its answer.
        let _ = Limited::new(answer.into_body(), MOST_ANSWER).collect().await;
        Ok(status)
    }
}

fn request(url: &Url, headers: &[(HeaderName, HeaderValue)], body: Bytes) -> Result<Request<Full<Bytes>>, FetchError> {
    let authority = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => return Err(FetchError::AddressRefused),
    };
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(target)
        .header(header::HOST, authority)
        .header(header::USER_AGENT, concat!("Kado/", env!("CARGO_PKG_VERSION")))
        .header(header::CONTENT_LENGTH, body.len());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body(Full::new(body)).map_err(|_| FetchError::AddressRefused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn only_an_operators_address_may_be_private() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let mut request = vec![0; 4096];
                let read = stream.read(&mut request).await.unwrap_or_default();
                let text = String::from_utf8_lossy(request.get(..read).unwrap_or_default()).into_owned();
                let status = if text.starts_with("POST /purge HTTP/1.1\r\n") && text.contains("x-a: 1\r\n") {
                    "202 Accepted"
                } else {
                    "400 Bad Request"
                };
                let _ = stream
                    .write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok").as_bytes())
                    .await;
            }
        });
        let poster = Poster::new().unwrap();
        let headers = [(HeaderName::from_static("x-a"), HeaderValue::from_static("1"))];
        let post = |url: String, trusted| {
            let (poster, headers) = (&poster, &headers);
            async move {
                poster
                    .post(&Url::parse(&url).unwrap(), headers, Bytes::from_static(b"{}"), trusted)
                    .await
            }
        };
        for host in ["127.0.0.1", "localhost", "[::1]", "0x7f.1", "[::ffff:127.0.0.1]"] {
            let refused = post(format!("http://{host}:{port}/purge"), false).await;
            assert_eq!(refused, Err(PostError("address-refused")), "{host}");
        }
        assert_eq!(
            post("http://127.0.0.1/purge".to_owned(), false).await,
            Err(PostError("address-refused"))
        );
        assert_eq!(
            post("http://169.254.169.254/purge".to_owned(), true).await,
            Err(PostError("address-refused")),
            "metadata is nobody's"
        );
        assert_eq!(connections.load(Ordering::SeqCst), 0);
        assert_eq!(post(format!("http://127.0.0.1:{port}/purge"), true).await, Ok(202));
        assert_eq!(post(format!("http://127.0.0.1:{port}/other"), true).await, Ok(400));
    }
}
