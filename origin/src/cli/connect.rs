//! The connection of an operator's command: as the role that migrates, then acting as `kado_system`.

use kado_shared::secret::Secret;
use sqlx::{ConnectOptions, Executor, PgConnection};

use super::CommandError;
use crate::database::{DatabaseError, options};

/// Where the database is.
#[derive(Debug, clap::Args)]
pub(crate) struct DatabaseArgs {
    /// Database address, of the role that migrates (it may create roles, or owns the database).
    #[arg(
        long,
        env = "DATABASE_URL",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    database_url: String,
}

impl DatabaseArgs {
    /// Connects as the role of the address.
    pub(crate) async fn connect(&self, command: &str) -> Result<PgConnection, CommandError> {
        if self.database_url.is_empty() {
            return Err(CommandError::Configuration(format!(
                "DATABASE_URL is missing: the address that `kado {command}` connects to"
            )));
        }
        let options = options(
            &Secret::new(&self.database_url),
            "DATABASE_URL",
            &format!("kado {command}"),
        )?;
        // A migration may take as long as it takes.
        let options = options.options([("statement_timeout", "0"), ("idle_in_transaction_session_timeout", "0")]);
        Ok(options.connect().await.map_err(DatabaseError::from)?)
    }

    /// Connects and acts as `kado_system`, whose policies admit every tenant: a superuser's mistakes stay within its
    /// grants.
    pub(crate) async fn connect_as_system(&self, command: &str) -> Result<PgConnection, CommandError> {
        let mut connection = self.connect(command).await?;
        connection.execute("set role kado_system").await.map_err(|error| {
            CommandError::Failed(format!(
                "the role kado_system cannot be taken on ({error}): was `kado migrate up` run?"
            ))
        })?;
        Ok(connection)
    }
}
