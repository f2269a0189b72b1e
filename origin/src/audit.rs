//! The audit log, written in the transaction of the change that it tells of: both last or neither does.

use serde_json::Value;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::database::DatabaseError;

/// Who made a change.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Actor {
    /// A signed-in user.
    User(Uuid),
    /// Somebody at the command line, or an administrator of an operator tenant where another tenant's log tells of it.
    Operator,
    /// Nobody that is known.
    System,
}

/// One entry.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    /// Tenant concerned; `None` for what concerns all.
    pub(crate) tenant: Option<Uuid>,
    pub(crate) at: OffsetDateTime,
    pub(crate) actor: Actor,
    /// What was done, dotted: `settings.update`.
    pub(crate) action: &'a str,
    /// What it was done to.
    pub(crate) target: Option<String>,
    pub(crate) before: Option<Value>,
    pub(crate) after: Option<Value>,
    pub(crate) request_id: Option<&'a str>,
    pub(crate) client_ip: Option<&'a str>,
}

/// Writes an entry.
pub(crate) async fn record(connection: &mut PgConnection, entry: Entry<'_>) -> Result<(), DatabaseError> {
    let (actor, user) = match entry.actor {
        Actor::User(id) => ("user", Some(id)),
        Actor::Operator => ("operator", None),
        Actor::System => ("system", None),
    };
    sqlx::query!(
        "insert into audit_logs (tenant_id, created_at, actor, user_id, action, target, before, after, request_id, client_ip)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        entry.tenant,
        entry.at,
        actor,
        user,
        entry.action,
        entry.target,
        entry.before,
        entry.after,
        entry.request_id,
        entry.client_ip.filter(|ip| !ip.is_empty()),
    )
    .execute(connection)
    .await?;
    Ok(())
}
