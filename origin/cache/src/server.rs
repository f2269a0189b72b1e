//! Accepting connections, serving them, and ending well.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use crate::handler::Handler;
use crate::listen::Connection;
use crate::put::Intake;
use crate::store::Store;
use crate::{Args, CacheError, Config, Listener, Stats};

/// Connections at once. workerd keeps a handful per process; the rest waits in the system's queue.
const CONNECTIONS: usize = 4096;
/// How long requests under way may take once the service is told to end.
const DRAIN: Duration = Duration::from_secs(10);
/// After a failed accept (no file handles left, say), before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// `kado cache`: serves until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// [`CacheError`] when it cannot start.
pub async fn run(args: Args) -> Result<(), CacheError> {
    let config = Config::from_args(&args)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(CacheError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CacheError::Signals)?;
    let listener = Listener::bind(&args.listen).await?;
    serve(config, listener, async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
    .await
}

/// Serves on an open listener until `shutdown` completes, then answers what is under way, waits for the disk and
/// logs the counters.
///
/// # Errors
/// [`CacheError`] when the directory or the disk tier cannot be opened.
pub async fn serve(config: Config, listener: Listener, shutdown: impl Future<Output = ()>) -> Result<(), CacheError> {
    let stats = Arc::new(Stats::default());
    let store = Store::open(&config, Arc::clone(&stats)).await?;
    let handler = Arc::new(Handler {
        store,
        intake: Intake::new(config.max_object_bytes),
        stats,
        clock: Arc::clone(&config.clock),
        max_object_bytes: config.max_object_bytes,
    });
    if let Ok(address) = listener.local_address() {
        tracing::info!(event = "listening", service = "cache", %address, "the cache service listens");
    }
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let Some((stream, permit)) = accepted else { continue };
        let handler = Arc::clone(&handler);
        let service = service_fn(move |request| {
            let handler = Arc::clone(&handler);
            async move { Ok::<_, Infallible>(handler.handle(request).await) }
        });
        // The `Date` of a stored response is its own; ours would claim it was made now.
        let connection = http1::Builder::new()
            .auto_date_header(false)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A client that goes away in the middle is no event.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!(seconds = DRAIN.as_secs(), "requests under way did not end in time");
    }
    handler.store.close().await;
    tracing::info!(event = "stopped", service = "cache", stats = %handler.stats.to_json(), "the cache service ends");
    Ok(())
}

type Accepted = (Box<dyn Connection>, tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &Listener, room: &Arc<Semaphore>) -> Option<Accepted> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok(stream) => Some((stream, permit)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}
