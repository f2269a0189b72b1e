//! What can be chosen about a system before it starts.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::Binaries;
use crate::interrupt::Interrupt;
use crate::postgres::Durability;

/// Which PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// One of our own, in the data folder.
    Embedded(Durability),
    /// One that runs already, by the address of a role that may create roles.
    Url(String),
}

/// Options of [`super::System::start`].
#[derive(Debug, Clone)]
pub struct Options {
    /// The programs.
    pub binaries: Binaries,
    /// Where everything is kept; absolute.
    pub data: PathBuf,
    /// The address that the edge listens on. The origin is on loopback always.
    pub bind: IpAddr,
    /// The edge's port; 0 for any free one.
    pub port: u16,
    /// Which PostgreSQL.
    pub database: Database,
    /// The first admin's e-mail address.
    pub admin_email: String,
    /// The first admin's password; drawn when there is none.
    pub admin_password: Option<String>,
    /// How many transform processes; `kado edge` decides when there is no number.
    pub transform_processes: Option<usize>,
    /// More variables for the services, such as `REDIS_URL` or `TRUSTED_PROXIES`.
    pub environment: Vec<(String, String)>,
    /// Whether to tell on standard error what happens.
    pub verbose: bool,
    /// Asked while the system starts: a start that is told to stop is an error.
    pub interrupt: Interrupt,
}

impl Options {
    /// A system that keeps its data in `data`.
    #[must_use]
    pub fn kept(binaries: Binaries, data: PathBuf) -> Self {
        Self {
            binaries,
            data,
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            database: Database::Embedded(Durability::Kept),
            admin_email: "admin@localhost".to_owned(),
            admin_password: None,
            transform_processes: None,
            environment: Vec::new(),
            verbose: true,
            interrupt: Interrupt::default(),
        }
    }

    /// A system for a test: a database that does not wait for the disk, and no word on standard error.
    #[must_use]
    pub fn throwaway(binaries: Binaries, data: PathBuf) -> Self {
        Self {
            database: Database::Embedded(Durability::Throwaway),
            verbose: false,
            ..Self::kept(binaries, data)
        }
    }
}
