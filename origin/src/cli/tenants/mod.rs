//! `kado tenants create|list|suspend|resume|appoint|dismiss|export|delete`. What makes and changes a tenant is in
//! [`crate::tenants`].

mod appoint;
mod catalogue;
mod delete;
mod export;
mod list;
mod suspend;

use clap::Subcommand;
use kado_shared::{problem::FieldError, tenant::normalize_host};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use std::process::ExitCode;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{CommandError, connect::DatabaseArgs, say};
use crate::{
    audit::{Actor, Entry},
    clock::{Clock, SystemClock},
    database::DatabaseError,
    entropy::SystemEntropy,
    identity::{email::Email, first_password::FirstPassword},
    tenants::{
        Author, Tenant,
        create::{self, CreateError, Credentials, NewTenant},
    },
};

/// Flags of `kado tenants`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a tenant with its hosts and its first administrator.
    Create(Create),
    /// Show every tenant: state, hosts, how many users and pictures.
    List(list::Args),
    /// Answer like a host that nobody has: at the origin within 1 s, at every edge within 5 s. Nothing is lost.
    Suspend(suspend::Args),
    /// End a suspension.
    Resume(suspend::Args),
    /// Let a tenant's administrators manage all tenants over HTTP.
    Appoint(appoint::Args),
    /// Take that back, at once.
    Dismiss(appoint::Args),
    /// Write every row of a tenant into a file of JSON lines.
    Export(export::Args),
    /// Delete a suspended tenant with everything that it has. There is no way back.
    Delete(delete::Args),
}

/// Which tenant, for commands about one.
#[derive(Debug, clap::Args)]
struct Which {
    /// Name of the tenant, or one of its hosts.
    #[arg(value_name = "TENANT")]
    tenant: String,
    #[command(flatten)]
    database: DatabaseArgs,
}

impl Which {
    async fn find(&self, connection: &mut PgConnection) -> Result<Tenant, CommandError> {
        find(connection, &self.tenant).await
    }
}

/// The tenant of this name, or else of this host.
async fn find(connection: &mut PgConnection, text: &str) -> Result<Tenant, CommandError> {
    let host = normalize_host(text).unwrap_or_default();
    sqlx::query_as!(
        Tenant,
        r#"select id, name, active, operator,
                  array(select host from tenant_hosts h where h.tenant_id = t.id order by host) as "hosts!"
           from tenants t
           where name = $1 or id = (select tenant_id from tenant_hosts where host = $2)
           order by name = $1 desc limit 1"#,
        text,
        host,
    )
    .fetch_optional(connection)
    .await
    .map_err(DatabaseError::from)?
    .ok_or_else(|| {
        CommandError::Configuration(format!(
            "no tenant has the name or the host {text:?}; see `kado tenants list`"
        ))
    })
}

#[derive(Debug, clap::Args)]
struct Create {
    /// Name, for people; unique.
    name: String,
    /// Host it answers to; may be repeated.
    #[arg(long = "host", required = true, value_name = "HOST")]
    hosts: Vec<String>,
    /// Address of its administrator; by default admin@ and the first host.
    #[arg(long, value_name = "ADDRESS")]
    admin_email: Option<String>,
    /// Password of its administrator, which needs no change; a random one where none is given.
    #[arg(long, env = "KADO_ADMIN_PASSWORD", hide_env_values = true, value_name = "PASSWORD")]
    admin_password: Option<String>,
    /// Let its administrators manage all tenants over HTTP.
    #[arg(long)]
    operator: bool,
    /// Answer one JSON object {id, host, adminEmail, adminPassword}.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, CommandError> {
    match args.action {
        Action::Create(args) => create(args).await?,
        Action::List(args) => list::run(&args).await?,
        Action::Suspend(args) => suspend::run(&args, false).await?,
        Action::Resume(args) => suspend::run(&args, true).await?,
        Action::Appoint(args) => appoint::run(&args, true).await?,
        Action::Dismiss(args) => appoint::run(&args, false).await?,
        Action::Export(args) => export::run(&args).await?,
        Action::Delete(args) => delete::run(&args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(create: Create) -> Result<(), CommandError> {
    let new = NewTenant::check(&create.name, &create.hosts, create.admin_email.as_deref())
        .map_err(|errors| faults(&errors))?;
    let new = NewTenant {
        operator: create.operator,
        ..new
    };
    let password = choose_password(create.admin_password)?;
    let hash = password.hash_now().map_err(|error| CommandError::failed(&error))?;
    let mut connection = create.database.connect_as_system("tenants create").await?;
    let now = SystemClock.now();

    let credentials = Credentials {
        hash: &hash,
        must_change: password.random,
    };
    let mut transaction = connection.begin().await.map_err(DatabaseError::from)?;
    let id = create::create(&mut transaction, &new, credentials, Author::Shell, now).await?;
    transaction.commit().await.map_err(DatabaseError::from)?;

    let (email, password) = (new.admin.as_str(), password.secret.expose());
    let first = new.hosts.first().map(String::as_str).unwrap_or_default();
    if create.json {
        say(&json!({ "id": id, "host": first, "adminEmail": email, "adminPassword": password }).to_string());
    } else {
        let operator = if new.operator { " (operator)" } else { "" };
        say(&format!(
            "tenant {id}{operator}\nhost   {}\nadmin  {email}\npassword {password}",
            new.hosts.join(", ")
        ));
    }
    Ok(())
}

impl From<CreateError> for CommandError {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Taken(errors) => faults(&errors),
            CreateError::Database(error) => error.into(),
        }
    }
}

/// All that is wrong, on one line.
pub(super) fn faults(errors: &[FieldError]) -> CommandError {
    let all: Vec<_> = errors
        .iter()
        .map(|error| format!("{}: {}", error.field, error.detail))
        .collect();
    CommandError::Configuration(all.join("; "))
}

/// A user's address.
pub(super) fn parse_email(text: &str) -> Result<Email, CommandError> {
    Email::parse(text).map_err(|error| CommandError::Configuration(format!("the address {text:?} {error}")))
}

/// The password that an administrator begins with; a variable that is empty gives none.
pub(super) fn choose_password(given: Option<String>) -> Result<FirstPassword, CommandError> {
    FirstPassword::choose(given.filter(|password| !password.is_empty()), &SystemEntropy)
        .map_err(|detail| CommandError::Configuration(format!("the administrator's password {detail}")))
}

fn operator_entry(tenant: Uuid, action: &str, after: Option<serde_json::Value>, at: OffsetDateTime) -> Entry<'_> {
    Entry {
        tenant: Some(tenant),
        at,
        actor: Actor::Operator,
        action,
        target: None,
        before: None,
        after,
        request_id: None,
        client_ip: None,
    }
}
