//! `kado edge`, put together: what is started in which order, and ended in which.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::args::{Args, Config};
use crate::dispatcher::{Dispatcher, Pool, PoolLimits, SlotKeeper};
use crate::egress::{Egress, Fetcher, Guard, Limits, SystemResolver, client_config};
use crate::gateway_metrics::GatewayMetrics;
use crate::membership::{Member, Word};
use crate::process::{Launcher, Lifecycle, Probe, Running, Spec, Supervisor};
use crate::shutdown::ShutdownSender;
use crate::state_dir::StateDir;
use crate::{HostError, bundle, capnp, http1, metrics};

/// Connections that the kernel holds for a gateway that is busy or being replaced.
const BACKLOG: u32 = 4096;
/// Transform work gives way to the gateway, which everybody waits for.
const TRANSFORM_NICE: i32 = 10;
/// From the first start to the gateway's first answer.
const START: Duration = Duration::from_secs(60);
const GATEWAY_HEALTH: &str = "/api/health/liveness";
const TRANSFORM_HEALTH: &str = "/v1/health";
const HEALTH_PATIENCE: Duration = Duration::from_secs(5);

/// `kado edge`: runs until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// [`HostError`] when it cannot start.
pub async fn run(args: Args) -> Result<(), HostError> {
    let config = Config::new(&args, std::env::var("EDGE_SECRET").ok())?;
    let mut terminate = signal(SignalKind::terminate()).map_err(HostError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(HostError::Signals)?;
    let ended = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Host::start(config).await?.serve(ended).await
}

/// A running edge.
struct Host {
    drain: Duration,
    gateway_up: watch::Receiver<bool>,
    /// Says that this gateway is there, and hears whether it may be.
    member: Member,
    /// Told to end first: while it drains, everything behind it still works.
    gateway: Part,
    /// Dispatcher, egress and transform processes.
    behind: Part,
    _state: Arc<StateDir>,
}

/// Tasks that end together.
struct Part {
    end: ShutdownSender,
    tasks: JoinSet<()>,
}

impl Part {
    fn new() -> Self {
        Self {
            end: ShutdownSender::new(),
            tasks: JoinSet::new(),
        }
    }

    async fn finish(mut self) {
        self.end.begin();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Host {
    async fn start(config: Config) -> Result<Self, HostError> {
        let state = Arc::new(StateDir::open(&config)?);
        bundle::copy(&config.worker_dir, &state.worker())?;
        let text = capnp::render(&config, &state).map_err(|e| HostError::config("edge/workerd.capnp.in", e))?;
        std::fs::write(state.workerd_config(), text).map_err(HostError::io(state.workerd_config()))?;

        let (listener, address) = listen(config.listen)?;
        let member = Member::new(&config, &state, address)?;
        if let Word::Refused(why) = member.say_present().await {
            return Err(HostError::Refused(why));
        }
        let launcher = Launcher::start().map_err(HostError::io("/proc/self/task"))?;
        let limits = PoolLimits {
            queue: config.queue,
            memory_bytes: config.transform_memory_bytes,
        };
        let pool = Pool::new(limits);
        let mut behind = Part::new();

        let dispatcher = Arc::new(Dispatcher::new(Arc::clone(&pool)));
        let egress = Arc::new(egress(&config)?);
        let socket = state.dispatcher_socket();
        let bound = http1::bind(&socket).map_err(HostError::io(socket))?;
        behind.tasks.spawn(http1::serve(
            bound,
            Arc::clone(&dispatcher),
            behind.end.subscribe(),
            config.drain,
        ));
        let socket = state.egress_socket();
        let bound = http1::bind(&socket).map_err(HostError::io(socket))?;
        behind.tasks.spawn(http1::serve(
            bound,
            Arc::clone(&egress),
            behind.end.subscribe(),
            config.drain,
        ));
        if let Some(address) = config.metrics_listen {
            let listener = TcpListener::bind(address).await.map_err(|source| HostError::Listen {
                address: address.to_string(),
                source,
            })?;
            if let Ok(address) = listener.local_addr() {
                tracing::info!(event = "metrics-listening", service = "edge", %address, "metrics are served");
            }
            let gateway = GatewayMetrics::new(state.health_socket(), &config.edge_secret)
                .map_err(|error| HostError::config("EDGE_SECRET", error.to_string()))?;
            let sources = metrics::Sources {
                dispatcher,
                egress: egress.counts(),
                gateway: Arc::new(gateway),
            };
            behind
                .tasks
                .spawn(metrics::serve(listener, sources, behind.end.subscribe()));
        }

        for number in 0..config.transform_processes {
            let socket = state.transform_socket(number);
            let supervisor = Supervisor {
                name: format!("transform-{number}"),
                spec: spec(
                    &config,
                    &state,
                    capnp::TRANSFORM,
                    TRANSFORM_NICE,
                    &[(capnp::SOCKET_HTTP, &socket)],
                    None,
                ),
                probe: Probe {
                    socket: socket.clone(),
                    path: TRANSFORM_HEALTH,
                    patience: HEALTH_PATIENCE,
                },
                launcher: launcher.clone(),
                lifecycle: Arc::new(SlotKeeper::new(&pool, socket)),
                drain: config.drain,
            };
            behind.tasks.spawn(supervisor.run(behind.end.subscribe()));
        }

        let mut gateway = Part::new();
        let (up, gateway_up) = watch::channel(false);
        let health = state.health_socket();
        let supervisor = Supervisor {
            name: "gateway".to_owned(),
            spec: spec(
                &config,
                &state,
                capnp::GATEWAY,
                0,
                &[(capnp::SOCKET_HEALTH, &health)],
                Some(listener),
            ),
            probe: Probe {
                socket: health,
                path: GATEWAY_HEALTH,
                patience: HEALTH_PATIENCE,
            },
            launcher,
            lifecycle: Arc::new(GatewayUp { up, address }),
            drain: config.drain,
        };
        gateway.tasks.spawn(supervisor.run(gateway.end.subscribe()));
        Ok(Self {
            drain: config.drain,
            gateway_up,
            member,
            gateway,
            behind,
            _state: state,
        })
    }

    async fn serve(self, ended: impl Future<Output = ()>) -> Result<(), HostError> {
        let Self {
            drain,
            mut gateway_up,
            member,
            gateway,
            behind,
            _state,
        } = self;
        let mut ended = std::pin::pin!(ended);
        // What `wait_for` returns is a lock, and as long as that is held no gateway can report for duty.
        let in_time = async { tokio::time::timeout(START, gateway_up.wait_for(|up| *up)).await.is_ok() };
        let served = tokio::select! {
            () = &mut ended => Ok(()),
            up = in_time => {
                if up {
                    tokio::select! {
                        () = &mut ended => Ok(()),
                        why = member.until_refused() => Err(HostError::Refused(why)),
                    }
                } else {
                    Err(HostError::Gateway(format!(
                        "no answer at {GATEWAY_HEALTH} within {} s; its output is in the log above",
                        START.as_secs()
                    )))
                }
            }
        };
        tracing::info!(event = "draining", seconds = drain.as_secs(), "the edge ends");
        gateway.finish().await;
        member.say_leaving().await;
        behind.finish().await;
        tracing::info!(event = "stopped", service = "edge", "the edge has ended");
        served
    }
}

/// Says when the gateway answers.
struct GatewayUp {
    up: watch::Sender<bool>,
    address: SocketAddr,
}

impl Lifecycle for GatewayUp {
    fn up(&self, running: Running) {
        if !self.up.send_replace(true) {
            tracing::info!(
                event = "listening", service = "edge", address = %self.address, pid = running.pid, "the edge serves"
            );
        }
    }

    fn down(&self, _generation: u64) {}
}

/// The public listener. It is ours, so that a gateway may end and another begin without one connection refused.
fn listen(address: SocketAddr) -> Result<(Arc<OwnedFd>, SocketAddr), HostError> {
    let open = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let bound = listener.local_addr()?;
        Ok((Arc::new(OwnedFd::from(listener.into_std()?)), bound))
    };
    open().map_err(|source| HostError::Listen {
        address: address.to_string(),
        source,
    })
}

fn egress(config: &Config) -> Result<Egress, HostError> {
    let guard = Guard {
        own: config.own_addresses.clone(),
    };
    let resolver = Arc::new(SystemResolver::new());
    Ok(Egress::new(Fetcher::new(
        resolver,
        guard,
        client_config()?,
        Limits::default(),
    )))
}

fn spec(
    config: &Config,
    state: &StateDir,
    role: &str,
    nice: i32,
    sockets: &[(&str, &PathBuf)],
    listener: Option<Arc<OwnedFd>>,
) -> Spec {
    let mut args = vec![
        "serve".to_owned(),
        state.workerd_config().display().to_string(),
        role.to_owned(),
    ];
    for (name, path) in sockets {
        args.extend(["--socket-addr".to_owned(), format!("{name}=unix:{}", path.display())]);
    }
    if let Some(listener) = &listener {
        args.extend([
            "--socket-fd".to_owned(),
            format!("{}={}", capnp::SOCKET_HTTP, crate::process::number_of(listener)),
        ]);
    }
    Spec {
        program: config.workerd.clone(),
        args,
        env: vec![("EDGE_SECRET".to_owned(), config.edge_secret.clone())],
        dir: state.worker(),
        nice,
        inherited: listener.into_iter().collect(),
    }
}
