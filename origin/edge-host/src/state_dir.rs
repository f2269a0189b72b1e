//! The directories of one edge, and the lock that keeps a second one out.

use std::fs::{File, TryLockError};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::HostError;
use crate::args::Config;

/// The state directory, locked while this lives.
#[derive(Debug)]
pub(crate) struct StateDir {
    state: PathBuf,
    sockets: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Creates what is missing and takes the lock.
    pub(crate) fn open(config: &Config) -> Result<Self, HostError> {
        let state = config.state_dir.clone();
        for dir in [state.clone(), state.join("objects"), state.join("worker")] {
            std::fs::create_dir_all(&dir).map_err(HostError::io(&dir))?;
        }
        let lock_path = state.join("lock");
        let lock = File::create(&lock_path).map_err(HostError::io(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(HostError::StateDirLocked { dir: state }),
            Err(TryLockError::Error(source)) => {
                return Err(HostError::Io {
                    path: lock_path,
                    source,
                });
            }
        }
        let sockets = config.socket_dir.clone();
        std::fs::create_dir_all(&sockets).map_err(HostError::io(&sockets))?;
        // Whoever reaches these sockets speaks as the Worker.
        private(&sockets)?;
        private(&state)?;
        Ok(Self {
            state,
            sockets,
            _lock: lock,
        })
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.state.join("objects")
    }

    /// Who this gateway is, over its restarts.
    pub(crate) fn identity(&self) -> PathBuf {
        self.state.join("gateway-id")
    }

    /// The copy of the Worker that runs, beside the configuration that embeds it.
    pub(crate) fn worker(&self) -> PathBuf {
        self.state.join("worker")
    }

    pub(crate) fn workerd_config(&self) -> PathBuf {
        self.state.join("workerd.capnp")
    }

    pub(crate) fn dispatcher_socket(&self) -> PathBuf {
        self.sockets.join("dispatch.sock")
    }

    pub(crate) fn egress_socket(&self) -> PathBuf {
        self.sockets.join("egress.sock")
    }

    pub(crate) fn health_socket(&self) -> PathBuf {
        self.sockets.join("health.sock")
    }

    pub(crate) fn transform_socket(&self, number: usize) -> PathBuf {
        self.sockets.join(format!("transform-{number}.sock"))
    }
}

fn private(dir: &Path) -> Result<(), HostError> {
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).map_err(HostError::io(dir))
}
