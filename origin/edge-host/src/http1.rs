//! HTTP/1.1 over Unix sockets, as workerd's bindings speak it.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::shutdown::Shutdown;

/// Why a body ended before its end. Given to hyper, it cuts the connection, so that the reader sees an error.
pub(crate) type BodyError = Box<dyn Error + Send + Sync>;
/// Any body that we send.
pub(crate) type Body = UnsyncBoxBody<Bytes, BodyError>;

/// After a failed accept (no file handles left, say), before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never: Infallible| match never {}).boxed_unsync()
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never: Infallible| match never {})
        .boxed_unsync()
}

/// An answer of this status, without body.
pub(crate) fn bare(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(empty());
    *answer.status_mut() = status;
    answer
}

/// The other end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    /// A second handle of the connection's socket, which only listens for its end. hyper notices that by itself only
    /// when it has read the whole request, and a job that waits has an unread body.
    watched: Option<UnixStream>,
}

impl Peer {
    fn of(stream: &UnixStream) -> Self {
        let second = stream
            .as_fd()
            .try_clone_to_owned()
            .map(std::os::unix::net::UnixStream::from);
        Self {
            watched: second.and_then(UnixStream::from_std).ok(),
        }
    }

    /// Completes when the other end has closed.
    pub(crate) async fn gone(&self) {
        let Some(watched) = &self.watched else {
            return std::future::pending().await;
        };
        while let Ok(ready) = watched.ready(Interest::READABLE).await {
            if ready.is_read_closed() {
                return;
            }
            // Nothing is read here, so readiness is dropped by hand until the next event.
            let _ = watched.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
    }
}

/// Answers requests.
pub(crate) trait Handler: Send + Sync + 'static {
    /// One request. The future is dropped when the connection breaks.
    fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: Arc<Peer>,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// Opens a socket that only this user reaches, in place of whatever a dead process left there.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves until `shutdown` begins, then lets requests under way end, for `drain` at most.
pub(crate) async fn serve<H: Handler>(
    listener: UnixListener,
    handler: Arc<H>,
    mut shutdown: Shutdown,
    drain: Duration,
) {
    let graceful = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            () = shutdown.begun() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let peer = Arc::new(Peer::of(&stream));
        let handler = Arc::clone(&handler);
        let service = service_fn(move |request| {
            let answer = Arc::clone(&handler).handle(request, Arc::clone(&peer));
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let connection = graceful.watch(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // The other end is workerd; that it goes away in the middle is no event.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(drain, graceful.shutdown()).await;
}

/// A task that ends with its owner.
#[derive(Debug)]
pub(crate) struct AbortOnDrop(pub(crate) JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
