//! What `serve` and `doctor` read from flags and environment, checked once.

use kado_shared::secret::Secret;
use std::{collections::HashSet, path::PathBuf};
use url::Url;

use super::CommandError;
use crate::{blobs::BlobStore, redis::Redis, seal::MIN_SECRET_BYTES};

/// Fewest different bytes of a secret: fewer repeat themselves too much to have been drawn at random.
const MIN_DIFFERENT_BYTES: usize = 8;

/// Flags and variables of a running service.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Database address, role kado_app: postgres://user:password@host:port/database.
    #[arg(
        long,
        env = "DATABASE_URL",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    database_url: String,
    /// Database address, role kado_system.
    #[arg(
        long,
        env = "SYSTEM_DATABASE_URL",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    system_database_url: String,
    /// Secrets that seal what is secret in the database, newest first, comma-separated, 32 bytes or more each.
    #[arg(
        long,
        env = "JWT_SECRET",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    jwt_secret: String,
    /// Secrets shared with the edge, newest first, comma-separated, 32 bytes or more each.
    #[arg(
        long,
        env = "EDGE_SECRET",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    edge_secret: String,
    /// The site's address as visitors see it; issuer of tokens.
    #[arg(long, env = "PUBLIC_URL", default_value = "", hide_default_value = true)]
    public_url: String,
    /// Folder of the originals.
    #[arg(long, env = "BLOB_DIR", value_name = "DIR")]
    blob_dir: Option<PathBuf>,
    /// Store of the originals, where it is no folder: file:///absolute/path.
    #[arg(long, env = "BLOB_URL", value_name = "URL", conflicts_with = "blob_dir")]
    blob_url: Option<String>,
    /// Redis of several gateways' limits; optional.
    #[arg(long, env = "REDIS_URL", hide_env_values = true, value_name = "URL")]
    redis_url: Option<String>,
}

/// The same, checked.
#[derive(Debug)]
pub(crate) struct Configuration {
    pub(crate) database_url: Secret,
    pub(crate) system_database_url: Secret,
    pub(crate) jwt_secret: Secret,
    pub(crate) edge_secret: Secret,
    pub(crate) public_url: String,
    pub(crate) blob_folder: PathBuf,
    pub(crate) redis: Option<Redis>,
}

impl Args {
    /// Checks everything that needs nobody else; answers every fault at once.
    pub(crate) fn check(self) -> Result<Configuration, CommandError> {
        let mut faults = Vec::new();
        let mut fault = |text: String| faults.push(text);
        for (variable, value) in [
            ("DATABASE_URL", &self.database_url),
            ("SYSTEM_DATABASE_URL", &self.system_database_url),
        ] {
            if value.is_empty() {
                fault(format!("{variable} is missing"));
            } else if let Err(error) = crate::database::options(&Secret::new(value), variable, "kado") {
                fault(error.to_string());
            }
        }
        for (variable, value) in [("JWT_SECRET", &self.jwt_secret), ("EDGE_SECRET", &self.edge_secret)] {
            if let Err(error) = check_secret(variable, &Secret::new(value)) {
                fault(error);
            }
        }
        let edge: HashSet<_> = self
            .edge_secret
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .collect();
        if self
            .jwt_secret
            .split(',')
            .map(str::trim)
            .any(|part| edge.contains(part))
        {
            fault("JWT_SECRET and EDGE_SECRET share a secret: each needs its own".to_owned());
        }
        let public_url = check_public_url(&self.public_url)
            .map_err(&mut fault)
            .unwrap_or_default();
        let blob_folder = blob_folder(self.blob_dir, self.blob_url)
            .map_err(&mut fault)
            .unwrap_or_default();
        let redis = match self
            .redis_url
            .filter(|url| !url.is_empty())
            .map(|url| Redis::new(&Secret::new(url)))
        {
            None => None,
            Some(Ok(redis)) => Some(redis),
            Some(Err(error)) => {
                fault(error.to_string());
                None
            }
        };
        if !faults.is_empty() {
            return Err(CommandError::Configuration(faults.join("; ")));
        }
        Ok(Configuration {
            database_url: Secret::new(self.database_url),
            system_database_url: Secret::new(self.system_database_url),
            jwt_secret: Secret::new(self.jwt_secret),
            edge_secret: Secret::new(self.edge_secret),
            public_url,
            blob_folder,
            redis,
        })
    }
}

impl Configuration {
    /// Opens the blob store.
    pub(crate) fn open_blobs(&self) -> Result<BlobStore, CommandError> {
        BlobStore::open_folder(self.blob_folder.clone()).map_err(|error| CommandError::configuration(&error))
    }
}

/// Refuses a secret that somebody could guess. The text says which one of the list, and never shows it.
pub(crate) fn check_secret(variable: &str, secrets: &Secret) -> Result<(), String> {
    let list = secrets.list();
    if list.is_empty() {
        return Err(format!(
            "{variable} is missing: {MIN_SECRET_BYTES} random bytes or more, such as `openssl rand -base64 48` gives"
        ));
    }
    for (number, secret) in (1..).zip(&list) {
        let bytes = secret.expose().as_bytes();
        if bytes.len() < MIN_SECRET_BYTES {
            return Err(format!(
                "{variable}: secret {number} is weak: it has {} bytes and needs {MIN_SECRET_BYTES}",
                bytes.len()
            ));
        }
        if bytes.iter().collect::<HashSet<_>>().len() < MIN_DIFFERENT_BYTES {
            return Err(format!("{variable}: secret {number} is weak: it repeats itself"));
        }
    }
    Ok(())
}

pub(crate) fn check_public_url(text: &str) -> Result<String, String> {
    let right = "it must be the site's address, such as https://images.example.com";
    if text.is_empty() {
        return Err(format!("PUBLIC_URL is missing: {right}"));
    }
    let wrong = || format!("PUBLIC_URL is wrong: {right}, without path, query or credentials");
    let url = Url::parse(text).map_err(|_| wrong())?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if plain {
        Ok(url.origin().ascii_serialization())
    } else {
        Err(wrong())
    }
}

fn blob_folder(folder: Option<PathBuf>, address: Option<String>) -> Result<PathBuf, String> {
    match (
        folder.filter(|folder| !folder.as_os_str().is_empty()),
        address.filter(|address| !address.is_empty()),
    ) {
        (Some(folder), _) => Ok(folder),
        (None, None) => Err("BLOB_DIR is missing: the folder of the originals".to_owned()),
        (None, Some(address)) => Url::parse(&address)
            .ok()
            .filter(|url| url.scheme() == "file")
            .and_then(|url| url.to_file_path().ok())
            .ok_or_else(|| "BLOB_URL must be file:///absolute/path".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Args, check_public_url, check_secret};
    use clap::Parser;
    use kado_shared::secret::Secret;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    const GOOD: &str = "0123456789abcdef0123456789abcdef";

    fn line(changes: &[(&str, &str)]) -> Args {
        let mut flags = vec![
            ("--database-url", "postgres://a@b/c"),
            ("--system-database-url", "postgres://a@b/c"),
            ("--jwt-secret", GOOD),
            ("--edge-secret", "fedcba9876543210fedcba9876543210"),
            ("--public-url", "https://example.com/"),
            ("--blob-dir", "/tmp/blobs"),
        ];
        for (name, value) in changes {
            flags.retain(|(flag, _)| flag != name);
            flags.push((name, value));
        }
        let words = flags.iter().flat_map(|(flag, value)| [*flag, *value]);
        Line::try_parse_from(std::iter::once("kado").chain(words))
            .ok()
            .unwrap()
            .args
    }

    #[test]
    fn a_right_configuration_is_taken() {
        let configuration = line(&[]).check().unwrap();
        assert_eq!(configuration.public_url, "https://example.com");
    }

    #[test]
    fn each_fault_names_its_variable_and_no_secret() {
        for (flag, value, hint) in [
            ("--database-url", "", "DATABASE_URL is missing"),
            ("--system-database-url", "hunter2", "SYSTEM_DATABASE_URL"),
            ("--jwt-secret", "", "JWT_SECRET is missing"),
            ("--jwt-secret", "hunter2", "JWT_SECRET: secret 1 is weak"),
            (
                "--edge-secret",
                "0123456789abcdef0123456789abcdee,hunter2",
                "EDGE_SECRET: secret 2 is weak",
            ),
            ("--jwt-secret", ",,", "JWT_SECRET is missing"),
            (
                "--jwt-secret",
                "hunter2hunter2hunter2hunter2hunter2",
                "JWT_SECRET: secret 1 is weak: it repeats itself",
            ),
            ("--edge-secret", "", "EDGE_SECRET is missing"),
            ("--edge-secret", "hunter2", "EDGE_SECRET: secret 1 is weak"),
            ("--edge-secret", GOOD, "share a secret"),
            ("--public-url", "ftp://example.com", "PUBLIC_URL"),
            ("--redis-url", "hunter2", "REDIS_URL"),
        ] {
            let error = line(&[(flag, value)]).check().unwrap_err().to_string();
            assert!(error.contains(hint) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let error = line(&[("--jwt-secret", ""), ("--edge-secret", ""), ("--public-url", "")])
            .check()
            .unwrap_err()
            .to_string();
        assert!(
            ["JWT_SECRET", "EDGE_SECRET", "PUBLIC_URL"]
                .iter()
                .all(|name| error.contains(name)),
            "{error}"
        );
    }

    #[test]
    fn a_secret_that_repeats_itself_is_weak() {
        assert!(check_secret("S", &Secret::new("abc".repeat(20))).is_err());
        assert!(check_secret("S", &Secret::new(GOOD)).is_ok());
    }

    #[test]
    fn a_public_url_has_one_spelling() {
        assert_eq!(
            check_public_url("HTTPS://Example.com:443/").unwrap(),
            "https://example.com"
        );
        assert_eq!(
            check_public_url("http://127.0.0.1:8787").unwrap(),
            "http://127.0.0.1:8787"
        );
        for bad in ["", "example.com", "https://a/b", "https://a?b", "https://u:p@a"] {
            assert!(check_public_url(bad).is_err(), "{bad}");
        }
    }
}
