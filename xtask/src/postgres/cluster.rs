//! A cluster's data folder: made once and whole, or not at all.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use super::{Account, Placement, postmaster};
use crate::invoke;

/// The role that owns the cluster. The services use roles of their own, which the migrations create.
const SUPERUSER: &str = "postgres";
/// The database that everything is in.
const DATABASE: &str = "kado";

/// What a power cut may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Nothing: every commit is on the disk.
    Kept,
    /// Everything: for tests, which throw it away anyway and so need not wait for the disk.
    Throwaway,
}

/// A cluster that is ready to be started.
#[derive(Debug, Clone)]
pub struct Cluster {
    binaries: PathBuf,
    data: PathBuf,
    account: Option<Account>,
    port: u16,
    password: String,
    durability: Durability,
}

impl Cluster {
    /// Makes the cluster if there is none, and clears away what a run that was cut short left.
    ///
    /// `binaries` is the folder with `bin`, `lib` and `share`; `password` is the superuser's, fixed when the cluster is made.
    ///
    /// # Errors
    /// When the data is of another major version, a leftover server does not end, or `initdb` fails.
    pub fn prepare(binaries: &Path, data: &Path, port: u16, password: &str, durability: Durability) -> Result<Self> {
        let account = Account::for_postgres()?;
        if let Some(parent) = data.parent() {
            fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        }
        let Placement { binaries, data } = Placement::choose(binaries, data, account)?;
        let cluster = Self {
            binaries,
            data,
            account,
            port,
            password: password.to_owned(),
            durability,
        };
        if cluster.data.exists() {
            cluster.check_version()?;
            postmaster::clear(&cluster.data)?;
            if let Some(account) = account {
                account.own(&cluster.data)?;
            }
        } else {
            cluster.initialise()?;
        }
        Ok(cluster)
    }

    /// Removes a cluster's data, wherever [`Placement`] put it, after ending a server that was left on it.
    ///
    /// # Errors
    /// When a leftover server does not end, or the folder cannot be removed.
    pub fn remove(data: &Path) -> Result<()> {
        let real = fs::read_link(data);
        let folder = real.as_deref().unwrap_or(data);
        if folder.exists() {
            postmaster::clear(folder)?;
            fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
        }
        if let Ok(elsewhere) = &real {
            fs::remove_file(data).with_context(|| format!("removing {}", data.display()))?;
            let _not_empty = elsewhere.parent().map(fs::remove_dir);
        }
        Ok(())
    }

    /// The server as a process in the foreground, writing its log to standard error.
    #[must_use]
    pub fn server(&self) -> Command {
        let mut server = self.program("postgres");
        server.arg("-D").arg(&self.data).args(["-p", &self.port.to_string()]);
        let settings = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=200",
            "timezone=UTC",
        ];
        // What was committed outlives a killed server even so, though not a machine that loses its power.
        let relaxed = ["fsync=off", "full_page_writes=off"];
        let relaxed = relaxed.iter().filter(|_| self.durability == Durability::Throwaway);
        for setting in settings.iter().chain(relaxed) {
            server.args(["-c", setting]);
        }
        server
    }

    /// Whether the server with this process number takes connections.
    #[must_use]
    pub fn is_ready(&self, pid: u32) -> bool {
        postmaster::is_ready(&self.data, pid)
    }

    /// The connection address of a role.
    #[must_use]
    pub fn url(&self, role: &str, password: &str) -> String {
        format!("postgres://{role}:{password}@127.0.0.1:{}/{DATABASE}", self.port)
    }

    /// The connection address of the superuser: it may create roles and databases.
    #[must_use]
    pub fn owner_url(&self) -> String {
        self.url(SUPERUSER, &self.password)
    }

    /// The port on loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    fn program(&self, name: &str) -> Command {
        let mut command = invoke::command(self.binaries.join("bin").join(name));
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("PG") {
                command.env_remove(&variable);
            }
        }
        // The current folder may be one that the other account cannot enter.
        command.current_dir("/").env("LC_ALL", "C");
        if let Some(account) = self.account {
            account.run(&mut command);
        }
        command
    }

    fn check_version(&self) -> Result<()> {
        let found = fs::read_to_string(self.data.join("PG_VERSION")).with_context(|| {
            format!(
                "{} is no PostgreSQL data folder; move it away or use --fresh",
                self.data.display()
            )
        })?;
        let text = invoke::read(self.program("postgres").arg("--version"))?;
        let ours = major(&text).ok_or_else(|| anyhow!("PostgreSQL does not tell its version: {text}"))?;
        if found.trim() != ours {
            bail!(
                "{} was made by PostgreSQL {}, and this is {ours}: dump it with the old version, or use --fresh",
                self.data.display(),
                found.trim()
            );
        }
        Ok(())
    }

    /// Works in a folder beside and renames it at the end: a data folder that exists is a whole one.
    fn initialise(&self) -> Result<()> {
        let partial = self.data.with_extension("partial");
        if partial.exists() {
            fs::remove_dir_all(&partial).with_context(|| format!("removing the unfinished {}", partial.display()))?;
        }
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&partial)
            .with_context(|| format!("creating {}", partial.display()))?;
        let password_file = self.data.with_extension("password");
        let result = self
            .run_initdb(&partial, &password_file)
            .and_then(|()| self.create_database(&partial));
        let _not_written = fs::remove_file(&password_file);
        result?;
        fs::rename(&partial, &self.data).with_context(|| format!("renaming {}", partial.display()))
    }

    fn run_initdb(&self, data: &Path, password_file: &Path) -> Result<()> {
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(password_file)
            .and_then(|mut file| file.write_all(self.password.as_bytes()))
            .with_context(|| format!("writing {}", password_file.display()))?;
        if let Some(account) = self.account {
            account.own_folder(data)?;
            account.own(password_file)?;
        }
        let mut initdb = self.program("initdb");
        initdb
            .arg("-D")
            .arg(data)
            .args(["-U", SUPERUSER, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C"]);
        initdb.arg(format!("--pwfile={}", password_file.display()));
        if self.durability == Durability::Throwaway {
            initdb.arg("--no-sync");
        }
        invoke::read(&mut initdb).context("making the PostgreSQL cluster")?;
        Ok(())
    }

    /// In single-user mode, so that there is no moment at which a half-made cluster takes connections.
    fn create_database(&self, data: &Path) -> Result<()> {
        let mut single = self.program("postgres");
        single.arg("--single").arg("-D").arg(data).arg("postgres");
        single
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = single.spawn().context("starting PostgreSQL in single-user mode")?;
        if let Some(mut input) = child.stdin.take() {
            writeln!(input, "CREATE DATABASE {DATABASE}").context("asking PostgreSQL for a database")?;
        }
        let output = child
            .wait_with_output()
            .context("waiting for PostgreSQL in single-user mode")?;
        let said = invoke::quote(&output);
        if !output.status.success() || said.contains("ERROR:") {
            bail!("PostgreSQL could not create the database `{DATABASE}`:{said}");
        }
        Ok(())
    }
}

fn major(version_line: &str) -> Option<&str> {
    version_line.split_whitespace().last()?.split('.').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_the_first_number() {
        assert_eq!(major("postgres (PostgreSQL) 15.18\n"), Some("15"));
        assert_eq!(major(""), None);
    }
}
