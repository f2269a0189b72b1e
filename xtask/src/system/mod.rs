//! A whole Kado on this machine: PostgreSQL, origin, cache service and edge, started together and watched over.
//!
//! `cargo xtask up` shows it to a person; the black-box tests start it, kill parts of it and look at what happens.

mod announcement;
mod binaries;
mod database_url;
mod lock;
mod options;
pub mod ports;
mod readiness;
mod run_file;
mod secrets;
mod services;
mod sockets;
mod start;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Result, bail};

pub use binaries::Binaries;
pub use options::{Database, Options};
pub use run_file::RunFile;
pub use secrets::Secrets;

use crate::invoke;
use crate::leftover;
use crate::supervisor::{Signal, Status, Supervisor};
use crate::temporary::TemporaryFolder;
use announcement::Announcement;
use lock::Lock;

/// The parts of a running system, by the names in events, logs and `run.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The embedded PostgreSQL.
    Postgres,
    /// `kado serve`.
    Origin,
    /// `kado cache`.
    Cache,
    /// `kado edge`, which has the workerd processes beneath it.
    Edge,
}

impl Part {
    /// All, in the order in which they start.
    pub const ALL: [Self; 4] = [Self::Postgres, Self::Origin, Self::Cache, Self::Edge];

    /// The name in events, of the log, and in `run.json`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Origin => "origin",
            Self::Cache => "cache",
            Self::Edge => "edge",
        }
    }
}

/// A running system. Stops when dropped.
pub struct System {
    supervisor: Supervisor,
    announcement: Arc<Mutex<Announcement>>,
    secrets: Secrets,
    binaries: Binaries,
    logs: PathBuf,
    first_start: bool,
    // Held for the lifetime of the processes, and let go after the supervisor has ended them.
    _sockets: sockets::Sockets,
    _lock: Lock,
    temporary: Option<TemporaryFolder>,
}

impl System {
    /// Starts everything and returns when the edge says that the whole is ready.
    ///
    /// # Errors
    /// When another run holds the folder, a port is taken, or a part does not get ready; with what it said.
    pub fn start(options: Options) -> Result<Self> {
        start::start(options, None)
    }

    /// Starts a system of its own for one test: free ports, a new database, data that goes with it.
    /// `change` may adjust the options before the start.
    ///
    /// # Errors
    /// As [`System::start`].
    pub fn temporary(binaries: Binaries, change: impl FnOnce(&mut Options)) -> Result<Self> {
        let folder = TemporaryFolder::new("sys")?;
        let mut options = Options::throwaway(binaries, folder.path().join("data"));
        change(&mut options);
        start::start(options, Some(folder))
    }

    /// Addresses and process numbers, as in `run.json`.
    #[must_use]
    pub fn run_file(&self) -> RunFile {
        Announcement::run(&self.announcement)
    }

    /// The edge's address, `http://127.0.0.1:8787`.
    #[must_use]
    pub fn edge(&self) -> String {
        self.run_file().edge
    }

    /// The secrets that this system runs with.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The programs that this system runs.
    #[must_use]
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The folder with `postgres.log`, `origin.log`, `cache.log` and `edge.log`.
    #[must_use]
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// Whether this start made the database.
    #[must_use]
    pub fn first_start(&self) -> bool {
        self.first_start
    }

    /// What is known of a part at the moment.
    #[must_use]
    pub fn status(&self, part: Part) -> Status {
        self.supervisor.status(part.name())
    }

    /// kill -9 of a part's main process; it is started again by itself.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self, part: Part) -> Result<()> {
        self.supervisor.signal(part.name(), Signal::KILL)
    }

    /// Sends any signal to a part's main process.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, part: Part, signal: Signal) -> Result<()> {
        self.supervisor.signal(part.name(), signal)
    }

    /// Stops a part in an orderly way and leaves it stopped.
    ///
    /// # Errors
    /// When this system has no such part.
    pub fn suspend(&self, part: Part) -> Result<()> {
        self.supervisor.suspend(part.name())
    }

    /// Starts a suspended part again, on the same address.
    ///
    /// # Errors
    /// When this system has no such part or it cannot be started.
    pub fn resume(&self, part: Part) -> Result<()> {
        self.supervisor.resume(part.name()).map(drop)
    }

    /// The processes beneath a part (of the edge: workerd in its roles), with their command lines.
    #[must_use]
    pub fn children(&self, part: Part) -> Vec<(i32, String)> {
        let pid = self.status(part).pid.and_then(|pid| i32::try_from(pid).ok());
        pid.map(leftover::descendants).unwrap_or_default()
    }

    /// A `kado` command with this system's database and secrets in its environment.
    #[must_use]
    pub fn kado(&self) -> std::process::Command {
        let mut command = invoke::command(&self.binaries.kado);
        command.env("DATABASE_URL", self.run_file().database_url);
        self.secrets.give_to(&mut command);
        command
    }

    /// Stops everything: edge first, PostgreSQL last. A temporary system's data goes, unless the thread panics: then
    /// it stays to be looked at, and a line on standard error says where.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        Announcement::withdraw(&self.announcement);
        self.supervisor.stop();
        if let Some(folder) = self.temporary.take_if(|_| std::thread::panicking()) {
            let kept = folder.keep();
            crate::progress::say(format_args!(
                "the system's data and logs are kept in {}",
                kept.display()
            ));
        }
    }
}

impl Drop for System {
    fn drop(&mut self) {
        self.end();
    }
}

/// Refuses when a system runs on a data folder. [`System::start`] does so itself; this is for asking before long work.
///
/// # Errors
/// When one does, with its process number; or when the folder's lock cannot be looked at.
pub fn require_idle(data: &Path) -> Result<()> {
    match lock::holder(data)? {
        Some(holder) => bail!("{}", lock::refusal(data, &holder)),
        None => Ok(()),
    }
}
