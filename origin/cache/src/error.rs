//! What can keep the service from starting or running.

use std::path::PathBuf;

/// Why `kado cache` could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A flag's value cannot work.
    #[error("{flag}: {problem}")]
    Config {
        /// The flag, as typed.
        flag: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The listener could not be opened.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process serves on this socket.
    #[error("{address} is already served by another process; stop it or choose another --listen")]
    AddressInUse {
        /// The address asked for.
        address: String,
    },
    /// The cache directory could not be prepared.
    #[error("cannot use the cache directory {dir}")]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process holds the cache directory.
    #[error("the cache directory {dir} is in use by another `kado cache`; stop it or choose another --dir")]
    DirectoryLocked {
        /// The directory.
        dir: PathBuf,
    },
    /// The disk tier could not be opened.
    #[error("cannot open the disk tier in {dir}: {message}")]
    Disk {
        /// The directory.
        dir: PathBuf,
        /// foyer's description.
        message: String,
    },
    /// The process cannot receive signals.
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
}

impl CacheError {
    /// Whether the caller's configuration is at fault (exit code 64) rather than the machine (70).
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Config { .. } | Self::AddressInUse { .. } | Self::DirectoryLocked { .. }
        )
    }
}
