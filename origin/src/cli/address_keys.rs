//! `kado address-keys create|list|retire`: the keys that a tenant's image addresses are signed with.

use clap::Subcommand;
use kado_shared::secret::Secret;
use serde_json::json;
use sqlx::Connection;
use std::process::ExitCode;

use super::{CommandError, configuration::check_secret, connect::DatabaseArgs, say, settings::tenant_of};
use crate::{
    address_keys::{self, AddressKeyError},
    audit::{self, Actor, Entry},
    clock::{Clock, SystemClock},
    database::DatabaseError,
    entropy::SystemEntropy,
    seal::{Purpose, Sealer},
};

/// Flags of `kado address-keys`.
#[derive(Debug, clap::Args)]
#[group(id = "address-keys")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key and print it, once. Earlier ones stay active, so that addresses signed with them go on.
    Create {
        /// Secrets that seal it, newest first, comma-separated.
        #[arg(
            long,
            env = "JWT_SECRET",
            hide_env_values = true,
            default_value = "",
            hide_default_value = true
        )]
        jwt_secret: String,
        #[command(flatten)]
        scope: Scope,
    },
    /// Show the keys' names and states.
    List {
        #[command(flatten)]
        scope: Scope,
    },
    /// End a key: addresses signed with it are refused within 5 s.
    Retire {
        /// Name of the key, as `list` shows it.
        id: String,
        #[command(flatten)]
        scope: Scope,
    },
}

#[derive(Debug, clap::Args)]
struct Scope {
    /// A host of the tenant concerned.
    #[arg(long, value_name = "HOST")]
    tenant: String,
    #[command(flatten)]
    database: DatabaseArgs,
}

impl From<AddressKeyError> for CommandError {
    fn from(error: AddressKeyError) -> Self {
        Self::sorted(!matches!(error, AddressKeyError::Database(_)), &error)
    }
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, CommandError> {
    match args.action {
        Action::Create { jwt_secret, scope } => create(&Secret::new(jwt_secret), &scope).await?,
        Action::List { scope } => list(&scope).await?,
        Action::Retire { id, scope } => retire(&id, &scope).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(secret: &Secret, scope: &Scope) -> Result<(), CommandError> {
    check_secret("JWT_SECRET", secret).map_err(CommandError::Configuration)?;
    let sealer = Sealer::new(secret, Purpose::ADDRESS_KEYS);
    let mut connection = scope.database.connect_as_system("address-keys create").await?;
    let mut transaction = connection.begin().await.map_err(DatabaseError::from)?;
    let tenant = tenant_of(&mut transaction, &scope.tenant).await?;
    let now = SystemClock.now();
    let (id, key) = address_keys::create(&mut transaction, tenant, &sealer, &SystemEntropy, now).await?;
    let mut entry = entry("address-keys.create", tenant.0, now);
    entry.after = Some(json!({ "id": id }));
    audit::record(&mut transaction, entry).await?;
    transaction.commit().await.map_err(DatabaseError::from)?;
    say(&json!({ "id": id, "key": key.expose() }).to_string());
    Ok(())
}

async fn list(scope: &Scope) -> Result<(), CommandError> {
    let mut connection = scope.database.connect_as_system("address-keys list").await?;
    let tenant = tenant_of(&mut connection, &scope.tenant).await?;
    for key in address_keys::list(&mut connection, tenant).await? {
        let state = key
            .retired_at
            .map_or_else(|| "active".to_owned(), |at| format!("retired {}", at.date()));
        say(&format!("{} made {} {state}", key.id, key.created_at.date()));
    }
    Ok(())
}

async fn retire(id: &str, scope: &Scope) -> Result<(), CommandError> {
    let mut connection = scope.database.connect_as_system("address-keys retire").await?;
    let mut transaction = connection.begin().await.map_err(DatabaseError::from)?;
    let tenant = tenant_of(&mut transaction, &scope.tenant).await?;
    let now = SystemClock.now();
    if !address_keys::retire(&mut transaction, tenant, id, now).await? {
        let detail = format!(
            "{} has no active key {id:?}; see `kado address-keys list`",
            scope.tenant
        );
        return Err(CommandError::Configuration(detail));
    }
    let mut entry = entry("address-keys.retire", tenant.0, now);
    entry.target = Some(id.to_owned());
    audit::record(&mut transaction, entry).await?;
    transaction.commit().await.map_err(DatabaseError::from)?;
    say(&format!("{id} is retired; every edge knows within 5 s"));
    Ok(())
}

fn entry(action: &str, tenant: uuid::Uuid, at: time::OffsetDateTime) -> Entry<'_> {
    Entry {
        tenant: Some(tenant),
        at,
        actor: Actor::Operator,
        action,
        target: None,
        before: None,
        after: None,
        request_id: None,
        client_ip: None,
    }
}
