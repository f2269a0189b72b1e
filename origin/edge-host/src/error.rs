//! What can keep the edge from starting or running.

use std::path::PathBuf;

/// Why `kado edge` could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A flag or variable cannot work.
    #[error("{name}: {problem}")]
    Config {
        /// The flag or variable.
        name: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The public listener could not be opened.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another edge holds the state directory.
    #[error(
        "the state directory {dir} is in use by another `kado edge`: two gateways on one disk would destroy each other's \
         Durable Objects. Stop the other one, or choose another --state-dir"
    )]
    StateDirLocked {
        /// The directory.
        dir: PathBuf,
    },
    /// A file or directory could not be prepared.
    #[error("cannot use {path}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The gateway did not come up.
    #[error("the gateway did not start: {0}")]
    Gateway(String),
    /// The origin does not let this gateway join its site.
    #[error("this gateway may not join the site: {0}")]
    Refused(String),
    /// The machine's trust store and the built-in one are both unusable.
    #[error("cannot set up TLS for sources: {0}")]
    Tls(String),
    /// The process cannot receive signals.
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
}

impl HostError {
    pub(crate) fn config(name: &'static str, problem: impl Into<String>) -> Self {
        Self::Config {
            name,
            problem: problem.into(),
        }
    }

    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// Whether the caller's configuration is at fault (exit code 64) rather than the machine (70).
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Config { .. } | Self::StateDirLocked { .. } | Self::Refused(_)
        )
    }
}
