//! A PostgreSQL that runs by itself, for tests that need a database and nothing else.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use super::{Cluster, Durability};
use crate::interrupt::Interrupt;
use crate::supervisor::{Service, Signal, Supervisor, tail};
use crate::system::ports;
use crate::temporary::TemporaryFolder;
use crate::{random, wait};

/// How long a start may take: a crash recovery of a test-sized cluster is far below it.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running server on a throwaway cluster; stops and disappears when dropped.
pub struct Postgres {
    cluster: Cluster,
    // Dropped in this order: first the server ends, then its folder goes.
    _supervisor: Supervisor,
    _folder: TemporaryFolder,
}

impl Postgres {
    /// Starts a server on a new cluster in a temporary folder. `binaries` is the folder with `bin`, `lib` and `share`.
    ///
    /// # Errors
    /// When the cluster cannot be made or the server does not get ready.
    pub fn temporary(binaries: &Path) -> Result<Self> {
        let folder = TemporaryFolder::new("pg")?;
        let port = ports::free()?;
        let password = random::hex(16)?;
        let cluster = Cluster::prepare(
            binaries,
            &folder.path().join("pg"),
            port,
            &password,
            Durability::Throwaway,
        )?;
        let supervisor = Supervisor::new(|_| {})?;
        start(
            &supervisor,
            &cluster,
            &folder.path().join("postgres.log"),
            &Interrupt::default(),
        )?;
        Ok(Self {
            cluster,
            _supervisor: supervisor,
            _folder: folder,
        })
    }

    /// The superuser's connection address of the database `kado`.
    #[must_use]
    pub fn url(&self) -> String {
        self.cluster.owner_url()
    }
}

/// Starts a cluster's server under a supervisor and waits until it takes connections.
///
/// # Errors
/// When it ends instead, or is not ready in time; with the end of its log.
pub(crate) fn start(supervisor: &Supervisor, cluster: &Cluster, log: &Path, interrupt: &Interrupt) -> Result<u32> {
    let server = cluster.clone();
    let pid = supervisor.start(Service {
        name: "postgres",
        log: log.to_owned(),
        command: Box::new(move || Ok(server.server())),
        // SIGINT is PostgreSQL's fast shutdown: open connections are closed, nothing is lost.
        stop_signal: Signal::INT,
        patience: Duration::from_secs(20),
    })?;
    let ready = wait::until(START_LIMIT, || {
        let status = supervisor.status("postgres");
        let ready = status.pid.is_some_and(|pid| cluster.is_ready(pid));
        (ready || status.starts > 1 || status.last_end.is_some() || interrupt.requested().is_some()).then_some(ready)
    });
    interrupt.check()?;
    match ready {
        Some(true) => Ok(pid),
        Some(false) => bail!(
            "PostgreSQL ended at its start; the end of {}:{}",
            log.display(),
            tail(log, 15)
        ),
        None => bail!(
            "PostgreSQL is not ready after {} s; the end of {}:{}",
            START_LIMIT.as_secs(),
            log.display(),
            tail(log, 15)
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;
    use crate::workspace::Workspace;

    fn binaries() -> std::path::PathBuf {
        let workspace = Workspace::locate().unwrap();
        crate::tools::NodeModules::as_they_are(&workspace).postgres().unwrap()
    }

    /// PostgreSQL's answer to a TLS request is one byte, `N`: enough to know that it is PostgreSQL that listens.
    fn answers(port: u16) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
            return false;
        };
        let mut answer = [0];
        stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).is_ok()
            && stream.read_exact(&mut answer).is_ok()
            && answer == *b"N"
    }

    #[test]
    fn a_temporary_server_takes_connections_and_leaves_nothing() {
        let server = Postgres::temporary(&binaries()).unwrap();
        let (port, folder) = (server.cluster.port(), server._folder.path().to_owned());
        assert!(answers(port));
        drop(server);
        assert!(!answers(port));
        assert!(!folder.exists());
    }

    #[test]
    fn a_half_made_cluster_is_made_anew_and_a_killed_server_comes_back() {
        let folder = TemporaryFolder::new("pg").unwrap();
        let (data, log) = (folder.path().join("pg"), folder.path().join("postgres.log"));
        std::fs::create_dir_all(data.with_extension("partial").join("base")).unwrap();
        let port = ports::free().unwrap();
        let cluster = Cluster::prepare(&binaries(), &data, port, "first", Durability::Throwaway).unwrap();
        let supervisor = Supervisor::new(|_| {}).unwrap();
        let pid = start(&supervisor, &cluster, &log, &Interrupt::default()).unwrap();
        supervisor.signal("postgres", Signal::KILL).unwrap();
        let again = wait::until(Duration::from_secs(30), || {
            supervisor
                .status("postgres")
                .pid
                .filter(|now| *now != pid && cluster.is_ready(*now))
        });
        assert!(again.is_some(), "{}", tail(&log, 20));
        drop(supervisor);
        // The same data again, as after a restart of everything.
        let cluster = Cluster::prepare(&binaries(), &data, port, "first", Durability::Throwaway).unwrap();
        let supervisor = Supervisor::new(|_| {}).unwrap();
        start(&supervisor, &cluster, &log, &Interrupt::default()).unwrap();
        assert!(answers(port));
    }

    #[test]
    fn a_clone_in_a_private_home_works_and_leaves_nothing_elsewhere() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = TemporaryFolder::new("home").unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let (data, log) = (folder.path().join("clone/pg"), folder.path().join("postgres.log"));
        let port = ports::free().unwrap();
        let cluster = Cluster::prepare(&binaries(), &data, port, "secret", Durability::Throwaway).unwrap();
        let supervisor = Supervisor::new(|_| {}).unwrap();
        start(&supervisor, &cluster, &log, &Interrupt::default()).unwrap();
        assert!(answers(port));
        drop(supervisor);
        let elsewhere = std::fs::read_link(&data).ok();
        Cluster::remove(&data).unwrap();
        assert!(data.symlink_metadata().is_err());
        if let Some(elsewhere) = elsewhere {
            assert!(!elsewhere.parent().unwrap().exists());
        }
    }

    #[test]
    fn a_folder_that_is_no_cluster_is_not_touched() {
        let folder = TemporaryFolder::new("pg").unwrap();
        let data = folder.path().join("pg");
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("letter.txt"), "mine").unwrap();
        let error = Cluster::prepare(&binaries(), &data, 1, "x", Durability::Throwaway).unwrap_err();
        assert!(format!("{error:#}").contains("no PostgreSQL data folder"), "{error:#}");
        assert_eq!(std::fs::read_to_string(data.join("letter.txt")).unwrap(), "mine");
    }
}
