//! The command line and the environment, and the checked configuration they become.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use kado_shared::client_ip::{ClientIpSource, TrustedProxies};

use crate::HostError;

/// Longest socket path accepted, in bytes: the smallest limit among the systems we run on, with room for a suffix.
const MAX_SOCKET_PATH: usize = 100;
/// Longest name that this crate gives a socket.
const LONGEST_SOCKET_NAME: &str = "/transform-999.sock";

/// Flags of `kado edge`. `EDGE_SECRET` comes from the environment alone: a flag would show in the list of processes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Public address of the gateway.
    #[arg(long, value_name = "IP:PORT")]
    pub listen: SocketAddr,
    /// Public listener of `kado serve`.
    #[arg(long, value_name = "IP:PORT")]
    pub origin: SocketAddr,
    /// Internal listener of `kado serve`.
    #[arg(long, value_name = "IP:PORT")]
    pub internal: SocketAddr,
    /// Public listener of a second `kado serve`, a new version say: the percentage of GET and HEAD requests that the
    /// setting `shadowShare` gives is repeated to it after the answer, and compared. It needs the same `EDGE_SECRET`.
    #[arg(long, env = "SHADOW_ORIGIN", value_name = "IP:PORT")]
    pub shadow_origin: Option<SocketAddr>,
    /// Where `kado cache` listens.
    #[arg(long, value_name = "unix:PATH|IP:PORT")]
    pub cache: Endpoint,
    /// Durable Objects, the rendered configuration and the running copy of the Worker. One edge at a time.
    #[arg(long, value_name = "DIR")]
    pub state_dir: PathBuf,
    /// Unix sockets of this edge. Keep it short: socket paths end at 100 bytes.
    #[arg(long, value_name = "DIR")]
    pub socket_dir: PathBuf,
    /// The built Worker: entry.js, index_bg.wasm, avif-enc.wasm, kado_edge_av1.wasm, webp_enc_simd.wasm.
    #[arg(long, value_name = "DIR", default_value = "build")]
    pub worker_dir: PathBuf,
    /// The workerd binary.
    #[arg(long, value_name = "PATH", default_value = "node_modules/.bin/workerd")]
    pub workerd: PathBuf,
    /// Transform processes; one less than the machine's cores when absent, at least 1.
    #[arg(long, value_name = "N")]
    pub transform_processes: Option<usize>,
    /// Jobs that may wait for a transform process, all tenants together.
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub queue: usize,
    /// Resident memory in MiB above which a transform process is replaced between two jobs.
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    pub transform_memory: u64,
    /// Seconds that requests under way get when the edge is told to end.
    #[arg(long, value_name = "S", default_value_t = 15)]
    pub drain_seconds: u64,
    /// Addresses of this site that sources may not name, beside those of this machine (which are known): the public
    /// side of a NAT or load balancer, say. Comma-separated.
    #[arg(long, value_name = "IP,..", value_delimiter = ',')]
    pub own_address: Vec<IpAddr>,
    /// Where to serve Prometheus metrics; nowhere when absent. Not for the public.
    #[arg(long, value_name = "IP:PORT")]
    pub metrics_listen: Option<SocketAddr>,
    /// Strict transport security and the other habits of a site behind TLS.
    #[arg(long)]
    pub production: bool,
    /// Where a client's address comes from: `peer`, or `header:<name>` set by a trusted proxy.
    #[arg(long, env = "CLIENT_IP", value_name = "SOURCE", default_value = "peer")]
    pub client_ip: String,
    /// Proxies whose header is believed: addresses and networks, comma-separated.
    #[arg(long, env = "TRUSTED_PROXIES", value_name = "IP/BITS,..", default_value = "")]
    pub trusted_proxies: String,
}

/// An address that workerd connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP address.
    Tcp(SocketAddr),
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some("") => Err("`unix:` needs a path after it".to_owned()),
            Some(path) => Ok(Self::Unix(PathBuf::from(path))),
            None => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| format!("`{text}` is neither `unix:PATH` nor `IP:PORT`")),
        }
    }
}

/// As workerd's configuration writes it.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

/// What the edge runs with: every value checked, every path absolute.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) origin: SocketAddr,
    pub(crate) internal: SocketAddr,
    pub(crate) shadow_origin: Option<SocketAddr>,
    pub(crate) cache: Endpoint,
    pub(crate) state_dir: PathBuf,
    pub(crate) socket_dir: PathBuf,
    pub(crate) worker_dir: PathBuf,
    pub(crate) workerd: PathBuf,
    pub(crate) transform_processes: usize,
    pub(crate) queue: usize,
    pub(crate) transform_memory_bytes: u64,
    pub(crate) drain: Duration,
    pub(crate) own_addresses: Vec<IpAddr>,
    pub(crate) metrics_listen: Option<SocketAddr>,
    pub(crate) production: bool,
    pub(crate) client_ip: String,
    pub(crate) trusted_proxies: String,
    pub(crate) edge_secret: String,
}

impl Config {
    /// Checks everything that can be checked without changing anything.
    pub(crate) fn new(args: &Args, edge_secret: Option<String>) -> Result<Self, HostError> {
        let edge_secret = edge_secret
            .filter(|s| !s.trim().is_empty())
            .ok_or_else(|| HostError::config("EDGE_SECRET", "is not set; it must equal the origin's"))?;
        check_client_ip(&args.client_ip, &args.trusted_proxies)?;
        let processes = match args.transform_processes {
            Some(n @ 1..=256) => n,
            Some(n) => {
                return Err(HostError::config(
                    "--transform-processes",
                    format!("{n} is outside 1..=256"),
                ));
            }
            None => std::thread::available_parallelism().map_or(1, |n| n.get().saturating_sub(1).max(1)),
        };
        if !(1..=100_000).contains(&args.queue) {
            return Err(HostError::config(
                "--queue",
                format!("{} is outside 1..=100000", args.queue),
            ));
        }
        if args.transform_memory < 64 {
            return Err(HostError::config(
                "--transform-memory",
                "less than 64 MiB is less than workerd itself needs",
            ));
        }
        let socket_dir = absolute(&args.socket_dir)?;
        let longest = socket_dir.as_os_str().len() + LONGEST_SOCKET_NAME.len();
        if longest > MAX_SOCKET_PATH {
            let most = MAX_SOCKET_PATH - LONGEST_SOCKET_NAME.len();
            return Err(HostError::config(
                "--socket-dir",
                format!("{} is too long for sockets: at most {most} bytes", socket_dir.display()),
            ));
        }
        let cache = match &args.cache {
            Endpoint::Unix(path) => Endpoint::Unix(absolute(path)?),
            tcp @ Endpoint::Tcp(_) => tcp.clone(),
        };
        Ok(Self {
            listen: args.listen,
            origin: args.origin,
            internal: args.internal,
            shadow_origin: args.shadow_origin,
            cache,
            state_dir: absolute(&args.state_dir)?,
            socket_dir,
            worker_dir: absolute(&args.worker_dir)?,
            workerd: crate::bundle::workerd_binary(&args.workerd)?,
            transform_processes: processes,
            queue: args.queue,
            transform_memory_bytes: args.transform_memory * 1024 * 1024,
            drain: Duration::from_secs(args.drain_seconds),
            own_addresses: args.own_address.clone(),
            metrics_listen: args.metrics_listen,
            production: args.production,
            client_ip: args.client_ip.trim().to_owned(),
            trusted_proxies: args.trusted_proxies.trim().to_owned(),
            edge_secret,
        })
    }
}

fn check_client_ip(client_ip: &str, trusted_proxies: &str) -> Result<(), HostError> {
    let source = ClientIpSource::parse(client_ip).map_err(|e| HostError::config("CLIENT_IP", e.to_string()))?;
    TrustedProxies::parse(trusted_proxies).map_err(|e| HostError::config("TRUSTED_PROXIES", e.to_string()))?;
    match source {
        ClientIpSource::Cloudflare => Err(HostError::config(
            "CLIENT_IP",
            "`cf` is for Cloudflare itself: here anybody could send that header. Behind Cloudflare's proxy use \
             `header:cf-connecting-ip` with Cloudflare's networks in TRUSTED_PROXIES",
        )),
        ClientIpSource::Header(_) if trusted_proxies.trim().is_empty() => Err(HostError::config(
            "TRUSTED_PROXIES",
            "is empty, but CLIENT_IP names a header: list the proxies that may set it",
        )),
        ClientIpSource::Peer | ClientIpSource::Header(_) => Ok(()),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, HostError> {
    std::path::absolute(path).map_err(HostError::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    #[command(args_override_self = true)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn args(more: &[&str]) -> Args {
        use clap::Parser;
        let base = [
            "edge",
            "--listen",
            "127.0.0.1:0",
            "--origin",
            "127.0.0.1:1",
            "--internal",
            "127.0.0.1:2",
            "--cache",
            "unix:/c",
            "--state-dir",
            "s",
            "--socket-dir",
            "/tmp/k",
            "--workerd",
            "/bin/sh",
        ];
        Cli::try_parse_from(base.iter().chain(more)).unwrap().args
    }

    fn problem(more: &[&str]) -> String {
        Config::new(&args(more), Some("secret".into()))
            .map(|_| ())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_least_that_is_needed_is_enough() {
        let config = Config::new(&args(&[]), Some("secret".into())).unwrap();
        assert!(config.transform_processes >= 1);
        assert!(config.state_dir.is_absolute());
    }

    #[test]
    fn a_missing_secret_is_named() {
        let error = Config::new(&args(&[]), Some(" ".into())).map(|_| ()).unwrap_err();
        assert!(error.is_usage() && error.to_string().starts_with("EDGE_SECRET"));
    }

    #[test]
    fn values_that_cannot_work_are_refused_by_name() {
        assert!(problem(&["--transform-processes", "0"]).contains("--transform-processes"));
        assert!(problem(&["--queue", "0"]).contains("--queue"));
        assert!(problem(&["--transform-memory", "1"]).contains("--transform-memory"));
        assert!(problem(&["--socket-dir", &format!("/{}", "x".repeat(90))]).contains("--socket-dir"));
    }

    #[test]
    fn a_header_is_believed_only_with_proxies_and_cloudflares_never_here() {
        assert!(problem(&["--client-ip", "cf"]).contains("header:cf-connecting-ip"));
        assert!(problem(&["--client-ip", "header:x-real-ip"]).starts_with("TRUSTED_PROXIES"));
        assert!(problem(&["--client-ip", "anything"]).starts_with("CLIENT_IP"));
        assert!(problem(&["--trusted-proxies", "10.0.0.0/99"]).starts_with("TRUSTED_PROXIES"));
        let good = [
            "--client-ip",
            "header:x-real-ip",
            "--trusted-proxies",
            "10.0.0.0/8, ::1",
        ];
        Config::new(&args(&good), Some("secret".into())).unwrap();
    }

    #[test]
    fn endpoints_are_read_and_printed_alike() {
        for text in ["unix:/run/c.sock", "127.0.0.1:80", "[::1]:80"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert!("cache".parse::<Endpoint>().is_err());
        assert!("unix:".parse::<Endpoint>().is_err());
    }
}
