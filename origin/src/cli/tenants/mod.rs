//! `kado tenants create|list|suspend|resume|export|delete`. What makes a tenant is shared with `kado seed`.

mod catalogue;
mod delete;
mod export;
mod list;
mod suspend;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Subcommand;
use kado_shared::{
    secret::Secret,
    tenant::{TenantId, normalize_host},
};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use std::process::ExitCode;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{CommandError, connect::DatabaseArgs, say};
use crate::{
    audit::{self, Actor, Entry},
    clock::{Clock, SystemClock},
    database::DatabaseError,
    entropy::{Entropy, SystemEntropy},
    identity::{
        email::Email,
        password::{check_length, hash_now},
    },
    presets,
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

/// A tenant that was named.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    id: Uuid,
    name: String,
    active: bool,
    hosts: Vec<String>,
}

impl Which {
    async fn find(&self, connection: &mut PgConnection) -> Result<Found, CommandError> {
        find(connection, &self.tenant).await
    }
}

/// The tenant of this name, or else of this host.
async fn find(connection: &mut PgConnection, text: &str) -> Result<Found, CommandError> {
    let host = normalize_host(text).unwrap_or_default();
    sqlx::query_as!(
        Found,
        r#"select id, name, active,
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
        Action::Export(args) => export::run(&args).await?,
        Action::Delete(args) => delete::run(&args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(create: Create) -> Result<(), CommandError> {
    let hosts = parse_hosts(&create.hosts)?;
    let first = hosts.first().cloned().unwrap_or_default();
    let email = parse_email(&create.admin_email.unwrap_or_else(|| format!("admin@{first}")))?;
    let password = FirstPassword::choose(create.admin_password, &SystemEntropy)?;
    let mut connection = create.database.connect_as_system("tenants create").await?;
    let now = SystemClock.now();

    let mut transaction = connection.begin().await.map_err(DatabaseError::from)?;
    let id = insert_tenant(&mut transaction, &create.name, now)
        .await
        .map_err(|error| taken(error, &create.name))?;
    for host in &hosts {
        insert_host(&mut transaction, id, host, now)
            .await
            .map_err(|error| taken(error, host))?;
    }
    insert_admin(&mut transaction, id, &email, &password, now).await?;
    transaction.commit().await.map_err(DatabaseError::from)?;

    let (email, password) = (email.as_str(), password.secret.expose());
    if create.json {
        say(&json!({ "id": id, "host": first, "adminEmail": email, "adminPassword": password }).to_string());
    } else {
        say(&format!(
            "tenant {id}\nhost   {}\nadmin  {email}\npassword {password}",
            hosts.join(", ")
        ));
    }
    Ok(())
}

fn taken(error: DatabaseError, what: &str) -> CommandError {
    if error.is_unique_violation() {
        CommandError::Configuration(format!("{what} is taken by another tenant"))
    } else {
        error.into()
    }
}

/// Hosts in their one spelling.
pub(super) fn parse_hosts(hosts: &[String]) -> Result<Vec<String>, CommandError> {
    let parse = |host: &String| {
        normalize_host(host).ok_or_else(|| CommandError::Configuration(format!("{host:?} is no host name")))
    };
    hosts.iter().map(parse).collect()
}

/// An administrator's address.
pub(super) fn parse_email(text: &str) -> Result<Email, CommandError> {
    Email::parse(text).map_err(|error| CommandError::Configuration(format!("the administrator's address {error}")))
}

/// The password an administrator begins with.
#[derive(Debug)]
pub(super) struct FirstPassword {
    pub(super) secret: Secret,
    /// Whether it was drawn here, and so has to be changed first.
    pub(super) random: bool,
    salt: [u8; 16],
}

impl FirstPassword {
    /// Takes the given one, or draws one.
    pub(super) fn choose(given: Option<String>, entropy: &dyn Entropy) -> Result<Self, CommandError> {
        let salt = entropy.bytes();
        match given.filter(|password| !password.is_empty()) {
            Some(password) => {
                check_length(&password)
                    .map_err(|detail| CommandError::Configuration(format!("the administrator's password {detail}")))?;
                Ok(Self {
                    secret: Secret::new(password),
                    random: false,
                    salt,
                })
            }
            None => {
                let drawn = URL_SAFE_NO_PAD.encode(entropy.bytes::<18>());
                Ok(Self {
                    secret: Secret::new(drawn),
                    random: true,
                    salt,
                })
            }
        }
    }
}

/// Makes a tenant, with the presets that each begins with.
pub(super) async fn insert_tenant(
    connection: &mut PgConnection,
    name: &str,
    now: OffsetDateTime,
) -> Result<Uuid, DatabaseError> {
    let id = sqlx::query_scalar!(
        "insert into tenants (name, created_at) values ($1, $2) returning id",
        name,
        now
    )
    .fetch_one(&mut *connection)
    .await?;
    let after = Some(json!({ "name": name }));
    audit::record(connection, operator_entry(id, "tenants.create", after, now)).await?;
    presets::seed(connection, TenantId(id), now).await?;
    Ok(id)
}

pub(super) async fn insert_host(
    connection: &mut PgConnection,
    tenant: Uuid,
    host: &str,
    now: OffsetDateTime,
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "insert into tenant_hosts (tenant_id, host, created_at) values ($1, $2, $3)",
        tenant,
        host,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn insert_admin(
    connection: &mut PgConnection,
    tenant: Uuid,
    email: &Email,
    password: &FirstPassword,
    now: OffsetDateTime,
) -> Result<(), CommandError> {
    let hash =
        hash_now(password.secret.expose().as_bytes(), &password.salt).map_err(|error| CommandError::failed(&error))?;
    sqlx::query!(
        "insert into users (tenant_id, email, password_hash, role, must_change_password, created_at, updated_at)
         values ($1, $2, $3, 'ADMIN', $4, $5, $5)",
        tenant,
        email.as_str(),
        hash,
        password.random,
        now,
    )
    .execute(&mut *connection)
    .await
    .map_err(DatabaseError::from)?;
    let after = Some(json!({ "email": email.as_str(), "role": "ADMIN" }));
    audit::record(connection, operator_entry(tenant, "users.create", after, now)).await?;
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::{FirstPassword, parse_hosts};
    use crate::entropy::testing::CountingEntropy;

    #[test]
    fn a_given_password_needs_no_change_and_a_drawn_one_does() {
        let entropy = CountingEntropy::default();
        let given = FirstPassword::choose(Some("long enough".into()), &entropy).unwrap();
        assert!(!given.random && given.secret.expose() == "long enough");
        let drawn = FirstPassword::choose(None, &entropy).unwrap();
        assert!(drawn.random && drawn.secret.expose().len() == 24);
        assert!(FirstPassword::choose(Some("short".into()), &entropy).is_err());
    }

    #[test]
    fn hosts_have_one_spelling() {
        assert_eq!(parse_hosts(&["Example.com:80".into()]).unwrap(), ["example.com"]);
        assert!(parse_hosts(&["no host".into()]).is_err());
    }
}
