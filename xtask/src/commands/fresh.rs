//! Starting anew: everything that a run keeps in its data folder goes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use xtask::postgres::Cluster;
use xtask::system;

/// What a data folder of ours holds; anything else in it is somebody's and stays.
const OURS: [&str; 9] = [
    "pg.partial",
    "blobs",
    "cache",
    "edge",
    "logs",
    "run",
    "run.json",
    "sample.json",
    "secrets.json",
];

/// Removes the data of former runs. Refused while a system runs on it.
pub(super) fn remove_data(data: &Path) -> Result<()> {
    if !data.exists() {
        return Ok(());
    }
    system::require_idle(data)?;
    Cluster::remove(&data.join("pg"))?;
    for name in OURS {
        let path = data.join(name);
        let Ok(meta) = path.symlink_metadata() else { continue };
        let removed = if meta.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use xtask::temporary::TemporaryFolder;

    use super::*;

    #[test]
    fn our_data_goes_and_a_strangers_file_stays() {
        let folder = TemporaryFolder::new("fresh").unwrap();
        fs::create_dir_all(folder.path().join("pg/base")).unwrap();
        fs::create_dir_all(folder.path().join("blobs/a")).unwrap();
        fs::write(folder.path().join("secrets.json"), "{}").unwrap();
        fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        remove_data(folder.path()).unwrap();
        assert!(!folder.path().join("pg").exists() && !folder.path().join("blobs").exists());
        assert!(!folder.path().join("secrets.json").exists());
        assert!(folder.path().join("notes.txt").exists());
        remove_data(&folder.path().join("never-there")).unwrap();
    }
}
