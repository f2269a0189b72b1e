//! `kado settings get|set`: for operators, without a running service. Audited and told to the edges like any change.

use clap::Subcommand;
use kado_shared::{
    secret::Secret,
    settings::{SETTINGS, find, validate},
    tenant::{TenantId, normalize_host},
};
use serde_json::{Map, Value};
use sqlx::{Connection, PgConnection};
use std::process::ExitCode;

use super::{CommandError, configuration::check_secret, connect::DatabaseArgs, say};
use crate::{
    audit::{self, Actor, Entry},
    clock::{Clock, SystemClock},
    database::DatabaseError,
    entropy::SystemEntropy,
    seal::{Purpose, Sealer},
    settings,
};

/// Flags of `kado settings`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the values in force as JSON: one setting, or all.
    Get {
        /// Name of a setting; all where it is absent.
        name: Option<String>,
        #[command(flatten)]
        scope: Scope,
    },
    /// Change one setting.
    Set {
        /// Name of the setting.
        name: String,
        /// Value as JSON: 2048, true, '"text"', '[]'; null takes the value back. A secret is `-`: one line of standard input.
        value: String,
        /// Secrets that seal a secret setting, newest first, comma-separated.
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
}

#[derive(Debug, clap::Args)]
struct Scope {
    /// A host of the tenant concerned; without it, the value for all tenants.
    #[arg(long, value_name = "HOST")]
    tenant: Option<String>,
    #[command(flatten)]
    database: DatabaseArgs,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, CommandError> {
    match args.action {
        Action::Get { name, scope } => get(name.as_deref(), &scope).await?,
        Action::Set {
            name,
            value,
            jwt_secret,
            scope,
        } => set(&name, &value, &Secret::new(jwt_secret), &scope).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn get(name: Option<&str>, scope: &Scope) -> Result<(), CommandError> {
    if let Some(name) = name {
        find(name).ok_or_else(|| unknown(name))?;
    }
    let mut connection = scope.database.connect_as_system("settings get").await?;
    let tenant = resolve(&mut connection, scope.tenant.as_deref()).await?;
    // The nil tenant has no values of its own, which leaves those for all.
    let tenant = tenant.unwrap_or(TenantId(uuid::Uuid::nil()));
    let resolved = settings::load(&mut connection, tenant).await?.resolve();
    let show = |name: &str| {
        if find(name).is_some_and(|setting| setting.secret) {
            Value::from("********")
        } else {
            resolved.get(name)
        }
    };
    match name {
        Some(name) => say(&show(name).to_string()),
        None => {
            let all: Map<_, _> = SETTINGS
                .iter()
                .map(|setting| (setting.name.to_owned(), show(setting.name)))
                .collect();
            say(&format!("{:#}", Value::Object(all)));
        }
    }
    Ok(())
}

async fn set(name: &str, text: &str, jwt_secret: &Secret, scope: &Scope) -> Result<(), CommandError> {
    let wrong = |detail: String| CommandError::Configuration(format!("{name}: {detail}"));
    let setting = find(name).ok_or_else(|| unknown(name))?;
    let plain = match (setting.secret, text) {
        (true, "-") => Some(Secret::new(first_line(std::io::stdin().lock()))),
        (true, "null") | (false, _) => None,
        (true, _) => {
            let detail = "is a secret: write - and give it as one line of standard input, so that no list of processes \
                          and no shell remembers it";
            return Err(wrong(detail.to_owned()));
        }
    };
    let value: Value = match &plain {
        Some(plain) => plain.expose().into(),
        None => serde_json::from_str(text).map_err(|error| wrong(format!("{text:?} is not JSON ({error})")))?,
    };
    let mut value = (!value.is_null()).then_some(value);
    if let Some(value) = &value {
        validate(name, value).map_err(wrong)?;
    }
    let mut connection = scope.database.connect_as_system("settings set").await?;
    let tenant = resolve(&mut connection, scope.tenant.as_deref()).await?;
    if let Some(plain) = plain {
        check_secret("JWT_SECRET", jwt_secret).map_err(CommandError::Configuration)?;
        let sealer = Sealer::new(jwt_secret, Purpose::SETTINGS);
        value = settings::seal_secret(&sealer, tenant, name, plain.expose(), &SystemEntropy);
    }
    change(&mut connection, tenant, name, value).await?;
    say(&format!("{name} = {text}"));
    Ok(())
}

async fn change(
    connection: &mut PgConnection,
    tenant: Option<TenantId>,
    name: &str,
    value: Option<Value>,
) -> Result<(), DatabaseError> {
    let now = SystemClock.now();
    let mut transaction = connection.begin().await?;
    settings::lock(&mut transaction, tenant).await?;
    let layers = settings::load(&mut transaction, tenant.unwrap_or(TenantId(uuid::Uuid::nil()))).await?;
    let layer = if tenant.is_some() { layers.tenant } else { layers.global };
    settings::write(&mut transaction, tenant, name, value.as_ref(), None, now).await?;
    let secret = find(name).is_some_and(|setting| setting.secret);
    let one = |value: Option<Value>| {
        let value = value.map(|value| if secret { "********".into() } else { value });
        Some(Value::Object(Map::from_iter([(
            name.to_owned(),
            value.unwrap_or_default(),
        )])))
    };
    let entry = Entry {
        tenant: tenant.map(|tenant| tenant.0),
        at: now,
        actor: Actor::Operator,
        action: "settings.update",
        target: None,
        before: one(layer.get(name).cloned()),
        after: one(value),
        request_id: None,
        client_ip: None,
    };
    audit::record(&mut transaction, entry).await?;
    Ok(transaction.commit().await?)
}

/// The first line of what is given, without its end.
pub(super) fn first_line(mut given: impl std::io::BufRead) -> String {
    let mut line = String::new();
    // What cannot be read is empty, and that is no secret.
    let _ = given.read_line(&mut line);
    line.trim_end_matches(['\r', '\n']).to_owned()
}

pub(super) async fn resolve(
    connection: &mut PgConnection,
    host: Option<&str>,
) -> Result<Option<TenantId>, CommandError> {
    match host {
        Some(host) => tenant_of(connection, host).await.map(Some),
        None => Ok(None),
    }
}

/// The tenant that has a host.
pub(super) async fn tenant_of(connection: &mut PgConnection, given: &str) -> Result<TenantId, CommandError> {
    let host =
        normalize_host(given).ok_or_else(|| CommandError::Configuration(format!("{given:?} is no host name")))?;
    let id = sqlx::query_scalar!("select tenant_id from tenant_hosts where host = $1", host)
        .fetch_optional(connection)
        .await
        .map_err(DatabaseError::from)?;
    id.map(TenantId)
        .ok_or_else(|| CommandError::Configuration(format!("no tenant has the host {host}")))
}

fn unknown(name: &str) -> CommandError {
    let known: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
    CommandError::Configuration(format!("there is no setting {name:?}; known are {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::change;
    use crate::{settings, testing::TestDatabase};
    use kado_shared::tenant::TenantId;
    use serde_json::json;
    use uuid::Uuid;

    #[tokio::test]
    async fn a_value_for_all_lies_below_a_tenants_own() {
        let Some(database) = TestDatabase::create().await else {
            return;
        };
        let tenant: Uuid = sqlx::query_scalar("insert into tenants (name) values ('a') returning id")
            .fetch_one(database.superuser())
            .await
            .unwrap();
        let mut connection = database.pools().system().acquire().await.unwrap();
        for (scope, value) in [
            (None, Some(json!(2048))),
            (Some(TenantId(tenant)), Some(json!(4096))),
            (Some(TenantId(tenant)), None),
        ] {
            change(&mut connection, scope, "maxFileSize", value).await.unwrap();
        }
        let layers = settings::load(&mut connection, TenantId(tenant)).await.unwrap();
        assert_eq!(layers.resolve().integer("maxFileSize"), 2048);
        let audited: Vec<Option<Uuid>> = sqlx::query_scalar("select tenant_id from audit_logs order by created_at")
            .fetch_all(database.superuser())
            .await
            .unwrap();
        assert_eq!(audited, [None, Some(tenant), Some(tenant)]);
    }
}
