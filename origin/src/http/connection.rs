//! Listeners and their connections: accepted until the service drains, then finished one by one.

use axum::{Router, body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};
use tower::{ServiceExt, util::MapRequest};

/// Longest time that a client may take over the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest head, in bytes; hyper answers 431 beyond it.
const HEAD_BYTES: usize = 64 * 1024;
/// Pause after the system had no more file descriptors to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves one listener until `stop` turns true; then finishes what is under way.
pub(crate) async fn serve(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, _)) => connection(stream, router.clone(), graceful.watcher()),
            // A connection that died in the queue concerns nobody; running out of descriptors passes.
            Err(error) => {
                tracing::warn!(event = "accept-failed", error = %error);
                // Descriptors come back without a sign that could be waited for.
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

fn connection(stream: TcpStream, router: Router, watcher: Watcher) {
    // Without it small answers wait for the client's acknowledgement.
    let _ = stream.set_nodelay(true);
    let service: MapRequest<Router, fn(hyper::Request<Incoming>) -> Request> =
        router.map_request(|request: hyper::Request<Incoming>| request.map(Body::new));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let watched = watcher.watch(connection);
    tokio::spawn(async move {
        // A client that goes away is its own affair.
        let _ = watched.await;
    });
}

/// Binds an address, with the reason why not.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| BindError { address, source })
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub(crate) struct BindError {
    address: SocketAddr,
    source: std::io::Error,
}
