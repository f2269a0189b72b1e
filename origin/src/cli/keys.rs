//! `kado keys list|reseal`.

use clap::Subcommand;
use kado_shared::secret::Secret;
use sqlx::Connection;
use std::process::ExitCode;

use super::{CommandError, configuration::check_secret, connect::DatabaseArgs, say};
use crate::{
    address_keys,
    audit::{self, Actor, Entry},
    clock::{Clock, SystemClock},
    database::DatabaseError,
    entropy::SystemEntropy,
    identity::keyring,
    seal::{Purpose, Sealer},
    settings,
};

/// Flags of `kado keys`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show every signing key and its state.
    List {
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Seal every private key, address key and secret setting anew with the newest secret, so that older ones can be dropped from JWT_SECRET.
    Reseal {
        /// Secrets, newest first, comma-separated; the one that sealed a key must still be listed.
        #[arg(
            long,
            env = "JWT_SECRET",
            hide_env_values = true,
            default_value = "",
            hide_default_value = true
        )]
        jwt_secret: String,
        #[command(flatten)]
        database: DatabaseArgs,
    },
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, CommandError> {
    match args.action {
        Action::List { database } => list(&database).await?,
        Action::Reseal { jwt_secret, database } => reseal(&Secret::new(jwt_secret), &database).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(database: &DatabaseArgs) -> Result<(), CommandError> {
    let mut connection = database.connect_as_system("keys list").await?;
    let keys = sqlx::query!("select kid, state, created_at from signing_keys order by created_at desc, kid")
        .fetch_all(&mut connection)
        .await
        .map_err(DatabaseError::from)?;
    for key in keys {
        say(&format!("{} {:8} made {}", key.kid, key.state, key.created_at.date()));
    }
    Ok(())
}

async fn reseal(secret: &Secret, database: &DatabaseArgs) -> Result<(), CommandError> {
    check_secret("JWT_SECRET", secret).map_err(CommandError::Configuration)?;
    let sealer = Sealer::new(secret, Purpose::SIGNING_KEYS);
    let mut connection = database.connect_as_system("keys reseal").await?;
    let mut transaction = connection.begin().await.map_err(DatabaseError::from)?;
    let mut count = keyring::reseal(&mut transaction, &sealer, &SystemEntropy)
        .await
        .map_err(|error| CommandError::configuration(&error))?;
    let sealer = Sealer::new(secret, Purpose::ADDRESS_KEYS);
    count += address_keys::reseal(&mut transaction, &sealer, &SystemEntropy).await?;
    let sealer = Sealer::new(secret, Purpose::SETTINGS);
    count += settings::check_secrets(&mut transaction, &sealer, Some(&SystemEntropy))
        .await
        .map_err(|error| CommandError::configuration(&error))?;
    let entry = Entry {
        tenant: None,
        at: SystemClock.now(),
        actor: Actor::Operator,
        action: "keys.reseal",
        target: None,
        before: None,
        after: Some(serde_json::json!({ "keys": count })),
        request_id: None,
        client_ip: None,
    };
    audit::record(&mut transaction, entry).await?;
    transaction.commit().await.map_err(DatabaseError::from)?;
    say(&format!("sealed {count} keys and secrets with the newest secret"));
    Ok(())
}
