//! The command line of each service: the one place that knows the flags of `kado serve`, `cache` and `edge`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Binaries, Part, Secrets};
use crate::invoke;
use crate::supervisor::{Service, Signal};

/// The memory tier of the cache service on a developer's machine.
const CACHE_MEMORY: u64 = 64 << 20;
/// Its disk tier.
const CACHE_DISK: u64 = 1 << 30;
/// Longer than any service's own bound on draining.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the command lines are made of.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) binaries: Binaries,
    pub(super) data: PathBuf,
    pub(super) sockets: PathBuf,
    pub(super) secrets: Secrets,
    pub(super) edge: SocketAddr,
    pub(super) origin: SocketAddr,
    pub(super) internal: SocketAddr,
    pub(super) origin_metrics: SocketAddr,
    pub(super) edge_metrics: SocketAddr,
    pub(super) public_url: String,
    pub(super) app_url: String,
    pub(super) system_url: String,
    pub(super) transform_processes: Option<usize>,
    pub(super) environment: Vec<(String, String)>,
}

impl Plan {
    /// The cache service's address in the form that flags take.
    pub(super) fn cache(&self) -> String {
        format!("unix:{}", self.sockets.join("cache.sock").display())
    }

    /// The log of a part.
    pub(super) fn log(&self, part: Part) -> PathBuf {
        log(&self.data, part)
    }

    /// The three services of `kado`, in the order in which they start.
    pub(super) fn services(&self) -> [Service; 3] {
        [
            (Part::Origin, Self::serve as fn(&Self) -> Command),
            (Part::Cache, Self::cache_service),
            (Part::Edge, Self::edge_service),
        ]
        .map(|(part, command)| {
            let plan = self.clone();
            Service {
                name: part.name(),
                log: self.log(part),
                command: Box::new(move || Ok(command(&plan))),
                stop_signal: Signal::TERM,
                patience: PATIENCE,
            }
        })
    }

    fn kado(&self, subcommand: &str) -> Command {
        let mut command = invoke::command(&self.binaries.kado);
        command
            .current_dir(&self.data)
            .arg(subcommand)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn serve(&self) -> Command {
        let mut serve = self.kado("serve");
        serve
            .args(["--listen", &self.origin.to_string()])
            .args(["--internal-listen", &self.internal.to_string()])
            .args(["--metrics-listen", &self.origin_metrics.to_string()])
            .env("DATABASE_URL", &self.app_url)
            .env("SYSTEM_DATABASE_URL", &self.system_url)
            .env("PUBLIC_URL", &self.public_url)
            .env("BLOB_DIR", self.data.join("blobs"))
            .env("JWT_SECRET", &self.secrets.jwt_secret)
            .env("EDGE_SECRET", &self.secrets.edge_secret);
        serve
    }

    fn cache_service(&self) -> Command {
        let mut cache = self.kado("cache");
        cache
            .args(["--listen", &self.cache()])
            .arg("--dir")
            .arg(self.data.join("cache"))
            .args(["--memory-bytes", &CACHE_MEMORY.to_string()])
            .args(["--disk-bytes", &CACHE_DISK.to_string()])
            // A developer's disk is not a server's: take room only for what is stored.
            .arg("--sparse-disk");
        cache
    }

    fn edge_service(&self) -> Command {
        let mut edge = self.kado("edge");
        edge.args(["--listen", &self.edge.to_string()])
            .args(["--origin", &self.origin.to_string()])
            .args(["--internal", &self.internal.to_string()])
            .args(["--metrics-listen", &self.edge_metrics.to_string()])
            .args(["--cache", &self.cache()])
            .arg("--state-dir")
            .arg(self.data.join("edge"))
            .arg("--socket-dir")
            .arg(&self.sockets)
            .arg("--worker-dir")
            .arg(&self.binaries.worker)
            .arg("--workerd")
            .arg(&self.binaries.workerd)
            .env("EDGE_SECRET", &self.secrets.edge_secret);
        if let Some(count) = self.transform_processes {
            edge.args(["--transform-processes", &count.to_string()]);
        }
        edge
    }
}

/// The log of a part of the system in a data folder.
pub(super) fn log(data: &Path, part: Part) -> PathBuf {
    data.join("logs").join(part.name()).with_extension("log")
}
