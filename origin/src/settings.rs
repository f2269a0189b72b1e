//! Settings in the database: read in layers, cached by revision, changed all or none.
//!
//! What a setting is and which values are right is declared in `kado_shared::settings`.

use kado_shared::{
    secret::Secret,
    settings::{SETTINGS, Settings, find, validate},
    tenant::TenantId,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    database::DatabaseError,
    entropy::Entropy,
    hex,
    seal::{OpenError, Place, Sealer},
};

/// Most tenants whose settings are kept at once.
const MOST: usize = 1000;

/// Values by name.
pub(crate) type Values = BTreeMap<String, Value>;

/// The two layers of a tenant's settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Layers {
    /// What holds for every tenant.
    pub(crate) global: Values,
    /// What this tenant has of its own.
    pub(crate) tenant: Values,
}

impl Layers {
    /// The values in force.
    pub(crate) fn resolve(&self) -> Settings {
        Settings::from_layers([&self.global, &self.tenant])
    }

    /// The value in force where it differs from the declared default.
    fn overrides(&self) -> Values {
        let settings = self.resolve();
        let differs = |name: &str, default: &str| {
            let value = settings.get(name);
            (serde_json::from_str::<Value>(default).ok().as_ref() != Some(&value)).then(|| (name.to_owned(), value))
        };
        SETTINGS
            .iter()
            .filter_map(|setting| differs(setting.name, setting.default))
            .collect()
    }

    /// Rows that do not count, because they cannot be read, and what would be right. The layer below holds in their place.
    pub(crate) fn unreadable(&self) -> Vec<(&str, String)> {
        let rows = self.global.iter().chain(&self.tenant);
        // A secret is sealed here, which no declaration knows.
        let plain = rows.filter(|(name, _)| find(name).is_none_or(|setting| !setting.secret));
        plain
            .filter_map(|(name, value)| Some((name.as_str(), validate(name, value).err()?)))
            .collect()
    }

    /// What the edge needs, where it differs from the defaults.
    pub(crate) fn for_edge(&self) -> Values {
        let mut values = self.overrides();
        values.retain(|name, _| SETTINGS.iter().any(|setting| setting.name == name && setting.edge));
        values
    }

    /// Strong entity tag: changes with any value of either layer.
    pub(crate) fn etag(&self) -> String {
        let mut hash = Sha256::new();
        for (layer, values) in [("global", &self.global), ("tenant", &self.tenant)] {
            hash.update(format!(
                "{layer}\n{}\n",
                serde_json::to_string(values).unwrap_or_default()
            ));
        }
        format!("\"{}\"", hex::encode(&hash.finalize()[..16]))
    }
}

/// Loads both layers. `connection` is in a transaction of the tenant, or of a role that sees all.
pub(crate) async fn load(connection: &mut PgConnection, tenant: TenantId) -> Result<Layers, DatabaseError> {
    let rows = sqlx::query!(
        "select tenant_id, name, value from system_settings where tenant_id is null or tenant_id = $1",
        tenant.0
    )
    .fetch_all(connection)
    .await?;
    let mut layers = Layers::default();
    for row in rows {
        let layer = if row.tenant_id.is_some() {
            &mut layers.tenant
        } else {
            &mut layers.global
        };
        layer.insert(row.name, row.value);
    }
    Ok(layers)
}

/// What holds for every tenant that sets nothing else.
pub(crate) async fn global_values(connection: &mut PgConnection) -> Result<Values, DatabaseError> {
    Ok(load(connection, TenantId(Uuid::nil())).await?.global)
}

const TABLE: &str = "system_settings";
const COLUMN: &str = "value";
/// Field of the object that stands for a secret.
const SEALED: &str = "sealed";

const fn place(tenant: Option<TenantId>, name: &str) -> Place<'_> {
    Place {
        table: TABLE,
        column: COLUMN,
        tenant,
        id: name,
    }
}

/// What is stored for a secret; `None` where no secret is listed that could seal it.
pub(crate) fn seal_secret(
    sealer: &Sealer,
    tenant: Option<TenantId>,
    name: &str,
    plain: &str,
    entropy: &dyn Entropy,
) -> Option<Value> {
    let sealed = sealer.seal(plain.as_bytes(), place(tenant, name), entropy)?;
    Some(json!({ SEALED: sealed }))
}

/// The secret behind a stored value of this scope.
pub(crate) fn open_secret(
    sealer: &Sealer,
    tenant: Option<TenantId>,
    name: &str,
    value: &Value,
) -> Result<Secret, OpenError> {
    let sealed = value.get(SEALED).and_then(Value::as_str).ok_or(OpenError::Malformed)?;
    let plain = sealer.open(sealed, place(tenant, name))?;
    std::str::from_utf8(&plain)
        .map(Secret::new)
        .map_err(|_| OpenError::Malformed)
}

/// Why the secrets among the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretsError {
    #[error("the setting {name} does not open")]
    Sealed {
        name: String,
        #[source]
        source: OpenError,
    },
    #[error("JWT_SECRET lists no secret that could seal a setting")]
    NoSecret,
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Names of the settings that are secrets.
fn secret_names() -> Vec<String> {
    SETTINGS
        .iter()
        .filter(|setting| setting.secret)
        .map(|setting| setting.name.to_owned())
        .collect()
}

/// A secret as it is stored.
#[derive(Debug)]
pub(crate) struct StoredSecret {
    tenant_id: Option<Uuid>,
    name: String,
    value: Value,
}

impl StoredSecret {
    fn open(&self, sealer: &Sealer) -> Result<Secret, SecretsError> {
        open_secret(sealer, self.tenant_id.map(TenantId), &self.name, &self.value).map_err(|source| {
            SecretsError::Sealed {
                name: self.name.clone(),
                source,
            }
        })
    }
}

/// Opens every stored secret, so that one that cannot be is noticed before it is needed.
pub(crate) async fn check_secrets(connection: &mut PgConnection, sealer: &Sealer) -> Result<(), SecretsError> {
    let stored = sqlx::query_as!(
        StoredSecret,
        "select tenant_id, name, value from system_settings where name = any($1)",
        &secret_names()
    )
    .fetch_all(connection)
    .await
    .map_err(DatabaseError::from)?;
    for secret in stored {
        secret.open(sealer)?;
    }
    Ok(())
}

/// Keeps every stored secret from being changed until the transaction ends: first as whoever changes settings does, then
/// row by row, for what has come meanwhile.
pub(crate) async fn hold_secrets(connection: &mut PgConnection) -> Result<Vec<StoredSecret>, DatabaseError> {
    let names = secret_names();
    let layers = sqlx::query_scalar!(
        "select distinct tenant_id from system_settings where name = any($1) order by tenant_id",
        &names
    )
    .fetch_all(&mut *connection)
    .await?;
    for layer in layers {
        lock(connection, layer.map(TenantId)).await?;
    }
    Ok(sqlx::query_as!(
        StoredSecret,
        "select tenant_id, name, value from system_settings where name = any($1) order by tenant_id, name for update",
        &names
    )
    .fetch_all(connection)
    .await?)
}

/// Seals secrets anew with the newest secret of all; answers how many. One that was set since they were held is not looked
/// for: whoever changes it may wait for this.
pub(crate) async fn reseal_secrets(
    connection: &mut PgConnection,
    held: Vec<StoredSecret>,
    sealer: &Sealer,
    entropy: &dyn Entropy,
) -> Result<usize, SecretsError> {
    let count = held.len();
    for secret in held {
        let (tenant, plain) = (secret.tenant_id.map(TenantId), secret.open(sealer)?);
        let sealed =
            seal_secret(sealer, tenant, &secret.name, plain.expose(), entropy).ok_or(SecretsError::NoSecret)?;
        sqlx::query!(
            "update system_settings set value = $3 where tenant_id is not distinct from $1 and name = $2",
            secret.tenant_id,
            secret.name,
            sealed,
        )
        .execute(&mut *connection)
        .await
        .map_err(DatabaseError::from)?;
    }
    Ok(count)
}

/// Holds off other changes of the same layer until the transaction ends.
pub(crate) async fn lock(connection: &mut PgConnection, tenant: Option<TenantId>) -> Result<(), DatabaseError> {
    let scope = tenant.map(|tenant| tenant.to_string()).unwrap_or_default();
    sqlx::query!(
        r#"select pg_advisory_xact_lock(hashtextextended('kado settings ' || $1, 0))::text as "locked""#,
        scope
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}

/// Writes one value, or takes it back with `None`; a trigger raises the edge's revision. Validation is the caller's.
pub(crate) async fn write(
    connection: &mut PgConnection,
    tenant: Option<TenantId>,
    name: &str,
    value: Option<&Value>,
    by: Option<Uuid>,
    now: OffsetDateTime,
) -> Result<(), DatabaseError> {
    let tenant = tenant.map(|tenant| tenant.0);
    match value {
        Some(value) => {
            sqlx::query!(
                "insert into system_settings (tenant_id, name, value, updated_at, updated_by) values ($1, $2, $3, $4, $5)
                 on conflict (tenant_id, name) do update set value = $3, updated_at = $4, updated_by = $5",
                tenant,
                name,
                value,
                now,
                by,
            )
            .execute(connection)
            .await?;
        }
        None => {
            sqlx::query!(
                "delete from system_settings where tenant_id is not distinct from $1 and name = $2",
                tenant,
                name
            )
            .execute(connection)
            .await?;
        }
    }
    Ok(())
}

/// Settings in force, by tenant, each with the revision it was loaded at.
#[derive(Debug, Default)]
pub(crate) struct SettingsCache {
    known: Mutex<HashMap<TenantId, (u64, Arc<Settings>)>>,
}

impl SettingsCache {
    /// The settings of a revision that the caller has just read: no change is missed, and no query is made in vain.
    pub(crate) async fn of_revision(
        &self,
        connection: &mut PgConnection,
        tenant: TenantId,
        revision: u64,
    ) -> Result<Arc<Settings>, DatabaseError> {
        let known = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&tenant)
            .cloned();
        if let Some((_, settings)) = known.filter(|(known, _)| *known == revision) {
            return Ok(settings);
        }
        let layers = load(connection, tenant).await?;
        // Once a revision: SQL by hand is checked as far as SQL can, and a binary may be older than what is set.
        for (name, detail) in layers.unreadable() {
            tracing::warn!(event = "setting-ignored", tenant = %tenant, setting = name, detail);
        }
        let settings = Arc::new(layers.resolve());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(tenant, (revision, Arc::clone(&settings)));
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::{Layers, Values};
    use serde_json::{Value, json};

    fn values(pairs: &[(&str, Value)]) -> Values {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect()
    }

    #[test]
    fn the_edge_gets_what_it_needs_and_what_differs() {
        let layers = Layers {
            global: values(&[
                ("maxFileSize", json!(2048)),
                ("sessionTimeout", json!(120)),
                ("imageMinTtl", json!(300)),
            ]),
            tenant: values(&[("maxFileSize", json!(4096)), ("gone", json!(1))]),
        };
        assert_eq!(layers.for_edge(), values(&[("maxFileSize", json!(4096))]));
    }

    #[test]
    fn the_tag_changes_with_either_layer() {
        let empty = Layers::default();
        let global = Layers {
            global: values(&[("a", json!(1))]),
            ..Layers::default()
        };
        let tenant = Layers {
            tenant: values(&[("a", json!(1))]),
            ..Layers::default()
        };
        assert!(empty.etag() != global.etag() && global.etag() != tenant.etag() && tenant.etag() != empty.etag());
    }
}
