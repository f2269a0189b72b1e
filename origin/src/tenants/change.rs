//! Another name, other hosts, a suspension or its end.

use kado_shared::problem::FieldError;
use serde_json::json;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{Author, Deed, Tenant, create::insert_hosts, hold_names, record, taken};
use crate::database::DatabaseError;

/// What is to be different, checked; what is not named stays.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) name: Option<String>,
    /// All of them from then on, each once.
    pub(crate) hosts: Option<Vec<String>>,
    pub(crate) active: Option<bool>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("name or hosts are another tenant's")]
    Taken(Vec<FieldError>),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Changes a tenant that is held by [`super::lock`] and was read behind it; answers what it is then. Triggers raise the edges'
/// revision: every edge knows within 5 s.
pub(crate) async fn apply(
    connection: &mut PgConnection,
    before: &Tenant,
    wanted: Wanted,
    author: Author<'_>,
    now: OffsetDateTime,
) -> Result<Tenant, ChangeError> {
    let given = wanted.hosts.as_deref().unwrap_or_default();
    let mut hosts = wanted.hosts.clone().unwrap_or_else(|| before.hosts.clone());
    hosts.sort();
    let after = Tenant {
        name: wanted.name.clone().unwrap_or_else(|| before.name.clone()),
        active: wanted.active.unwrap_or(before.active),
        hosts,
        ..before.clone()
    };
    if after == *before {
        return Ok(after);
    }
    hold_names(connection).await?;
    let errors = taken(connection, Some(before.id), wanted.name.as_deref(), given).await?;
    if !errors.is_empty() {
        return Err(ChangeError::Taken(errors));
    }
    if after.hosts != before.hosts {
        sqlx::query!(
            "delete from tenant_hosts where tenant_id = $1 and host <> all($2)",
            before.id,
            &after.hosts
        )
        .execute(&mut *connection)
        .await
        .map_err(DatabaseError::from)?;
        let new = after.hosts.iter().filter(|host| !before.hosts.contains(host));
        let new: Vec<_> = new.cloned().collect();
        insert_hosts(connection, before.id, &new, now).await?;
    }
    sqlx::query!(
        "update tenants set name = $2, active = $3 where id = $1",
        before.id,
        after.name,
        after.active
    )
    .execute(&mut *connection)
    .await
    .map_err(DatabaseError::from)?;
    for (action, old, new) in told(before, &after) {
        let deed = Deed {
            tenant: before.id,
            at: now,
            action,
            before: Some(old),
            after: Some(new),
        };
        record(connection, author, deed).await?;
    }
    Ok(after)
}

/// What the audit log tells of a change. A suspension is one of its own, so that it is found by its action.
fn told(before: &Tenant, after: &Tenant) -> Vec<(&'static str, serde_json::Value, serde_json::Value)> {
    let mut told = Vec::new();
    let of = |tenant: &Tenant| json!({ "name": tenant.name, "hosts": tenant.hosts });
    if (&before.name, &before.hosts) != (&after.name, &after.hosts) {
        told.push(("tenants.update", of(before), of(after)));
    }
    let of = |tenant: &Tenant| json!({ "active": tenant.active });
    match (before.active, after.active) {
        (true, false) => told.push(("tenants.suspend", of(before), of(after))),
        (false, true) => told.push(("tenants.resume", of(before), of(after))),
        _ => {}
    }
    told
}
