//! `kado serve`: listeners, start-up, drain.

use kado_edge_host::Poster;
use std::{
    net::{IpAddr, SocketAddr},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{CommandError, configuration, startup, sweep, tracing as traces};
use crate::{
    api, cdn,
    clock::SystemClock,
    database::Database,
    entropy::SystemEntropy,
    heavy::HeavyLane,
    http::connection::{bind, serve},
    internal, metrics,
    service::{App, Parts, Service},
    spans, telemetry,
};

/// Longest drain; what is not done by then is cut.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// Flags of `kado serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address of the public listener, where the edge forwards to.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Address of the internal listener, for the edge's own requests. Keep it away from clients.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8081")]
    internal_listen: SocketAddr,
    /// Where to serve Prometheus metrics; nowhere when absent. For operators: keep it away from clients.
    #[arg(long, value_name = "IP:PORT")]
    metrics_listen: Option<SocketAddr>,
    /// Database connections of requests.
    #[arg(long, value_name = "N", default_value_t = 20)]
    database_connections: u32,
    /// Password hashes at once; each takes a core and 19 MiB. By default half the cores.
    #[arg(long, value_name = "N")]
    hashes_at_once: Option<usize>,
    /// Pictures made at once that take more memory than an isolate has; each takes up to a gibibyte. By default half the
    /// cores; 0 turns the lane off, and such pictures are refused.
    #[arg(long, env = "HEAVY_AT_ONCE", value_name = "N")]
    heavy_at_once: Option<usize>,
    /// Addresses of this site that sources of such pictures may not name, beside those of this machine.
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    own_address: Vec<IpAddr>,
    /// Time between "not ready" and the end of accepting, for load balancers to notice, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 500)]
    drain_delay: u64,
    #[command(flatten)]
    tracing: traces::Args,
    #[command(flatten)]
    configuration: configuration::Args,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, CommandError> {
    let clock = Arc::new(SystemClock);
    let configuration = args.configuration.check()?;
    let tracing = args.tracing.check()?;
    telemetry::init(Arc::<SystemClock>::clone(&clock), tracing.is_some());
    let mut signals = Signals::new()?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let service = Service::build(Parts {
        clock,
        entropy: Arc::new(SystemEntropy),
        database: Database::connect_lazily(
            &configuration.database_url,
            &configuration.system_database_url,
            args.database_connections,
        )?,
        blobs: configuration.open_blobs()?,
        redis: configuration.redis,
        jwt_secret: configuration.jwt_secret,
        edge_secret: configuration.edge_secret,
        public_url: configuration.public_url,
        hashes_at_once: args.hashes_at_once.unwrap_or((cores / 2).max(1)),
        heavy: match args.heavy_at_once.unwrap_or((cores / 2).max(1)) {
            0 => None,
            at_once => Some(HeavyLane::new(at_once, args.own_address)?),
        },
        tracing,
    });
    let app = Arc::new(service.map_err(|error| CommandError::configuration(&error))?);

    let poster = Arc::new(Poster::new().map_err(|error| CommandError::failed(&error))?);
    let exporting = tokio::spawn({
        let (app, poster) = (App::clone(&app), Arc::clone(&poster));
        async move { spans::forever(&app.spans, &poster, args.tracing.service()).await }
    });
    let (stop, stopped) = watch::channel(false);
    let mut listeners = JoinSet::new();
    let metrics = args
        .metrics_listen
        .map(|address| ("metrics", address, metrics::router(App::clone(&app))));
    for (name, address, router) in [
        ("public", args.listen, api::router(App::clone(&app))),
        ("internal", args.internal_listen, internal::router(App::clone(&app))),
    ]
    .into_iter()
    .chain(metrics)
    {
        let listener = bind(address)
            .await
            .map_err(|error| CommandError::configuration(&error))?;
        let address = listener.local_addr().map_err(|error| CommandError::failed(&error))?;
        tracing::info!(event = "listening", listener = name, address = %address);
        listeners.spawn(serve(listener, router, stopped.clone()));
    }
    let refused = tokio::select! {
        refused = start_then_work(App::clone(&app), &poster) => Some(refused),
        signal = signals.next() => {
            tracing::info!(event = "draining", signal);
            None
        }
    };
    drain(
        &app,
        &stop,
        listeners,
        &mut signals,
        Duration::from_millis(args.drain_delay),
        refused.is_some(),
    )
    .await;
    exporting.abort();
    match refused {
        Some(refusal) => Err(CommandError::configuration(&refusal)),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Ends only where this process can never serve.
async fn start_then_work(app: App, poster: &Poster) -> startup::Refusal {
    match startup::complete(&app).await {
        Ok(()) => tokio::select! {
            never = sweep::forever(App::clone(&app)) => never,
            never = cdn::forever(app, poster) => never,
        },
        Err(refusal) => refusal,
    }
}

/// Not ready; a moment for load balancers; no new connections; what is under way is finished. A second signal or the limit
/// cuts it short.
async fn drain(
    app: &App,
    stop: &watch::Sender<bool>,
    mut listeners: JoinSet<()>,
    signals: &mut Signals,
    delay: Duration,
    at_once: bool,
) {
    app.readiness.drain();
    let finish = async {
        if !at_once {
            sleep(delay).await;
        }
        let _ = stop.send(true);
        while listeners.join_next().await.is_some() {}
        app.spans.drain().await;
        app.database.close().await;
    };
    tokio::select! {
        finished = timeout(DRAIN_LIMIT, finish) => match finished {
            Ok(()) => tracing::info!(event = "stopped"),
            Err(_) => tracing::warn!(event = "cut", reason = "the drain took too long"),
        },
        signal = signals.next() => tracing::warn!(event = "cut", reason = "a second signal", signal),
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, CommandError> {
        let listen = |kind| signal(kind).map_err(|error| CommandError::failed(&error));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Args, run};
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[tokio::test]
    async fn a_weak_or_missing_secret_is_named_and_nothing_is_started() {
        for (jwt, edge, named) in [
            ("", "fedcba9876543210fedcba9876543210", "JWT_SECRET is missing"),
            (
                "0123456789abcdef0123456789abcdef",
                "hunter2",
                "EDGE_SECRET: secret 1 is weak",
            ),
            ("hunter2", "", "JWT_SECRET: secret 1 is weak"),
        ] {
            let line = [
                "kado",
                "--jwt-secret",
                jwt,
                "--edge-secret",
                edge,
                "--database-url",
                "postgres://a@b/c",
                "--system-database-url",
                "postgres://a@b/c",
                "--public-url",
                "https://example.com",
                "--blob-dir",
                "/nowhere",
            ];
            let args = Line::try_parse_from(line).ok().unwrap().args;
            let error = run(args).await.unwrap_err();
            assert_eq!(error.exit_code(), 64);
            let text = error.to_string();
            assert!(text.contains(named) && !text.contains("hunter2"), "{text}");
        }
    }
}
