//! Tenants: which are active, how one is made and changed, and by whom other than the operator at the shell.
//!
//! Connections and requests stay outside; what is shared by `kado tenants`, `kado seed` and `api/admin/tenants` is here.

mod active;
pub(crate) mod change;
pub(crate) mod create;
pub(crate) mod operator;

pub(crate) use active::Tenants;

use kado_shared::problem::FieldError;
use serde_json::Value;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    audit::{self, Actor, Entry},
    database::DatabaseError,
    http::authentication::Principal,
};

/// A tenant, without what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tenant {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) active: bool,
    /// Whether its administrators manage all tenants.
    pub(crate) operator: bool,
    /// Sorted.
    pub(crate) hosts: Vec<String>,
}

/// Who makes or changes a tenant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Author<'a> {
    /// Somebody at the command line.
    Shell,
    /// An administrator of an operator tenant.
    Administrator(&'a Principal),
}

/// What is done to a tenant, for the audit log.
#[derive(Debug)]
pub(crate) struct Deed<'a> {
    pub(crate) tenant: Uuid,
    pub(crate) at: OffsetDateTime,
    pub(crate) action: &'a str,
    pub(crate) before: Option<Value>,
    pub(crate) after: Option<Value>,
}

/// Writes into the log of the tenant concerned, and into that of the administrator who did it. The former is told that it was
/// the operator: who works there, and from where, is nothing that its own administrators need to know.
pub(crate) async fn record(
    connection: &mut PgConnection,
    author: Author<'_>,
    deed: Deed<'_>,
) -> Result<(), DatabaseError> {
    let entry = || Entry {
        tenant: Some(deed.tenant),
        at: deed.at,
        actor: Actor::Operator,
        action: deed.action,
        target: Some(deed.tenant.to_string()),
        before: deed.before.clone(),
        after: deed.after.clone(),
        request_id: None,
        client_ip: None,
    };
    let Author::Administrator(principal) = author else {
        return audit::record(connection, entry()).await;
    };
    let (own, request_id) = (principal.caller.tenant.0, Some(principal.request_id.as_str()));
    if deed.tenant != own {
        audit::record(&mut *connection, Entry { request_id, ..entry() }).await?;
    }
    let own = Entry {
        tenant: Some(own),
        actor: Actor::User(principal.user),
        request_id,
        client_ip: Some(&principal.caller.client_ip),
        ..entry()
    };
    audit::record(connection, own).await
}

/// Reads a tenant that the connection's role sees.
pub(crate) async fn load(connection: &mut PgConnection, id: Uuid) -> Result<Option<Tenant>, DatabaseError> {
    Ok(sqlx::query_as!(
        Tenant,
        r#"select id, name, active, operator,
                  array(select host from tenant_hosts h where h.tenant_id = t.id order by host) as "hosts!"
           from tenants t where id = $1"#,
        id,
    )
    .fetch_optional(connection)
    .await?)
}

/// Keeps these tenants as they are until the transaction ends. What is read afterwards is what whoever held them before has
/// left. One statement and one order, so that nobody waits in a circle.
pub(crate) async fn lock(connection: &mut PgConnection, ids: &[Uuid]) -> Result<(), DatabaseError> {
    sqlx::query!(
        "select from tenants where id = any($1) order by id for no key update",
        ids
    )
    .fetch_all(connection)
    .await?;
    Ok(())
}

/// Lets nobody else write names and hosts until the transaction ends: every such change raises the edges' revision, which is
/// held here from the beginning. Held first, it is waited for before anything that others could wait for.
async fn hold_names(connection: &mut PgConnection) -> Result<(), DatabaseError> {
    sqlx::query!("select from edge_state for no key update")
        .fetch_all(connection)
        .await?;
    Ok(())
}

/// Which of these are another tenant's. To be asked behind [`hold_names`], so that it stays so.
async fn taken(
    connection: &mut PgConnection,
    but: Option<Uuid>,
    name: Option<&str>,
    hosts: &[String],
) -> Result<Vec<FieldError>, DatabaseError> {
    let mut errors = Vec::new();
    let named = sqlx::query_scalar!(
        r#"select exists (select from tenants where name = $1 and id is distinct from $2) as "exists!""#,
        name,
        but,
    )
    .fetch_one(&mut *connection)
    .await?;
    if let Some(name) = name.filter(|_| named) {
        errors.push(FieldError {
            field: "name".to_owned(),
            detail: format!("{name:?} is another tenant's"),
        });
    }
    let others = sqlx::query_scalar!(
        "select host from tenant_hosts where host = any($1) and tenant_id is distinct from $2",
        hosts,
        but,
    )
    .fetch_all(connection)
    .await?;
    for (place, host) in hosts.iter().enumerate().filter(|(_, host)| others.contains(host)) {
        errors.push(FieldError {
            field: format!("hosts[{place}]"),
            detail: format!("{host} is another tenant's"),
        });
    }
    Ok(errors)
}
