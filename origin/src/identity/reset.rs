//! A new password for somebody who has not asked for it: by an administrator of the tenant, or by the operator.

use kado_shared::tenant::TenantId;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::session;
use crate::{
    audit::{self, Actor, Entry},
    database::DatabaseError,
};

/// Whose password, the hash of the new one, and who does it.
#[derive(Debug)]
pub(crate) struct Reset<'a> {
    pub(crate) tenant: TenantId,
    pub(crate) user: Uuid,
    pub(crate) hash: &'a str,
    pub(crate) at: time::OffsetDateTime,
    pub(crate) actor: Actor,
    pub(crate) request_id: Option<&'a str>,
    pub(crate) client_ip: Option<&'a str>,
}

/// Sets the password, which the user has to change at the next sign-in, and ends every session; answers how many that were.
/// `None` without such a user.
///
/// The user's row is held first. Whoever signs in, changes the password or begins a session anew holds it as well: what they
/// have done before ends here, and what they come to do afterwards finds another hash or an ended session.
pub(crate) async fn reset(connection: &mut PgConnection, reset: Reset<'_>) -> Result<Option<u64>, DatabaseError> {
    let before = sqlx::query_scalar!(
        "select must_change_password from users where tenant_id = $1 and id = $2 for no key update",
        reset.tenant.0,
        reset.user,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(before) = before else { return Ok(None) };
    sqlx::query!(
        "update users set password_hash = $3, must_change_password = true, updated_at = $4 where tenant_id = $1 and id = $2",
        reset.tenant.0,
        reset.user,
        reset.hash,
        reset.at,
    )
    .execute(&mut *connection)
    .await?;
    let ended = session::end_others(connection, reset.user, None, "password-reset", reset.at).await?;
    let entry = Entry {
        tenant: Some(reset.tenant.0),
        at: reset.at,
        actor: reset.actor,
        action: "user.password-reset",
        target: Some(reset.user.to_string()),
        before: Some(json!({ "mustChangePassword": before })),
        after: Some(json!({ "mustChangePassword": true, "endedSessions": ended })),
        request_id: reset.request_id,
        client_ip: reset.client_ip,
    };
    audit::record(connection, entry).await?;
    Ok(Some(ended))
}
