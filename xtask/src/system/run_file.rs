//! `run.json`: what a script needs to find a running system. It is there exactly while the system runs.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::Part;
use crate::leftover;

/// Addresses and process numbers. The database address holds a password: the file is readable by its owner only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunFile {
    /// Where clients go, `http://127.0.0.1:8787`.
    pub edge: String,
    /// The origin's public listener.
    pub origin: String,
    /// The origin's listener for the edge alone.
    pub internal: String,
    /// The origin's metrics, `http://127.0.0.1:20004/metrics`.
    pub origin_metrics: String,
    /// The edge's metrics.
    pub edge_metrics: String,
    /// The cache service, `unix:<path>`.
    pub cache: String,
    /// The first admin.
    pub admin_email: String,
    /// The database, as the role that may create roles: for `kado migrate`, `kado tenants` and the like.
    pub database_url: String,
    /// The file with the secrets that the system runs with.
    pub secrets: PathBuf,
    /// The folder of the logs.
    pub logs: PathBuf,
    /// The `kado` program.
    pub kado: PathBuf,
    /// The process that watches over all.
    pub pid: u32,
    /// The processes by the name of their part.
    pub pids: BTreeMap<String, u32>,
    /// This file.
    #[serde(skip)]
    pub path: PathBuf,
}

impl RunFile {
    /// Reads the file of a running system.
    ///
    /// # Errors
    /// When there is none or it cannot be understood.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("reading {}: does it run?", path.display()))?;
        let run = serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            ..run
        })
    }

    /// Writes the file whole or not at all.
    pub(super) fn write(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("writing run.json")?;
        let partial = self.path.with_extension("partial");
        let _left_by_a_cut_run = fs::remove_file(&partial);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&partial, &self.path))
            .with_context(|| format!("writing {}", self.path.display()))
    }

    /// Removes the file at the end of a run.
    pub(super) fn remove(&self) {
        let _gone_already = fs::remove_file(&self.path);
    }

    /// Ends what a run that was killed left behind, by its file, and removes that. The lock is ours: it does not run.
    pub(super) fn clear(path: &Path) -> Result<()> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        // A file of another version is no reason to refuse a start: its processes ended with their parent.
        if let Ok(run) = serde_json::from_str::<Self>(&text) {
            let kado = run.kado.to_string_lossy();
            for part in [Part::Edge, Part::Cache, Part::Origin] {
                let pid = run.pids.get(part.name()).and_then(|pid| i32::try_from(*pid).ok());
                if let Some(pid) = pid {
                    leftover::end(pid, &kado, Signal::TERM)
                        .with_context(|| format!("ending the {} of an earlier run", part.name()))?;
                }
            }
        }
        fs::remove_file(path).with_context(|| format!("removing {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::temporary::TemporaryFolder;

    fn example(path: PathBuf, pids: BTreeMap<String, u32>) -> RunFile {
        RunFile {
            edge: "http://127.0.0.1:8787".to_owned(),
            origin: "http://127.0.0.1:20001".to_owned(),
            internal: "http://127.0.0.1:20002".to_owned(),
            origin_metrics: "http://127.0.0.1:20004/metrics".to_owned(),
            edge_metrics: "http://127.0.0.1:20005/metrics".to_owned(),
            cache: "unix:/clone/.kado/run/cache.sock".to_owned(),
            admin_email: "admin@localhost".to_owned(),
            database_url: "postgres://postgres:x@127.0.0.1:20003/kado".to_owned(),
            secrets: PathBuf::from("/clone/.kado/secrets.json"),
            logs: PathBuf::from("/clone/.kado/logs"),
            kado: PathBuf::from("sleep 86410"),
            pid: 1,
            pids,
            path,
        }
    }

    #[test]
    fn scripts_find_the_addresses_by_their_names() {
        let folder = TemporaryFolder::new("run").unwrap();
        let path = folder.path().join("run.json");
        let run = example(path.clone(), BTreeMap::from([("edge".to_owned(), 7)]));
        run.write().unwrap();
        let json: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        for name in ["edge", "origin", "cache", "adminEmail"] {
            assert!(json[name].is_string(), "{name}");
        }
        assert_eq!(json["pids"]["edge"], 7);
        assert_eq!(RunFile::read(&path).unwrap(), run);
        run.remove();
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_run_left_is_ended_and_its_file_removed() {
        let folder = TemporaryFolder::new("run").unwrap();
        let path = folder.path().join("run.json");
        let mut left = Command::new("sleep").arg("86410").spawn().unwrap();
        example(path.clone(), BTreeMap::from([("origin".to_owned(), left.id())]))
            .write()
            .unwrap();
        RunFile::clear(&path).unwrap();
        assert!(left.try_wait().unwrap().is_some());
        assert!(!path.exists());
        RunFile::clear(&path).unwrap();
    }

    #[test]
    fn a_damaged_file_does_not_stop_a_start() {
        let folder = TemporaryFolder::new("run").unwrap();
        let path = folder.path().join("run.json");
        fs::write(&path, "{half").unwrap();
        RunFile::clear(&path).unwrap();
        assert!(!path.exists());
    }
}
