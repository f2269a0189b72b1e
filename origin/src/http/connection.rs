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

#[cfg(test)]
mod tests {
    use super::{bind, serve};
    use axum::{
        Router,
        body::Bytes,
        http::StatusCode,
        routing::{get, post},
    };
    use std::{net::SocketAddr, sync::Arc, time::Duration};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        sync::{Notify, watch},
        task::JoinHandle,
        time::timeout,
    };

    async fn start(router: Router) -> (SocketAddr, watch::Sender<bool>, JoinHandle<()>) {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        (address, stop, tokio::spawn(serve(listener, router, stopped)))
    }

    async fn answer(mut stream: TcpStream) -> String {
        let mut text = String::new();
        timeout(Duration::from_secs(10), stream.read_to_string(&mut text))
            .await
            .unwrap()
            .unwrap();
        text
    }

    #[tokio::test]
    async fn what_is_under_way_is_finished_and_nothing_new_begins() {
        let (reached, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (arrive, wait) = (Arc::clone(&reached), Arc::clone(&go_on));
        let slow = get(move || async move {
            arrive.notify_one();
            wait.notified().await;
            "done"
        });
        let (address, stop, server) = start(Router::new().route("/", slow)).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let _idle = TcpStream::connect(address).await.unwrap();
        reached.notified().await;
        stop.send(true).unwrap();
        timeout(Duration::from_secs(5), async {
            while TcpStream::connect(address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("new connections are refused");
        assert!(!server.is_finished());
        go_on.notify_one();
        assert!(answer(stream).await.ends_with("done"));
        timeout(Duration::from_secs(20), server).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_is_refused_while_it_sends_reads_its_answer() {
        let app = crate::api::testing::TestApp::without_database();
        let refuse = post(|_: axum::extract::Request| async { StatusCode::PAYLOAD_TOO_LARGE });
        let router = Router::new()
            .route("/", refuse)
            .layer(axum::middleware::from_fn_with_state(
                crate::service::App::clone(&app.service),
                crate::http::context::observe,
            ));
        let (address, _stop, _server) = start(router).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let body = Bytes::from(vec![0; 8 << 20]);
        let head = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.expect("the whole body is taken");
        assert!(answer(stream).await.starts_with("HTTP/1.1 413"));
    }
}
