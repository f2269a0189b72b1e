//! The secrets of one data folder: drawn once, kept in a file that only its owner reads.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::random;

/// Secrets as `secrets.json` holds them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Secrets {
    /// Seals what the database stores (`JWT_SECRET`).
    pub jwt_secret: String,
    /// Signs what the edge sends to the origin (`EDGE_SECRET`).
    pub edge_secret: String,
    /// Of the embedded cluster's superuser.
    pub owner_password: String,
    /// Of the role `kado_app`.
    pub app_password: String,
    /// Of the role `kado_system`.
    pub system_password: String,
    /// The first admin's. Who has changed it since has another.
    pub admin_password: String,
}

impl Secrets {
    /// New ones; the admin's password is the given one, or drawn too.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn draw(admin_password: Option<String>) -> Result<Self> {
        Ok(Self {
            jwt_secret: random::hex(32)?,
            edge_secret: random::hex(32)?,
            owner_password: random::hex(16)?,
            app_password: random::hex(16)?,
            system_password: random::hex(16)?,
            admin_password: admin_password.map_or_else(|| random::password(5), Ok)?,
        })
    }

    /// Reads a file of secrets; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        match fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text)
                .map(Some)
                .with_context(|| format!("reading {}; restore it, or start anew with --fresh", path.display())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    /// Writes a file of secrets, mode 0600 from its first byte on.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("writing secrets as JSON")?;
        let partial = path.with_extension("partial");
        let _left_by_a_cut_run = fs::remove_file(&partial);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&partial, path))
            .with_context(|| format!("writing {}", path.display()))
    }

    /// Puts them into the environment of a `kado` command.
    pub fn give_to(&self, command: &mut Command) {
        command
            .env("JWT_SECRET", &self.jwt_secret)
            .env("EDGE_SECRET", &self.edge_secret)
            .env("KADO_APP_PASSWORD", &self.app_password)
            .env("KADO_SYSTEM_PASSWORD", &self.system_password);
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secrets(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::temporary::TemporaryFolder;

    #[test]
    fn what_is_written_is_read_again_and_private() {
        let folder = TemporaryFolder::new("secrets").unwrap();
        let path = folder.path().join("secrets.json");
        assert_eq!(Secrets::read(&path).unwrap(), None);
        let secrets = Secrets::draw(Some("chosen".to_owned())).unwrap();
        secrets.write(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Secrets::read(&path).unwrap(), Some(secrets));
    }

    #[test]
    fn a_damaged_file_is_an_error_with_a_way_out() {
        let folder = TemporaryFolder::new("secrets").unwrap();
        let path = folder.path().join("secrets.json");
        fs::write(&path, "{\"jwtSecret\":").unwrap();
        assert!(format!("{:#}", Secrets::read(&path).unwrap_err()).contains("--fresh"));
    }

    #[test]
    fn secrets_are_never_printed() {
        let secrets = Secrets::draw(Some("visible".to_owned())).unwrap();
        assert_eq!(format!("{secrets:?}"), "Secrets(..)");
    }
}
