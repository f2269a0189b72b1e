//! What the gateway counted, asked for when somebody scrapes: it costs the gateway nothing in between, and is there when
//! the origin is not.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use kado_shared::exposition::{Format, GATEWAY_PATH};
use kado_shared::headers::{KADO_EDGE, X_REQUEST_ID};
use kado_shared::request_id;
use kado_shared::secret::Secret;
use kado_shared::signature::{EdgeKeys, Parts, Purpose, WeakSecret};
use sha2::{Digest, Sha256};
use tokio::net::UnixStream;

/// How long a scrape waits for the gateway.
const PATIENCE: Duration = Duration::from_secs(3);
/// Largest text taken, in bytes.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// The gateway's metrics, by its own socket.
#[derive(Debug)]
pub(crate) struct GatewayMetrics {
    socket: PathBuf,
    keys: EdgeKeys,
}

/// Why the gateway's metrics are missing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScrapeError {
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Slow,
    #[error("the gateway does not listen: {0}")]
    Unreachable(#[from] std::io::Error),
    #[error("the exchange broke: {0}")]
    Broken(#[from] hyper::Error),
    #[error("the gateway answered {0}")]
    Status(StatusCode),
    #[error("no request can be made: {0}")]
    Request(String),
}

impl GatewayMetrics {
    /// Asks on this socket, with the internal key of these secrets.
    pub(crate) fn new(socket: PathBuf, edge_secret: &str) -> Result<Self, WeakSecret> {
        let keys = EdgeKeys::from_secret_list(&Secret::new(edge_secret), Purpose::Internal)?;
        Ok(Self { socket, keys })
    }

    /// The families, without an end of their own.
    pub(crate) async fn scrape(&self, format: Format) -> Result<String, ScrapeError> {
        tokio::time::timeout(PATIENCE, self.ask(format))
            .await
            .unwrap_or(Err(ScrapeError::Slow))
    }

    async fn ask(&self, format: Format) -> Result<String, ScrapeError> {
        let request = self.request(format)?;
        let stream = UnixStream::connect(&self.socket).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let exchange = async {
            let answer = sender.send_request(request).await?;
            if answer.status() != StatusCode::OK {
                return Err(ScrapeError::Status(answer.status()));
            }
            let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
            let body = body.map_err(|error| ScrapeError::Request(error.to_string()))?;
            Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
        };
        let text = exchange.await;
        connection.abort();
        text
    }

    fn request(&self, format: Format) -> Result<Request<Empty<Bytes>>, ScrapeError> {
        let unusable = |error: &dyn std::fmt::Display| ScrapeError::Request(error.to_string());
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| unusable(&error))?;
        let id = request_id::from_random(random);
        let parts = Parts {
            method: "GET",
            path_and_query: GATEWAY_PATH,
            tenant: "",
            client_ip: "",
            request_id: &id,
            body_sha256: Some(Sha256::digest(b"").into()),
        };
        let now = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .map_err(|error| unusable(&error))?;
        let signature = self.keys.sign(&parts, now.as_secs(), random);
        Request::builder()
            .uri(GATEWAY_PATH)
            .header(header::HOST, HeaderValue::from_static("metrics.invalid"))
            .header(header::ACCEPT, format.media_type())
            .header(X_REQUEST_ID, id)
            .header(KADO_EDGE, signature)
            .body(Empty::new())
            .map_err(|error| unusable(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::{GatewayMetrics, ScrapeError};
    use kado_shared::exposition::Format;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    const SECRET: &str = "fedcba9876543210fedcba9876543210";

    #[tokio::test]
    async fn a_gateway_that_is_not_there_is_an_error_and_no_wait() {
        let metrics = GatewayMetrics::new("/nowhere/gateway.sock".into(), SECRET).unwrap();
        let error = metrics.scrape(Format::Prometheus).await.unwrap_err();
        assert!(matches!(error, ScrapeError::Unreachable(_)), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_gateway_that_hangs_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let metrics = GatewayMetrics::new(socket, SECRET).unwrap();
        let error = metrics.scrape(Format::Prometheus).await.unwrap_err();
        assert!(matches!(error, ScrapeError::Slow), "{error}");
        drop(listener);
    }

    #[tokio::test]
    async fn the_request_is_signed_and_the_text_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\na 1\n")
                .await
                .unwrap();
            String::from_utf8(head).unwrap()
        });
        let metrics = GatewayMetrics::new(socket, SECRET).unwrap();
        assert_eq!(metrics.scrape(Format::Prometheus).await.unwrap(), "a 1\n");
        let head = server.await.unwrap();
        assert!(
            head.contains("kado-edge: v1;t=") && head.starts_with("GET /__kado/metrics "),
            "{head}"
        );
    }
}
